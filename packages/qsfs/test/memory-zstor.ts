// An object store in memory, for tests of what stands on zstor: it can be switched off, or lack shards.
import { randomBytes } from 'node:crypto';
import type { Disk } from '@qsfs/io';
import {
  type CheckOptions,
  type CheckReport,
  type FetchTarget,
  type Inspection,
  LostShards,
  type ObjectRecord,
  type ObjectSource,
  type ObjectSummary,
  type PutOptions,
  parseConfig,
  type ReadOptions,
  type RebuildReport,
  type RepairReport,
  type StripeRange,
  type Tolerance,
  type Zstor,
  type ZstorConfig,
  ZstorError,
  type ZstorStatus,
} from '@qsfs/zstor';

interface Stored {
  content: Uint8Array;
  record: ObjectRecord;
  /** Shards that are gone without the record knowing it. */
  wiped: number;
}

const CONFIG = `
minimal_shards = 1
expected_shards = 2
redundant_groups = 0
redundant_nodes = 0
[encryption]
algorithm = "AES"
key = "${'00'.repeat(32)}"
[[meta.config.backends]]
address = "127.0.0.1:1"
[[groups]]
backends = [{ address = "127.0.0.1:1", namespace = "a" }, { address = "127.0.0.1:1", namespace = "b" }]
[meta]
type = "zdb"
`;

/** The double. `mode` decides what happens to every call. */
export class MemoryZstor implements Zstor {
  readonly objects = new Map<string, Stored>();
  readonly stripeBytes: number;
  readonly #disk: Disk;
  mode: 'up' | 'degraded' | 'readable' | 'down' = 'up';
  /** Objects whose shards are wrong without their record knowing it. */
  readonly rotten = new Set<string>();
  /** Objects that are lost, without their record knowing it. */
  readonly lost = new Set<string>();
  /** What `inspect` answers. */
  inspection: Inspection = {
    incarnations: new Map(),
    blankStores: [],
    unseenBackends: [],
    lostObjects: [],
  };
  /** What becomes of that by `repairPending`. */
  afterRepair: Partial<Inspection> = {};
  /** Calls of `fetch` so far, as `name#stripe`. */
  readonly fetched: string[] = [];
  /** When set, `fetch` waits for it. */
  gate: Promise<void> | undefined;
  /** What has arrived of what `fetch` waits for. */
  arrivedBytes: (() => number) | undefined;
  #version = 0n;

  constructor(disk: Disk, stripeBytes: number) {
    this.#disk = disk;
    this.stripeBytes = stripeBytes;
  }

  /** Shards of every object that are gone from now on, without its record knowing it: 1, or with 2 nothing is left. */
  set wipedShards(count: number) {
    for (const stored of this.objects.values()) stored.wiped = count;
  }

  get config(): ZstorConfig {
    return parseConfig(CONFIG, '/');
  }

  whenReadable(): void {}

  async put(name: string, source: ObjectSource, options: PutOptions = {}): Promise<ObjectRecord> {
    await this.#passWriting();
    const content = new Uint8Array(source.lengthBytes);
    const file = this.#disk.open(source.path, 'read');
    file.read(content, source.offset ?? 0);
    file.close();
    options.progress?.(content.length);
    return this.#store(name, content);
  }

  async putSmall(name: string, content: Uint8Array): Promise<ObjectRecord> {
    await this.#passWriting();
    return this.#store(name, content.slice());
  }

  async head(name: string): Promise<ObjectRecord | undefined> {
    await this.#pass();
    return this.objects.get(name)?.record;
  }

  async *list(prefix = ''): AsyncIterable<ObjectSummary> {
    await this.#pass();
    for (const { record } of [...this.objects.values()]) if (record.name.startsWith(prefix)) yield record;
  }

  async read(object: string | ObjectRecord, offset: number, lengthBytes: number): Promise<Uint8Array> {
    return (await this.getSmall(object)).slice(offset, offset + lengthBytes);
  }

  async getSmall(object: string | ObjectRecord): Promise<Uint8Array> {
    await this.#pass();
    const { content, record } = this.#find(typeof object === 'string' ? object : object.name);
    if (this.lost.has(record.name)) throw new LostShards(`"${record.name}", stripe 0: 0 good shards`, []);
    return content;
  }

  async fetch(
    record: ObjectRecord,
    stripes: StripeRange,
    target: FetchTarget,
    options: ReadOptions = {},
  ): Promise<void> {
    this.fetched.push(`${record.name}#${stripes.first}`);
    if (this.rotten.has(record.name)) throw new ZstorError('QSFS_E_DAMAGED', 'the shards are wrong');
    if (this.arrivedBytes) options.waiting?.(this.arrivedBytes);
    if (this.gate) {
      const gone = new Promise<never>((_, reject) => {
        options.signal?.addEventListener('abort', () => reject(options.signal?.reason as Error));
      });
      await Promise.race([this.gate, gone]);
    }
    await this.#pass();
    const { content } = this.#find(record.name);
    const from = stripes.first * this.stripeBytes;
    const file = this.#disk.open(target.path, 'create');
    try {
      file.write(content.subarray(from, from + stripes.count * this.stripeBytes), from);
    } catch (error) {
      throw new ZstorError('QSFS_E_LOCAL', (error as Error).message, '', error);
    } finally {
      file.close();
    }
  }

  async retrieve(object: string | ObjectRecord, path: string): Promise<ObjectRecord> {
    await this.#pass();
    const { content, record } = this.#find(typeof object === 'string' ? object : object.name);
    const file = this.#disk.open(path, 'create');
    file.write(content, 0);
    file.close();
    return record;
  }

  async delete(name: string): Promise<boolean> {
    await this.#passWriting();
    return this.objects.delete(name);
  }

  async check(object: string | ObjectRecord): Promise<CheckReport> {
    await this.#pass();
    const { record, wiped } = this.#find(typeof object === 'string' ? object : object.name);
    return {
      name: record.name,
      record,
      goodShards: 2 - wiped,
      badShards: wiped,
      unreachableShards: 0,
      unreadableStripes: 0,
      verdict: wiped === 0 ? 'complete' : 'degraded',
      method: 'backend-check',
    };
  }

  lacksShards({ name, missingShards }: ObjectRecord): boolean {
    return missingShards > 0 || (this.objects.get(name)?.wiped ?? 0) > 0;
  }

  get unseenBackends(): readonly string[] {
    return this.inspection.unseenBackends;
  }

  async inspect(): Promise<Inspection> {
    await Promise.resolve();
    return this.inspection;
  }

  async rebuild(name: string, { deep }: CheckOptions = {}): Promise<RebuildReport> {
    await this.#passWriting();
    const stored = this.#find(name);
    if (deep && this.rotten.has(name))
      throw new ZstorError('QSFS_E_DAMAGED', `the shards of ${name} are wrong`);
    if (stored.wiped === 2) throw new ZstorError('QSFS_E_DAMAGED', `too little is left of ${name}`);
    stored.record = { ...stored.record, missingShards: this.mode === 'up' ? 0 : 1 };
    stored.wiped = 0;
    const { missingShards } = stored.record;
    return {
      name,
      rewrittenShards: 1,
      missingShards,
      unreachableShards: 0,
      reason: '',
      record: stored.record,
    };
  }

  async repairPending(): Promise<RepairReport> {
    await this.#pass();
    this.inspection = { ...this.inspection, unseenBackends: [], ...this.afterRepair };
    return { repairedObjects: 0, rewrittenShards: 0, refreshedRecords: 0, failures: [] };
  }

  tolerance(): Tolerance {
    return { backends: 1, groups: 0, combinations: [] };
  }

  async status(): Promise<ZstorStatus> {
    await Promise.resolve();
    const tolerance = this.tolerance();
    const up = this.mode === 'up';
    const writable = up || this.mode === 'degraded';
    return {
      backends: [],
      data: {
        minimalShards: 1,
        expectedShards: 2,
        redundantGroups: 0,
        redundantNodes: 0,
        tolerance,
        promised: tolerance,
        writable,
        placeable: up,
        reason: '',
      },
      metadata: {
        stores: 1,
        minimalStores: 1,
        writeQuorum: 1,
        tolerance: 0,
        readable: this.mode !== 'down',
        writable,
        reason: '',
      },
      repair: { pendingObjects: 0 },
    };
  }

  async close(): Promise<void> {}

  #find(name: string): Stored {
    const stored = this.objects.get(name);
    if (!stored) throw new ZstorError('QSFS_E_NOT_FOUND', `there is no object ${name}`);
    return stored;
  }

  async #pass(): Promise<void> {
    await Promise.resolve();
    if (this.mode === 'down') throw new ZstorError('QSFS_E_UNAVAILABLE', 'the backends are switched off');
  }

  async #passWriting(): Promise<void> {
    await this.#pass();
    if (this.mode === 'readable') throw new ZstorError('QSFS_E_UNAVAILABLE', 'the backends take nothing');
  }

  #store(name: string, content: Uint8Array): ObjectRecord {
    this.#version += 1n;
    const record: ObjectRecord = {
      name,
      version: this.#version,
      objectId: new Uint8Array(randomBytes(16)),
      sizeBytes: content.length,
      stripeSizeBytes: this.stripeBytes,
      stripeCount: Math.ceil(content.length / this.stripeBytes),
      minimalShards: 1,
      expectedShards: 2,
      storedMs: 0,
      missingShards: this.mode === 'up' ? 0 : 1,
      verification: 'checked',
      storedBytes: content.length * 2,
    };
    this.lost.delete(name);
    this.objects.set(name, { content, record, wiped: 0 });
    return record;
  }
}
