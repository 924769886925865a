// Stores objects. Order of a `put`, so that a crash at any point leaves the old object or the new one, whole:
// 1. new id and salt; every stripe coded and written to new places, each shard checked;
// 2. the record switched (metadata write with its quorum);
// 3. the old shards deleted.
// A crash before 2 leaves new shards nobody refers to, after it old ones: garbage, never damage.
import type { Clock, Disk, Random } from '@qsfs/io';
import { type Codec, newObjectIdentity } from '../codec/index.ts';
import type { ZstorConfig } from '../config/types.ts';
import { messageOf, ZstorError } from '../errors.ts';
import type { MetadataCluster } from '../metadata/cluster.ts';
import { UncertainWrite } from '../metadata/outcome.ts';
import { StoredRecord, stripesOf } from '../metadata/record.ts';
import type { Records } from '../metadata/records.ts';
import { StripeTable } from '../metadata/stripe-table.ts';
import type { ObjectSource, PutOptions } from '../types.ts';
import type { DataBackends } from './data-backends.ts';
import { assertFits, type StripeEncoder } from './fit.ts';
import { translateLocal } from './local-errors.ts';
import type { ReadBack } from './read-back.ts';
import { codedObject } from './reader.ts';
import { removeShards } from './shard-removal.ts';
import { writeShards } from './stripe-write.ts';
import { forEachConcurrently } from './window.ts';

/** Stripes of one put under way at a time; codec memory bounds all puts together. */
const WRITE_WINDOW = 6;

/** An object has at least so many stripes before they grow: reading a piece of it must not mean reading much of it. */
const GROWN_STRIPES = 32;

/** Bytes a stripe of an object of this size gets: the smallest there is, doubled while enough stripes are left. */
export function stripeSizeFor(
  sizeBytes: number,
  config: Pick<ZstorConfig, 'stripeSizeBytes' | 'largestStripeBytes'>,
): number {
  let stripeBytes = config.stripeSizeBytes;
  while (2 * stripeBytes <= config.largestStripeBytes && sizeBytes >= 2 * stripeBytes * GROWN_STRIPES) {
    stripeBytes *= 2;
  }
  return stripeBytes;
}

/** What a writer works with. */
export interface WriterParts {
  readonly config: ZstorConfig;
  readonly codec: Codec;
  readonly backends: DataBackends;
  readonly readBack: ReadBack;
  readonly records: Records;
  readonly cluster: MetadataCluster;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly random: Random;
  /** Shards of this object are missing from the start. */
  readonly damaged: (name: string) => void;
  readonly log: (level: 'info' | 'warning' | 'error', message: string) => void;
}

/** Stores objects. */
export class ObjectWriter {
  readonly #parts: WriterParts;

  constructor(parts: WriterParts) {
    this.#parts = parts;
  }

  /** Stores bytes of a file or of memory under a name. See `Zstor.put`. */
  async put(name: string, source: ObjectSource | Uint8Array, options: PutOptions): Promise<StoredRecord> {
    const { config, backends, records, cluster, clock, random } = this.#parts;
    const isWatched = options.watchSource === true && !(source instanceof Uint8Array);
    const assertUnchanged = isWatched ? this.#watch(source.path) : () => {};
    // Nothing is written to backends before it is known that the end can be reached.
    await records.head(name);
    cluster.assertWritable();
    await backends.refreshSpace();
    const sizeBytes = source instanceof Uint8Array ? source.length : source.lengthBytes;
    const { id, salt } = newObjectIdentity(random);
    const { minimalShards, expectedShards } = config;
    const stripeSizeBytes = options.stripeSizeBytes ?? stripeSizeFor(sizeBytes, config);
    const verification = options.verification ?? 'present';
    const table = new StripeTable(stripesOf(sizeBytes, stripeSizeBytes), expectedShards);
    const fields = {
      name,
      objectId: id,
      salt,
      generation: 0,
      sizeBytes,
      stripeSizeBytes,
      minimalShards,
      expectedShards,
      storedMs: clock.nowMs(),
      verification,
    };
    const takenBytes = this.#takenBytes(source);
    // A few stripes fit, or find out that they do not.
    if (takenBytes > WRITE_WINDOW * stripeSizeBytes) {
      const encoderOf = (draft: StoredRecord) => this.#encoderOf(draft, source);
      await assertFits(
        new StoredRecord(fields, table, 0n),
        takenBytes,
        encoderOf,
        this.#parts,
        options.signal,
      );
    }
    let saved: StoredRecord;
    let old: StoredRecord | undefined;
    try {
      await this.#writeStripes(new StoredRecord(fields, table, 0n), source, options);
      assertUnchanged();
      // Only now is the table complete: the record counts what is missing when it is made.
      ({ saved, old } = await this.#switch(new StoredRecord(fields, table, 0n)));
    } catch (error) {
      await this.#abandon(name, table, error);
      throw error;
    }
    // From here on the record names the new shards: whatever else fails, they stay.
    if (saved.missingShards > 0) this.#parts.damaged(name);
    if (old) await this.#removeOld(name, old);
    return saved;
  }

  /** Holes take nothing. */
  #takenBytes(source: ObjectSource | Uint8Array): number {
    if (source instanceof Uint8Array) return source.length;
    return Math.min(source.lengthBytes, this.#parts.disk.stat(source.path)?.allocatedBytes ?? 0);
  }

  /** Removes the shards of a `put` that failed, where it is certain that no record names them. */
  async #abandon(name: string, table: StripeTable, error: unknown): Promise<void> {
    const { backends, log } = this.#parts;
    if (error instanceof ZstorError && !(error instanceof UncertainWrite)) {
      await removeShards(table, backends);
      return;
    }
    log('warning', `"${name}": ${messageOf(error)}; its shards are kept, the next change decides`);
  }

  /** Remembers a file's size and time of change. @returns a call that throws when they are others */
  #watch(path: string): () => void {
    const before = this.#parts.disk.stat(path);
    return () => {
      const after = this.#parts.disk.stat(path);
      if (after?.sizeBytes === before?.sizeBytes && after?.modifiedMs === before?.modifiedMs) return;
      throw new ZstorError(
        'QSFS_E_LOCAL',
        `${path} changed while it was stored; nothing was stored`,
        'store it again',
      );
    };
  }

  async #writeStripes(
    draft: StoredRecord,
    source: ObjectSource | Uint8Array,
    options: PutOptions,
  ): Promise<void> {
    const { config } = this.#parts;
    const table = draft.stripes;
    const encode = this.#encoderOf(draft, source);
    let doneBytes = 0;
    await forEachConcurrently(table.stripeCount, WRITE_WINDOW, options.signal, async (stripe, signal) => {
      const encoded = await encode(stripe);
      try {
        if (signal.aborted) throw new ZstorError('QSFS_E_ABORTED', 'the write was given up');
        table.setShardBytes(stripe, encoded.shardBytes);
        const shards = encoded.shards.map((bytes, index) => ({ index, bytes }));
        const write = {
          stripe,
          shards,
          expectedShards: draft.expectedShards,
          policy: config,
          holders: [],
          quorum: config.writeQuorum,
          verification: draft.verification,
          signal,
        };
        await writeShards(write, table, this.#parts);
      } finally {
        encoded.release();
      }
      doneBytes += encoded.plainBytes;
      options.progress?.(doneBytes);
    });
  }

  /** What codes the stripes of an object. */
  #encoderOf(draft: StoredRecord, source: ObjectSource | Uint8Array): StripeEncoder {
    const { config, codec } = this.#parts;
    const object = codedObject(draft, config.masterKey);
    const path = source instanceof Uint8Array ? '' : source.path;
    return (stripe) => {
      const lengthBytes = draft.plainBytes(stripe);
      const offset = stripe * draft.stripeSizeBytes;
      const bytes =
        source instanceof Uint8Array
          ? source.subarray(offset, offset + lengthBytes)
          : { path, offset: (source.offset ?? 0) + offset, lengthBytes };
      return translateLocal(path, () => codec.encode(object, stripe, bytes));
    };
  }

  /** Makes the record the object's. @returns it, and the one it replaced */
  #switch(record: StoredRecord): Promise<{ saved: StoredRecord; old: StoredRecord | undefined }> {
    const { records } = this.#parts;
    return records.locked(record.name, async () => {
      const predecessor = await records.predecessor(record.name);
      return { saved: await records.save(record, predecessor), old: predecessor.record };
    });
  }

  async #removeOld(name: string, old: StoredRecord): Promise<void> {
    const { backends, log } = this.#parts;
    const left = await removeShards(old.stripes, backends);
    if (left > 0) log('info', `"${name}": ${left} shards of its old contents could not be deleted`);
  }

  /** Removes an object. See `Zstor.delete`. */
  async delete(name: string): Promise<boolean> {
    const { records, backends, log } = this.#parts;
    const old = await records.locked(name, async () => {
      const predecessor = await records.predecessor(name);
      if (predecessor.record) await records.erase(name, predecessor);
      return predecessor.record;
    });
    if (!old) return false;
    const left = await removeShards(old.stripes, backends);
    if (left > 0) log('info', `"${name}": ${left} of its shards could not be deleted`);
    return true;
  }
}
