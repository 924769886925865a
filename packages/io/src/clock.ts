// Time. The wall clock stamps what is stored; the monotonic clock measures; timers wait.

/** A pending call; cancelling it twice, or after it ran, does nothing. */
export interface Timer {
  cancel(): void;
}

/** A source of time. */
export interface Clock {
  /** Wall clock, milliseconds since 1970. */
  nowMs(): number;
  /** Wall clock with nanosecond resolution where there is one: whole seconds and nanoseconds. */
  nowSeconds(): number;
  nowNanoseconds(): number;
  /** Monotonic milliseconds from an arbitrary start, with fractions. */
  monotonicMs(): number;
  /** Calls once after the delay. The timer does not keep a process alive when `background`. */
  after(delayMs: number, call: () => void, background?: boolean): Timer;
  /** Resolves after the delay; rejects with the signal's reason when it is aborted. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
  /** Calls once when the events already waiting were delivered (the end of this turn). */
  soon(call: () => void): void;
}
