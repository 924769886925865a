// Records of a user-mode namespace: the key table in memory. Every write appends an index entry; the superseded one gets its flag
// in place. The data file of a record has the number of its index file (docs/formats/zdb.md, "Index file").
import type { Random } from '@qsfs/io';
import { DATA_DELETED, DATA_ENTRY_BYTES } from './format/data-format.ts';
import { FETCHED_TOGETHER, KeyTable, NO_ENTRY } from './key-table.ts';
import type { Log } from './log/log.ts';
import type { Place, Tally } from './place.ts';
import { INDEX_KEY_OVERHEAD_BYTES, type Records } from './records.ts';
import type { Payload } from './types.ts';

const NO_PAYLOAD = new Uint8Array(0);

// Kinds of undo records; each is followed by the entry and the six fields of its place before.
const ADDED = 0;
const MOVED = 1;
const REMOVED = 2;
const UNDO_FIELDS = 8;
/** A longer list is given back after its batch. */
const UNDO_KEPT_MAX = 4096 * UNDO_FIELDS;

/** Records found through a key table. */
export class UserRecords implements Records {
  readonly tally: Tally = { entries: 0, dataBytes: 0, indexBytes: 0, written: 0 };
  readonly table: KeyTable;
  readonly #log: Log;
  /** Kept between batches: an array that is emptied and filled again grows again each time. */
  #undo = new Float64Array(64 * UNDO_FIELDS);
  #undoEnd = 0;
  /** What `locate` found last: entry, or -1. */
  #located = -1;
  /** For `expect`. */
  readonly #expected = {
    entries: new Uint32Array(FETCHED_TOGETHER),
    files: new Int32Array(FETCHED_TOGETHER),
    offsets: new Uint32Array(FETCHED_TOGETHER),
    lengths: new Int32Array(FETCHED_TOGETHER),
  };
  readonly #saved: Tally = { ...this.tally };

  /** @param random for the table's hash */
  constructor(log: Log, random: Random) {
    this.#log = log;
    this.table = new KeyTable(random);
  }

  /** Has the processor fetch the memory in which keys that are looked for next have their entries, and small records that are cached. */
  expect(bytes: Uint8Array, positions: Int32Array, count: number): void {
    const { table } = this;
    const { entries, files, offsets, lengths } = this.#expected;
    table.fetch(bytes, positions, count, entries);
    const keys = Math.min(count, FETCHED_TOGETHER);
    let records = 0;
    for (let i = 0; i < keys; i++) {
      const entry = entries[i]!;
      if (entry === NO_ENTRY) continue;
      files[records] = table.file(entry);
      offsets[records] = table.dataOffset(entry);
      lengths[records] = DATA_ENTRY_BYTES + table.keyBytes(entry) + table.payloadBytes(entry);
      records++;
    }
    this.#log.touchRecords(files, offsets, lengths, records);
  }

  locate(key: Uint8Array, place: Place): boolean {
    const entry = this.table.find(key, 0, key.length);
    this.#located = entry;
    if (entry < 0) return false;
    this.#fill(entry, place);
    return true;
  }

  write(
    key: Uint8Array,
    place: Place | undefined,
    payload: Payload,
    payloadBytes: number,
    crc: number,
    timestamp: number,
  ): void {
    const offset = this.#log.appendData(key, payload, payloadBytes, crc, 0, timestamp);
    this.#index(this.#located, key, place, offset, payloadBytes, crc, timestamp);
  }

  /** Gives an appended data entry its index entry (recovery and compaction do only this). */
  index(
    key: Uint8Array,
    place: Place | undefined,
    dataOffset: number,
    payloadBytes: number,
    crc: number,
    timestamp: number,
  ): void {
    const found = this.table.find(key, 0, key.length);
    this.#index(found, key, place, dataOffset, payloadBytes, crc, timestamp);
  }

  /** @param found what `table.find` just answered for this key */
  #index(
    found: number,
    key: Uint8Array,
    place: Place | undefined,
    dataOffset: number,
    payloadBytes: number,
    crc: number,
    timestamp: number,
  ): void {
    const log = this.#log;
    if (place) this.flag(place.indexFile, place.indexOffset, place.dataOffset, true);
    else this.tally.written++;
    const { active } = log;
    const indexOffset = log.appendIndex(
      key,
      dataOffset,
      payloadBytes,
      0,
      active,
      timestamp,
      crc,
      place?.indexFile ?? 0,
      place?.indexOffset ?? 0,
    );
    this.putFound(found, key.length, active, indexOffset, dataOffset, payloadBytes, crc, timestamp);
  }

  /** Makes a record the live one of its key, in memory only. */
  put(
    bytes: Uint8Array,
    at: number,
    keyBytes: number,
    file: number,
    indexOffset: number,
    dataOffset: number,
    payloadBytes: number,
    crc: number,
    timestamp: number,
  ): void {
    const found = this.table.find(bytes, at, keyBytes);
    this.putFound(found, keyBytes, file, indexOffset, dataOffset, payloadBytes, crc, timestamp);
  }

  /** The same, for what `table.find` just answered for this key. */
  putFound(
    found: number,
    keyBytes: number,
    file: number,
    indexOffset: number,
    dataOffset: number,
    payloadBytes: number,
    crc: number,
    timestamp: number,
  ): void {
    let entry = found;
    if (entry >= 0) {
      this.#remember(MOVED, entry);
      this.#count(entry, -1);
    } else {
      entry = this.table.add(keyBytes);
      this.#remember(ADDED, entry);
    }
    this.table.place(entry, file, indexOffset, dataOffset, payloadBytes, crc, timestamp);
    this.#count(entry, 1);
  }

  remove(key: Uint8Array, place: Place, timestamp: number): void {
    this.#log.appendData(key, NO_PAYLOAD, 0, 0, DATA_DELETED, timestamp);
    this.drop(key, place);
  }

  /** Forgets a live key and flags its index entry (recovery does only this). */
  drop(key: Uint8Array, place: Place): void {
    this.flag(place.indexFile, place.indexOffset, place.dataOffset, true);
    const entry = this.table.find(key, 0, key.length);
    this.#remember(REMOVED, entry);
    this.#count(entry, -1);
    this.table.unlink(entry);
    if (!this.#log.recording) this.table.release(entry);
  }

  /** Sets or clears the flag of an index entry. @param dataOffset where its record is */
  flag(file: number, offset: number, dataOffset: number, deleted: boolean): void {
    this.#log.changeFlag(file, offset, dataOffset, deleted);
    this.#log.markDirty(file);
  }

  accept(): void {
    const undo = this.#undo;
    for (let at = 0; at < this.#undoEnd; at += UNDO_FIELDS)
      if (undo[at] === REMOVED) this.table.release(undo[at + 1]!);
    this.#forget();
    Object.assign(this.#saved, this.tally);
  }

  undo(): void {
    const undo = this.#undo;
    for (let at = this.#undoEnd - UNDO_FIELDS; at >= 0; at -= UNDO_FIELDS) {
      const entry = undo[at + 1]!;
      if (undo[at] === ADDED) {
        this.table.unlink(entry);
        this.table.release(entry);
        continue;
      }
      if (undo[at] === REMOVED) this.table.relink(entry);
      this.table.place(
        entry,
        undo[at + 2]!,
        undo[at + 3]!,
        undo[at + 4]!,
        undo[at + 5]!,
        undo[at + 6]!,
        undo[at + 7]!,
      );
    }
    this.#forget();
    Object.assign(this.tally, this.#saved);
  }

  #forget(): void {
    this.#undoEnd = 0;
    if (this.#undo.length > UNDO_KEPT_MAX) this.#undo = new Float64Array(64 * UNDO_FIELDS);
  }

  /** Fills a place from a table entry. */
  #fill(entry: number, place: Place): void {
    const { table } = this;
    place.indexFile = place.dataFile = table.file(entry);
    place.indexOffset = table.indexOffset(entry);
    place.dataOffset = table.dataOffset(entry);
    place.keyBytes = table.keyBytes(entry);
    place.payloadBytes = table.payloadBytes(entry);
    place.crc = table.crc(entry);
    place.timestamp = table.timestamp(entry);
  }

  #remember(kind: number, entry: number): void {
    if (!this.#log.recording) return;
    const { table } = this;
    const at = this.#undoEnd;
    if (at === this.#undo.length) {
      const larger = new Float64Array(at * 2);
      larger.set(this.#undo);
      this.#undo = larger;
    }
    const undo = this.#undo;
    this.#undoEnd = at + UNDO_FIELDS;
    undo[at] = kind;
    undo[at + 1] = entry;
    if (kind === ADDED) return; // There is no place before.
    undo[at + 2] = table.file(entry);
    undo[at + 3] = table.indexOffset(entry);
    undo[at + 4] = table.dataOffset(entry);
    undo[at + 5] = table.payloadBytes(entry);
    undo[at + 6] = table.crc(entry);
    undo[at + 7] = table.timestamp(entry);
  }

  #count(entry: number, sign: 1 | -1): void {
    const keyBytes = this.table.keyBytes(entry);
    const payloadBytes = this.table.payloadBytes(entry);
    this.tally.entries += sign;
    this.tally.dataBytes += sign * payloadBytes;
    this.tally.indexBytes += sign * (INDEX_KEY_OVERHEAD_BYTES + keyBytes);
    this.#log.adjustLive(this.table.file(entry), sign * (DATA_ENTRY_BYTES + keyBytes + payloadBytes));
  }
}
