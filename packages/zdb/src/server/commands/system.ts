// PING, TIME, INFO, AUTH, HOOKS, INDEX, DATA, STOP, WAIT, MASTER, MIRROR and `*` (specification sections 3.8 and 3.9).
import type { ReplyWriter } from '@qsfs/resp';
import { type Namespace, NotLocal, type RawEntry, StoreError } from '../../engine/types.ts';
import { provesSecret, sameSecret } from '../secrets.ts';
import type { CommandDefinition, Session } from '../session.ts';
import { atLeast, numberAt, refuse, textAt } from './arguments.ts';
import { isPrefixOf } from './namespaces.ts';
import { describeServer } from './reports.ts';

const MAX_PASSWORD_BYTES = 128;
const MAX_WORD_BYTES = 256;
const PROOF_BYTES = 40;
const WAIT_DEFAULT_MS = 5000;
const WAIT_SHORTEST_MS = 100;
const WAIT_LONGEST_MS = 1_800_000;
const MAX_TIMEOUT_BYTES = 16;
/** Entries that DATA ENTRIES answers at most, and bytes of the data file after which no other is begun. */
const ENTRIES_MAX = 256;
const ENTRIES_BYTES = 256 << 10;

/** System commands. */
export const ASTERISK: CommandDefinition = [
  '*',
  (session) => void refuse(session, 'This is not a valid command'),
];
export const PING: CommandDefinition = ['PING', (session) => session.server.replies.simple('PONG')];
export const INFO: CommandDefinition = [
  'INFO',
  (session) => session.server.replies.text(describeServer(session.server)),
];
export const TIME: CommandDefinition = ['TIME', time];
export const AUTH: CommandDefinition = ['AUTH', authenticate];
export const HOOKS: CommandDefinition = ['HOOKS', hooks, 'admin'];
export const INDEX: CommandDefinition = ['INDEX', index, 'admin'];
export const DATA: CommandDefinition = ['DATA', data, 'admin'];
export const WAIT: CommandDefinition = ['WAIT', wait];
export const MASTER: CommandDefinition = ['MASTER', master, 'admin'];
export const MIRROR: CommandDefinition = ['MIRROR', mirror, 'admin'];

/** STOP is a command of the debug build only. */
export function stopping(debug: boolean): CommandDefinition {
  if (!debug) return ['STOP', (session) => void refuse(session, 'Unauthorized')];
  return [
    'STOP',
    (session) => {
      session.server.replies.simple('Stopping');
      session.leave();
      session.server.requestStop();
    },
  ];
}

function time(session: Session): void {
  const { clock, replies } = session.server;
  const seconds = clock.nowSeconds();
  replies.array(2);
  replies.text(String(seconds));
  replies.text(String(Math.floor(clock.nowNanoseconds() / 1000)));
}

function authenticate(session: Session): void {
  const { request } = session;
  if (request.count === 2) authenticatePlain(session);
  else if (request.count === 3) authenticateSecure(session);
  else refuse(session, 'Unexpected arguments');
}

function authenticatePlain(session: Session): void {
  const { request, server } = session;
  const { adminPassword } = server.options;
  if (adminPassword === undefined) {
    refuse(session, 'Authentication disabled');
    return;
  }
  const given = request.argument(1);
  if (given.length === 0) refuse(session, 'Invalid argument');
  else if (given.length > MAX_PASSWORD_BYTES) refuse(session, 'Password too long');
  else if (sameSecret(given, adminPassword)) grant(session);
  else refuse(session, 'Access denied');
}

function authenticateSecure(session: Session): void {
  const { request, server } = session;
  if (!atLeast(session, 3)) return;
  if (!isPrefixOf(request.argument(1), 'SECURE')) {
    refuse(session, 'Only SECURE extra method supported');
    return;
  }
  if (isPrefixOf(request.argument(2), 'CHALLENGE')) {
    session.challenge = Buffer.from(server.random.bytes(8)).toString('hex');
    server.replies.simple(session.challenge);
    return;
  }
  const { adminPassword } = server.options;
  if (adminPassword === undefined) {
    refuse(session, 'Authentication disabled');
    return;
  }
  const { challenge } = session;
  if (challenge === undefined) {
    refuse(session, 'No CHALLENGE requested, secure authentication not available');
    return;
  }
  if (request.lengthOf(2) !== PROOF_BYTES) {
    refuse(session, 'Invalid hash length');
    return;
  }
  session.challenge = undefined;
  if (provesSecret(request.argument(2), challenge, adminPassword)) grant(session);
  else refuse(session, 'Access denied');
}

function grant(session: Session): void {
  session.admin = true;
  session.server.replies.simple('OK');
}

function hooks(session: Session): void {
  const { replies, hooks: known } = session.server;
  const runs = known?.list() ?? [];
  replies.array(runs.length);
  for (const run of runs) {
    replies.array(6);
    replies.text(run.name);
    replies.array(run.parameters.length);
    for (const parameter of run.parameters) replies.text(parameter);
    replies.integer(run.pid);
    replies.integer(run.started);
    replies.integer(run.ended);
    replies.integer(run.status > 128 ? 0 : run.status); // killed by a signal: 0
  }
}

function index(session: Session): void {
  const { request, server, slot } = session;
  if (!atLeast(session, 2)) return;
  if (request.lengthOf(1) > MAX_WORD_BYTES) {
    refuse(session, 'Argument too long');
    return;
  }
  if (textAt(session, 1).toUpperCase() !== 'DIRTY') {
    refuse(session, 'Unknown INDEX subcommand');
    return;
  }
  if (request.count === 3) {
    if (request.lengthOf(2) > MAX_WORD_BYTES) {
      refuse(session, 'Argument too long');
    } else if (textAt(session, 2).toUpperCase() !== 'RESET') {
      refuse(session, 'Unknown INDEX DIRTY subcommand');
    } else {
      slot.clearDirty();
      server.replies.simple('OK');
    }
    return;
  }
  const dirty = slot.dirtyIndexFiles();
  server.replies.array(dirty.length);
  for (const file of dirty) server.replies.integer(file);
}

function data(session: Session): void {
  const { request, server, slot } = session;
  const { replies } = server;
  if (!atLeast(session, 2)) return;
  if (request.lengthOf(1) > MAX_WORD_BYTES) {
    refuse(session, 'Argument too long');
    return;
  }
  const word = textAt(session, 1).toUpperCase();
  if (word !== 'RAW' && word !== 'ENTRIES') {
    refuse(session, 'Unknown DATA subcommand');
    return;
  }
  if (!atLeast(session, 4)) return;
  const file = numberAt(session, 2);
  const offset = numberAt(session, 3);
  if (offset < 0) {
    const isThere = slot.namespace.dataFiles().some((one) => one.file === file);
    refuse(session, isThere ? 'Unexpected Internal Error' : 'Invalid Request');
    return;
  }
  try {
    if (word === 'RAW') {
      answerEntry(replies, slot.namespace.rawEntry(file, offset));
      return;
    }
    const entries = entriesFrom(slot.namespace, file, offset);
    replies.array(entries.length);
    for (const entry of entries) answerEntry(replies, entry);
  } catch (error) {
    if (error instanceof NotLocal) {
      if (session.mayBring(error)) throw error;
      refuse(session, 'Invalid Request');
    } else if (error instanceof StoreError) {
      refuse(session, rawRefusal(error));
    } else {
      throw error;
    }
  }
}

/** Entries that stand behind each other, at least one: as many as are whole, here, and quickly answered. @throws as `rawEntry` for the first */
function entriesFrom(namespace: Namespace, file: number, offset: number): RawEntry[] {
  let entry = namespace.rawEntry(file, offset);
  const entries = [entry];
  while (entries.length < ENTRIES_MAX && entry.nextOffset - offset < ENTRIES_BYTES) {
    try {
      entry = namespace.rawEntry(file, entry.nextOffset);
    } catch (error) {
      // Asked for again it is the first one, and refused.
      if (error instanceof NotLocal || error instanceof StoreError) break;
      throw error;
    }
    entries.push(entry);
  }
  return entries;
}

function answerEntry(replies: ReplyWriter, entry: RawEntry): void {
  replies.array(6);
  replies.bulk(entry.key);
  replies.integer(entry.previous);
  replies.text(`0x${entry.crc.toString(16).padStart(8, '0')}`);
  replies.integer(entry.flags);
  replies.integer(entry.timestamp);
  if (entry.payload === undefined) replies.nil();
  else replies.bulk(entry.payload);
}

function rawRefusal(error: StoreError): string {
  switch (error.reason) {
    case 'no-such-file':
      return 'Invalid Request';
    case 'end-of-file':
      return 'EOF';
    default:
      return 'Unexpected Internal Error';
  }
}

function wait(session: Session): void {
  const { request, server } = session;
  if (request.count !== 2 && request.count !== 3) {
    refuse(session, 'Invalid arguments');
    return;
  }
  const command = server.commands.named(request.argument(1));
  if (command === undefined) {
    refuse(session, 'Unknown command to watch');
    return;
  }
  const timeoutMs = request.count === 2 ? WAIT_DEFAULT_MS : numberAt(session, 2);
  const tooLong = request.count === 3 && request.lengthOf(2) > MAX_TIMEOUT_BYTES;
  if (tooLong || timeoutMs < WAIT_SHORTEST_MS || timeoutMs > WAIT_LONGEST_MS) {
    refuse(session, 'Invalid timeout');
    return;
  }
  session.wait?.cancel();
  const timer = server.clock.after(
    timeoutMs,
    () => {
      session.wait?.cancel();
      session.notify(Buffer.from('-Timeout\r\n'));
    },
    true,
  );
  session.wait = {
    command: command.name === '*' ? undefined : command,
    cancel: () => {
      timer.cancel();
      session.wait = undefined;
      server.waiting.delete(session);
    },
  };
  server.waiting.add(session);
}

function master(session: Session): void {
  session.master = true;
  session.server.replies.simple('Hello, master');
}

function mirror(session: Session): void {
  session.mirror = true;
  session.server.mirrors.add(session);
  session.server.replies.simple('Starting mirroring');
}
