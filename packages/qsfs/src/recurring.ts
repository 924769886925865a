// What a running frontend does again and again.
import type { Clock, Timer } from '@qsfs/io';
import { messageOf } from './errors.ts';
import type { Log } from './log-file.ts';

/** Runs work at intervals, until it is ended. */
export class Recurring {
  readonly #clock: Pick<Clock, 'after'>;
  readonly #log: Log;
  readonly #timers = new Map<string, Timer>();
  #ended = false;

  constructor(clock: Pick<Clock, 'after'>, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Runs something again and again; the next time is counted from its end. What it throws is logged. */
  every(name: string, periodMs: number, act: () => void | Promise<void>): void {
    if (this.#ended) return;
    const turn = async () => {
      try {
        await act();
      } catch (error) {
        this.#log('warning', `${name}: ${messageOf(error)}`);
      }
      this.every(name, periodMs, act);
    };
    this.#timers.set(
      name,
      this.#clock.after(periodMs, () => void turn(), true),
    );
  }

  /** Nothing begins any more; what runs goes on to its end. */
  end(): void {
    this.#ended = true;
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }
}
