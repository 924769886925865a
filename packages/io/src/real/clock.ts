// The machine's own time.
import { type Clock, sleepWith, type WallTime } from '../clock.ts';

/** Node fires timers with a longer delay at once. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1;

// The wall clock has milliseconds, the monotonic one has microseconds: what has passed on the second since an anchor
// gives the digits below the first, as long as the two agree on the millisecond. When they stop to (the wall clock was
// set, or is slewed by NTP), the wall clock is right and there is a new anchor.
let anchorWallMs = Date.now();
let anchorMonotonicMs = performance.now();
let lastMs = anchorWallMs;

/** Milliseconds since 1970 with fractions; their whole part is that of Date.now(). */
function fineMs(): number {
  const wall = Date.now();
  const monotonic = performance.now();
  const fine = anchorWallMs + (monotonic - anchorMonotonicMs);
  if (fine >= wall && fine < wall + 1) {
    lastMs = fine;
    return fine;
  }
  // A little ahead: stay at the end of this millisecond. The thread may also have been stopped between the two readings;
  // within one millisecond of the wall clock time then stands still and never runs backwards.
  const corrected = fine >= wall + 1 && fine < wall + 2 ? wall + 0.999 : wall;
  lastMs = lastMs >= corrected && lastMs < wall + 1 ? lastMs : corrected;
  anchorWallMs = lastMs;
  anchorMonotonicMs = monotonic;
  return lastMs;
}

/** The real clock. */
export const realClock: Clock = {
  nowMs: () => Date.now(),
  now(): WallTime {
    const ms = fineMs();
    const seconds = Math.floor(ms / 1000);
    return { seconds, nanoseconds: Math.floor((ms - seconds * 1000) * 1e6) };
  },
  nowSeconds: () => Math.floor(Date.now() / 1000),
  nowNanoseconds: () => realClock.now().nanoseconds,
  monotonicMs: () => performance.now(),
  after(delayMs, call, background = false) {
    let left = Math.max(delayMs, 0);
    let timer: NodeJS.Timeout;
    const arm = (): void => {
      const part = Math.min(left, TIMEOUT_MAX_MS);
      left -= part;
      timer = setTimeout(left > 0 ? arm : call, part);
      if (background) timer.unref();
    };
    arm();
    return { cancel: () => clearTimeout(timer) };
  },
  sleep: (delayMs, signal) => sleepWith(realClock, delayMs, signal),
  soon: (call) => void setImmediate(call),
};
