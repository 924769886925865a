// Object records by name, over the metadata cluster. Large records are cut into pages, which are values of their own, written
// before the record that names them and removed after it was replaced (docs/formats/records.md, "Pages").
import type { Random } from '@qsfs/io';
import { ZstorError } from '../errors.ts';
import type { ObjectSummary } from '../types.ts';
import type { MetadataCluster } from './cluster.ts';
import { type Found, type Reconciled, type Seen, UncertainWrite } from './outcome.ts';
import { isRecordKey, type MetadataKeys, pageKey, recordKey } from './part.ts';
import { decodeHead, decodeRecord, encodeRecord, LONGEST_NAME_BYTES, type StoredRecord } from './record.ts';
import { MalformedRecord, RecordReader, RecordWriter } from './record-bytes.ts';

/** Stripe tables longer than this are cut into pages of this size: two parts of one fit a store's value, even with k = 1. */
export const PAGE_BYTES = 2 * 1024 * 1024;
const PAGE_SET_BYTES = 8;
const FORM_INLINE = 0;
const FORM_PAGED = 1;
/** Records read at the same time while listing. */
const LIST_WINDOW = 16;

/** Where the stripe table of a record is. */
interface Root {
  readonly head: Uint8Array;
  readonly table: Uint8Array | undefined;
  readonly pageSet: Uint8Array;
  readonly pages: number;
}

/** What the next write of a name follows: the record there is, if there is one, and what the stores said. */
export interface Predecessor {
  readonly record: StoredRecord | undefined;
  readonly seen: Seen;
  readonly pageKeys: readonly string[];
}

/** The records of all objects. */
export class Records {
  readonly #cluster: MetadataCluster;
  readonly #keys: MetadataKeys;
  readonly #random: Random;
  readonly #pageBytes: number;

  constructor(cluster: MetadataCluster, keys: MetadataKeys, random: Random, pageBytes = PAGE_BYTES) {
    this.#cluster = cluster;
    this.#keys = keys;
    this.#random = random;
    this.#pageBytes = pageBytes;
  }

  /** One change at a time per name. */
  locked<T>(name: string, call: () => Promise<T>): Promise<T> {
    return this.#cluster.locked(this.#key(name), call);
  }

  /** The record of an object, undefined when there certainly is none. */
  async head(name: string): Promise<StoredRecord | undefined> {
    return (await this.#look(name, false)).record;
  }

  /** What is there now, for whoever is going to replace it (and holds the lock). */
  predecessor(name: string): Promise<Predecessor> {
    return this.#look(name, true);
  }

  async #look(name: string, toChange: boolean): Promise<Predecessor> {
    const seen = await this.#cluster.look(this.#key(name), toChange);
    const { found } = seen;
    if (!found?.content) return { record: undefined, seen, pageKeys: [] };
    const root = decodeRoot(found.content);
    const record = await this.#assemble(root, found.stamp.version);
    if (record.name !== name) throw damaged(`the record of "${name}" is that of another object`);
    return { record, seen, pageKeys: this.#pageKeys(root) };
  }

  /**
   * Writes a record over its predecessor. The caller holds the lock.
   * @returns the record with its version
   * @throws ZstorError, UncertainWrite as `MetadataCluster.write`
   */
  async save(record: StoredRecord, predecessor: Predecessor): Promise<StoredRecord> {
    const { head, table } = encodeRecord(record);
    const pages = table.length > this.#pageBytes ? Math.ceil(table.length / this.#pageBytes) : 0;
    const pageSet = this.#random.bytes(PAGE_SET_BYTES);
    const written: string[] = [];
    try {
      for (let page = 0; page < pages; page++) {
        const key = pageKey(this.#keys, pageSet, page);
        written.push(key);
        await this.#cluster.write(
          key,
          table.subarray(page * this.#pageBytes, (page + 1) * this.#pageBytes),
          undefined,
        );
      }
    } catch (error) {
      for (const key of written) await this.#cluster.remove(key);
      // Whatever became of the pages, no record names them.
      if (error instanceof UncertainWrite) throw new ZstorError(error.code, error.message, error.hint, error);
      throw error;
    }
    const root = encodeRoot({ head, table: pages > 0 ? undefined : table, pageSet, pages });
    const { stamp } = await this.#cluster.write(this.#key(record.name), root, predecessor.seen);
    for (const key of predecessor.pageKeys) await this.#cluster.remove(key);
    return decodeRecord({ head, table }, stamp.version);
  }

  /** Writes a tombstone over a record. The caller holds the lock. */
  async erase(name: string, predecessor: Predecessor): Promise<void> {
    const { everywhere } = await this.#cluster.write(this.#key(name), undefined, predecessor.seen);
    for (const key of predecessor.pageKeys) await this.#cluster.remove(key);
    // Every store knows of the deletion, so nothing older can come back: the tombstone has done its work.
    if (everywhere) await this.#cluster.remove(this.#key(name));
  }

  /** All objects whose names begin with `prefix`. */
  async *list(prefix: string): AsyncIterable<ObjectSummary> {
    for await (const found of this.#values()) {
      const summary = summaryOf(found);
      if (summary?.name.startsWith(prefix)) yield summary;
    }
  }

  /** The whole records of all objects. */
  async *all(): AsyncIterable<StoredRecord> {
    for await (const { content, stamp } of this.#values()) {
      if (content) yield await this.#assemble(decodeRoot(content), stamp.version);
    }
  }

  async *#values(): AsyncIterable<Found> {
    const queue = [...(await this.#cluster.keys())].filter((key) => isRecordKey(this.#keys, key));
    while (queue.length > 0) {
      const batch = queue.splice(0, LIST_WINDOW).map((key) => this.#cluster.read(key));
      for (const found of await Promise.all(batch)) if (found) yield found;
    }
  }

  /** Brings the stores up to date. @param visit called with every object seen on the way */
  reconcile(visit: (summary: ObjectSummary) => void, signal?: AbortSignal): Promise<Reconciled> {
    return this.#cluster.reconcile((key, found) => {
      const summary = isRecordKey(this.#keys, key) ? summaryOf(found) : undefined;
      if (summary) visit(summary);
    }, signal);
  }

  async #assemble(root: Root, version: bigint): Promise<StoredRecord> {
    let { table } = root;
    if (!table) {
      const pages = await Promise.all(this.#pageKeys(root).map((key) => this.#cluster.read(key)));
      if (pages.some((page) => !page?.content)) throw damaged('a page of a record is missing');
      table = Buffer.concat(pages.map((page) => page!.content!));
    }
    try {
      return decodeRecord({ head: root.head, table }, version);
    } catch (error) {
      throw error instanceof MalformedRecord ? damaged(error.message) : error;
    }
  }

  #pageKeys({ pageSet, pages }: Root): string[] {
    return Array.from({ length: pages }, (_, page) => pageKey(this.#keys, pageSet, page));
  }

  #key(name: string): string {
    const length = Buffer.byteLength(name, 'utf8');
    if (length === 0 || length > LONGEST_NAME_BYTES || !name.isWellFormed()) {
      throw new ZstorError('QSFS_E_INVALID', `an object name has 1 to ${LONGEST_NAME_BYTES} bytes of UTF-8`);
    }
    return recordKey(this.#keys, name);
  }
}

function summaryOf(found: Found): ObjectSummary | undefined {
  if (!found.content) return undefined;
  const { head } = decodeRoot(found.content);
  const { name, sizeBytes, storedMs, missingShards } = decodeHead(head);
  return { name, sizeBytes, storedMs, missingShards };
}

function encodeRoot(root: Root): Uint8Array {
  const writer = new RecordWriter();
  writer.byte(root.table ? FORM_INLINE : FORM_PAGED);
  writer.varint(root.head.length);
  writer.raw(root.head);
  if (root.table) {
    writer.raw(root.table);
  } else {
    writer.raw(root.pageSet);
    writer.varint(root.pages);
  }
  return writer.bytes;
}

function decodeRoot(bytes: Uint8Array): Root {
  try {
    const reader = new RecordReader(bytes);
    const form = reader.byte();
    const head = reader.raw(reader.varint());
    if (form === FORM_INLINE) return { head, table: reader.rest(), pageSet: new Uint8Array(0), pages: 0 };
    if (form !== FORM_PAGED)
      throw new MalformedRecord('a record was written by a later version of this program');
    const root = { head, table: undefined, pageSet: reader.raw(PAGE_SET_BYTES), pages: reader.varint() };
    reader.end();
    return root;
  } catch (error) {
    throw error instanceof MalformedRecord ? damaged(error.message) : error;
  }
}

function damaged(reason: string): ZstorError {
  return new ZstorError('QSFS_E_DAMAGED', `metadata: ${reason}`);
}
