// Hooks: an external program that is told of events (specification section 7). It is run directly, without a shell, with the hook's
// name, the instance id and the event's own arguments. Children inherit nothing but the standard output and error.
import type { Clock, Processes } from '@qsfs/io';
import type { Log } from './log.ts';

/** Finished runs are listed for so long. */
const LISTED_MS = 300_000;
/** Runs listed, at most; the oldest finished ones go first. */
const MAX_LISTED = 1024;

/** One run of the hook program. */
export interface HookRun {
  readonly name: string;
  readonly parameters: readonly string[];
  readonly pid: number;
  /** Seconds since 1970. */
  readonly started: number;
  /** 0 while running. */
  ended: number;
  status: number;
  endedMs: number;
}

/** Starts hooks and remembers their runs. */
export class Hooks {
  readonly #program: string;
  readonly #instance: string;
  readonly #processes: Processes;
  readonly #clock: Clock;
  readonly #log: Log;
  #runs: HookRun[] = [];
  #executable = true;

  /** @param instance `unix://PATH` or `tcp://ADDRESS:PORT` */
  constructor(program: string, instance: string, processes: Processes, clock: Clock, log: Log) {
    this.#program = program;
    this.#instance = instance;
    this.#processes = processes;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Runs a hook.
   * @returns its exit status: 1 when it cannot be executed; never rejects. One killed by a signal has failed (the reference counts
   *   that as success, D10).
   */
  async run(name: string, parameters: readonly string[] = []): Promise<number> {
    const started = this.#clock.nowSeconds();
    let run: HookRun | undefined;
    try {
      const child = this.#processes.start(this.#program, [name, this.#instance, ...parameters], {
        streams: ['ignore', 'inherit', 'inherit'],
      });
      run = { name, parameters, pid: child.pid, started, ended: 0, status: 0, endedMs: 0 };
      this.#remember(run);
      this.#log.line('debug', `hook ${name}: started as ${child.pid}`);
      const { exitCode } = await child.ended;
      this.#executable = true;
      run.status = exitCode;
    } catch (error) {
      this.#log.line('error', `hook ${name}: cannot run ${this.#program}: ${(error as Error).message}`);
      this.#executable = false;
      if (run === undefined) return 1;
      run.status = 1;
    }
    run.ended = this.#clock.nowSeconds();
    run.endedMs = this.#clock.monotonicMs();
    if (run.status !== 0) this.#log.line('warning', `hook ${name}: exit status ${run.status}`);
    return run.status;
  }

  /** False when the hook program could not be executed the last time it was wanted. */
  get executable(): boolean {
    return this.#executable;
  }

  /** Runs of the last minutes, oldest first. */
  list(): readonly HookRun[] {
    this.#forget();
    return this.#runs;
  }

  #remember(run: HookRun): void {
    this.#forget();
    if (this.#runs.length >= MAX_LISTED) {
      const finished = this.#runs.findIndex((one) => one.ended !== 0);
      this.#runs.splice(Math.max(finished, 0), 1);
    }
    this.#runs.push(run);
  }

  #forget(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#runs = this.#runs.filter((run) => run.ended === 0 || nowMs - run.endedMs < LISTED_MS);
  }
}
