// NSNEW, NSDEL, NSLIST, NSSET, NSINFO, NSJUMP, SELECT, RELOAD, FLUSH (specification section 3.7).
import { StoreError } from '../../engine/types.ts';
import { provesSecret, sameSecret } from '../secrets.ts';
import type { CommandDefinition, Session } from '../session.ts';
import { Slot } from '../slot.ts';
import { exactly, MAX_NAME_BYTES, nameAt, namespaceName, refuse, textAt } from './arguments.ts';
import { applyProperty } from './properties.ts';
import { describeNamespace } from './reports.ts';

const MAX_PASSWORD_BYTES = 255;
const PROOF_BYTES = 40;
const CANNOT_WRITE = 'Cannot write data right now';

/** Namespace commands. */
export const NSNEW: CommandDefinition = ['NSNEW', create, 'admin'];
export const NSDEL: CommandDefinition = ['NSDEL', remove, 'admin'];
export const NSLIST: CommandDefinition = ['NSLIST', list];
export const NSSET: CommandDefinition = ['NSSET', configure, 'admin'];
export const NSINFO: CommandDefinition = ['NSINFO', describe];
export const NSJUMP: CommandDefinition = ['NSJUMP', rotate, 'admin'];
export const SELECT: CommandDefinition = ['SELECT', select];
export const RELOAD: CommandDefinition = ['RELOAD', reload, 'admin'];
export const FLUSH: CommandDefinition = ['FLUSH', flush];

function create(session: Session): void {
  const { server } = session;
  const name = namespaceName(session);
  if (name === undefined) return;
  if (!allowed(session, name)) {
    refuse(session, 'This name is not allowed');
    return;
  }
  if (server.slot(name) !== undefined) {
    refuse(session, 'This namespace is not available');
    return;
  }
  if (!committed(session)) return;
  try {
    server.addSlot(new Slot(server.engine.createNamespace(name)));
  } catch (error) {
    server.log.line('error', `cannot create namespace ${name}: ${(error as Error).message}`);
    const named = error instanceof StoreError && error.reason === 'name-not-allowed';
    refuse(session, named ? 'This name is not allowed' : 'Could not create namespace');
    return;
  }
  void server.hooks?.run('namespace-created', [name]);
  server.replies.simple('OK');
}

/**
 * Names that cannot leave their directory, and that read back as they were given: no NUL (the reference then removes everything at
 * NSDEL), no control characters (they forge lines of NSINFO), valid UTF-8.
 */
function allowed(session: Session, name: string): boolean {
  const bytes = session.request.argument(1);
  if (name === '' || name === '.' || name === '..' || name === 'default' || name.includes('/')) return false;
  return !/\p{Cc}/u.test(name) && Buffer.compare(Buffer.from(name), bytes) === 0;
}

function remove(session: Session): void {
  const { server } = session;
  const name = namespaceName(session);
  if (name === undefined) return;
  if (name === 'default') {
    refuse(session, 'Cannot remove default namespace');
    return;
  }
  const slot = server.slot(name);
  if (slot === undefined) {
    refuse(session, "This namespace doesn't exists");
    return;
  }
  if (slot === session.slot) {
    refuse(session, "Cannot remove namespace you're currently using.");
    return;
  }
  if (!committed(session)) return;
  server.engine.removeNamespace(name);
  server.removeSlot(slot);
  void server.hooks?.run('namespace-deleted', [name]);
  server.replies.simple('OK');
}

function list(session: Session): void {
  const { replies, engine } = session.server;
  const namespaces = engine.namespaces();
  replies.array(namespaces.length);
  for (const namespace of namespaces) replies.text(namespace.name);
}

function configure(session: Session): void {
  const { request, server } = session;
  if (!exactly(session, 4)) return;
  const name = nameAt(session, 1);
  if (name === undefined) return;
  if (request.lengthOf(2) > 256 || request.lengthOf(3) > 63) {
    refuse(session, 'Argument too long');
    return;
  }
  const slot = server.slot(name);
  if (slot === undefined) {
    refuse(session, 'Namespace not found');
    return;
  }
  if (!committed(session)) return;
  const refusal = applyProperty(
    slot,
    textAt(session, 2),
    new Uint8Array(request.argument(3)),
    server.options.singleMode,
  );
  if (refusal !== undefined) {
    refuse(session, refusal);
    return;
  }
  void server.hooks?.run('namespace-updated', [name]);
  server.replies.simple('OK');
}

function describe(session: Session): void {
  const name = namespaceName(session);
  if (name === undefined) return;
  const slot = session.server.slot(name);
  if (slot === undefined) refuse(session, 'Namespace not found');
  else session.server.replies.text(describeNamespace(session, slot));
}

function rotate(session: Session): void {
  const { server, slot } = session;
  if (!committed(session)) return;
  try {
    slot.namespace.rotate();
  } catch (error) {
    server.log.line('error', `cannot rotate ${slot.name}: ${(error as Error).message}`);
    refuse(session, CANNOT_WRITE);
    return;
  }
  server.replies.simple('OK');
}

function select(session: Session): void {
  const { request, server } = session;
  if (request.count < 2) {
    refuse(session, 'Invalid argument');
    return;
  }
  if (request.lengthOf(1) > MAX_NAME_BYTES) {
    refuse(session, 'Namespace too long');
    return;
  }
  const slot = server.slot(textAt(session, 1));
  if (slot === undefined) {
    refuse(session, 'Namespace not found');
    return;
  }
  const writable = admission(session, slot);
  if (writable === undefined) return;
  session.slot = slot;
  session.writable = writable;
  server.replies.simple('OK');
}

/** Whether the session may enter, and write; undefined: it was refused and answered. */
function admission(session: Session, slot: Slot): boolean | undefined {
  const { request } = session;
  const { password, public: open } = slot.namespace.settings;
  if (password === undefined) return true;
  if (request.count === 2) {
    if (open) return false;
    refuse(session, 'Namespace protected and private');
    return undefined;
  }
  if (request.count > 4) {
    refuse(session, 'Too many arguments');
    return undefined;
  }
  const refusal = request.count === 3 ? passwordRefusal(session, password) : proofRefusal(session, password);
  if (refusal === undefined) return true;
  refuse(session, refusal);
  return undefined;
}

function passwordRefusal(session: Session, password: Uint8Array): string | undefined {
  const given = session.request.argument(2);
  if (given.length > MAX_PASSWORD_BYTES) return 'Password too long';
  return sameSecret(given, password) ? undefined : 'Access denied';
}

/** SELECT … SECURE; the challenge is used up, so that the proof cannot be used again (D14). */
function proofRefusal(session: Session, password: Uint8Array): string | undefined {
  const { request } = session;
  if (!isPrefixOf(request.argument(2), 'SECURE')) return 'Only SECURE extra method supported';
  const { challenge } = session;
  if (challenge === undefined) return 'No CHALLENGE requested, secure authentication not available';
  if (request.lengthOf(3) !== PROOF_BYTES) return 'Invalid hash length';
  session.challenge = undefined;
  return provesSecret(request.argument(3), challenge, password) ? undefined : 'Access denied';
}

/** Whether a word selects a name: a prefix, without regard to case. Other than in command words NUL is a byte like others. */
export function isPrefixOf(word: Uint8Array, name: string): boolean {
  return name.startsWith(Buffer.from(word).toString('latin1').toUpperCase());
}

function reload(session: Session): void {
  const { server } = session;
  const name = namespaceName(session);
  if (name === undefined) return;
  const slot = server.slot(name);
  if (slot === undefined) {
    refuse(session, 'Namespace not found');
    return;
  }
  if (!committed(session)) return;
  server.engine.reload(name);
  const namespace = server.engine.namespace(name);
  if (namespace === undefined) throw new Error(`namespace ${name} is gone after reloading it`);
  slot.namespace = namespace;
  slot.clearDirty();
  void server.hooks?.run('namespace-reloaded', [name]);
  server.replies.simple('OK');
}

function flush(session: Session): void {
  const { settings } = session.slot.namespace;
  if (settings.public || settings.password === undefined) {
    refuse(session, 'Flushing public namespace denied');
    return;
  }
  if (!committed(session)) return;
  session.slot.namespace.flush();
  session.slot.clearDirty();
  session.server.replies.simple('OK');
}

/** What was written before is committed first, so that its failure is not mixed up with this command's. */
function committed(session: Session): boolean {
  return session.server.commit() || refuse(session, CANNOT_WRITE);
}
