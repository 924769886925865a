// Local files. Synchronous on purpose: what sits on local files is single-threaded and atomic between calls
// (docs/ARCHITECTURE.md, "Two kinds of core"). Every method throws an error with an errno `code` on failure.

/** How `Disk.open` opens a file. `create` makes a missing file; `create-new` refuses an existing one (EEXIST). */
export type OpenMode = 'read' | 'write' | 'create' | 'create-new';

/** What `Disk.stat` tells. Sizes in bytes; `allocatedBytes` is what the file really occupies (holes excluded). */
export interface FileStatus {
  readonly kind: 'file' | 'directory' | 'socket' | 'other';
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly modifiedMs: number;
  readonly inode: number;
  /** The same for all files of one filesystem. */
  readonly device: number;
}

/** Space of the filesystem that holds a path, in bytes; `availableBytes` is what we may still use. */
export interface DiskSpace {
  readonly totalBytes: number;
  readonly availableBytes: number;
}

/** One open file. Positions and lengths are bytes. After `close` all methods throw EBADF, but for `close` itself. */
export interface DiskFile {
  readonly path: string;
  /** The kernel's descriptor, or -1 on a simulated disk and after `close`. Only for handing the file to another process or thread. */
  readonly descriptor: number;
  /**
   * Fills the first `lengthBytes` (default: all) of `target` from `position`; returns the bytes read, fewer than asked only at the end
   * of the file.
   */
  read(target: Uint8Array, position: number, lengthBytes?: number): number;
  /** Writes all of `source` at `position`, or throws (a prefix may then have been written). */
  write(source: Uint8Array, position: number): void;
  /** Writes all `sources` one behind the other from `position`, or throws. */
  writeVector(sources: readonly Uint8Array[], position: number): void;
  size(): number;
  /** When contents or attributes were changed last, milliseconds since 1970; nobody can set it. */
  changedMs(): number;
  /** Cuts or extends (with a hole) to `sizeBytes`. */
  truncate(sizeBytes: number): void;
  /** Returns when the contents and the size are on stable storage. */
  datasync(): void;
  /**
   * A hint that the range will be synced: the disk may begin to write it now, so that `datasync` has less left to do.
   * Promises nothing and never fails.
   */
  startWriteback(position: number, lengthBytes: number): void;
  /** Reserves space so that later writes inside the range cannot fail with ENOSPC; the size does not change. */
  reserve(position: number, lengthBytes: number): void;
  /** Gives the range's space back, as far as it is in whole blocks; it then reads as zeros. The size does not change. */
  punchHole(position: number, lengthBytes: number): void;
  /** Takes the file's exclusive advisory lock (flock) until `close`; false when another open file holds it. */
  tryLock(): boolean;
  /** A second call does nothing. */
  close(): void;
}

/** A directory tree on a local filesystem. Paths are absolute or relative to the working directory. */
export interface Disk {
  /**
   * Opens a file; new files get `permissions` (default 0600) less nothing: the umask is not applied.
   * @throws ENOENT, EEXIST (`create-new`), EISDIR for a directory in every mode, EMFILE, …
   */
  open(path: string, mode: OpenMode, permissions?: number): DiskFile;
  /** undefined when nothing is there, also when a directory on the way is missing or none. */
  stat(path: string): FileStatus | undefined;
  /** Names in a directory, sorted by code unit. */
  list(path: string): string[];
  /** Makes a directory and its parents with `permissions` (default 0700), whatever the umask; fine when it exists. */
  makeDirectory(path: string, permissions?: number): void;
  /** Removes a file or an empty directory. Throws ENOENT when nothing is there. */
  remove(path: string): void;
  /** Removes whatever is there, recursively; fine when nothing is. */
  removeTree(path: string): void;
  /** Atomic replace within one filesystem. */
  rename(source: string, target: string): void;
  /** Copies a file, sharing blocks where the filesystem can. Replaces the target; a disk that fills up may cost the old one. */
  copy(source: string, target: string): void;
  /** Returns when the directory's entries are on stable storage. */
  syncDirectory(path: string): void;
  space(path: string): DiskSpace;
  /** Absolute path with all symlinks resolved; throws ENOENT. */
  resolve(path: string): string;
}

/** Reads a whole small file; undefined when it is missing. */
export function readWhole(disk: Disk, path: string): Uint8Array | undefined {
  if (disk.stat(path)?.kind !== 'file') return undefined;
  const file = disk.open(path, 'read');
  try {
    const content = new Uint8Array(file.size());
    return content.subarray(0, file.read(content, 0));
  } finally {
    file.close();
  }
}

/**
 * Replaces a small file atomically: temporary file, sync, rename, sync of the directory. When it fails, or the machine
 * does, the old content or the new one is there.
 */
export function replaceWhole(disk: Disk, path: string, content: Uint8Array, permissions = 0o600): void {
  const temporary = `${path}.new`;
  if (disk.stat(temporary)) disk.remove(temporary);
  const file = disk.open(temporary, 'create-new', permissions);
  try {
    file.write(content, 0);
    file.datasync();
  } catch (error) {
    file.close();
    removeQuietly(disk, temporary);
    throw error;
  }
  file.close();
  disk.rename(temporary, path);
  const cut = path.lastIndexOf('/');
  disk.syncDirectory(cut < 0 ? '.' : cut === 0 ? '/' : path.slice(0, cut));
}

/** Gives the space of a file that did not come to be back; the error that led here matters more than one from this. */
function removeQuietly(disk: Disk, path: string): void {
  try {
    disk.remove(path);
  } catch {
    // The next replacement removes it.
  }
}
