// Looks at the lease every few seconds, so that a frontend that was replaced notices soon; and the rule by which the filesystem
// thread lets nobody change anything before that was done again when it is long ago: the process was stopped, or the machine slept.
//
// Backends that do not answer cannot be looked at, and then changes are taken all the same: a frontend goes on without them. Who took
// over meanwhile is noticed when they answer again; what was written here in between is in this folder alone.
//
// A frontend that could not take the lease when it started tries that with every look instead (claimant.ts).
import type { Clock } from '@qsfs/io';
import { messageOf, QsfsError } from '../errors.ts';
import type { Log } from '../log-file.ts';
import { GAUGES } from '../messages.ts';
import type { Claimant } from './claimant.ts';
import { HEARTBEAT_MS, type LeaseHolder } from './lease.ts';

/** How often the lease is looked at. */
export const LOOK_MS = 3000;
/** A look counts for so long. */
export const STALE_MS = 8000;
/** A look that has brought nothing in this time has brought nothing. */
const LOOK_MAX_MS = 3000;

/** What the watch needs. */
export interface LeaseWatchParts {
  readonly clock: Pick<Clock, 'monotonicMs' | 'nowMs' | 'sleep'>;
  readonly lease: Pick<LeaseHolder, 'confirm' | 'heartbeat'>;
  readonly claimant: Pick<Claimant, 'attempt'>;
  readonly gauges: Float64Array;
  /** Another frontend took over. */
  readonly fence: (reason: string) => void;
  /** The lease that could not be taken at the start is ours now. */
  readonly taken: () => void;
  /** Changes that waited for the look may be tried again. */
  readonly looked: () => void;
  readonly log: Log;
}

/** Owned by the main thread. */
export class LeaseWatch {
  readonly #parts: LeaseWatchParts;
  #attempt: Promise<void> | undefined;
  #beatAtMs: number;
  #seenAtMs: number;
  #ended = false;
  #waiting: string;

  /** @param waiting why the lease could not be taken yet; empty when it was taken just before */
  constructor(parts: LeaseWatchParts, waiting = '') {
    this.#parts = parts;
    this.#waiting = waiting;
    this.#beatAtMs = parts.clock.monotonicMs();
    this.#seenAtMs = this.#beatAtMs;
    this.#note();
  }

  /** For how long the backends have not said that the lease is ours. */
  get unseenMs(): number {
    return this.#parts.clock.monotonicMs() - this.#seenAtMs;
  }

  /** Why the lease could not be taken yet; empty when it was. */
  get waiting(): string {
    return this.#waiting;
  }

  /** Looks now, or joins the look that is under way. Never throws. */
  async look(): Promise<void> {
    if (this.#ended) return;
    const { clock, looked } = this.#parts;
    this.#attempt ??= this.#try().finally(() => {
      this.#attempt = undefined;
    });
    await Promise.race([this.#attempt, clock.sleep(LOOK_MAX_MS)]);
    this.#note();
    looked();
  }

  /** No more looks; nobody waits for one any more. */
  end(): void {
    this.#ended = true;
    const { gauges, looked } = this.#parts;
    gauges[GAUGES.lookedMonotonicMs] = Number.POSITIVE_INFINITY;
    gauges[GAUGES.lookedWallMs] = Number.POSITIVE_INFINITY;
    looked();
  }

  async #try(): Promise<void> {
    const { clock, lease, fence, log } = this.#parts;
    const beats = this.#waiting === '' && clock.monotonicMs() - this.#beatAtMs >= HEARTBEAT_MS;
    if (beats) this.#beatAtMs = clock.monotonicMs();
    try {
      if (this.#waiting !== '') await this.#claim();
      else await (beats ? lease.heartbeat() : lease.confirm());
      this.#seenAtMs = clock.monotonicMs();
    } catch (error) {
      if (error instanceof QsfsError && error.code === 'QSFS_E_FENCED') {
        this.#ended = true;
        fence(error.message);
      } else if (beats) log('warning', `lease: ${messageOf(error)}`);
    }
  }

  async #claim(): Promise<void> {
    const { claimant, clock, gauges, taken } = this.#parts;
    const waiting = await claimant.attempt().catch((error: unknown) => {
      if (error instanceof QsfsError && error.code === 'QSFS_E_FENCED') throw error;
      return messageOf(error);
    });
    this.#waiting = waiting;
    if (waiting !== '') return;
    this.#beatAtMs = clock.monotonicMs();
    this.#note();
    gauges[GAUGES.withoutLease] = 0;
    taken();
  }

  #note(): void {
    if (this.#ended) return;
    const { gauges, clock } = this.#parts;
    gauges[GAUGES.lookedMonotonicMs] = clock.monotonicMs();
    gauges[GAUGES.lookedWallMs] = clock.nowMs();
  }
}

/** Whether the lease was looked at lately, by both clocks: one stands still while a machine sleeps, the other may be set. */
export function lookedLately(gauges: Float64Array, clock: Pick<Clock, 'monotonicMs' | 'nowMs'>): boolean {
  return (
    clock.monotonicMs() - (gauges[GAUGES.lookedMonotonicMs] as number) <= STALE_MS &&
    clock.nowMs() - (gauges[GAUGES.lookedWallMs] as number) <= STALE_MS
  );
}
