// Checks of arguments that many commands share, with the reference's error texts (specification section 3). Each answers the
// client and returns false when the check fails.
import { laxNumber } from '@qsfs/resp';
import type { Session } from '../session.ts';

/** Longest key. */
export const MAX_KEY_BYTES = 255;
/** Longest name of a namespace. */
export const MAX_NAME_BYTES = 128;

/** Exactly `count` words, the command included, none of them empty. */
export function exactly(session: Session, count: number): boolean {
  if (session.request.count !== count) return refuse(session, 'Unexpected arguments');
  return noneEmpty(session);
}

/** At least `count` words, none of them empty. */
export function atLeast(session: Session, count: number): boolean {
  if (session.request.count < count) return refuse(session, 'Missing arguments');
  return noneEmpty(session);
}

function noneEmpty(session: Session): boolean {
  const { request } = session;
  for (let i = 1; i < request.count; i++) {
    if (request.lengthOf(i) === 0) return refuse(session, 'Invalid argument');
  }
  return true;
}

/** Answers an error. @returns false */
export function refuse(session: Session, text: string): false {
  session.server.replies.error(text);
  return false;
}

/** The namespace is not frozen. */
export function notFrozen(session: Session): boolean {
  if (!session.slot.namespace.settings.frozen) return true;
  return refuse(session, 'Namespace is temporarily frozen (read-write disabled)');
}

/** This connection may write, and the namespace takes writes. */
export function mayWrite(session: Session): boolean {
  if (!session.writable) return refuse(session, 'Namespace is in read-only mode');
  const { settings } = session.slot.namespace;
  if (settings.frozen) return notFrozen(session);
  if (settings.locked) return refuse(session, 'Namespace is temporarily locked (read-only)');
  return true;
}

/** One key that is to be read: arity, length, not frozen. */
export function readableKey(session: Session): Uint8Array | undefined {
  const { request } = session;
  if (request.count !== 2 || request.lengthOf(1) === 0) {
    exactly(session, 2);
    return undefined;
  }
  if (request.lengthOf(1) > MAX_KEY_BYTES) {
    refuse(session, 'Invalid key');
    return undefined;
  }
  return notFrozen(session) ? request.shortArgument(1) : undefined;
}

/** One namespace name as the only argument. */
export function namespaceName(session: Session): string | undefined {
  if (!exactly(session, 2)) return undefined;
  return nameAt(session, 1);
}

/** The namespace name at a position: length checked, cut at NUL. */
export function nameAt(session: Session, position: number): string | undefined {
  if (session.request.lengthOf(position) > MAX_NAME_BYTES) {
    refuse(session, 'Namespace too long');
    return undefined;
  }
  return textAt(session, position);
}

/** An argument as text, cut at an embedded NUL. */
export function textAt(session: Session, position: number): string {
  const bytes = session.request.argument(position);
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8');
}

/** An argument as an unsigned 32-bit number: junk is 0, the value wraps. */
export function wrappedNumberAt(session: Session, position: number): number {
  const bytes = session.request.argument(position);
  return laxNumber(bytes, 0, bytes.length) >>> 0;
}

/** A decimal argument, junk is 0; as exact as a number can be. */
export function numberAt(session: Session, position: number): number {
  const match = /^\s*([+-]?\d+)/.exec(textAt(session, position));
  return match === null ? 0 : Number(match[1]);
}
