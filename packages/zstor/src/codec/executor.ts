// Who runs jobs: this thread, or a set of codec threads. A thread that ends is replaced when there is work for it; the jobs
// it had are rejected, so every crash costs at least one job and nothing restarts for ever.
import type { SharedMemory } from '@qsfs/erasure';
import { type Disk, startThread, type Thread } from '@qsfs/io';
import { CodecClosed, WorkerCrashed } from './errors.ts';
import { type Job, type JobResult, unpackError } from './job.ts';
import { StripeCoder } from './stripe-coder.ts';
import type { WorkerAnswer, WorkerInput } from './worker.ts';

/**
 * Jobs sent to one thread before its first answer: one it works on and one so that it need not wait for this thread to notice.
 * The rest waits here, for whichever thread is free first.
 */
export const JOBS_PER_THREAD_MAX = 2;

/** Runs jobs, each once. */
export interface Executor {
  /** Rejects with the job's own error, `WorkerCrashed` or `CodecClosed`; only then or when it resolves is the memory idle. */
  run(job: Job): Promise<JobResult>;
  /** Ends the threads. Jobs that did not answer are rejected. */
  close(): Promise<void>;
}

/** Runs jobs on the calling thread, each in a microtask of its own. */
export class InlineExecutor implements Executor {
  readonly #coder: StripeCoder;
  #closed = false;

  constructor(memory: SharedMemory, workspaceOffset: number, disk: Disk) {
    this.#coder = new StripeCoder(memory, workspaceOffset, disk);
  }

  async run(job: Job): Promise<JobResult> {
    await undefined;
    if (this.#closed) throw new CodecClosed();
    return this.#coder.run(job);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}

interface Waiting {
  readonly job: Job;
  resolve(result: JobResult): void;
  reject(error: Error): void;
}

interface CodecThread {
  readonly thread: Thread;
  /** Sent and not answered, oldest first. */
  readonly sent: Waiting[];
}

/** Coding gives way to the threads that programs wait for. */
const NICENESS = 5;
// The built package has .js files beside each other just as the checkout has .ts files.
const WORKER_MODULE = new URL(
  import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js',
  import.meta.url,
);

/** Runs jobs on threads, started when there is work for them. */
export class ThreadExecutor implements Executor {
  readonly #memory: SharedMemory;
  readonly #workspaceOffsets: readonly number[];
  readonly #module: URL;
  readonly #workers: (CodecThread | undefined)[];
  /** Reading goes first: somebody waits for it. As every job holds memory, the memory bounds both. */
  readonly #queues: { readonly reading: Waiting[]; readonly writing: Waiting[] } = {
    reading: [],
    writing: [],
  };
  /** Threads that are being ended; their workspace is theirs until they are gone. */
  readonly #ending = new Map<number, Promise<void>>();
  #closed = false;

  /**
   * @param workspaceOffsets one workspace, and so one thread, each
   * @param module what the threads run
   */
  constructor(memory: SharedMemory, workspaceOffsets: readonly number[], module: URL = WORKER_MODULE) {
    this.#memory = memory;
    this.#module = module;
    this.#workspaceOffsets = workspaceOffsets;
    this.#workers = workspaceOffsets.map(() => undefined);
  }

  run(job: Job): Promise<JobResult> {
    if (this.#closed) return Promise.reject(new CodecClosed());
    return new Promise((resolve, reject) => {
      const queue = job.kind === 'decode' ? this.#queues.reading : this.#queues.writing;
      queue.push({ job, resolve, reject });
      this.#dispatch();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    const { reading, writing } = this.#queues;
    const waiting = [...reading.splice(0), ...writing.splice(0)];
    const ended: Promise<void>[] = [...this.#ending.values()];
    for (const [i, worker] of this.#workers.entries()) {
      this.#workers[i] = undefined;
      if (!worker) continue;
      waiting.push(...worker.sent.splice(0));
      ended.push(end(worker.thread));
    }
    await Promise.all(ended);
    for (const { reject } of waiting) reject(new CodecClosed());
  }

  /** Sends what waits to the least busy threads. */
  #dispatch(): void {
    const { reading, writing } = this.#queues;
    while (reading.length + writing.length > 0 && !this.#closed) {
      let chosen = -1;
      let load = JOBS_PER_THREAD_MAX;
      for (const [i, worker] of this.#workers.entries()) {
        if (this.#ending.has(i)) continue;
        const sent = worker?.sent.length ?? 0;
        // A running thread is preferred to one that must be started.
        if (sent < load || (sent === load && sent === 0 && worker && !this.#workers[chosen])) {
          chosen = i;
          load = sent;
        }
      }
      if (chosen < 0) return;
      const worker = (this.#workers[chosen] ??= this.#start(chosen));
      const waiting = (reading.shift() ?? writing.shift())!;
      worker.sent.push(waiting);
      worker.thread.port.send(waiting.job);
    }
  }

  #start(slot: number): CodecThread {
    const input: WorkerInput = {
      memory: this.#memory,
      workspaceOffset: this.#workspaceOffsets[slot]!,
    };
    const worker: CodecThread = { thread: startThread(this.#module, input, NICENESS), sent: [] };
    worker.thread.port.onMessage((message) => {
      const waiting = worker.sent.shift();
      if (!waiting) return;
      const answer = message as WorkerAnswer;
      if ('error' in answer) waiting.reject(unpackError(answer.error));
      else waiting.resolve(answer.result);
      this.#dispatch();
    });
    worker.thread.ended.then(
      (code) => this.#lost(slot, worker, `exit code ${code}`),
      (error: unknown) => this.#lost(slot, worker, error instanceof Error ? error.message : String(error)),
    );
    return worker;
  }

  /** A thread ended by itself. Its jobs fail once it is really gone: only then is their memory idle. */
  #lost(slot: number, worker: CodecThread, reason: string): void {
    if (this.#workers[slot] !== worker) return;
    this.#workers[slot] = undefined;
    const gone = end(worker.thread).then(() => {
      this.#ending.delete(slot);
      for (const { reject } of worker.sent.splice(0)) reject(new WorkerCrashed(reason));
      this.#dispatch();
    });
    this.#ending.set(slot, gone);
  }
}

/** Ends a thread and the channel to it; fine when it is gone already. */
async function end(thread: Thread): Promise<void> {
  try {
    await thread.terminate();
  } finally {
    thread.port.close();
  }
}
