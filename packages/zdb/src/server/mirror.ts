// MASTER and MIRROR: copies of commands for followers (specification section 3.9).
//
// The owner id of a command is the number its master connection put behind it, else the number of its connection (the reference
// leaves it uninitialised, D9). Commands with owner id 0 are not copied: a follower that replays them as a master does not echo.
import { laxNumber } from '@qsfs/resp';
import type { Host, Session } from './session.ts';

/** Longest owner id as text. */
const MAX_OWNER_BYTES = 32;

/** Takes the owner id off a master's request. @returns false when the request is dropped or was answered */
export function ownerOf(session: Session): boolean {
  const { request } = session;
  const last = request.argument(request.count - 1);
  if (last.length > MAX_OWNER_BYTES) return false;
  if (request.count === 1) {
    session.server.replies.error('Missing arguments');
    return false;
  }
  session.owner = laxNumber(last, 0, last.length) >>> 0;
  request.dropLast();
  return true;
}

/** Copies the session's current command to all mirrors. */
export function forward(server: Host, session: Session): void {
  if (session.owner === 0) return;
  const { request } = session;
  const name = Buffer.from(session.slot.name);
  const parts: Uint8Array[] = [
    Buffer.from(`*${3 + request.count}\r\n:${server.clock.nowSeconds()}\r\n$${name.length}\r\n`),
    name,
    Buffer.from(`\r\n:${session.owner}\r\n`),
  ];
  for (let i = 0; i < request.count; i++) {
    const word = request.argument(i);
    parts.push(Buffer.from(`$${word.length}\r\n`), word, Buffer.from('\r\n'));
  }
  const copy = Buffer.concat(parts);
  for (const mirror of [...server.mirrors]) if (mirror !== session) mirror.notify(copy);
}
