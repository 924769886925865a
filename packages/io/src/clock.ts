// Time. The wall clock stamps what is stored; the monotonic clock measures; timers wait.

/** A pending call; cancelling it twice, or after it ran, does nothing. */
export interface Timer {
  cancel(): void;
}

/** One reading of the wall clock: whole seconds since 1970 and the nanoseconds below, 0 … 999999999. */
export interface WallTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** A source of time. Delays are milliseconds, with fractions, of any length; a negative one counts as 0. */
export interface Clock {
  /** Wall clock, milliseconds since 1970. */
  nowMs(): number;
  /** Wall clock with the finest resolution there is; never earlier than the reading before unless the clock was set back. */
  now(): WallTime;
  /** Wall clock, whole seconds. */
  nowSeconds(): number;
  /** Nanoseconds of a reading of its own: for both numbers of one moment use `now`. */
  nowNanoseconds(): number;
  /** Monotonic milliseconds from an arbitrary start, with fractions. */
  monotonicMs(): number;
  /** Calls once after the delay, never before this call returns. The timer does not keep a process alive when `background`. */
  after(delayMs: number, call: () => void, background?: boolean): Timer;
  /** Resolves after the delay; rejects with the signal's reason when it is aborted. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
  /** Calls once when the events already waiting were delivered (the end of this turn). */
  soon(call: () => void): void;
}

/** `Clock.sleep` in terms of `Clock.after`, for implementations. */
export function sleepWith(clock: Pick<Clock, 'after'>, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (): void => {
      timer?.cancel();
      reject(signal?.reason as Error);
    };
    let timer: Timer | undefined;
    if (signal?.aborted) {
      refuse();
      return;
    }
    timer = clock.after(delayMs, () => {
      signal?.removeEventListener('abort', refuse);
      resolve();
    });
    signal?.addEventListener('abort', refuse, { once: true });
  });
}
