// One open namespace: the checks of every command, rotation, and the batch. Finding and indexing is the records' (user-records.ts,
// seq-records.ts), bytes are the log's (log.ts), verified reading the reader's (reader.ts).
//
// Rule: a method reads everything it needs before it changes anything, so that NotLocal can be thrown and the call repeated.
import { type Clock, type Random, type SyncSteps, syncAtOnce } from '@qsfs/io';
import { payloadChecksum, payloadLength } from './checksum.ts';
import { type CompactionHost, compact, discardSteps, relocateSteps } from './compact.ts';
import { isDiscardable, unseenDeadBytes } from './discardable.ts';
import { DATA_HEADER_BYTES, KEY_MAX_BYTES, PAYLOAD_MAX_BYTES } from './format/data-format.ts';
import { encodeIndexHeader, ID_BYTES, INDEX_HEADER_BYTES } from './format/index-format.ts';
import { hollowSteps } from './hollow.ts';
import type { Log } from './log/log.ts';
import type { LogWriter } from './log/log-writer.ts';
import { emptyPlace, type Place } from './place.ts';
import { RecordReader } from './reader.ts';
import type { Records } from './records.ts';
import { keyOfId, SeqRecords } from './seq-records.ts';
import type { Settings } from './settings.ts';
import {
  type CheckResult,
  type CompactionResult,
  type DataFileInfo,
  type EntryInfo,
  type HistoryEntry,
  type IoStatistics,
  type Namespace,
  type NamespaceMode,
  type NamespaceSettings,
  NotLocal,
  type Payload,
  type RawEntry,
  type ScanBatch,
  type ScanLimits,
  StoreError,
} from './types.ts';
import { UserRecords } from './user-records.ts';
import { cursorAt, historyAt, scan, versionAt } from './walk.ts';

/** What a namespace asks of its engine. */
export interface NamespaceHost {
  readonly clock: Clock;
  readonly random: Random;
  readonly dataSizeBytes: number;
  readonly mode: NamespaceMode | undefined;
  /** Bytes that all namespaces together have pending. */
  readonly pendingBytes: number;
  /** The namespace has something for the next commit. */
  touched(namespace: StoreNamespace): void;
  commit(): void;
  /** Empties the namespace's files and gives it a new log. */
  flushSteps(namespace: StoreNamespace): SyncSteps;
  updated(namespace: StoreNamespace): void;
}

/** Past this many pending bytes writing calls are refused until a commit. */
export const PENDING_MAX_BYTES = 1 << 30;

/** A namespace and the parts it is made of; `load` puts them together (load.ts). */
export interface NamespaceParts {
  readonly log: Log;
  readonly writer: LogWriter;
  readonly records: UserRecords | SeqRecords;
  /** There were no files: they were made, and are not synced. */
  readonly made: boolean;
}

/** The engine's implementation of a namespace. */
export class StoreNamespace implements Namespace {
  readonly name: string;
  readonly store: Settings;
  log!: Log;
  writer!: LogWriter;
  activeSinceMs = 0;
  activeAppended = false;
  readonly #host: NamespaceHost;
  readonly #place: Place = emptyPlace();
  #records!: Records;
  #user: UserRecords | undefined;
  #seq: SeqRecords | undefined;
  #reader!: RecordReader;
  #touched = false;
  #pending = 0;

  constructor(name: string, store: Settings, parts: NamespaceParts, host: NamespaceHost) {
    this.name = name;
    this.store = store;
    this.#host = host;
    this.adopt(parts);
  }

  /** Takes freshly loaded parts (at opening, reload and flush). */
  adopt(parts: NamespaceParts): void {
    this.log = parts.log;
    this.writer = parts.writer;
    this.#adoptRecords(parts.records);
    this.log.recording = true;
    this.log.dirty.clear();
    this.activeSinceMs = this.#host.clock.monotonicMs();
    this.activeAppended = false;
    this.#touched = false;
    this.#pending = 0;
  }

  get mode(): NamespaceMode {
    return this.log.mode;
  }
  get settings(): NamespaceSettings {
    return this.store.current;
  }
  get dataDirectory(): string {
    return this.log.data.directory;
  }
  get indexDirectory(): string {
    return this.log.index.directory;
  }
  get statistics(): Readonly<IoStatistics> {
    return this.log.counters.own;
  }
  get entries(): number {
    return this.#records.tally.entries;
  }
  get dataSizeBytes(): number {
    return this.#records.tally.dataBytes;
  }
  get indexSizeBytes(): number {
    return this.#records.tally.indexBytes;
  }
  get nextId(): number {
    return this.#seq ? this.#seq.nextId : this.#records.tally.written;
  }
  get activeFile(): number {
    return this.log.active;
  }
  get activeOffset(): number {
    return this.log.dataEnds[this.log.active]!;
  }
  get fresh(): boolean {
    return this.log.active === 0 && this.log.indexEnds[0] === INDEX_HEADER_BYTES;
  }
  /** Bytes this namespace added to the batch, for the engine's bound. */
  get pendingBytes(): number {
    return this.#pending;
  }

  configure(change: Partial<NamespaceSettings> & { readonly mode?: NamespaceMode }): void {
    if (change.mode !== undefined) {
      if (this.#host.mode) throw new StoreError('mode-fixed', 'this engine runs all namespaces in one mode');
      if (!this.fresh)
        throw new StoreError('mode-fixed', 'only a namespace never written to can change its mode');
      if (change.mode !== this.mode) this.#changeMode(change.mode);
    }
    this.store.configure(change);
    this.#host.updated(this);
  }

  override(change: Partial<NamespaceSettings>): void {
    this.store.override(change);
  }

  set(key: Uint8Array, payload: Payload, timestamp = this.#now(), compare = true): Uint8Array | undefined {
    if (key.length > KEY_MAX_BYTES)
      throw new StoreError('key-too-large', `a key has at most ${KEY_MAX_BYTES} bytes`);
    const length = this.#admit(payload);
    const place = this.#place;
    const found = key.length > 0 && this.#records.locate(key, place);
    if (found && this.settings.worm) throw this.#worm();
    this.#requireRoom(length, found ? place.payloadBytes : 0);
    const crc = payloadChecksum(payload);
    const same = found && compare && this.#isSame(key, place, payload, length, crc);
    // Everything is read: from here on things change. The rotation comes first even when nothing is stored (6.3).
    this.#rotateFor(key.length, length);
    if (same) return undefined;
    if (key.length === 0) {
      if (!this.#seq) throw new StoreError('key-needed', 'this namespace needs a key');
      return keyOfId(this.#insert(payload, length, crc, timestamp));
    }
    if (!found && this.#seq)
      throw new StoreError('update-only', 'no such id: new ids are given out by the store');
    this.#touch(length);
    this.#records.write(key, found ? place : undefined, payload, length, crc, timestamp);
    return key;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.find(key) < 0 ? undefined : this.#reader.read(key, this.#place);
  }

  expect(bytes: Uint8Array, positions: Int32Array, count: number): void {
    this.#user?.expect(bytes, positions, count);
  }

  find(key: Uint8Array): number {
    return this.#records.locate(key, this.#place) ? this.#place.payloadBytes : -1;
  }

  copyFound(key: Uint8Array, target: Uint8Array, at: number): void {
    this.#reader.copy(key, this.#place, target, at);
  }

  readFound(key: Uint8Array, memory?: Uint8Array): Uint8Array {
    return this.#reader.read(key, this.#place, memory);
  }

  check(key: Uint8Array): CheckResult | undefined {
    if (!this.#records.locate(key, this.#place)) return undefined;
    try {
      this.#reader.read(key, this.#place);
      return 'intact';
    } catch (error) {
      if (error instanceof StoreError) return error.reason === 'corrupt' ? 'corrupt' : 'unreadable';
      if (error instanceof NotLocal) throw error;
      return 'unreadable';
    }
  }

  remove(key: Uint8Array, timestamp = this.#now()): boolean {
    this.#requireBatchRoom();
    if (!this.#records.locate(key, this.#place)) return false;
    if (this.settings.worm) throw this.#worm();
    if (this.log.overflows(key.length, 0)) this.#rotate();
    this.#touch(0);
    this.#records.remove(key, this.#place, timestamp);
    return true;
  }

  info(key: Uint8Array): EntryInfo | undefined {
    const place = this.#place;
    if (!this.#records.locate(key, place)) return undefined;
    return {
      lengthBytes: place.payloadBytes,
      timestamp: place.timestamp,
      crc: place.crc,
      dataFile: place.dataFile,
      dataOffset: place.dataOffset,
      indexFile: place.indexFile,
      indexOffset: place.indexOffset,
    };
  }

  scan(
    direction: 'forward' | 'backward',
    cursor?: Uint8Array,
    limits: ScanLimits = {},
  ): ScanBatch | undefined {
    return scan(this.log, direction, cursor, limits);
  }

  cursorOf(key: Uint8Array): Uint8Array | undefined {
    return this.#records.locate(key, this.#place) ? cursorAt(this.#place) : undefined;
  }

  keysWithPrefix(prefix: Uint8Array): Uint8Array[] {
    if (!this.#user) throw new StoreError('mode-fixed', 'keys with a prefix exist in user mode only');
    return this.#user.table.keysWithPrefix(prefix);
  }

  history(key: Uint8Array, cursor?: Uint8Array): HistoryEntry {
    let position: ReturnType<typeof versionAt>;
    if (cursor) position = historyAt(this.log, key, cursor);
    else {
      if (!this.#records.locate(key, this.#place)) throw new StoreError('not-found', 'no such key');
      position = versionAt(this.log, key, this.#place.indexFile, this.#place.indexOffset);
    }
    const payload = this.#reader.read(key, position.place);
    return { older: position.older, timestamp: position.place.timestamp, payload };
  }

  rawEntry(file: number, offset: number): RawEntry {
    const place = this.#place;
    const isLive = (key: Uint8Array): boolean =>
      this.#records.locate(key, place) && place.dataFile === file && place.dataOffset === offset;
    return this.#reader.rawEntry(file, offset, isLive);
  }

  insertId(payload: Payload): number {
    const length = this.#admit(payload);
    this.#requireSeq();
    this.#requireRoom(length, 0);
    const crc = payloadChecksum(payload);
    this.#rotateFor(ID_BYTES, length);
    return this.#insert(payload, length, crc, this.#now());
  }

  updateId(id: number, payload: Payload): void {
    const length = this.#admit(payload);
    const seq = this.#requireSeq();
    const place = this.#place;
    if (!seq.locateId(id, place)) throw new StoreError('not-found', `${this.name}: id ${id} is not live`);
    if (this.settings.worm) throw this.#worm();
    this.#requireRoom(length, place.payloadBytes);
    const crc = payloadChecksum(payload);
    this.#rotateFor(ID_BYTES, length);
    this.#touch(length);
    seq.update(id, place, payload, length, crc, this.#now());
  }

  readId(id: number): Uint8Array | undefined {
    if (!this.#requireSeq().locateId(id, this.#place)) return undefined;
    return this.#reader.read(keyOfId(id), this.#place);
  }

  readIdInto(id: number, offset: number, target: Uint8Array): number {
    if (!this.#requireSeq().locateId(id, this.#place))
      throw new StoreError('not-found', `${this.name}: id ${id} is not live`);
    return this.#reader.readInto(this.#place, offset, target);
  }

  lengthOfId(id: number): number | undefined {
    return this.#requireSeq().locateId(id, this.#place) ? this.#place.payloadBytes : undefined;
  }

  removeId(id: number): boolean {
    this.#requireBatchRoom();
    const seq = this.#requireSeq();
    if (!seq.locateId(id, this.#place)) return false;
    if (this.settings.worm) throw this.#worm();
    if (this.log.overflows(ID_BYTES, 0)) this.#rotate();
    this.#touch(0);
    seq.removeId(id, this.#place, this.#now());
    return true;
  }

  closing(payloadBytes: number): boolean {
    return this.activeOffset > DATA_HEADER_BYTES && this.#passes(ID_BYTES, payloadBytes);
  }

  rotate(): void {
    this.#rotate();
    this.#host.commit();
  }

  *rotateSteps(): SyncSteps {
    this.#host.commit();
    yield* this.writer.checkpointSteps();
    this.rotate();
  }

  sync(): void {
    syncAtOnce(this.syncSteps());
  }

  *syncSteps(): SyncSteps {
    this.#host.commit();
    yield* this.writer.syncSteps();
  }

  flush(): void {
    syncAtOnce(this.flushSteps());
  }

  flushSteps(): SyncSteps {
    return this.#host.flushSteps(this);
  }

  dirtyIndexFiles(): number[] {
    return [...this.log.dirty].sort((a, b) => a - b);
  }

  clearDirty(): void {
    this.log.dirty.clear();
    this.log.dirtyUndo.length = 0;
  }

  dataFiles(): DataFileInfo[] {
    const { log } = this;
    const files: DataFileInfo[] = [];
    for (let file = 0; file <= log.active; file++) {
      const liveBytes = log.liveBytes[file]!;
      const sizeBytes = log.dataEnds[file]!;
      // Compaction removes data files and leaves their (dead) index files.
      if (sizeBytes < 0 && liveBytes === 0) continue;
      files.push({
        file,
        sizeBytes: Math.max(0, sizeBytes),
        liveBytes,
        closed: file < log.active,
        holeBytes: log.hollowed.get(file)?.holeBytes ?? 0,
        unseenDeadBytes: unseenDeadBytes(log, file),
        discardable: isDiscardable(log, file),
      });
    }
    return files;
  }

  dataPath(file: number): string {
    return this.log.data.path(file);
  }

  indexPath(file: number): string {
    return this.log.index.path(file);
  }

  compact(maxLiveRatio: number, budgetBytes: number, before = this.log.active): CompactionResult {
    return compact(this.#compactionHost(), maxLiveRatio, budgetBytes, before);
  }

  hollowSteps(files: Iterable<number>): SyncSteps {
    return hollowSteps(this.#compactionHost(), files);
  }

  discardSteps(files: Iterable<number>): SyncSteps {
    return discardSteps(this.#compactionHost(), files);
  }

  relocateSteps(file: number, moved: (bytes: number) => void): SyncSteps {
    return relocateSteps(this.#compactionHost(), file, moved);
  }

  /** The batch is written and stays. @returns its rotations */
  accept(): ReturnType<LogWriter['accept']> {
    const rotations = this.writer.accept();
    this.#records.accept();
    if (rotations.length > 0) this.activeSinceMs = this.#host.clock.monotonicMs();
    this.#touched = false;
    this.#pending = 0;
    return rotations;
  }

  /** The batch is taken back. */
  undo(): void {
    this.writer.undo();
    this.#records.undo();
    this.#reader.clear();
    this.#touched = false;
    this.#pending = 0;
  }

  #adoptRecords(records: UserRecords | SeqRecords): void {
    this.#records = records;
    this.#user = records instanceof UserRecords ? records : undefined;
    this.#seq = records instanceof SeqRecords ? records : undefined;
    this.#reader = new RecordReader(this.log);
    records.accept();
  }

  #changeMode(mode: NamespaceMode): void {
    this.#host.commit();
    this.log.indexFile(0).write(encodeIndexHeader(0, mode), 0);
    this.log.indexFile(0).datasync();
    this.log.mode = mode;
    this.#adoptRecords(
      mode === 'seq' ? new SeqRecords(this.log) : new UserRecords(this.log, this.#host.random),
    );
  }

  #insert(payload: Payload, length: number, crc: number, timestamp: number): number {
    this.#touch(length);
    return this.#seq!.insert(payload, length, crc, timestamp);
  }

  /** Whether the stored value equals the new one; when it cannot be read (other than not being here) it counts as changed. */
  #isSame(key: Uint8Array, place: Place, payload: Payload, length: number, crc: number): boolean {
    if (place.payloadBytes !== length || place.crc !== crc) return false;
    try {
      return this.#reader.holds(key, place, payload);
    } catch (error) {
      if (error instanceof NotLocal) throw error;
      return false;
    }
  }

  /** Size checks of a payload. @returns its length */
  #admit(payload: Payload): number {
    const length = payloadLength(payload);
    if (length > PAYLOAD_MAX_BYTES)
      throw new StoreError('payload-too-large', `a payload has at most ${PAYLOAD_MAX_BYTES} bytes`);
    this.#requireBatchRoom();
    return length;
  }

  #requireBatchRoom(): void {
    if (this.#host.pendingBytes > PENDING_MAX_BYTES)
      throw new StoreError('commit-first', `more than ${PENDING_MAX_BYTES} bytes wait for a commit`);
  }

  #requireRoom(length: number, oldLength: number): void {
    const { maxSizeBytes } = this.settings;
    if (maxSizeBytes > 0 && length > 0 && this.dataSizeBytes + length > maxSizeBytes + oldLength)
      throw new StoreError('full', `${this.name}: the limit of ${maxSizeBytes} bytes is reached`);
  }

  #requireSeq(): SeqRecords {
    if (!this.#seq) throw new StoreError('update-only', `${this.name}: ids exist in seq mode only`);
    return this.#seq;
  }

  #worm(): StoreError {
    return new StoreError('worm', `${this.name}: entries are never changed or removed (worm)`);
  }

  /** Rotates when the payload would pass the data size (key and header do not count), or an entry the 32-bit offsets. */
  #rotateFor(keyBytes: number, payloadBytes: number): void {
    if (this.#passes(keyBytes, payloadBytes)) this.#rotate();
  }

  #passes(keyBytes: number, payloadBytes: number): boolean {
    const { log } = this;
    return (
      log.dataEnds[log.active]! + payloadBytes > this.#host.dataSizeBytes ||
      log.overflows(keyBytes || ID_BYTES, payloadBytes)
    );
  }

  #rotate(): void {
    this.log.rotate();
    this.activeAppended = false;
    this.#touch(-1);
  }

  /** @param payloadBytes of the entry about to be appended; -1: no entry */
  #touch(payloadBytes: number): void {
    if (payloadBytes >= 0) {
      this.#pending += payloadBytes + ENTRY_PENDING_BYTES;
      this.activeAppended = true;
    }
    if (this.#touched) return;
    this.#touched = true;
    this.#host.touched(this);
  }

  #now(): number {
    return Math.floor(this.#host.clock.nowMs() / 1000);
  }

  #compactionHost(): CompactionHost {
    return {
      name: this.name,
      log: this.log,
      writer: this.writer,
      seq: this.#seq,
      user: this.#user,
      reader: this.#reader,
      presence: this.log.surroundings.presence,
      dataSizeBytes: this.#host.dataSizeBytes,
      rotate: () => this.#rotate(),
      touch: (payloadBytes) => this.#touch(payloadBytes),
      commit: () => this.#host.commit(),
      sync: () => this.sync(),
    };
  }
}

/** Headers and index entry of a pending record, about. */
const ENTRY_PENDING_BYTES = 96;
