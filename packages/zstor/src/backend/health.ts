// What is known about one backend: whether it answers, since when, how fast. Remembered, so that a backend which refuses
// or is silent costs its second once: while it is down, calls fail at once, and a probe in the background finds its return.
import type { Clock, Timer } from '@qsfs/io';
import type { BackendState } from '../types.ts';
import { type Backend, type BackendError, isBackendError } from './backend.ts';

/** Probes of a backend that is down: first after this, then at doubled distances up to the limit. */
const FIRST_PROBE_MS = 250;
const SLOWEST_PROBE_MS = 5000;
/** A probe that takes longer is a failed one. */
const PROBE_TIMEOUT_MS = 1000;
/** Latencies kept for the median. */
const SAMPLES = 32;

/** Told of every change between up and not up. */
export type HealthListener = (health: Health) => void;

/** The health of one backend. */
export class Health {
  readonly name: string;
  state: BackendState = 'unknown';
  reason = '';
  /** Monotonic time of the last change. */
  sinceMs: number;
  readonly #backend: Backend;
  readonly #clock: Clock;
  /** Makes sure of what answers before it counts as up. */
  readonly #inspect: () => Promise<void>;
  readonly #listeners = new Set<HealthListener>();
  readonly #latenciesMs: number[] = [];
  #nextSample = 0;
  #probe: Timer | undefined;
  #probeDelayMs = FIRST_PROBE_MS;
  #inspecting: Promise<void> | undefined;
  #closed = false;

  constructor(backend: Backend, clock: Clock, inspect: () => Promise<void>) {
    this.name = backend.name;
    this.#backend = backend;
    this.#clock = clock;
    this.#inspect = inspect;
    this.sinceMs = clock.monotonicMs();
  }

  /** True while calls are worth trying. */
  get usable(): boolean {
    return this.state === 'up' || this.state === 'unknown';
  }

  listen(listener: HealthListener): void {
    this.#listeners.add(listener);
  }

  /**
   * Makes sure of the backend's state: asks it, with the probe's time limit. Never rejects. Callers at the same time share
   * one question.
   */
  inspect(): Promise<void> {
    this.#inspecting ??= this.#ask().finally(() => {
      this.#inspecting = undefined;
    });
    return this.#inspecting;
  }

  async #ask(): Promise<void> {
    const timer = this.#clock.after(
      PROBE_TIMEOUT_MS,
      () => this.#backend.reset(`no answer within ${PROBE_TIMEOUT_MS} ms`),
      true,
    );
    try {
      await this.#inspect();
      this.succeeded();
    } catch (error) {
      if (!isBackendError(error)) throw error;
      // Being refused at the door is a matter of the whole backend; a refused call is not.
      if (error.failure === 'refused') this.#down('foreign', error.reason);
      else this.failed(error);
    } finally {
      timer.cancel();
    }
  }

  /** It answered as it should. */
  succeeded(latencyMs?: number): void {
    if (latencyMs !== undefined) {
      this.#latenciesMs[this.#nextSample] = latencyMs;
      this.#nextSample = (this.#nextSample + 1) % SAMPLES;
    }
    if (this.state === 'up' || this.#closed) return;
    this.#change('up', '');
    this.#probeDelayMs = FIRST_PROBE_MS;
    this.#probe?.cancel();
    this.#probe = undefined;
  }

  /** A call failed; decides whether that says something about the backend as a whole. */
  failed(error: BackendError): void {
    if (this.#closed) return;
    if (error.failure === 'unreachable') this.#down('down', error.reason);
    else if (error.failure === 'foreign') this.#down('foreign', error.reason);
  }

  #down(state: 'down' | 'foreign', reason: string): void {
    if (this.state !== state || this.reason !== reason) this.#change(state, reason);
    if (this.#probe) return;
    this.#probe = this.#clock.after(
      this.#probeDelayMs,
      () => {
        this.#probe = undefined;
        this.#probeDelayMs = Math.min(SLOWEST_PROBE_MS, this.#probeDelayMs * 2);
        void this.inspect();
      },
      true,
    );
  }

  #change(state: BackendState, reason: string): void {
    const usable = this.usable;
    const first = this.state === 'unknown';
    this.state = state;
    this.reason = reason;
    this.sinceMs = this.#clock.monotonicMs();
    if (usable !== this.usable || first) for (const listener of this.#listeners) listener(this);
  }

  /** Median of the last answers; undefined before the first. */
  get latencyMs(): number | undefined {
    const sorted = this.#latenciesMs.toSorted((a, b) => a - b);
    return sorted[sorted.length >> 1];
  }

  /** Nothing is asked any more, and nobody may ask. */
  close(): void {
    this.#closed = true;
    this.state = 'down';
    this.reason = 'closed';
    this.#probe?.cancel();
    this.#probe = undefined;
  }
}
