// The two logs of a namespace, data files and index files, as one thing: what is written, what waits for `commit`, and what is held
// back until its data is on stable storage. Reads see all three. Namespace and recovery stand on it; the writing itself and
// the taking back are in log-writer.ts.
//
// Invariants: entries are appended at `dataEnds[active]` and `indexEnds[active]`; only index entries of earlier commits change in
// place, through `change`; nothing here depends on the mode but the block cache.
import { type Clock, type Disk, type DiskFile, errorCode } from '@qsfs/io';
import type { Counters } from '../counters.ts';
import { DATA_DELETED, DATA_ENTRY_BYTES } from '../format/data-format.ts';
import {
  INDEX_DELETED,
  INDEX_ENTRY_BYTES,
  INDEX_HEADER_BYTES,
  indexEntry,
  putIndexEntry,
  SLOT_BYTES,
  slotOffset,
} from '../format/index-format.ts';
import { TWO_32 } from '../format/little-endian.ts';
import {
  type EngineOptions,
  type Loans,
  type NamespaceMode,
  NotLocal,
  type Payload,
  type Presence,
  StoreError,
} from '../types.ts';
import { BLOCK_BYTES as DATA_BLOCK_BYTES, type DataCache } from './data-cache.ts';
import { IndexChanges } from './index-changes.ts';
import { IndexTail } from './index-tail.ts';
import { FileSet, type OpenFiles } from './open-files.ts';
import { Chunks, Segment } from './segment.ts';
import { BLOCK_BYTES, BLOCK_SLOTS, SlotCache } from './slot-cache.ts';

/** Offsets are 32 bit: an entry must end at or before this. */
export const FILE_MAX_BYTES = TWO_32 - 1;
/** File ids stay below this (positions are kept as one exact number). */
export const FILE_ID_MAX = 2 ** 21 - 1;

/** What a log needs of the engine. */
export interface LogSurroundings {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly pool: OpenFiles;
  readonly dataCache: DataCache;
  readonly presence: Presence | undefined;
  readonly cacheBytes: number;
  /** Index entries that may wait to be written, bytes (index-tail.ts). */
  readonly indexTailBytes: number;
  readonly writeAhead: EngineOptions['writeAhead'];
}

/** What the last pass over a closed data file that gave up dead records found (hollow.ts). */
export interface Hollowed {
  /** Bytes that were not alive then, holes included: as long as there are no more, a pass would find nothing. */
  readonly deadBytes: number;
  /** Bytes in holes. */
  readonly holeBytes: number;
}

/** Data and index of one namespace. */
export class Log {
  readonly name: string;
  readonly data: FileSet;
  readonly index: FileSet;
  readonly counters: Counters;
  mode: NamespaceMode;

  /** Per file, pending bytes included. A data end of -1: the file is not on this machine and its size is not known. */
  readonly dataEnds: number[] = [];
  readonly indexEnds: number[] = [];
  /** Offset of the last index entry of each file; 0: none. */
  readonly lastEntries: number[] = [];
  /** Bytes of live entries per data file. */
  readonly liveBytes: number[] = [];
  /** Bytes of deletion markers written in this run, per data file: they are of use although nothing in them is alive. */
  readonly markerBytes = new Map<number, number>();
  /** Data files whose dead records were given up in this run. */
  readonly hollowed = new Map<number, Hollowed>();
  /** Number of the first cache block of each index file. */
  readonly firstBlocks: number[] = [];
  active = 0;
  /** Offset of the entry appended last, for the `previous` fields. */
  previousData = 0;
  previousIndex = 0;
  /** False while loading and recovering: nothing is noted for taking back. */
  recording = false;
  /** Index files changed in place. */
  readonly dirty = new Set<number>();

  /** Pending work, oldest first; the last one takes appends. */
  segments: Segment[];
  readonly held = new IndexChanges();
  readonly tail: IndexTail;
  readonly cache: SlotCache;

  /** Result of `view`, `change` and `viewRecord`: the fixed part of an entry begins at `bytes[at]`. */
  bytes: Uint8Array = new Uint8Array(INDEX_ENTRY_BYTES);
  at = 0;

  readonly surroundings: LogSurroundings;
  readonly liveUndo: number[] = [];
  readonly dirtyUndo: number[] = [];
  readonly #chunks = new Chunks();
  /** Its number in the data cache. */
  readonly #owner: number;

  constructor(
    name: string,
    dataDirectory: string,
    indexDirectory: string,
    mode: NamespaceMode,
    surroundings: LogSurroundings,
    counters: Counters,
  ) {
    this.name = name;
    this.mode = mode;
    this.surroundings = surroundings;
    this.counters = counters;
    this.data = new FileSet(surroundings.pool, dataDirectory, 'd');
    this.index = new FileSet(surroundings.pool, indexDirectory, 'i');
    this.cache = new SlotCache(surroundings.cacheBytes);
    this.tail = new IndexTail(surroundings.indexTailBytes);
    this.#owner = surroundings.dataCache.newOwner();
    this.segments = [new Segment(this.#chunks)];
  }

  /** The segment that takes appends. */
  get current(): Segment {
    return this.segments[this.segments.length - 1]!;
  }

  /** Bytes waiting for `commit`. */
  get pendingBytes(): number {
    let bytes = 0;
    for (const segment of this.segments) bytes += segment.dataBytes + segment.indexBytes;
    return bytes;
  }

  /** True when `commit` has something to write. */
  get pending(): boolean {
    return this.segments.length > 1 || !this.segments[0]!.empty;
  }

  /** Takes a pair of files as the active one, with these ends on disk; earlier ones are closed. For loading. */
  openPair(file: number, dataEnd: number, indexEnd: number): void {
    if (file > FILE_ID_MAX) throw new StoreError('bad-files', `${this.name}: more than ${FILE_ID_MAX} files`);
    this.active = file;
    this.dataEnds[file] = dataEnd;
    this.indexEnds[file] = indexEnd;
    this.lastEntries[file] ??= 0;
    this.liveBytes[file] ??= 0;
    this.firstBlocks[file] =
      file === 0 ? 0 : this.firstBlocks[file - 1]! + blocksOf(this.indexEnds[file - 1]!);
    this.segments = [this.segments[0]!];
    this.segments[0]!.continueFile(file, Math.max(0, dataEnd), indexEnd);
  }

  /** Begins with an empty first pair of files, created by the next write. */
  startFirst(): void {
    const segment = this.segments[0]!;
    segment.startFile(0, this.mode);
    this.active = 0;
    this.dataEnds[0] = segment.dataBytes;
    this.indexEnds[0] = segment.indexBytes;
    this.lastEntries[0] = 0;
    this.liveBytes[0] = 0;
    this.firstBlocks[0] = 0;
  }

  /** Closes the active pair and starts the next, within the batch. */
  rotate(): void {
    if (this.active >= FILE_ID_MAX)
      throw new StoreError('bad-files', `${this.name}: more than ${FILE_ID_MAX} files`);
    const segment = new Segment(this.#chunks);
    this.firstBlocks.push(this.firstBlocks[this.active]! + blocksOf(this.indexEnds[this.active]!));
    this.active++;
    segment.startFile(this.active, this.mode);
    this.segments.push(segment);
    this.dataEnds.push(segment.dataBytes);
    this.indexEnds.push(segment.indexBytes);
    this.lastEntries.push(0);
    this.liveBytes.push(0);
  }

  /** True when an entry of this size would pass the 32-bit offsets of either file. */
  overflows(keyBytes: number, payloadBytes: number): boolean {
    return (
      this.dataEnds[this.active]! + DATA_ENTRY_BYTES + keyBytes + payloadBytes > FILE_MAX_BYTES ||
      this.indexEnds[this.active]! + INDEX_ENTRY_BYTES + keyBytes > FILE_MAX_BYTES
    );
  }

  /** The first data file that was not removed. (One that is elsewhere, of unknown size, is told by what is alive in it.) */
  get oldestData(): number {
    return this.dataEnds.findIndex((size, file) => size >= 0 || this.liveBytes[file]! > 0);
  }

  /** Appends a data entry to the batch. @returns its offset in data file `active` */
  appendData(
    key: Uint8Array,
    payload: Payload,
    payloadBytes: number,
    crc: number,
    flags: number,
    timestamp: number,
  ): number {
    const segment = this.current;
    const offset = segment.appendData(key, payload, payloadBytes, this.previousData, crc, flags, timestamp);
    if (flags === DATA_DELETED) {
      const before = this.markerBytes.get(this.active) ?? 0;
      this.markerBytes.set(this.active, before + DATA_ENTRY_BYTES + key.length);
    }
    this.previousData = offset;
    this.dataEnds[this.active] = segment.dataEnd;
    return offset;
  }

  /** Appends an index entry to the batch. @returns its offset in index file `active` */
  appendIndex(
    key: Uint8Array,
    dataOffset: number,
    payloadBytes: number,
    flags: number,
    dataFile: number,
    timestamp: number,
    crc: number,
    parentFile: number,
    parentOffset: number,
  ): number {
    const segment = this.current;
    const length = key.length;
    segment.reserveIndex(INDEX_ENTRY_BYTES + length);
    const at = segment.indexBytes;
    const target = segment.index;
    const offset = segment.indexEnd;
    putIndexEntry(
      target,
      at,
      length,
      dataOffset,
      payloadBytes,
      this.previousIndex,
      flags,
      dataFile,
      timestamp,
      crc,
      parentFile,
      parentOffset,
    );
    for (let byte = 0; byte < length; byte++) target[at + INDEX_ENTRY_BYTES + byte] = key[byte]!;
    segment.indexBytes += INDEX_ENTRY_BYTES + length;
    this.previousIndex = offset;
    this.lastEntries[this.active] = offset;
    this.indexEnds[this.active] = segment.indexEnd;
    return offset;
  }

  /**
   * Points `bytes` and `at` to the fixed part of a slot as it is now. Valid until the next call of the log. (seq; user-mode entries
   * are read through an index window)
   */
  view(file: number, offset: number): void {
    for (let number = this.segments.length - 1; number >= 0; number--) {
      const segment = this.segments[number]!;
      if (segment.file === file && offset >= segment.indexStart) {
        this.bytes = segment.index;
        this.at = offset - segment.indexStart;
        return;
      }
      const record = segment.changes.find(file, offset);
      if (record >= 0) {
        this.bytes = segment.changes.images;
        this.at = segment.changes.after(record);
        return;
      }
    }
    const record = this.held.find(file, offset);
    if (record >= 0) {
      this.bytes = this.held.images;
      this.at = this.held.after(record);
      return;
    }
    const slot = (offset - INDEX_HEADER_BYTES) / SLOT_BYTES;
    const frame = this.frameOf(file, slot);
    this.bytes = this.cache.bytes(frame);
    this.at = this.cache.at(frame) + (slot % BLOCK_SLOTS) * SLOT_BYTES;
  }

  /** Like `view`, and what the caller writes to the fixed part there belongs to the batch. */
  change(file: number, offset: number): void {
    for (let number = this.segments.length - 1; number >= 0; number--) {
      const segment = this.segments[number]!;
      if (segment.file === file && offset >= segment.indexStart) {
        this.bytes = segment.index;
        this.at = offset - segment.indexStart;
        return;
      }
    }
    const changes = this.current.changes;
    let record = changes.find(file, offset);
    if (record < 0) {
      this.view(file, offset);
      record = changes.add(file, offset, this.bytes, this.at);
    }
    this.bytes = changes.images;
    this.at = changes.after(record);
  }

  /**
   * Sets or clears the deletion flag of an entry of a user-mode index, without looking at the entry.
   * @param dataOffset where its record is
   */
  changeFlag(file: number, offset: number, dataOffset: number, deleted: boolean): void {
    const flags = deleted ? INDEX_DELETED : 0;
    for (const segment of this.segments) {
      if (segment.file !== file || offset < segment.indexStart) continue;
      indexEntry.setFlags(segment.index, offset - segment.indexStart, flags);
      return;
    }
    const { changes } = this.current;
    let record = changes.find(file, offset);
    if (record < 0) record = changes.addFlags(file, offset, dataOffset, deleted ? 0 : INDEX_DELETED);
    indexEntry.setFlags(changes.images, changes.after(record), flags);
  }

  /** Flags of an entry as they are now, given those in the file. */
  flagsNow(file: number, offset: number, flags: number): number {
    for (let number = this.segments.length - 1; number >= 0; number--) {
      const { changes } = this.segments[number]!;
      const record = changes.find(file, offset);
      if (record >= 0) return indexEntry.flags(changes.images, changes.after(record));
    }
    const record = this.held.find(file, offset);
    return record < 0 ? flags : indexEntry.flags(this.held.images, this.held.after(record));
  }

  /** Whether entries in the files may look different from what they are now. */
  get overlaid(): boolean {
    if (this.held.size > 0) return true;
    for (const segment of this.segments) if (segment.changes.size > 0) return true;
    return false;
  }

  /** Marks an index file as changed in place. */
  markDirty(file: number): void {
    if (this.dirty.has(file)) return;
    this.dirty.add(file);
    if (this.recording) this.dirtyUndo.push(file);
  }

  /** Adds to the live bytes of a data file. */
  adjustLive(file: number, bytes: number): void {
    this.liveBytes[file] = (this.liveBytes[file] ?? 0) + bytes;
    if (!this.recording) return;
    const { liveUndo } = this;
    const last = liveUndo.length - 1;
    if (last > 0 && liveUndo[last - 1] === file) liveUndo[last] = liveUndo[last]! + bytes;
    else liveUndo.push(file, bytes);
  }

  /** End of what is written of an index file. */
  writtenIndexEnd(file: number): number {
    for (const segment of this.segments) if (segment.file === file) return segment.indexStart;
    return this.indexEnds[file]!;
  }

  /**
   * Fills `target` with bytes of an index file as they stand in it, in the tail and in the pending appends; changes are not applied.
   * @throws IoError; StoreError('bad-files') when the file became shorter
   */
  readIndex(file: number, offset: number, target: Uint8Array): void {
    const inFile = this.tail.endInFile(file, this.writtenIndexEnd(file));
    let done = Math.max(0, Math.min(target.length, inFile - offset));
    if (done > 0)
      this.#readIndexFile(file, offset, done === target.length ? target : target.subarray(0, done));
    if (done === target.length) return;
    done += this.tail.read(file, offset + done, target.subarray(done));
    if (done === target.length) return;
    for (const segment of this.segments) {
      if (segment.file !== file) continue;
      const from = offset + done - segment.indexStart;
      target.set(segment.index.subarray(from, from + target.length - done), done);
    }
  }

  #readIndexFile(file: number, offset: number, target: Uint8Array): void {
    let got = 0;
    try {
      got = this.index.serving(file).read(target, offset);
    } catch (error) {
      this.counters.indexFailed('read', this.surroundings.clock);
      throw error;
    }
    this.counters.indexRead(got);
    if (got < target.length)
      throw new StoreError(
        'bad-files',
        `${this.index.path(file)}: shorter than it was when opened; reload the namespace`,
      );
  }

  /** Cache frame with the written slot; reads its block when needed. */
  frameOf(file: number, slot: number): number {
    const block = this.firstBlocks[file]! + Math.floor(slot / BLOCK_SLOTS);
    const within = slot % BLOCK_SLOTS;
    let frame = this.cache.find(block);
    if (frame >= 0 && this.cache.filled(frame) > within) return frame;
    if (frame < 0) frame = this.cache.allocate(block);
    const start = slotOffset(slot - within);
    const length = Math.min(
      BLOCK_BYTES,
      Math.floor((this.writtenIndexEnd(file) - start) / SLOT_BYTES) * SLOT_BYTES,
    );
    const at = this.cache.at(frame);
    this.readIndex(file, start, this.cache.bytes(frame).subarray(at, at + length));
    this.cache.fill(frame, length / SLOT_BYTES);
    return frame;
  }

  /** An index file to read from and write to. */
  indexFile(file: number): DiskFile {
    return this.index.writing(file);
  }

  /**
   * Fills the first `lengthBytes` of `target` with bytes of a data file, pending ones included.
   * @throws NotLocal; StoreError('missing-data') when the file does not hold them; IoError
   */
  readData(file: number, offset: number, target: Uint8Array, lengthBytes = target.length): void {
    for (let number = this.segments.length - 1; number >= 0; number--) {
      const segment = this.segments[number]!;
      if (segment.file !== file) continue;
      if (offset < segment.dataStart) break;
      if (offset + lengthBytes > segment.dataEnd) throw this.missing(file, offset, lengthBytes);
      segment.readData(lengthBytes === target.length ? target : target.subarray(0, lengthBytes), offset);
      return;
    }
    const loans = this.#loansFor(file, offset, lengthBytes);
    let got: number;
    try {
      got = this.dataFile(file).read(target, offset, lengthBytes);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') throw this.absent(file, offset, lengthBytes);
      this.counters.dataFailed('read', this.surroundings.clock);
      throw error;
    }
    this.counters.dataRead(got);
    if (got < lengthBytes) throw this.missing(file, offset, lengthBytes);
    loans?.patch(this.name, file, offset, target, lengthBytes);
  }

  /** When a data file was changed last; undefined: it is not here, or something of it is not in it yet. */
  changedMs(file: number): number | undefined {
    for (const segment of this.segments) if (segment.file === file && segment.dataBytes > 0) return undefined;
    try {
      return this.dataFile(file).changedMs();
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /**
   * Points `bytes` and `at` to a record of at most RECORD_COPY_MAX_BYTES, from the cache when it is there. Valid until the next call of
   * any log of the engine.
   * @throws as `readData`
   */
  viewRecord(file: number, offset: number, lengthBytes: number): void {
    const { dataCache } = this.surroundings;
    if (!dataCache.find(this.#owner, file, offset, lengthBytes)) {
      const start = dataCache.missed(this.#owner, file, offset, lengthBytes);
      const end = start < 0 ? 0 : Math.min(start + DATA_BLOCK_BYTES, this.#writtenDataEnd(file));
      if (offset + lengthBytes > end) {
        this.readData(file, offset, dataCache.record, lengthBytes);
        this.bytes = dataCache.record;
        this.at = 0;
        return;
      }
      this.readData(file, start, dataCache.take(this.#owner, file, start, end - start));
      dataCache.taken(this.#owner, file, start, end - start);
      dataCache.find(this.#owner, file, offset, lengthBytes);
    }
    this.bytes = dataCache.bytes;
    this.at = dataCache.at;
  }

  /** Has the processor fetch those of some records that `viewRecord` will find in the cache. */
  touchRecords(files: Int32Array, offsets: Uint32Array, lengths: Int32Array, count: number): void {
    this.surroundings.dataCache.touch(this.#owner, files, offsets, lengths, count);
  }

  /** End of what is written of a data file; of one that is not here, what is known of it: nothing. */
  #writtenDataEnd(file: number): number {
    for (const segment of this.segments) if (segment.file === file) return segment.dataStart;
    return this.dataEnds[file]!;
  }

  /** @throws NotLocal when a range of a closed file cannot be read now */
  requireLocal(file: number, offset: number, lengthBytes: number): void {
    this.#loansFor(file, offset, lengthBytes);
  }

  /**
   * Where a range of a closed file comes from that is not in the local one; undefined when it is there.
   * @throws NotLocal when `presence` says that it is nowhere
   */
  #loansFor(file: number, offset: number, lengthBytes: number): Loans | undefined {
    const { presence } = this.surroundings;
    if (!presence || file >= this.segments[0]!.file || presence.has(this.name, file, offset, lengthBytes))
      return undefined;
    if (presence.loans?.cover(this.name, file, offset, lengthBytes)) return presence.loans;
    throw new NotLocal(this.name, file, offset, lengthBytes);
  }

  /** A data file to read from. */
  dataFile(file: number): DiskFile {
    return file === this.segments[0]!.file ? this.data.serving(file) : this.data.reading(file);
  }

  /** The error for a data file that does not exist: it must be brought, unless `presence` believes it is here. */
  absent(file: number, offset: number, lengthBytes: number): Error {
    return this.surroundings.presence
      ? this.missing(file, offset, lengthBytes)
      : new NotLocal(this.name, file, offset, lengthBytes);
  }

  missing(file: number, offset: number, lengthBytes: number): StoreError {
    return new StoreError(
      'missing-data',
      `${this.data.path(file)}: bytes ${offset} to ${offset + lengthBytes} are missing; restore the file from a copy`,
    );
  }

  closeFiles(): void {
    this.data.closeAll();
    this.index.closeAll();
  }
}

/** Cache blocks of an index file of this size. */
function blocksOf(indexEnd: number): number {
  return Math.ceil(Math.max(0, indexEnd - INDEX_HEADER_BYTES) / BLOCK_BYTES);
}
