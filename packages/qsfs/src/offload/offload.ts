// Sends closed data files to the backends, each as one object, and remembers in the catalog how safe each one is.
//
// What is pending is never written down: it is every closed file whose catalog entry says so, so a kill at any point loses
// nothing. Failures are retried for ever, with back-off; whoever waits (sync) is told when it does not go on.
import type { Clock, Timer } from '@qsfs/io';
import type { ObjectRecord, Verification, Zstor } from '@qsfs/zstor';
import { messageOf, QsfsError } from '../errors.ts';
import type { Volume } from '../local/volume-files.ts';
import { dataName, OBJECT_PREFIX } from '../manifest.ts';
import { OFFLOADED, type OffloadedName } from '../messages.ts';
import { type DataFile, DegradedFiles, keyOf } from './degraded-files.ts';

/** Objects on their way at a time; inside each, stripes are coded side by side by zstor. */
const CONCURRENT_MAX = 2;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 30_000;
/** How long somebody who waits puts up with nothing but failures. */
const PATIENCE_MS = 15_000;
/** However long nothing could be stored, somebody who asks for it has it tried for so long, so often. */
const RETURN_MS = 6000;
const AGAIN_MS = 1000;

/** What offload needs. */
export interface OffloadParts {
  readonly zstor: Zstor;
  /** How to make sure of what was stored. */
  readonly verification: Verification;
  readonly clock: Clock;
  readonly volume: Volume;
  /** In the names of new objects. */
  readonly epoch: () => number;
  /** False while programs write and there is room: a file then waits a little, so that they get the whole machine. */
  readonly mayBegin: () => boolean;
  /** A file is on the backends now; `complete` when all n shards are verified, `isNew` when it was not there before. */
  readonly stored: (namespace: OffloadedName, file: number, complete: boolean, isNew: boolean) => void;
  readonly log: (level: 'info' | 'warning' | 'error', message: string) => void;
}

/** For status. */
export interface OffloadStatus {
  readonly pendingFiles: number;
  readonly pendingBytes: number;
  readonly degradedFiles: number;
  /** Of the degraded ones those found to have too few good shards left: parts of them cannot be read, nor made whole from here. */
  readonly damagedFiles: number;
  readonly storedFiles: number;
  readonly storedBytes: number;
  /** Bytes sent since the start, those of objects under way included. */
  readonly movedBytes: number;
  /** What of them belongs to objects that are on their way still: not stored yet, and taking room all the same. */
  readonly underWayBytes: number;
  /** Bytes of the files that were stored since the start. */
  readonly finishedBytes: number;
  /** Why nothing moves; empty when it does. */
  readonly stuck: string;
}

/** Thrown by `drain`: nothing goes on, and something that makes room wants to be done first. */
export class DrainInterrupted extends Error {
  override readonly name = 'DrainInterrupted';
}

/** The offload queue. Owned by the main thread. */
export class Offload {
  readonly #parts: OffloadParts;
  readonly #queue: DataFile[] = [];
  readonly #known = new Set<string>();
  /** Stored, and lacking shards. */
  readonly degraded: DegradedFiles;
  readonly #waiters = new Set<() => void>();
  /** Being stored. */
  readonly #storing = new Set<string>();
  /** While not 0 nothing begins: somebody changes files that wait. */
  #holds = 0;
  #interruptions = 0;
  readonly #abort = new AbortController();
  #running = 0;
  /** Calls of `drain` under way: then nothing is put off. */
  #drains = 0;
  #failures = 0;
  #failingSinceMs = 0;
  #stuck = '';
  #backoff: Timer | undefined;
  #pendingBytes = 0;
  #storedFiles = 0;
  #storedBytes = 0;
  #movedBytes = 0;
  #underWayBytes = 0;
  #finishedBytes = 0;
  #closed = false;

  constructor(parts: OffloadParts) {
    this.#parts = parts;
    this.degraded = new DegradedFiles({
      ...parts,
      isOver: () => this.#closed,
      whole: (file, record) => this.#settle(file, record),
      storeAgain: ({ namespace, file }) => {
        this.#uncount(namespace, file);
        this.add(namespace, file);
      },
    });
  }

  /** Finds everything that is not on the backends yet. Called once, when the files are known. */
  async start(): Promise<void> {
    for (const name of OFFLOADED) {
      const files = this.#parts.volume[name];
      for (const file of files.files()) {
        const { safety } = files.data(file);
        if (safety === 'degraded') this.degraded.add({ namespace: name, file });
        if (safety !== 'pending') this.#count(name, file);
        else if (files.presence.absent.isEmpty(file)) this.add(name, file);
        else await this.#recover(name, file);
      }
    }
  }

  get status(): OffloadStatus {
    return {
      pendingFiles: this.#known.size,
      pendingBytes: this.#pendingBytes,
      degradedFiles: this.degraded.size,
      damagedFiles: this.degraded.damagedFiles,
      storedFiles: this.#storedFiles,
      storedBytes: this.#storedBytes,
      movedBytes: this.#movedBytes,
      underWayBytes: this.#underWayBytes,
      finishedBytes: this.#finishedBytes,
      stuck: this.#stuck,
    };
  }

  /** A data file was closed. Fine when it was told of before: what is stored is not stored again. */
  add(namespace: OffloadedName, file: number): void {
    const key = keyOf({ namespace, file });
    if (this.#known.has(key) || this.#closed) return;
    if (this.#parts.volume[namespace].data(file).safety !== 'pending') return;
    this.#known.add(key);
    this.#pendingBytes += this.#parts.volume[namespace].sizeOf(file);
    this.#queue.push({ namespace, file });
    this.#pump();
  }

  /**
   * Returns when everything added so far is on the backends.
   * @throws QsfsError QSFS_E_BACKENDS when for a while nothing but failures came; DrainInterrupted
   */
  async drain(): Promise<void> {
    const wanted = new Set(this.#known);
    const failuresBefore = this.#failures;
    const interruptionsBefore = this.#interruptions;
    const { clock } = this.#parts;
    const beganMs = clock.monotonicMs();
    this.#drains += 1;
    try {
      // Do not wait out a long back-off: somebody asks now.
      this.#retryNow();
      for (;;) {
        for (const key of wanted) if (!this.#known.has(key)) wanted.delete(key);
        if (wanted.size === 0) return;
        if (this.#closed) throw new QsfsError('QSFS_E_INCOMPLETE', 'qsfs is stopping');
        // Attempts of now must have failed too: the backends may just be coming back, one after the other.
        const failing = this.#failures > failuresBefore;
        const patienceEndMs = Math.max(this.#failingSinceMs + PATIENCE_MS, beganMs + RETURN_MS);
        if (failing && clock.monotonicMs() > patienceEndMs) {
          throw new QsfsError('QSFS_E_BACKENDS', `nothing can be stored at present: ${this.#stuck}`);
        }
        if (failing && this.#interruptions > interruptionsBefore) throw new DrainInterrupted();
        await this.#change(patienceEndMs - clock.monotonicMs());
      }
    } finally {
      this.#drains -= 1;
    }
  }

  /** Waits until something was stored or failed, or it is time to try again or to give up. */
  async #change(restMs: number): Promise<void> {
    const changed = new Promise<void>((resolve) => this.#waiters.add(resolve));
    const again = () => {
      this.#retryNow();
      this.#wake();
    };
    // The next attempt may be long after that.
    const delayMs = restMs > 0 ? Math.min(restMs + 1, AGAIN_MS) : AGAIN_MS;
    const timer = this.#failures > 0 ? this.#parts.clock.after(delayMs, again, true) : undefined;
    await changed;
    timer?.cancel();
  }

  /** Ends calls of `drain` that only meet failures. */
  interrupt(): void {
    this.#interruptions += 1;
    this.#wake();
  }

  /** Nothing begins to be stored until `release`. */
  hold(): void {
    this.#holds += 1;
  }

  release(): void {
    this.#holds -= 1;
    this.#pump();
  }

  /** Files that are wholly here, on no backend, and not on their way. */
  waiting(namespace: OffloadedName): number[] {
    const { absent } = this.#parts.volume[namespace].presence;
    return this.#queue
      .filter((job) => job.namespace === namespace && absent.isEmpty(job.file))
      .map(({ file }) => file);
  }

  isStoring(namespace: OffloadedName, file: number): boolean {
    return this.#storing.has(keyOf({ namespace, file }));
  }

  /** A file that was not on its way is about to be removed, as nothing in it is alive. */
  forget(namespace: OffloadedName, file: number): void {
    const key = keyOf({ namespace, file });
    const files = this.#parts.volume[namespace];
    if (this.#known.delete(key)) this.#pendingBytes -= files.sizeOf(file);
    else if (files.data(file).safety !== 'pending') this.#uncount(namespace, file);
    const place = this.#queue.findIndex((job) => job.namespace === namespace && job.file === file);
    if (place >= 0) this.#queue.splice(place, 1);
    this.degraded.forget({ namespace, file });
  }

  /** Ends what is under way. What is pending stays pending. */
  close(): void {
    this.#closed = true;
    this.#backoff?.cancel();
    this.#abort.abort(new Error('qsfs is stopping'));
    this.#wake();
  }

  /** Looks whether something may begin now. Called several times a second. */
  tend(): void {
    this.#pump();
  }

  #pump(): void {
    while (!this.#closed && !this.#backoff && this.#holds === 0 && this.#running < CONCURRENT_MAX) {
      if (this.#queue.length === 0 || (this.#drains === 0 && !this.#parts.mayBegin())) return;
      const job = this.#queue.shift();
      if (!job) return;
      this.#running += 1;
      const key = keyOf(job);
      this.#storing.add(key);
      void this.#store(job).finally(() => {
        this.#running -= 1;
        this.#storing.delete(key);
        this.#pump();
      });
    }
  }

  async #store(job: DataFile): Promise<void> {
    const { zstor, verification, volume, epoch, log, clock } = this.#parts;
    const files = volume[job.namespace];
    const sizeBytes = files.sizeOf(job.file);
    const name = dataName(job.namespace, job.file, epoch());
    let doneBefore = 0;
    const progress = (doneBytes: number) => {
      this.#movedBytes += doneBytes - doneBefore;
      this.#underWayBytes += doneBytes - doneBefore;
      doneBefore = doneBytes;
    };
    try {
      const record = await zstor.put(
        name,
        { path: files.dataPath(job.file), lengthBytes: sizeBytes },
        {
          verification,
          watchSource: true,
          stripeSizeBytes: files.stripeBytes,
          signal: this.#abort.signal,
          progress,
        },
      );
      if (this.#failures > 0) log('info', 'the backends take data again');
      this.#failures = 0;
      this.#stuck = '';
      this.#finish(job, record, sizeBytes);
    } catch (error) {
      if (this.#closed) return;
      this.#queue.unshift(job);
      if (this.#failures === 0) {
        this.#failingSinceMs = clock.monotonicMs();
        log('warning', `${name} cannot be stored now, and is tried again: ${messageOf(error)}`);
      }
      this.#failures += 1;
      this.#stuck = messageOf(error);
      const delayMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(10, this.#failures - 1));
      this.#backoff ??= clock.after(delayMs, () => this.#retryNow(), true);
    } finally {
      this.#underWayBytes -= doneBefore;
    }
    this.#wake();
  }

  #finish(job: DataFile, record: ObjectRecord, sizeBytes: number): void {
    if (!this.degraded.isWhole(record)) this.degraded.add(job);
    this.#known.delete(keyOf(job));
    this.#pendingBytes -= sizeBytes;
    this.#finishedBytes += sizeBytes;
    this.#count(job.namespace, job.file);
    this.#settle(job, record);
  }

  /** Records how safe a file is. */
  #settle(job: DataFile, record: ObjectRecord): void {
    const files = this.#parts.volume[job.namespace];
    const complete = this.degraded.isWhole(record);
    const before = files.data(job.file);
    files.catalog.setData(job.file, {
      safety: complete ? 'complete' : 'degraded',
      sizeBytes: record.sizeBytes,
      epoch: before.safety === 'pending' ? this.#parts.epoch() : before.epoch,
    });
    this.#parts.stored(job.namespace, job.file, complete, before.safety === 'pending');
  }

  /**
   * A file that is partly evicted but unknown to the catalog, whose slot was damaged: the backends know it.
   * @throws ZstorError when they cannot be asked
   */
  async #recover(namespace: OffloadedName, file: number): Promise<void> {
    const { zstor, volume, log } = this.#parts;
    const files = volume[namespace];
    let newest: { name: string; epoch: number } | undefined;
    for await (const summary of zstor.list(`${OBJECT_PREFIX}${namespace}/d${file}@`)) {
      const epoch = Number.parseInt(summary.name.slice(summary.name.lastIndexOf('@') + 1), 16);
      if (summary.sizeBytes === files.sizeOf(file) && epoch > (newest?.epoch ?? -1)) {
        newest = { name: summary.name, epoch };
      }
    }
    if (!newest) {
      log('error', `${namespace}/d${file} is partly evicted, but no object on the backends fits it`);
      return;
    }
    log('warning', `the catalog entry of ${namespace}/d${file} was lost and is restored from the backends`);
    files.catalog.setData(file, {
      safety: 'degraded',
      sizeBytes: files.sizeOf(file),
      epoch: newest.epoch,
    });
    this.degraded.add({ namespace, file });
    this.#count(namespace, file);
  }

  #count(namespace: OffloadedName, file: number): void {
    this.#storedFiles += 1;
    this.#storedBytes += this.#parts.volume[namespace].sizeOf(file);
  }

  #uncount(namespace: OffloadedName, file: number): void {
    this.#storedFiles -= 1;
    this.#storedBytes -= this.#parts.volume[namespace].sizeOf(file);
  }

  #retryNow(): void {
    this.#backoff?.cancel();
    this.#backoff = undefined;
    this.#pump();
  }

  /** Lets everybody who waits look again. */
  #wake(): void {
    for (const resolve of this.#waiters) resolve();
    this.#waiters.clear();
  }
}
