// Reads payloads of records and verifies them. Nothing leaves here that does not match the checksum in the index.
import { checksum, checksumAt } from './checksum.ts';
import {
  DATA_DELETED,
  DATA_ENTRY_BYTES,
  DATA_HEADER_BYTES,
  DATA_TRUNCATED,
  dataEntry,
  PAYLOAD_MAX_BYTES,
} from './format/data-format.ts';
import { ID_BYTES } from './format/index-format.ts';
import { isHollow } from './hollow-blocks.ts';
import { RECORD_COPY_MAX_BYTES } from './log/data-cache.ts';
import type { Log } from './log/log.ts';
import type { Place } from './place.ts';
import { type Payload, type RawEntry, StoreError } from './types.ts';
import { RecentRecords, VerifiedRecords } from './verified.ts';

/** A buffer for whole records of partial reads stays allocated up to this size. */
const SCRATCH_KEPT_BYTES = 1 << 20;

/** Up to this size a loop copies and compares faster than a view and a call. */
const COPY_LOOP_BYTES = 96;

/** Reads of one namespace. */
export class RecordReader {
  readonly #log: Log;
  readonly #verified = new VerifiedRecords();
  readonly #recent = new RecentRecords();
  #scratch = new Uint8Array(0);

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * The payload of a record, in memory of its own, or in `memory`: then it is not compared with its checksum when it was a moment ago and its
   * file has not been changed since (a quarter of the time of a GET of 128 KiB).
   * @throws NotLocal; StoreError('missing-data', 'corrupt'); IoError
   */
  read(key: Uint8Array, place: Place, memory?: Uint8Array): Uint8Array {
    const head = DATA_ENTRY_BYTES + key.length;
    const length = head + place.payloadBytes;
    const entry = memory?.subarray(0, length) ?? Buffer.allocUnsafe(length);
    const { dataFile, dataOffset } = place;
    const changedMs = memory === undefined ? undefined : this.#log.changedMs(dataFile);
    this.#log.readData(dataFile, dataOffset, entry);
    this.#compare(key, place, entry, 0);
    const payload = entry.subarray(head);
    const nowMs = changedMs === undefined ? 0 : this.#log.surroundings.clock.monotonicMs();
    if (changedMs !== undefined && this.#recent.has(dataFile, dataOffset, changedMs, nowMs)) return payload;
    if (checksum(payload) !== place.crc) throw this.#corrupt(place, 'the checksum does not match');
    if (changedMs !== undefined) this.#recent.add(dataFile, dataOffset, changedMs, nowMs);
    return payload;
  }

  /**
   * Copies the payload of a record that is not longer than RECORD_COPY_MAX_BYTES to `target[at…]`.
   * @throws as `read`
   */
  copy(key: Uint8Array, place: Place, target: Uint8Array, at: number): void {
    const log = this.#log;
    const head = DATA_ENTRY_BYTES + key.length;
    const length = place.payloadBytes;
    log.viewRecord(place.dataFile, place.dataOffset, head + length);
    const { bytes } = log;
    const start = log.at;
    this.#compare(key, place, bytes, start);
    const from = start + head;
    if (checksumAt(bytes, from, from + length) !== place.crc)
      throw this.#corrupt(place, 'the checksum does not match');
    if (length <= COPY_LOOP_BYTES)
      for (let byte = 0; byte < length; byte++) target[at + byte] = bytes[from + byte]!;
    else target.set(bytes.subarray(from, from + length), at);
  }

  /**
   * Whether the record at `place` is whole and its payload is just this one, whose checksum is `place.crc`: then no checksum has to
   * be computed. @throws NotLocal; StoreError('missing-data'); IoError
   */
  holds(key: Uint8Array, place: Place, payload: Payload): boolean {
    const log = this.#log;
    const length = DATA_ENTRY_BYTES + key.length + place.payloadBytes;
    let bytes: Uint8Array;
    let at = 0;
    if (length <= RECORD_COPY_MAX_BYTES) {
      log.viewRecord(place.dataFile, place.dataOffset, length);
      ({ bytes, at } = log);
    } else {
      bytes = this.#memory(length);
      log.readData(place.dataFile, place.dataOffset, bytes);
    }
    if (!standsAt(key, place, bytes, at)) return false;
    at += DATA_ENTRY_BYTES + key.length;
    if (payload instanceof Uint8Array) return sameBytes(bytes, at, payload);
    for (const part of payload) {
      if (!sameBytes(bytes, at, part)) return false;
      at += part.length;
    }
    return true;
  }

  /** @throws StoreError('corrupt') when the entry at `bytes[at]` is not the one at `place` */
  #compare(key: Uint8Array, place: Place, bytes: Uint8Array, at: number): void {
    if (!standsAt(key, place, bytes, at))
      throw this.#corrupt(place, 'another entry stands where the index points');
  }

  /**
   * Part of the payload of a sequential record into `target`; the record is verified whole once.
   * @returns bytes read: less than asked at the end of the payload
   * @throws as `read`
   */
  readInto(place: Place, offset: number, target: Uint8Array): number {
    const length = Math.min(target.length, place.payloadBytes - offset);
    if (!(length > 0)) return 0;
    const start = place.dataOffset + DATA_ENTRY_BYTES + ID_BYTES;
    const part = length === target.length ? target : target.subarray(0, length);
    if (this.#verified.has(place.dataFile, place.dataOffset) || this.#pending(place)) {
      this.#log.readData(place.dataFile, start + offset, part);
      return length;
    }
    if (length === place.payloadBytes) {
      this.#log.readData(place.dataFile, start, part);
      if (checksum(part) !== place.crc) {
        part.fill(0);
        throw this.#corrupt(place, 'the checksum does not match');
      }
    } else {
      const whole = this.#memory(place.payloadBytes);
      this.#log.readData(place.dataFile, start, whole);
      if (checksum(whole) !== place.crc) throw this.#corrupt(place, 'the checksum does not match');
      part.set(whole.subarray(offset, offset + length));
    }
    this.#verified.add(place.dataFile, place.dataOffset);
    return length;
  }

  /**
   * @param isLive whether a key's record is the one there
   * @throws NotLocal; StoreError (no-such-file, end-of-file, unreadable); IoError
   */
  rawEntry(file: number, offset: number, isLive: (key: Uint8Array) => boolean): RawEntry {
    const log = this.#log;
    if (!Number.isInteger(file) || file < 0 || file > log.active)
      throw new StoreError('no-such-file', `there is no data file ${file}`);
    const size = this.#dataSize(file);
    if (offset >= size) throw new StoreError('end-of-file', `${log.data.path(file)} has ${size} bytes`);
    const unreadable = (): StoreError =>
      new StoreError('unreadable', `${log.data.path(file)}: no whole entry at ${offset}`);
    if (!(offset >= DATA_HEADER_BYTES) || offset + DATA_ENTRY_BYTES > size) throw unreadable();
    const head = Buffer.allocUnsafe(DATA_ENTRY_BYTES);
    log.readData(file, offset, head);
    const keyBytes = dataEntry.keyBytes(head, 0);
    const payloadBytes = dataEntry.payloadBytes(head, 0);
    const nextOffset = offset + DATA_ENTRY_BYTES + keyBytes + payloadBytes;
    if (keyBytes === 0 || payloadBytes > PAYLOAD_MAX_BYTES || nextOffset > size) throw unreadable();
    const body = Buffer.allocUnsafe(keyBytes + payloadBytes);
    log.readData(file, offset + DATA_ENTRY_BYTES, body);
    const payload = body.subarray(keyBytes);
    const crc = dataEntry.crc(head, 0);
    const key = body.subarray(0, keyBytes);
    let flags = dataEntry.flags(head, 0);
    if (checksum(payload) !== crc) {
      const isGivenUp = log.mode === 'seq' && isHollow(payload, offset + DATA_ENTRY_BYTES + keyBytes);
      if (!isGivenUp || isLive(key)) throw unreadable();
      flags |= DATA_TRUNCATED;
    }
    return {
      key,
      previous: dataEntry.previous(head, 0),
      crc,
      flags,
      timestamp: dataEntry.timestamp(head, 0),
      payload: (flags & DATA_DELETED) === 0 ? payload : undefined,
      nextOffset,
    };
  }

  /** Forgets what was verified. */
  clear(): void {
    this.#verified.clear();
  }

  /** Memory that is good until the next read. */
  #memory(lengthBytes: number): Uint8Array {
    if (this.#scratch.length < lengthBytes) this.#scratch = new Uint8Array(lengthBytes);
    const memory = this.#scratch.subarray(0, lengthBytes);
    if (this.#scratch.length > SCRATCH_KEPT_BYTES) this.#scratch = new Uint8Array(0);
    return memory;
  }

  /** Records of the batch are still in memory: nothing to verify, nothing to remember. */
  #pending(place: Place): boolean {
    for (const segment of this.#log.segments)
      if (segment.file === place.dataFile && place.dataOffset >= segment.dataStart) return true;
    return false;
  }

  #dataSize(file: number): number {
    const log = this.#log;
    const known = log.dataEnds[file]!;
    if (known >= 0) return known;
    const status = log.surroundings.disk.stat(log.data.path(file));
    if (!status) throw log.absent(file, 0, DATA_HEADER_BYTES);
    return status.sizeBytes;
  }

  #corrupt(place: Place, what: string): StoreError {
    return new StoreError(
      'corrupt',
      `${this.#log.data.path(place.dataFile)}: entry at ${place.dataOffset}: ${what}`,
    );
  }
}

/** Whether the entry at `bytes[at]` is the one at `place`. */
function standsAt(key: Uint8Array, place: Place, bytes: Uint8Array, at: number): boolean {
  return (
    dataEntry.keyBytes(bytes, at) === key.length &&
    dataEntry.payloadBytes(bytes, at) === place.payloadBytes &&
    dataEntry.crc(bytes, at) === place.crc &&
    (dataEntry.flags(bytes, at) & DATA_DELETED) === 0 &&
    sameBytes(bytes, at + DATA_ENTRY_BYTES, key)
  );
}

/** Whether `bytes[at…]` begins with `other`. */
function sameBytes(bytes: Uint8Array, at: number, other: Uint8Array): boolean {
  const length = other.length;
  if (length > COPY_LOOP_BYTES) return Buffer.compare(bytes.subarray(at, at + length), other) === 0;
  for (let byte = 0; byte < length; byte++) if (bytes[at + byte] !== other[byte]) return false;
  return true;
}
