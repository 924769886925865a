// Writes what a log has pending, makes it durable, and takes it back when something fails. The order of writes is what recovery
// relies on (docs/formats/zdb.md, "Order of writes"):
//   1. data before index: an index entry never reaches its file before the data entry it points to. Appended entries may wait in
//      memory (index-tail.ts) until 2, any change in place, or a sync of the index: a process that ends loses none, see 4;
//   2. a pair of files is complete (data, index appends, changes in place) before the next pair exists;
//   3. a change in place of an entry whose old record is durable waits until the new record is durable too ("held");
//   4. once durability was promised (a sync policy, or `sync` was called), index files are synced before the next pair exists, so
//      that recovery needs the last data file only.
import { type DiskFile, errorCode, type SyncSteps, syncAtOnce, unstableDirectory } from '@qsfs/io';
import {
  INDEX_ENTRY_BYTES,
  INDEX_FLAGS_AT,
  INDEX_HEADER_BYTES,
  indexEntry,
  SLOT_BYTES,
  slotOffset,
} from '../format/index-format.ts';
import type { SyncPolicy } from '../types.ts';
import type { IndexChanges } from './index-changes.ts';
import type { Log } from './log.ts';
import type { Segment } from './segment.ts';
import { BLOCK_SLOTS } from './slot-cache.ts';

/** Data is sent to the disk in steps of this size, ahead of the sync that will ask for it. */
const WRITE_AHEAD_BYTES = 8 * 1024 * 1024;

/** Held changes past this number force a sync of the data. */
export const HELD_MAX = 65_536;
const REWRITE_BYTES = 1 << 20;

/** Rotations of a batch, reported when it is accepted. */
export interface Rotation {
  readonly closed: number;
  readonly active: number;
}

/** The writing half of a log. */
export class LogWriter {
  readonly #log: Log;
  readonly #policy: SyncPolicy;
  /** Durability was promised: see 4 above. */
  #promising: boolean;
  /** Everything before this position is on stable storage, or counts as such because it was there when we came. */
  #durableFile = 0;
  #durableOffset = 0;
  readonly #unsyncedData = new Set<number>();
  readonly #unsyncedIndex = new Set<number>();
  /** Data files whose last sync failed: what the kernel forgot to write is written again before the next one. */
  readonly #suspectData = new Set<number>();
  #directoriesUnsynced = false;
  #checkpointDue = false;
  #lastSyncMs = Number.NEGATIVE_INFINITY;
  /** File and end of the data whose writing to the disk was asked for ahead of the sync. */
  #aheadFile = 0;
  #aheadEnd = 0;
  /** Segments of the batch whose writing began. */
  #begun = 0;
  /** Room can be set aside in index files. */
  #canReserve = true;
  /** The files may hold bytes behind their ends that could not be cut off. */
  #unclean = false;

  // The state at the last accepted batch.
  #active = 0;
  #previousData = 0;
  #previousIndex = 0;
  #dataEnd = 0;
  #indexEnd = 0;
  #lastEntry = 0;

  constructor(log: Log, policy: SyncPolicy, syncOnRotation: boolean) {
    this.#log = log;
    this.#policy = policy;
    this.#promising = policy !== 'none' || syncOnRotation;
  }

  /** Called once the log is loaded: what is on disk is the state to go back to. */
  loaded(): void {
    const log = this.#log;
    this.#durableFile = log.active;
    this.#durableOffset = log.dataEnds[log.active]!;
    this.#remember();
  }

  /** A data or index file may not be on stable storage yet (it changed shortly before we came, or recovery changed it). */
  suspectUnsynced(kind: 'data' | 'index', file: number): void {
    if (kind === 'data') this.#unsyncedData.add(file);
    else this.#unsyncedIndex.add(file);
    this.#directoriesUnsynced = true;
    this.#checkpointDue = true;
  }

  /** The next sync completes the index files, too: something in them cannot be made again from the data. */
  indexDue(): void {
    this.#checkpointDue = true;
  }

  /**
   * Writes the batch. Nothing is accepted yet: `accept` or `undo` must follow.
   * @param settled the batch holds repairs of data that is already there: sync first, hold nothing back
   */
  write(settled = false): void {
    if (this.#unclean) this.#clean();
    const { segments, held } = this.#log;
    let changes = held.size;
    for (const segment of segments) changes += segment.changes.size;
    const synced = settled || this.#policy === 'always' || changes > HELD_MAX || this.#syncDue();
    for (let number = 0; number < segments.length; number++) {
      if (number > 0) this.#closePair(segments[number - 1]!);
      this.#begun = number + 1;
      this.#writeSegment(segments[number]!, synced);
    }
  }

  /** Makes what was written the state to go back to. @returns the rotations of the batch */
  accept(): Rotation[] {
    const log = this.#log;
    const rotations: Rotation[] = [];
    for (const segment of log.segments) {
      this.#hold(segment.changes);
      if (log.mode === 'seq') this.#cacheAppends(segment);
      if (segment !== log.segments[0]) rotations.push({ closed: segment.file - 1, active: segment.file });
    }
    const last = log.current;
    last.continueFile(last.file, last.dataEnd, last.indexEnd);
    if (log.segments.length > 1) log.segments = [last];
    log.liveUndo.length = 0;
    log.dirtyUndo.length = 0;
    this.#begun = 0;
    this.#remember();
    return rotations;
  }

  /** Takes the batch back, from memory and from the files. Never throws: what cannot be cut off now is cut off before the next write. */
  undo(): void {
    const log = this.#log;
    log.tail.cut(this.#active, this.#indexEnd);
    for (let number = this.#begun - 1; number >= 0; number--) this.#restore(log.segments[number]!.changes);
    const begun = this.#begun > 0;
    this.#begun = 0;
    for (let at = log.liveUndo.length - 2; at >= 0; at -= 2)
      log.liveBytes[log.liveUndo[at]!] = log.liveBytes[log.liveUndo[at]!]! - log.liveUndo[at + 1]!;
    log.liveUndo.length = 0;
    for (const file of log.dirtyUndo) log.dirty.delete(file);
    log.dirtyUndo.length = 0;
    for (const list of [log.dataEnds, log.indexEnds, log.lastEntries, log.liveBytes, log.firstBlocks])
      list.length = this.#active + 1;
    log.active = this.#active;
    log.previousData = this.#previousData;
    log.previousIndex = this.#previousIndex;
    log.dataEnds[this.#active] = this.#dataEnd;
    log.indexEnds[this.#active] = this.#indexEnd;
    log.lastEntries[this.#active] = this.#lastEntry;
    const first = log.segments[0]!;
    first.continueFile(this.#active, this.#dataEnd, this.#indexEnd);
    log.segments = [first];
    log.cache.clear();
    log.surroundings.dataCache.clear();
    if (!begun) return;
    this.#unclean = true;
    try {
      this.#clean();
    } catch {
      // Tried again before the next write; until then nothing is read behind the ends.
    }
  }

  /** Returns when everything accepted is on stable storage; from now on that is kept up across rotations. */
  *syncSteps(): SyncSteps {
    const log = this.#log;
    this.#promising = true;
    yield* this.#dataSteps(log.active, log.dataEnds[log.active]!);
    if (this.#checkpointDue) yield* this.#indexSteps();
  }

  /**
   * Completes the index files: what waits in the tail, and the held changes, for which the data has to be on stable storage first.
   * Promises nothing for what comes later.
   */
  writeHeld(): void {
    const log = this.#log;
    if (log.held.size > 0) this.#syncData(log.active, log.dataEnds[log.active]!);
    this.#writeTail();
  }

  /** `syncSteps`, and the index files too. */
  *checkpointSteps(): SyncSteps {
    const log = this.#log;
    yield* this.#dataSteps(log.active, log.dataEnds[log.active]!);
    yield* this.#indexSteps();
  }

  checkpoint(): void {
    syncAtOnce(this.checkpointSteps());
  }

  #syncDue(): boolean {
    if (typeof this.#policy === 'string') return false;
    return this.#log.surroundings.clock.monotonicMs() - this.#lastSyncMs >= this.#policy.everySeconds * 1000;
  }

  #writeSegment(segment: Segment, synced: boolean): void {
    const log = this.#log;
    if (segment.fresh) this.#create(segment.file);
    if (segment.dataBytes > 0) {
      const pieces = segment.pieces();
      this.#unsyncedData.add(segment.file);
      try {
        const file = log.data.writing(segment.file);
        if (pieces.length === 1) file.write(pieces[0]!, segment.dataStart);
        else file.writeVector(pieces, segment.dataStart);
      } catch (error) {
        log.counters.dataFailed('write', log.surroundings.clock);
        throw error;
      }
      log.counters.dataWritten(segment.dataBytes);
      if (this.#promising && !synced) this.#writeAhead(segment);
    }
    if (synced) this.#syncData(segment.file, segment.dataEnd);
    if (segment.indexBytes > 0) this.#appendIndex(segment, synced);
    this.#decide(segment.changes, synced);
    this.#writeRecords(segment.changes, false);
  }

  /** Appends index entries, to the tail where they may wait. */
  #appendIndex(segment: Segment, synced: boolean): void {
    const bytes = segment.index.subarray(0, segment.indexBytes);
    if (!synced && !segment.fresh) {
      const { tail } = this.#log;
      if (tail.length > 0 && tail.add(segment.file, segment.indexStart, bytes)) return;
      this.#writeTail();
      if (this.#reserveTail(segment) && tail.add(segment.file, segment.indexStart, bytes)) return;
    }
    this.#writeIndex(segment.file, bytes, segment.indexStart);
  }

  /** Sees to it that what waits can be written, now or by recovery, on a full disk too. @returns false when it cannot be seen to */
  #reserveTail(segment: Segment): boolean {
    const { tail } = this.#log;
    if (tail.capacityBytes === 0 || !this.#canReserve) return false;
    try {
      this.#log.indexFile(segment.file).reserve(segment.indexStart, tail.capacityBytes);
      return true;
    } catch (error) {
      // Little room: without waiting, then, and the write tells. No such call here: never.
      this.#canReserve = errorCode(error) === 'ENOSPC';
      return false;
    }
  }

  /** Writes the index entries that wait. */
  #writeTail(): void {
    const { tail } = this.#log;
    if (tail.length === 0) return;
    this.#writeIndexFile(tail.file, tail.view(), tail.start);
    tail.clear();
  }

  /** Has the disk begin with what a sync will ask for anyway: the file is synced when it is closed. */
  #writeAhead(segment: Segment): void {
    if (segment.file !== this.#aheadFile) {
      this.#aheadFile = segment.file;
      this.#aheadEnd = segment.dataStart;
    }
    const lengthBytes = segment.dataEnd - this.#aheadEnd;
    if (lengthBytes < WRITE_AHEAD_BYTES) return;
    const { data, surroundings } = this.#log;
    if (surroundings.writeAhead) {
      surroundings.writeAhead(data.path(segment.file), this.#aheadEnd, lengthBytes);
    } else {
      data.writing(segment.file).startWriteback(this.#aheadEnd, lengthBytes);
    }
    this.#aheadEnd = segment.dataEnd;
  }

  /** Creates a pair of files, the index file first. */
  #create(file: number): void {
    const log = this.#log;
    const index = log.index.creating(file);
    if (index.size() > 0) index.truncate(0);
    const data = log.data.creating(file);
    if (data.size() > 0) data.truncate(0);
    // Their names are synced before anything that is in them.
    this.#directoriesUnsynced = true;
  }

  /** Between two pairs of one batch: see 2 and 4 above. */
  #closePair(segment: Segment): void {
    this.#writeTail();
    const waiting = this.#log.held.size > 0 || segment.changes.waiting.includes(true);
    if (this.#promising || waiting) {
      this.#syncData(segment.file, segment.dataEnd);
      this.#writeRecords(segment.changes, true);
      segment.changes.waiting.fill(false);
    }
    if (this.#promising) syncAtOnce(this.#indexSteps());
    else this.#checkpointDue = true;
  }

  /** Decides which changes of a batch wait for the next sync. */
  #decide(changes: IndexChanges, synced: boolean): void {
    const log = this.#log;
    for (let record = 0; record < changes.size; record++) {
      if (synced) {
        changes.waiting[record] = false;
        continue;
      }
      const at = changes.before(record);
      const file = log.mode === 'seq' ? indexEntry.dataFile(changes.images, at) : changes.files[record]!;
      const offset = indexEntry.dataOffset(changes.images, at);
      changes.waiting[record] =
        file < this.#durableFile ||
        (file === this.#durableFile && offset < this.#durableOffset) ||
        log.held.find(changes.files[record]!, changes.offsets[record]!) >= 0;
    }
  }

  /** Moves the waiting changes of an accepted batch to the held ones. */
  #hold(changes: IndexChanges): void {
    const { held } = this.#log;
    for (let record = 0; record < changes.size; record++) {
      if (!changes.waiting[record]) continue;
      const file = changes.files[record]!;
      const offset = changes.offsets[record]!;
      let target = held.find(file, offset);
      if (target < 0) target = held.add(file, offset, changes.images, changes.before(record));
      held.take(target, changes, record);
    }
  }

  /** Writes the changes that do (not) wait into the index files; neighbours in one block go out in one write. */
  #writeRecords(changes: IndexChanges, waiting: boolean): void {
    const log = this.#log;
    const order = changes.size <= 1 ? ONE.slice(0, changes.size) : changes.inOrder();
    for (let next = 0; next < order.length; ) {
      const record = order[next++]!;
      if (changes.waiting[record] !== waiting || !changes.changed(record)) continue;
      const file = changes.files[record]!;
      const offset = changes.offsets[record]!;
      const after = changes.after(record);
      if (log.mode === 'user') {
        const flags = after + INDEX_FLAGS_AT;
        this.#writeIndex(file, changes.images.subarray(flags, flags + 1), offset + INDEX_FLAGS_AT);
        continue;
      }
      const slot = (offset - INDEX_HEADER_BYTES) / SLOT_BYTES;
      const first = slot % BLOCK_SLOTS;
      const block = slot - first;
      const frame = log.frameOf(file, slot);
      const bytes = log.cache.bytes(frame);
      const base = log.cache.at(frame);
      bytes.set(changes.images.subarray(after, after + INDEX_ENTRY_BYTES), base + first * SLOT_BYTES);
      let last = first;
      for (; next < order.length; next++) {
        const other = order[next]!;
        const within = (changes.offsets[other]! - INDEX_HEADER_BYTES) / SLOT_BYTES - block;
        if (changes.files[other] !== file || within >= BLOCK_SLOTS || within >= log.cache.filled(frame))
          break;
        if (changes.waiting[other] !== waiting || !changes.changed(other)) continue;
        const image = changes.after(other);
        bytes.set(changes.images.subarray(image, image + INDEX_ENTRY_BYTES), base + within * SLOT_BYTES);
        last = within;
      }
      const span = bytes.subarray(base + first * SLOT_BYTES, base + last * SLOT_BYTES + INDEX_ENTRY_BYTES);
      this.#writeIndex(file, span, slotOffset(slot));
    }
  }

  /** Puts back what the changes of a batch replaced; what cannot be put back lies over the file until it can. */
  #restore(changes: IndexChanges): void {
    const log = this.#log;
    const { held } = log;
    for (let record = 0; record < changes.size; record++) {
      if (changes.waiting[record] || !changes.changed(record)) continue;
      const before = changes.before(record);
      const file = changes.files[record]!;
      const offset = changes.offsets[record]!;
      // In user mode the images hold the flags only.
      const [from, length] = log.mode === 'user' ? [INDEX_FLAGS_AT, 1] : [0, INDEX_ENTRY_BYTES];
      try {
        this.#writeIndex(file, changes.images.subarray(before + from, before + from + length), offset + from);
      } catch {
        if (held.find(file, offset) >= 0) continue;
        const target = held.add(file, offset, changes.images, changes.after(record));
        held.images.copyWithin(held.after(target), held.before(target), held.before(target));
        held.images.set(changes.images.subarray(before, before + INDEX_ENTRY_BYTES), held.after(target));
      }
    }
  }

  /** Writes to an index file, behind everything that waits for one. */
  #writeIndex(file: number, bytes: Uint8Array, offset: number): void {
    this.#writeTail();
    this.#writeIndexFile(file, bytes, offset);
  }

  #writeIndexFile(file: number, bytes: Uint8Array, offset: number): void {
    const log = this.#log;
    this.#unsyncedIndex.add(file);
    try {
      log.indexFile(file).write(bytes, offset);
    } catch (error) {
      log.counters.indexFailed('write', log.surroundings.clock);
      throw error;
    }
    log.counters.indexWritten(bytes.length);
  }

  /** Makes all data durable up to `end` of `file`, then writes the held changes. */
  #syncData(file: number, end: number): void {
    syncAtOnce(this.#dataSteps(file, end));
  }

  *#dataSteps(file: number, end: number): SyncSteps {
    const log = this.#log;
    yield* this.#directorySteps();
    for (const unsynced of this.#unsyncedData) {
      try {
        const suspect = this.#suspectData.has(unsynced);
        const handle = suspect ? log.data.writing(unsynced) : log.dataFile(unsynced);
        if (suspect) this.#rewrite(handle, unsynced);
        yield { path: log.data.path(unsynced), kind: 'file', sync: () => handle.datasync() };
      } catch (error) {
        if (errorCode(error) === 'ENOENT') continue;
        this.#suspectData.add(unsynced);
        log.counters.dataFailed('write', log.surroundings.clock);
        throw error;
      }
      this.#suspectData.delete(unsynced);
    }
    this.#unsyncedData.clear();
    this.#durableFile = file;
    this.#durableOffset = end;
    this.#lastSyncMs = log.surroundings.clock.monotonicMs();
    if (log.held.size === 0) return;
    this.#writeRecords(log.held, false);
    log.held.clear();
  }

  /** After a failed sync the kernel may count pages as written that are not: write them again from what it still shows. */
  #rewrite(handle: DiskFile, file: number): void {
    const end = handle.size();
    const buffer = new Uint8Array(REWRITE_BYTES);
    for (let at = file === this.#durableFile ? this.#durableOffset : 0; at < end; at += buffer.length) {
      const got = handle.read(buffer.subarray(0, Math.min(buffer.length, end - at)), at);
      handle.write(buffer.subarray(0, got), at);
    }
  }

  *#indexSteps(): SyncSteps {
    const log = this.#log;
    this.#writeTail();
    yield* this.#directorySteps();
    for (const file of this.#unsyncedIndex) {
      try {
        const handle = log.indexFile(file);
        yield { path: log.index.path(file), kind: 'file', sync: () => handle.datasync() };
      } catch (error) {
        log.counters.indexFailed('write', log.surroundings.clock);
        throw error;
      }
    }
    this.#unsyncedIndex.clear();
    this.#checkpointDue = false;
  }

  *#directorySteps(): SyncSteps {
    if (!this.#directoriesUnsynced) return;
    const { disk } = this.#log.surroundings;
    yield unstableDirectory(disk, this.#log.index.directory);
    yield unstableDirectory(disk, this.#log.data.directory);
    this.#directoriesUnsynced = false;
  }

  /** Cuts the active pair to its ends and removes pairs that were not accepted. */
  #clean(): void {
    const log = this.#log;
    const data = log.data.writing(this.#active);
    if (data.size() > this.#dataEnd) data.truncate(this.#dataEnd);
    const index = log.index.writing(this.#active);
    if (index.size() > this.#indexEnd) index.truncate(this.#indexEnd);
    const { disk } = log.surroundings;
    for (let file = this.#active + 1; ; file++) {
      let found = false;
      for (const set of [log.data, log.index]) {
        if (!disk.stat(set.path(file))) continue;
        found = true;
        set.close(file);
        disk.remove(set.path(file));
      }
      this.#unsyncedData.delete(file);
      this.#unsyncedIndex.delete(file);
      if (!found) break;
    }
    this.#unclean = false;
  }

  /** Keeps appended slots in the cache: they are likely to be read or changed next. */
  #cacheAppends(segment: Segment): void {
    const { cache, firstBlocks } = this.#log;
    const skip = segment.indexStart === 0 ? INDEX_HEADER_BYTES : 0;
    let slot = (segment.indexStart + skip - INDEX_HEADER_BYTES) / SLOT_BYTES;
    const end = slot + (segment.indexBytes - skip) / SLOT_BYTES;
    while (slot < end) {
      const within = slot % BLOCK_SLOTS;
      const count = Math.min(BLOCK_SLOTS - within, end - slot);
      const block = firstBlocks[segment.file]! + Math.floor(slot / BLOCK_SLOTS);
      let frame = cache.find(block);
      if (frame < 0 && within === 0) frame = cache.allocate(block);
      if (frame >= 0 && cache.filled(frame) === within) {
        const from = slotOffset(slot) - segment.indexStart;
        cache
          .bytes(frame)
          .set(
            segment.index.subarray(from, from + count * SLOT_BYTES),
            cache.at(frame) + within * SLOT_BYTES,
          );
        cache.fill(frame, within + count);
      }
      slot += count;
    }
  }

  #remember(): void {
    const log = this.#log;
    this.#active = log.active;
    this.#previousData = log.previousData;
    this.#previousIndex = log.previousIndex;
    this.#dataEnd = log.dataEnds[log.active]!;
    this.#indexEnd = log.indexEnds[log.active]!;
    this.#lastEntry = log.lastEntries[log.active]!;
  }
}

const ONE = [0];
