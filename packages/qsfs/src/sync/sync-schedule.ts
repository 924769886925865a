// When sync points are made: on request, and by themselves when something was written and the last one is long ago.
import type { Clock } from '@qsfs/io';
import { messageOf, QsfsError } from '../errors.ts';
import type { Log } from '../log-file.ts';
import { GAUGES } from '../messages.ts';
import type { Offload } from '../offload/offload.ts';
import { describeReadOnly, type ReadOnly } from '../read-only.ts';
import type { SyncPoints, SyncReport } from './sync-point.ts';

/** After a sync point that could not be brought to the backends, the next attempt waits this long. */
const SYNC_RETRY_MS = 15_000;

/** What the schedule needs. */
export interface SyncScheduleParts {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly gauges: Float64Array;
  readonly offload: Offload;
  readonly syncPoints: SyncPoints;
  /** So long after the last one a sync point is made when something was written. */
  readonly intervalMs: number;
  /** Why nothing can be changed; null when it can. */
  readonly readOnly: () => ReadOnly | null;
  /** Another frontend took over. */
  readonly fence: (reason: string) => void;
  readonly log: Log;
}

/** Owned by the main thread. */
export class SyncSchedule {
  readonly #parts: SyncScheduleParts;
  #failedAtMs = Number.NEGATIVE_INFINITY;

  constructor(parts: SyncScheduleParts) {
    this.#parts = parts;
  }

  /** Something was written that no sync point on the backends holds. */
  get unsynced(): boolean {
    const readOnly = this.#parts.readOnly();
    const isHeld = readOnly === null || readOnly.cause === 'replaced';
    return isHeld ? this.#changed || this.#parts.syncPoints.unfinished : this.#holdsMore;
  }

  /** While nothing can be written it can be seen whether the newest sync point has it all. */
  get #holdsMore(): boolean {
    const { gauges, offload, syncPoints } = this.#parts;
    return gauges[GAUGES.dirty] === 1 || offload.status.pendingFiles > 0 || !syncPoints.isNewest;
  }

  /** Something may have been written that no state holds yet: by us, or by the process before us. */
  get #changed(): boolean {
    const { gauges, syncPoints } = this.#parts;
    return gauges[GAUGES.dirty] === 1 || !syncPoints.stateKnown;
  }

  /** Everything written so far, to the backends. @throws QsfsError */
  async run(): Promise<SyncReport> {
    const readOnly = this.#parts.readOnly();
    if (readOnly?.cause === 'replaced') throw new QsfsError('QSFS_E_FENCED', readOnly.reason);
    if (readOnly) {
      const code = readOnly.cause === 'asked' ? 'QSFS_E_INCOMPLETE' : 'QSFS_E_BACKENDS';
      throw new QsfsError(code, `nothing can be synced from this mount: ${describeReadOnly(readOnly)}`);
    }
    try {
      return await this.#parts.syncPoints.run();
    } catch (error) {
      this.noticeFence(error);
      throw error;
    }
  }

  /** What the volume itself has rewritten since a sync (joined fragments) must not be what stays here: nobody wrote anything. */
  async runForOwnChanges(): Promise<void> {
    const { gauges, syncPoints, readOnly, log } = this.#parts;
    const isOwn = gauges[GAUGES.dirty] === 1 && gauges[GAUGES.changedByPrograms] === 0;
    if (!isOwn || readOnly() || syncPoints.unfinished || syncPoints.lastError !== '') return;
    await this.run().catch((error: unknown) => log('warning', `sync before dropping: ${messageOf(error)}`));
  }

  /** Makes one, or goes on with one, when that is due. Called every second. */
  async tend(): Promise<void> {
    const { clock, syncPoints, intervalMs, readOnly } = this.#parts;
    if (readOnly() || syncPoints.busy) return;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#failedAtMs < SYNC_RETRY_MS) return;
    const due = nowMs - syncPoints.madeAtMs >= intervalMs;
    try {
      if (syncPoints.unfinished) await syncPoints.finish();
      else if (due && this.#changed) await syncPoints.run();
    } catch (error) {
      this.#failedAtMs = clock.monotonicMs();
      if (!this.noticeFence(error)) throw error;
    }
  }

  /** @returns whether it says that another frontend took over */
  noticeFence(error: unknown): boolean {
    if (!(error instanceof QsfsError) || error.code !== 'QSFS_E_FENCED') return false;
    this.#parts.fence(error.message);
    return true;
  }
}
