// The entries of a user-mode index file by data offset, when they do not stand in that order: written over a lost data file by a program
// that did not notice. In typed arrays, 12 bytes an entry: a Map ends at 16.7 million entries.

import { INDEX_ENTRY_BYTES } from '../format/index-format.ts';
import type { IndexEntries } from './index-entries.ts';

/** Finds entries by data offset. */
export class UnorderedEntries {
  /** Whether the entry last found is flagged. */
  deleted = false;
  /** Index offsets, in the order of the file. */
  readonly #offsets: Uint32Array;
  /** Pairs: number in the file and flag, data offset. As little-endian 64-bit numbers they are in ascending order. */
  readonly #sorted: Uint32Array;

  /** @param entries before its first entry @param sizeBytes of the index file */
  constructor(entries: IndexEntries, sizeBytes: number) {
    const most = Math.ceil(sizeBytes / (INDEX_ENTRY_BYTES + 1));
    this.#offsets = new Uint32Array(most);
    const pairs = new Uint32Array(2 * most);
    let count = 0;
    for (; entries.next(); count++) {
      this.#offsets[count] = entries.offset;
      pairs[2 * count] = 2 * count + (entries.deleted ? 1 : 0);
      pairs[2 * count + 1] = entries.dataOffset;
    }
    this.#sorted = pairs.subarray(0, 2 * count);
    new BigUint64Array(pairs.buffer, 0, count).sort();
  }

  /** Offset of the newest index entry for a data offset; 0: none. */
  find(dataOffset: number): number {
    const sorted = this.#sorted;
    let from = 0;
    let to = sorted.length / 2;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (sorted[2 * middle + 1]! <= dataOffset) from = middle + 1;
      else to = middle;
    }
    if (from === 0 || sorted[2 * from - 1] !== dataOffset) return 0;
    const number = sorted[2 * from - 2]!;
    this.deleted = (number & 1) !== 0;
    return this.#offsets[number >>> 1]!;
  }
}
