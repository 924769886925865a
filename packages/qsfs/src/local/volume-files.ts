// The data files of one offloaded namespace as the main thread knows them: sizes, presence, catalog, and how many bytes
// of them are local. One object a namespace, shared by offload, read-back and eviction.
import { join } from 'node:path';
import { type Disk, type DiskFile, errorCode } from '@qsfs/io';
import type { Layout } from '../layout.ts';
import type { OffloadedName, OpenedNamespace } from '../messages.ts';
import { Catalog, type StoredData } from './catalog.ts';
import { Presence } from './presence.ts';

/** Files of a namespace. All numbers of stripes and files as in the engine. */
export class VolumeFiles {
  readonly namespace: OffloadedName;
  readonly presence: Presence;
  readonly catalog: Catalog;
  readonly stripeBytes: number;
  readonly #dataDirectory: string;
  readonly #indexDirectory: string;
  /** Sizes of the closed files, by number; 0: not closed, or not there. */
  #sizes = new Float64Array(0);
  #length = 0;
  #localBytes = 0;
  activeFile = 0;

  private constructor(
    namespace: OffloadedName,
    presence: Presence,
    catalog: Catalog,
    layout: Layout,
    stripeBytes: number,
  ) {
    this.namespace = namespace;
    this.presence = presence;
    this.catalog = catalog;
    this.stripeBytes = stripeBytes;
    this.#dataDirectory = join(layout.data, namespace);
    this.#indexDirectory = join(layout.index, namespace);
  }

  /** Opens (or makes) the tables of a namespace. @throws RangeError, IoError */
  static open(
    disk: Disk,
    layout: Layout,
    namespace: OffloadedName,
    stripeBytes: number,
    segmentBytes: number,
  ): VolumeFiles {
    disk.makeDirectory(layout.presence);
    disk.makeDirectory(layout.catalog);
    const presence = Presence.open(disk, join(layout.presence, namespace), stripeBytes, segmentBytes);
    try {
      const catalog = Catalog.open(disk, join(layout.catalog, namespace));
      return new VolumeFiles(namespace, presence, catalog, layout, stripeBytes);
    } catch (error) {
      presence.close();
      throw error;
    }
  }

  /** Takes over what the engine found at its start. */
  load(opened: OpenedNamespace): void {
    this.activeFile = opened.activeFile;
    for (let place = 0; place < opened.files.length; place += 1) {
      this.closed(opened.files[place] as number, opened.sizes[place] as number);
    }
  }

  /** A data file was closed; the one behind it is active now. */
  closed(file: number, sizeBytes: number): void {
    this.#reach(file);
    this.activeFile = Math.max(this.activeFile, file + 1);
    if (this.#sizes[file] !== 0) return;
    this.#sizes[file] = sizeBytes;
    this.#localBytes += this.presentBytes(file);
  }

  /** Numbers of the closed files, ascending. */
  *files(): Iterable<number> {
    for (let file = 0; file < this.#length; file += 1) if (this.#sizes[file]) yield file;
  }

  /** Size of a closed file; 0 when there is no such file. */
  sizeOf(file: number): number {
    return file < this.#length ? (this.#sizes[file] as number) : 0;
  }

  stripesOf(file: number): number {
    return Math.ceil(this.sizeOf(file) / this.stripeBytes);
  }

  /** Bytes of a stripe; the last one of a file may be shorter. */
  stripeSize(file: number, stripe: number): number {
    return Math.max(0, Math.min(this.stripeBytes, this.sizeOf(file) - stripe * this.stripeBytes));
  }

  /** Bytes of a closed file that are on this machine. */
  presentBytes(file: number): number {
    const { absent } = this.presence;
    let bytes = this.sizeOf(file);
    if (absent.isEmpty(file)) return bytes;
    for (let stripe = 0; stripe < this.stripesOf(file); stripe += 1) {
      if (absent.has(file, stripe)) bytes -= this.stripeSize(file, stripe);
    }
    return bytes;
  }

  /** Bytes of all closed files that are on this machine. */
  get localBytes(): number {
    return this.#localBytes;
  }

  dataPath(file: number): string {
    return join(this.#dataDirectory, `d${file}`);
  }

  indexPath(file: number): string {
    return join(this.#indexDirectory, `i${file}`);
  }

  /** One more than the number of the highest data file that is on the backends. */
  get storedFiles(): number {
    let file = this.catalog.length;
    while (file > 0 && this.data(file - 1).safety === 'pending') file -= 1;
    return file;
  }

  data(file: number): StoredData {
    return this.catalog.data(file);
  }

  /** A stripe was written into the local file. */
  brought(file: number, stripe: number): void {
    if (!this.presence.absent.has(file, stripe)) return;
    this.presence.notePresent(file, stripe, 1);
    this.#localBytes += this.stripeSize(file, stripe);
  }

  /** Stripes will be given up: recorded in memory; the caller flushes before it punches. */
  recordAbsent(file: number, first: number, count: number): number {
    let bytes = 0;
    for (let stripe = first; stripe < first + count; stripe += 1) {
      if (!this.presence.absent.has(file, stripe)) bytes += this.stripeSize(file, stripe);
    }
    this.presence.recordAbsent(file, first, count);
    this.#localBytes -= bytes;
    return bytes;
  }

  /** A data file in which nothing was alive was removed. */
  removed(file: number): void {
    if (this.sizeOf(file) === 0) return;
    this.#localBytes -= this.presentBytes(file);
    this.#sizes[file] = 0;
    this.presence.forget(file);
  }

  /** Gives the space of stripes back to the disk. Their absence must be on stable storage. */
  punch(disk: Disk, file: number, first: number, count: number): void {
    let handle: DiskFile;
    try {
      handle = disk.open(this.dataPath(file), 'write');
    } catch (error) {
      // Removed meanwhile, as nothing in it was alive.
      if (errorCode(error) === 'ENOENT') return;
      throw error;
    }
    try {
      handle.punchHole(first * this.stripeBytes, count * this.stripeBytes);
    } finally {
      handle.close();
    }
  }

  /**
   * After a crash between recording and punching, or after bringing without recording, absent stripes still take space:
   * gives it back. @returns the number of files that were trimmed
   */
  trim(disk: Disk): number {
    let trimmed = 0;
    for (const file of this.presence.trackedFiles()) {
      try {
        const allocated = disk.stat(this.dataPath(file))?.allocatedBytes;
        if (allocated === undefined || allocated <= this.presentBytes(file) + this.stripeBytes / 2) continue;
        for (let stripe = 0; stripe < this.stripesOf(file); stripe += 1) {
          if (this.presence.absent.has(file, stripe)) this.punch(disk, file, stripe, 1);
        }
        trimmed += 1;
      } catch (error) {
        if (errorCode(error) === undefined) throw error;
      }
    }
    return trimmed;
  }

  close(): void {
    this.catalog.close();
    this.presence.close();
  }

  #reach(file: number): void {
    if (file < this.#length) return;
    if (file >= this.#sizes.length) {
      const larger = new Float64Array(Math.max(file + 1, this.#sizes.length * 2, 256));
      larger.set(this.#sizes);
      this.#sizes = larger;
    }
    this.#length = file + 1;
  }
}

/** Both offloaded namespaces. */
export type Volume = Readonly<Record<OffloadedName, VolumeFiles>>;
