// Offsets in a data file, of which there may be a hundred million: more than a Set can hold.

/** Takes offsets in any order, and is then asked in ascending order. */
export class OffsetList {
  #offsets = new Uint32Array(64);
  #count = 0;
  #sorted = false;
  #at = 0;

  add(offset: number): void {
    if (this.#count === this.#offsets.length) {
      const grown = new Uint32Array(2 * this.#count);
      grown.set(this.#offsets);
      this.#offsets = grown;
    }
    this.#offsets[this.#count++] = offset;
  }

  /** To be asked in ascending order, when all are added. */
  has(offset: number): boolean {
    if (!this.#sorted) this.#offsets.subarray(0, this.#count).sort();
    this.#sorted = true;
    while (this.#at < this.#count && this.#offsets[this.#at]! < offset) this.#at++;
    return this.#at < this.#count && this.#offsets[this.#at] === offset;
  }
}
