// Reads objects: whole stripes into a local file, or any bytes into memory. Every stripe is verified by the codec before a
// byte of it is given out; a shard that turns out wrong is replaced by another and reported for repair.
import type { Clock, Disk } from '@qsfs/io';
import {
  type Codec,
  type CodedObject,
  type DecodedStripe,
  type DecodeTarget,
  deriveObjectKeys,
  TooFewShards,
} from '../codec/index.ts';
import { ZstorError } from '../errors.ts';
import type { StoredRecord } from '../metadata/record.ts';
import type { FetchTarget, ReadOptions, StripeRange } from '../types.ts';
import type { DataBackends } from './data-backends.ts';
import { translateLocal } from './local-errors.ts';
import { ReceiveBuffers } from './receive-buffers.ts';
import { ShardFetch } from './shard-fetch.ts';
import { forEachStripe } from './window.ts';

/** Stripes of one read under way at a time, fewer of the largest. */
const READ_WINDOW = 6;
/** Longest read into memory. */
export const LARGEST_READ_BYTES = 64 * 1024 * 1024;

/** What a reader works with. */
export interface ReaderParts {
  readonly codec: Codec;
  readonly backends: DataBackends;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly masterKey: Uint8Array;
  /** Bad shards were met while reading this object. */
  readonly damaged: (name: string) => void;
}

/** Reads objects by their records. */
export class ObjectReader {
  readonly #parts: ReaderParts;
  readonly buffers = new ReceiveBuffers();

  constructor(parts: ReaderParts) {
    this.#parts = parts;
  }

  /** Decodes stripes to their places in a local file, which is created when missing. */
  async fetch(
    record: StoredRecord,
    range: StripeRange,
    target: FetchTarget,
    options: ReadOptions,
  ): Promise<void> {
    const { first, count } = range;
    if (!(first >= 0 && count >= 0 && first + count <= record.stripeCount)) {
      throw new ZstorError(
        'QSFS_E_INVALID',
        `"${record.name}" has ${record.stripeCount} stripes; ${first} to ${first + count - 1} were asked for`,
      );
    }
    const { path, offset = 0, willSync = false } = target;
    await translateLocal(path, async () => this.#parts.disk.open(path, 'create').close());
    let doneBytes = 0;
    await forEachStripe(record, range, READ_WINDOW, options.signal, async (stripe, signal) => {
      const file = { path, offset: offset + stripe * record.stripeSizeBytes, willSync };
      const decoded = await translateLocal(path, () =>
        this.#decode(record, stripe, { file }, { ...options, signal }),
      );
      decoded.release();
      doneBytes += record.plainBytes(stripe);
      options.progress?.(doneBytes);
    });
  }

  /** Bytes of an object; the range must lie within it. */
  async read(
    record: StoredRecord,
    offset: number,
    lengthBytes: number,
    options: ReadOptions,
  ): Promise<Uint8Array> {
    if (lengthBytes > LARGEST_READ_BYTES) {
      throw new ZstorError('QSFS_E_INVALID', `at most ${LARGEST_READ_BYTES} bytes can be read at once`);
    }
    const result = Buffer.allocUnsafeSlow(lengthBytes);
    if (lengthBytes === 0) return result;
    const size = record.stripeSizeBytes;
    const first = Math.floor(offset / size);
    const count = Math.floor((offset + lengthBytes - 1) / size) - first + 1;
    await forEachStripe(record, { first, count }, READ_WINDOW, options.signal, async (stripe, signal) => {
      const decoded = await this.#decode(record, stripe, { bytes: true }, { ...options, signal });
      const start = stripe * size;
      const from = Math.max(offset, start);
      const to = Math.min(offset + lengthBytes, start + decoded.bytes.length);
      result.set(decoded.bytes.subarray(from - start, to - start), from - offset);
      decoded.release();
      options.progress?.(to - offset);
    });
    return result;
  }

  async #decode(
    record: StoredRecord,
    stripe: number,
    target: DecodeTarget,
    { signal, waiting }: ReadOptions,
  ): Promise<DecodedStripe> {
    const { codec, damaged } = this.#parts;
    const object = codedObject(record, this.#parts.masterKey);
    const fetch = new ShardFetch(record, stripe, { ...this.#parts, buffers: this.buffers }, signal);
    waiting?.(() => fetch.arrivedBytes());
    try {
      for (;;) {
        const candidates = await fetch.collect();
        try {
          const decoded = await codec.decode(object, stripe, record.plainBytes(stripe), candidates, target);
          fetch.reject(decoded.bad);
          return decoded;
        } catch (error) {
          if (!(error instanceof TooFewShards)) throw error;
          fetch.reject(error.bad);
        }
      }
    } finally {
      if (fetch.bad.size > 0) damaged(record.name);
      fetch.close();
    }
  }
}

/** An object as the codec sees it. */
export function codedObject(record: StoredRecord, masterKey: Uint8Array): CodedObject {
  const { objectId: id, generation, salt, minimalShards: k, expectedShards: n } = record;
  return { id, generation, keys: deriveObjectKeys(masterKey, salt), k, n };
}
