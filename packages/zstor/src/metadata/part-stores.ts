// The metadata stores as holders of parts: each has, under a key, its part of the newest write and of the one before. What the parts
// together mean is decided in cluster.ts.
import { BackendError, isBackendError } from '../backend/backend.ts';
import { type Answer, partOf } from './decision.ts';
import { markerKey } from './marker.ts';
import { type Member, type MemberOptions, Members } from './members.ts';
import { unavailable } from './outcome.ts';
import {
  compareStamps,
  decodeValue,
  encodePart,
  encodeParts,
  encodeValue,
  joinParts,
  type MetadataKeys,
  type Part,
  type WriteStamp,
} from './part.ts';

/** What the keys of every cluster begin with. */
const ANY_CLUSTER = 'v2/';
/** Pages of keys looked at for those of other clusters. */
const MOST_STRANGER_PAGES = 256;

/** All stores of one cluster. */
export class PartStores {
  readonly members: Members;
  readonly #keys: MetadataKeys;

  constructor(options: MemberOptions) {
    this.members = new Members(options);
    this.#keys = options.keys;
  }

  /** What a store shows of a key. */
  async answer(member: Member, key: string): Promise<Answer> {
    try {
      await this.members.ask(member);
      const value = await member.store.get(key);
      const stored = value && decodeValue(this.#keys, key, value);
      if (stored) return { kind: 'part', ...stored };
      if (value)
        return { kind: 'silent', reason: `${member.store.name} holds something that is no part of it` };
      await this.members.askAgain(member);
      if (this.members.ready(member)) return { kind: 'nothing' };
      return { kind: 'silent', reason: `${member.store.name} is new or was wiped and is not filled yet` };
    } catch (error) {
      if (!isBackendError(error)) throw error;
      return { kind: 'silent', reason: error.message };
    }
  }

  /** Gives stores their values; those without one are left alone. */
  async set(
    key: string,
    values: readonly (Uint8Array | undefined)[],
  ): Promise<{ readonly acknowledged: number; readonly failures: string[]; readonly failed: Member[] }> {
    const failures: string[] = [];
    const failed: Member[] = [];
    let acknowledged = 0;
    await Promise.all(
      this.members.all.map(async (member, position) => {
        const value = values[position];
        if (!value) return;
        try {
          await member.store.set(key, value);
          acknowledged++;
        } catch (error) {
          if (!isBackendError(error)) throw error;
          failures.push(error.message);
          failed.push(member);
        }
      }),
    );
    return { acknowledged, failures, failed };
  }

  /** The values that stores lack which do not show a write, by position. What that write replaced there stays beneath. */
  missingValues(
    key: string,
    stamp: WriteStamp,
    parts: readonly Part[],
    answers: readonly (Answer | undefined)[],
  ): (Uint8Array | undefined)[] {
    const keys = this.#keys;
    const replaced = answers.flatMap((answer) =>
      answer?.kind === 'part' && answer.base && compareStamps(answer.part.stamp, stamp) === 0
        ? [answer.base.stamp]
        : [],
    );
    return encodeParts(keys, key, stamp, joinParts(stamp, parts)).map((part, position) => {
      const answer = answers[position];
      if (answer && partOf(answer, stamp)?.index === position) return undefined;
      const own = answer && replaced.map((base) => partOf(answer, base)).find(Boolean);
      // Values of earlier versions do not tell what they replaced: then it is whatever the store has.
      const kept = own ?? (answer?.kind === 'part' && replaced.length === 0 ? answer.part : undefined);
      return encodeValue(keys, key, part, kept && encodePart(keys, key, kept));
    });
  }

  /** Takes a key off every store that answers. Only for what no reader looks for any more. */
  async remove(key: string): Promise<void> {
    await Promise.all(
      this.members.all.map(async ({ store }) => {
        try {
          await store.delete(key);
        } catch (error) {
          if (!isBackendError(error)) throw error;
        }
      }),
    );
  }

  /**
   * Every key that holds an acknowledged value, and possibly some that do not.
   * @throws ZstorError QSFS_E_UNAVAILABLE when the stores that answer may not know of all
   */
  async keys(): Promise<Set<string>> {
    const found = new Set<string>();
    const failures: string[] = [];
    const marker = markerKey(this.#keys);
    await Promise.all(
      this.members.all.map(async (member) => {
        try {
          await this.members.ask(member);
          await this.members.askAgain(member);
          const { name, health } = member.store;
          if (!this.members.ready(member))
            throw new BackendError(
              name,
              'unreachable',
              health.usable ? 'is new or was wiped and is not filled yet' : health.reason,
            );
          for await (const page of member.store.keys(this.#keys.keyPrefix)) {
            for (const key of page) if (key !== marker) found.add(key);
          }
        } catch (error) {
          if (!isBackendError(error)) throw error;
          failures.push(error.message);
        }
      }),
    );
    if (failures.length >= this.members.quorum()) {
      throw unavailable(`${failures.length} metadata stores cannot be listed: ${failures.join('; ')}`);
    }
    return found;
  }

  /** Names of stores that hold records of another key or prefix. Looks at the beginning only. */
  async strangers(): Promise<string[]> {
    const found = await Promise.all(this.members.all.map((member) => this.#holdsStrangers(member)));
    return this.members.all.filter((_, position) => found[position]).map(({ store }) => store.name);
  }

  async #holdsStrangers({ store }: Member): Promise<boolean> {
    try {
      let pages = 0;
      for await (const page of store.keys(ANY_CLUSTER)) {
        if (page.some((key) => !key.startsWith(this.#keys.keyPrefix))) return true;
        if (++pages === MOST_STRANGER_PAGES) return false;
      }
    } catch (error) {
      if (!isBackendError(error)) throw error;
    }
    return false;
  }
}
