// Offload gives way to programs that use the mount: on a machine with few processors and local backends both would be slow. Only
// while the cache can make room, and never for long, because what is here only is at stake.
import type { Clock } from '@qsfs/io';
import type { Cache } from '../local/cache.ts';
import { GAUGES } from '../messages.ts';

/** When this part of the cache limit is not yet on the backends, offload goes on whatever programs do. */
const WAITING_SHARE = 0.5;
/** Programs count as busy for so long after they wrote so many bytes or made so many requests. */
const BUSY_MS = 400;
const BUSY_BYTES = 4 * 2 ** 20;
const BUSY_REQUESTS = 400;
/** Offload gives way altogether for at most this long; then it takes turns for as long as they are busy. */
const PATIENCE_MS = 20_000;
/** A turn: in the first part of it objects may begin, in the rest not. */
const TURN_MS = 9000;
const OWN_PART_MS = 3000;

/** Knows whether programs are busy. */
export class Courtesy {
  readonly #clock: Clock;
  readonly #gauges: Float64Array;
  readonly #cache: Pick<Cache, 'effectiveLimitBytes'>;
  readonly #waitingBytes: () => number;
  #seenBytes = 0;
  #seenRequests = 0;
  #busyUntilMs = 0;
  #busySinceMs: number | undefined;

  /** @param waitingBytes closed and not yet on the backends: what the cache cannot make room from */
  constructor(
    clock: Clock,
    gauges: Float64Array,
    cache: Pick<Cache, 'effectiveLimitBytes'>,
    waitingBytes: () => number,
  ) {
    this.#clock = clock;
    this.#gauges = gauges;
    this.#cache = cache;
    this.#waitingBytes = waitingBytes;
  }

  /** Called several times a second. */
  observe(): void {
    const nowMs = this.#clock.monotonicMs();
    const writtenBytes = this.#gauges[GAUGES.writtenBytes] as number;
    const requests = this.#gauges[GAUGES.requests] as number;
    if (writtenBytes - this.#seenBytes >= BUSY_BYTES || requests - this.#seenRequests >= BUSY_REQUESTS) {
      this.#seenBytes = writtenBytes;
      this.#seenRequests = requests;
      this.#busyUntilMs = nowMs + BUSY_MS;
    }
    if (nowMs >= this.#busyUntilMs) this.#busySinceMs = undefined;
    else this.#busySinceMs ??= nowMs;
  }

  /** Whether an offload may begin. */
  get mayBegin(): boolean {
    if (this.#busySinceMs === undefined) return true;
    const waitedMs = this.#clock.monotonicMs() - this.#busySinceMs - PATIENCE_MS;
    if (waitedMs > 0 && waitedMs % TURN_MS < OWN_PART_MS) return true;
    return this.#waitingBytes() > this.#cache.effectiveLimitBytes() * WAITING_SHARE;
  }
}
