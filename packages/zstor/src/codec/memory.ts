// Who gets the codec's memory, and when. Reading has a person waiting and gives its memory back within milliseconds; writing
// holds it until slow backends have taken the shards. So reading is served first and from the high end, and writing gets only
// places in the low three quarters: however scattered those are, reading finds the rest in one piece.
import type { Arena } from '@qsfs/erasure';
import { CodecClosed } from './errors.ts';

/** Calls of one use that may wait for memory; more are a caller without back-pressure of its own. */
export const CODEC_WAITING_MAX = 4096;
/** The low part of the memory in which stripes on their way out are placed (one alone may reach beyond). */
export const CODEC_WRITING_SHARE = 3 / 4;

/** What memory is wanted for. `reading`: it comes back soon. `writing`: it is held until backends took it. */
export type MemoryUse = 'reading' | 'writing';

interface Waiting {
  readonly lengthBytes: number;
  resolve(offset: number): void;
  reject(error: Error): void;
}

/** Gives out regions of an arena: for each use in the order of the calls. */
export class StripeMemory {
  readonly #arena: Arena;
  /** Given out before: the coders' workspaces. */
  readonly #otherBytes: number;
  readonly #waiting: Record<MemoryUse, Waiting[]> = { reading: [], writing: [] };
  /** Regions held for writing. */
  readonly #writing = new Set<number>();
  #closed = false;

  /** @param arena with nothing more given out than is never given back */
  constructor(arena: Arena) {
    this.#arena = arena;
    this.#otherBytes = arena.usedBytes;
  }

  get usedBytes(): number {
    return this.#arena.usedBytes - this.#otherBytes;
  }

  get limitBytes(): number {
    return this.#arena.largestBytes - this.#otherBytes;
  }

  /**
   * A region, as soon as there is one.
   * @throws RangeError when it is larger than the memory, or too many wait already; CodecClosed
   */
  allocate(use: MemoryUse, lengthBytes: number): Promise<number> {
    if (this.#closed) return Promise.reject(new CodecClosed());
    if (lengthBytes > this.limitBytes) {
      return Promise.reject(
        new RangeError(
          `this stripe takes ${lengthBytes} bytes of codec memory and the limit is ${this.limitBytes}; raise the limit, ` +
            'or store with smaller stripes or fewer shards',
        ),
      );
    }
    if (this.#waiting[use].length >= CODEC_WAITING_MAX) {
      return Promise.reject(new RangeError(`${CODEC_WAITING_MAX} calls wait for codec memory already`));
    }
    return new Promise((resolve, reject) => {
      this.#waiting[use].push({ lengthBytes, resolve, reject });
      this.#serve();
    });
  }

  /** Gives the end of a region back. */
  shrink(offset: number, lengthBytes: number): void {
    if (this.#closed) return;
    this.#arena.shrink(offset, lengthBytes);
    this.#serve();
  }

  /** Gives a region back. Fine after `close`. */
  free(offset: number): void {
    if (this.#closed) return;
    this.#arena.free(offset);
    this.#writing.delete(offset);
    this.#serve();
  }

  /** Rejects what waits, now and later. */
  close(): void {
    this.#closed = true;
    for (const use of ['reading', 'writing'] as const) {
      for (const { reject } of this.#waiting[use].splice(0)) reject(new CodecClosed());
    }
  }

  #serve(): void {
    // Writing does not use what reading waits for, even if it would fit.
    if (!this.#serveUse('reading')) return;
    this.#serveUse('writing');
  }

  /** Serves those of one use who can be served; true when nobody waits any more. */
  #serveUse(use: MemoryUse): boolean {
    const waiting = this.#waiting[use];
    for (let first = waiting[0]; first; first = waiting[0]) {
      const { lengthBytes, resolve } = first;
      const offset = this.#place(use, lengthBytes);
      if (offset === undefined) return false;
      waiting.shift();
      resolve(offset);
    }
    return true;
  }
  #place(use: MemoryUse, lengthBytes: number): number | undefined {
    if (use === 'reading') return this.#arena.allocateHigh(lengthBytes);
    const end = this.#otherBytes + this.limitBytes * (this.#writing.size > 0 ? CODEC_WRITING_SHARE : 1);
    const offset = this.#arena.allocate(lengthBytes, end);
    if (offset !== undefined) this.#writing.add(offset);
    return offset;
  }
}
