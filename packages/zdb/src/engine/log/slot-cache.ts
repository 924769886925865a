// Cache of index slots of a sequential namespace: blocks of 96 slots as they stand in the index files (pending changes lie over
// it, elsewhere). Bounded; the clock algorithm chooses what goes. Blocks are numbered through all files without gaps, so that
// a block number stays a small integer.
import { SLOT_BYTES } from '../format/index-format.ts';

/** Slots per block: 4032 bytes, one page to read. */
export const BLOCK_SLOTS = 96;
/** Bytes of a block. */
export const BLOCK_BYTES = BLOCK_SLOTS * SLOT_BYTES;

const FRAMES_PER_CHUNK = 64;

/** Frames are places for blocks; a frame is named by its number. */
export class SlotCache {
  readonly #limit: number;
  readonly #frames = new Map<number, number>();
  readonly #chunks: Uint8Array[] = [];
  readonly #block: Int32Array;
  /** Slots of the block that are filled in, 1 … 96. */
  readonly #filled: Uint8Array;
  readonly #used: Uint8Array;
  #count = 0;
  #hand = 0;

  /** @param limitBytes bound on the memory of the blocks; at least one chunk of 64 blocks is used */
  constructor(limitBytes: number) {
    this.#limit = Math.max(1, Math.floor(limitBytes / (BLOCK_BYTES * FRAMES_PER_CHUNK))) * FRAMES_PER_CHUNK;
    this.#block = new Int32Array(this.#limit);
    this.#filled = new Uint8Array(this.#limit);
    this.#used = new Uint8Array(this.#limit);
  }

  /** Frame of a block, or -1. */
  find(block: number): number {
    const frame = this.#frames.get(block);
    if (frame === undefined) return -1;
    this.#used[frame] = 1;
    return frame;
  }

  /** A frame for a block that has none; the caller fills it and calls `fill`. */
  allocate(block: number): number {
    let frame: number;
    if (this.#count < this.#limit) {
      frame = this.#count++;
      if (frame % FRAMES_PER_CHUNK === 0) this.#chunks.push(new Uint8Array(BLOCK_BYTES * FRAMES_PER_CHUNK));
    } else {
      while (this.#used[this.#hand] === 1) {
        this.#used[this.#hand] = 0;
        this.#hand = (this.#hand + 1) % this.#limit;
      }
      frame = this.#hand;
      this.#hand = (this.#hand + 1) % this.#limit;
      this.#frames.delete(this.#block[frame]!);
    }
    this.#block[frame] = block;
    this.#filled[frame] = 0;
    this.#used[frame] = 1;
    this.#frames.set(block, frame);
    return frame;
  }

  /** Memory that holds a frame; it begins at `at(frame)`. */
  bytes(frame: number): Uint8Array {
    return this.#chunks[(frame / FRAMES_PER_CHUNK) | 0]!;
  }

  at(frame: number): number {
    return (frame % FRAMES_PER_CHUNK) * BLOCK_BYTES;
  }

  filled(frame: number): number {
    return this.#filled[frame]!;
  }

  fill(frame: number, slots: number): void {
    this.#filled[frame] = slots;
  }

  clear(): void {
    this.#frames.clear();
    this.#chunks.length = 0;
    this.#count = 0;
    this.#hand = 0;
    this.#used.fill(0);
  }
}
