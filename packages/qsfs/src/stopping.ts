// What ends a process that serves: a signal, `qsfs down`, a mount that is gone.
import type { Context } from './context.ts';
import { QsfsError } from './errors.ts';

/** Waits for whatever ends the process. */
export class Stopping {
  readonly reason: Promise<string>;
  readonly #undo: (() => void)[];
  #first: string | undefined;
  #resolve: (reason: string) => void = () => {};

  constructor(context: Context) {
    this.reason = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    // A second signal changes nothing: npm passes on what the terminal has sent already.
    this.#undo = (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map((name) =>
      context.processes.onSignal(name, () => this.stop(name)),
    );
  }

  stop(reason: string): void {
    this.#first ??= reason;
    this.#resolve(reason);
  }

  /** @throws QsfsError when somebody wants to stop before it has begun */
  check(): void {
    if (this.#first !== undefined) {
      throw new QsfsError('QSFS_E_INCOMPLETE', `${this.#first} while starting`, 'Nothing was mounted.');
    }
  }

  forget(): void {
    for (const undo of this.#undo) undo();
  }
}
