// A mounted volume: the Filesystem the session serves, and what the program around it calls. Each call loads what it
// needs (any of that may throw NotLocal), checks, and ends in one or more operations (transactions.ts).
import {
  type AttributeChange,
  type Attributes,
  type Caller,
  type DirectoryEmitter,
  type Filesystem,
  FilesystemError,
  type FilesystemStatus,
} from '@qsfs/fuse';
import { type Clock, type Random, type SyncSteps, syncAtOnce } from '@qsfs/io';
import { NotLocal } from '@qsfs/zdb';
import {
  changeAttributes,
  getAttribute,
  listAttributes,
  removeAttribute,
  setAttribute,
  statInode,
} from './attribute-calls.ts';
import { Defragmenter } from './defragment.ts';
import {
  allocateRange,
  copyFileRange,
  INLINE_MAX_BYTES,
  readFile,
  seekFile,
  writeFile,
} from './file-calls.ts';
import {
  createInode,
  findInode,
  linkInode,
  listEntries,
  nodeMode,
  removeEntry,
  renameEntry,
} from './name-calls.ts';
import { Reaper } from './reaper.ts';
import { type Inode, TYPE_DIRECTORY, TYPE_MASK, TYPE_SYMLINK } from './record.ts';
import { type RootOwner, recover } from './recovery.ts';
import { References } from './references.ts';
import { Settlement, type Settler } from './settling.ts';
import { isOutOfSpace, storageError } from './storage-error.ts';
import type { Store } from './store.ts';
import { reserveOperation, Transactions } from './transactions.ts';
import { type VerifyReport, verifyVolume } from './verify.ts';
import type { Log } from './volume-state.ts';

const BLOCK_BYTES = 4096;
/** What statfs says of inodes that could still be made. */
const INODES_FREE = 2 ** 32;
/** Records no checkpoint needs any more, removed in one idle step. */
const REMOVE_BATCH = 1024;
/** A journal that has waited this long is checkpointed when nothing else happens. */
const IDLE_CHECKPOINT_MS = 30_000;
/** … if there is at least so much of it. */
const IDLE_CHECKPOINT_BYTES = 256 * 1024;

const TEND_INTERVAL_MS = 1000;
const TEND_BUDGET_BYTES = 32 * 1024 * 1024;
/** Files of which at most this share is in use are given back; and when less than LITTLE_SPACE of the disk is left. */
const LIVE_SHARE = 0.3;
const LIVE_SHARE_FULL = 0.8;
const LITTLE_SPACE = 0.1;

/** How to open a volume. Sizes in bytes. */
export interface VolumeOptions {
  readonly clock: Pick<Clock, 'now' | 'monotonicMs'>;
  readonly random: Random;
  readonly log?: Log;
  /** What files may hold together; 0 or absent: whatever the disk has. */
  readonly sizeBytes?: number;
  /** Memory for metadata that is not changed; default 128 MiB. */
  readonly cacheBytes?: number;
  /** Memory of changed metadata that leads to a checkpoint; default 64 MiB. */
  readonly dirtyBytes?: number;
  /** Journal size that leads to a checkpoint; default 32 MiB. */
  readonly journalBytes?: number;
  /** Owner and permissions of the root directory of a new volume; default 0, 0, 0755. */
  readonly rootOwner?: RootOwner;
  /** Waits for the disk in our place; without one every call that needs it waits itself. */
  readonly settler?: Settler;
}

/** Counters and sizes of a volume, for the operator. */
export interface VolumeStatistics {
  readonly checkpoint: number;
  readonly operations: number;
  readonly checkpoints: number;
  readonly journalBytes: number;
  readonly inodes: number;
  readonly orphans: number;
  readonly usedBytes: number;
  readonly cachedRecords: number;
  readonly cachedBytes: number;
  readonly dirtyRecords: number;
  readonly dirtyBytes: number;
  readonly cacheHits: number;
  readonly cacheMisses: number;
  readonly heldInodes: number;
  /** Data records that are waiting to be removed. */
  readonly doomedRecords: number;
}

/** A mounted volume. Everything from one thread. */
export class Volume implements Filesystem {
  readonly #transactions: Transactions;
  readonly #clock: VolumeOptions['clock'];
  readonly #references = new References();
  readonly #defragmenter: Defragmenter;
  readonly #reaper: Reaper;
  readonly #settlement: Settlement;
  #lastCheckpointMs: number;
  #lastTendedMs: number;
  /** The last attempt to close a data file ahead of a write failed: the write itself is to meet the error. */
  #closingFailed = false;
  #closed = false;

  constructor(transactions: Transactions, clock: VolumeOptions['clock'], settler?: Settler) {
    this.#settlement = new Settlement(settler);
    this.#transactions = transactions;
    this.#clock = clock;
    this.#lastCheckpointMs = clock.monotonicMs();
    this.#lastTendedMs = this.#lastCheckpointMs;
    this.#defragmenter = new Defragmenter(transactions, clock);
    this.#reaper = new Reaper(transactions, this.#references, (inode) => this.#defragmenter.forget(inode));
  }

  // ---- attributes -----------------------------------------------------------------------------------------------

  getAttributes(inode: number): Attributes {
    return statInode(this.#begin().state.inode(inode));
  }

  setAttributes(inode: number, change: AttributeChange): Attributes {
    return statInode(changeAttributes(this.#change(), inode, change));
  }

  getExtendedAttribute(inode: number, name: string): Uint8Array | undefined {
    return getAttribute(this.#begin(), inode, name);
  }

  setExtendedAttribute(inode: number, name: string, value: Uint8Array, flags: number): void {
    setAttribute(this.#change(), inode, name, value, flags);
  }

  listExtendedAttributes(inode: number): readonly string[] {
    return listAttributes(this.#begin(), inode);
  }

  removeExtendedAttribute(inode: number, name: string): void {
    removeAttribute(this.#change(), inode, name);
  }

  // ---- names ----------------------------------------------------------------------------------------------------

  lookup(parent: number, name: string): Attributes | undefined {
    const inode = findInode(this.#begin(), parent, name);
    return inode && this.#taken(inode);
  }

  forget(inode: number, count: number): void {
    if (!this.#references.drop(inode, count)) return;
    if (!this.#transactions.state.orphans.has(inode)) return;
    this.#reaper.add(inode);
    if (this.#reaper.isDue && !this.#settlement.active) this.#quietly(() => this.#reaper.reap());
  }

  makeNode(parent: number, name: string, mode: number, deviceNumber: number, caller: Caller): Attributes {
    const wanted = { parent, name, mode: nodeMode(mode), deviceNumber };
    return this.#taken(createInode(this.#change(), caller, wanted));
  }

  makeDirectory(parent: number, name: string, mode: number, caller: Caller): Attributes {
    const wanted = { parent, name, mode: (mode & ~TYPE_MASK) | TYPE_DIRECTORY, deviceNumber: 0 };
    return this.#taken(createInode(this.#change(), caller, wanted));
  }

  makeSymlink(parent: number, name: string, target: Uint8Array, caller: Caller): Attributes {
    const wanted = { parent, name, mode: TYPE_SYMLINK | 0o777, deviceNumber: 0, target };
    return this.#taken(createInode(this.#change(), caller, wanted));
  }

  makeTemporary(parent: number, mode: number, caller: Caller): Attributes {
    const wanted = { parent, name: undefined, mode: nodeMode(mode), deviceNumber: 0 };
    return this.#taken(createInode(this.#change(), caller, wanted));
  }

  link(inode: number, parent: number, name: string): Attributes {
    return this.#taken(linkInode(this.#change(), inode, parent, name));
  }

  unlink(parent: number, name: string): void {
    this.#lostName(removeEntry(this.#change(), parent, name, false));
  }

  removeDirectory(parent: number, name: string): void {
    this.#lostName(removeEntry(this.#change(), parent, name, true));
  }

  rename(
    sourceParent: number,
    sourceName: string,
    targetParent: number,
    targetName: string,
    flags: number,
  ): void {
    const replaced = renameEntry(this.#change(), sourceParent, sourceName, targetParent, targetName, flags);
    if (replaced) this.#lostName(replaced);
  }

  readLink(id: number): Uint8Array {
    const inode = this.#begin().state.inode(id);
    if ((inode.mode & TYPE_MASK) !== TYPE_SYMLINK || !inode.bytes) throw new FilesystemError('EINVAL');
    return inode.bytes;
  }

  listDirectory(inode: number, cookie: number, emit: DirectoryEmitter, withAttributes: boolean): void {
    const taken = (id: number) => this.#references.take(id);
    listEntries(this.#begin(), inode, cookie, emit, withAttributes, taken);
  }

  // ---- contents -------------------------------------------------------------------------------------------------

  read(inode: number, offset: number, target: Uint8Array): number {
    return readFile(this.#begin(), inode, offset, target);
  }

  write(inode: number, offset: number, source: Uint8Array, _caller: Caller, clearSetId: boolean): void {
    this.#closeAhead(source.length);
    this.#withRoom(() => writeFile(this.#change(), inode, offset, source, clearSetId));
    this.#defragmenter.written(inode, offset, source.length);
  }

  allocate(inode: number, mode: number, offset: number, lengthBytes: number): void {
    this.#withRoom(() => allocateRange(this.#change(), inode, mode, offset, lengthBytes));
  }

  seek(inode: number, offset: number, whence: number): number {
    return seekFile(this.#begin(), inode, offset, whence);
  }

  copyRange(
    source: number,
    sourceOffset: number,
    target: number,
    targetOffset: number,
    lengthBytes: number,
  ): number {
    return this.#withRoom(() =>
      copyFileRange(this.#change(), source, sourceOffset, target, targetOffset, lengthBytes),
    );
  }

  sync(_inode: number, _dataOnly: boolean): void {
    this.syncAll();
  }

  syncAll(): void {
    const transactions = this.#begin();
    this.#settlement.join(transactions.syncSteps(), transactions.unsyncedBytes);
  }

  // ---- the volume -----------------------------------------------------------------------------------------------

  status(): FilesystemStatus {
    const { state, limits } = this.#begin();
    let availableBytes: number;
    try {
      availableBytes = this.#transactions.availableBytes();
    } catch (error) {
      throw storageError(error);
    }
    if (limits.sizeBytes > 0)
      availableBytes = Math.min(availableBytes, Math.max(0, limits.sizeBytes - state.usedBytes));
    const total = limits.sizeBytes > 0 ? limits.sizeBytes : state.usedBytes + availableBytes;
    const blocksAvailable = Math.floor(availableBytes / BLOCK_BYTES);
    return {
      blockSizeBytes: BLOCK_BYTES,
      blocks: Math.ceil(total / BLOCK_BYTES),
      blocksFree: blocksAvailable,
      blocksAvailable,
      inodes: state.inodes + INODES_FREE,
      inodesFree: INODES_FREE,
      nameMax: 255,
    };
  }

  /** Frees nameless inodes, removes records nobody needs, joins fragments, and now and then makes a checkpoint. */
  idle(): void {
    if (this.#closed || this.#settlement.active) return;
    this.#quietly(() => {
      if (this.#transactions.isDue()) this.#checkpointIfPossible();
      else if (this.#reaper.size > 0) this.#reaper.reap();
      else if (this.#transactions.removeDoomed(REMOVE_BATCH)) return;
      else if (this.#defragmenter.step()) return;
      else if (this.#tend()) return;
      else this.#checkpointWhenQuiet();
    });
  }

  /** Writes everything into zdbfs-meta and empties the journal, at once. @throws FilesystemError; Settling */
  checkpoint(): void {
    this.#settlement.assertSettled();
    syncAtOnce(this.checkpointSteps());
  }

  /** The same in steps, for `settle`. */
  *checkpointSteps(): SyncSteps {
    this.#reaper.reapAll();
    this.#lastCheckpointMs = this.#clock.monotonicMs();
    if (!this.#transactions.clean) yield* this.#transactions.checkpointSteps();
  }

  /** Removes every record that the last checkpoint does not need any more, in steps, for `settle`. */
  *emptySteps(): SyncSteps {
    while (this.#transactions.removeDoomed(REMOVE_BATCH)) yield;
  }

  /** Something is brought to stable storage, and nothing may be changed until that has ended. */
  get settling(): boolean {
    return this.#settlement.active;
  }

  /**
   * Carries out steps while nobody changes the volume.
   * @param ended called with the error, or undefined; may be after the return
   * @throws Settling when others are under way; what the steps throw when they ended before the return
   */
  settle(steps: SyncSteps, ended: (error: unknown) => void): void {
    this.#settlement.assertSettled();
    this.#settlement.run(steps, ended);
  }

  /** Checkpoint, and give the store back. @throws FilesystemError when the checkpoint failed; the store is closed anyway */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { store } = this.#transactions.state;
    try {
      for (const orphan of this.#transactions.state.orphans) this.#reaper.add(orphan);
      this.checkpoint();
      while (this.#transactions.removeDoomed(REMOVE_BATCH));
    } finally {
      store.close();
    }
  }

  /** Walks the whole volume and reports everything that is not as it should be (verify.ts). Changes nothing. */
  verify(): VerifyReport {
    return verifyVolume(this.#transactions.state);
  }

  /** Inodes the kernel holds, and so may have cached contents of. */
  heldInodes(): Iterable<number> {
    return this.#references.inodes();
  }

  /** Bytes of the journal: 0 when everything is in place. */
  get journalBytes(): number {
    return this.#transactions.journalBytes;
  }

  /** Bytes of all files. */
  get usedBytes(): number {
    return this.#transactions.state.usedBytes;
  }

  statistics(): VolumeStatistics {
    const { state } = this.#transactions;
    return {
      checkpoint: state.checkpoint,
      operations: this.#transactions.operations,
      checkpoints: this.#transactions.checkpoints,
      journalBytes: this.#transactions.journalBytes,
      inodes: state.inodes,
      orphans: state.orphans.size,
      usedBytes: state.usedBytes,
      cachedRecords: state.cache.size,
      cachedBytes: state.cache.cleanBytes + state.cache.dirtyBytes,
      dirtyRecords: state.cache.dirtyCount,
      dirtyBytes: state.cache.dirtyBytes,
      cacheHits: state.cache.hits,
      cacheMisses: state.cache.misses,
      heldInodes: this.#references.size,
      doomedRecords: state.doomedData.length + state.removableData.length,
    };
  }

  /** Every call begins here: between calls memory may shrink. */
  #begin(): Transactions {
    this.#transactions.state.cache.trim();
    return this.#transactions;
  }

  /** Every change begins here. @throws Settling when it has to wait */
  #change(): Transactions {
    this.#settlement.assertSettled();
    if (this.#settlement.isShared && this.#transactions.isDue()) {
      this.#checkpointIfPossible();
      this.#settlement.assertSettled();
    }
    return this.#begin();
  }

  #checkpointIfPossible(): void {
    this.#lastCheckpointMs = this.#clock.monotonicMs();
    this.#settlement.run(this.#transactions.checkpointIfPossibleSteps());
  }

  /** Has the data file closed that this write would close, so that the write does not wait for the disk. @throws Settling */
  #closeAhead(lengthBytes: number): void {
    this.#settlement.assertSettled();
    const { data } = this.#transactions.state.store;
    const failed = this.#closingFailed;
    this.#closingFailed = false;
    if (!this.#settlement.isShared || failed || !data.closing(lengthBytes + INLINE_MAX_BYTES)) return;
    try {
      this.#settlement.run(data.closeSteps(), (error) => {
        this.#closingFailed = error !== undefined;
      });
    } catch {
      // The write meets it again, and tells.
      return;
    }
    this.#settlement.assertSettled();
  }

  #taken(inode: Inode): Attributes {
    this.#references.take(inode.id);
    return statInode(inode);
  }

  #lostName(inode: Inode): void {
    if (inode.linkCount === 0 && !this.#references.held(inode.id)) this.#reaper.add(inode.id);
  }

  /** Lets the store keep house once a second; it gives space back more eagerly when there is little. */
  #tend(): boolean {
    const now = this.#clock.monotonicMs();
    if (now - this.#lastTendedMs < TEND_INTERVAL_MS) return false;
    this.#lastTendedMs = now;
    const { totalBytes, availableBytes } = this.#transactions.state.store.space();
    const isFull = availableBytes < totalBytes * LITTLE_SPACE;
    // What was removed since the last checkpoint is given back only after the next.
    if (isFull && this.#hasGarbage) this.#checkpointIfPossible();
    else this.#giveBack(isFull ? LIVE_SHARE_FULL : LIVE_SHARE);
    return true;
  }

  /** True when data records wait for being removed. */
  get #hasGarbage(): boolean {
    const { state } = this.#transactions;
    return state.doomedData.length + state.removableData.length > 0;
  }

  /** @throws FilesystemError when there is not even the room to move what is still in use */
  #giveBack(liveShare: number): void {
    try {
      this.#transactions.state.store.tend(liveShare, TEND_BUDGET_BYTES);
    } catch (error) {
      throw storageError(error);
    }
  }

  /** Does at once what idle moments do for the room of removed files; each half as far as it can now. */
  #makeRoom(): void {
    this.#quietly(() => {
      this.#reaper.reapAll();
      if (this.#transactions.state.doomedData.length > 0) this.checkpoint();
    });
    this.#quietly(() => {
      while (this.#transactions.removeDoomed(REMOVE_BATCH));
      this.#giveBack(LIVE_SHARE_FULL);
    });
  }

  #checkpointWhenQuiet(): void {
    const now = this.#clock.monotonicMs();
    if (now - this.#lastCheckpointMs < IDLE_CHECKPOINT_MS) return;
    this.#lastCheckpointMs = now;
    if (this.#transactions.journalBytes >= IDLE_CHECKPOINT_BYTES) this.#checkpointIfPossible();
  }

  /** Does it again when there was no room, but there are removed files that still count. */
  #withRoom<Result>(action: () => Result): Result {
    try {
      return action();
    } catch (error) {
      if (!isOutOfSpace(error) || (this.#reaper.size === 0 && !this.#hasGarbage)) throw error;
      this.#makeRoom();
      return action();
    }
  }

  /** Background work that cannot be done now is done later. */
  #quietly(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (error instanceof NotLocal || error instanceof FilesystemError) return;
      throw error;
    }
  }
}

/**
 * Mounts the volume in a store, or makes one when the store is empty.
 * @throws VolumeError when it cannot be mounted; NotLocal: bring the range and call again; what the store throws
 */
export function openVolume(store: Store, options: VolumeOptions): Volume {
  const log: Log = options.log ?? (() => {});
  const recovered = recover(store, {
    cacheBytes: options.cacheBytes ?? 128 * 1024 * 1024,
    random: options.random,
    time: options.clock.now(),
    log,
    rootOwner: options.rootOwner ?? { userId: 0, groupId: 0, mode: 0o755 },
  });
  const transactions = new Transactions(recovered.state, recovered.journal, options.clock, {
    sizeBytes: options.sizeBytes ?? 0,
    journalBytes: options.journalBytes ?? 32 * 1024 * 1024,
    dirtyBytes: options.dirtyBytes ?? 64 * 1024 * 1024,
    patient: options.settler !== undefined,
  });
  if (recovered.repeated > 0) log('info', `${recovered.repeated} operations were repeated from the journal`);
  try {
    if (recovered.unusedIds.length > 0) transactions.run(reserveOperation(recovered.unusedIds));
    if (recovered.repeated > 0) syncAtOnce(transactions.checkpointSteps());
  } catch (error) {
    // Mounted all the same: what is there can be read, and room can be made.
    log('warning', `the checkpoint after mounting failed: ${error instanceof Error ? error.message : error}`);
  }
  return new Volume(transactions, options.clock, options.settler);
}
