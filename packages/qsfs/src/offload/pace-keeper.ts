// Decides how fast writers may go (pace.ts carries it out). While there is room below the cache limit: as fast as they like. When it
// is used up, and the backends take data: about as fast as those take it. When the backends take nothing: as fast as they like
// again, until the disk is full, because slowing down would not free anything.
import type { Clock } from '@qsfs/io';
import type { Cache } from '../local/cache.ts';
import { GAUGES, type SharedDisk } from '../messages.ts';
import type { Offload } from './offload.ts';

/** Part of the limit that may be filled with what is not on the backends yet, before writers are slowed down. */
const UNSAFE_SHARE = 0.75;
/** Writers are never slower than this: one write of the kernel's largest size a second. */
const PACE_MIN_BYTES_PER_SECOND = 2 ** 20;
/** … and go so fast while the speed of the backends is not known yet. */
const PACE_FIRST_BYTES_PER_SECOND = 8 * 2 ** 20;
/** Time over which the speed of the backends is measured. */
const MEASURE_MS = 4000;
/** With no progress for this long, although it may go on, the backends count as taking nothing. */
const STALLED_MS = 3000;
/** Where the room ends writers get this part of the measured speed, and the less the more there is too much. */
const SHARE_AT_LIMIT = 1.1;
const SHARE_MIN = 0.25;

/** What the keeper looks at. */
export interface PaceParts {
  readonly gauges: Float64Array;
  readonly cache: Pick<Cache, 'usedBytes' | 'limitBytes' | 'effectiveLimitBytes' | 'workingBytes'>;
  readonly shared: SharedDisk;
  readonly offload: Pick<Offload, 'status'>;
  /** False while offload gives way to programs. */
  readonly mayOffload: () => boolean;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/** Sets the gauges of the pace. */
export class PaceKeeper {
  readonly #parts: PaceParts;
  #samples: { atMs: number; bytes: number }[] = [];
  #progressAtMs: number;

  constructor(parts: PaceParts) {
    this.#parts = parts;
    this.#progressAtMs = parts.clock.monotonicMs();
  }

  /** Called several times a second. */
  adjust(): void {
    const { gauges, offload, mayOffload, clock } = this.#parts;
    const nowMs = clock.monotonicMs();
    const { movedBytes, pendingFiles } = offload.status;
    if (movedBytes !== this.#samples.at(-1)?.bytes || pendingFiles === 0 || !mayOffload())
      this.#progressAtMs = nowMs;
    this.#samples.push({ atMs: nowMs, bytes: movedBytes });
    this.#samples = this.#samples.filter((sample) => sample.atMs >= nowMs - MEASURE_MS);
    if (nowMs - this.#progressAtMs > STALLED_MS) {
      gauges[GAUGES.paceBytesPerSecond] = 0;
      return;
    }
    const { roomBytes, excess } = this.#room();
    gauges[GAUGES.freeUntilBytes] = (gauges[GAUGES.writtenBytes] as number) + roomBytes;
    gauges[GAUGES.paceBytesPerSecond] = this.#pace(excess);
  }

  /** Bytes that may be written at once, and by what part of it the room is overdrawn. */
  #room(): { roomBytes: number; excess: number } {
    const { cache, offload, gauges } = this.#parts;
    const limit = Math.max(1, cache.effectiveLimitBytes());
    const unsafe = offload.status.pendingBytes + (gauges[GAUGES.activeBytes] as number);
    // What stays of copies although there is no room for it is no reason to hold up writers.
    const evictable = gauges[GAUGES.evictableBytes] as number;
    const used = cache.usedBytes - Math.min(evictable, cache.workingBytes(evictable));
    const excess = Math.max(unsafe / (limit * UNSAFE_SHARE), used / limit) - 1;
    // On a disk that is filling up each byte takes room for its shards as well.
    const growth = limit < cache.limitBytes ? 1 + this.#parts.shared.shardFactor : 1;
    const roomBytes = Math.min(limit * UNSAFE_SHARE - unsafe, limit - used) / growth;
    return { roomBytes: Math.max(0, roomBytes), excess };
  }

  #pace(excess: number): number {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (!first || !last || last.bytes === first.bytes) return PACE_FIRST_BYTES_PER_SECOND;
    const speed = ((last.bytes - first.bytes) * 1000) / Math.max(1, last.atMs - first.atMs);
    const share = Math.max(SHARE_MIN, SHARE_AT_LIMIT - Math.max(0, excess) * 2);
    return Math.max(PACE_MIN_BYTES_PER_SECOND, speed * share);
  }
}
