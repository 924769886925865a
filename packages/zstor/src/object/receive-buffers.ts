// Memory for shards on their way in, used again and again: fresh buffers of this size would cost page faults and garbage
// collections on every read.

/** Bytes kept for reuse. Reads under way beyond that allocate. */
const MOST_KEPT_BYTES = 32 * 1024 * 1024;

/** Buffers by length: shards of one object are all about as long. */
export class ReceiveBuffers {
  #kept: Uint8Array[] = [];
  #keptBytes = 0;

  /** A buffer of at least this length, contents undefined. */
  take(lengthBytes: number): Uint8Array {
    const at = this.#kept.findLastIndex(({ length }) => length >= lengthBytes && length <= 2 * lengthBytes);
    if (at < 0) return Buffer.allocUnsafeSlow(lengthBytes);
    const [buffer] = this.#kept.splice(at, 1);
    this.#keptBytes -= buffer!.length;
    return buffer!;
  }

  /** Gives a buffer back; nobody may use it any more. */
  give(buffer: Uint8Array): void {
    while (this.#kept.length > 0 && this.#keptBytes + buffer.length > MOST_KEPT_BYTES) {
      this.#keptBytes -= this.#kept.shift()!.length;
    }
    if (this.#keptBytes + buffer.length > MOST_KEPT_BYTES) return;
    this.#kept.push(buffer);
    this.#keptBytes += buffer.length;
  }
}
