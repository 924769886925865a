// The filesystem thread's end of the sync thread (sync-thread.ts): carries out steps (io, sync-steps.ts) whose syncs the other thread
// waits for, so that programs that only look are answered meanwhile. One piece of work at a time.
import type { WakeHandle } from '@qsfs/fuse';
import {
  type Clock,
  type ErrnoCode,
  IoError,
  type Port,
  type PortEnd,
  type SyncSteps,
  startThread,
  type Thread,
  type Unstable,
} from '@qsfs/io';
import type { Settler } from '@qsfs/zdbfs';

/**
 * So little is synced here while the disk is quick: handing it over costs more than waiting. The disk is quick when the last sync was
 * lately and took no longer than this.
 */
const SMALL_BYTES = 64 * 1024;
const QUICK_MS = 2;
const LATELY_MS = 1000;

/** To the sync thread: sync something, or `breathe`: only answer. The first two have no answer. */
export type ToSyncThread =
  | { readonly kind: 'wake'; readonly handle: WakeHandle | undefined }
  | {
      readonly kind: 'write-ahead';
      readonly path: string;
      readonly position: number;
      readonly lengthBytes: number;
    }
  | { readonly kind: Unstable['kind']; readonly id: number; readonly path: string }
  | { readonly kind: 'breathe'; readonly id: number };

/** Its answer. */
export interface FromSyncThread {
  readonly id: number;
  readonly durationMs: number;
  readonly failure: { readonly code: ErrnoCode; readonly message: string } | undefined;
}

interface Work {
  readonly steps: SyncSteps;
  readonly isSmall: boolean;
  readonly ended: (error: unknown) => void;
  /** What the thread was asked for last. */
  asked: Unstable | undefined;
}

/** Starts the sync thread. @param peer end of a channel whose other end is that of a Syncing */
export function startSyncThread(peer: PortEnd): Thread {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return startThread(new URL(`./sync-thread.${extension}`, import.meta.url), undefined, 0, peer);
}

/** Owned by the filesystem thread. */
export class Syncing implements Settler {
  readonly #port: Port;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #settled: (error: unknown) => void;
  #work: Work | undefined;
  #nextId = 1;
  #lastTookMs = Number.POSITIVE_INFINITY;
  #lastAtMs = 0;
  /** The thread has ended: nobody answers any more. */
  #alone = false;

  /**
   * @param port to the sync thread
   * @param settled called after each piece of work, with its error or undefined
   */
  constructor(clock: Pick<Clock, 'monotonicMs'>, port: Port, settled: (error: unknown) => void) {
    this.#clock = clock;
    this.#port = port;
    this.#settled = settled;
    port.onMessage((message) => this.#take(message as FromSyncThread));
  }

  /** Whom to wake when there is an answer; undefined: the event loop brings it. */
  wakes(handle: WakeHandle | undefined): void {
    this.#send({ kind: 'wake', handle });
  }

  /** Has the disk begin to write what will be synced: when the disk is busy, beginning takes as long as writing. */
  writeAhead(path: string, position: number, lengthBytes: number): void {
    if (!this.#alone) this.#send({ kind: 'write-ahead', path, position, lengthBytes });
  }

  start(steps: SyncSteps, sizeBytes: number, ended: (error: unknown) => void): void {
    if (this.#work) throw new Error('one piece of work at a time');
    this.#work = { steps, isSmall: sizeBytes <= SMALL_BYTES, ended, asked: undefined };
    if (this.#alone) this.finish();
    else this.#advance(() => steps.next());
  }

  /**
   * The thread has ended. What it was asked for last counts as failed: only it would know whether the disk told it of an error. From now
   * on this thread waits itself.
   */
  lost(reason: string): void {
    this.#alone = true;
    if (!this.#work) return;
    const { asked, steps } = this.#work;
    this.#nextId += 1;
    if (asked) this.#advance(() => steps.throw(new IoError('EIO', `${asked.path}: ${reason}`)));
    this.finish();
  }

  /** Takes answers, for a thread that blocks. */
  receive(): void {
    for (let message = this.#port.receive(); message !== undefined; message = this.#port.receive())
      this.#take(message as FromSyncThread);
  }

  /** Does the rest of what is under way here and now: nobody else is to be answered any more. */
  finish(): void {
    while (this.#work) {
      const { asked, steps } = this.#work;
      this.#nextId += 1;
      try {
        asked?.sync();
      } catch (error) {
        this.#advance(() => steps.throw(error));
        continue;
      }
      this.#advance(() => steps.next());
    }
  }

  close(): void {
    this.#port.close();
  }

  #take(answer: FromSyncThread): void {
    // Finished here meanwhile.
    if (!this.#work || answer.id !== this.#nextId) return;
    this.#nextId += 1;
    const { steps } = this.#work;
    const { failure, durationMs } = answer;
    if (this.#work.asked) this.#took(durationMs);
    if (failure) this.#advance(() => steps.throw(new IoError(failure.code, failure.message)));
    else this.#advance(() => steps.next());
  }

  #advance(resume: () => IteratorResult<Unstable | undefined, void>): void {
    const work = this.#work as Work;
    let step: IteratorResult<Unstable | undefined, void>;
    try {
      step = resume();
    } catch (error) {
      this.#end(work, error);
      return;
    }
    if (step.done) {
      this.#end(work, undefined);
      return;
    }
    work.asked = step.value;
    if (this.#alone) return;
    if (step.value && work.isSmall && this.#isQuick) {
      this.#syncHere(work.steps, step.value);
      return;
    }
    const id = this.#nextId;
    if (step.value) this.#send({ kind: step.value.kind, id, path: step.value.path });
    else this.#send({ kind: 'breathe', id });
  }

  #syncHere(steps: SyncSteps, unstable: Unstable): void {
    const beginMs = this.#clock.monotonicMs();
    let failure: { readonly error: unknown } | undefined;
    try {
      unstable.sync();
    } catch (error) {
      failure = { error };
    }
    this.#took(this.#clock.monotonicMs() - beginMs);
    this.#advance(() => (failure ? steps.throw(failure.error) : steps.next()));
  }

  get #isQuick(): boolean {
    return this.#lastTookMs <= QUICK_MS && this.#clock.monotonicMs() - this.#lastAtMs <= LATELY_MS;
  }

  #took(durationMs: number): void {
    this.#lastTookMs = durationMs;
    this.#lastAtMs = this.#clock.monotonicMs();
  }

  #end(work: Work, error: unknown): void {
    this.#work = undefined;
    work.ended(error);
    this.#settled(error);
  }

  #send(message: ToSyncThread): void {
    this.#port.send(message);
  }
}
