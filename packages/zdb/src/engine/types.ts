// What the embedded engine offers and what it asks of the program around it. Formats: docs/formats/zdb.md.
import type { Clock, Disk, Random, SyncSteps } from '@qsfs/io';

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
  /** What else the same operation misses, as far as it has looked: worth bringing at the same time. */
  readonly further: NotLocal[] = [];

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
  /** Where the rest of a range may be had that `has` misses. */
  readonly loans?: Loans;
}

/** Bytes of closed data files that are in memory because they cannot be written into the local file. */
export interface Loans {
  /** True when all of the range that is not in the local file can be had. Called after `has` said no. */
  cover(namespace: string, file: number, offset: number, lengthBytes: number): boolean;
  /** Puts those parts over what was read from the local file. @param target its first `lengthBytes` are the range */
  patch(namespace: string, file: number, offset: number, target: Uint8Array, lengthBytes: number): void;
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
  /**
   * Has the disk begin to write a part of a data file that will be synced. It only saves time then, and may itself wait for a busy disk.
   * Default: `DiskFile.startWriteback`, here and now.
   */
  readonly writeAhead?: (path: string, position: number, lengthBytes: number) => void;
  /** Memory for cached index slots of `seq` namespaces, per namespace; default 8 MiB. */
  readonly indexCacheBytes?: number;
  /**
   * Bytes of index entries that may wait in memory, per namespace, so that small records cost one system call and not two. Default 0.
   * Safe: after a crash the data files complete the index. But a program that reads the index files of a killed process without
   * recovery sees fewer entries.
   */
  readonly indexTailBytes?: number;
  /** Memory for blocks of data files that small records are read from, all namespaces together; default 16 MiB, 2 MiB in `seq` mode. */
  readonly dataCacheBytes?: number;
  /** Data and index files kept open, at most, all namespaces together; default 512. */
  readonly openFiles?: number;
}

/** Room that `Namespace.readFound` needs beside the value: the head of a record with the longest key, and two bytes. */
export const FOUND_ROOM_BYTES = 18 + 255 + 2;

/** One data file as the offload engine sees it. */
export interface DataFileInfo {
  readonly file: number;
  readonly sizeBytes: number;
  /** Bytes of live entries (header, key and payload). */
  readonly liveBytes: number;
  readonly closed: boolean;
  /** Bytes of dead records that `hollowSteps` has given up in this run. */
  readonly holeBytes: number;
  /** Bytes of dead records that `hollowSteps` has not looked at. */
  readonly unseenDeadBytes: number;
  /** Closed, nothing in it is alive, and not mainly deletion markers: `discardSteps` would remove it. */
  readonly discardable: boolean;
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

/** One entry met by a walk over a namespace. */
export interface ScannedEntry {
  readonly key: Uint8Array;
  readonly lengthBytes: number;
  /** Seconds since 1970, unsigned 32 bit. */
  readonly timestamp: number;
}

/** Part of a walk: at least one entry, and the 17-byte cursor of the last one (docs/formats/zdb.md, "Cursors"). */
export interface ScanBatch {
  readonly entries: readonly ScannedEntry[];
  readonly cursor: Uint8Array;
}

/** Where a walk stops, whichever comes first; at least one entry is returned when there is one. */
export interface ScanLimits {
  /** Default 2 ms. */
  readonly timeMs?: number;
  /** Default: no limit but the time. */
  readonly entries?: number;
}

/** One version of a key. */
export interface HistoryEntry {
  /** 8-byte cursor of the next older version; undefined: this is the oldest. */
  readonly older: Uint8Array | undefined;
  readonly timestamp: number;
  readonly payload: Uint8Array;
}

/** One entry of a data file as it is stored (DATA RAW). */
export interface RawEntry {
  readonly key: Uint8Array;
  /** The stored `previous` field. */
  readonly previous: number;
  readonly crc: number;
  /** 1: deletion marker; 2: a dead record whose payload was given up, in whole or in part. */
  readonly flags: number;
  readonly timestamp: number;
  /** undefined for a deletion marker. */
  readonly payload: Uint8Array | undefined;
  /** Offset of the entry behind it. */
  readonly nextOffset: number;
}

/** Whether a stored payload matches its checksum; `unreadable`: the data file does not hold all of it. */
export type CheckResult = 'intact' | 'corrupt' | 'unreadable';

/** Counters since opening. */
export interface IoStatistics {
  indexReadBytes: number;
  indexWrittenBytes: number;
  dataReadBytes: number;
  dataWrittenBytes: number;
  indexReadFailures: number;
  indexWriteFailures: number;
  dataReadFailures: number;
  dataWriteFailures: number;
  /** Unix time of the last failure; 0: none. */
  lastIndexFailure: number;
  lastDataFailure: number;
}

/** What a compaction did. */
export interface CompactionResult {
  /** Data files whose live entries were moved and which were emptied and removed. */
  readonly removedFiles: readonly number[];
  readonly movedEntries: number;
  readonly movedBytes: number;
  readonly freedBytes: number;
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
  /** Directories as given plus the name, for the operator; the same string everywhere. */
  readonly dataDirectory: string;
  readonly indexDirectory: string;
  readonly statistics: Readonly<IoStatistics>;
  /**
   * Changes settings and persists what is persistent of them (all but `locked`, `frozen` and what `override` set). Takes effect at
   * once, not with `commit`. @throws StoreError('mode-fixed') unless the namespace is fresh and the engine mixed
   */
  configure(change: Partial<NamespaceSettings> & { readonly mode?: NamespaceMode }): void;

  /** Settings of this run only: they hold over the stored ones until overridden again and are never written to disk (D15). */
  override(change: Partial<NamespaceSettings>): void;
  /** True while no entry was ever written and file 0 is active: the mode may still change. */
  readonly fresh: boolean;

  readonly entries: number;
  readonly dataSizeBytes: number;
  readonly indexSizeBytes: number;
  /** Next sequential id (seq), or keys inserted since opening and index entries read then (user). */
  readonly nextId: number;
  readonly activeFile: number;
  readonly activeOffset: number;
  /** Monotonic milliseconds when the active pair was opened, and whether it got an entry since (time-based rotation). */
  readonly activeSinceMs: number;
  readonly activeAppended: boolean;

  /**
   * Stores a record (SET with checks 2 and 4 to 9 of the command table). Payload buffers are borrowed until the next `commit()`.
   * An empty key inserts (seq). Writes nothing to disk itself, so it never fails for lack of space: `commit()` does.
   * @param timestamp seconds since 1970, unsigned 32 bit; default now
   * @param compare false: do not read the old value to see whether it is the same (when it cannot be brought)
   * @returns the key, or undefined when the stored value is identical (nothing was written)
   * @throws StoreError (key-too-large, payload-too-large, worm, full, key-needed, update-only, commit-first); NotLocal when the old
   *   value must be compared and is not here (nothing was changed); IoError
   */
  set(key: Uint8Array, payload: Payload, timestamp?: number, compare?: boolean): Uint8Array | undefined;
  /**
   * undefined: no such key. The value is in memory of its own.
   * @throws NotLocal when the bytes are not here: `presence` says so, or the whole data file is missing;
   *   StoreError('missing-data') when the file is too short, StoreError('corrupt') when checksum or key do not match; IoError
   */
  get(key: Uint8Array): Uint8Array | undefined;
  /**
   * Says which keys the next calls will be about, so that the processor can fetch what it needs for them. Changes nothing.
   * @param positions where each key begins in `bytes`, and its length, in pairs
   * @param count number of keys
   */
  expect(bytes: Uint8Array, positions: Int32Array, count: number): void;
  /** Length of the value of a key, or -1: no such key. For a server: `copyFound` or `readFound` follows, with the same key. */
  find(key: Uint8Array): number;
  /** Copies the value that `find` found, of less than 16 KiB, to `target[at…]`. @throws as `get`; `target` is then unchanged */
  copyFound(key: Uint8Array, target: Uint8Array, at: number): void;
  /**
   * The value that `find` found, in `memory` or in memory of its own. `memory` must have room for FOUND_ROOM_BYTES more than the value;
   * at least 18 bytes before the value and two behind it may then be written over.
   * @throws as `get`
   */
  readFound(key: Uint8Array, memory?: Uint8Array): Uint8Array;
  /** Compares the stored payload with its checksum; undefined: no such key. @throws NotLocal */
  check(key: Uint8Array): CheckResult | undefined;
  /** Appends a deletion marker; false: no such key. @throws StoreError('worm', 'commit-first') */
  remove(key: Uint8Array, timestamp?: number): boolean;
  info(key: Uint8Array): EntryInfo | undefined;

  /**
   * Next part of a walk in index order (SCAN) or against it (RSCAN), after (before) the cursor's entry; undefined: no more data.
   * @throws StoreError('bad-cursor')
   */
  scan(direction: 'forward' | 'backward', cursor?: Uint8Array, limits?: ScanLimits): ScanBatch | undefined;
  /** 17-byte cursor of the key's entry (KEYCUR); undefined: no such key. */
  cursorOf(key: Uint8Array): Uint8Array | undefined;
  /** Live keys that begin with `prefix`, by CRC of the key modulo 2^24, then age (KSCAN). (user) */
  keysWithPrefix(prefix: Uint8Array): Uint8Array[];
  /**
   * The current version of a key, or the one an 8-byte cursor names (HISTORY).
   * @throws StoreError: not-found (no cursor, key not live), bad-cursor (not 8 bytes), no-more-data (all zero), cursor-entry
   *   (names no entry), cursor-key (entry of another key), missing-data, corrupt; NotLocal
   */
  history(key: Uint8Array, cursor?: Uint8Array): HistoryEntry;
  /**
   * An entry by position, deletion markers included (DATA RAW).
   * @throws StoreError: no-such-file, end-of-file (offset at or behind the end), unreadable (no whole entry there); NotLocal
   */
  rawEntry(file: number, offset: number): RawEntry;

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

  /** Whether a payload of so many bytes would close the active pair, which holds something. */
  closing(payloadBytes: number): boolean;
  /** Closes the active pair of files and starts the next (NSJUMP). Commits first. */
  rotate(): void;
  /** The same in steps, so that closing the pair has nothing left to wait for. The namespace must not be changed in between. */
  rotateSteps(): SyncSteps;
  /** Returns when everything committed is on stable storage. Commits first. */
  sync(): void;
  /** The same in steps. The namespace must not be changed in between. */
  syncSteps(): SyncSteps;
  /** Removes all records and files; settings stay. A crash inside leaves either all or nothing. */
  flush(): void;
  /** The same in steps. The namespace must neither be read nor changed in between. */
  flushSteps(): SyncSteps;

  /** Index files with entries changed in place since the last `clearDirty`, ascending; appends do not count. */
  dirtyIndexFiles(): number[];
  clearDirty(): void;
  /** All data files, ascending. Live bytes are counted per file. */
  dataFiles(): DataFileInfo[];
  dataPath(file: number): string;
  indexPath(file: number): string;
  /**
   * Gives space back: moves the live entries of closed, local data files of which at most `maxLiveRatio` is alive to the end of the
   * log, and removes the files; stops after `budgetBytes` were moved. Commits; what was moved is synced before a file is removed. History of moved keys is cut.
   * Files in which nothing is dead are left alone.
   * @param before only files below this number, or the active one's: who calls until nothing is left gives the same one each time
   */
  compact(maxLiveRatio: number, budgetBytes: number, before?: number): CompactionResult;
  /**
   * Gives space back where it moves nothing: whole blocks inside the payloads of dead records of these data files, if they are closed and
   * here, become holes. Commits, and brings to stable storage what made the records dead. Their history is lost. The namespace must not
   * be changed between the steps. (seq)
   */
  hollowSteps(files: Iterable<number>): SyncSteps;
  /**
   * Removes those of these data files that are discardable, whether they are here or not. Commits and syncs
   * before. The namespace must not be changed between the steps.
   */
  discardSteps(files: Iterable<number>): SyncSteps;
  /**
   * Writes the live records of a closed data file again at the end of the log (their history is cut) and brings them to stable storage; the
   * file itself stays, with nothing alive in it but damaged records, for `discardSteps`. The records are all here, or nothing is moved. The
   * namespace must not be changed between the steps. (seq)
   * @param moved told of payload bytes that were moved, a portion at a time
   * @throws NotLocal
   */
  relocateSteps(file: number, moved: (bytes: number) => void): SyncSteps;
}

/** An open store: several namespaces in one pair of directories, locked against a second opener. */
export interface Engine {
  /** Sums over all namespaces, removed ones included. */
  readonly statistics: Readonly<IoStatistics>;
  /** Bytes waiting for `commit()`. Past 1 GiB writing calls throw StoreError('commit-first') before changing anything. */
  readonly pendingBytes: number;
  namespace(name: string): Namespace | undefined;
  /** `default` first, then in the order of their slots (a new one takes the first free slot). */
  namespaces(): readonly Namespace[];
  /** @throws StoreError('name-not-allowed', 'exists'); IoError. Nothing is left behind on failure. */
  createNamespace(name: string, mode?: NamespaceMode): Namespace;
  /** Removes a namespace with its files. @throws StoreError('not-found', 'name-not-allowed' for `default`) */
  removeNamespace(name: string): void;
  /** Drops what is in memory of the namespace and loads it from its files again. */
  reload(name: string): void;
  /**
   * Writes everything appended since the last call, of all namespaces: per namespace one vectored write for data and one for
   * the index; then syncs as the policy says. On an error what could not be written is forgotten everywhere: memory and
   * files are as before the uncommitted operations, and the error is thrown.
   */
  commit(): void;
  /**
   * Closes cached descriptors of files not used since the last call, and has the others looked up by name again before their next
   * use, so that data files removed or replaced by an operator are noticed. Call it from time to time, a second apart or so.
   */
  closeIdleFiles(): void;
  /**
   * Commits; where changes of older index entries wait for the data they stem from to be on stable storage, syncs that data and
   * writes them. Then the index files say everything by themselves, also to a program that does not repair them from the data.
   */
  writeHeldChanges(): void;
  /** Commits, syncs and unlocks. */
  close(): void;
}

/** Why the engine refuses an operation; not an input/output error. */
export type StoreErrorReason =
  | 'key-too-large'
  | 'payload-too-large'
  | 'commit-first'
  | 'key-needed'
  | 'update-only'
  | 'worm'
  | 'full'
  | 'corrupt'
  | 'missing-data'
  | 'bad-cursor'
  | 'no-more-data'
  | 'cursor-entry'
  | 'cursor-key'
  | 'no-such-file'
  | 'end-of-file'
  | 'unreadable'
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
