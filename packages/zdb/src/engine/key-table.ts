// Live keys of a user-mode namespace: an open-addressing table in typed arrays with the place of each record. Per key: 24 bytes
// of fields, 8 bytes of table at a load of 0.65 to 0.85 (11 on average), and the key itself rounded up to 4 bytes: below 40 beside the key.
//
// Nearly all time of a lookup goes into waiting for memory, so fields and key of an entry stand together: one wait. Entries never
// move, growing copies nothing of them and looks at none. The table of their hashes and addresses is rebuilt when it grows: a large one is
// cut into 256 parts of different sizes that grow one by one, so that nobody waits for millions of keys.
// Entries that are unlinked keep their place and key until `release`, so that a batch can be taken back (namespace.ts).

import type { Random } from '@qsfs/io';
import { checksum } from './checksum.ts';
import { KEY_MAX_BYTES } from './format/data-format.ts';
import { KeyHash } from './key-hash.ts';
import { Part } from './key-table-part.ts';

/** Entries stand in pieces of this size; addresses are in units of 4 bytes. */
const ARENA_BYTES = 1 << 20;
const ARENA_SHIFT = 18;
const ARENA_MASK = (1 << ARENA_SHIFT) - 1;
/** Addresses are unsigned 32-bit numbers, and one is left for "none". */
const ARENAS_MAX = (1 << (32 - ARENA_SHIFT)) - 1;
const FIRST_SLOTS = 64;
/** A part grows when more than this share is in use. */
const LOAD_MAX = 0.85;
const GROWTH = 1.3;
/** A part shrinks when it would have less than this of its size: what is thrown away takes memory, too, for a while. */
const WORTH_SHRINKING = 0.93;
/** With more keys than this the table is cut into parts. */
const SINGLE_PART_MAX = 32_768;
const PARTS = 256;
const PART_BITS = 8;
const PART_SHIFT = 32 - PART_BITS;
/** Keys fetched in one go, at most. */
export const FETCHED_TOGETHER = 64;
/** No entry. */
export const NO_ENTRY = 0xffffffff;
/** Slots in which `fetch` looks for a key. */
const LIKELY_SLOTS = 8;
/** 8 bits of key length, 24 of payload length. */
const LENGTH_MASK = 0xffffff;

/** Largest payload length the table can hold. */
export const TABLE_PAYLOAD_MAX = LENGTH_MASK;

// Fields of an entry, in units; the key follows.
const LENGTHS = 0;
const INDEX_FILE = 1;
const INDEX_OFFSET = 2;
const DATA_OFFSET = 3;
const CRC = 4;
const TIMESTAMP = 5;
const FIELDS = 6;
/** Longest key, in units. */
const KEY_UNITS_MAX = (KEY_MAX_BYTES + 3) >> 2;

/** Key table. Entries are named by their address, a number; -1 is none. */
export class KeyTable {
  readonly #keyHash: KeyHash;
  #linked = 0;

  #parts: Part[] = [new Part(FIRST_SLOTS, 0)];
  /** The key last looked for, which is the one to be added: its hash, and its bytes in units, the last filled up with zeros. */
  #lastHash = 0;
  readonly #last = new Uint32Array(KEY_UNITS_MAX);

  /** The same memory in units and in bytes. */
  readonly #words: Uint32Array[] = [];
  readonly #bytes: Uint8Array[] = [];
  /** Next free unit. */
  #end = 0;
  /** Heads of the lists of released entries, by length of the key in units; the list runs through the entries themselves. */
  readonly #free = new Uint32Array(KEY_UNITS_MAX + 1).fill(NO_ENTRY);

  /** For `fetch`. */
  readonly #fetching = {
    hashes: new Uint32Array(FETCHED_TOGETHER),
    touched: 0,
  };

  /** @param random for its hash, so that nobody can choose keys that collide */
  constructor(random: Random) {
    this.#keyHash = new KeyHash(random);
  }

  /** Live keys. */
  get size(): number {
    return this.#linked;
  }

  /** Bytes held. */
  get memoryBytes(): number {
    return (
      this.#parts.reduce((sum, part) => sum + part.words.byteLength, 0) + this.#words.length * ARENA_BYTES
    );
  }

  /** Entry of the key at `bytes[at … at + length - 1]`, or -1. */
  find(bytes: Uint8Array, at: number, length: number): number {
    const hash = this.#take(bytes, at, length);
    const part = this.#part(hash);
    const { words } = part;
    for (let word = 2 * part.home(hash); ; word += 2) {
      const number = words[word + 1]!;
      if (number === 0) return -1;
      const other = words[word]!;
      if (other < hash) continue;
      if (other > hash) return -1;
      if (this.#isLast(number - 1, length)) return number - 1;
    }
  }

  /**
   * Has the processor fetch the memory that `find` will look at for each of some keys: many waits at once instead of one after the
   * other. The loops are short, so that it sees many of them at a time.
   * @param positions where the keys begin in `bytes` and their lengths, in pairs
   * @param found filled with the entries that the keys seem to have, by their hashes, or NO_ENTRY
   */
  fetch(bytes: Uint8Array, positions: Int32Array, count: number, found?: Uint32Array): void {
    if (this.#parts.length === 1) {
      // All of it is in the processor's cache.
      found?.fill(NO_ENTRY, 0, count);
      return;
    }
    const { hashes } = this.#fetching;
    const parts = this.#parts;
    const keys = Math.min(count, FETCHED_TOGETHER);
    for (let i = 0; i < keys; i++)
      hashes[i] = this.#take(bytes, positions[2 * i]!, Math.min(positions[2 * i + 1]!, KEY_MAX_BYTES));
    let touched = 0;
    for (let i = 0; i < keys; i++) {
      const part = parts[hashes[i]! >>> PART_SHIFT]!;
      touched ^= part.words[2 * part.home(hashes[i]!)]!;
    }
    if (found) {
      for (let i = 0; i < keys; i++) found[i] = this.#likely(hashes[i]!);
      for (let i = 0; i < keys; i++) {
        const entry = found[i]!;
        if (entry === NO_ENTRY) continue;
        const words = this.#words[entry >>> ARENA_SHIFT]!;
        const base = entry & ARENA_MASK;
        const last = Math.min(base + FIELDS + ((positions[2 * i + 1]! - 1) >> 2), ARENA_MASK);
        touched ^= words[base]! ^ words[last]!;
      }
    }
    this.#fetching.touched = touched;
  }

  /** The first entry of a hash, not far from its home, or NO_ENTRY. */
  #likely(hash: number): number {
    const part = this.#parts[hash >>> PART_SHIFT]!;
    const { words } = part;
    const first = 2 * part.home(hash);
    for (let word = first; word < first + 2 * LIKELY_SLOTS; word += 2) {
      const number = words[word + 1]!;
      if (number === 0 || words[word]! > hash) return NO_ENTRY;
      if (words[word] === hash) return number - 1;
    }
    return NO_ENTRY;
  }

  /** Adds the key for which `find` just answered -1, of `length` bytes. @returns its entry, with all fields still to be set */
  add(length: number): number {
    const units = (length + 3) >> 2;
    const entry = this.#allocate(units);
    const words = this.#words[entry >>> ARENA_SHIFT]!;
    const base = entry & ARENA_MASK;
    words[base + LENGTHS] = length << 24;
    for (let unit = 0; unit < units; unit++) words[base + FIELDS + unit] = this.#last[unit]!;
    this.#link(entry, this.#lastHash);
    return entry;
  }

  /** Makes an unlinked entry findable again. */
  relink(entry: number): void {
    this.#link(entry, this.#hash(entry));
  }

  /** Takes an entry out of the table; its place and key stay reserved until `release`. */
  unlink(entry: number): void {
    const hash = this.#hash(entry);
    this.#part(hash).remove(entry, hash);
    this.#linked--;
  }

  /** Gives place and key of an unlinked entry free. */
  release(entry: number): void {
    const units = (this.keyBytes(entry) + 3) >> 2;
    this.#set(entry, 0, this.#free[units]!);
    this.#free[units] = entry;
  }

  /** Makes room for `count` keys at once. */
  reserve(count: number): void {
    if (count <= SINGLE_PART_MAX) return;
    if (this.#parts.length === 1) this.#split();
    for (const [number, part] of this.#parts.entries()) {
      const size = sizeOf(count / PARTS, number);
      if (part.size < size) part.resize(size);
    }
  }

  /** Gives back what `reserve` took too much. */
  fit(): void {
    for (const [number, part] of this.#parts.entries()) {
      const size = Math.max(FIRST_SLOTS, sizeOf(part.used, number));
      if (size < part.size * WORTH_SHRINKING) part.resize(size);
    }
  }

  /** Sets the place of an entry's record. In this mode the data file has the index file's number. */
  place(
    entry: number,
    indexFile: number,
    indexOffset: number,
    dataOffset: number,
    payloadBytes: number,
    crc: number,
    timestamp: number,
  ): void {
    const words = this.#words[entry >>> ARENA_SHIFT]!;
    const base = entry & ARENA_MASK;
    words[base + LENGTHS] = (words[base + LENGTHS]! & ~LENGTH_MASK) | payloadBytes;
    words[base + INDEX_FILE] = indexFile;
    words[base + INDEX_OFFSET] = indexOffset;
    words[base + DATA_OFFSET] = dataOffset;
    words[base + CRC] = crc;
    words[base + TIMESTAMP] = timestamp;
  }

  keyBytes(entry: number): number {
    return this.#get(entry, LENGTHS) >>> 24;
  }
  payloadBytes(entry: number): number {
    return this.#get(entry, LENGTHS) & LENGTH_MASK;
  }
  /** Index file, and data file. */
  file(entry: number): number {
    return this.#get(entry, INDEX_FILE);
  }
  indexOffset(entry: number): number {
    return this.#get(entry, INDEX_OFFSET);
  }
  dataOffset(entry: number): number {
    return this.#get(entry, DATA_OFFSET);
  }
  crc(entry: number): number {
    return this.#get(entry, CRC);
  }
  timestamp(entry: number): number {
    return this.#get(entry, TIMESTAMP);
  }

  /** A copy of the key. */
  key(entry: number): Uint8Array {
    const at = ((entry & ARENA_MASK) + FIELDS) << 2;
    return this.#bytes[entry >>> ARENA_SHIFT]!.slice(at, at + this.keyBytes(entry));
  }

  /** Live entries. */
  *entries(): Generator<number> {
    for (const part of this.#parts) for (const [, entry] of part.slots()) yield entry;
  }

  /** Live keys that begin with `prefix`, by checksum modulo 2^24 and then entry. */
  keysWithPrefix(prefix: Uint8Array): Uint8Array[] {
    const found: { key: Uint8Array; bucket: number; entry: number }[] = [];
    for (const entry of this.entries()) {
      if (this.keyBytes(entry) < prefix.length || !this.#begins(entry, prefix)) continue;
      const key = this.key(entry);
      found.push({ key, bucket: checksum(key) & 0xffffff, entry });
    }
    found.sort((a, b) => a.bucket - b.bucket || a.entry - b.entry);
    return found.map((item) => item.key);
  }

  #get(entry: number, field: number): number {
    return this.#words[entry >>> ARENA_SHIFT]![(entry & ARENA_MASK) + field]!;
  }

  #set(entry: number, field: number, value: number): void {
    this.#words[entry >>> ARENA_SHIFT]![(entry & ARENA_MASK) + field] = value;
  }

  /** Whether an entry has the key last looked for, of `length` bytes. */
  #isLast(entry: number, length: number): boolean {
    const words = this.#words[entry >>> ARENA_SHIFT]!;
    const base = entry & ARENA_MASK;
    if (words[base + LENGTHS]! >>> 24 !== length) return false;
    const last = this.#last;
    const units = (length + 3) >> 2;
    for (let unit = 0; unit < units; unit++) if (words[base + FIELDS + unit] !== last[unit]) return false;
    return true;
  }

  #begins(entry: number, prefix: Uint8Array): boolean {
    const bytes = this.#bytes[entry >>> ARENA_SHIFT]!;
    const start = ((entry & ARENA_MASK) + FIELDS) << 2;
    for (let byte = 0; byte < prefix.length; byte++) if (bytes[start + byte] !== prefix[byte]) return false;
    return true;
  }

  /** Makes a key the last one. @returns its hash */
  #take(bytes: Uint8Array, at: number, length: number): number {
    const last = this.#last;
    const end = at + length;
    let unit = 0;
    let next = at;
    for (; next + 4 <= end; next += 4)
      last[unit++] =
        bytes[next]! | (bytes[next + 1]! << 8) | (bytes[next + 2]! << 16) | (bytes[next + 3]! << 24);
    if (next < end) {
      let word = 0;
      for (let shift = 0; next < end; next++, shift += 8) word |= bytes[next]! << shift;
      last[unit] = word;
    }
    this.#lastHash = this.#keyHash.of(last, 0, length);
    return this.#lastHash;
  }

  /** Hash of an entry's key: the same as `#take` gives. */
  #hash(entry: number): number {
    const words = this.#words[entry >>> ARENA_SHIFT]!;
    const base = entry & ARENA_MASK;
    return this.#keyHash.of(words, base + FIELDS, words[base + LENGTHS]! >>> 24);
  }

  /** A place for an entry with a key of so many units. */
  #allocate(keyUnits: number): number {
    const freed = this.#free[keyUnits]!;
    if (freed !== NO_ENTRY) {
      this.#free[keyUnits] = this.#get(freed, 0);
      return freed;
    }
    const units = FIELDS + keyUnits;
    let entry = this.#end;
    // An entry does not cross arenas.
    if ((entry & ARENA_MASK) + units > ARENA_MASK + 1)
      entry = ((entry >>> ARENA_SHIFT) + 1) * (ARENA_MASK + 1);
    if (entry / (ARENA_MASK + 1) >= this.#words.length) {
      if (this.#words.length === ARENAS_MAX) throw new RangeError('the table of keys is full');
      const memory = new ArrayBuffer(ARENA_BYTES);
      this.#words.push(new Uint32Array(memory));
      this.#bytes.push(new Uint8Array(memory));
    }
    this.#end = entry + units;
    return entry;
  }

  #part(hash: number): Part {
    return this.#parts.length === 1 ? this.#parts[0]! : this.#parts[hash >>> PART_SHIFT]!;
  }

  #link(entry: number, hash: number): void {
    if (this.#parts.length === 1 && this.#linked >= SINGLE_PART_MAX) this.#split();
    this.#insert(entry, hash);
    this.#linked++;
  }

  /** Cuts the single part into 256. */
  #split(): void {
    const single = this.#parts[0]!;
    this.#parts = Array.from(
      { length: PARTS },
      (_, number) => new Part(sizeOf(SINGLE_PART_MAX / PARTS, number), PART_BITS),
    );
    for (const [hash, entry] of single.slots()) this.#insert(entry, hash);
  }

  #insert(entry: number, hash: number): void {
    const part = this.#part(hash);
    if (part.used + 1 > part.size * LOAD_MAX) part.resize(Math.ceil(part.size * GROWTH));
    while (!part.insert(entry, hash)) part.resize(Math.ceil(part.size * GROWTH));
  }
}

/**
 * Homes that a part is given for so many keys. The sizes are spread over one step of growth, so that at any time some parts have just grown
 * and some are about to: nobody waits for all of them, and the load as a whole stays near the middle.
 */
function sizeOf(keys: number, part: number): number {
  return Math.ceil((keys / LOAD_MAX) * GROWTH ** ((part + 1) / PARTS));
}
