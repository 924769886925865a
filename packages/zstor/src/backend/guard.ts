// Stands between the object code and a backend: fails at once while the backend is down, bounds how much is under way,
// measures, and notices silence. The object code therefore never waits for a dead backend longer than once a second.
//
// Silence: when nothing at all has come back for SILENCE_MS although something is under way, the backend is asked PING on
// its own connection; no answer within SILENCE_MS more and it is down, and everything under way on it fails. A backend that
// is merely slow (a stalled disk, a saturated line) answers the PING and is waited for.
import type { Clock, Timer } from '@qsfs/io';
import { type Backend, BackendError, isBackendError } from './backend.ts';
import type { Health } from './health.ts';

/** Without any answer for this long a backend is asked whether it lives. Twice this is what a frozen one costs. */
const SILENCE_MS = 500;
/** Even a living backend must answer within this. */
const LONGEST_CALL_MS = 30_000;
/** Calls under way per backend; more wait their turn. */
const MOST_UNDER_WAY = 512;
/** Calls that wait their turn; more than this is a defect of the program. */
const MOST_WAITING = 100_000;

interface Running {
  readonly startedMs: number;
}

/** Guards one backend. */
export class Guard {
  readonly health: Health;
  readonly #backend: Backend;
  readonly #clock: Clock;
  readonly #running = new Set<Running>();
  readonly #waiting: (() => void)[] = [];
  #lastAnswerMs = 0;
  #watch: Timer | undefined;
  #asking = false;

  constructor(backend: Backend, health: Health, clock: Clock) {
    this.#backend = backend;
    this.health = health;
    this.#clock = clock;
  }

  /** Calls under way and waiting. */
  get load(): number {
    return this.#running.size + this.#waiting.length;
  }

  /**
   * Runs one call of the backend.
   * @param measured whether its duration says something about the backend's latency
   */
  async run<T>(call: () => Promise<T>, measured = false): Promise<T> {
    this.#refuseWhenDown();
    if (this.#running.size >= MOST_UNDER_WAY) {
      if (this.#waiting.length >= MOST_WAITING)
        throw new Error(`${this.health.name}: ${MOST_WAITING} calls wait`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
      if (!this.health.usable) {
        this.#waiting.shift()?.();
        this.#refuseWhenDown();
      }
    }
    const running = { startedMs: this.#clock.monotonicMs() };
    if (this.#running.size === 0) this.#lastAnswerMs = running.startedMs;
    this.#running.add(running);
    this.#startWatch();
    try {
      const result = await call();
      this.#lastAnswerMs = this.#clock.monotonicMs();
      this.health.succeeded(measured ? this.#lastAnswerMs - running.startedMs : undefined);
      return result;
    } catch (error) {
      if (isBackendError(error)) this.health.failed(error);
      throw error;
    } finally {
      this.#running.delete(running);
      this.#waiting.shift()?.();
    }
  }

  #refuseWhenDown(): void {
    const { name, state, reason, usable } = this.health;
    if (usable) return;
    throw new BackendError(name, state === 'foreign' ? 'foreign' : 'unreachable', reason);
  }

  #startWatch(): void {
    this.#watch ??= this.#clock.after(
      SILENCE_MS,
      () => {
        this.#watch = undefined;
        if (this.#running.size === 0) return;
        this.#startWatch();
        const nowMs = this.#clock.monotonicMs();
        const [oldest] = this.#running;
        if (oldest && nowMs - oldest.startedMs > LONGEST_CALL_MS) {
          this.#backend.reset(`no answer within ${LONGEST_CALL_MS / 1000} s`);
        } else if (nowMs - this.#lastAnswerMs >= SILENCE_MS && !this.#asking) {
          void this.#askWhetherItLives();
        }
      },
      true,
    );
  }

  async #askWhetherItLives(): Promise<void> {
    this.#asking = true;
    const timer = this.#clock.after(
      SILENCE_MS,
      () => this.#backend.reset(`no answer within ${2 * SILENCE_MS} ms`),
      true,
    );
    try {
      await this.#backend.ping();
      this.#lastAnswerMs = this.#clock.monotonicMs();
    } catch (error) {
      if (!isBackendError(error)) throw error;
      this.health.failed(error);
    } finally {
      timer.cancel();
      this.#asking = false;
    }
  }
}
