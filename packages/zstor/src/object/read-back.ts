// Proves that a backend has a shard: reads it back and compares it, byte for byte, with what was sent. All else rests on the
// backend's word, and a backend may lie. Bounded: however many stripes are under way, only a few MiB come back at a time.
import type { ShardLocation, ShardStore } from '../backend/backend.ts';
import type { ReceiveBuffers } from './receive-buffers.ts';

/** Bytes being read back at a time; a single longer shard is read alone. */
const MOST_UNDER_WAY_BYTES = 16 * 1024 * 1024;

/** Reads shards back. One for all objects, so that the bound is one. */
export class ReadBack {
  readonly #buffers: ReceiveBuffers;
  readonly #waiting: { readonly lengthBytes: number; admit(): void }[] = [];
  #underWayBytes = 0;

  constructor(buffers: ReceiveBuffers) {
    this.#buffers = buffers;
  }

  /**
   * Compares what the store gives for a location with the shard that was written there.
   * @returns what is wrong with it; '' when it is the same
   * @throws BackendError
   */
  async defect(
    store: ShardStore,
    location: ShardLocation,
    shard: Uint8Array,
    signal: AbortSignal,
  ): Promise<string> {
    const { length } = shard;
    await this.#admit(length);
    const into = this.#buffers.take(length);
    try {
      const found = await store.get(location, { into, signal });
      if (!found) return 'missing';
      if (found.length !== length) return `${found.length} bytes long`;
      return Buffer.compare(found, shard) === 0 ? '' : 'not what was written';
    } finally {
      this.#buffers.give(into);
      this.#underWayBytes -= length;
      this.#serve();
    }
  }

  #admit(lengthBytes: number): Promise<void> {
    return new Promise((admit) => {
      this.#waiting.push({ lengthBytes, admit });
      this.#serve();
    });
  }

  #serve(): void {
    for (let first = this.#waiting[0]; first; first = this.#waiting[0]) {
      const isAlone = this.#underWayBytes === 0;
      if (!isAlone && this.#underWayBytes + first.lengthBytes > MOST_UNDER_WAY_BYTES) return;
      this.#underWayBytes += first.lengthBytes;
      this.#waiting.shift();
      first.admit();
    }
  }
}
