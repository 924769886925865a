// Decides how fast writers may go (pace.ts carries it out). Below the cache limit: as fast as they like. Above it, while the
// backends take data: about as fast as those take it. When the backends take nothing: as fast as they like again, until the
// disk is full, because slowing down would not free anything.
import type { Clock } from '@qsfs/io';
import type { Cache } from './cache.ts';
import { GAUGES } from './messages.ts';
import type { Offload } from './offload.ts';

/** Writers are never slower than this, so that what the kernel holds back drains in seconds. */
const PACE_MIN_BYTES_PER_SECOND = 16 * 2 ** 20;
/** Time over which the speed of the backends is measured. */
const MEASURE_MS = 4000;
/** With no progress for this long the backends count as taking nothing. */
const STALLED_MS = 3000;
/** At the limit writers get this part of the measured speed, less the further above it the cache is. */
const SHARE_AT_LIMIT = 1.1;
const SHARE_MIN = 0.5;

/** Sets the pace gauge. */
export class PaceKeeper {
  readonly #gauges: Float64Array;
  readonly #cache: Cache;
  readonly #offload: Offload;
  readonly #clock: Clock;
  #samples: { atMs: number; bytes: number }[] = [];
  #progressAtMs = 0;

  constructor(gauges: Float64Array, cache: Cache, offload: Offload, clock: Clock) {
    this.#gauges = gauges;
    this.#cache = cache;
    this.#offload = offload;
    this.#clock = clock;
  }

  /** Called several times a second. */
  adjust(): void {
    const nowMs = this.#clock.monotonicMs();
    const { movedBytes, pendingFiles } = this.#offload.status;
    const last = this.#samples.at(-1);
    if (!last || movedBytes !== last.bytes) this.#progressAtMs = nowMs;
    this.#samples.push({ atMs: nowMs, bytes: movedBytes });
    this.#samples = this.#samples.filter((sample) => sample.atMs >= nowMs - MEASURE_MS);
    this.#gauges[GAUGES.paceBytesPerSecond] = this.#pace(nowMs, pendingFiles);
  }

  #pace(nowMs: number, pendingFiles: number): number {
    const excess = this.#cache.usedBytes / Math.max(1, this.#cache.effectiveLimitBytes()) - 1;
    if (excess < 0 || pendingFiles === 0 || nowMs - this.#progressAtMs > STALLED_MS) return 0;
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (!first || !last || last.atMs - first.atMs < MEASURE_MS / 8) return 0;
    const speed = ((last.bytes - first.bytes) * 1000) / (last.atMs - first.atMs);
    return Math.max(PACE_MIN_BYTES_PER_SECOND, speed * Math.max(SHARE_MIN, SHARE_AT_LIMIT - excess * 2));
  }
}
