// Live keys of a user-mode namespace: an open-addressing table in typed arrays with the place of each record. Per key: 28 bytes
// of fields, 5 bytes of table at a load of 0.46 to 0.8 (8.4 on average), and the key itself rounded up to 4 bytes: below 40 beside the key.
//
// Fields stand in chunks, so that growing copies nothing. The table of entry numbers is rebuilt when it grows: a large one is cut
// into 256 parts of different sizes that grow one by one, so that nobody waits for the rehashing of millions of keys.
// Entries that are unlinked keep their number and key until `release`, so that a batch can be taken back (namespace.ts).

import { checksum } from './checksum.ts';
import { KEY_MAX_BYTES } from './data-format.ts';

const CHUNK_ENTRIES = 1 << 15;
const CHUNK_SHIFT = 15;
const FIELDS = 7;
const ARENA_BYTES = 1 << 20;
const ARENA_SHIFT = 18; // in units of 4 bytes
const FIRST_SLOTS = 64;
/** A part grows when more than this share is in use. */
const LOAD_MAX = 0.8;
const GROWTH = 1.75;
/** After loading, a part of which less than this is in use shrinks. */
const LOAD_MIN = LOAD_MAX / GROWTH;
/** With more keys than this the table is cut into parts. */
const SINGLE_PART_MAX = 4096;
const PARTS = 256;
const PART_SHIFT = 24;
/** Entries that are moved to a larger part in one go. */
const MOVED_TOGETHER = 256;
/** 8 bits of key length, 24 of payload length. */
const LENGTH_MASK = 0xffffff;

/** Largest payload length the table can hold. */
export const TABLE_PAYLOAD_MAX = LENGTH_MASK;

const KEY = 0;
const LENGTHS = 1;
const INDEX_FILE = 2;
const INDEX_OFFSET = 3;
const DATA_OFFSET = 4;
const CRC = 5;
const TIMESTAMP = 6;

/** Key table. Entries are named by number; -1 is none. */
export class KeyTable {
  readonly #seed: number;
  readonly #chunks: Uint32Array[] = [];
  #entryCount = 0;
  /** Numbers of released entries, to be used again. */
  readonly #free: number[] = [];
  #linked = 0;

  #parts: Part[] = [new Part(FIRST_SLOTS)];
  /** Hash of the key last looked for, which is the one to be added. */
  #lastHash = 0;

  readonly #arenas: Uint8Array[] = [];
  /** Next free unit of 4 bytes; addresses are in units. */
  #arenaEnd = 0;
  /** Heads of the lists of freed keys, by length in units; the list runs through the freed keys themselves. */
  readonly #freeKeys = new Float64Array((KEY_MAX_BYTES >> 2) + 2).fill(-1);

  /** For `#move`: what is being moved. */
  readonly #moving = {
    numbers: new Uint32Array(MOVED_TOGETHER),
    addresses: new Uint32Array(MOVED_TOGETHER),
    lengths: new Uint8Array(MOVED_TOGETHER),
    touched: 0,
  };

  /** @param seed random, so that nobody can choose keys that collide */
  constructor(seed: number) {
    this.#seed = seed >>> 0;
  }

  /** Live keys. */
  get size(): number {
    return this.#linked;
  }

  /** Bytes held. */
  get memoryBytes(): number {
    return (
      this.#chunks.length * CHUNK_ENTRIES * FIELDS * 4 +
      this.#parts.reduce((sum, part) => sum + part.slots.length * 5, 0) +
      this.#arenas.length * ARENA_BYTES +
      this.#free.length * 8
    );
  }

  /** Entry of the key at `bytes[at … at + length - 1]`, or -1. */
  find(bytes: Uint8Array, at: number, length: number): number {
    const hash = hashOf(bytes, at, length, this.#seed);
    this.#lastHash = hash;
    const tag = hash & 255;
    const part = this.#part(hash);
    const slots = part.slots;
    for (let slot = place(hash, slots.length); ; ) {
      const number = slots[slot]!;
      if (number === 0) return -1;
      if (part.tags[slot] === tag && this.#equal(number - 1, bytes, at, length)) return number - 1;
      if (++slot === slots.length) slot = 0;
    }
  }

  /** Adds the key for which `find` just answered -1. @returns its entry, with all fields still to be set */
  add(bytes: Uint8Array, at: number, length: number): number {
    let entry: number;
    if (this.#free.length > 0) entry = this.#free.pop()!;
    else {
      entry = this.#entryCount++;
      if (entry >>> CHUNK_SHIFT === this.#chunks.length)
        this.#chunks.push(new Uint32Array(CHUNK_ENTRIES * FIELDS));
    }
    this.#set(entry, KEY, this.#storeKey(bytes, at, length));
    this.#set(entry, LENGTHS, (length << 24) >>> 0);
    this.#link(entry, this.#lastHash);
    return entry;
  }

  /** Makes an unlinked entry findable again. */
  relink(entry: number): void {
    this.#link(entry, this.#hash(entry));
  }

  /** Takes an entry out of the table; its number and key stay reserved until `release`. */
  unlink(entry: number): void {
    const hash = this.#hash(entry);
    const part = this.#part(hash);
    const { slots, tags } = part;
    const size = slots.length;
    let slot = place(hash, size);
    while (slots[slot] !== entry + 1) if (++slot === size) slot = 0;
    // Backward shift: move up what would not be found behind a hole.
    for (let hole = slot, next = slot; ; ) {
      if (++next === size) next = 0;
      const number = slots[next]!;
      if (number === 0) {
        slots[hole] = 0;
        break;
      }
      const home = place(this.#hash(number - 1), size);
      if ((next - home + size) % size >= (next - hole + size) % size) {
        slots[hole] = number;
        tags[hole] = tags[next]!;
        hole = next;
      }
    }
    part.used--;
    this.#linked--;
  }

  /** Gives number and key of an unlinked entry free. */
  release(entry: number): void {
    const address = this.#get(entry, KEY);
    const units = (this.keyBytes(entry) + 3) >> 2;
    if (units > 0) {
      const arena = this.#arenas[address >>> ARENA_SHIFT]!;
      const view = new Uint32Array(arena.buffer, (address << 2) & (ARENA_BYTES - 1), 1);
      const head = this.#freeKeys[units]!;
      view[0] = head < 0 ? 0xffffffff : head;
      this.#freeKeys[units] = address;
    }
    this.#free.push(entry);
  }

  /** Makes room for `count` keys at once. */
  reserve(count: number): void {
    if (count <= SINGLE_PART_MAX) return;
    if (this.#parts.length === 1) this.#split();
    const slots = Math.ceil((count / PARTS / LOAD_MAX) * 1.1) + 16;
    for (const part of this.#parts) if (part.slots.length < slots) this.#resize(part, slots);
  }

  /** Gives back what `reserve` took too much. */
  fit(): void {
    for (const part of this.#parts) {
      const size = Math.max(FIRST_SLOTS, Math.ceil((part.used / LOAD_MAX) * 1.1));
      if (part.used < part.slots.length * LOAD_MIN && size < part.slots.length) this.#resize(part, size);
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
    const chunk = this.#chunks[entry >>> CHUNK_SHIFT]!;
    const base = (entry & (CHUNK_ENTRIES - 1)) * FIELDS;
    chunk[base + LENGTHS] = (chunk[base + LENGTHS]! & ~LENGTH_MASK) | payloadBytes;
    chunk[base + INDEX_FILE] = indexFile;
    chunk[base + INDEX_OFFSET] = indexOffset;
    chunk[base + DATA_OFFSET] = dataOffset;
    chunk[base + CRC] = crc;
    chunk[base + TIMESTAMP] = timestamp;
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
    const address = this.#get(entry, KEY);
    const at = (address << 2) & (ARENA_BYTES - 1);
    const length = this.keyBytes(entry);
    return length === 0 ? new Uint8Array(0) : this.#arenas[address >>> ARENA_SHIFT]!.slice(at, at + length);
  }

  /** Entry numbers of live keys. */
  *entries(): Generator<number> {
    for (const part of this.#parts) for (const number of part.slots) if (number !== 0) yield number - 1;
  }

  /** Live keys that begin with `prefix`, by checksum modulo 2^24 and then entry number. */
  keysWithPrefix(prefix: Uint8Array): Uint8Array[] {
    const found: { key: Uint8Array; bucket: number; entry: number }[] = [];
    for (const entry of this.entries()) {
      if (this.keyBytes(entry) < prefix.length || !this.#equal(entry, prefix, 0, prefix.length, true))
        continue;
      const key = this.key(entry);
      found.push({ key, bucket: checksum(key) & 0xffffff, entry });
    }
    found.sort((a, b) => a.bucket - b.bucket || a.entry - b.entry);
    return found.map((item) => item.key);
  }

  #get(entry: number, field: number): number {
    return this.#chunks[entry >>> CHUNK_SHIFT]![(entry & (CHUNK_ENTRIES - 1)) * FIELDS + field]!;
  }

  #set(entry: number, field: number, value: number): void {
    this.#chunks[entry >>> CHUNK_SHIFT]![(entry & (CHUNK_ENTRIES - 1)) * FIELDS + field] = value;
  }

  #equal(entry: number, bytes: Uint8Array, at: number, length: number, prefix = false): boolean {
    if (!prefix && this.keyBytes(entry) !== length) return false;
    if (length === 0) return true;
    const address = this.#get(entry, KEY);
    const arena = this.#arenas[address >>> ARENA_SHIFT]!;
    const start = (address << 2) & (ARENA_BYTES - 1);
    for (let byte = 0; byte < length; byte++) if (arena[start + byte] !== bytes[at + byte]) return false;
    return true;
  }

  #hash(entry: number): number {
    const length = this.keyBytes(entry);
    const address = this.#get(entry, KEY);
    if (length === 0) return hashOf(EMPTY, 0, 0, this.#seed);
    return hashOf(
      this.#arenas[address >>> ARENA_SHIFT]!,
      (address << 2) & (ARENA_BYTES - 1),
      length,
      this.#seed,
    );
  }

  #storeKey(bytes: Uint8Array, at: number, length: number): number {
    const units = (length + 3) >> 2;
    if (units === 0) return 0;
    let address = this.#freeKeys[units]!;
    if (address >= 0) {
      const arena = this.#arenas[address >>> ARENA_SHIFT]!;
      const next = new Uint32Array(arena.buffer, (address << 2) & (ARENA_BYTES - 1), 1)[0]!;
      this.#freeKeys[units] = next === 0xffffffff ? -1 : next;
    } else {
      address = this.#arenaEnd;
      // A key does not cross arenas.
      if (address >>> ARENA_SHIFT !== (address + units - 1) >>> ARENA_SHIFT)
        address = ((address >>> ARENA_SHIFT) + 1) * (ARENA_BYTES >> 2);
      this.#arenaEnd = address + units;
      if (address >>> ARENA_SHIFT === this.#arenas.length) this.#arenas.push(new Uint8Array(ARENA_BYTES));
    }
    const arena = this.#arenas[address >>> ARENA_SHIFT]!;
    const start = (address << 2) & (ARENA_BYTES - 1);
    for (let byte = 0; byte < length; byte++) arena[start + byte] = bytes[at + byte]!;
    return address;
  }

  #part(hash: number): Part {
    return this.#parts.length === 1 ? this.#parts[0]! : this.#parts[hash >>> PART_SHIFT]!;
  }

  #link(entry: number, hash: number): void {
    if (this.#parts.length === 1 && this.#linked >= SINGLE_PART_MAX) this.#split();
    const part = this.#part(hash);
    if (part.used + 1 > part.slots.length * LOAD_MAX)
      this.#resize(part, Math.ceil(part.slots.length * GROWTH));
    part.insert(entry, hash);
    this.#linked++;
  }

  /**
   * Cuts the single part into 256. Their sizes are spread over one step of growth, so that at any time some have just grown and some are
   * about to: nobody waits for all of them, and the load as a whole stays near the middle.
   */
  #split(): void {
    const single = this.#parts[0]!;
    const base = Math.ceil(SINGLE_PART_MAX / PARTS / LOAD_MAX);
    this.#parts = Array.from(
      { length: PARTS },
      (_, number) => new Part(Math.ceil(base * 2 * GROWTH ** (number / PARTS))),
    );
    for (const number of single.slots) {
      if (number === 0) continue;
      const hash = this.#hash(number - 1);
      this.#part(hash).insert(number - 1, hash);
    }
  }

  #resize(part: Part, size: number): void {
    const old = part.slots;
    part.reset(size);
    const { numbers } = this.#moving;
    let count = 0;
    for (let slot = 0; slot < old.length; slot++) {
      const number = old[slot]!;
      if (number === 0) continue;
      numbers[count++] = number;
      if (count < MOVED_TOGETHER) continue;
      this.#move(part, count);
      count = 0;
    }
    this.#move(part, count);
  }

  /**
   * Puts the entries in `#moving` into a part. Nearly all the time goes into waiting for memory, so the keys are asked for in loops
   * of their own: then the processor waits for many of them at once.
   */
  #move(part: Part, count: number): void {
    const { numbers, addresses, lengths } = this.#moving;
    const arenas = this.#arenas;
    for (let i = 0; i < count; i++) {
      const entry = numbers[i]! - 1;
      const chunk = this.#chunks[entry >>> CHUNK_SHIFT]!;
      const base = (entry & (CHUNK_ENTRIES - 1)) * FIELDS;
      addresses[i] = chunk[base + KEY]!;
      lengths[i] = chunk[base + LENGTHS]! >>> 24;
    }
    let touched = 0;
    for (let i = 0; i < count; i++) {
      const address = addresses[i]!;
      if (lengths[i]! > 0) touched += arenas[address >>> ARENA_SHIFT]![(address << 2) & (ARENA_BYTES - 1)]!;
    }
    this.#moving.touched = touched;
    for (let i = 0; i < count; i++) {
      const address = addresses[i]!;
      const length = lengths[i]!;
      const bytes = length === 0 ? EMPTY : arenas[address >>> ARENA_SHIFT]!;
      part.insert(numbers[i]! - 1, hashOf(bytes, (address << 2) & (ARENA_BYTES - 1), length, this.#seed));
    }
  }
}

/** Part of the table: entry number + 1 or 0, and beside it the low 8 bits of the hash. */
class Part {
  slots = new Uint32Array(0);
  tags = new Uint8Array(0);
  used = 0;

  constructor(size: number) {
    this.reset(size);
  }

  reset(size: number): void {
    this.slots = new Uint32Array(size);
    this.tags = new Uint8Array(size);
    this.used = 0;
  }

  insert(entry: number, hash: number): void {
    const slots = this.slots;
    let slot = place(hash, slots.length);
    while (slots[slot] !== 0) if (++slot === slots.length) slot = 0;
    slots[slot] = entry + 1;
    this.tags[slot] = hash & 255;
    this.used++;
  }
}

const EMPTY = new Uint8Array(0);

/** Murmur3-like mixing of a key with a seed. */
function hashOf(bytes: Uint8Array, at: number, length: number, seed: number): number {
  let hash = seed ^ length;
  const end = at + length;
  let next = at;
  for (; next + 4 <= end; next += 4) {
    let word = bytes[next]! | (bytes[next + 1]! << 8) | (bytes[next + 2]! << 16) | (bytes[next + 3]! << 24);
    word = Math.imul(word, 0xcc9e2d51);
    word = Math.imul((word << 15) | (word >>> 17), 0x1b873593);
    hash ^= word;
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (; next < end; next++) tail = (tail << 8) | bytes[next]!;
  hash ^= Math.imul(tail, 0xcc9e2d51);
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Maps the low 24 bits of a hash to one of `size` slots, by multiplication and shift (Lemire). */
function place(hash: number, size: number): number {
  return Math.floor(((hash & 0xffffff) * size) / 0x100_0000);
}
