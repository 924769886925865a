// A part of the key table (key-table.ts): its slots in memory.
//
// A slot is 8 bytes, the hash of a key and entry + 1, or 0. Slots are in the order of their hashes, each at its home or behind it: a hash
// that is greater ends a search, and growing reads one memory from its beginning to its end and writes another.

/** Slots behind the last home, at first. A key that finds them in use makes its part grow; more than twenty hardly ever are. */
const SPARE_SLOTS = 32;

/** Part of the table. */
export class Part {
  /** Hash and number of each slot. The last slot is always free. */
  words = new Uint32Array(0);
  /** Homes: hashes are spread over so many slots. */
  size = 0;
  used = 0;
  /** Homes per hash. */
  #scale = 0;
  /** Leading bits of the hash that are the same for all of this part. */
  readonly #commonBits: number;

  /** @param commonBits the leading bits of the hash that chose this part */
  constructor(size: number, commonBits: number) {
    this.#commonBits = commonBits;
    this.#reset(size, size + SPARE_SLOTS);
  }

  /** The first slot a key of this hash may be in. */
  home(hash: number): number {
    return (((hash << this.#commonBits) >>> 0) * this.#scale) | 0;
  }

  /** @returns false when it has to grow first */
  insert(entry: number, hash: number): boolean {
    const { words } = this;
    let at = 2 * this.home(hash);
    while (words[at + 1] !== 0 && words[at]! <= hash) at += 2;
    let free = at;
    while (words[free + 1] !== 0) free += 2;
    if (free + 2 === words.length) return false;
    for (let word = free - 1; word >= at; word--) words[word + 2] = words[word]!;
    words[at] = hash;
    words[at + 1] = entry + 1;
    this.used++;
    return true;
  }

  /** Takes out an entry that is there. */
  remove(entry: number, hash: number): void {
    const { words } = this;
    let slot = this.home(hash);
    while (words[2 * slot + 1] !== entry + 1) slot++;
    // What stands behind its home moves up.
    for (let next = slot + 1; words[2 * next + 1] !== 0 && this.home(words[2 * next]!) < next; next++) {
      words[2 * slot] = words[2 * next]!;
      words[2 * slot + 1] = words[2 * next + 1]!;
      slot = next;
    }
    words[2 * slot + 1] = 0;
    this.used--;
  }

  /** Spreads its slots over another number of homes. */
  resize(size: number): void {
    const before = this.words;
    for (let spare = SPARE_SLOTS; ; spare *= 2) {
      this.#reset(size, size + spare);
      if (this.#fill(before)) return;
    }
  }

  /** Takes over slots. @returns false when hardly any would be free behind the last home */
  #fill(before: Uint32Array): boolean {
    const { words } = this;
    const limit = words.length / 2 - SPARE_SLOTS / 2;
    let next = 0;
    for (let at = 0; at < before.length; at += 2) {
      if (before[at + 1] === 0) continue;
      const slot = Math.max(next, this.home(before[at]!));
      next = slot + 1;
      if (next > limit) return false;
      words[2 * slot] = before[at]!;
      words[2 * slot + 1] = before[at + 1]!;
      this.used++;
    }
    return true;
  }

  /** Hash and entry of all, by hash. */
  *slots(): Generator<readonly [hash: number, entry: number]> {
    const { words } = this;
    for (let at = 0; at < words.length; at += 2)
      if (words[at + 1] !== 0) yield [words[at]!, words[at + 1]! - 1];
  }

  #reset(size: number, slots: number): void {
    this.words = new Uint32Array(2 * slots);
    this.size = size;
    this.used = 0;
    this.#scale = size / 2 ** 32;
  }
}
