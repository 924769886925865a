// Memory on which shards are coded in place: one WebAssembly memory, seen by every thread it is sent to, and a first-fit
// allocator over it. The allocator's books are with the thread that made the arena; other threads get `memory` and offsets.
import { createMemory, PAGE_BYTES, type SharedMemory } from './kernel/webassembly.ts';

/** Regions start at multiples of this. */
export const ARENA_ALIGNMENT_BYTES = 64;

/** The most an arena can have: the 32-bit address space. */
export const ARENA_MAX_BYTES = 65536 * PAGE_BYTES;

/** The first bytes belong to nobody, so that offset 0 is never a region. */
const RESERVED_BYTES = ARENA_ALIGNMENT_BYTES;

/** What a region of so many bytes takes: even an empty one has a place. */
const regionLength = (bytes: number): number =>
  Math.max(1, Math.ceil(bytes / ARENA_ALIGNMENT_BYTES)) * ARENA_ALIGNMENT_BYTES;

/** A bounded, fixed piece of memory that threads share. The same places are given out again and again: they are warm. */
export class Arena {
  readonly memory: SharedMemory;
  /** All of it. */
  readonly bytes: Uint8Array;
  /** Free regions by offset: ascending, never adjacent. */
  readonly #free: { offset: number; length: number }[];
  /** Lengths of the regions given out, by offset. */
  readonly #used = new Map<number, number>();
  #usedBytes = 0;

  /**
   * @param sizeBytes rounded up to whole pages of 64 KiB, at most 4 GiB
   * @throws RangeError when the size is impossible or the machine has no room for it
   */
  constructor(sizeBytes: number) {
    if (!(sizeBytes > 0 && sizeBytes <= ARENA_MAX_BYTES)) {
      throw new RangeError(`an arena has 1 to ${ARENA_MAX_BYTES} bytes, not ${sizeBytes}`);
    }
    this.memory = createMemory(sizeBytes);
    this.bytes = new Uint8Array(this.memory.buffer);
    this.#free = [{ offset: RESERVED_BYTES, length: this.bytes.length - RESERVED_BYTES }];
  }

  /** Bytes given out now. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** The most a single region can have when nothing is given out. */
  get largestBytes(): number {
    return this.bytes.length - RESERVED_BYTES;
  }

  /**
   * Gives out a region (contents undefined) and returns its offset; undefined when there is no room now.
   * @param below the lowest free place is taken, if it ends at or before this offset; default: anywhere
   */
  allocate(lengthBytes: number, below: number = this.bytes.length): number | undefined {
    const length = regionLength(lengthBytes);
    const region = this.#free.find((free) => free.length >= length);
    if (!region || region.offset + length > below) return undefined;
    const { offset } = region;
    region.offset += length;
    return this.#giveOut(region, offset, length);
  }

  /** Like `allocate`, from the highest free place: for what should not lie between the others. */
  allocateHigh(lengthBytes: number): number | undefined {
    const length = regionLength(lengthBytes);
    const region = this.#free.findLast((free) => free.length >= length);
    return region && this.#giveOut(region, region.offset + region.length - length, length);
  }

  /** Gives the end of a region back; it keeps its first `lengthBytes` bytes. @throws RangeError when it is no region */
  shrink(offset: number, lengthBytes: number): void {
    const before = this.#length(offset);
    const after = regionLength(lengthBytes);
    if (after > before) throw new RangeError(`region at ${offset} has ${before} bytes, fewer than ${after}`);
    if (after === before) return;
    this.#used.set(offset, after);
    this.#giveBack(offset + after, before - after);
  }

  /** Gives a region back. @throws RangeError when it is none, for instance when it was given back before */
  free(offset: number): void {
    const length = this.#length(offset);
    this.#used.delete(offset);
    this.#giveBack(offset, length);
  }

  /** The bytes of a part of the arena. */
  view(offset: number, lengthBytes: number): Uint8Array {
    return this.bytes.subarray(offset, offset + lengthBytes);
  }

  /** Books a region whose bytes are no longer counted in the free region's start or, now, its length. */
  #giveOut(free: { readonly offset: number; length: number }, offset: number, length: number): number {
    free.length -= length;
    if (free.length === 0) this.#free.splice(this.#free.indexOf(free), 1);
    this.#used.set(offset, length);
    this.#usedBytes += length;
    return offset;
  }

  #length(offset: number): number {
    const length = this.#used.get(offset);
    if (length === undefined) throw new RangeError(`nothing is given out at ${offset}`);
    return length;
  }

  #giveBack(offset: number, length: number): void {
    this.#usedBytes -= length;
    let index = this.#free.findIndex((region) => region.offset > offset);
    if (index < 0) index = this.#free.length;
    const before = this.#free[index - 1];
    const after = this.#free[index];
    const joinsBefore = before !== undefined && before.offset + before.length === offset;
    const joinsAfter = after !== undefined && offset + length === after.offset;
    if (joinsBefore && joinsAfter) {
      before.length += length + after.length;
      this.#free.splice(index, 1);
    } else if (joinsBefore) {
      before.length += length;
    } else if (joinsAfter) {
      after.offset = offset;
      after.length += length;
    } else {
      this.#free.splice(index, 0, { offset, length });
    }
  }
}
