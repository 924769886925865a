// A disk in memory, for tests: it fails when told to, and shows what a crash leaves behind.
//
// Every content change of a file stays "unsynced" until datasync of that file, every change of directory entries until
// syncDirectory of a directory it touches. `crash` makes the disk as it is after a power loss, `kill` as it is when only
// the process died; both make a new disk and leave this one as it is, so that one run gives as many images as wanted.
// There are no symbolic links, permissions are not checked, and the working directory is the root.
import type { Clock } from '../clock.ts';
import type { Disk, DiskFile, DiskSpace, FileStatus, OpenMode } from '../disk.ts';
import { IoError } from '../errors.ts';
import { type SpaceBudget, SparseContent } from './content.ts';
import {
  type CrashPolicy,
  type EntryChange,
  type EntryStep,
  settleEntries,
  type UnsyncedChange,
} from './crash.ts';
import { type FileHost, SimulatedFile } from './file.ts';
import { applyStep, DirectoryInode, FileInode, type Inode } from './inode.ts';
import { type DiskFault, type DiskOperation, OperationGate } from './operations.ts';

const ROOT = 1;
const NAME_MAX_BYTES = 255;
const PATH_MAX_BYTES = 4095;
/** With more unsynced changes of entries than this the older half becomes stable, as the kernel would have it. */
const ENTRY_CHANGES_MAX = 65_536;
/** Unreachable inodes are looked for when their table has grown by so many. */
const SWEEP_AFTER = 1024;
/** `copy` writes in pieces of this size. */
const COPY_BYTES = 128 * 1024;

/** How to make a disk. */
export interface SimulatedDiskOptions {
  /** Room for file contents; default 1 TiB. Can be changed later. */
  readonly capacityBytes?: number;
  /** Stamps modification times; without one they are 0. */
  readonly clock?: Pick<Clock, 'nowMs'>;
  /** So many files can be open at a time, then EMFILE; default 65536. */
  readonly openFilesMax?: number;
}

/** Where a path leads: the directory that has or would have the name, and what is there. */
interface Place {
  readonly directory: DirectoryInode;
  readonly name: string;
  readonly inode: Inode | undefined;
  /** The path ended with a slash, so it can only name a directory. */
  readonly asDirectory: boolean;
}

/** See the head of this file. Same calls in the same order: same outcome. */
export class SimulatedDisk implements Disk {
  readonly #options: SimulatedDiskOptions;
  readonly #budget: SpaceBudget;
  readonly #gate = new OperationGate();
  readonly #host: FileHost;
  #inodes = new Map<number, Inode>();
  #nextInode = ROOT + 1;
  #sequence = 0;
  /** Entry changes of all directories that no syncDirectory has covered, in order. */
  #entryChanges: EntryChange[] = [];
  readonly #open = new Set<SimulatedFile>();
  #sweepAt = SWEEP_AFTER;

  constructor(options: SimulatedDiskOptions = {}) {
    this.#options = options;
    this.#budget = { usedBytes: 0, capacityBytes: options.capacityBytes ?? 2 ** 40 };
    this.#inodes.set(ROOT, new DirectoryInode(ROOT, this.#nowMs()));
    this.#host = {
      gate: this.#gate,
      budget: this.#budget,
      nowMs: () => this.#nowMs(),
      nextSequence: () => this.#sequence++,
      closed: (file, inode) => {
        this.#open.delete(file);
        inode.openCount--;
        this.#release(inode);
      },
    };
  }

  // ---- what tests use -------------------------------------------------------------------------------------------

  /** Operations asked of this disk so far. */
  get operations(): number {
    return this.#gate.total;
  }

  /** Those of them that change something: the crash points, numbered from 0. */
  get changes(): number {
    return this.#gate.changes;
  }

  /** The last operations, the newest at the end. */
  get log(): readonly DiskOperation[] {
    return this.#gate.log;
  }

  /** Files now open. */
  get openFiles(): number {
    return this.#open.size;
  }

  get capacityBytes(): number {
    return this.#budget.capacityBytes;
  }

  /** A full disk gets room, or a roomy one becomes full. What is stored stays. */
  set capacityBytes(value: number) {
    this.#budget.capacityBytes = value;
  }

  /** Everything a power loss could undo, in order. */
  unsynced(): UnsyncedChange[] {
    const changes: UnsyncedChange[] = [...this.#entryChanges];
    for (const inode of this.#inodes.values()) if (inode.kind === 'file') changes.push(...inode.unsynced);
    return changes.sort((a, b) => a.sequence - b.sequence);
  }

  /** Calls before every operation; what it throws, the operation throws. Returns the undoing. */
  observe(call: (operation: DiskOperation) => void): () => void {
    return this.#gate.observe(call);
  }

  /** Makes operations fail; returns the undoing. A failed datasync gives up what it was to make stable, as Linux does. */
  fail(fault: DiskFault): () => void {
    return this.#gate.fail(fault);
  }

  /**
   * Lets `count` changing operations pass; the next one, and everything after it, throws SimulatedCrash. `appliedBytes` of
   * it, if it is a write, have been taken by the kernel and are unsynced (any other operation: when more than 0);
   * default all. A sync at that point is not done. Then call `crash` or `kill`.
   */
  crashAfter(count: number, appliedBytes: number = Number.POSITIVE_INFINITY): void {
    this.#gate.crashAfter(count, appliedBytes);
  }

  /** The disk as it is found after a power loss now; this one stays as it is. */
  crash(policy: CrashPolicy): SimulatedDisk {
    const changes = this.unsynced();
    const answers = policy.survivors(changes);
    const survivals = new Map(changes.map((change, index) => [change.sequence, answers[index] ?? false]));
    const { kept } = settleEntries(this.#entryChanges, (change) => survivals.get(change.sequence) !== false);
    return this.#image((inode, budget) => {
      if (inode.kind === 'file') {
        const own = inode.unsynced.map((change) => survivals.get(change.sequence) ?? false);
        return inode.afterCrash(own, budget);
      }
      const entries = new Map(inode.stableEntries);
      for (const { steps } of kept) {
        for (const step of steps) if (step.directory === inode.id) applyStep(entries, step);
      }
      return new DirectoryInode(inode.id, inode.modifiedMs, entries);
    }, []);
  }

  /** The disk as the next process finds it when this one is killed now: all files closed, nothing lost, nothing synced. */
  kill(): SimulatedDisk {
    return this.#image(
      (inode, budget) =>
        inode.kind === 'file'
          ? inode.afterKill(budget)
          : new DirectoryInode(inode.id, inode.modifiedMs, inode.entries, inode.stableEntries),
      this.#entryChanges,
    );
  }

  // ---- Disk -----------------------------------------------------------------------------------------------------

  open(path: string, mode: OpenMode, _permissions = 0o600): DiskFile {
    const mayMake = mode === 'create' || mode === 'create-new';
    const place = this.#find(path, mode === 'create-new');
    if (mayMake && place.asDirectory) throw new IoError('EISDIR', `open ${path}`);
    const makes = mayMake && place.inode === undefined;
    const stop = this.#gate.enter({ kind: makes ? 'create' : 'open', path });
    if (stop && !(makes && stop.appliedBytes > 0)) throw stop.error;
    let inode = place.inode;
    if (inode) {
      if (mode === 'create-new') throw new IoError('EEXIST', `open ${path}`);
      if (inode.kind === 'directory') throw new IoError('EISDIR', `open ${path}`);
    } else if (!makes) {
      throw new IoError('ENOENT', `open ${path}`);
    }
    if (this.#open.size >= (this.#options.openFilesMax ?? 65_536))
      throw new IoError('EMFILE', `open ${path}`);
    if (!inode) {
      const id = this.#nextInode++;
      inode = new FileInode(id, new SparseContent(this.#budget), new SparseContent(), this.#nowMs());
      this.#inodes.set(id, inode);
      this.#enter('create', path, [{ directory: place.directory.id, name: place.name, inode: id }]);
    }
    if (stop) throw stop.error;
    const file = new SimulatedFile(this.#host, inode, path, mode);
    inode.openCount++;
    this.#open.add(file);
    return file;
  }

  stat(path: string): FileStatus | undefined {
    this.#gate.pass({ kind: 'stat', path });
    const inode = this.#lookUp(path);
    if (!inode) return undefined;
    const file = inode.kind === 'file' ? inode.content : undefined;
    return {
      kind: inode.kind,
      sizeBytes: file?.sizeBytes ?? 4096,
      allocatedBytes: file?.allocatedBytes ?? 4096,
      modifiedMs: inode.modifiedMs,
      inode: inode.id,
      device: 1,
    };
  }

  list(path: string): string[] {
    this.#gate.pass({ kind: 'list', path });
    return [...this.#directory(path, 'list').entries.keys()].sort();
  }

  makeDirectory(path: string, _permissions = 0o700): void {
    if (path === '') throw new IoError('ENOENT', 'make directory ""');
    const parts = path.split('/').filter((part) => part !== '');
    let sofar = path.startsWith('/') ? '/' : '';
    for (const [index, part] of parts.entries()) {
      const current = sofar + part;
      const place = this.#find(current);
      if (place.inode?.kind === 'file') {
        throw new IoError(index === parts.length - 1 ? 'EEXIST' : 'ENOTDIR', `make directory ${path}`);
      }
      if (!place.inode) {
        this.#change({ kind: 'make-directory', path: current }, () => {
          const id = this.#nextInode++;
          this.#inodes.set(id, new DirectoryInode(id, this.#nowMs()));
          const step = { directory: place.directory.id, name: place.name, inode: id };
          this.#enter('make-directory', current, [step]);
        });
      }
      sofar = `${current}/`;
    }
  }

  remove(path: string): void {
    const place = this.#existing(path, 'remove');
    if (place.name === '..') throw new IoError('ENOTEMPTY', `remove ${path}`);
    if (place.inode.kind === 'directory') {
      if (place.inode.id === ROOT) throw new IoError('EBUSY', `remove ${path}`);
      if (place.inode.entries.size > 0) throw new IoError('ENOTEMPTY', `remove ${path}`);
    }
    this.#change({ kind: 'remove', path }, () =>
      this.#unlink(place.directory, place.name, place.inode, path),
    );
  }

  removeTree(path: string): void {
    const inode = this.#lookUp(path);
    if (!inode) return;
    if (inode.kind === 'directory') {
      for (const name of [...inode.entries.keys()].sort())
        this.removeTree(`${path.replace(/\/+$/, '')}/${name}`);
    }
    this.remove(path);
  }

  rename(source: string, target: string): void {
    const [found, to] = [this.#find(source, true), this.#find(target, true)];
    if (!found.inode) throw new IoError('ENOENT', `rename ${source}`);
    const from = { ...found, inode: found.inode };
    this.#checkRename(from, to, source, target);
    this.#change({ kind: 'rename', path: source, target }, () => {
      if (to.inode === from.inode) return;
      this.#enter(
        'rename',
        source,
        [
          { directory: from.directory.id, name: from.name, inode: undefined },
          { directory: to.directory.id, name: to.name, inode: from.inode.id },
        ],
        from.inode.kind === 'directory',
      );
      if (to.inode?.kind === 'file') {
        to.inode.linked = false;
        this.#release(to.inode);
      }
    });
  }

  copy(source: string, target: string): void {
    const from = this.open(source, 'read');
    try {
      const place = this.#find(target);
      if (place.inode && place.inode === this.#lookUp(source)) return;
      const to = this.open(target, 'create');
      try {
        to.truncate(0);
        const piece = new Uint8Array(COPY_BYTES);
        for (let position = 0, got = 1; got > 0; position += got) {
          got = from.read(piece, position);
          to.write(piece.subarray(0, got), position);
        }
      } finally {
        to.close();
      }
    } finally {
      from.close();
    }
  }

  syncDirectory(path: string): void {
    const directory = this.#directory(path, 'sync directory');
    this.#gate.pass({ kind: 'sync-directory', path });
    const touches = (change: EntryChange) => change.steps.some((step) => step.directory === directory.id);
    const { kept, lost } = settleEntries(this.#entryChanges, touches);
    this.#makeStable(kept);
    this.#entryChanges = lost;
  }

  space(path: string): DiskSpace {
    this.#gate.pass({ kind: 'space', path });
    this.#existing(path, 'space of');
    const { usedBytes, capacityBytes } = this.#budget;
    return { totalBytes: capacityBytes, availableBytes: Math.max(0, capacityBytes - usedBytes) };
  }

  resolve(path: string): string {
    this.#gate.pass({ kind: 'resolve', path });
    this.#existing(path, 'resolve');
    const parts: string[] = [];
    for (const part of path.split('/')) {
      if (part === '..') parts.pop();
      else if (part !== '' && part !== '.') parts.push(part);
    }
    return '/' + parts.join('/');
  }

  // ---- paths ----------------------------------------------------------------------------------------------------

  /** Walks to the last name. @throws ENOENT, ENOTDIR (also for `file/` unless `lenient`), ENAMETOOLONG, EINVAL */
  #find(path: string, lenient = false): Place {
    if (path === '') throw new IoError('ENOENT', 'the empty path');
    if (Buffer.byteLength(path) > PATH_MAX_BYTES) throw new IoError('ENAMETOOLONG', path);
    if (path.includes('\0')) throw new IoError('EINVAL', `a path with a zero byte: ${JSON.stringify(path)}`);
    const trail: DirectoryInode[] = [this.#root()];
    let name = '.';
    let inode: Inode | undefined = trail[0];
    const parts = path.split('/').filter((part) => part !== '' && part !== '.');
    for (const part of parts) {
      if (!inode) throw new IoError('ENOENT', path);
      if (inode.kind !== 'directory') throw new IoError('ENOTDIR', path);
      if (Buffer.byteLength(part) > NAME_MAX_BYTES) throw new IoError('ENAMETOOLONG', path);
      if (inode !== trail.at(-1)) trail.push(inode);
      name = part;
      if (part === '..') {
        if (trail.length > 1) trail.pop();
        inode = trail.at(-1);
      } else {
        const id = inode.entries.get(part);
        inode = id === undefined ? undefined : this.#inodes.get(id);
      }
    }
    const asDirectory = /\/\.?$/.test(path);
    if (asDirectory && !lenient && inode?.kind === 'file') throw new IoError('ENOTDIR', path);
    return { directory: trail.at(-1)!, name, inode, asDirectory };
  }

  /** What is there, or undefined when nothing is (also when a directory on the way is missing or a file). */
  #lookUp(path: string): Inode | undefined {
    try {
      return this.#find(path).inode;
    } catch (error) {
      if (error instanceof IoError && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return undefined;
      throw error;
    }
  }

  #existing(path: string, action: string): Place & { readonly inode: Inode } {
    const place = this.#find(path);
    const { inode } = place;
    if (!inode) throw new IoError('ENOENT', `${action} ${path}`);
    return { ...place, inode };
  }

  #directory(path: string, action: string): DirectoryInode {
    const { inode } = this.#existing(path, action);
    if (inode.kind !== 'directory') throw new IoError('ENOTDIR', `${action} ${path}`);
    return inode;
  }

  #root(): DirectoryInode {
    return this.#inodes.get(ROOT) as DirectoryInode;
  }

  // ---- changes --------------------------------------------------------------------------------------------------

  /** Carries out a change that happens whole or not at all. */
  #change(operation: DiskOperation, effect: () => void): void {
    const stop = this.#gate.enter(operation);
    if (!stop || stop.appliedBytes > 0) effect();
    if (stop) throw stop.error;
  }

  #enter(kind: EntryChange['kind'], path: string, steps: EntryStep[], movesDirectory = false): void {
    this.#entryChanges.push({ kind, path, steps, movesDirectory, sequence: this.#sequence++ });
    for (const step of steps) {
      const directory = this.#inodes.get(step.directory) as DirectoryInode;
      applyStep(directory.entries, step);
      directory.modifiedMs = this.#nowMs();
    }
    if (this.#inodes.size > this.#sweepAt) this.#sweep();
    if (this.#entryChanges.length > ENTRY_CHANGES_MAX) {
      this.#makeStable(this.#entryChanges.splice(0, ENTRY_CHANGES_MAX / 2));
    }
  }

  #makeStable(changes: readonly EntryChange[]): void {
    for (const { steps } of changes) {
      for (const step of steps) {
        const holder = this.#inodes.get(step.directory);
        if (holder?.kind === 'directory') applyStep(holder.stableEntries, step);
      }
    }
  }

  #unlink(directory: DirectoryInode, name: string, inode: Inode, path: string): void {
    this.#enter('remove', path, [{ directory: directory.id, name, inode: undefined }]);
    if (inode.kind !== 'file') return;
    inode.linked = false;
    this.#release(inode);
  }

  #checkRename(from: Place & { inode: Inode }, to: Place, source: string, target: string): void {
    const refuse = (code: 'EINVAL' | 'ENOTDIR' | 'EISDIR' | 'ENOTEMPTY' | 'EBUSY') => {
      throw new IoError(code, `rename ${source} to ${target}`);
    };
    if (from.name === '..' || to.name === '..' || from.inode.id === ROOT || to.inode?.id === ROOT)
      refuse('EBUSY');
    if (from.inode.kind === 'file') {
      if (from.asDirectory || to.asDirectory) refuse('ENOTDIR');
    } else if (to.inode !== from.inode && this.#isWithin(to.directory, from.inode)) {
      refuse('EINVAL');
    }
    if (to.inode === undefined || to.inode === from.inode) return;
    if (to.inode.kind === 'directory' && this.#isWithin(from.directory, to.inode)) refuse('ENOTEMPTY');
    if (from.inode.kind === 'file' && to.inode.kind === 'directory') refuse('EISDIR');
    if (from.inode.kind === 'directory' && to.inode.kind === 'file') refuse('ENOTDIR');
    if (to.inode.kind === 'directory' && to.inode.entries.size > 0) refuse('ENOTEMPTY');
  }

  #isWithin(directory: DirectoryInode, tree: DirectoryInode): boolean {
    if (directory === tree) return true;
    for (const id of tree.entries.values()) {
      const inode = this.#inodes.get(id);
      if (inode?.kind === 'directory' && this.#isWithin(directory, inode)) return true;
    }
    return false;
  }

  /** Gives the space of a file back when it has neither a name nor a user. Its stable content may still return in a crash. */
  #release(inode: FileInode): void {
    if (!inode.linked && inode.openCount === 0) inode.content.clear();
  }

  /** Forgets inodes that no present entry, no entry a crash could bring back, and no open file leads to. */
  #sweep(): void {
    const live = new Set<number>();
    const visit = (id: number): void => {
      const inode = this.#inodes.get(id);
      if (!inode || live.has(id)) return;
      live.add(id);
      if (inode.kind === 'file') return;
      for (const child of inode.entries.values()) visit(child);
      for (const child of inode.stableEntries.values()) visit(child);
    };
    visit(ROOT);
    const counts = ({ steps }: EntryChange) => steps.some((step) => live.has(step.directory));
    for (let before = 0; before < live.size; ) {
      before = live.size;
      for (const change of this.#entryChanges) {
        if (counts(change)) for (const { inode } of change.steps) if (inode !== undefined) visit(inode);
      }
    }
    this.#entryChanges = this.#entryChanges.filter(counts);
    for (const [id, inode] of this.#inodes) {
      if (live.has(id) || (inode.kind === 'file' && inode.openCount > 0)) continue;
      if (inode.kind === 'file') inode.content.clear();
      this.#inodes.delete(id);
    }
    this.#sweepAt = 2 * this.#inodes.size + SWEEP_AFTER;
  }

  /** A new disk from every inode that can be reached there; the others are gone, and their space is free. */
  #image(
    make: (inode: Inode, budget: SpaceBudget) => Inode,
    entryChanges: readonly EntryChange[],
  ): SimulatedDisk {
    const disk = new SimulatedDisk({ ...this.#options, capacityBytes: this.#budget.capacityBytes });
    disk.#nextInode = this.#nextInode;
    disk.#sequence = this.#sequence;
    disk.#entryChanges = [...entryChanges];
    for (const [id, inode] of this.#inodes) disk.#inodes.set(id, make(inode, disk.#budget));
    disk.#markLinked();
    disk.#sweep();
    return disk;
  }

  #markLinked(): void {
    const linked = new Set<number>();
    for (const inode of this.#inodes.values()) {
      if (inode.kind === 'directory') for (const id of inode.entries.values()) linked.add(id);
    }
    for (const [id, inode] of this.#inodes) {
      if (inode.kind !== 'file' || linked.has(id)) continue;
      inode.linked = false;
      this.#release(inode);
    }
  }

  #nowMs(): number {
    return this.#options.clock?.nowMs() ?? 0;
  }
}
