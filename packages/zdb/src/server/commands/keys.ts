// SET, SETX, DEL and everything that reads one key (specification sections 3.1 to 3.3).
import { BORROW_BYTES } from '@qsfs/resp';
import { FOUND_ROOM_BYTES, NotLocal, StoreError } from '../../engine/types.ts';
import type { CommandDefinition, Session } from '../session.ts';
import { exactly, MAX_KEY_BYTES, mayWrite, notFrozen, readableKey, wrappedNumberAt } from './arguments.ts';

const CANNOT_WRITE = 'Cannot write data right now';
/** As for a namespace with a limit: clients know that it means room. */
const NO_ROOM = 'No space left on this disk for large values';
const CANNOT_DELETE = 'Cannot delete key (data)';

/** Key commands. */
export const SET: CommandDefinition = ['SET', set];
export const SETX: CommandDefinition = ['SETX', set];
export const DEL: CommandDefinition = ['DEL', remove];
export const GET: CommandDefinition = ['GET', get];
export const MGET: CommandDefinition = ['MGET', getMany];
export const EXISTS: CommandDefinition = ['EXISTS', exists];
export const CHECK: CommandDefinition = ['CHECK', check];
export const LENGTH: CommandDefinition = ['LENGTH', length];
export const KEYTIME: CommandDefinition = ['KEYTIME', keyTime];

function set(session: Session): void {
  const { request, server } = session;
  const { replies } = server;
  let timestamp: number | undefined;
  if (request.count === 4) {
    if (!session.admin) {
      server.deny(session);
      return;
    }
    timestamp = wrappedNumberAt(session, 3);
  } else if (request.count !== 3) {
    replies.error('Unexpected arguments');
    return;
  }
  if (request.lengthOf(1) > MAX_KEY_BYTES) {
    replies.error('Key too large');
    return;
  }
  if (!mayWrite(session)) return;
  const value = request.argument(2);
  if (!server.room.takes(session.slot.namespace, value.length)) {
    replies.error(NO_ROOM);
    return;
  }
  let stored: Uint8Array | undefined;
  try {
    stored = store(session, value, timestamp ?? server.timestamp);
  } catch (error) {
    const text = setRefusal(error);
    if (text === undefined) {
      if (error instanceof NotLocal) throw error;
      server.writeTrouble(error);
      replies.error(CANNOT_WRITE);
    } else {
      replies.error(text);
    }
    return;
  }
  if (stored === undefined) {
    replies.nil();
    return;
  }
  const start = replies.offset;
  replies.bulk(stored);
  server.wrote(session, value.length, start, CANNOT_WRITE);
}

/** Stores; when the old value cannot be brought for the comparison the new one counts as changed. */
function store(session: Session, value: Uint8Array, timestamp: number): Uint8Array | undefined {
  const { namespace } = session.slot;
  const key = session.request.shortArgument(1);
  try {
    return namespace.set(key, value, timestamp);
  } catch (error) {
    if (error instanceof NotLocal && !session.mayBring(error)) {
      return namespace.set(key, value, timestamp, false);
    }
    if (error instanceof StoreError && error.reason === 'commit-first' && session.server.commit()) {
      return namespace.set(key, value, timestamp);
    }
    throw error;
  }
}

function setRefusal(error: unknown): string | undefined {
  if (!(error instanceof StoreError)) return undefined;
  switch (error.reason) {
    case 'worm':
      return 'Namespace is protected by worm mode';
    case 'full':
      return 'No space left on this namespace';
    case 'key-needed':
      return 'Invalid argument, key needed';
    case 'update-only':
      return 'Invalid key, only update authorized';
    case 'key-too-large':
      return 'Key too large';
    case 'payload-too-large':
      return 'Payload too big';
    default:
      return undefined;
  }
}

function remove(session: Session): void {
  const { request, server } = session;
  const { replies } = server;
  let timestamp: number | undefined;
  if (request.count === 3) {
    if (!session.admin) {
      server.deny(session);
      return;
    }
    timestamp = wrappedNumberAt(session, 2);
  } else if (!exactly(session, 2)) {
    return;
  }
  if (request.lengthOf(1) > MAX_KEY_BYTES) {
    replies.error('Invalid key');
    return;
  }
  if (!mayWrite(session)) return;
  const { namespace } = session.slot;
  const key = request.shortArgument(1);
  let removed: boolean;
  try {
    removed = key.length > 0 && namespace.remove(key, timestamp ?? server.timestamp);
  } catch (error) {
    if (error instanceof StoreError && error.reason === 'worm') {
      replies.error('Cannot delete a key when namespace is in worm mode');
    } else if (error instanceof StoreError && error.reason === 'commit-first' && server.commit()) {
      remove(session);
    } else if (error instanceof NotLocal) {
      throw error;
    } else {
      server.writeTrouble(error);
      replies.error(CANNOT_DELETE);
    }
    return;
  }
  if (!removed) {
    replies.error('Key not found');
    return;
  }
  const start = replies.offset;
  replies.simple('OK');
  server.wrote(session, key.length, start, CANNOT_DELETE);
}

function get(session: Session): void {
  const key = readableKey(session);
  if (key !== undefined) answerValue(session, key);
}

/** GET's reply for one key. */
function answerValue(session: Session, key: Uint8Array): void {
  const { replies } = session.server;
  const { namespace } = session.slot;
  try {
    const length = namespace.find(key);
    if (length < 0) replies.nil();
    else if (length >= BORROW_BYTES) {
      const memory = session.replyMemory(length + FOUND_ROOM_BYTES);
      const value = namespace.readFound(key, memory);
      if (memory === undefined) replies.bulk(value);
      else replies.framed(value);
    } else {
      const at = replies.bulkSpace(length);
      namespace.copyFound(key, replies.memory, at);
    }
  } catch (error) {
    replies.rollback();
    unreadable(session, error);
    replies.error('Internal Error');
  }
}

/** Lets errors go that are not about the stored bytes, and those after which another attempt is worth it. */
function unreadable(session: Session, error: unknown): void {
  if (error instanceof NotLocal && session.mayBring(error)) throw error;
  session.server.log.line('warning', `cannot read: ${(error as Error).message}`);
}

function getMany(session: Session): void {
  const { request, server } = session;
  const { replies } = server;
  if (request.count < 2) {
    replies.error('Invalid arguments');
    return;
  }
  for (let i = 1; i < request.count; i++) {
    if (request.lengthOf(i) > MAX_KEY_BYTES) {
      replies.error('Invalid key');
      return;
    }
  }
  if (!notFrozen(session)) return;
  replies.array(request.count - 1);
  answerValues(session, 1);
}

/** The elements of MGET's reply from a position on; when much is waiting to be sent the rest comes later. */
function answerValues(session: Session, from: number): void {
  const { request, server } = session;
  for (let i = from; i < request.count; i++) {
    if (i > from && session.congested) {
      session.yield(() => answerValues(session, i));
      return;
    }
    server.replies.checkpoint();
    if (request.lengthOf(i) === 0) {
      server.replies.nil();
      continue;
    }
    try {
      answerValue(session, request.argument(i));
    } catch (error) {
      if (!(error instanceof NotLocal)) throw error;
      server.replies.rollback();
      session.bring(error, () => answerValues(session, i));
      return;
    }
  }
}

function exists(session: Session): void {
  const key = readableKey(session);
  if (key !== undefined)
    session.server.replies.integer(session.slot.namespace.info(key) === undefined ? 0 : 1);
}

function check(session: Session): void {
  const key = readableKey(session);
  if (key === undefined) return;
  const { replies } = session.server;
  let result: ReturnType<typeof session.slot.namespace.check>;
  try {
    result = session.slot.namespace.check(key);
  } catch (error) {
    unreadable(session, error);
    result = 'unreadable';
  }
  if (result === undefined) replies.nil();
  else replies.integer(result === 'intact' ? 1 : result === 'corrupt' ? 0 : -1);
}

function length(session: Session): void {
  const key = readableKey(session);
  if (key === undefined) return;
  const info = session.slot.namespace.info(key);
  if (info === undefined) session.server.replies.nil();
  else session.server.replies.integer(info.lengthBytes);
}

function keyTime(session: Session): void {
  const key = readableKey(session);
  if (key === undefined) return;
  const info = session.slot.namespace.info(key);
  if (info === undefined) session.server.replies.nil();
  else session.server.replies.integer(info.timestamp);
}
