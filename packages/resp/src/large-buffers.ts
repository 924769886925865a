// A bounded store of large receive buffers. A fresh buffer of a megabyte costs page faults on every request; one that was used
// before does not. Buffers are handed out by size class (powers of two) and come back when their owner is done with them.

/** Smallest buffer worth keeping. */
const SMALLEST_BYTES = 32 * 1024;
/** Bytes kept for reuse when nobody else says how many. */
const DEFAULT_KEPT_BYTES = 32 * 1024 * 1024;

/** Bytes taken and not given back, all connections together, when nobody else says how many. */
const DEFAULT_TAKEN_BYTES = 2 * 1024 * 1024 * 1024;

/** Takes and gives back large buffers. Contents of a buffer that was taken are undefined. */
export class LargeBuffers {
  readonly #classes = new Map<number, Uint8Array[]>();
  readonly #keptLimitBytes: number;
  readonly #takenLimitBytes: number;
  #keptBytes = 0;
  #takenBytes = 0;

  /**
   * @param keptLimitBytes most bytes held for reuse; what comes back beyond that is left to the garbage collector
   * @param takenLimitBytes most bytes taken at a time
   */
  constructor(keptLimitBytes = DEFAULT_KEPT_BYTES, takenLimitBytes = DEFAULT_TAKEN_BYTES) {
    this.#keptLimitBytes = keptLimitBytes;
    this.#takenLimitBytes = takenLimitBytes;
  }

  /** Bytes held for reuse now. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** Bytes taken and not given back. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** A buffer of at least `lengthBytes`; undefined when too much is taken already. */
  take(lengthBytes: number): Uint8Array | undefined {
    const size = sizeClass(lengthBytes);
    if (this.#takenBytes + size > this.#takenLimitBytes) return undefined;
    this.#takenBytes += size;
    const kept = this.#classes.get(size)?.pop();
    if (kept === undefined) return Buffer.allocUnsafeSlow(size);
    this.#keptBytes -= size;
    return kept;
  }

  /** Returns a buffer obtained from `take`; nobody may use it any more. */
  give(buffer: Uint8Array): void {
    const size = buffer.length;
    this.#takenBytes -= size;
    if (size !== sizeClass(size) || this.#keptBytes + size > this.#keptLimitBytes) return;
    let list = this.#classes.get(size);
    if (list === undefined) {
      list = [];
      this.#classes.set(size, list);
    }
    list.push(buffer);
    this.#keptBytes += size;
  }
}

function sizeClass(lengthBytes: number): number {
  let size = SMALLEST_BYTES;
  while (size < lengthBytes) size *= 2;
  return size;
}
