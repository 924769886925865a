// Which stored records were compared with their checksum in this run: a bounded, direct-mapped memory. Forgetting one costs a
// second look; a position is never written twice with different bytes in a run, so remembering is never wrong.
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
