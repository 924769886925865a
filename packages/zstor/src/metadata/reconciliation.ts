// Brings metadata stores up to date: gives each that lacks its part of the newest value of a key that part, key by key on request, and for
// single keys when a read finds one that lags behind. Belongs to a MetadataCluster, whose rules it keeps.
import type { Clock } from '@qsfs/io';
import { ZstorError } from '../errors.ts';
import { type Answer, type Decision, decide } from './decision.ts';
import type { Member, Members } from './members.ts';
import { type Found, type Reconciled, type Seen, unavailable, type Written } from './outcome.ts';
import { compareStamps, VERSIONS_PER_MS, type WriteStamp } from './part.ts';
import type { PartStores } from './part-stores.ts';

/** Keys brought up to date at the same time. */
const RECONCILE_WINDOW = 16;
/** Repairs that reads may have under way; more wait for the next read or `run`. */
const MOST_REPAIRING = 64;
/** What looks like a cut-off write may be one that another process is just making: debris is touched only when it is older. */
const SETTLE_MS = 10_000;

/** What it works with: of the cluster, see there. */
export interface ReconciliationParts {
  readonly stores: PartStores;
  readonly minimalStores: number;
  readonly writeQuorum: number;
  readonly clock: Clock;
  /** Age of a cut-off write at which it is cleared away, milliseconds; default 10,000. */
  readonly settleMs?: number;
  readonly locked: <T>(key: string, call: () => Promise<T>) => Promise<T>;
  readonly seen: (
    key: string,
    decision: Exclude<Decision, { kind: 'wait' }>,
    answers: readonly (Answer | undefined)[],
  ) => Seen;
  readonly write: (key: string, content: Uint8Array | undefined, seen: Seen | undefined) => Promise<Written>;
}

/** See the module's header. */
export class Reconciliation {
  readonly #parts: ReconciliationParts;
  readonly #stores: PartStores;
  readonly #members: Members;
  /** Repairs started by reads. */
  readonly #repairing = new Map<string, Promise<void>>();

  constructor(parts: ReconciliationParts) {
    this.#parts = parts;
    this.#stores = parts.stores;
    this.#members = parts.stores.members;
  }

  /**
   * Brings every store that answers up to date, key by key, and marks those that then hold everything.
   * @param visit called for every value (not for tombstones)
   * @throws ZstorError QSFS_E_UNAVAILABLE; QSFS_E_ABORTED
   */
  async run(
    visit?: (key: string, found: Found) => void,
    signal?: AbortSignal | undefined,
  ): Promise<Reconciled> {
    await Promise.all(this.#members.all.map((member) => this.#members.ask(member)));
    if (this.#members.fresh()) return { refreshed: 0, failures: [] };
    const filling = this.#members.all.filter(
      (member) => member.store.health.usable && !this.#members.complete(member),
    );
    const outdated = this.#members.quorum() !== this.#parts.writeQuorum;
    const queue = [...(await this.#stores.keys())];
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
    return this.#parts.locked(key, async () => {
      const answers = await Promise.all(this.#members.all.map((member) => this.#stores.answer(member, key)));
      const decision = decide(answers, this.#members.quorum());
      if (decision.kind === 'wait') throw new Error('a decision waits although every store has answered');
      const seen = this.#parts.seen(key, decision, answers);
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
        if (stamp.tombstone) await this.#stores.remove(key); // every store has it: nothing older can come back
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
        stamp.parts === this.#members.all.length && stamp.minimalParts === this.#parts.minimalStores;
      const overtaken = newest!.version !== stamp.version || newest!.writeId !== stamp.writeId;
      if (overtaken) this.#assertSettled(key, newest!);
      if (!sameShape || overtaken || decision.kind !== 'found') {
        // Coded for other stores, or under the debris of a cut-off write: write it anew, above everything.
        const { everywhere } = await this.#parts.write(key, found.content, seen);
        if (!everywhere) for (const member of this.#members.all) missed.add(member);
        return true;
      }
      const values = this.#stores.missingValues(key, stamp, decision.parts, answers);
      const { failed } = await this.#stores.set(
        key,
        values.map((value, position) => (lacking.has(position) ? value : undefined)),
      );
      for (const member of failed) missed.add(member);
      return true;
    });
  }

  /** @throws ZstorError QSFS_E_UNAVAILABLE when the newest write may still be under way in another process */
  #assertSettled(key: string, newest: WriteStamp): void {
    const { clock, settleMs = SETTLE_MS } = this.#parts;
    const ageMs = Math.abs(clock.nowMs() - Number(newest.version / VERSIONS_PER_MS));
    if (ageMs < settleMs)
      throw unavailable(`metadata record ${key} is being written, or was cut off just now`);
  }

  /** Repair on reading: a store that answered, but with nothing or something older, is given its part. */
  later(key: string, stamp: WriteStamp, answers: readonly Answer[]): void {
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
    await this.#stores.remove(key);
    return true;
  }

  /** Returns when nothing is under way. */
  async ended(): Promise<void> {
    await Promise.all(this.#repairing.values());
  }
}
