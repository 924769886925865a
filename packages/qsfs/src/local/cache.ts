// Keeps the local copies of data files under the limit by dropping stripes that are safe on the backends.
//
// Policy: files in the order in which they became safe or were brought back (a queue); stripes read since the last visit
// get a second chance. The records of directories and inodes (zdbfs-meta) stay as long as they fit half of the limit,
// because everything, `ls` and `df` included, waits for them.
//
// Order: the filesystem thread gives stripes up (nobody reads them any more), their absence is recorded durably, then the
// space is given back. Only files whose catalog entry says `complete` are ever considered, and the catalog is on disk first.
import { type Disk, errorCode } from '@qsfs/io';
import { messageOf } from '../errors.ts';
import {
  GAUGES,
  OFFLOADED,
  type OffloadedName,
  type SharedDisk,
  type Stripes,
  type ToFilesystem,
} from '../messages.ts';
import { keptBytes, workingBytes } from './shared-disk.ts';
import { stripeRuns } from './stripe-map.ts';
import type { Volume } from './volume-files.ts';

/** Dropping begins above this part of the limit, and goes on down to the other. */
const HIGH_WATER = 0.9;
const LOW_WATER = 0.8;
/** Files offered to the filesystem thread in one message. */
const BATCH_FILES = 64;
/** Part of the limit that directory and inode records may fill before they are dropped like the rest. */
const METADATA_SHARE = 0.5;
/** Data files are not closed below this size (docs/formats/config.md, `segment_size`). */
const SMALLEST_FILE_BYTES = 2 ** 20;
/**
 * Of a disk that is nearly full this much, or this part, is kept free: twice what the volume leaves to its own records, so that
 * programs can write as long as there is something to drop.
 */
const FREE_BYTES_MIN = 128 * 2 ** 20;
const FREE_SHARE = 1 / 8;

/** Of the limit so much stays of what was read lately, however much of it is taken by what cannot be dropped. */
const WORKING_SHARE = 1 / 8;

/** Of the limit no data file takes more than one part in so many: what is written and what is on its way is whole files. */
const FILES_MIN = 8;

/** Size at which a data file is closed, in whole stripes. */
export function fileBytesFor(limitBytes: number, stripeBytes: number, segmentBytes: number): number {
  const stripes = Math.max(1, Math.floor(limitBytes / FILES_MIN / stripeBytes));
  return Math.min(segmentBytes, Math.max(SMALLEST_FILE_BYTES, stripes * stripeBytes));
}

/** What the cache needs. */
export interface CacheParts {
  readonly disk: Disk;
  readonly volume: Volume;
  readonly gauges: Float64Array;
  readonly limitBytes: number;
  readonly shared: SharedDisk;
  /** Closed and on no backend yet. */
  readonly pendingBytes: () => number;
  readonly dataDirectory: string;
  readonly send: (message: ToFilesystem) => void;
  readonly log: (level: 'info' | 'warning' | 'error', message: string) => void;
}

/** What one round of dropping did. */
export interface Dropped {
  readonly bytes: number;
  readonly stripes: number;
}

const NOTHING_DROPPED: Dropped = { bytes: 0, stripes: 0 };

/** Stripes the filesystem thread was asked to give up. */
interface Offer {
  readonly stripes: readonly Stripes[];
  readonly promise: Promise<Dropped>;
  readonly resolve: (dropped: Dropped) => void;
  readonly reject: (error: unknown) => void;
}

/** The local cache. Owned by the main thread. */
export class Cache {
  readonly #parts: CacheParts;
  /** Files with local stripes that may be dropped, oldest first. */
  readonly #queues: Record<OffloadedName, Set<number>> = { 'zdbfs-meta': new Set(), 'zdbfs-data': new Set() };
  readonly #pinned = new Set<string>();
  /** What was offered to the filesystem thread and not answered yet. */
  readonly #offers = new Map<number, Offer>();
  #nextId = 1;
  #shrinking: Promise<void> | undefined;
  #unsupported = false;

  constructor(parts: CacheParts) {
    this.#parts = parts;
    for (const name of OFFLOADED) for (const file of parts.volume[name].files()) this.consider(name, file);
  }

  /** Bytes of local data files, active ones included. */
  get usedBytes(): number {
    const { volume, gauges } = this.#parts;
    const closed = OFFLOADED.reduce((sum, name) => sum + volume[name].localBytes, 0);
    return closed + (gauges[GAUGES.activeBytes] as number);
  }

  /** Bytes of directory and inode records among them. */
  get metadataBytes(): number {
    return this.#parts.volume['zdbfs-meta'].localBytes;
  }

  get limitBytes(): number {
    return this.#parts.limitBytes;
  }

  /** The limit, lowered when the disk itself has less room than that. */
  effectiveLimitBytes(): number {
    try {
      const space = this.#parts.disk.space(this.#parts.dataDirectory);
      const leave =
        Math.min(FREE_BYTES_MIN, space.totalBytes * FREE_SHARE) + this.#keptBytes(space.totalBytes);
      return Math.max(0, Math.min(this.limitBytes, this.usedBytes + space.availableBytes - leave));
    } catch {
      return this.limitBytes;
    }
  }

  /** Of a disk that is shared with backends, so that there is something left for programs. */
  #keptBytes(totalBytes: number): number {
    return keptBytes(this.#parts.shared, totalBytes, this.#unstoredBytes);
  }

  get #unstoredBytes(): number {
    return this.#parts.pendingBytes() + (this.#parts.gauges[GAUGES.activeBytes] as number);
  }

  /** So much of what can be dropped stays, whatever the disk and the rest of the cache leave to it: what is read again comes once. */
  workingBytes(evictableBytes = this.evictableBytes()): number {
    const { disk, dataDirectory, shared } = this.#parts;
    const most = this.limitBytes * WORKING_SHARE;
    try {
      return Math.min(
        most,
        workingBytes(shared, disk.space(dataDirectory), this.#unstoredBytes, evictableBytes),
      );
    } catch {
      return most;
    }
  }

  /** What may be here of copies that can be dropped. */
  copiesBytes(): number {
    const evictable = this.evictableBytes();
    return Math.max(this.effectiveLimitBytes() - (this.usedBytes - evictable), this.workingBytes(evictable));
  }

  /** Bytes that could be dropped now. */
  evictableBytes(): number {
    let bytes = 0;
    for (const name of OFFLOADED) {
      if (name === 'zdbfs-meta' && !this.#metadataTooLarge()) continue;
      for (const file of this.#queues[name]) bytes += this.#parts.volume[name].presentBytes(file);
    }
    return bytes;
  }

  /** A file became safe, or got stripes back: it may be dropped from now on. */
  consider(namespace: OffloadedName, file: number): void {
    const files = this.#parts.volume[namespace];
    if (files.data(file).safety !== 'complete' || files.presentBytes(file) === 0) return;
    if (this.#pinned.has(`${namespace}/${file}`)) return;
    this.#queues[namespace].add(file);
  }

  /** A file is not safe any more (a backend was wiped). */
  withdraw(namespace: OffloadedName, file: number): void {
    if (this.#queues[namespace].delete(file)) this.#forget(this.#parts.volume[namespace].presentBytes(file));
  }

  /** Can be dropped no more, or is being dropped: known to the filesystem thread before its room is (KeptRoom). */
  #forget(bytes: number): void {
    const { gauges } = this.#parts;
    gauges[GAUGES.evictableBytes] = Math.max(0, (gauges[GAUGES.evictableBytes] as number) - bytes);
  }

  /** Keeps a file here, what is still to come of it too, until the call that is returned. */
  pin(namespace: OffloadedName, file: number): () => void {
    const key = `${namespace}/${file}`;
    this.#pinned.add(key);
    this.withdraw(namespace, file);
    return () => {
      this.#pinned.delete(key);
      this.consider(namespace, file);
    };
  }

  /** Drops something when there is too much; returns at once. `comingBytes` are about to be brought. */
  tend(comingBytes = 0): void {
    if (this.#shrinking || this.#unsupported) return;
    const limit = this.effectiveLimitBytes();
    const used = this.usedBytes + comingBytes;
    if (used <= limit * HIGH_WATER) return;
    const copies = this.evictableBytes();
    const working = this.workingBytes(copies);
    if (copies + comingBytes <= working * HIGH_WATER) return;
    const excess = Math.min(used - limit * LOW_WATER, copies + comingBytes - working * LOW_WATER);
    this.#shrinking = this.#shrink(excess)
      .catch((error: unknown) => this.#parts.log('warning', `cache: ${messageOf(error)}`))
      .finally(() => {
        this.#shrinking = undefined;
      });
  }

  /** Drops every stripe of file contents that is safe; with `metadata` also the records of directories and inodes. */
  async evictAll(metadata: boolean): Promise<Dropped> {
    await this.#shrinking;
    const names = metadata ? OFFLOADED : OFFLOADED.filter((name) => name !== 'zdbfs-meta');
    let bytes = 0;
    let stripes = 0;
    for (const name of names) {
      // Each file once: readers may bring stripes back all the while.
      for (let visits = this.#queues[name].size; visits > 0; ) {
        const batch = this.#takeBatch(name, Number.POSITIVE_INFINITY);
        if (batch.length === 0) break;
        visits -= new Set(batch.map((run) => run.file)).size;
        const dropped = await this.#drop(batch, false);
        bytes += dropped.bytes;
        stripes += dropped.stripes;
      }
    }
    return { bytes, stripes };
  }

  /**
   * A stripe that the filesystem thread was asked to give up may be gone for it already: until its answer nobody may tell it that the
   * stripe is here.
   * @returns what ends with the answer; undefined when the stripe was not offered
   */
  leaving(namespace: OffloadedName, file: number, stripe: number): Promise<unknown> | undefined {
    for (const { stripes, promise } of this.#offers.values()) {
      const isOffered = stripes.some(
        (run) =>
          run.namespace === namespace &&
          run.file === file &&
          stripe >= run.first &&
          stripe < run.first + run.count,
      );
      if (isOffered) return promise;
    }
    return undefined;
  }

  /** The filesystem thread's answer to a `drop`. */
  dropped(id: number, stripes: readonly Stripes[]): void {
    const offer = this.#offers.get(id);
    this.#offers.delete(id);
    try {
      const result = this.#apply(stripes);
      offer?.resolve(result);
    } catch (error) {
      offer?.reject(error);
    }
  }

  /** Nobody will answer any more. */
  close(): void {
    for (const offer of this.#offers.values()) offer.resolve(NOTHING_DROPPED);
    this.#offers.clear();
  }

  async #shrink(excessBytes: number): Promise<void> {
    let rest = excessBytes;
    // First round keeps what was read lately, the second takes it too.
    for (const keepTouched of [true, false]) {
      for (const name of ['zdbfs-data', 'zdbfs-meta'] as const) {
        let visits = this.#queues[name].size;
        while (rest > 0 && visits > 0 && (name === 'zdbfs-data' || this.#metadataTooLarge())) {
          const batch = this.#takeBatch(name, rest);
          if (batch.length === 0) break;
          visits -= new Set(batch.map((stripes) => stripes.file)).size;
          rest -= (await this.#drop(batch, keepTouched)).bytes;
        }
      }
    }
  }

  #metadataTooLarge(): boolean {
    return this.metadataBytes > this.limitBytes * METADATA_SHARE;
  }

  /** Takes files from the head of a queue until their local bytes reach `bytes`. */
  #takeBatch(name: OffloadedName, bytes: number): Stripes[] {
    const files = this.#parts.volume[name];
    const queue = this.#queues[name];
    const batch: Stripes[] = [];
    let taken = 0;
    let gathered = 0;
    for (const file of queue) {
      if (taken >= BATCH_FILES || gathered >= bytes) break;
      queue.delete(file);
      if (files.data(file).safety !== 'complete') continue;
      const runs = stripeRuns(files.stripesOf(file), (stripe) => !files.presence.absent.has(file, stripe));
      for (const run of runs) batch.push({ namespace: name, file, ...run });
      taken += 1;
      gathered += files.presentBytes(file);
    }
    return batch;
  }

  async #drop(batch: readonly Stripes[], keepTouched: boolean): Promise<Dropped> {
    const [head] = batch;
    if (!head) return NOTHING_DROPPED;
    try {
      // The knowledge that they are safe must outlive us before the bytes go.
      this.#parts.volume[head.namespace].catalog.flush();
      const id = this.#nextId++;
      const answer = Promise.withResolvers<Dropped>();
      this.#offers.set(id, { stripes: batch, ...answer });
      this.#parts.send({ kind: 'drop', id, stripes: batch, keepTouched });
      return await answer.promise;
    } finally {
      for (const file of new Set(batch.map((run) => run.file))) this.consider(head.namespace, file);
    }
  }

  /** Must run to its end before the next message: a reader may already ask for these stripes again. */
  #apply(given: readonly Stripes[]): Dropped {
    const { disk, volume, send } = this.#parts;
    let bytes = 0;
    let stripes = 0;
    const safe: Stripes[] = [];
    for (const run of given) {
      // A backend was emptied while the offer was on its way: what was given up is taken back.
      if (volume[run.namespace].data(run.file).safety !== 'complete') {
        send({ kind: 'brought', ahead: false, ...run });
        continue;
      }
      safe.push(run);
      bytes += volume[run.namespace].recordAbsent(run.file, run.first, run.count);
      stripes += run.count;
    }
    for (const name of OFFLOADED) volume[name].presence.flush();
    this.#forget(bytes);
    try {
      for (const run of safe) volume[run.namespace].punch(disk, run.file, run.first, run.count);
    } catch (error) {
      if (errorCode(error) !== 'EOPNOTSUPP') throw error;
      this.#unsupported = true;
      this.#parts.log(
        'error',
        'this filesystem cannot give back parts of files (no fallocate); the cache limit cannot be kept',
      );
    }
    return { bytes, stripes };
  }
}
