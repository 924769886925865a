// Gives space of mostly dead data files back while serving: their live entries are written again at the end of the log, then the data
// file is removed. Its index file stays: sequential ids are positions in index files.
//
// What must survive for rebuilding an index from data files: a deletion marker in a removed file is written again while older
// data files exist, because one of them may hold the record it deletes.

import { type SyncSteps, unstableDirectory } from '@qsfs/io';
import { isDiscardable } from './discardable.ts';
import { DATA_DELETED, DATA_ENTRY_BYTES, DATA_HEADER_BYTES } from './format/data-format.ts';
import { DataScanner } from './format/data-scanner.ts';
import {
  ID_BYTES,
  INDEX_ENTRY_BYTES,
  INDEX_HEADER_BYTES,
  indexEntry,
  SLOT_BYTES,
  slotOffset,
} from './format/index-format.ts';
import { get64 } from './format/little-endian.ts';
import type { Log } from './log/log.ts';
import type { LogWriter } from './log/log-writer.ts';
import { emptyPlace, type Place } from './place.ts';
import type { RecordReader } from './reader.ts';
import { keyOfId, type SeqRecords } from './seq-records.ts';
import type { Presence } from './types.ts';
import { type CompactionResult, StoreError } from './types.ts';
import type { UserRecords } from './user-records.ts';

/** Moved bytes are committed in portions of this size. */
const PORTION_BYTES = 16 << 20;
/** … deletion markers so many at a time. */
const PORTION_MARKERS = 1 << 16;
/** … and in smaller ones where others have a moment in between. */
const BREATH_BYTES = 4 << 20;
const NO_PAYLOAD = new Uint8Array(0);

/** What compaction needs of its namespace. */
export interface CompactionHost {
  readonly name: string;
  readonly log: Log;
  readonly writer: LogWriter;
  readonly seq: SeqRecords | undefined;
  readonly user: UserRecords | undefined;
  readonly reader: RecordReader;
  readonly presence: Presence | undefined;
  readonly dataSizeBytes: number;
  /** Starts the next pair within the batch. */
  rotate(): void;
  /** Tells that an entry with this payload was appended. */
  touch(payloadBytes: number): void;
  commit(): void;
  sync(): void;
}

/**
 * Moves the live entries of closed, local data files with at most `maxLiveRatio` of live bytes and removes the files, emptiest
 * first, until `budgetBytes` are moved. A file with a damaged live record stays.
 * @param before only files below this number: who calls again and again would move what was moved before, without end
 */
export function compact(
  host: CompactionHost,
  maxLiveRatio: number,
  budgetBytes: number,
  before: number,
): CompactionResult {
  host.commit();
  const { log } = host;
  const removedFiles: number[] = [];
  let movedEntries = 0;
  let movedBytes = 0;
  let freedBytes = 0;
  for (const file of candidates(host, maxLiveRatio, before)) {
    if (movedBytes > 0 && movedBytes + log.liveBytes[file]! > budgetBytes) continue;
    const sizeBytes = log.dataEnds[file]!;
    const mover = new Mover(host, file);
    const whole = mover.run();
    movedEntries += mover.entries;
    movedBytes += mover.bytes;
    host.sync();
    if (!whole || log.liveBytes[file] !== 0) continue;
    removeData(host, file);
    log.surroundings.disk.syncDirectory(log.data.directory);
    removedFiles.push(file);
    freedBytes += sizeBytes;
  }
  return { removedFiles, movedEntries, movedBytes, freedBytes };
}

/**
 * Removes those of the given closed data files in which nothing is alive. Deletion markers in them are written again as `compact` does
 * it, unless the file is not here to be read.
 */
export function* discardSteps(host: CompactionHost, files: Iterable<number>): SyncSteps {
  const { log, presence } = host;
  host.commit();
  const dead = [...files].filter((file) => isDiscardable(log, file));
  if (dead.length === 0) return;
  for (const file of dead) {
    const size = log.dataEnds[file]!;
    const isHere = log.surroundings.disk.stat(log.data.path(file)) !== undefined;
    if (isHere && (!presence || presence.has(log.name, file, 0, size))) new Mover(host, file).run();
    yield;
  }
  yield* host.writer.syncSteps();
  for (const file of dead) removeData(host, file);
  yield unstableDirectory(log.surroundings.disk, log.data.directory);
}

/**
 * Writes what is alive in a closed data file again at the end of the log, and brings it to stable storage: then `discardSteps` may remove the
 * file. Its headers are not needed, so only the records themselves have to be here. A damaged record stays where it is.
 * @param moved told of the bytes of each portion that was committed
 * @throws NotLocal; what was moved before stays moved
 */
export function* relocateSteps(
  host: CompactionHost,
  file: number,
  moved: (bytes: number) => void,
): SyncSteps {
  const { log, seq } = host;
  if (!seq) throw new Error(`${host.name}: only sequential namespaces know the records of a file`);
  host.commit();
  if (file >= log.active || !(log.dataEnds[file]! > 0)) return;
  // All of them are looked at before anything is moved.
  const place = emptyPlace();
  for (const id of idsOf(host, file)) {
    if (!seq.locateId(id, place) || place.dataFile !== file) continue;
    log.requireLocal(file, place.dataOffset, DATA_ENTRY_BYTES + ID_BYTES + place.payloadBytes);
  }
  yield* new Mover(host, file).relocateSteps(seq, idsOf(host, file), moved);
  yield* host.writer.syncSteps();
}

/** The ids of all records that a sequential data file ever held: the slots of its index file, in the same order. */
function* idsOf({ log }: CompactionHost, file: number): Generator<number> {
  const slots = Math.floor((log.indexEnds[file]! - INDEX_HEADER_BYTES) / SLOT_BYTES);
  for (let slot = 0; slot < slots; slot++) {
    log.view(file, slotOffset(slot));
    if (log.bytes[log.at] === ID_BYTES) yield get64(log.bytes, log.at + INDEX_ENTRY_BYTES);
  }
}

/** Removes a data file in which nothing is alive; its index file stays. */
function removeData({ log, reader }: CompactionHost, file: number): void {
  const { disk } = log.surroundings;
  log.data.close(file);
  if (disk.stat(log.data.path(file))) disk.remove(log.data.path(file));
  log.dataEnds[file] = -1;
  log.hollowed.delete(file);
  log.markerBytes.delete(file);
  reader.clear();
}

/** Files worth compacting, emptiest first. */
function candidates(host: CompactionHost, maxLiveRatio: number, before: number): number[] {
  const { log, presence } = host;
  const files: number[] = [];
  const oldest = log.oldestData;
  for (let file = 0; file < Math.min(before, log.active); file++) {
    const size = log.dataEnds[file]!;
    if (size <= 0 || log.liveBytes[file]! > size * maxLiveRatio) continue;
    // Deletions are written again while older files exist: a file full of them would be moved for nothing, each time.
    const markers = file > oldest ? (log.markerBytes.get(file) ?? 0) : 0;
    if (DATA_HEADER_BYTES + log.liveBytes[file]! + markers >= size) continue;
    if (presence && !presence.has(log.name, file, 0, size)) continue;
    if (!log.surroundings.disk.stat(log.data.path(file))) continue;
    files.push(file);
  }
  return files.sort((a, b) => log.liveBytes[a]! / log.dataEnds[a]! - log.liveBytes[b]! / log.dataEnds[b]!);
}

/** Moves what is alive in one data file. */
class Mover {
  entries = 0;
  bytes = 0;
  readonly #host: CompactionHost;
  readonly #file: number;
  readonly #place: Place = emptyPlace();

  constructor(host: CompactionHost, file: number) {
    this.#host = host;
    this.#file = file;
  }

  /**
   * Deletion markers are moved only when everything alive was: those of a file that stays would be written again each time.
   * @returns false when a live record could not be read, or the file is damaged in the middle
   */
  run(): boolean {
    const { log, seq, user, reader } = this.#host;
    const scanner = this.#scanner();
    const keepMarkers = log.oldestData < this.#file;
    const place = this.#place;
    let portion = 0;
    let whole = true;
    let hasMarkers = false;
    while (scanner.next()) {
      if (scanner.deleted) {
        hasMarkers = true;
        continue;
      }
      const key = scanner.key();
      const live = (user ?? seq)!.locate(key, place);
      if (!live || place.dataFile !== this.#file || place.dataOffset !== scanner.offset) continue;
      let payload: Uint8Array;
      try {
        payload = reader.read(key, place);
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        whole = false;
        continue;
      }
      this.#move(key, payload);
      portion += payload.length;
      if (portion < PORTION_BYTES) continue;
      this.#commit();
      portion = 0;
    }
    if (scanner.nextOffset !== log.dataEnds[this.#file]!) whole = false;
    if (whole && hasMarkers && keepMarkers) this.#moveMarkers();
    this.#commit();
    return whole;
  }

  #scanner(): DataScanner {
    const { log } = this.#host;
    return new DataScanner(() => log.data.reading(this.#file), log.mode, log.dataEnds[this.#file]!);
  }

  #moveMarkers(): void {
    const { seq, user } = this.#host;
    const scanner = this.#scanner();
    let moved = 0;
    while (scanner.next()) {
      if (!scanner.deleted) continue;
      const key = scanner.key();
      if ((user ?? seq)!.locate(key, this.#place)) continue;
      this.#appendMarker(key, scanner.timestamp);
      if (++moved % PORTION_MARKERS === 0) this.#commit();
    }
  }

  /** Moves those of these records that are alive in the file. */
  *relocateSteps(seq: SeqRecords, ids: Iterable<number>, moved: (bytes: number) => void): SyncSteps {
    const { reader, writer } = this.#host;
    const place = this.#place;
    let portion = 0;
    for (const id of ids) {
      if (!seq.locateId(id, place) || place.dataFile !== this.#file) continue;
      const key = keyOfId(id);
      let payload: Uint8Array;
      try {
        payload = reader.read(key, place);
      } catch (error) {
        if (!(error instanceof StoreError)) {
          this.#commit();
          throw error;
        }
        continue;
      }
      if (this.#isFull(key.length, payload.length)) {
        this.#commit();
        yield* writer.checkpointSteps();
        this.#host.rotate();
        this.#commit();
      }
      this.#move(key, payload);
      portion += payload.length;
      if (portion < BREATH_BYTES) continue;
      this.#commit();
      moved(portion);
      portion = 0;
      yield;
    }
    this.#commit();
    moved(portion);
  }

  /** Writes the record at `#place` again, without a link to its history. */
  #move(key: Uint8Array, payload: Uint8Array): void {
    const { log, seq, user } = this.#host;
    const place = this.#place;
    this.#makeRoom(key.length, payload.length);
    this.#host.touch(payload.length);
    const { crc, timestamp } = place;
    const offset = log.appendData(key, payload, payload.length, crc, 0, timestamp);
    if (user) {
      user.flag(place.indexFile, place.indexOffset, place.dataOffset, true);
      user.index(key, undefined, offset, payload.length, crc, timestamp);
    } else if (seq) {
      seq.indexUpdate(key, place, offset, payload.length, crc, timestamp);
      if (seq.findSlot(get64(key, 0), place)) {
        log.change(place.indexFile, place.indexOffset);
        indexEntry.setParent(log.bytes, log.at, 0, 0);
      }
    }
    this.entries++;
    this.bytes += payload.length;
  }

  #commit(): void {
    this.#host.commit();
    // Recovery finds a record where its slot says, and so does not know of the id that the copy of the slot has used up.
    this.#host.writer.indexDue();
  }

  #appendMarker(key: Uint8Array, timestamp: number): void {
    this.#makeRoom(key.length, 0);
    this.#host.touch(0);
    this.#host.log.appendData(key, NO_PAYLOAD, 0, 0, DATA_DELETED, timestamp);
  }

  #makeRoom(keyBytes: number, payloadBytes: number): void {
    if (this.#isFull(keyBytes, payloadBytes)) this.#host.rotate();
  }

  #isFull(keyBytes: number, payloadBytes: number): boolean {
    const { log } = this.#host;
    return (
      log.dataEnds[log.active]! + payloadBytes > this.#host.dataSizeBytes ||
      log.overflows(keyBytes, payloadBytes)
    );
  }
}
