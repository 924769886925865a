// Which stored records were compared with their checksum in this run: bounded memories. Forgetting one costs a second look; a position is
// never written twice with different bytes in a run, so remembering is never wrong.
import { TWO_32 } from './format/little-endian.ts';

const CAPACITY = 1 << 17;

/** Records are named by data file and offset. One megabyte, allocated at first use. */
export class VerifiedRecords {
  #positions: Float64Array | undefined;

  has(file: number, offset: number): boolean {
    return this.#positions !== undefined && this.#positions[place(file, offset)] === file * TWO_32 + offset;
  }

  add(file: number, offset: number): void {
    this.#positions ??= new Float64Array(CAPACITY);
    this.#positions[place(file, offset)] = file * TWO_32 + offset;
  }

  clear(): void {
    this.#positions = undefined;
  }
}

/** Offset 0 holds no record, so position 0 stands for an empty place. */
function place(file: number, offset: number): number {
  return (Math.imul(offset ^ Math.imul(file, 0x9e3779b1), 0x85ebca6b) >>> 15) & (CAPACITY - 1);
}

/** How long a comparison is remembered. */
const RECENT_MS = 10_000;
const RECENT_MAX = 4096;

/**
 * Records that were compared a moment ago, in files that nobody has changed since. To compare them again would be to look at the same bytes in
 * memory: what a disk loses shows when they are read from it, and that takes longer.
 */
export class RecentRecords {
  /** When the file of a record at a position had been changed last. */
  readonly #compared = new Map<number, number>();
  #untilMs = 0;

  has(file: number, offset: number, fileChangedMs: number, nowMs: number): boolean {
    if (nowMs >= this.#untilMs) this.#compared.clear();
    return this.#compared.get(file * TWO_32 + offset) === fileChangedMs;
  }

  /** @param fileChangedMs as it was before the record was read */
  add(file: number, offset: number, fileChangedMs: number, nowMs: number): void {
    if (this.#compared.size === 0) this.#untilMs = nowMs + RECENT_MS;
    if (this.#compared.size < RECENT_MAX) this.#compared.set(file * TWO_32 + offset, fileChangedMs);
  }
}
