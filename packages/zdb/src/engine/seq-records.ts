// Records of a sequential namespace: the id is the number of an index slot, so the index files are the table. In memory are only the
// first id of every index file, a bounded cache of slots (log.ts), and the batch.
//
// An update appends a copy of the old slot (flagged) to the active index file and points the slot at the new record; so it
// uses up an id (docs/formats/zdb.md, "Sequential addressing").
import { DATA_DELETED, DATA_ENTRY_BYTES } from './format/data-format.ts';
import {
  ID_BYTES,
  INDEX_DELETED,
  INDEX_HEADER_BYTES,
  indexEntry,
  repointIndexEntry,
  SLOT_BYTES,
  slotOffset,
} from './format/index-format.ts';
import { get32, put64, TWO_32 } from './format/little-endian.ts';
import type { Log } from './log/log.ts';
import type { Place, Tally } from './place.ts';
import { INDEX_KEY_OVERHEAD_BYTES, type Records } from './records.ts';
import type { Payload } from './types.ts';

const NO_PAYLOAD = new Uint8Array(0);
const RECORD_OVERHEAD_BYTES = DATA_ENTRY_BYTES + ID_BYTES;
const INDEX_KEY_BYTES = INDEX_KEY_OVERHEAD_BYTES + ID_BYTES;

/** Integer of an 8-byte key; -1 when it is none that could exist. */
export function idOfKey(key: Uint8Array): number {
  if (key.length !== ID_BYTES) return -1;
  const high = get32(key, 4);
  return high >= 2 ** 21 ? -1 : high * TWO_32 + get32(key, 0);
}

/** 8-byte key of an id. */
export function keyOfId(id: number): Uint8Array {
  const key = new Uint8Array(ID_BYTES);
  put64(key, 0, id);
  return key;
}

/** Records found by slot number. */
export class SeqRecords implements Records {
  readonly tally: Tally = { entries: 0, dataBytes: 0, indexBytes: 0, written: 0 };
  /** Id of the first slot of every index file; the files of a batch included. */
  readonly firstIds: number[] = [0];
  readonly #log: Log;
  readonly #key = new Uint8Array(ID_BYTES);
  readonly #saved: Tally = { ...this.tally };

  constructor(log: Log) {
    this.#log = log;
  }

  /** Id of the next slot. */
  get nextId(): number {
    return this.#firstOfActive() + (this.#log.indexEnds[this.#log.active]! - INDEX_HEADER_BYTES) / SLOT_BYTES;
  }

  locate(key: Uint8Array, place: Place): boolean {
    const id = idOfKey(key);
    return id >= 0 && this.locateId(id, place);
  }

  /** Fills `place` when the id is live. */
  locateId(id: number, place: Place): boolean {
    if (!this.findSlot(id, place)) return false;
    const log = this.#log;
    log.view(place.indexFile, place.indexOffset);
    const { bytes, at } = log;
    if (bytes[at] !== ID_BYTES || (indexEntry.flags(bytes, at) & INDEX_DELETED) !== 0) return false;
    place.keyBytes = ID_BYTES;
    place.dataFile = indexEntry.dataFile(bytes, at);
    place.dataOffset = indexEntry.dataOffset(bytes, at);
    place.payloadBytes = indexEntry.payloadBytes(bytes, at);
    place.crc = indexEntry.crc(bytes, at);
    place.timestamp = indexEntry.timestamp(bytes, at);
    return true;
  }

  /** Index file and offset of an id's slot, live or not; false: never given out. */
  findSlot(id: number, place: Place): boolean {
    if (!(id >= 0) || id >= this.nextId || !Number.isInteger(id)) return false;
    const file = this.#fileOf(id);
    place.indexFile = file;
    place.indexOffset = slotOffset(id - this.firstIds[file]!);
    return true;
  }

  /** Appends a record with the next id. */
  insert(payload: Payload, payloadBytes: number, crc: number, timestamp: number): number {
    const log = this.#log;
    const id = this.nextId;
    put64(this.#key, 0, id);
    const offset = log.appendData(this.#key, payload, payloadBytes, crc, 0, timestamp);
    this.indexInsert(offset, payloadBytes, crc, timestamp);
    return id;
  }

  /** Gives an appended data entry the next slot (recovery does only this). */
  indexInsert(dataOffset: number, payloadBytes: number, crc: number, timestamp: number): void {
    const log = this.#log;
    put64(this.#key, 0, this.nextId);
    log.appendIndex(this.#key, dataOffset, payloadBytes, 0, log.active, timestamp, crc, 0, 0);
    this.tally.written++;
    this.count(1, log.active, payloadBytes);
  }

  write(
    key: Uint8Array,
    place: Place | undefined,
    payload: Payload,
    payloadBytes: number,
    crc: number,
    timestamp: number,
  ): void {
    if (!place) {
      this.insert(payload, payloadBytes, crc, timestamp);
      return;
    }
    const offset = this.#log.appendData(key, payload, payloadBytes, crc, 0, timestamp);
    this.indexUpdate(key, place, offset, payloadBytes, crc, timestamp);
  }

  /** Replaces the record of a live id. */
  update(
    id: number,
    place: Place,
    payload: Payload,
    payloadBytes: number,
    crc: number,
    timestamp: number,
  ): void {
    put64(this.#key, 0, id);
    this.write(this.#key, place, payload, payloadBytes, crc, timestamp);
  }

  /** Copies the old slot to the end and points the slot at an appended data entry (recovery does only this). */
  indexUpdate(
    key: Uint8Array,
    place: Place,
    dataOffset: number,
    payloadBytes: number,
    crc: number,
    timestamp: number,
  ): void {
    const copyOffset = this.indexCopy(key, place);
    this.point(
      place,
      this.#log.active,
      dataOffset,
      payloadBytes,
      crc,
      timestamp,
      this.#log.active,
      copyOffset,
    );
    this.count(-1, place.dataFile, place.payloadBytes);
    this.count(1, this.#log.active, payloadBytes);
  }

  /** Appends a flagged copy of the slot at `place`. @returns its offset in the active index file */
  indexCopy(key: Uint8Array, place: Place): number {
    const log = this.#log;
    log.view(place.indexFile, place.indexOffset);
    const { bytes, at } = log;
    this.tally.written++;
    return log.appendIndex(
      key,
      indexEntry.dataOffset(bytes, at),
      indexEntry.payloadBytes(bytes, at),
      INDEX_DELETED,
      indexEntry.dataFile(bytes, at),
      indexEntry.timestamp(bytes, at),
      indexEntry.crc(bytes, at),
      indexEntry.parentFile(bytes, at),
      indexEntry.parentOffset(bytes, at),
    );
  }

  /** Points a slot at a record, live. */
  point(
    place: Place,
    dataFile: number,
    dataOffset: number,
    payloadBytes: number,
    crc: number,
    timestamp: number,
    parentFile: number,
    parentOffset: number,
  ): void {
    const log = this.#log;
    log.change(place.indexFile, place.indexOffset);
    repointIndexEntry(
      log.bytes,
      log.at,
      dataOffset,
      payloadBytes,
      0,
      dataFile,
      timestamp,
      crc,
      parentFile,
      parentOffset,
    );
    log.markDirty(place.indexFile);
  }

  remove(key: Uint8Array, place: Place, timestamp: number): void {
    this.#log.appendData(key, NO_PAYLOAD, 0, 0, DATA_DELETED, timestamp);
    this.drop(place);
  }

  removeId(id: number, place: Place, timestamp: number): void {
    put64(this.#key, 0, id);
    this.remove(this.#key, place, timestamp);
  }

  /** Flags the slot of a live id (recovery does only this). */
  drop(place: Place): void {
    this.flag(place, true);
    this.count(-1, place.dataFile, place.payloadBytes);
  }

  /** Sets or clears the flag of a slot. */
  flag(place: Place, deleted: boolean): void {
    const log = this.#log;
    log.change(place.indexFile, place.indexOffset);
    indexEntry.setFlags(log.bytes, log.at, deleted ? INDEX_DELETED : 0);
    log.markDirty(place.indexFile);
  }

  /** Counts a live record in or out. */
  count(sign: 1 | -1, dataFile: number, payloadBytes: number): void {
    const { tally } = this;
    tally.entries += sign;
    tally.dataBytes += sign * payloadBytes;
    tally.indexBytes += sign * INDEX_KEY_BYTES;
    this.#log.adjustLive(dataFile, sign * (RECORD_OVERHEAD_BYTES + payloadBytes));
  }

  accept(): void {
    Object.assign(this.#saved, this.tally);
  }

  undo(): void {
    Object.assign(this.tally, this.#saved);
    this.firstIds.length = Math.min(this.firstIds.length, this.#log.active + 1);
  }

  /** First id of the active file; notes it for files that a rotation added. */
  #firstOfActive(): number {
    const { firstIds } = this;
    const log = this.#log;
    while (firstIds.length <= log.active) {
      const file = firstIds.length - 1;
      firstIds.push(firstIds[file]! + (log.indexEnds[file]! - INDEX_HEADER_BYTES) / SLOT_BYTES);
    }
    return firstIds[log.active]!;
  }

  /** The last file whose first id is not above `id`: of several with the same, the one that is not empty. */
  #fileOf(id: number): number {
    const { firstIds } = this;
    let high = this.#log.active;
    if (firstIds[high]! <= id) return high;
    let low = 0;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (firstIds[middle]! <= id) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
