// Index entries that are accepted but not in their file yet: they always stand at the end of the active index file. The data
// they point to is written, so a process that ends without writing them loses nothing: recovery makes them again from the active
// data file, which it reads in any case. The writer empties the tail before it changes anything in place, before the next pair of
// files exists, and before index files are synced, so the order of writes is that of docs/formats/zdb.md with longer pauses. Room
// for a whole tail is set aside in the file before the first entry waits: recovery must not need what a full disk does not have.

/** One run of bytes of one index file, bounded by its capacity. */
export class IndexTail {
  /** The index file, and where in it the first byte goes. */
  file = 0;
  start = 0;
  length = 0;
  readonly capacityBytes: number;
  #memory: Uint8Array | undefined;

  /** @param capacityBytes 0: nothing ever waits */
  constructor(capacityBytes: number) {
    this.capacityBytes = capacityBytes;
  }

  /** Adds bytes that stand at `offset`, which is where the run ends. @returns false when they do not fit; nothing is added then */
  add(file: number, offset: number, bytes: Uint8Array): boolean {
    if (this.length + bytes.length > this.capacityBytes) return false;
    if (this.length === 0) {
      this.file = file;
      this.start = offset;
    } else if (file !== this.file || offset !== this.start + this.length) {
      throw new Error(`index entries at ${offset} of file ${file} do not follow those that wait`);
    }
    this.#memory ??= new Uint8Array(this.capacityBytes);
    this.#memory.set(bytes, this.length);
    this.length += bytes.length;
    return true;
  }

  /** Where the bytes that are in an index file end, given where all of them end. */
  endInFile(file: number, end: number): number {
    return this.length > 0 && file === this.file ? Math.min(this.start, end) : end;
  }

  /** Copies what waits from `offset` of a file on, as far as it goes. @returns how many bytes */
  read(file: number, offset: number, target: Uint8Array): number {
    const from = offset - this.start;
    if (this.length === 0 || file !== this.file || from < 0 || from >= this.length) return 0;
    const count = Math.min(target.length, this.length - from);
    target.set(this.#memory!.subarray(from, from + count));
    return count;
  }

  /** All that waits; valid until the next `add`. */
  view(): Uint8Array {
    return this.#memory!.subarray(0, this.length);
  }

  /** Forgets what stands behind a position. */
  cut(file: number, end: number): void {
    if (this.file > file) this.length = 0;
    else if (this.file === file) this.length = Math.max(0, Math.min(this.length, end - this.start));
  }

  /** It is written. */
  clear(): void {
    this.length = 0;
  }
}
