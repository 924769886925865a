// The engine: namespaces in one pair of directories, the lock against a second opener, and the commit over all of them.
import { dirname } from 'node:path';
import {
  type Clock,
  type DiskFile,
  errorCode,
  type Random,
  type SyncSteps,
  syncAtOnce,
  unstableDirectory,
} from '@qsfs/io';
import { zeroStatistics } from './counters.ts';
import { DEFAULT_DESCRIPTOR, DESCRIPTOR_NAME, encodeDescriptor } from './format/descriptor-format.ts';
import { DataCache } from './log/data-cache.ts';
import type { Rotation } from './log/log-writer.ts';
import { OpenFiles } from './log/open-files.ts';
import { type NamespaceHost, type NamespaceParts, StoreNamespace } from './namespace.ts';
import { type LoadOptions, loadNamespace } from './recovery/load.ts';
import { DEFAULT_NAMESPACE, nameProblem, requireName, Settings } from './settings.ts';
import {
  type Engine,
  type EngineEvents,
  type EngineOptions,
  type IoStatistics,
  type Namespace,
  type NamespaceMode,
  StoreError,
} from './types.ts';

/** Bounds of the size that triggers rotation. */
export const DATA_SIZE_MIN_BYTES = 524_288;
export const DATA_SIZE_MAX_BYTES = 4_294_967_294;
/** Memory for cached index slots, per sequential namespace. */
export const INDEX_CACHE_BYTES = 8 << 20;

/** Memory for blocks of data files that small records are read from, at most, all namespaces together. */
const DATA_CACHE_BYTES = 16 << 20;
/** The same where all namespaces are sequential: a process with a hundred million entries is to stay below 100 MiB. */
const SEQ_DATA_CACHE_BYTES = 2 << 20;

const LOCK_NAME = '.lockfile';
/** File in the index root, followed by a name: the removal of that namespace has begun, what is left of it counts for nothing. */
const REMOVING_PREFIX = '.removing-';
/** File in the index directory of a namespace: its flush has begun, likewise. */
const FLUSHING_NAME = 'zdb-flushing';

/**
 * Opens a store, creating directories and the namespace `default` when they are missing, and repairs what a crash left behind.
 * @throws StoreError: locked-directory (another process has it open), bad-files (damage that cannot be repaired, another mode);
 *   IoError; RangeError on impossible options
 */
export function openEngine(options: EngineOptions): Engine {
  return new StoreEngine(options);
}

class StoreEngine implements Engine, NamespaceHost {
  readonly statistics: Readonly<IoStatistics>;
  readonly clock: Clock;
  readonly random: Random;
  readonly dataSizeBytes: number;
  readonly mode: NamespaceMode | undefined;
  readonly #options: EngineOptions;
  readonly #events: EngineEvents;
  readonly #pool: OpenFiles;
  readonly #load: LoadOptions;
  readonly #locks: DiskFile[] = [];
  /** By slot; `default` is in the first. */
  readonly #slots: (StoreNamespace | undefined)[] = [];
  readonly #byName = new Map<string, StoreNamespace>();
  /** Namespaces with something to commit. */
  #touched: StoreNamespace[] = [];
  #closed = false;

  constructor(options: EngineOptions) {
    const { dataSizeBytes } = options;
    if (!(dataSizeBytes >= DATA_SIZE_MIN_BYTES && dataSizeBytes <= DATA_SIZE_MAX_BYTES))
      throw new RangeError(
        `dataSizeBytes: ${dataSizeBytes} is not between ${DATA_SIZE_MIN_BYTES} and ${DATA_SIZE_MAX_BYTES}`,
      );
    this.#options = options;
    this.#events = options.events ?? {};
    this.clock = options.clock;
    this.random = options.random;
    this.dataSizeBytes = dataSizeBytes;
    this.mode = options.mode;
    this.#pool = new OpenFiles(options.disk, options.openFiles);
    const totals = zeroStatistics();
    this.statistics = totals;
    this.#load = {
      surroundings: {
        disk: options.disk,
        clock: options.clock,
        pool: this.#pool,
        presence: options.presence,
        dataCache: new DataCache(
          options.dataCacheBytes ?? (options.mode === 'seq' ? SEQ_DATA_CACHE_BYTES : DATA_CACHE_BYTES),
        ),
        cacheBytes: options.indexCacheBytes ?? INDEX_CACHE_BYTES,
        indexTailBytes: options.indexTailBytes ?? 0,
        writeAhead: options.writeAhead,
      },
      totals,
      sync: options.sync,
      syncOnRotation: options.syncOnRotation ?? false,
      mode: options.mode,
      newMode: options.mode ?? 'user',
      events: this.#events,
      random: options.random,
    };
    try {
      this.#lock();
      this.#openAll();
    } catch (error) {
      this.#release();
      throw error;
    }
  }

  get pendingBytes(): number {
    let bytes = 0;
    for (let i = 0; i < this.#touched.length; i++) bytes += this.#touched[i]!.pendingBytes;
    return bytes;
  }

  namespace(name: string): Namespace | undefined {
    return this.#byName.get(name);
  }

  namespaces(): readonly Namespace[] {
    return this.#slots.filter((namespace) => namespace !== undefined);
  }

  createNamespace(name: string, mode?: NamespaceMode): Namespace {
    this.#requireOpen();
    requireName(name);
    if (this.#byName.has(name)) throw new StoreError('exists', `namespace ${name} exists`);
    if (mode && this.mode && mode !== this.mode)
      throw new StoreError('mode-fixed', `this engine runs all namespaces in ${this.mode} mode`);
    const { disk } = this.#options;
    if (disk.stat(this.#indexDirectory(name)))
      throw new StoreError('exists', `${this.#indexDirectory(name)} is in the way; move it away`);
    let namespace: StoreNamespace;
    try {
      // Left-overs of a removed namespace.
      disk.removeTree(this.#dataDirectory(name));
      disk.makeDirectory(this.#dataDirectory(name), 0o700);
      disk.makeDirectory(this.#indexDirectory(name), 0o700);
      this.#writeDescriptor(name);
      namespace = this.#open(name, mode);
      disk.syncDirectory(this.#options.dataDirectory);
      disk.syncDirectory(this.#options.indexDirectory);
    } catch (error) {
      this.#removeTrees(name);
      throw error;
    }
    this.#enter(namespace);
    this.#events.namespaceCreated?.(name);
    return namespace;
  }

  removeNamespace(name: string): void {
    this.#requireOpen();
    if (name === DEFAULT_NAMESPACE)
      throw new StoreError('name-not-allowed', `namespace ${DEFAULT_NAMESPACE} cannot be removed`);
    const namespace = this.#require(name);
    this.commit();
    this.#mark(this.#options.indexDirectory, `${REMOVING_PREFIX}${name}`);
    namespace.log.closeFiles();
    this.#byName.delete(name);
    this.#slots[this.#slots.indexOf(namespace)] = undefined;
    this.#finishRemoval(name);
    this.#events.namespaceRemoved?.(name);
  }

  reload(name: string): void {
    this.#requireOpen();
    const namespace = this.#require(name);
    this.commit();
    namespace.writer.checkpoint();
    namespace.log.closeFiles();
    namespace.adopt(this.#parts(name, namespace.mode));
  }

  commit(): void {
    const batch = this.#touched;
    if (batch.length === 0) return;
    try {
      for (const namespace of batch) namespace.writer.write();
    } catch (error) {
      this.#touched = [];
      for (const namespace of batch.reverse()) namespace.undo();
      throw error;
    }
    this.#touched = [];
    let rotations: [string, Rotation][] | undefined;
    for (const namespace of batch)
      for (const rotation of namespace.accept()) (rotations ??= []).push([namespace.name, rotation]);
    if (rotations)
      for (const [name, { closed, active }] of rotations) this.#events.rotated?.(name, closed, active);
  }

  closeIdleFiles(): void {
    this.#pool.closeIdle();
  }

  writeHeldChanges(): void {
    this.commit();
    for (const namespace of this.#byName.values()) namespace.writer.writeHeld();
  }

  close(): void {
    if (this.#closed) return;
    try {
      this.commit();
      for (const namespace of this.#byName.values()) namespace.writer.checkpoint();
    } finally {
      this.#release();
    }
  }

  touched(namespace: StoreNamespace): void {
    this.#requireOpen();
    this.#touched.push(namespace);
  }

  updated(namespace: StoreNamespace): void {
    this.#events.namespaceUpdated?.(namespace.name);
  }

  *flushSteps(namespace: StoreNamespace): SyncSteps {
    this.#requireOpen();
    this.commit();
    const { disk } = this.#options;
    const { name, mode } = namespace;
    const directory = this.#indexDirectory(name);
    disk.open(`${directory}/${FLUSHING_NAME}`, 'create').close();
    yield unstableDirectory(disk, directory);
    namespace.log.closeFiles();
    yield* this.#finishFlushSteps(name);
    const parts = this.#loadFiles(name, mode);
    namespace.adopt(parts);
    yield* parts.writer.checkpointSteps();
  }

  #dataDirectory(name: string): string {
    return `${this.#options.dataDirectory}/${name}`;
  }

  #indexDirectory(name: string): string {
    return `${this.#options.indexDirectory}/${name}`;
  }

  #lock(): void {
    const { disk, dataDirectory, indexDirectory } = this.#options;
    disk.makeDirectory(dataDirectory, 0o700);
    disk.makeDirectory(indexDirectory, 0o700);
    if (disk.resolve(dataDirectory) === disk.resolve(indexDirectory))
      throw new StoreError('bad-files', `data and index must be two directories, both are ${dataDirectory}`);
    for (const directory of [indexDirectory, dataDirectory]) {
      const lock = disk.open(`${directory}/${LOCK_NAME}`, 'create', 0o664);
      this.#locks.push(lock);
      if (!lock.tryLock())
        throw new StoreError(
          'locked-directory',
          `${directory} is in use by another process; stop it, or choose another directory`,
        );
    }
  }

  #openAll(): void {
    const { disk, indexDirectory } = this.#options;
    for (const each of disk.list(indexDirectory)) {
      if (!each.startsWith(REMOVING_PREFIX) || disk.stat(`${indexDirectory}/${each}`)?.kind !== 'file')
        continue;
      const name = each.slice(REMOVING_PREFIX.length);
      if (nameProblem(name) || name === DEFAULT_NAMESPACE) continue;
      this.#events.log?.('info', `namespace ${name}: removal finished`);
      this.#finishRemoval(name);
    }
    const found = disk
      .list(indexDirectory)
      .filter((name) => name !== LOCK_NAME && disk.stat(`${indexDirectory}/${name}`)?.kind === 'directory');
    for (const name of [DEFAULT_NAMESPACE, ...found.filter((each) => each !== DEFAULT_NAMESPACE)]) {
      const problem = nameProblem(name);
      if (problem) {
        this.#events.log?.('warning', `${indexDirectory}/${name} is ignored: no namespace name, ${problem}`);
        continue;
      }
      disk.makeDirectory(this.#dataDirectory(name), 0o700);
      disk.makeDirectory(this.#indexDirectory(name), 0o700);
      if (disk.stat(`${this.#indexDirectory(name)}/${FLUSHING_NAME}`)) {
        this.#events.log?.('info', `namespace ${name}: flush finished`);
        this.#finishFlush(name);
      }
      if (name === DEFAULT_NAMESPACE && !disk.stat(`${this.#indexDirectory(name)}/${DESCRIPTOR_NAME}`))
        this.#writeDescriptor(name);
      let namespace: StoreNamespace;
      try {
        namespace = this.#open(name);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        const message = `${this.#indexDirectory(name)}/${DESCRIPTOR_NAME}: ${error.message}`;
        if (name === DEFAULT_NAMESPACE) throw new StoreError('bad-files', message);
        this.#events.log?.('error', `namespace ${name} is left out: ${message}`);
        continue;
      }
      this.#enter(namespace);
    }
    // What was made here, or just before a crash, is on stable storage before anything in it is promised to be.
    for (const directory of [this.#options.dataDirectory, indexDirectory])
      for (const each of [directory, dirname(disk.resolve(directory))]) disk.syncDirectory(each);
  }

  #writeDescriptor(name: string): void {
    const { disk } = this.#options;
    const file = disk.open(`${this.#indexDirectory(name)}/${DESCRIPTOR_NAME}`, 'create');
    try {
      file.write(encodeDescriptor(Buffer.from(name, 'utf8'), DEFAULT_DESCRIPTOR), 0);
      file.datasync();
    } finally {
      file.close();
    }
  }

  #open(name: string, mode?: NamespaceMode): StoreNamespace {
    const settings = new Settings(this.#options.disk, name, this.#indexDirectory(name));
    const message = settings.load();
    if (message) this.#events.log?.('warning', message);
    return new StoreNamespace(name, settings, this.#parts(name, mode), this);
  }

  /** Loads a namespace; when its files had to be made they are on stable storage. */
  #parts(name: string, mode: NamespaceMode | undefined): NamespaceParts {
    const parts = this.#loadFiles(name, mode);
    if (parts.made) parts.writer.checkpoint();
    return parts;
  }

  #loadFiles(name: string, mode: NamespaceMode | undefined): NamespaceParts {
    const load = mode ? { ...this.#load, newMode: mode } : this.#load;
    return loadNamespace(name, this.#dataDirectory(name), this.#indexDirectory(name), load);
  }

  #enter(namespace: StoreNamespace): void {
    const free = this.#slots.indexOf(undefined);
    this.#slots[free < 0 ? this.#slots.length : free] = namespace;
    this.#byName.set(namespace.name, namespace);
  }

  #require(name: string): StoreNamespace {
    const namespace = this.#byName.get(name);
    if (!namespace) throw new StoreError('not-found', `there is no namespace ${name}`);
    return namespace;
  }

  #requireOpen(): void {
    if (this.#closed) throw new Error('the engine is closed');
  }

  /** Makes an empty file, durably. */
  #mark(directory: string, name: string): void {
    const { disk } = this.#options;
    disk.open(`${directory}/${name}`, 'create').close();
    disk.syncDirectory(directory);
  }

  /** Removes both directories of a namespace. */
  #removeTrees(name: string): void {
    const { disk, dataDirectory, indexDirectory } = this.#options;
    disk.removeTree(this.#dataDirectory(name));
    disk.removeTree(this.#indexDirectory(name));
    disk.syncDirectory(dataDirectory);
    disk.syncDirectory(indexDirectory);
  }

  /** Removes a namespace whose removal is marked, then the mark. */
  #finishRemoval(name: string): void {
    const { disk, indexDirectory } = this.#options;
    this.#removeTrees(name);
    disk.remove(`${indexDirectory}/${REMOVING_PREFIX}${name}`);
    disk.syncDirectory(indexDirectory);
  }

  /** Removes the files of a namespace whose flush is marked, then the mark. */
  #finishFlush(name: string): void {
    syncAtOnce(this.#finishFlushSteps(name));
  }

  *#finishFlushSteps(name: string): SyncSteps {
    const { disk } = this.#options;
    const data = this.#dataDirectory(name);
    const index = this.#indexDirectory(name);
    for (const each of disk.list(data)) disk.removeTree(`${data}/${each}`);
    for (const each of disk.list(index))
      if (each !== DESCRIPTOR_NAME && each !== FLUSHING_NAME) disk.removeTree(`${index}/${each}`);
    yield unstableDirectory(disk, data);
    yield unstableDirectory(disk, index);
    disk.remove(`${index}/${FLUSHING_NAME}`);
    yield unstableDirectory(disk, index);
  }

  #release(): void {
    this.#closed = true;
    for (const namespace of this.#byName.values()) namespace.log.closeFiles();
    for (const lock of this.#locks) {
      try {
        lock.close();
      } catch (error) {
        if (errorCode(error) !== 'EBADF') throw error;
      }
    }
    this.#locks.length = 0;
  }
}
