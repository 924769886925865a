// The machine's own time.
import { setTimeout as sleepFor } from 'node:timers/promises';
import type { Clock } from '../clock.ts';

/** The real clock. */
export const realClock: Clock = {
  nowMs: () => Date.now(),
  nowSeconds: () => Math.floor(Date.now() / 1000),
  nowNanoseconds: () => {
    // Date has milliseconds; performance adds the microseconds below them.
    const ms = performance.timeOrigin + performance.now();
    return Math.floor((ms % 1000) * 1e6);
  },
  monotonicMs: () => performance.now(),
  after(delayMs, call, background = false) {
    const timer = setTimeout(call, delayMs);
    if (background) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  sleep: (delayMs, signal) => sleepFor(delayMs, undefined, signal ? { signal } : {}),
  soon: (call) => void setImmediate(call),
};
