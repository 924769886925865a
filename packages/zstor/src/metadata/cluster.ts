// The metadata stores as one: reads the newest acknowledged value of a key, writes a new one, brings stores up to date.
// Knows nothing of records: values are bytes (records.ts gives them meaning).
//
// Invariants: a value is acknowledged when `writeQuorum` stores have its part, and only then does `write` resolve; from then on at
// least as many stores show it, on top or beneath a newer one, until a newer one is acknowledged; parts of different writes never
// mix (part.ts); what cannot be known is an error `unavailable` (decision.ts).
import type { Clock, Random } from '@qsfs/io';
import { BackendError, isBackendError } from '../backend/backend.ts';
import type { GuardedRecordStore } from '../backend/guarded.ts';
import { ZstorError } from '../errors.ts';
import { type Answer, type Decision, decide, holdersOf, newestStamp, partOf } from './decision.ts';
import { KeyedLocks } from './locks.ts';
import { markerKey } from './marker.ts';
import { type Member, Members } from './members.ts';
import {
  type Found,
  type Reconciled,
  type Seen,
  UncertainWrite,
  unavailable,
  type Written,
} from './outcome.ts';
import {
  compareStamps,
  decodeValue,
  encodePart,
  encodeParts,
  encodeValue,
  joinParts,
  type MetadataKeys,
  type Part,
  seal,
  unseal,
  type WriteStamp,
} from './part.ts';

/** What the keys of every cluster begin with. */
const ANY_CLUSTER = 'v2/';
/** Pages of keys looked at for those of other clusters. */
const MOST_STRANGER_PAGES = 256;
/** Keys brought up to date at the same time. */
const RECONCILE_WINDOW = 16;
/** Repairs that reads may have under way; more wait for the next read or `reconcile`. */
const MOST_REPAIRING = 64;
/** Versions are at least the wall clock times this, so that they grow even over a name's deaths and rebirths. */
const VERSIONS_PER_MS = 1000n;
/** What looks like a cut-off write may be one that another process is just making: debris is touched only when it is older. */
const SETTLE_MS = 10_000;

export interface ClusterOptions {
  readonly stores: readonly GuardedRecordStore[];
  readonly keys: MetadataKeys;
  readonly minimalStores: number;
  readonly writeQuorum: number;
  readonly clock: Clock;
  readonly random: Random;
  /** Age of a cut-off write at which it is cleared away, milliseconds; default 10,000. */
  readonly settleMs?: number;
  /** A store answers again after it did not, or was found blank: it may lack something. */
  readonly lagging?: (store: string) => void;
}

/** M metadata stores of which `minimalStores` give a value back. */
export class MetadataCluster {
  readonly #members: Members;
  readonly #options: ClusterOptions;
  readonly #locks = new KeyedLocks();
  /** Repairs started by reads. */
  readonly #repairing = new Map<string, Promise<void>>();

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#members = new Members(options);
  }

  /**
   * Asks every store what it holds; takes as long as the slowest answers, at most a second.
   * @throws ZstorError QSFS_E_CONFIG when the stores hold records, and none under this key and prefix
   */
  async start(): Promise<void> {
    await Promise.all(this.#members.all.map((member) => this.#members.ask(member)));
    if (!this.#members.fresh()) return;
    const strangers = await Promise.all(this.#members.all.map((member) => this.#holdsStrangers(member)));
    const names = this.#members.all
      .filter((_, position) => strangers[position])
      .map(({ store }) => store.name);
    if (names.length === 0) return;
    throw new ZstorError(
      'QSFS_E_CONFIG',
      `encryption.key: is not the key of what is stored: ${names.join(', ')} hold records made with another key (or another meta.config.prefix), and none with this one`,
      'correct encryption.key or meta.config.prefix, or give new data empty namespaces of its own in meta.config.backends',
    );
  }

  /** Records of another key or prefix are there. Looks at the beginning only. */
  async #holdsStrangers({ store }: Member): Promise<boolean> {
    try {
      let pages = 0;
      for await (const page of store.keys(ANY_CLUSTER)) {
        if (page.some((key) => !key.startsWith(this.#options.keys.keyPrefix))) return true;
        if (++pages === MOST_STRANGER_PAGES) return false;
      }
    } catch (error) {
      if (!isBackendError(error)) throw error;
    }
    return false;
  }

  /** True when the stores that answer are enough for writing. */
  get writable(): boolean {
    return this.#members.usable().length >= this.#options.writeQuorum;
  }

  /** Further stores that may be lost before values cannot be read; -1 when they cannot now. */
  get tolerance(): number {
    const ready = this.#members.all.filter(
      (member) => member.store.health.usable && this.#members.ready(member),
    ).length;
    const needed = Math.max(
      this.#options.minimalStores,
      this.#members.all.length - this.#members.quorum() + 1,
    );
    return Math.max(-1, ready - needed);
  }

  /** Asks every store anew whether it still has what it was given: it can be emptied while we are connected. */
  async inspect(): Promise<void> {
    await Promise.all(
      this.#members.all.map(async (member) => {
        try {
          await this.#members.ask(member);
          await this.#members.askAgain(member);
        } catch (error) {
          if (!isBackendError(error)) throw error;
        }
        if (member.asked) return;
        // The connection may just have been that of a server that was started anew.
        await member.store.health.inspect();
        await this.#members.ask(member);
      }),
    );
  }

  /** Names of stores that answer but have to be filled first. */
  get blank(): string[] {
    return this.#members.all
      .filter((member) => member.asked && member.store.health.usable && !this.#members.ready(member))
      .map(({ store }) => store.name);
  }

  /** Holds the key's lock: nobody else in this process changes it meanwhile. */
  locked<T>(key: string, call: () => Promise<T>): Promise<T> {
    return this.#locks.run(key, call);
  }

  /**
   * The newest acknowledged value of a key; undefined when there certainly is none.
   * @throws ZstorError QSFS_E_UNAVAILABLE, QSFS_E_DAMAGED
   */
  async read(key: string): Promise<Found | undefined> {
    return (await this.look(key)).found;
  }

  /**
   * As `read`, with what a write needs to know.
   * @param toChange also wait until it is known that a quorum has what was found, or that it has not
   */
  async look(key: string, toChange = false): Promise<Seen> {
    const answers: (Answer | undefined)[] = this.#members.all.map(() => undefined);
    const decision = await new Promise<Exclude<Decision, { kind: 'wait' }>>((resolve, reject) => {
      for (const [position, member] of this.#members.all.entries()) {
        this.#answer(member, key).then((answer) => {
          answers[position] = answer;
          const now = decide(answers, this.#members.quorum());
          const isFull = answers.every(Boolean);
          const isEnough = !toChange || isFull || now.kind !== 'found' || this.#isHeld(answers, now.stamp);
          if (now.kind !== 'wait' && isEnough) resolve(now);
          if (now.kind === 'found' && isFull) this.#repairLater(key, now.stamp, answers as Answer[]);
        }, reject);
      }
    });
    return this.#seen(key, decision, [...answers]);
  }

  #seen(
    key: string,
    decision: Exclude<Decision, { kind: 'wait' }>,
    answers: readonly (Answer | undefined)[],
  ): Seen {
    const parts = decision.kind === 'found' ? decision.parts : [];
    return { found: this.#open(key, decision), newest: newestStamp(answers), parts, answers };
  }

  /** A quorum shows this write: it is acknowledged, whatever its writer was told. */
  #isHeld(answers: readonly (Answer | undefined)[], stamp: WriteStamp): boolean {
    return holdersOf(answers, stamp) >= this.#members.quorum();
  }

  #open(key: string, decision: Exclude<Decision, { kind: 'wait' }>): Found | undefined {
    if (decision.kind === 'absent') return undefined;
    if (decision.kind === 'unavailable') {
      // Whoever tries again shall not have to wait for the stores' next probe, too.
      for (const { store } of this.#members.all) if (!store.health.usable) void store.health.inspect();
      throw unavailable(decision.reason);
    }
    const { stamp, parts } = decision;
    if (stamp.tombstone) return { stamp, content: undefined };
    const content = unseal(this.#options.keys, key, stamp, joinParts(stamp, parts));
    if (!content) {
      throw new ZstorError(
        'QSFS_E_DAMAGED',
        `metadata record ${key} has authentic parts that do not fit together`,
      );
    }
    return { stamp, content };
  }

  /**
   * Writes a value, or a tombstone. The caller holds the lock and has looked at the key, to change it. What was there stays beneath
   * the new value on every store: cut off, the write loses nothing.
   * @param seen what was found; undefined for a key that was never used
   * @throws ZstorError QSFS_E_UNAVAILABLE when certainly nothing was written, UncertainWrite when that is not certain
   */
  async write(key: string, content: Uint8Array | undefined, seen: Seen | undefined): Promise<Written> {
    await this.#members.initialise();
    const { keys, random, clock, minimalStores, writeQuorum } = this.#options;
    this.assertWritable();
    await this.#settle(key, seen);
    const floor = BigInt(clock.nowMs()) * VERSIONS_PER_MS;
    const next = (seen?.newest?.version ?? 0n) + 1n;
    const identity = {
      version: next > floor ? next : floor,
      writeId: Buffer.from(random.bytes(8)).toString('hex'),
    };
    const sealed = content === undefined ? new Uint8Array(0) : seal(keys, random, key, identity, content);
    const stamp: WriteStamp = {
      ...identity,
      tombstone: content === undefined,
      minimalParts: minimalStores,
      parts: this.#members.all.length,
      sealedBytes: sealed.length,
    };
    const bases = seen?.found
      ? encodeParts(keys, key, seen.found.stamp, joinParts(seen.found.stamp, seen.parts))
      : [];
    const values = encodeParts(keys, key, stamp, sealed).map((part, position) =>
      encodeValue(keys, key, part, bases[position]),
    );
    const { acknowledged, failures } = await this.#set(key, values);
    if (acknowledged < writeQuorum) {
      throw new UncertainWrite(
        'QSFS_E_UNAVAILABLE',
        `only ${acknowledged} of the ${writeQuorum} metadata stores needed took the record: ${failures.join('; ')}`,
        'bring metadata stores back (zstor status names them), or correct meta.config.backends, and try again',
      );
    }
    return { stamp, everywhere: acknowledged === this.#members.all.length };
  }

  /**
   * Makes sure that a quorum has what was found. A write that was cut off with enough parts to be read is completed as it was meant:
   * only what is acknowledged may be written over, or two writes that were cut off could together take away the one before them.
   * @throws ZstorError QSFS_E_UNAVAILABLE when it cannot be completed now
   */
  async #settle(key: string, seen: Seen | undefined): Promise<void> {
    if (!seen?.found || this.#isHeld(seen.answers, seen.found.stamp)) return;
    const { stamp } = seen.found;
    const values = this.#missingValues(key, stamp, seen.parts, seen.answers);
    const { acknowledged, failures } = await this.#set(key, values);
    const isOurShape = stamp.parts === this.#members.all.length;
    if (isOurShape && holdersOf(seen.answers, stamp) + acknowledged < this.#members.quorum()) {
      throw unavailable(`metadata record ${key} was cut off and cannot be completed: ${failures.join('; ')}`);
    }
  }

  /** The values that stores lack which do not show a write, by position. What that write replaced there stays beneath. */
  #missingValues(
    key: string,
    stamp: WriteStamp,
    parts: readonly Part[],
    answers: readonly (Answer | undefined)[],
  ): (Uint8Array | undefined)[] {
    const { keys } = this.#options;
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

  /** Gives stores their values; those without one are left alone. */
  async #set(
    key: string,
    values: readonly (Uint8Array | undefined)[],
  ): Promise<{ readonly acknowledged: number; readonly failures: string[]; readonly failed: Member[] }> {
    const failures: string[] = [];
    const failed: Member[] = [];
    let acknowledged = 0;
    await Promise.all(
      this.#members.all.map(async (member, position) => {
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

  /** @throws ZstorError QSFS_E_UNAVAILABLE when too few stores answer for a write to be acknowledged */
  assertWritable(): void {
    const { writeQuorum } = this.#options;
    const usable = this.#members.usable().length;
    if (usable >= writeQuorum) return;
    const down = this.#members.all.flatMap(({ store }) =>
      store.health.usable ? [] : [`${store.name} ${store.health.reason}`],
    );
    throw new ZstorError(
      'QSFS_E_UNAVAILABLE',
      `metadata cannot be written: ${usable} of ${this.#members.all.length} metadata stores answer, ${writeQuorum} are needed (${down.join('; ')})`,
      'bring metadata stores back, or correct meta.config.backends, and try again',
    );
  }

  /** Takes a key off every store that answers. Only for what no reader looks for any more. */
  async remove(key: string): Promise<void> {
    await Promise.all(
      this.#members.all.map(async ({ store }) => {
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
    const marker = markerKey(this.#options.keys);
    await Promise.all(
      this.#members.all.map(async (member) => {
        try {
          await this.#members.ask(member);
          await this.#members.askAgain(member);
          const { name, health } = member.store;
          if (!this.#members.ready(member))
            throw new BackendError(
              name,
              'unreachable',
              health.usable ? 'is new or was wiped and is not filled yet' : health.reason,
            );
          for await (const page of member.store.keys(this.#options.keys.keyPrefix)) {
            for (const key of page) if (key !== marker) found.add(key);
          }
        } catch (error) {
          if (!isBackendError(error)) throw error;
          failures.push(error.message);
        }
      }),
    );
    if (failures.length >= this.#members.quorum()) {
      throw unavailable(`${failures.length} metadata stores cannot be listed: ${failures.join('; ')}`);
    }
    return found;
  }

  /**
   * Brings every store that answers up to date, key by key, and marks those that then hold everything.
   * @param visit called for every value (not for tombstones)
   * @throws ZstorError QSFS_E_UNAVAILABLE; QSFS_E_ABORTED
   */
  async reconcile(
    visit?: (key: string, found: Found) => void,
    signal?: AbortSignal | undefined,
  ): Promise<Reconciled> {
    await Promise.all(this.#members.all.map((member) => this.#members.ask(member)));
    if (this.#members.fresh()) return { refreshed: 0, failures: [] };
    const filling = this.#members.all.filter(
      (member) => member.store.health.usable && !this.#members.complete(member),
    );
    const outdated = this.#members.quorum() !== this.#options.writeQuorum;
    const queue = [...(await this.keys())];
    const failures: string[] = [];
    const missed = new Set<Member>();
    let refreshed = 0;
    const work = async () => {
      for (let key = queue.pop(); key !== undefined && !signal?.aborted; key = queue.pop()) {
        try {
          if (await this.#refresh(key, visit, missed)) refreshed++;
        } catch (error) {
          if (!(error instanceof ZstorError)) throw error;
          failures.push(`${key}: ${error.message}`);
        }
      }
    };
    await Promise.all(Array.from({ length: RECONCILE_WINDOW }, work));
    if (signal?.aborted) throw new ZstorError('QSFS_E_ABORTED', 'given up');
    if (failures.length === 0) {
      const isEverybody = outdated && this.#members.usable().length === this.#members.all.length;
      const marking = isEverybody ? this.#members.all : filling;
      await this.#members.mark(
        marking.filter((member) => !missed.has(member)),
        'complete',
      );
    }
    return { refreshed, failures };
  }

  /**
   * Gives each store that lacks its part of the newest value of a key that part.
   * @param missed gets the stores that lack it all the same
   * @returns whether one did
   */
  #refresh(
    key: string,
    visit?: (key: string, found: Found) => void,
    missed: Set<Member> = new Set(),
  ): Promise<boolean> {
    return this.locked(key, async () => {
      const answers = await Promise.all(this.#members.all.map((member) => this.#answer(member, key)));
      const decision = decide(answers, this.#members.quorum());
      if (decision.kind === 'wait') throw new Error('a decision waits although every store has answered');
      const seen = this.#seen(key, decision, answers);
      const { found, newest } = seen;
      if (!found) return this.#clear(key, answers, newest);
      if (found.content !== undefined) visit?.(key, found);
      const { stamp } = found;
      const current = (answer: Answer, position: number) =>
        answer.kind === 'part' &&
        answer.part.index === position &&
        answer.part.stamp.version === stamp.version &&
        answer.part.stamp.writeId === stamp.writeId;
      if (answers.every(current)) {
        if (stamp.tombstone) await this.remove(key); // every store has it: nothing older can come back
        return false;
      }
      const lacking = new Map<number, Member>();
      for (const [position, member] of this.#members.all.entries()) {
        if (current(answers[position]!, position)) continue;
        if (member.store.health.usable) lacking.set(position, member);
        else missed.add(member);
      }
      if (lacking.size === 0) return false;
      const sameShape =
        stamp.parts === this.#members.all.length && stamp.minimalParts === this.#options.minimalStores;
      const overtaken = newest!.version !== stamp.version || newest!.writeId !== stamp.writeId;
      if (overtaken) this.#assertSettled(key, newest!);
      if (!sameShape || overtaken || decision.kind !== 'found') {
        // Coded for other stores, or under the debris of a cut-off write: write it anew, above everything.
        const { everywhere } = await this.write(key, found.content, seen);
        if (!everywhere) for (const member of this.#members.all) missed.add(member);
        return true;
      }
      const values = this.#missingValues(key, stamp, decision.parts, answers);
      const { failed } = await this.#set(
        key,
        values.map((value, position) => (lacking.has(position) ? value : undefined)),
      );
      for (const member of failed) missed.add(member);
      return true;
    });
  }

  /** @throws ZstorError QSFS_E_UNAVAILABLE when the newest write may still be under way in another process */
  #assertSettled(key: string, newest: WriteStamp): void {
    const { clock, settleMs = SETTLE_MS } = this.#options;
    const ageMs = Math.abs(clock.nowMs() - Number(newest.version / VERSIONS_PER_MS));
    if (ageMs < settleMs)
      throw unavailable(`metadata record ${key} is being written, or was cut off just now`);
  }

  /** Repair on reading: a store that answered, but with nothing or something older, is given its part. */
  #repairLater(key: string, stamp: WriteStamp, answers: readonly Answer[]): void {
    const lagging = answers.some(
      (answer) =>
        answer.kind === 'nothing' ||
        (answer.kind === 'part' && compareStamps(answer.part.stamp, stamp) !== 0),
    );
    if (!lagging || this.#repairing.size >= MOST_REPAIRING || this.#repairing.has(key)) return;
    const repair = this.#refresh(key).then(
      () => {},
      (error: unknown) => {
        if (!(error instanceof ZstorError)) throw error;
      },
    );
    this.#repairing.set(
      key,
      repair.finally(() => this.#repairing.delete(key)),
    );
  }

  /** Removes the debris of writes that were never acknowledged, when every store answers. */
  async #clear(key: string, answers: readonly Answer[], newest: WriteStamp | undefined): Promise<boolean> {
    if (!newest || answers.some(({ kind }) => kind === 'silent')) return false;
    this.#assertSettled(key, newest);
    await this.remove(key);
    return true;
  }

  async #answer(member: Member, key: string): Promise<Answer> {
    try {
      await this.#members.ask(member);
      const value = await member.store.get(key);
      const stored = value && decodeValue(this.#options.keys, key, value);
      if (stored) return { kind: 'part', ...stored };
      if (value)
        return { kind: 'silent', reason: `${member.store.name} holds something that is no part of it` };
      await this.#members.askAgain(member);
      if (this.#members.ready(member)) return { kind: 'nothing' };
      return { kind: 'silent', reason: `${member.store.name} is new or was wiped and is not filled yet` };
    } catch (error) {
      if (!isBackendError(error)) throw error;
      return { kind: 'silent', reason: error.message };
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#repairing.values());
    await Promise.all(this.#members.all.map(({ store }) => store.close()));
  }
}
