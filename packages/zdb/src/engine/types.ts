// What the embedded engine offers and what it asks of the program around it. Formats: docs/formats/zdb.md.
import type { Clock, Disk, Random } from '@qsfs/io';

/** `user`: keys chosen by the client. `seq`: keys are slot numbers given out by the store. */
export type NamespaceMode = 'user' | 'seq';

/**
 * A record's bytes are in a data file that is not (wholly) on this machine. Thrown before anything was changed:
 * bring the range and run the same operation again.
 */
export class NotLocal extends Error {
  override readonly name = 'NotLocal';
  readonly namespace: string;
  readonly file: number;
  readonly offset: number;
  readonly lengthBytes: number;

  constructor(namespace: string, file: number, offset: number, lengthBytes: number) {
    super(`${namespace}/d${file}: bytes ${offset} to ${offset + lengthBytes} are not on this machine`);
    this.namespace = namespace;
    this.file = file;
    this.offset = offset;
    this.lengthBytes = lengthBytes;
  }
}

/** Which parts of closed data files are on this machine. Without one everything that exists is. */
export interface Presence {
  /** True when all of the range can be read from the local file. Called on every payload read: must be fast. */
  has(namespace: string, file: number, offset: number, lengthBytes: number): boolean;
}

/** What the engine tells the program around it. All calls are synchronous and must not throw. */
export interface EngineEvents {
  /** A data file and its index file were closed; `active` is the id of the new pair. */
  rotated?(namespace: string, closed: number, active: number): void;
  namespaceCreated?(name: string): void;
  namespaceUpdated?(name: string): void;
  namespaceRemoved?(name: string): void;
  /** Something was repaired or is wrong; one line for the operator. */
  log?(level: 'info' | 'warning' | 'error', message: string): void;
}

/** When data reaches stable storage: never by itself, with every commit, or at most every so many seconds. */
export type SyncPolicy = 'none' | 'always' | { readonly everySeconds: number };

/** How to open an engine. */
export interface EngineOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly dataDirectory: string;
  readonly indexDirectory: string;
  /** A single-mode engine refuses namespaces of the other mode; undefined is the mixed mode. */
  readonly mode?: NamespaceMode;
  /** Size of a data file that triggers rotation, 524288 … 4294967294 bytes. */
  readonly dataSizeBytes: number;
  readonly sync: SyncPolicy;
  /** Sync index and data just before rotating away from them. */
  readonly syncOnRotation?: boolean;
  readonly presence?: Presence;
  readonly events?: EngineEvents;
}

/** One data file as the offload engine sees it. */
export interface DataFileInfo {
  readonly file: number;
  readonly sizeBytes: number;
  /** Bytes of live entries (header, key and payload). */
  readonly liveBytes: number;
  readonly closed: boolean;
}

/** Settings of a namespace; `locked` and `frozen` are of this run only. */
export interface NamespaceSettings {
  readonly password: Uint8Array | undefined;
  readonly public: boolean;
  readonly worm: boolean;
  /** 0: unlimited. Counts live payload bytes. */
  readonly maxSizeBytes: number;
  readonly locked: boolean;
  readonly frozen: boolean;
}

/** What is known of a live key without touching data files. */
export interface EntryInfo {
  readonly lengthBytes: number;
  readonly timestamp: number;
  readonly crc: number;
  readonly dataFile: number;
  readonly dataOffset: number;
  readonly indexFile: number;
  readonly indexOffset: number;
}

/** Bytes of one record: whole, or in parts that are stored one behind the other (a header and a borrowed body). */
export type Payload = Uint8Array | readonly Uint8Array[];

/**
 * One namespace. Reads see what was written before, committed or not. Keys of `seq` namespaces are 8 bytes, little-endian;
 * the `…Id` methods take them as integers below 2^53 and are the fast path of the filesystem.
 */
export interface Namespace {
  readonly name: string;
  readonly mode: NamespaceMode;
  readonly settings: NamespaceSettings;
  /** Persists what is persistent of the settings. */
  configure(change: Partial<NamespaceSettings> & { readonly mode?: NamespaceMode }): void;

  readonly entries: number;
  readonly dataSizeBytes: number;
  readonly indexSizeBytes: number;
  /** Next sequential id (seq), or entries written (user). */
  readonly nextId: number;
  readonly activeFile: number;
  readonly activeOffset: number;

  /**
   * Stores a record. Payload buffers are borrowed until the next `commit()`.
   * @returns the key, or undefined when the stored value is identical (nothing was written)
   * @throws StoreError (full, worm, …), NotLocal, IoError
   */
  set(key: Uint8Array, payload: Payload, timestamp?: number): Uint8Array | undefined;
  /** undefined: no such key. @throws StoreError('corrupt') when the checksum does not match; NotLocal; IoError */
  get(key: Uint8Array): Uint8Array | undefined;
  remove(key: Uint8Array, timestamp?: number): boolean;
  info(key: Uint8Array): EntryInfo | undefined;

  /** Appends a record and returns its new id. Payload buffers are borrowed until the next `commit()`. (seq) */
  insertId(payload: Payload): number;
  /** Replaces the record of a live id; never compares with the old value and never reads it. (seq) */
  updateId(id: number, payload: Payload): void;
  /** Whole record, verified; undefined when the id is not live. (seq) */
  readId(id: number): Uint8Array | undefined;
  /**
   * Part of a record straight into `target`: fills it from `offset` of the payload; returns the bytes read. The record is
   * verified whole the first time it is touched in this run and remembered (bounded); later parts are read directly. (seq)
   */
  readIdInto(id: number, offset: number, target: Uint8Array): number;
  lengthOfId(id: number): number | undefined;
  removeId(id: number): boolean;

  /** Closes the active pair of files and starts the next (NSJUMP). Commits first. */
  rotate(): void;
  /** Returns when everything committed is on stable storage. Commits first. */
  sync(): void;
  /** Removes all records and files; settings stay. A crash inside leaves either all or nothing. */
  flush(): void;

  /** Index files with entries changed in place since the last `clearDirty`, ascending; appends do not count. */
  dirtyIndexFiles(): number[];
  clearDirty(): void;
  /** All data files, ascending. Live bytes are counted per file. */
  dataFiles(): DataFileInfo[];
  dataPath(file: number): string;
  indexPath(file: number): string;
}

/** An open store: several namespaces in one pair of directories, locked against a second opener. */
export interface Engine {
  namespace(name: string): Namespace | undefined;
  namespaces(): readonly Namespace[];
  createNamespace(name: string, mode?: NamespaceMode): Namespace;
  removeNamespace(name: string): void;
  /** Drops what is in memory of the namespace and loads it from its files again. */
  reload(name: string): void;
  /**
   * Writes everything appended since the last call, of all namespaces: per namespace one vectored write for data and one for
   * the index; then syncs as the policy says. On an error what could not be written is forgotten everywhere: memory and
   * files are as before the uncommitted operations, and the error is thrown.
   */
  commit(): void;
  /** Commits, syncs and unlocks. */
  close(): void;
}

/** Why the engine refuses an operation; not an input/output error. */
export type StoreErrorReason =
  | 'key-too-large'
  | 'key-needed'
  | 'update-only'
  | 'worm'
  | 'full'
  | 'corrupt'
  | 'missing-data'
  | 'bad-cursor'
  | 'no-more-data'
  | 'name-not-allowed'
  | 'exists'
  | 'not-found'
  | 'mode-fixed'
  | 'locked-directory'
  | 'bad-files';

/** The engine refuses; `reason` says why, the message tells the operator. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly reason: StoreErrorReason;

  constructor(reason: StoreErrorReason, message: string) {
    super(message);
    this.reason = reason;
  }
}
