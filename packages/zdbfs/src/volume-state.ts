// The state of a mounted volume: its last checkpoint and everything the journal says since, partly in memory, partly in
// the store. Loads records, hands out ids and counts what is used. It decides nothing: operations are checked by
// volume.ts and carried out by apply.ts.
import { FilesystemError } from '@qsfs/fuse';
import { StoreError } from '@qsfs/zdb';
import { CorruptRecord } from './bytes.ts';
import {
  type AttributeRecord,
  type DirectoryEntry,
  DirectoryNode,
  type Extent,
  ExtentNode,
  type Inode,
  type MetaRecord,
  type Page,
} from './record.ts';
import { RecordCache } from './record-cache.ts';
import { decodeRecord, directoryEntryBytes, EXTENT_BYTES } from './record-codec.ts';
import type { Store } from './store.ts';
import type { Superblock } from './superblock.ts';
import { Tree } from './tree.ts';

/** Ids kept for reuse; ids freed beyond that are removed from zdbfs-meta for good. */
const FREE_IDS_MAX = 8192;

/** One line for the operator. */
export type Log = (level: 'info' | 'warning' | 'error', message: string) => void;

/** See the module's header. */
export class VolumeState {
  readonly store: Store;
  readonly cache: RecordCache;
  readonly log: Log;
  readonly directories: Tree<DirectoryEntry>;
  readonly files: Tree<Extent>;

  readonly volumeId: Uint8Array;
  readonly seedLow: number;
  readonly seedHigh: number;
  readonly createdSeconds: number;
  checkpoint: number;
  generation: number;
  usedBytes: number;
  inodes: number;
  /** One more than the largest id ever set aside. That one is never removed, so zdbfs-meta never gives out a smaller one. */
  metaEnd: number;
  /** Ids set aside in zdbfs-meta, taken from the end. */
  readonly freeIds: number[];
  /** Inodes without a name. */
  readonly orphans: Set<number>;
  /** Records that became unnecessary since the last checkpoint. */
  doomedMeta: number[] = [];
  doomedData: number[] = [];
  /** Records that were unnecessary at the last checkpoint already and may be removed now. */
  removableMeta: number[];
  removableData: number[];
  /** Set while an operation is carried out: then nothing may be loaded any more (except at recovery). */
  applying = false;

  constructor(store: Store, superblock: Superblock, cacheBytes: number, log: Log) {
    this.store = store;
    this.cache = new RecordCache(cacheBytes);
    this.log = log;
    this.volumeId = superblock.volumeId;
    this.seedLow = superblock.seedLow;
    this.seedHigh = superblock.seedHigh;
    this.createdSeconds = superblock.createdSeconds;
    this.checkpoint = superblock.checkpoint;
    this.generation = superblock.generation;
    this.usedBytes = superblock.usedBytes;
    this.inodes = superblock.inodes;
    this.metaEnd = superblock.metaEnd;
    this.freeIds = [...superblock.freeIds];
    this.orphans = new Set(superblock.orphans);
    this.removableMeta = [...superblock.doomedMeta];
    this.removableData = [...superblock.doomedData];
    this.directories = this.#tree<DirectoryEntry>(
      'directory-node',
      (id, owner, page) => new DirectoryNode(id, owner, page),
      directoryEntryBytes,
    );
    this.files = this.#tree<Extent>(
      'extent-node',
      (id, owner, page) => new ExtentNode(id, owner, page),
      () => EXTENT_BYTES,
    );
  }

  /** The superblock this state would be stored with as checkpoint number `checkpoint`. */
  superblock(checkpoint: number): Superblock {
    return {
      volumeId: this.volumeId,
      seedLow: this.seedLow,
      seedHigh: this.seedHigh,
      createdSeconds: this.createdSeconds,
      checkpoint,
      metaEnd: this.metaEnd,
      nextDataId: this.store.data.nextId,
      generation: this.generation,
      usedBytes: this.usedBytes,
      inodes: this.inodes,
      freeIds: this.freeIds,
      doomedMeta: [...this.removableMeta, ...this.doomedMeta],
      doomedData: [...this.removableData, ...this.doomedData],
      orphans: [...this.orphans],
    };
  }

  /** @throws FilesystemError(EIO) when it cannot be read, NotLocal */
  inode(id: number): Inode {
    const record = this.#record(id);
    if (record.kind === 'inode') return record;
    return this.#corrupt(id, `is of kind ${record.kind} where an inode was expected`);
  }

  /** The record with an inode's extended attributes. */
  attributes(inode: Inode): AttributeRecord {
    const record = this.#record(inode.attributeRecord);
    if (record.kind === 'attributes' && record.owner === inode.id) return record;
    return this.#corrupt(inode.attributeRecord, `does not hold the attributes of inode ${inode.id}`);
  }

  /** Takes a set-aside id. Callers made sure there is one (volume.ts, `#reserve`). */
  takeId(): number {
    const id = this.freeIds.pop();
    if (id === undefined) throw new Error('no id was set aside for a new record');
    return id;
  }

  /** Forgets a record and gives its id back. */
  freeId(id: number): void {
    this.cache.delete(id);
    if (this.freeIds.length < FREE_IDS_MAX || id === this.metaEnd - 1) this.freeIds.push(id);
    else this.doomedMeta.push(id);
  }

  /** Takes in a record made just now. */
  addNew(record: MetaRecord): void {
    this.cache.add(record);
    this.cache.changed(record);
  }

  #record(id: number): MetaRecord {
    const cached = this.cache.get(id);
    if (cached) return cached;
    if (this.applying) throw new Error(`record ${id} was not loaded before the operation began`);
    let bytes: Uint8Array | undefined;
    try {
      bytes = this.store.meta.read(id);
    } catch (error) {
      if (error instanceof StoreError) return this.#corrupt(id, `cannot be read: ${error.message}`);
      throw error;
    }
    if (bytes === undefined) return this.#corrupt(id, 'is missing');
    let record: MetaRecord | undefined;
    try {
      record = decodeRecord(bytes, id);
    } catch (error) {
      if (error instanceof CorruptRecord) return this.#corrupt(id, `is damaged: ${error.message}`);
      throw error;
    }
    if (record === undefined) return this.#corrupt(id, 'is not in use');
    this.cache.add(record);
    return record;
  }

  #corrupt(id: number, what: string): never {
    this.log('error', `zdbfs-meta: record ${id} ${what}`);
    throw new FilesystemError('EIO', `record ${id} ${what}`);
  }

  #tree<E>(
    kind: 'directory-node' | 'extent-node',
    make: (id: number, owner: number, page: Page<E>) => MetaRecord,
    entryBytes: (entry: E) => number,
  ): Tree<E> {
    return new Tree<E>({
      page: (owner, id) => {
        const record = this.#record(id);
        if (record.kind === kind && record.owner === owner.id)
          return (record as { page: unknown }).page as Page<E>;
        return this.#corrupt(id, `is no ${kind} of inode ${owner.id}`);
      },
      allocate: (owner, page) => {
        const id = this.takeId();
        this.addNew(make(id, owner.id, page));
        return id;
      },
      free: (_owner, id) => this.freeId(id),
      changed: (owner, id) => {
        const record = id === 0 ? owner : this.cache.get(id);
        if (record) this.cache.changed(record);
      },
      entryBytes,
    });
  }
}
