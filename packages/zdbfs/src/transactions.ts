// How a volume changes: an operation is written to the journal, then carried out in memory. Also everything a change
// needs around it: ids set aside for new records, room, the time, and checkpoints when journal or memory have grown.
//
// Invariant: what is in memory is exactly what recovery would make of the store. A failure before the journal has the
// operation changes nothing; one afterwards can only be a bug or a broken disk, and then the volume refuses all further
// changes until it is mounted again.
import { FilesystemError } from '@qsfs/fuse';
import { type Clock, type SyncSteps, syncAtOnce } from '@qsfs/io';
import { apply } from './apply.ts';
import { checkpointSteps } from './checkpoint.ts';
import type { Journal } from './journal.ts';
import type { Operation, ReserveOperation } from './operation.ts';
import type { Moment } from './record.ts';
import { RESERVED_RECORD } from './record-codec.ts';
import { isOutOfSpace, storageError } from './storage-error.ts';
import type { VolumeState } from './volume-state.ts';

/** Ids set aside at once. */
const RESERVE_COUNT = 512;
/** No single operation makes more new records than this. */
const NEW_RECORDS_MAX = 48;
/** Of a disk that is filling up, this is left for metadata, deletions and checkpoints. */
const SPARE_BYTES = 64 * 1024 * 1024;
/** … but of a small disk not more than one part in so many. */
const SPARE_SHARE = 16;
/** The store is asked for its space again after so many bytes. */
const SPACE_CHECK_BYTES = 1024 * 1024;
/** After a checkpoint that failed for lack of space, the journal grows by this before the next attempt. */
const RETRY_BYTES = 4 * 1024 * 1024;

/** Checkpoints that somebody else should have made are made at once at so many times the limits. */
const OVERDUE = 2;

/** So many records that became unnecessary lead to a checkpoint, because their list is part of the superblock. */
const DOOMED_MAX = 256 * 1024;
/** With a longer list of removable records than this, each operation removes some. */
const BACKLOG = 4096;
const BACKLOG_STEP = 64;

/** What file contents leave of a disk of this size. */
export function spareBytes(totalBytes: number): number {
  return Math.min(SPARE_BYTES, Math.floor(totalBytes / SPARE_SHARE));
}

/** Bounds a volume works within. */
export interface TransactionLimits {
  /** Bytes that files may hold; 0: whatever the disk has. */
  readonly sizeBytes: number;
  /** Journal size, and memory of changed records, that lead to a checkpoint. */
  readonly journalBytes: number;
  readonly dirtyBytes: number;
  /** Somebody makes checkpoints when they are due; only when they are long overdue they are made here, at once. */
  readonly patient: boolean;
}

/** See the module's header. */
export class Transactions {
  readonly state: VolumeState;
  readonly #journal: Journal;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #limits: TransactionLimits;
  #broken: Error | undefined;
  /** What was committed and not synced since. */
  #unsyncedData = false;
  #unsyncedMeta = false;
  #unsyncedJournal = true;
  /** Bytes of file contents among it, and how long the journal was then. */
  #unsyncedContents = 0;
  #syncedJournalBytes = 0;
  #availableBytes = 0;
  #uncheckedBytes = Number.POSITIVE_INFINITY;
  /** Journal size at which a checkpoint that failed is tried again; 0: none failed. */
  #retryAtBytes = 0;
  checkpoints = 0;
  operations = 0;

  constructor(state: VolumeState, journal: Journal, clock: Pick<Clock, 'now'>, limits: TransactionLimits) {
    this.state = state;
    this.#journal = journal;
    this.#clock = clock;
    this.#limits = limits;
  }

  get journalBytes(): number {
    return this.#journal.sizeBytes;
  }

  /** Bytes that `syncSteps` has to bring to the disk, about. */
  get unsyncedBytes(): number {
    return this.#unsyncedContents + Math.max(0, this.#journal.sizeBytes - this.#syncedJournalBytes);
  }

  get limits(): TransactionLimits {
    return this.#limits;
  }

  /** The present time. */
  now(): Moment {
    return this.#clock.now();
  }

  /**
   * Journals an operation whose needs were all checked and loaded, and carries it out.
   * @throws FilesystemError when the journal cannot take it; then nothing changed
   */
  run(operation: Operation, time: Moment = this.now()): void {
    this.assertWritable();
    this.#append(time, operation);
    this.#apply(time, operation);
    this.operations++;
    if (this.isDue(this.#limits.patient ? OVERDUE : 1)) syncAtOnce(this.checkpointIfPossibleSteps());
  }

  /** @throws FilesystemError(EIO) when an earlier failure left memory and store in doubt */
  assertWritable(): void {
    if (this.#broken)
      throw new FilesystemError('EIO', `the volume takes no more changes: ${this.#broken.message}`);
  }

  /**
   * Sees to it that ids for the records one operation may make are set aside.
   * @throws FilesystemError(ENOSPC)
   */
  reserveIds(): void {
    const { state } = this;
    if (state.freeIds.length >= NEW_RECORDS_MAX) return;
    this.assertWritable();
    const ids: number[] = [];
    try {
      for (let at = 0; at < RESERVE_COUNT; at++) ids.push(state.store.meta.insert(RESERVED_RECORD));
      this.run(reserveOperation(ids));
    } catch (error) {
      this.#discard(ids);
      throw storageError(error);
    }
  }

  /**
   * Makes sure that `growthBytes` more fit, and refreshes what is known of the disk now and then.
   * @throws FilesystemError(ENOSPC)
   */
  assertRoom(growthBytes: number): void {
    const { sizeBytes } = this.#limits;
    if (sizeBytes > 0 && growthBytes > 0 && this.state.usedBytes + growthBytes > sizeBytes)
      throw new FilesystemError('ENOSPC', 'the volume has reached its size');
    this.#uncheckedBytes += growthBytes + 512;
    if (this.#uncheckedBytes > SPACE_CHECK_BYTES || growthBytes > this.#availableBytes) {
      this.#availableBytes = this.availableBytes();
      this.#uncheckedBytes = 0;
    }
    if (this.#availableBytes - this.#uncheckedBytes < growthBytes) {
      this.#uncheckedBytes = Number.POSITIVE_INFINITY;
      throw new FilesystemError('ENOSPC', 'the disk under the volume is full');
    }
  }

  /** What the disk still has for file contents, the spare room excepted. */
  availableBytes(): number {
    const { totalBytes, availableBytes } = this.state.store.space();
    return Math.max(0, availableBytes - spareBytes(totalBytes));
  }

  /**
   * Brings everything done so far to stable storage.
   * @throws FilesystemError(EIO); the volume then takes no more changes, because nobody knows what was lost
   */
  *syncSteps(): SyncSteps {
    if (this.#broken) throw new FilesystemError('EIO', `an earlier failure: ${this.#broken.message}`);
    if (!this.#unsyncedJournal) return;
    yield* this.#durably(this.#syncAll());
    this.#allSynced();
  }

  *#syncAll(): SyncSteps {
    const { store } = this.state;
    if (this.#unsyncedMeta) yield* store.meta.syncSteps();
    if (this.#unsyncedData) {
      yield* store.data.syncSteps();
      this.#journal.append(this.now(), { kind: 'synced', nextDataId: store.data.nextId });
    }
    yield* store.journal.syncSteps();
  }

  /** Brings zdbfs-meta up to date and empties the journal (checkpoint.ts). @throws FilesystemError */
  *checkpointSteps(): SyncSteps {
    this.assertWritable();
    const { state } = this;
    while (state.removableData.length + state.removableMeta.length > DOOMED_MAX) this.removeDoomed(BACKLOG);
    yield* this.#durably(checkpointSteps(state, this.#journal, this.now()));
    this.#allSynced();
    this.#retryAtBytes = 0;
    this.checkpoints++;
  }

  /** The same; when it cannot be done now it is tried again after the journal has grown. */
  *checkpointIfPossibleSteps(): SyncSteps {
    try {
      yield* this.checkpointSteps();
    } catch (error) {
      this.#retryAtBytes = this.#journal.sizeBytes + RETRY_BYTES;
      const message = error instanceof Error ? error.message : String(error);
      this.state.log('warning', `the checkpoint has to wait: ${message}`);
    }
  }

  /** True when nothing happened since the last checkpoint. */
  get clean(): boolean {
    return this.#journal.sizeBytes === 0 && this.state.cache.dirtyCount === 0;
  }

  /** Removes records from zdbfs-data that were inserted for an operation that then did not happen. */
  discardData(records: readonly number[]): void {
    if (this.#broken) return;
    const { data } = this.state.store;
    for (const id of records) if (data.length(id) !== undefined) data.remove(id);
  }

  /** Removes up to `count` records that no checkpoint needs any more. True when there are more. */
  removeDoomed(count: number): boolean {
    const { state } = this;
    this.assertWritable();
    let rest = count;
    for (const [list, space] of [
      [state.removableData, state.store.data],
      [state.removableMeta, state.store.meta],
    ] as const) {
      const from = Math.max(0, list.length - rest);
      if (from === list.length) continue;
      for (const id of list.slice(from)) space.remove(id);
      try {
        state.store.commit();
      } catch (error) {
        throw storageError(error);
      }
      rest -= list.length - from;
      list.length = from;
    }
    return state.removableData.length > 0 || state.removableMeta.length > 0;
  }

  /** Whether a checkpoint is due, because journal or memory have reached so many times their limits. */
  isDue(times = 1): boolean {
    const { state } = this;
    const { sizeBytes } = this.#journal;
    if (this.#retryAtBytes > 0) return sizeBytes > this.#retryAtBytes + (times - 1) * RETRY_BYTES;
    return (
      sizeBytes > this.#limits.journalBytes * times ||
      state.cache.dirtyBytes > this.#limits.dirtyBytes * times ||
      state.doomedData.length + state.doomedMeta.length > DOOMED_MAX * times
    );
  }

  #append(time: Moment, operation: Operation): void {
    const { removableData, store } = this.state;
    const left = removableData.length > BACKLOG ? removableData.length - BACKLOG_STEP : removableData.length;
    try {
      for (let at = left; at < removableData.length; at++) store.data.remove(removableData[at] as number);
      this.#journal.append(time, operation);
    } catch (error) {
      throw storageError(error);
    }
    removableData.length = left;
    this.#unsyncedJournal = true;
    if (operation.kind === 'write') {
      this.#unsyncedData = true;
      for (const extent of operation.extents) this.#unsyncedContents += extent.lengthBytes;
    }
    if (operation.kind === 'reserve') this.#unsyncedMeta = true;
  }

  #allSynced(): void {
    this.#unsyncedJournal = false;
    this.#unsyncedData = false;
    this.#unsyncedMeta = false;
    this.#unsyncedContents = 0;
    this.#syncedJournalBytes = this.#journal.sizeBytes;
  }

  #apply(time: Moment, operation: Operation): void {
    this.state.applying = true;
    try {
      apply(this.state, time, operation);
    } catch (error) {
      this.#break(error);
      throw error;
    } finally {
      this.state.applying = false;
    }
  }

  *#durably(steps: SyncSteps): SyncSteps {
    try {
      yield* steps;
    } catch (error) {
      const translated = storageError(error);
      if (!isOutOfSpace(translated)) this.#break(error);
      throw translated;
    }
  }

  #discard(ids: readonly number[]): void {
    const { meta } = this.state.store;
    for (const id of ids) if (meta.length(id) !== undefined) meta.remove(id);
  }

  #break(error: unknown): void {
    this.#broken = error instanceof Error ? error : new Error(String(error));
    this.state.log(
      'error',
      `the volume takes no more changes until it is mounted again: ${this.#broken.message}`,
    );
  }
}

/** The operation that sets these ids aside. */
export function reserveOperation(ids: readonly number[]): ReserveOperation {
  const runs: { first: number; count: number }[] = [];
  for (const id of ids) {
    const last = runs.at(-1);
    if (last && last.first + last.count === id) last.count++;
    else runs.push({ first: id, count: 1 });
  }
  return { kind: 'reserve', runs };
}
