// Stands between the object code and a backend: fails at once while the backend is down, bounds how much is under way,
// measures, and notices silence. The object code therefore never waits for a dead backend longer than once a second.
//
// Silence: when nothing at all has arrived for SILENCE_MS although something is under way, the backend is asked PING on
// its own connection; no answer within SILENCE_MS more and it is down, and everything under way on it fails. A backend that
// is merely slow (a stalled disk) answers the PING and is waited for. On a slow line the PING stands behind what is being
// sent: it is given the time this takes at the rate seen so far.
import type { Clock, Timer } from '@qsfs/io';
import { type Backend, BackendError, isBackendError } from './backend.ts';
import type { Health } from './health.ts';

/** Without any arrival for this long a backend is asked whether it lives. Twice this is what a frozen one costs. */
const SILENCE_MS = 500;
/** The most patience a backend gets because of what is being sent to it. */
const MOST_PATIENCE_MS = 10_000;
/** Rate a backend is thought to take before one was seen, and the most that is believed. */
const FIRST_RATE_BYTES_PER_MS = 10_000;
const MOST_RATE_BYTES_PER_MS = 1_000_000;
/** Patience covers what is on the way at this fraction of the rate seen. */
const RATE_MARGIN = 4;
/** Weight of a new rate against the mean of those before. */
const RATE_WEIGHT = 0.2;
/** Calls under way per backend; more wait their turn. */
const MOST_UNDER_WAY = 512;
/** Calls that wait their turn; more than this is a defect of the program. */
const MOST_WAITING = 100_000;

/** What a call tells the guard about itself. */
export interface CallTraits {
  /** Its duration says something about the backend's latency. */
  readonly isMeasured?: boolean;
  /** Length of what it sends. */
  readonly sentBytes?: number;
}

/** Guards one backend. */
export class Guard {
  readonly health: Health;
  readonly #backend: Backend;
  readonly #clock: Clock;
  readonly #waiting: (() => void)[] = [];
  #underWay = 0;
  #sendingBytes = 0;
  #rateBytesPerMs = FIRST_RATE_BYTES_PER_MS;
  #lastSentMs = 0;
  /** When something arrived last, and how much had arrived then. */
  #arrivalMs = 0;
  #arrivedBytes = 0;
  #watch: Timer | undefined;
  /** Runs out when a PING is not answered; undefined while none is awaited. */
  #question: Timer | undefined;

  constructor(backend: Backend, health: Health, clock: Clock) {
    this.#backend = backend;
    this.health = health;
    this.#clock = clock;
  }

  /** Calls under way and waiting. */
  get load(): number {
    return this.#underWay + this.#waiting.length;
  }

  /** Runs one call of the backend. */
  async run<T>(call: () => Promise<T>, { isMeasured = false, sentBytes = 0 }: CallTraits = {}): Promise<T> {
    await this.#admit();
    const startMs = this.#clock.monotonicMs();
    if (this.#underWay === 0) this.#arrivalMs = startMs;
    this.#underWay++;
    this.#sendingBytes += sentBytes;
    this.#startWatch();
    try {
      const result = await call();
      const nowMs = this.#clock.monotonicMs();
      this.#arrived(nowMs);
      if (sentBytes > 0) this.#learnRate(sentBytes, startMs, nowMs);
      this.health.succeeded(isMeasured ? nowMs - startMs : undefined);
      return result;
    } catch (error) {
      if (isBackendError(error)) this.health.failed(error);
      throw error;
    } finally {
      this.#underWay--;
      this.#sendingBytes -= sentBytes;
      this.#waiting.shift()?.();
    }
  }

  async #admit(): Promise<void> {
    this.#refuseWhenDown();
    if (this.#underWay < MOST_UNDER_WAY) return;
    if (this.#waiting.length >= MOST_WAITING)
      throw new Error(`${this.health.name}: ${MOST_WAITING} calls wait`);
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.health.usable) return;
    this.#waiting.shift()?.();
    this.#refuseWhenDown();
  }

  #refuseWhenDown(): void {
    const { name, state, reason, usable } = this.health;
    if (usable) return;
    throw new BackendError(name, state === 'foreign' ? 'foreign' : 'unreachable', reason);
  }

  /** Pipelined writes overlap: one took the time since the one before it was answered. */
  #learnRate(sentBytes: number, startMs: number, nowMs: number): void {
    const tookMs = Math.max(0.01, nowMs - Math.max(startMs, this.#lastSentMs));
    this.#lastSentMs = nowMs;
    const rate = Math.min(sentBytes / tookMs, MOST_RATE_BYTES_PER_MS);
    this.#rateBytesPerMs += RATE_WEIGHT * (rate - this.#rateBytesPerMs);
  }

  /** Looks again when the silence will have been long enough, if there is one. */
  #startWatch(delayMs = SILENCE_MS): void {
    this.#watch ??= this.#clock.after(
      delayMs,
      () => {
        this.#watch = undefined;
        if (this.#underWay === 0) return;
        const leftMs = SILENCE_MS - this.#silentMs();
        this.#startWatch(leftMs > 0 ? leftMs : SILENCE_MS);
        if (leftMs <= 0 && !this.#question) void this.#askWhetherItLives();
      },
      true,
    );
  }

  /** How long nothing has arrived. */
  #silentMs(): number {
    const nowMs = this.#clock.monotonicMs();
    const { arrivedBytes } = this.#backend;
    if (arrivedBytes !== this.#arrivedBytes) {
      this.#arrivedBytes = arrivedBytes;
      this.#arrived(nowMs);
    }
    return nowMs - this.#arrivalMs;
  }

  /** It lives: a PING that is still awaited need not be answered any more. */
  #arrived(nowMs: number): void {
    this.#arrivalMs = nowMs;
    this.#question?.cancel();
    this.#question = undefined;
  }

  async #askWhetherItLives(): Promise<void> {
    const patienceMs = Math.min(MOST_PATIENCE_MS, (RATE_MARGIN * this.#sendingBytes) / this.#rateBytesPerMs);
    const limitMs = SILENCE_MS + patienceMs;
    const question = this.#clock.after(
      limitMs,
      () => {
        if (this.#silentMs() < limitMs) return;
        this.#backend.reset(`no answer within ${Math.round(SILENCE_MS + limitMs)} ms`);
      },
      true,
    );
    this.#question = question;
    try {
      await this.#backend.ping();
      if (this.#question === question) this.#arrived(this.#clock.monotonicMs());
    } catch (error) {
      if (!isBackendError(error)) throw error;
      if (this.#question === question) this.health.failed(error);
    } finally {
      question.cancel();
      if (this.#question === question) this.#question = undefined;
    }
  }
}
