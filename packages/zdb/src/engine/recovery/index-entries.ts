// The entries of a user-mode index file from front to back, as they stand in the file. For loading; nothing is allocated per entry.
import { KEY_MAX_BYTES } from '../format/data-format.ts';
import { INDEX_DELETED, INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES, indexEntry } from '../format/index-format.ts';
import type { FileSet } from '../log/open-files.ts';

const READ_BYTES = 4 << 20;

/** Position in an index file. After `next` returned true the entry begins at `bytes[at]` and stands at `offset` of the file. */
export class IndexEntries {
  readonly bytes: Uint8Array;
  at = 0;
  offset = INDEX_HEADER_BYTES;
  /** Bytes read so far. */
  readBytes = 0;
  readonly #files: FileSet;
  readonly #file: number;
  readonly #end: number;
  #start = INDEX_HEADER_BYTES;
  #filled = 0;
  #entryBytes = 0;

  /** @param end where the file ends, or is to be taken as ended */
  constructor(files: FileSet, file: number, end: number) {
    this.#files = files;
    this.#file = file;
    this.#end = end;
    this.bytes = new Uint8Array(Math.min(READ_BYTES, Math.max(0, end - INDEX_HEADER_BYTES)));
  }

  /** Moves to the next entry; false where no whole entry stands, and `offset` is there then. */
  next(): boolean {
    let at = this.at + this.#entryBytes;
    this.offset = this.#start + at;
    if (this.#filled - at < INDEX_ENTRY_BYTES + KEY_MAX_BYTES && this.#start + this.#filled < this.#end) {
      this.#start = this.offset;
      at = 0;
      const length = Math.min(this.bytes.length, this.#end - this.#start);
      this.#filled = this.#files.reading(this.#file).read(this.bytes.subarray(0, length), this.#start);
      this.readBytes += this.#filled;
    }
    this.at = at;
    this.#entryBytes = 0;
    if (this.#filled - at < INDEX_ENTRY_BYTES) return false;
    const keyBytes = this.bytes[at]!;
    if (keyBytes === 0 || this.#filled - at < INDEX_ENTRY_BYTES + keyBytes) return false;
    this.#entryBytes = INDEX_ENTRY_BYTES + keyBytes;
    return true;
  }

  /**
   * Where the keys of this entry and of those behind it that are read already begin in `bytes`, and their lengths: pairs, as many as `keys`
   * holds. @returns how many
   */
  ahead(keys: Int32Array): number {
    let end = 0;
    for (let { at } = this; end < keys.length && this.#filled - at >= INDEX_ENTRY_BYTES; ) {
      const keyBytes = this.bytes[at]!;
      if (keyBytes === 0 || this.#filled - at < INDEX_ENTRY_BYTES + keyBytes) break;
      keys[end++] = at + INDEX_ENTRY_BYTES;
      keys[end++] = keyBytes;
      at += INDEX_ENTRY_BYTES + keyBytes;
    }
    return end / 2;
  }

  get deleted(): boolean {
    return (indexEntry.flags(this.bytes, this.at) & INDEX_DELETED) !== 0;
  }
  get dataOffset(): number {
    return indexEntry.dataOffset(this.bytes, this.at);
  }
  get keyBytes(): number {
    return this.bytes[this.at]!;
  }
  get keyAt(): number {
    return this.at + INDEX_ENTRY_BYTES;
  }

  /** Whether the key is the one at `bytes[at … at + length - 1]`. */
  hasKey(bytes: Uint8Array, at: number, length: number): boolean {
    if (this.keyBytes !== length) return false;
    const { keyAt } = this;
    for (let byte = 0; byte < length; byte++) if (this.bytes[keyAt + byte] !== bytes[at + byte]) return false;
    return true;
  }

  /** Whether the key is that one with zeros from some byte on: half of the entry was written. */
  hasTornKey(bytes: Uint8Array, at: number, length: number): boolean {
    if (this.keyBytes !== length) return false;
    const { keyAt } = this;
    let byte = 0;
    while (byte < length && this.bytes[keyAt + byte] === bytes[at + byte]) byte++;
    for (; byte < length; byte++) if (this.bytes[keyAt + byte] !== 0) return false;
    return true;
  }
}
