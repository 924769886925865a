// Puts the parts together: configuration and machine in, `Zstor` out.
import { dirname } from 'node:path';
import { availableProcessors } from '@qsfs/io';
import { GuardedRecordStore, GuardedShardStore } from './backend/guarded.ts';
import { openRecordStore, openShardStore } from './backend/open.ts';
import { type Codec, CodecPool } from './codec/index.ts';
import type { ZstorConfig } from './config/types.ts';
import { ZstorError } from './errors.ts';
import { MetadataCluster } from './metadata/cluster.ts';
import { deriveMetadataKeys } from './metadata/part.ts';
import { StoredRecord } from './metadata/record.ts';
import { Records } from './metadata/records.ts';
import { DataBackends } from './object/data-backends.ts';
import { inspectObject } from './object/inspector.ts';
import { translateLocal } from './object/local-errors.ts';
import { Maintenance } from './object/maintenance.ts';
import { ReadBack } from './object/read-back.ts';
import { LARGEST_READ_BYTES, ObjectReader } from './object/reader.ts';
import { notFound, Rebuilder } from './object/rebuilder.ts';
import { ObjectWriter } from './object/writer.ts';
import { reportObjects, reportStatus } from './status.ts';
import type {
  Capabilities,
  CheckOptions,
  CheckReport,
  FetchTarget,
  Inspection,
  ObjectRecord,
  ObjectSource,
  ObjectSummary,
  PutOptions,
  ReadOptions,
  RebuildReport,
  RepairReport,
  StripeRange,
  Tolerance,
  Zstor,
  ZstorStatus,
} from './types.ts';

/** Codec threads at most; more do not help one network. */
const MOST_CODEC_THREADS = 4;

/** The one implementation of `Zstor`. */
export class ObjectStore implements Zstor {
  readonly config: ZstorConfig;
  readonly #capabilities: Capabilities;
  readonly #codec: Codec;
  readonly #backends: DataBackends;
  readonly #stores: readonly GuardedRecordStore[];
  readonly #cluster: MetadataCluster;
  readonly #records: Records;
  readonly #reader: ObjectReader;
  readonly #writer: ObjectWriter;
  readonly #rebuilder: Rebuilder;
  readonly #maintenance: Maintenance;
  readonly #readable: (() => void)[] = [];
  readonly #closing = new AbortController();
  #closed: Promise<void> | undefined;

  /** @param open makes the stores; tests put other ones in their place */
  constructor(config: ZstorConfig, capabilities: Capabilities, open = { openShardStore, openRecordStore }) {
    const { disk, clock, random, codecThreads, repairList, maintenance = false } = capabilities;
    const log = capabilities.log ?? (() => {});
    this.config = config;
    this.#capabilities = capabilities;
    const threads = codecThreads ?? Math.min(MOST_CODEC_THREADS, availableProcessors());
    this.#codec = new CodecPool({ disk, threads });
    this.#backends = new DataBackends(
      config.groups.flatMap((group, index) =>
        group.backends.map((backend) => ({
          name: backend.name,
          group: index,
          store: new GuardedShardStore(open.openShardStore(backend, capabilities), clock),
        })),
      ),
      config.groups.length,
      clock,
    );
    this.#stores = config.metadata.backends.map(
      (backend) => new GuardedRecordStore(open.openRecordStore(backend, capabilities), clock),
    );
    const keys = deriveMetadataKeys(config.masterKey, config.metadata.prefix);
    const wanted = () => this.#maintenance.wanted();
    this.#cluster = new MetadataCluster({
      stores: this.#stores,
      keys,
      minimalStores: config.metadata.minimalStores,
      writeQuorum: config.metadata.writeQuorum,
      clock,
      random,
      lagging: wanted,
    });
    this.#records = new Records(this.#cluster, keys, random);
    const damaged = (name: string) => this.#maintenance.damaged(name);
    const shared = {
      codec: this.#codec,
      backends: this.#backends,
      disk,
      clock,
      random,
      config,
      damaged,
      log,
    };
    this.#reader = new ObjectReader({ ...shared, masterKey: config.masterKey });
    const readBack = new ReadBack(this.#reader.buffers);
    this.#writer = new ObjectWriter({ ...shared, readBack, records: this.#records, cluster: this.#cluster });
    this.#rebuilder = new Rebuilder({
      ...shared,
      readBack,
      masterKey: config.masterKey,
      records: this.#records,
      reader: this.#reader,
    });
    this.#maintenance = new Maintenance({
      records: this.#records,
      rebuilder: this.#rebuilder,
      backends: this.#backends,
      clock,
      repairList,
      background: maintenance !== false,
      mayWork: typeof maintenance === 'function' ? maintenance : () => true,
      log,
    });
    for (const { name, store } of this.#backends.all) {
      store.health.listen(({ state }) => {
        if (state !== 'up') return;
        this.#maintenance.returned(name);
        this.#tellReadable();
      });
      store.emptied = wanted;
    }
  }

  /** Learns the state of every backend; takes at most a second whatever they do. */
  async start(): Promise<void> {
    await Promise.all([this.#backends.start(), ...this.#stores.map(({ health }) => health.inspect())]);
    await this.#cluster.start();
    this.#maintenance.wanted();
  }

  async put(name: string, source: ObjectSource, options: PutOptions = {}): Promise<ObjectRecord> {
    const record = await this.#writer.put(name, source, this.#stoppable(options));
    if (record.missingShards === 0) this.#maintenance.settled(name);
    return record;
  }

  async putSmall(name: string, content: Uint8Array, options: PutOptions = {}): Promise<ObjectRecord> {
    if (content.length > LARGEST_READ_BYTES) {
      throw new ZstorError('QSFS_E_INVALID', `at most ${LARGEST_READ_BYTES} bytes can be stored from memory`);
    }
    const record = await this.#writer.put(name, content, this.#stoppable(options));
    if (record.missingShards === 0) this.#maintenance.settled(name);
    return record;
  }

  async head(name: string): Promise<ObjectRecord | undefined> {
    this.#assertOpen();
    return this.#records.head(name);
  }

  async *list(prefix = ''): AsyncIterable<ObjectSummary> {
    this.#assertOpen();
    yield* this.#records.list(prefix);
  }

  async read(
    object: string | ObjectRecord,
    offset: number,
    lengthBytes: number,
    options: ReadOptions = {},
  ): Promise<Uint8Array> {
    return this.#withRecord(object, (record) => {
      const from = Math.min(Math.max(0, offset), record.sizeBytes);
      const length = Math.min(lengthBytes, record.sizeBytes - from);
      return this.#reader.read(record, from, length, this.#stoppable(options));
    });
  }

  async getSmall(object: string | ObjectRecord): Promise<Uint8Array> {
    return this.#withRecord(object, (record) =>
      this.#reader.read(record, 0, record.sizeBytes, this.#stoppable({})),
    );
  }

  async fetch(
    record: ObjectRecord,
    stripes: StripeRange,
    target: FetchTarget,
    options: ReadOptions = {},
  ): Promise<void> {
    await this.#withRecord(record, (current) =>
      this.#reader.fetch(current, stripes, target, this.#stoppable(options)),
    );
  }

  async retrieve(
    object: string | ObjectRecord,
    path: string,
    options: ReadOptions = {},
  ): Promise<ObjectRecord> {
    const { disk, random } = this.#capabilities;
    const temporary = `${path}.${Buffer.from(random.bytes(6)).toString('hex')}.part`;
    return this.#withRecord(object, async (record) => {
      const folder = dirname(path);
      await translateLocal(path, async () => disk.makeDirectory(folder));
      try {
        await this.#reader.fetch(
          record,
          { first: 0, count: record.stripeCount },
          { path: temporary, willSync: true },
          this.#stoppable(options),
        );
        await translateLocal(path, async () => {
          const file = disk.open(temporary, 'write');
          try {
            file.truncate(record.sizeBytes);
            file.datasync();
          } finally {
            file.close();
          }
          disk.rename(temporary, path);
          disk.syncDirectory(folder);
        });
        return record;
      } catch (error) {
        if (disk.stat(temporary)) disk.remove(temporary);
        throw error;
      }
    });
  }

  async delete(name: string): Promise<boolean> {
    this.#assertOpen();
    const existed = await this.#writer.delete(name);
    this.#maintenance.settled(name);
    return existed;
  }

  async check(object: string | ObjectRecord, options: CheckOptions = {}): Promise<CheckReport> {
    const record = await this.#record(object);
    const { masterKey } = this.config;
    const report = await inspectObject(record, this.#backends, masterKey, this.#stoppable(options));
    if (report.badShards > 0) this.#maintenance.damaged(record.name);
    return report;
  }

  async rebuild(name: string, options: CheckOptions = {}): Promise<RebuildReport> {
    const report = await this.#rebuilder.rebuild(name, {
      ...this.#stoppable(options),
      replaceUnreachable: true,
    });
    if (report.missingShards === 0) this.#maintenance.settled(name);
    else this.#maintenance.damaged(name);
    return report;
  }

  async repairPending(): Promise<RepairReport> {
    this.#assertOpen();
    return this.#maintenance.repairPending();
  }

  lacksShards(record: ObjectRecord): boolean {
    return this.#backends.lacksShards(stored(record));
  }

  async inspect(): Promise<Inspection> {
    this.#assertOpen();
    const [incarnations] = await Promise.all([this.#backends.incarnations(), this.#cluster.inspect()]);
    const { unseenBackends, lostObjects } = this.#maintenance;
    return { incarnations, blankStores: this.#cluster.blank, unseenBackends, lostObjects };
  }

  get unseenBackends(): readonly string[] {
    return this.#maintenance.unseenBackends;
  }

  whenReadable(listener: () => void): void {
    this.#readable.push(listener);
  }

  #tellReadable(): void {
    const usable = this.#backends.all.filter(({ store }) => store.health.usable).length;
    if (usable >= this.config.minimalShards) for (const listener of this.#readable) listener();
  }

  tolerance(record: ObjectRecord): Tolerance {
    return this.#backends.tolerance(stored(record));
  }

  async status({ objects = false }: { readonly objects?: boolean } = {}): Promise<ZstorStatus> {
    this.#assertOpen();
    const { pendingObjects, looked } = this.#maintenance;
    const repair = looked ? { pendingObjects, looked } : { pendingObjects };
    const status = await reportStatus(this.config, this.#backends, this.#stores, this.#cluster, repair);
    if (!objects || !status.metadata.readable) return status;
    return { ...status, objects: await reportObjects(this.#records, this.#backends) };
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort(new ZstorError('QSFS_E_ABORTED', 'the store was closed'));
    await this.#maintenance.close();
    await this.#codec.close();
    await Promise.all([this.#backends.close(), this.#cluster.close()]);
  }

  /**
   * Runs a read with an object's record. When it fails because the record is out of date (repair moved shards, or the object
   * was replaced and its old shards deleted), it runs once more with the present one.
   */
  async #withRecord<T>(
    object: string | ObjectRecord,
    call: (record: StoredRecord) => Promise<T>,
  ): Promise<T> {
    const record = await this.#record(object);
    try {
      return await call(record);
    } catch (error) {
      const isStale =
        error instanceof ZstorError &&
        (error.code === 'QSFS_E_DAMAGED' || error.code === 'QSFS_E_UNAVAILABLE');
      if (!isStale || this.#closing.signal.aborted) throw error;
      const present = await this.#records.head(record.name);
      if (!present || present.version === record.version) throw error;
      const isSame = Buffer.compare(present.objectId, record.objectId) === 0;
      // Whoever came with a record wants the bytes that record was about.
      if (typeof object !== 'string' && !isSame) {
        throw new ZstorError(
          'QSFS_E_NOT_FOUND',
          `"${record.name}" was replaced by another object`,
          '',
          error,
        );
      }
      return call(present);
    }
  }

  async #record(object: string | ObjectRecord): Promise<StoredRecord> {
    this.#assertOpen();
    if (typeof object !== 'string') return stored(object);
    const record = await this.#records.head(object);
    if (!record) throw notFound(object);
    return record;
  }

  #assertOpen(): void {
    if (this.#closing.signal.aborted) throw new ZstorError('QSFS_E_ABORTED', 'the store was closed');
  }

  #stoppable<Options extends { readonly signal?: AbortSignal }>(
    options: Options,
  ): Options & { signal: AbortSignal } {
    this.#assertOpen();
    const { signal } = this.#closing;
    return { ...options, signal: options.signal ? AbortSignal.any([options.signal, signal]) : signal };
  }
}

function stored(record: ObjectRecord): StoredRecord {
  if (record instanceof StoredRecord) return record;
  throw new ZstorError('QSFS_E_INVALID', 'records come from this store only: use head()');
}
