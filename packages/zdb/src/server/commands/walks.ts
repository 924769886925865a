// SCAN, SCANX, RSCAN, KEYCUR, KSCAN, HISTORY, DBSIZE: looking through a namespace (specification sections 3.4 to 3.6).
import { NotLocal, type ScanBatch, StoreError } from '../../engine/types.ts';
import type { CommandDefinition, Session } from '../session.ts';
import { exactly, MAX_KEY_BYTES, notFrozen, refuse } from './arguments.ts';

/** Walking commands. */
export const SCAN: CommandDefinition = ['SCAN', (session) => walk(session, 'forward')];
export const SCANX: CommandDefinition = ['SCANX', (session) => walk(session, 'forward')];
export const RSCAN: CommandDefinition = ['RSCAN', (session) => walk(session, 'backward')];
export const KEYCUR: CommandDefinition = ['KEYCUR', keyCursor];
export const HISTORY: CommandDefinition = ['HISTORY', history];
export const DBSIZE: CommandDefinition = [
  'DBSIZE',
  (session) => session.server.replies.integer(session.slot.namespace.entries),
];

/** KSCAN is a command of the debug build only. */
export function prefixScan(debug: boolean): CommandDefinition {
  if (debug) return ['KSCAN', keysWithPrefix];
  return ['KSCAN', (session) => void refuse(session, 'Command disabled in release code, not yet available')];
}

/** Entries of one answer, at most, as many as the reference gives in its time: more would outlive their answer in the heap, which then grows by 30 MiB. */
const MAX_ENTRIES = 2500;

function walk(session: Session, direction: 'forward' | 'backward'): void {
  const { request, server } = session;
  const { replies } = server;
  if (!notFrozen(session)) return;
  const cursor = request.count > 1 ? request.argument(1) : undefined;
  let batch: ScanBatch | undefined;
  try {
    batch = session.slot.namespace.scan(direction, cursor, { entries: MAX_ENTRIES });
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    replies.error(error.reason === 'bad-cursor' ? 'Invalid key format' : 'Internal Error');
    return;
  }
  if (batch === undefined) {
    replies.error('No more data');
    return;
  }
  replies.array(2);
  replies.bulk(batch.cursor);
  replies.array(batch.entries.length);
  for (const entry of batch.entries) {
    replies.array(3);
    replies.bulk(entry.key);
    replies.integer(entry.lengthBytes);
    replies.integer(entry.timestamp | 0); // clients of the reference read it as a signed number
  }
}

function keyCursor(session: Session): void {
  const { request, server } = session;
  if (!exactly(session, 2) || !notFrozen(session)) return;
  const key = request.argument(1);
  const cursor = key.length > MAX_KEY_BYTES ? undefined : session.slot.namespace.cursorOf(key);
  if (cursor === undefined) server.replies.error('Key not found');
  else server.replies.bulk(cursor);
}

function keysWithPrefix(session: Session): void {
  const { namespace } = session.slot;
  if (namespace.mode === 'seq') {
    refuse(session, "Index running mode doesn't support this feature");
    return;
  }
  if (!exactly(session, 2)) return;
  const { replies } = session.server;
  const keys = namespace.keysWithPrefix(session.request.argument(1));
  if (keys.length === 0) {
    replies.error('No keys match');
    return;
  }
  replies.array(2);
  replies.text('0');
  replies.array(keys.length);
  for (const key of keys) replies.bulk(key);
}

function history(session: Session): void {
  const { request, server } = session;
  const { replies } = server;
  if (request.count !== 2 && request.count !== 3) {
    replies.error('Invalid arguments');
    return;
  }
  if (!notFrozen(session)) return;
  const key = request.argument(1);
  const cursor = request.count === 3 ? request.argument(2) : undefined;
  if (cursor === undefined && (key.length === 0 || key.length > MAX_KEY_BYTES)) {
    replies.error('Key not found');
    return;
  }
  try {
    const { older, timestamp, payload } = session.slot.namespace.history(key, cursor);
    replies.array(3);
    if (older === undefined) replies.nil();
    else replies.bulk(older);
    replies.text(String(timestamp));
    replies.bulk(payload);
  } catch (error) {
    if (error instanceof NotLocal && session.mayBring(error)) throw error;
    replies.error(historyRefusal(error));
  }
}

function historyRefusal(error: unknown): string {
  if (!(error instanceof StoreError)) return 'Internal Error';
  switch (error.reason) {
    case 'not-found':
      return 'Key not found';
    case 'bad-cursor':
      return 'Invalid arguments';
    case 'no-more-data':
      return 'No more history';
    case 'cursor-entry':
      return 'Invalid arguments (index query)';
    case 'cursor-key':
      return 'Invalid arguments (invalid key)';
    default:
      return 'Internal Error';
  }
}
