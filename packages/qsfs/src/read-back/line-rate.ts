/** Stripes that are remembered. */
const SAMPLES = 32;
/** What was believed before weighs so much less than it would as something that came. */
const BELIEF_SHARE = 8;

/** How fast stripes come from the backends, all that are under way together: by those that came last. */
export class LineRate {
  readonly #samples: { readonly lengthBytes: number; readonly tookMs: number }[] = [];
  #next = 0;
  #cameAtMs = Number.NEGATIVE_INFINITY;

  /** @param lengthBytes in `tookMs` milliseconds: what is believed before anything came, and soon forgotten */
  constructor(lengthBytes: number, tookMs: number) {
    this.#samples.push({ lengthBytes: lengthBytes / BELIEF_SHARE, tookMs: tookMs / BELIEF_SHARE });
    this.#next = 1;
  }

  /** Something came that was asked for at `beganMs`. Monotonic times. Several come side by side: one took the time since the one before it. */
  came(beganMs: number, nowMs: number, lengthBytes: number): void {
    this.#samples[this.#next] = { lengthBytes, tookMs: nowMs - Math.max(beganMs, this.#cameAtMs) };
    this.#next = (this.#next + 1) % SAMPLES;
    this.#cameAtMs = nowMs;
  }

  /** Bytes that come in so many milliseconds. */
  bytesIn(milliseconds: number): number {
    let lengthBytes = 0;
    let tookMs = 0;
    for (const sample of this.#samples) {
      lengthBytes += sample.lengthBytes;
      tookMs += sample.tookMs;
    }
    return (lengthBytes / Math.max(1, tookMs)) * milliseconds;
  }
}
