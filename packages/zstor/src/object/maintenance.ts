// What has to be put right sooner or later: objects with missing or bad shards, metadata stores that lag behind. Kept as a
// list of names (memory, and the embedding program's durable one); worked off on request, or in the background.
import type { Clock, Timer } from '@qsfs/io';
import { messageOf, ZstorError } from '../errors.ts';
import { KeyedLocks } from '../metadata/locks.ts';
import type { Records } from '../metadata/records.ts';
import type { RepairList, RepairReport } from '../types.ts';
import type { DataBackends } from './data-backends.ts';
import type { Rebuilder } from './rebuilder.ts';
import { askFor, ReturnedBackends } from './returned-backends.ts';
import { forEachConcurrently } from './window.ts';

/** Names kept in memory; the rest is found again by looking at all records. */
const MOST_PENDING = 100_000;
/** Objects looked at at a time: the backends may be far away, and there may be very many. */
const LOOKS_MAX = 8;
/** In the background: how long after the first reason a round starts, and the distances of rounds that did not finish their work. */
const FIRST_ROUND_MS = 2000;
const SLOWEST_ROUND_MS = 5 * 60_000;

/** What maintenance works with. */
export interface MaintenanceParts {
  readonly records: Records;
  readonly rebuilder: Rebuilder;
  readonly backends: DataBackends;
  readonly clock: Clock;
  readonly repairList: RepairList | undefined;
  readonly background: boolean;
  /** Asked before a round in the background; one that may not be is put off. */
  readonly mayWork: () => boolean;
  readonly log: (level: 'info' | 'warning' | 'error', message: string) => void;
}

/** One round. */
interface Round {
  readonly noticed: ReadonlySet<string>;
  /** Backends that are asked for what they were given. */
  readonly unseen: ReadonlyMap<string, number>;
  readonly failures: { name: string; reason: string }[];
  hasSeenAll: boolean;
  repairedObjects: number;
  rewrittenShards: number;
}

/** Repairs what was noticed. */
export class Maintenance {
  readonly #parts: MaintenanceParts;
  readonly #pending = new Set<string>();
  /** Of which too little is left. */
  readonly #lost = new Set<string>();
  readonly #returned = new ReturnedBackends();
  readonly #rebuilding = new KeyedLocks();
  readonly #stop = new AbortController();
  #looked: { readonly done: number; readonly of: number } | undefined;
  #round: Promise<RepairReport> | undefined;
  #timer: Timer | undefined;
  #delayMs = FIRST_ROUND_MS;

  constructor(parts: MaintenanceParts) {
    this.#parts = parts;
    for (const name of parts.repairList?.names() ?? []) this.#pending.add(name);
  }

  get pendingObjects(): number {
    return this.#pending.size;
  }

  /** How far the present round is: objects looked at, of all there are; undefined when there is none. */
  get looked(): { readonly done: number; readonly of: number } | undefined {
    return this.#looked;
  }

  /** Objects that were found to have lost too many shards. */
  get lostObjects(): readonly string[] {
    return [...this.#lost];
  }

  /** Backends that came back and have not been asked yet whether they still have what they were given. */
  get unseenBackends(): readonly string[] {
    return this.#returned.names.filter((name) => !this.#parts.backends.outage(name));
  }

  /** A data backend answers that did not, or is known only now. */
  returned(name: string): void {
    this.#returned.returned(name);
    this.wanted();
  }

  /** An object has missing or bad shards. */
  damaged(name: string): void {
    if (this.#pending.has(name) || this.#pending.size >= MOST_PENDING) return;
    this.#pending.add(name);
    this.#parts.repairList?.add(name);
    this.wanted();
  }

  /** The object is gone or whole again. */
  settled(name: string): void {
    this.#lost.delete(name);
    if (this.#pending.delete(name)) this.#parts.repairList?.remove(name);
  }

  /** Something came back or was found wrong: have a round soon, if rounds are ours to start. */
  wanted(): void {
    if (this.#timer && this.#delayMs === FIRST_ROUND_MS) return;
    this.#delayMs = FIRST_ROUND_MS;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#schedule();
  }

  #schedule(): void {
    if (!this.#parts.background || this.#timer || this.#stop.signal.aborted) return;
    this.#timer = this.#parts.clock.after(
      this.#delayMs,
      () => {
        this.#timer = undefined;
        if (this.#parts.mayWork()) void this.#backgroundRound();
        else this.#schedule();
      },
      true,
    );
  }

  async #backgroundRound(): Promise<void> {
    try {
      const report = await this.repairPending();
      const isDone =
        this.#pending.size === 0 && report.failures.length === 0 && this.unseenBackends.length === 0;
      this.#delayMs = isDone ? FIRST_ROUND_MS : Math.min(SLOWEST_ROUND_MS, 2 * this.#delayMs);
      if (report.repairedObjects > 0 || report.refreshedRecords > 0) {
        this.#parts.log(
          'info',
          `repaired ${report.repairedObjects} objects (${report.rewrittenShards} shards), refreshed ${report.refreshedRecords} records`,
        );
      }
      if (!isDone) this.#schedule();
    } catch (error) {
      if (!(error instanceof ZstorError)) throw error;
      this.#delayMs = Math.min(SLOWEST_ROUND_MS, 2 * this.#delayMs);
      this.#schedule();
    }
  }

  /** See `Zstor.repairPending`. Callers at the same time share one round. */
  repairPending(): Promise<RepairReport> {
    this.#round ??= this.#work().finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  async #work(): Promise<RepairReport> {
    const { records } = this.#parts;
    const failures: { name: string; reason: string }[] = [];
    const round: Round = {
      // What was noticed while reading may look fine to its backend: it is read and verified here.
      noticed: new Set(this.#pending),
      unseen: this.#returned.begin(this.unseenBackends),
      failures,
      hasSeenAll: true,
      repairedObjects: 0,
      rewrittenShards: 0,
    };
    const seen = new Set(round.noticed);
    const { refreshed, failures: unrefreshed } = await records.reconcile(
      ({ name }) => void seen.add(name),
      this.#stop.signal,
    );
    for (const reason of unrefreshed) failures.push({ name: '', reason });
    const names = [...seen];
    this.#looked = { done: 0, of: names.length };
    try {
      await forEachConcurrently(names.length, LOOKS_MAX, this.#stop.signal, async (index) => {
        await this.#attend(names[index] as string, round);
        this.#looked = { done: (this.#looked?.done ?? 0) + 1, of: names.length };
      });
    } finally {
      this.#looked = undefined;
    }
    if (round.hasSeenAll) this.#returned.seen(round.unseen);
    const { repairedObjects, rewrittenShards } = round;
    return { repairedObjects, rewrittenShards, refreshedRecords: refreshed, failures };
  }

  /** Looks at one object, and rebuilds it when it needs that. */
  async #attend(name: string, round: Round): Promise<void> {
    const { records, rebuilder, backends } = this.#parts;
    const { signal } = this.#stop;
    const { noticed, unseen, failures } = round;
    try {
      const record = await records.head(name);
      if (!record) {
        this.settled(name);
        return;
      }
      if (!noticed.has(name) && !backends.lacksShards(record)) {
        const state = await askFor(record, unseen, backends, signal);
        if (state === 'unreachable') round.hasSeenAll = false;
        if (state !== 'bad') return;
        this.damaged(name);
      }
      const deep = noticed.has(name) && record.missingShards === 0;
      // One at a time: each has many shards under way by itself.
      const report = await this.#rebuilding.run('', () =>
        rebuilder.rebuild(name, { deep, replaceUnreachable: false, signal }),
      );
      round.rewrittenShards += report.rewrittenShards;
      if (report.rewrittenShards > 0) round.repairedObjects++;
      if (report.missingShards === 0) this.settled(name);
      else failures.push({ name, reason: report.reason });
    } catch (error) {
      if (!(error instanceof ZstorError)) throw error;
      // Deleted while it was being rebuilt: nothing is left to do.
      if (error.code === 'QSFS_E_NOT_FOUND') this.settled(name);
      else failures.push({ name, reason: messageOf(error) });
      if (error.code === 'QSFS_E_DAMAGED') this.#lost.add(name);
      else if (error.code !== 'QSFS_E_NOT_FOUND') round.hasSeenAll = false;
    }
  }

  /** No further rounds; ends the one that runs. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#timer?.cancel();
    await this.#round?.catch((error: unknown) => {
      if (!(error instanceof ZstorError)) throw error;
    });
  }
}
