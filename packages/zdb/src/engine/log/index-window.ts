// A window over index files for walking them: reads large pieces, hands out single entries. Entries come as they are now: changes
// that are not in the files yet lie over them.
import {
  ID_BYTES,
  INDEX_DELETED,
  INDEX_ENTRY_BYTES,
  INDEX_HEADER_BYTES,
  indexEntry,
  SLOT_BYTES,
} from '../format/index-format.ts';
import type { Log } from './log.ts';

/** Longest entry: fixed part and a key of 255 bytes. */
const ENTRY_MAX_BYTES = INDEX_ENTRY_BYTES + 255;

/** Entries of the index files of one log, by position. `bytes` and `at` point to the entry last asked for. */
export class IndexWindow {
  bytes: Uint8Array;
  at = 0;
  readonly #log: Log;
  readonly #buffer: Uint8Array;
  #file = -1;
  #start = 0;
  #end = 0;

  /** @param windowBytes size of the pieces */
  constructor(log: Log, windowBytes = 64 * 1024) {
    this.#log = log;
    this.#buffer = new Uint8Array(Math.max(windowBytes, 2 * ENTRY_MAX_BYTES));
    this.bytes = this.#buffer;
  }

  /**
   * Moves to the entry at an offset. Its key follows it in `bytes` only when nothing lies over it; use `key`.
   * @param backward read what stands before it along, not what stands behind it
   * @returns false when no whole entry is there
   */
  seek(file: number, offset: number, backward = false): boolean {
    const end = this.#log.indexEnds[file];
    if (end === undefined || offset < INDEX_HEADER_BYTES || offset + INDEX_ENTRY_BYTES > end) return false;
    const needed = Math.min(offset + ENTRY_MAX_BYTES, end);
    if (file !== this.#file || offset < this.#start || needed > this.#end) {
      const start = backward
        ? Math.max(INDEX_HEADER_BYTES, Math.min(offset, needed - this.#buffer.length))
        : offset;
      const length = Math.min(this.#buffer.length, end - start);
      this.#file = -1;
      this.#log.readIndex(file, start, this.#buffer.subarray(0, length));
      this.#file = file;
      this.#start = start;
      this.#end = start + length;
    }
    this.bytes = this.#buffer;
    this.at = offset - this.#start;
    if (this.#log.mode === 'user') {
      const keyBytes = this.#buffer[this.at]!;
      if (keyBytes === 0 || offset + INDEX_ENTRY_BYTES + keyBytes > end) return false;
    } else if (offset + SLOT_BYTES > end) return false;
    if (this.#log.overlaid) {
      if (this.#log.mode === 'user') {
        const flags = indexEntry.flags(this.#buffer, this.at);
        indexEntry.setFlags(this.#buffer, this.at, this.#log.flagsNow(file, offset, flags));
      } else {
        this.#log.view(file, offset);
        this.bytes = this.#log.bytes;
        this.at = this.#log.at;
      }
    }
    this.#offset = offset;
    return true;
  }

  #offset = 0;

  /** A copy of the key of the entry last moved to. */
  key(): Uint8Array {
    const at = this.#offset - this.#start;
    const from = at + INDEX_ENTRY_BYTES;
    return this.#buffer.slice(from, from + indexEntry.keyBytes(this.#buffer, at));
  }

  /** Whether the entry last moved to is a live one; damaged slots are not. */
  get live(): boolean {
    if (this.#log.mode === 'seq' && this.bytes[this.at] !== ID_BYTES) return false;
    return (indexEntry.flags(this.bytes, this.at) & INDEX_DELETED) === 0;
  }

  /** Length of the entry last moved to. */
  get entryBytes(): number {
    if (this.#log.mode === 'seq') return SLOT_BYTES;
    return INDEX_ENTRY_BYTES + this.#buffer[this.#offset - this.#start]!;
  }
}
