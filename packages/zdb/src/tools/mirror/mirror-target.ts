// What both kinds of mirrors do with a target.
import { RespError, type ZdbClient } from '@qsfs/resp';

/** Requests under way at a time. */
export const IN_FLIGHT = 64;

/** Requests whose answers are waited for later, in order and a bounded number. */
export class UnderWay {
  readonly #requests: Promise<unknown>[] = [];

  /** Adds one; waits for the oldest when there are many. @throws what that one failed with */
  async add(request: Promise<unknown>): Promise<void> {
    request.catch(() => {}); // met when it is waited for
    this.#requests.push(request);
    if (this.#requests.length >= IN_FLIGHT) await this.#requests.shift();
  }

  /** Waits for all, also when some fail. @throws what the first of them failed with */
  async settle(): Promise<void> {
    const results = await Promise.allSettled(this.#requests.splice(0));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }
}

/** Removes the keys from the target that the source does not have. @returns how many */
export async function dropForeign(
  source: Pick<ZdbClient, 'exists'>,
  target: Pick<ZdbClient, 'scan' | 'delete'>,
): Promise<number> {
  let dropped = 0;
  for (let page = await target.scan(); page !== undefined; page = await target.scan(page.cursor)) {
    for (let at = 0; at < page.entries.length; at += IN_FLIGHT) {
      const keys = page.entries.slice(at, at + IN_FLIGHT).map(({ key }) => key);
      const known = await Promise.all(keys.map(async (key) => await source.exists(key)));
      const foreign = keys.filter((_, i) => !known[i]);
      const removed = await Promise.all(foreign.map(async (key) => await target.delete(key)));
      dropped += removed.filter(Boolean).length;
    }
  }
  return dropped;
}

/** Where the payload's length and checksum stand in the cursor of a key (specification section 3.4). */
const CURSOR_LENGTH = [5, 9] as const;
const CURSOR_CHECKSUM = [13, 17] as const;

/**
 * Brings what has another value or time on the target than on the source, as it is now. (user)
 * @param unreadable told of keys that the source cannot read; the target keeps what it has of them
 * @returns how many were written
 */
export async function bringDiffering(
  source: Pick<ZdbClient, 'scan' | 'get' | 'cursorOf' | 'keyTime'>,
  target: Pick<ZdbClient, 'set' | 'delete' | 'cursorOf' | 'keyTime'>,
  unreadable: (key: Uint8Array) => void,
): Promise<number> {
  const bring = async (key: Uint8Array): Promise<boolean> => {
    const [there, here, time, timeHere] = await Promise.all([
      source.cursorOf(key),
      target.cursorOf(key),
      source.keyTime(key),
      target.keyTime(key),
    ]);
    if (there === undefined || time === undefined) return false; // deleted meanwhile
    const isSame = here !== undefined && isSameValue(there, here);
    if (isSame && time === timeHere) return false;
    let value: Uint8Array | undefined;
    try {
      value = await source.get(key);
    } catch (error) {
      if (!(error instanceof RespError) || error.message !== 'Internal Error') throw error;
      unreadable(key);
      return false;
    }
    if (value === undefined) return false;
    // The same value once more would change nothing, not even the time.
    if (isSame) await target.delete(key, time);
    await target.set(key, value, time);
    return true;
  };
  let brought = 0;
  for (let page = await source.scan(); page !== undefined; page = await source.scan(page.cursor)) {
    for (let at = 0; at < page.entries.length; at += IN_FLIGHT) {
      const written = await Promise.all(page.entries.slice(at, at + IN_FLIGHT).map(({ key }) => bring(key)));
      brought += written.filter(Boolean).length;
    }
  }
  return brought;
}

function isSameValue(one: Uint8Array, other: Uint8Array): boolean {
  return [CURSOR_LENGTH, CURSOR_CHECKSUM].every(
    ([from, to]) => Buffer.compare(one.subarray(from, to), other.subarray(from, to)) === 0,
  );
}
