// Walks the entries of a data file from front to back without reading the payloads it does not need. For recovery and tools.
import type { DiskFile } from '@qsfs/io';
import { checksum } from '../checksum.ts';
import type { NamespaceMode } from '../types.ts';
import {
  DATA_DELETED,
  DATA_ENTRY_BYTES,
  DATA_HEADER_BYTES,
  dataEntry,
  KEY_MAX_BYTES,
  PAYLOAD_MAX_BYTES,
} from './data-format.ts';
import { ID_BYTES } from './index-format.ts';

const WINDOW_BYTES = 256 * 1024;
/** After a jump over a payload, or far back, only this much is read: the next entry may be large too. */
const JUMP_BYTES = 4096;
/** Disks write at least so many bytes at once. */
const SECTOR_BYTES = 512;
const HEAD_MAX_BYTES = DATA_ENTRY_BYTES + KEY_MAX_BYTES;

/** Position in a data file. After `next` returned true the fields describe the entry at `offset`. */
export class DataScanner {
  offset = 0;
  nextOffset = DATA_HEADER_BYTES;
  keyBytes = 0;
  payloadBytes = 0;
  crc = 0;
  flags = 0;
  timestamp = 0;
  /** The key is `bytes[keyAt … keyAt + keyBytes - 1]`. */
  bytes: Uint8Array;
  keyAt = 0;
  readonly size: number;
  readonly #open: () => DiskFile;
  readonly #mode: NamespaceMode;
  readonly #window = new Uint8Array(WINDOW_BYTES);
  #start = 0;
  #end = 0;

  /**
   * @param open the file, asked for before each read: one that is kept open may be closed for others, or opened anew for writing
   * @param size where the walk ends; bytes behind it are not looked at
   */
  constructor(open: () => DiskFile, mode: NamespaceMode, size: number) {
    this.#open = open;
    this.#mode = mode;
    this.size = size;
    this.bytes = this.#window;
  }

  get deleted(): boolean {
    return (this.flags & DATA_DELETED) !== 0;
  }

  /** A copy of the key. */
  key(): Uint8Array {
    return this.bytes.slice(this.keyAt, this.keyAt + this.keyBytes);
  }

  /** Goes on at an offset. */
  seek(offset: number): void {
    this.nextOffset = offset;
  }

  /** Moves to the next entry; false at the end and where no whole entry stands (`nextOffset` tells where). */
  next(): boolean {
    const offset = this.nextOffset;
    if (offset + DATA_ENTRY_BYTES > this.size) return false;
    this.#load(offset);
    const at = offset - this.#start;
    const window = this.#window;
    const keyBytes = dataEntry.keyBytes(window, at);
    const payloadBytes = dataEntry.payloadBytes(window, at);
    const flags = dataEntry.flags(window, at);
    const end = offset + DATA_ENTRY_BYTES + keyBytes + payloadBytes;
    if (
      keyBytes === 0 ||
      (this.#mode === 'seq' && keyBytes !== ID_BYTES) ||
      payloadBytes > PAYLOAD_MAX_BYTES ||
      flags > 3 ||
      ((flags & DATA_DELETED) !== 0 && payloadBytes > 0) ||
      end > this.size
    )
      return false;
    this.offset = offset;
    this.nextOffset = end;
    this.keyBytes = keyBytes;
    this.payloadBytes = payloadBytes;
    this.flags = flags;
    this.crc = dataEntry.crc(window, at);
    this.timestamp = dataEntry.timestamp(window, at);
    this.keyAt = at + DATA_ENTRY_BYTES;
    return true;
  }

  /** Whether the payload of the entry matches its checksum. The fields stay. */
  intact(): boolean {
    const start = this.offset + DATA_ENTRY_BYTES + this.keyBytes;
    if (start + this.payloadBytes <= this.#end) {
      const at = start - this.#start;
      return checksum(this.#window.subarray(at, at + this.payloadBytes)) === this.crc;
    }
    const payload = new Uint8Array(this.payloadBytes);
    return this.#open().read(payload, start) === payload.length && checksum(payload) === this.crc;
  }

  /**
   * Whether the entry may be half of one: a write that was cut at the border of a disk sector leaves zeros behind it, and a
   * checksum of 0 fits a payload of zeros, or none. Then neither length, time nor key can be believed. (When the border is
   * inside the key, the length is right, and the checksum tells, except for a deletion marker.) The same wherever time, key and payload
   * are all zeros, and when no entry follows one without payload: what stands there is likely to be the payload.
   */
  suspicious(): boolean {
    if (this.crc !== 0) return false;
    if (this.payloadBytes === 0 && !this.deleted && !this.followed()) return true;
    const zeroKey = this.bytes.subarray(this.keyAt, this.keyAt + this.keyBytes).every((byte) => byte === 0);
    if (!zeroKey) return false;
    // Zeros written over a deletion marker, or over any header in front of its end.
    if (this.payloadBytes === 0 && !this.deleted && this.timestamp === 0) return true;
    if (this.timestamp === 0 && this.#isZeros()) return true;
    const border = (Math.floor(this.offset / SECTOR_BYTES) + 1) * SECTOR_BYTES;
    const keyStart = this.offset + DATA_ENTRY_BYTES;
    if (border > keyStart) return false;
    // A byte of something else in the sector shows that it was written.
    const sector = new Uint8Array(Math.min(SECTOR_BYTES, this.size - border));
    this.#open().read(sector, border);
    return sector.every((byte) => byte === 0);
  }

  /** Whether the payload is nothing but zeros; without one, the first byte behind the entry. */
  #isZeros(): boolean {
    const start = this.offset + DATA_ENTRY_BYTES + this.keyBytes;
    const payload = new Uint8Array(Math.max(1, this.payloadBytes));
    return this.#open().read(payload, start) === payload.length && payload.every((byte) => byte === 0);
  }

  /** Whether entry follows entry from here to the end. The position is lost. */
  unbroken(): boolean {
    while (this.next());
    return this.nextOffset >= this.size;
  }

  /** Whether the walk ends behind the entry, or another whole one stands there. The fields stay. */
  followed(): boolean {
    if (this.nextOffset === this.size) return true;
    const next = new DataScanner(this.#open, this.#mode, this.size);
    next.seek(this.nextOffset);
    return next.next();
  }

  /**
   * Whether the payload of the entry at `offset` is there as an index entry describes it, with its key: the header before it is damaged
   * then, when it says something else.
   */
  fits(offset: number, key: Uint8Array, payloadBytes: number, crc: number): boolean {
    if (payloadBytes === 0 || payloadBytes > PAYLOAD_MAX_BYTES) return false;
    const record = new Uint8Array(key.length + payloadBytes);
    const start = offset + DATA_ENTRY_BYTES;
    if (start + record.length > this.size || this.#open().read(record, start) < record.length) return false;
    return (
      Buffer.compare(record.subarray(0, key.length), key) === 0 &&
      checksum(record.subarray(key.length)) === crc
    );
  }

  #load(offset: number): void {
    const needed = Math.min(offset + HEAD_MAX_BYTES, this.size);
    if (offset >= this.#start && needed <= this.#end) return;
    let start = offset;
    let length = WINDOW_BYTES;
    if (offset < this.#start && this.#start - offset <= JUMP_BYTES) {
      // A short way back: the next ones are likely to be in front of it, the more so the longer that goes on.
      length = Math.min(WINDOW_BYTES, 2 * Math.max(JUMP_BYTES, this.#end - this.#start));
      start = Math.max(0, needed - length);
    } else if (offset > this.#end || offset < this.#start) {
      length = JUMP_BYTES;
    }
    this.#start = start;
    this.#end =
      start + this.#open().read(this.#window.subarray(0, Math.min(length, this.size - start)), start);
  }
}
