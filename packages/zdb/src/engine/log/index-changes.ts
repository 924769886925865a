// Changes of existing index entries that are not in the index files yet: for every position the fixed part of the entry before
// and after. Two uses: the changes of a batch until `commit`, and changes held back until the data they stem from is on stable
// storage (docs/formats/zdb.md, "Order of writes"). In user mode only flags change, and the other fields of the images are not filled in.
import { INDEX_ENTRY_BYTES, putIndexEntry } from '../format/index-format.ts';
import { TWO_32 } from '../format/little-endian.ts';

const RECORD_BYTES = 2 * INDEX_ENTRY_BYTES;
const FIRST_CAPACITY = 16;

/** A bounded-by-its-user set of changes; records are numbered 0 … size - 1 in order of their arrival. */
export class IndexChanges {
  /** Two images per record: before at `record * 68`, after behind it. */
  images = new Uint8Array(FIRST_CAPACITY * RECORD_BYTES);
  readonly files: number[] = [];
  readonly offsets: number[] = [];
  /** For the writer: records that wait for the data to be durable. */
  readonly waiting: boolean[] = [];
  readonly #records = new Map<number, number>();
  readonly #blank = new Uint8Array(INDEX_ENTRY_BYTES);

  get size(): number {
    return this.files.length;
  }

  /** Record of a position, or -1. File ids are below 2^21, so that the sum is exact. */
  find(file: number, offset: number): number {
    if (this.files.length === 0) return -1;
    return this.#records.get(file * TWO_32 + offset) ?? -1;
  }

  /** Adds a record whose images are both the entry at `bytes[at…]`. @returns its number */
  add(file: number, offset: number, bytes: Uint8Array, at: number): number {
    const record = this.files.length;
    const start = record * RECORD_BYTES;
    if (start + RECORD_BYTES > this.images.length) {
      const larger = new Uint8Array(this.images.length * 2);
      larger.set(this.images);
      this.images = larger;
    }
    for (let byte = 0; byte < INDEX_ENTRY_BYTES; byte++) {
      const value = bytes[at + byte]!;
      this.images[start + byte] = value;
      this.images[start + INDEX_ENTRY_BYTES + byte] = value;
    }
    this.files.push(file);
    this.offsets.push(offset);
    this.waiting.push(false);
    this.#records.set(file * TWO_32 + offset, record);
    return record;
  }

  /**
   * Adds a record of an entry of which only the place of its data and its flags are known, before and after; the other fields of
   * both images are 0 and must not be written.
   * @returns its number
   */
  addFlags(file: number, offset: number, dataOffset: number, flags: number): number {
    this.#blank.fill(0);
    putIndexEntry(this.#blank, 0, 0, dataOffset, 0, 0, flags, 0, 0, 0, 0, 0);
    return this.add(file, offset, this.#blank, 0);
  }

  /** Position of the image before in `images`. */
  before(record: number): number {
    return record * RECORD_BYTES;
  }

  /** Position of the image after in `images`; write there to change it. */
  after(record: number): number {
    return record * RECORD_BYTES + INDEX_ENTRY_BYTES;
  }

  /** Whether the images of a record differ. */
  changed(record: number): boolean {
    const before = this.before(record);
    for (let byte = 0; byte < INDEX_ENTRY_BYTES; byte++)
      if (this.images[before + byte] !== this.images[before + INDEX_ENTRY_BYTES + byte]) return true;
    return false;
  }

  /** Copies the image after of a record of other changes over ours. */
  take(record: number, from: IndexChanges, source: number): void {
    const start = from.after(source);
    this.images.set(from.images.subarray(start, start + INDEX_ENTRY_BYTES), this.after(record));
  }

  /** Record numbers in order of file and offset. */
  inOrder(): number[] {
    const order = this.files.map((_, record) => record);
    return order.sort((a, b) => this.files[a]! - this.files[b]! || this.offsets[a]! - this.offsets[b]!);
  }

  clear(): void {
    this.files.length = 0;
    this.offsets.length = 0;
    this.waiting.length = 0;
    this.#records.clear();
    if (this.images.length > 1024 * RECORD_BYTES) this.images = new Uint8Array(FIRST_CAPACITY * RECORD_BYTES);
  }
}
