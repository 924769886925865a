// What both kinds of mirrors do with a target.
import type { ZdbClient } from '@qsfs/resp';

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
