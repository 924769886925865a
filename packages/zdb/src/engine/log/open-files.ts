// Open data and index files of all namespaces of an engine: a least-recently-used list with a bound on descriptors, and one
// retry when the process runs out of them. Only this file opens files that are kept open.
import { type Disk, type DiskFile, errorCode } from '@qsfs/io';

/** Descriptors kept open by one engine. */
export const OPEN_FILES_MAX = 512;

/** `read` for closed data files; `write` for what changes; `create` makes a missing one. */
type Access = 'read' | 'write' | 'create';

interface OpenFile {
  readonly file: DiskFile;
  readonly writable: boolean;
  readonly inode: number;
  readonly owner: FileSet;
  readonly id: number;
  /** Sweep in which the name was last compared with the descriptor, and in which it was last used. */
  checkedSweep: number;
  usedSweep: number;
  newer: OpenFile | undefined;
  older: OpenFile | undefined;
}

/** The bound on descriptors, shared by all file sets of an engine. */
export class OpenFiles {
  readonly disk: Disk;
  readonly #most: number;
  /** How many may be open now: fewer after the process ran out of descriptors, so that some are left for others; then more by and by. */
  #limit: number;
  #count = 0;
  #sweep = 0;
  #newest: OpenFile | undefined;
  #oldest: OpenFile | undefined;

  constructor(disk: Disk, limit = OPEN_FILES_MAX) {
    this.disk = disk;
    this.#most = limit;
    this.#limit = limit;
  }

  get sweep(): number {
    return this.#sweep;
  }

  /** Closes what was not used since the last sweep; what stays is looked up by name before its next use. */
  closeIdle(): void {
    for (let entry = this.#oldest; entry; ) {
      const next = entry.newer;
      if (entry.usedSweep < this.#sweep) this.drop(entry);
      entry = next;
    }
    this.#sweep++;
    this.#limit = Math.min(this.#most, this.#limit + 1);
  }

  /** Opens a file; without descriptors left, closes a quarter of ours and tries once more. */
  open(owner: FileSet, id: number, path: string, access: Access): OpenFile {
    while (this.#count >= this.#limit && this.#oldest) this.drop(this.#oldest);
    let file: DiskFile;
    try {
      file = this.disk.open(path, access);
    } catch (error) {
      if (errorCode(error) !== 'EMFILE' || this.#count === 0) throw error;
      for (let closing = Math.ceil(this.#count / 4); closing > 0 && this.#oldest; closing--)
        this.drop(this.#oldest);
      this.#limit = Math.max(1, this.#count);
      file = this.disk.open(path, access);
    }
    const entry: OpenFile = {
      file,
      writable: access !== 'read',
      inode: this.disk.stat(path)?.inode ?? 0,
      owner,
      id,
      checkedSweep: this.#sweep,
      usedSweep: this.#sweep,
      newer: undefined,
      older: undefined,
    };
    this.#link(entry);
    this.#count++;
    return entry;
  }

  /** Marks as just used. */
  touch(entry: OpenFile): void {
    entry.usedSweep = this.#sweep;
    if (entry === this.#newest) return;
    this.#unlink(entry);
    this.#link(entry);
  }

  drop(entry: OpenFile): void {
    this.#unlink(entry);
    this.#count--;
    entry.owner.forget(entry.id);
    entry.file.close();
  }

  #link(entry: OpenFile): void {
    entry.older = this.#newest;
    entry.newer = undefined;
    if (this.#newest) this.#newest.newer = entry;
    else this.#oldest = entry;
    this.#newest = entry;
  }

  #unlink(entry: OpenFile): void {
    if (entry.newer) entry.newer.older = entry.older;
    else this.#newest = entry.older;
    if (entry.older) entry.older.newer = entry.newer;
    else this.#oldest = entry.newer;
  }
}

/** The files `<directory>/<prefix><id>` of one namespace. */
export class FileSet {
  readonly directory: string;
  readonly #prefix: string;
  readonly #pool: OpenFiles;
  readonly #entries = new Map<number, OpenFile>();

  constructor(pool: OpenFiles, directory: string, prefix: 'd' | 'i') {
    this.#pool = pool;
    this.directory = directory;
    this.#prefix = prefix;
  }

  path(id: number): string {
    return `${this.directory}/${this.#prefix}${id}`;
  }

  /** For reading. @throws ENOENT and others */
  reading(id: number): DiskFile {
    const entry = this.#entries.get(id);
    if (entry && (entry.checkedSweep === this.#pool.sweep || this.#same(entry))) {
      this.#pool.touch(entry);
      return entry.file;
    }
    return this.#open(id, 'read');
  }

  /** For reading what may be written next: open for both, or on a disk that turned read-only for reading. @throws ENOENT and others */
  serving(id: number): DiskFile {
    const entry = this.#entries.get(id);
    if (entry && (entry.checkedSweep === this.#pool.sweep || this.#same(entry))) {
      this.#pool.touch(entry);
      return entry.file;
    }
    try {
      return this.#open(id, 'write');
    } catch (error) {
      if (errorCode(error) !== 'EROFS') throw error;
      return this.#open(id, 'read');
    }
  }

  /** For reading and writing. @throws ENOENT and others */
  writing(id: number): DiskFile {
    const entry = this.#entries.get(id);
    if (entry?.writable && (entry.checkedSweep === this.#pool.sweep || this.#same(entry))) {
      this.#pool.touch(entry);
      return entry.file;
    }
    if (entry) this.#pool.drop(entry);
    return this.#open(id, 'write');
  }

  /** For reading and writing, made empty when missing. */
  creating(id: number): DiskFile {
    this.close(id);
    return this.#open(id, 'create');
  }

  close(id: number): void {
    const entry = this.#entries.get(id);
    if (entry) this.#pool.drop(entry);
  }

  closeAll(): void {
    for (const entry of [...this.#entries.values()]) this.#pool.drop(entry);
  }

  /** Called by the pool when it closes an entry. */
  forget(id: number): void {
    this.#entries.delete(id);
  }

  #open(id: number, access: Access): DiskFile {
    const entry = this.#pool.open(this, id, this.path(id), access);
    this.#entries.set(id, entry);
    return entry.file;
  }

  /** Whether the name still stands for the open file; closes it when not. */
  #same(entry: OpenFile): boolean {
    const status = this.#pool.disk.stat(entry.file.path);
    if (status?.inode === entry.inode) {
      entry.checkedSweep = this.#pool.sweep;
      return true;
    }
    this.#pool.drop(entry);
    return false;
  }
}
