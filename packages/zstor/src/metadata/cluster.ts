// The metadata stores as one: reads the newest acknowledged value of a key, writes a new one, brings stores up to date.
// Knows nothing of records: values are bytes (records.ts gives them meaning).
//
// Invariants: a value is acknowledged when `writeQuorum` stores have its part, and only then does `write` resolve; from then on at
// least as many stores show it, on top or beneath a newer one, until a newer one is acknowledged; parts of different writes never
// mix (part.ts); what cannot be known is an error `unavailable` (decision.ts).
import type { Clock, Random } from '@qsfs/io';
import { isBackendError } from '../backend/backend.ts';
import type { GuardedRecordStore } from '../backend/guarded.ts';
import { ZstorError } from '../errors.ts';
import { type Answer, type Decision, decide, holdersOf, newestStamp } from './decision.ts';
import { KeyedLocks } from './locks.ts';
import type { Members } from './members.ts';
import {
  type Found,
  type Reconciled,
  type Seen,
  UncertainWrite,
  unavailable,
  type Written,
} from './outcome.ts';
import {
  encodeParts,
  encodeValue,
  joinParts,
  type MetadataKeys,
  seal,
  unseal,
  VERSIONS_PER_MS,
  type WriteStamp,
} from './part.ts';
import { PartStores } from './part-stores.ts';
import { Reconciliation } from './reconciliation.ts';

/** What a cluster works with. */
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
  readonly #stores: PartStores;
  readonly #members: Members;
  readonly #options: ClusterOptions;
  readonly #locks = new KeyedLocks();
  readonly #reconciliation: Reconciliation;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#stores = new PartStores(options);
    this.#members = this.#stores.members;
    this.#reconciliation = new Reconciliation({
      ...options,
      stores: this.#stores,
      locked: (key, call) => this.locked(key, call),
      seen: (key, decision, answers) => this.#seen(key, decision, answers),
      write: (key, content, seen) => this.write(key, content, seen),
    });
  }

  /**
   * Asks every store what it holds; takes as long as the slowest answers, at most a second.
   * @throws ZstorError QSFS_E_CONFIG when the stores hold records, and none under this key and prefix
   */
  async start(): Promise<void> {
    await Promise.all(this.#members.all.map((member) => this.#members.ask(member)));
    if (!this.#members.fresh()) return;
    const names = await this.#stores.strangers();
    if (names.length === 0) return;
    throw new ZstorError(
      'QSFS_E_CONFIG',
      `encryption.key: is not the key of what is stored: ${names.join(', ')} hold records made with another key (or another meta.config.prefix), and none with this one`,
      'correct encryption.key or meta.config.prefix, or give new data empty namespaces of its own in meta.config.backends',
    );
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
        this.#stores.answer(member, key).then((answer) => {
          answers[position] = answer;
          const now = decide(answers, this.#members.quorum());
          const isFull = answers.every(Boolean);
          const isEnough = !toChange || isFull || now.kind !== 'found' || this.#isHeld(answers, now.stamp);
          if (now.kind !== 'wait' && isEnough) resolve(now);
          if (now.kind === 'found' && isFull) this.#reconciliation.later(key, now.stamp, answers as Answer[]);
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
    const { acknowledged, failures } = await this.#stores.set(key, values);
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
    const values = this.#stores.missingValues(key, stamp, seen.parts, seen.answers);
    const { acknowledged, failures } = await this.#stores.set(key, values);
    const isOurShape = stamp.parts === this.#members.all.length;
    if (isOurShape && holdersOf(seen.answers, stamp) + acknowledged < this.#members.quorum()) {
      throw unavailable(`metadata record ${key} was cut off and cannot be completed: ${failures.join('; ')}`);
    }
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
  remove(key: string): Promise<void> {
    return this.#stores.remove(key);
  }

  /** See `PartStores.keys`. */
  keys(): Promise<Set<string>> {
    return this.#stores.keys();
  }

  /** See `Reconciliation.run`. */
  reconcile(
    visit?: (key: string, found: Found) => void,
    signal?: AbortSignal | undefined,
  ): Promise<Reconciled> {
    return this.#reconciliation.run(visit, signal);
  }

  async close(): Promise<void> {
    await this.#reconciliation.ended();
    await Promise.all(this.#members.all.map(({ store }) => store.close()));
  }
}
