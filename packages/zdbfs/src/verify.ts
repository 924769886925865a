// Walks a whole volume and reports everything that is not as it should be: what fsck does, without changing anything.
// Reads all metadata, and of the data only whether each record is there and has its length.
import { FilesystemError } from '@qsfs/fuse';
import { attributesOf } from './apply.ts';
import { visitNames } from './directory.ts';
import { visitExtents } from './extent-map.ts';
import { KEY_GROUP, nameKey } from './name-hash.ts';
import { type Inode, isDirectory, isRegular, TYPE_MASK, TYPE_SYMLINK } from './record.ts';
import { directoryEntryBytes } from './record-codec.ts';
import { ROOT_INODE } from './recovery.ts';
import { SUPERBLOCK_IDS } from './superblock.ts';
import type { VolumeState } from './volume-state.ts';

/** Problems reported at most; more are only counted. */
const PROBLEMS_MAX = 1000;

/** What was found. No problems: the volume is consistent. */
export interface VerifyReport {
  readonly problems: readonly string[];
  readonly problemCount: number;
  readonly inodes: number;
  readonly directories: number;
  readonly names: number;
  readonly extents: number;
  readonly usedBytes: number;
}

/** What is known of an inode that was met. */
interface Met {
  readonly mode: number;
  readonly linkCount: number;
  names: number;
  subdirectories: number;
}

/** Checks everything reachable and that nothing else is there. @throws NotLocal, what the store throws */
export function verifyVolume(state: VolumeState): VerifyReport {
  return new Walk(state).run();
}

class Walk {
  readonly #state: VolumeState;
  readonly #problems: string[] = [];
  #problemCount = 0;
  readonly #met = new Map<number, Met>();
  /** Records of zdbfs-meta and who uses them. */
  readonly #used = new Map<number, string>();
  /** Data records: the inode they belong to. */
  readonly #records = new Map<number, number>();
  readonly #pending: number[] = [];
  #directories = 0;
  #names = 0;
  #extents = 0;
  #usedBytes = 0;

  constructor(state: VolumeState) {
    this.#state = state;
  }

  run(): VerifyReport {
    const { state } = this;
    for (const id of SUPERBLOCK_IDS) this.#use(id, 'the superblock');
    this.#meet(ROOT_INODE);
    for (const orphan of state.orphans) this.#meet(orphan);
    for (let id = this.#pending.pop(); id !== undefined; id = this.#pending.pop()) {
      this.#directory(state.inode(id));
      state.cache.trim();
    }
    this.#checkLinks();
    this.#checkRecords();
    if (this.#met.size !== state.inodes)
      this.#problem(`there are ${this.#met.size} inodes, the superblock counts ${state.inodes}`);
    if (this.#usedBytes !== state.usedBytes)
      this.#problem(`files hold ${this.#usedBytes} bytes, the superblock counts ${state.usedBytes}`);
    return {
      problems: this.#problems,
      problemCount: this.#problemCount,
      inodes: this.#met.size,
      directories: this.#directories,
      names: this.#names,
      extents: this.#extents,
      usedBytes: this.#usedBytes,
    };
  }

  get state(): VolumeState {
    return this.#state;
  }

  #problem(text: string): void {
    this.#problemCount++;
    if (this.#problems.length < PROBLEMS_MAX) this.#problems.push(text);
  }

  #use(id: number, by: string): void {
    const other = this.#used.get(id);
    if (other !== undefined) this.#problem(`record ${id} is used by ${other} and by ${by}`);
    this.#used.set(id, by);
  }

  /** Looks at an inode the first time it is met. */
  #meet(id: number): Met | undefined {
    const known = this.#met.get(id);
    if (known) return known;
    let inode: Inode;
    try {
      inode = this.state.inode(id);
    } catch (error) {
      if (!(error instanceof FilesystemError)) throw error;
      this.#problem(`inode ${id}: ${error.message}`);
      this.#use(id, `inode ${id}`);
      return undefined;
    }
    this.#use(id, `inode ${id}`);
    const met: Met = { mode: inode.mode, linkCount: inode.linkCount, names: 0, subdirectories: 0 };
    this.#met.set(id, met);
    this.#guard(id, () => this.#contents(inode));
    if (isDirectory(inode)) this.#pending.push(id);
    return met;
  }

  #guard(id: number, action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof FilesystemError)) throw error;
      this.#problem(`inode ${id}: ${error.message}`);
    }
  }

  #contents(inode: Inode): void {
    const { state } = this;
    if (inode.attributeRecord !== 0) {
      this.#use(inode.attributeRecord, `the attributes of inode ${inode.id}`);
      attributesOf(state, inode);
    }
    const type = inode.mode & TYPE_MASK;
    if (inode.bytes) {
      this.#usedBytes += inode.bytes.length;
      if (inode.allocatedBytes !== inode.bytes.length || inode.bytes.length > inode.sizeBytes)
        this.#problem(`inode ${inode.id} has ${inode.bytes.length} bytes inline, but counts otherwise`);
      if (type !== TYPE_SYMLINK && !isRegular(inode))
        this.#problem(`inode ${inode.id} of mode ${inode.mode.toString(8)} has contents`);
    } else if (inode.extents) {
      this.#file(inode);
    } else if (isRegular(inode) || type === TYPE_SYMLINK) {
      this.#problem(`inode ${inode.id} has no contents`);
    }
  }

  #file(inode: Inode): void {
    const { state } = this;
    if (!inode.extents) return;
    state.files.visitRecords(inode, inode.extents, (id) => this.#use(id, `the map of inode ${inode.id}`));
    let end = 0;
    let mapped = 0;
    const starts = new Map<number, number>();
    visitExtents(state, inode, 0, (extent) => {
      this.#extents++;
      mapped += extent.lengthBytes;
      const where = `inode ${inode.id} at ${extent.offset}`;
      if (extent.offset < end) this.#problem(`${where}: extents overlap`);
      end = extent.offset + extent.lengthBytes;
      const start = extent.offset - extent.recordOffset;
      const known = starts.get(extent.record);
      if (known === undefined) {
        starts.set(extent.record, start);
        const owner = this.#records.get(extent.record);
        if (owner !== undefined)
          this.#problem(`${where}: data record ${extent.record} belongs to inode ${owner}`);
        this.#records.set(extent.record, inode.id);
        const length = state.store.data.length(extent.record);
        if (length !== extent.recordLength)
          this.#problem(
            `${where}: data record ${extent.record} has ${length} bytes, not ${extent.recordLength}`,
          );
      } else if (known !== start) {
        this.#problem(`${where}: data record ${extent.record} appears at two places`);
      }
      return true;
    });
    if (end > inode.sizeBytes)
      this.#problem(`inode ${inode.id} is mapped up to ${end} of ${inode.sizeBytes}`);
    if (mapped !== inode.allocatedBytes)
      this.#problem(`inode ${inode.id} has ${mapped} bytes mapped, but counts ${inode.allocatedBytes}`);
    this.#usedBytes += mapped;
  }

  #directory(inode: Inode): void {
    if (!inode.directory) return;
    this.#directories++;
    const { state } = this;
    const found: { name: string; inode: number; type: number }[] = [];
    let size = 0;
    this.#guard(inode.id, () => {
      if (!inode.directory) return;
      state.directories.visitRecords(inode, inode.directory, (id) => this.#use(id, `directory ${inode.id}`));
      visitNames(state, inode, 0, (entry, key) => {
        found.push(entry);
        size += directoryEntryBytes(entry);
        const first = nameKey(entry.name, state.seedLow, state.seedHigh);
        if (key < first || key >= first + KEY_GROUP)
          this.#problem(`directory ${inode.id}: a name has the wrong key`);
        return true;
      });
      if (found.length !== inode.entryCount || size !== inode.sizeBytes)
        this.#problem(`directory ${inode.id} has ${found.length} names, but counts ${inode.entryCount}`);
    });
    if (new Set(found.map((entry) => entry.name)).size !== found.length)
      this.#problem(`directory ${inode.id} has a name twice`);
    for (const entry of found) this.#entry(inode, entry);
  }

  #entry(directory: Inode, entry: { name: string; inode: number; type: number }): void {
    this.#names++;
    const met = this.#meet(entry.inode);
    if (!met) return;
    met.names++;
    if ((met.mode & TYPE_MASK) >>> 12 !== entry.type)
      this.#problem(`directory ${directory.id}: inode ${entry.inode} has another type than its name says`);
    if ((met.mode & TYPE_MASK) !== 0o040000) return;
    const own = this.#met.get(directory.id);
    if (own) own.subdirectories++;
    const { parent } = this.state.inode(entry.inode);
    if (parent !== directory.id)
      this.#problem(`directory ${entry.inode} is in ${directory.id}, but says its parent is ${parent}`);
  }

  #checkLinks(): void {
    for (const [id, met] of this.#met) {
      const isOrphan = this.state.orphans.has(id);
      const directory = (met.mode & TYPE_MASK) === 0o040000;
      const names = id === ROOT_INODE ? 1 : met.names;
      const links = !directory ? names : names === 0 ? 0 : 2 + met.subdirectories;
      if (met.linkCount !== links)
        this.#problem(`inode ${id} has ${links} links, but counts ${met.linkCount}`);
      if (directory && names > 1) this.#problem(`directory ${id} has ${names} names`);
      if (isOrphan !== (names === 0))
        this.#problem(`inode ${id} has ${names} names and is ${isOrphan ? 'an' : 'no'} orphan`);
    }
  }

  #checkRecords(): void {
    const { state } = this;
    const { meta, data } = state.store;
    for (const id of state.freeIds) {
      this.#use(id, 'the free ids');
      if (meta.length(id) === undefined) this.#problem(`free id ${id} does not exist in zdbfs-meta`);
    }
    for (const id of [...state.doomedMeta, ...state.removableMeta]) this.#use(id, 'the doomed records');
    for (let id = 0; id < meta.nextId; id++) {
      if (meta.length(id) !== undefined && !this.#used.has(id))
        this.#problem(`record ${id} of zdbfs-meta is not used by anything`);
    }
    const doomed = new Set([...state.doomedData, ...state.removableData]);
    for (const id of doomed)
      if (this.#records.has(id)) this.#problem(`data record ${id} is in use and doomed`);
    // Id 0 belongs to nobody (docs/formats/zdbfs.md, section 1).
    for (let id = 1; id < data.nextId; id++) {
      if (data.length(id) !== undefined && !this.#records.has(id) && !doomed.has(id))
        this.#problem(`data record ${id} is not used by anything`);
    }
  }
}
