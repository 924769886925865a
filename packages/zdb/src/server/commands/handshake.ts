// HELLO, CLIENT and QUIT: what the usual Redis clients say when they connect and leave. The reference knows none of them; they stand
// at the end of the command table, so that no prefix changes its meaning.
//
// After `HELLO 3` the only difference is that nil is written as `_`: every other reply of zdb is the same in RESP2 and RESP3.
import { sameSecret } from '../secrets.ts';
import type { CommandDefinition, Session } from '../session.ts';
import { refuse, textAt } from './arguments.ts';
import { REVISION } from './reports.ts';

/** Handshake commands. */
export const HELLO: CommandDefinition = ['HELLO', hello, undefined, 'own'];
export const CLIENT: CommandDefinition = ['CLIENT', client, undefined, 'own'];
export const QUIT: CommandDefinition = ['QUIT', quit, undefined, 'own'];

function hello(session: Session): void {
  const { request } = session;
  let protocol = session.resp3 ? 3 : 2;
  let at = 1;
  if (request.count > 1) {
    protocol = Number(textAt(session, at++));
    if (protocol !== 2 && protocol !== 3) {
      refuse(session, 'NOPROTO unsupported protocol version');
      return;
    }
  }
  let password: Uint8Array | undefined;
  while (at < request.count) {
    const option = textAt(session, at).toUpperCase();
    if (option === 'AUTH' && at + 2 < request.count) {
      password = request.argument(at + 2);
      at += 3;
    } else if (option === 'SETNAME' && at + 1 < request.count) {
      at += 2;
    } else {
      refuse(session, 'Invalid arguments');
      return;
    }
  }
  if (password !== undefined && !admit(session, password)) return;
  session.resp3 = protocol === 3;
  describe(session, protocol);
}

/** As AUTH; there is one user, so his name does not matter. */
function admit(session: Session, password: Uint8Array): boolean {
  const { adminPassword } = session.server.options;
  if (adminPassword === undefined) return refuse(session, 'Authentication disabled');
  if (!sameSecret(password, adminPassword)) return refuse(session, 'Access denied');
  session.admin = true;
  return true;
}

function describe(session: Session, protocol: number): void {
  const { replies } = session.server;
  replies.resp3 = session.resp3;
  replies.map(7);
  replies.text('server');
  replies.text('zdb');
  replies.text('version');
  replies.text(REVISION);
  replies.text('proto');
  replies.integer(protocol);
  replies.text('id');
  replies.integer(session.id);
  replies.text('mode');
  replies.text('standalone');
  replies.text('role');
  replies.text('master');
  replies.text('modules');
  replies.array(0);
}

function client(session: Session): void {
  const { request, server } = session;
  const what = request.count > 1 ? textAt(session, 1).toUpperCase() : '';
  if (what === 'SETINFO' || what === 'SETNAME') server.replies.simple('OK');
  else if (what === 'ID') server.replies.integer(session.id);
  else refuse(session, 'Unknown CLIENT subcommand');
}

function quit(session: Session): void {
  session.server.replies.simple('OK');
  session.leave();
}
