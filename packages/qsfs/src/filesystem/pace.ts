// Slows writers down to what the backends take when the cache is full, so that the local copies stay near their limit.
// A write that comes too early is parked by the session and run again when its time has come; nobody else waits.
import { GAUGES } from '../messages.ts';

/** Thrown by a write that has to wait; the session parks the request. */
export class WriteHeld extends Error {
  override readonly name = 'WriteHeld';
}

/** Thrown over and over: it carries no state. */
const HELD = new WriteHeld('the cache is full; the write waits for the backends');

/** Bytes that may go at once, in seconds of the pace. */
const BURST_SECONDS = 0.25;

/** What is left of the room goes at once; then a bucket that fills with the pace: each write takes its bytes out and may overdraw it once. */
export class Pace {
  readonly #gauges: Float64Array;
  readonly #nowMs: () => number;
  #writtenBytes = 0;
  #allowance = 0;
  #filledAtMs = 0;

  /** @param nowMs monotonic clock */
  constructor(gauges: Float64Array, nowMs: () => number) {
    this.#gauges = gauges;
    this.#nowMs = nowMs;
  }

  /** Bytes written by applications since the start. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** Whether a write may go now. */
  get open(): boolean {
    if (!this.#isPaced) {
      this.#allowance = 0;
      this.#filledAtMs = 0;
      return true;
    }
    const pace = this.#gauges[GAUGES.paceBytesPerSecond] as number;
    const now = this.#nowMs();
    if (this.#filledAtMs > 0) {
      const filled = this.#allowance + (pace * (now - this.#filledAtMs)) / 1000;
      this.#allowance = Math.min(pace * BURST_SECONDS, filled);
    }
    this.#filledAtMs = now;
    return this.#allowance >= 0;
  }

  /** @throws WriteHeld when a write has to wait */
  admit(): void {
    if (!this.open) throw HELD;
  }

  /** A write that was admitted has been done. */
  took(bytes: number): void {
    if (this.#isPaced) this.#allowance -= bytes;
    this.#writtenBytes += bytes;
  }

  get #isPaced(): boolean {
    return (
      (this.#gauges[GAUGES.paceBytesPerSecond] as number) > 0 &&
      this.#writtenBytes >= (this.#gauges[GAUGES.freeUntilBytes] as number)
    );
  }
}
