// A clock that a test turns by hand: however long the test takes, nothing is due until it is advanced.
//
// `advance` runs what is due at once, on the caller's stack: for synchronous code. `run` and `until` also let every
// promise that can go on do so before time passes: for asynchronous code.
import { type Clock, sleepWith, type Timer, type WallTime } from '../clock.ts';

/** So many calls without time passing, and the clock says that they make each other without end. */
const CALLS_MAX = 1_000_000;
/** Cancelled timers are thrown out when there are so many, and more of them than of the others. */
const CANCELLED_MAX = 1024;

interface PendingTimer {
  readonly dueMs: number;
  readonly sequence: number;
  /** undefined once it ran or was cancelled. */
  call: (() => void) | undefined;
}

/** See the head of this file. Timers due at the same time run in the order in which they were made. */
export class SimulatedClock implements Clock {
  #elapsedMs = 0;
  #startMs: number;
  #sequence = 0;
  /** A binary heap, the earliest at 0. */
  #timers: PendingTimer[] = [];
  #cancelled = 0;
  #soon: (() => void)[] = [];
  #calls = 0;
  #running = false;

  /** @param startMs the wall clock at the beginning, ms since 1970; default 2026-01-01T00:00:00Z */
  constructor(startMs: number = Date.UTC(2026, 0, 1)) {
    this.#startMs = startMs;
  }

  nowMs(): number {
    return Math.floor(this.#startMs + this.#elapsedMs);
  }

  now(): WallTime {
    const ms = this.#startMs + this.#elapsedMs;
    const seconds = Math.floor(ms / 1000);
    return { seconds, nanoseconds: Math.floor((ms - seconds * 1000) * 1e6) };
  }

  nowSeconds(): number {
    return this.now().seconds;
  }

  nowNanoseconds(): number {
    return this.now().nanoseconds;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  after(delayMs: number, call: () => void, _background = false): Timer {
    const dueMs = this.#elapsedMs + Math.max(delayMs, 0);
    const timer: PendingTimer = { dueMs, sequence: this.#sequence++, call };
    this.#timers.push(timer);
    this.#raise(this.#timers.length - 1);
    return {
      cancel: () => {
        if (!timer.call) return;
        timer.call = undefined;
        this.#cancelled++;
        if (this.#cancelled > CANCELLED_MAX && this.#cancelled > this.#timers.length / 2) this.#sweep();
      },
    };
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return sleepWith(this, delayMs, signal);
  }

  soon(call: () => void): void {
    this.#soon.push(call);
  }

  // ---- what tests use -------------------------------------------------------------------------------------------

  /** Timers that wait. */
  get pending(): number {
    return this.#timers.length - this.#cancelled;
  }

  /** Milliseconds until the next timer is due, or undefined when none waits. */
  get nextMs(): number | undefined {
    const next = this.#earliest();
    return next && next.dueMs - this.#elapsedMs;
  }

  /** Sets the wall clock, also back; timers and the monotonic clock do not notice. */
  setWall(nowMs: number): void {
    this.#startMs = nowMs - this.#elapsedMs;
  }

  /** Passes so much time: runs `soon` calls, then what comes due, in order. @throws what a call throws, at that moment */
  advance(delayMs: number): void {
    this.#exclusively(() => {
      const end = this.#elapsedMs + delayMs;
      this.#calls = 0;
      do this.#runSoon();
      while (this.#runNext(end));
      this.#elapsedMs = end;
    });
  }

  /** As `advance`, and before every step in time all promises that can go on do so. */
  async run(delayMs: number): Promise<void> {
    const end = this.#elapsedMs + delayMs;
    this.#calls = 0;
    do await this.#settle();
    while (this.#exclusively(() => this.#runNext(end)));
    this.#elapsedMs = end;
  }

  /**
   * Passes time until the promise is settled and gives its outcome.
   * @throws Error when it is not settled although nothing waits for time any more, or after `limitMs`
   */
  async until<T>(promise: Promise<T>, limitMs = 3_600_000): Promise<T> {
    const end = this.#elapsedMs + limitMs;
    let settled = false;
    this.#calls = 0;
    const mark = (): void => {
      settled = true;
    };
    promise.then(mark, mark);
    for (;;) {
      await this.#settle();
      if (settled) return promise;
      if (!this.#exclusively(() => this.#runNext(end))) {
        throw new Error(
          this.nextMs === undefined
            ? 'the promise waits for something that no timer will bring'
            : `the promise is not settled after ${limitMs} simulated milliseconds`,
        );
      }
    }
  }

  // ---- inside ---------------------------------------------------------------------------------------------------

  #exclusively<T>(call: () => T): T {
    if (this.#running) throw new Error('a call of the clock must not turn the clock');
    this.#running = true;
    try {
      return call();
    } finally {
      this.#running = false;
    }
  }

  /** Lets promises and `soon` calls go on until neither has anything left to do. */
  async #settle(): Promise<void> {
    do {
      this.#exclusively(() => this.#runSoon());
      // A turn of the real event loop: every reaction of a promise comes before it.
      await new Promise<void>((resolve) => void setImmediate(resolve));
    } while (this.#soon.length > 0);
  }

  #runSoon(): void {
    while (this.#soon.length > 0) {
      const calls = this.#soon;
      this.#soon = [];
      for (const [index, call] of calls.entries()) {
        this.#count();
        try {
          call();
        } catch (error) {
          this.#soon.unshift(...calls.slice(index + 1));
          throw error;
        }
      }
    }
  }

  /** Runs the earliest timer if it is due by then; false when none is. */
  #runNext(endMs: number): boolean {
    const next = this.#earliest();
    if (!next || next.dueMs > endMs) return false;
    this.#pop();
    if (next.dueMs > this.#elapsedMs) this.#calls = 0;
    this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs);
    this.#count();
    const { call } = next;
    next.call = undefined;
    call?.();
    return true;
  }

  #count(): void {
    if (++this.#calls <= CALLS_MAX) return;
    throw new Error(`${CALLS_MAX} calls became due and no time passed: one makes the next without end`);
  }

  #earliest(): PendingTimer | undefined {
    while (this.#timers[0] && !this.#timers[0].call) {
      this.#pop();
      this.#cancelled--;
    }
    return this.#timers[0];
  }

  #sweep(): void {
    this.#timers = this.#timers.filter((timer) => timer.call).sort((a, b) => (before(a, b) ? -1 : 1));
    this.#cancelled = 0;
  }

  #raise(from: number): void {
    const timers = this.#timers;
    for (let at = from; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!before(timers[at]!, timers[parent]!)) break;
      [timers[at], timers[parent]] = [timers[parent]!, timers[at]!];
      at = parent;
    }
  }

  #pop(): void {
    const timers = this.#timers;
    const last = timers.pop()!;
    if (timers.length === 0) return;
    timers[0] = last;
    for (let at = 0; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < timers.length && before(timers[child]!, timers[least]!)) least = child;
      }
      if (least === at) break;
      [timers[at], timers[least]] = [timers[least]!, timers[at]!];
      at = least;
    }
  }
}

function before(a: PendingTimer, b: PendingTimer): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.sequence < b.sequence);
}
