// What a batch adds to one pair of files, kept in memory until `commit` writes it: data entries as pieces for one vectored write,
// index entries as one run of bytes, and changes of older index entries. A batch that rotates has several segments.
//
// Small payloads are copied behind their headers (a copy is cheaper than one more buffer in the vector); large ones are borrowed.
import { encodeDataHeader, putDataEntry } from '../format/data-format.ts';
import { encodeIndexHeader } from '../format/index-format.ts';
import type { NamespaceMode, Payload } from '../types.ts';
import { IndexChanges } from './index-changes.ts';

/** Parts of payloads up to this size are copied. */
const COPY_MAX_BYTES = 2048;
const CHUNK_BYTES = 256 * 1024;
const INDEX_FIRST_BYTES = 4096;
/** A larger index run is given back after its commit. */
const INDEX_KEPT_BYTES = 1024 * 1024;

/** Memory for the small parts of pending data; used again after every commit. */
export class Chunks {
  #spare: Uint8Array | undefined;

  take(): Uint8Array {
    const chunk = this.#spare ?? new Uint8Array(CHUNK_BYTES);
    this.#spare = undefined;
    return chunk;
  }

  give(chunk: Uint8Array): void {
    this.#spare = chunk;
  }
}

/** Appends of one batch to data file and index file `file`. */
export class Segment {
  file = 0;
  /** The pair of files does not exist before this batch is written. */
  fresh = false;
  /** Where the first pending byte goes in either file. */
  dataStart = 0;
  indexStart = 0;
  dataBytes = 0;
  indexBytes = 0;
  index = new Uint8Array(INDEX_FIRST_BYTES);
  readonly changes = new IndexChanges();
  readonly #chunks: Chunks;
  readonly #pieces: Uint8Array[] = [];
  readonly #starts: number[] = [];
  #chunk: Uint8Array | undefined;
  #runStart = 0;
  #runEnd = 0;
  /** File offset of the open run. */
  #runOffset = 0;

  constructor(chunks: Chunks) {
    this.#chunks = chunks;
  }

  get empty(): boolean {
    return this.dataBytes === 0 && this.indexBytes === 0 && this.changes.size === 0 && !this.fresh;
  }

  get dataEnd(): number {
    return this.dataStart + this.dataBytes;
  }

  get indexEnd(): number {
    return this.indexStart + this.indexBytes;
  }

  /** Starts over behind what is written of existing files. */
  continueFile(file: number, dataStart: number, indexStart: number): void {
    this.#release();
    this.file = file;
    this.fresh = false;
    this.dataStart = dataStart;
    this.indexStart = indexStart;
  }

  /** Starts a new pair of files with their headers. */
  startFile(file: number, mode: NamespaceMode): void {
    this.#release();
    this.file = file;
    this.fresh = true;
    this.dataStart = 0;
    this.indexStart = 0;
    const header = encodeIndexHeader(file, mode);
    this.reserveIndex(header.length);
    this.index.set(header, 0);
    this.indexBytes = header.length;
    this.#small(encodeDataHeader(file));
  }

  /** Appends a data entry. @returns its offset in the file */
  appendData(
    key: Uint8Array,
    payload: Payload,
    payloadBytes: number,
    previous: number,
    crc: number,
    flags: number,
    timestamp: number,
  ): number {
    const offset = this.dataEnd;
    const length = 18 + key.length;
    const at = this.#room(length);
    const chunk = this.#chunk!;
    putDataEntry(chunk, at, key.length, payloadBytes, previous, crc, flags, timestamp);
    for (let byte = 0; byte < key.length; byte++) chunk[at + 18 + byte] = key[byte]!;
    this.dataBytes += length;
    if (payload instanceof Uint8Array) this.#part(payload);
    else for (const part of payload) this.#part(part);
    return offset;
  }

  /** Makes room for `length` more index bytes in `index` (at `indexBytes`). */
  reserveIndex(length: number): void {
    const needed = this.indexBytes + length;
    if (needed <= this.index.length) return;
    const larger = new Uint8Array(Math.max(needed, this.index.length * 2));
    larger.set(this.index.subarray(0, this.indexBytes));
    this.index = larger;
  }

  /** Pending data as buffers that stand one behind the other from `dataStart`. */
  pieces(): readonly Uint8Array[] {
    this.#closeRun();
    return this.#pieces;
  }

  /** Copies pending data at a file offset into `target`, whole. */
  readData(target: Uint8Array, offset: number): void {
    this.#closeRun();
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#starts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    for (let done = 0; done < target.length; low++) {
      const piece = this.#pieces[low]!;
      const from = offset + done - this.#starts[low]!;
      const length = Math.min(piece.length - from, target.length - done);
      target.set(piece.subarray(from, from + length), done);
      done += length;
    }
  }

  #part(part: Uint8Array): void {
    if (part.length === 0) return;
    if (part.length <= COPY_MAX_BYTES) {
      this.#small(part);
      return;
    }
    this.#closeRun();
    this.#pieces.push(part);
    this.#starts.push(this.dataEnd);
    this.dataBytes += part.length;
    this.#runOffset = this.dataEnd;
  }

  #small(part: Uint8Array): void {
    const at = this.#room(part.length);
    this.#chunk!.set(part, at);
    this.dataBytes += part.length;
  }

  /** Room in the open run; the caller fills it and counts it in `dataBytes`. @returns position in the chunk */
  #room(length: number): number {
    if (!this.#chunk || this.#runEnd + length > this.#chunk.length) {
      this.#closeRun();
      this.#chunk = this.#pieces.length === 0 ? this.#chunks.take() : new Uint8Array(CHUNK_BYTES);
      this.#runStart = 0;
      this.#runEnd = 0;
    }
    if (this.#runStart === this.#runEnd) this.#runOffset = this.dataEnd;
    const at = this.#runEnd;
    this.#runEnd += length;
    return at;
  }

  #closeRun(): void {
    if (!this.#chunk || this.#runStart === this.#runEnd) return;
    this.#pieces.push(this.#chunk.subarray(this.#runStart, this.#runEnd));
    this.#starts.push(this.#runOffset);
    this.#runStart = this.#runEnd;
  }

  #release(): void {
    if (this.#chunk) this.#chunks.give(this.#chunk);
    this.#chunk = undefined;
    this.#runStart = 0;
    this.#runEnd = 0;
    this.#pieces.length = 0;
    this.#starts.length = 0;
    this.dataBytes = 0;
    this.indexBytes = 0;
    this.changes.clear();
    if (this.index.length > INDEX_KEPT_BYTES) this.index = new Uint8Array(INDEX_FIRST_BYTES);
  }
}
