// Blocks of data files that small records were read from again and again: a system call for each of them is half the time of a GET.
// One for all namespaces of an engine, bounded, direct-mapped, its memory taken as it is needed.
//
// A block is taken in when its frame missed it twice in a row, so that reads all over a large store neither fill the cache nor read
// more than they need. Bytes of data files never change while a log is open, but for those of a batch that is taken back.

/** Bytes of a block; it begins at a multiple of this in its file. */
export const BLOCK_BYTES = 8192;
const BLOCK_SHIFT = 13;
/** A processor's unit of memory. */
const LINE_BYTES = 64;
/** Records touched in one go, at most. */
const TOUCHED_TOGETHER = 64;

/** Longest record that is looked for in the cache or copied; longer ones are read into memory of their own. */
export const RECORD_COPY_MAX_BYTES = 17 * 1024;

/** Blocks by owner (a log), data file and position. */
export class DataCache {
  /** Result of `find`: the record begins at `bytes[at]`. */
  bytes: Uint8Array;
  at = 0;
  /** For a record that is not cached; good until the next read. */
  readonly record = new Uint8Array(RECORD_COPY_MAX_BYTES);
  readonly #mask: number;
  readonly #owners: Int32Array;
  readonly #files: Int32Array;
  readonly #blocks: Int32Array;
  /** Bytes of the block that are there. */
  readonly #filled: Uint16Array;
  /** What each frame missed last, mixed into one number. */
  readonly #missed: Int32Array;
  /** The blocks. The kernel gives the memory when it is first used. */
  readonly #memory: Uint8Array;
  /** For `touch`. */
  readonly #touching = { positions: new Int32Array(TOUCHED_TOGETHER), touched: 0 };
  #lastOwner = 0;

  /** @param limitBytes bound on the memory of the blocks, rounded down to a power of two; at least one block */
  constructor(limitBytes: number) {
    const frames = 2 ** Math.max(0, Math.floor(Math.log2(limitBytes / BLOCK_BYTES)));
    this.#mask = frames - 1;
    this.#owners = new Int32Array(frames);
    this.#files = new Int32Array(frames);
    this.#blocks = new Int32Array(frames);
    this.#filled = new Uint16Array(frames);
    this.#missed = new Int32Array(frames);
    this.#memory = new Uint8Array(frames * BLOCK_BYTES + LINE_BYTES); // `touch` looks a line ahead
    this.bytes = this.record;
  }

  /** A number for a log. What another log put here is not found by it. */
  newOwner(): number {
    return ++this.#lastOwner;
  }

  /** Whether a record is here; then `bytes` and `at` point to it until the next call. */
  find(owner: number, file: number, offset: number, lengthBytes: number): boolean {
    const block = offset >>> BLOCK_SHIFT;
    const within = offset & (BLOCK_BYTES - 1);
    const frame = this.#frame(owner, file, block);
    if (
      this.#blocks[frame] !== block ||
      this.#files[frame] !== file ||
      this.#owners[frame] !== owner ||
      within + lengthBytes > this.#filled[frame]!
    )
      return false;
    this.bytes = this.#memory;
    this.at = frame * BLOCK_BYTES + within;
    return true;
  }

  /** Has the processor fetch those of some small records that are here: many waits for memory at once. */
  touch(owner: number, files: Int32Array, offsets: Uint32Array, lengths: Int32Array, count: number): void {
    const { positions } = this.#touching;
    const records = Math.min(count, TOUCHED_TOGETHER);
    for (let i = 0; i < records; i++) {
      const block = offsets[i]! >>> BLOCK_SHIFT;
      const within = offsets[i]! & (BLOCK_BYTES - 1);
      const frame = this.#frame(owner, files[i]!, block);
      const isHere = this.#blocks[frame] === block && within + lengths[i]! <= this.#filled[frame]!;
      positions[i] = isHere ? frame * BLOCK_BYTES + within : 0;
    }
    const memory = this.#memory;
    let touched = 0;
    for (let i = 0; i < records; i++) touched ^= memory[positions[i]!]! ^ memory[positions[i]! + LINE_BYTES]!;
    this.#touching.touched = touched;
  }

  /**
   * Notes that a record was not found.
   * @returns where its block begins in the file when it should be taken in (`take`), or -1
   */
  missed(owner: number, file: number, offset: number, lengthBytes: number): number {
    const block = offset >>> BLOCK_SHIFT;
    if ((offset & (BLOCK_BYTES - 1)) + lengthBytes > BLOCK_BYTES) return -1;
    const frame = this.#frame(owner, file, block);
    const mixed = Math.imul(owner, 0x9e3779b1) ^ Math.imul(file, 0x85ebca6b) ^ (block + 1);
    if (this.#missed[frame] === mixed) return block * BLOCK_BYTES;
    this.#missed[frame] = mixed;
    return -1;
  }

  /** Memory for a block; the caller fills the first `lengthBytes` of it or throws. */
  take(owner: number, file: number, start: number, lengthBytes: number): Uint8Array {
    const block = start >>> BLOCK_SHIFT;
    const frame = this.#frame(owner, file, block);
    this.#owners[frame] = owner;
    this.#files[frame] = file;
    this.#blocks[frame] = block;
    this.#filled[frame] = 0;
    const at = frame * BLOCK_BYTES;
    return this.#memory.subarray(at, at + Math.min(lengthBytes, BLOCK_BYTES));
  }

  /** The memory of a block that `take` gave is filled. */
  taken(owner: number, file: number, start: number, lengthBytes: number): void {
    this.#filled[this.#frame(owner, file, start >>> BLOCK_SHIFT)] = lengthBytes;
  }

  clear(): void {
    this.#filled.fill(0);
    this.#missed.fill(0);
  }

  /** Blocks that follow each other get frames that follow each other. */
  #frame(owner: number, file: number, block: number): number {
    return (block + Math.imul(file, 0x2545f) + Math.imul(owner, 0x1b873593)) & this.#mask;
  }
}
