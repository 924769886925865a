// A part of the key table (key-table.ts): its slots in memory.

/** Slots of one group: their numbers and tags are 16 bytes. */
const GROUP_SLOTS = 3;

/**
 * Part of the table. A slot is entry + 1 or 0, and the low 8 bits of the hash, its tag. Three slots are a group of 16 bytes, numbers before
 * tags, so that a lookup waits for one line of memory (a group does not cross lines: the memory is aligned to 16 bytes).
 */
export class Part {
  words = new Uint32Array(0);
  /** The same memory. */
  bytes = new Uint8Array(0);
  /** Slots. */
  size = 0;
  used = 0;

  constructor(size: number) {
    this.reset(size);
  }

  /** Makes it empty, with at least `size` slots. */
  reset(size: number): void {
    const groups = Math.ceil(size / GROUP_SLOTS);
    this.words = new Uint32Array(groups * (GROUP_SLOTS + 1));
    this.bytes = new Uint8Array(this.words.buffer);
    this.size = groups * GROUP_SLOTS;
    this.used = 0;
  }

  /** Entry + 1, or 0. */
  number(slot: number): number {
    return this.words[slot + groupOf(slot)]!;
  }

  put(slot: number, number: number, hash: number): void {
    const group = groupOf(slot);
    this.words[slot + group] = number;
    this.bytes[tagAt(slot, group)] = hash & 255;
  }

  insert(entry: number, hash: number): void {
    const { size } = this;
    let slot = place(hash, size);
    while (this.number(slot) !== 0) if (++slot === size) slot = 0;
    this.put(slot, entry + 1, hash);
    this.used++;
  }

  /** Entry + 1 of all. */
  *numbers(): Generator<number> {
    const { words } = this;
    for (let word = 0; word < words.length; word++)
      if (isNumber(word) && words[word] !== 0) yield words[word]!;
  }
}

/** Group of a slot. */
export function groupOf(slot: number): number {
  return (slot / GROUP_SLOTS) | 0;
}

/** Whether a word of a part is a number, not tags. */
export function isNumber(word: number): boolean {
  return (word & GROUP_SLOTS) !== GROUP_SLOTS;
}

/** Where the tag of a slot is in the bytes of its part. */
export function tagAt(slot: number, group: number): number {
  return 13 * group + slot + 4 * GROUP_SLOTS;
}

/** Maps the low 24 bits of a hash to one of `size` slots, by multiplication and shift (Lemire). */
export function place(hash: number, size: number): number {
  return (((hash & 0xffffff) * size) / 0x100_0000) | 0;
}
