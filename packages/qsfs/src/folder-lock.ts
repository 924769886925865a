// One command at a time makes, serves or restores a state folder: DIR/lock is locked (flock) by it, from before anything is made until
// it ends. (DIR/frontend/lock tells the other commands that a frontend is served; it goes with the frontend.)
import { join } from 'node:path';
import { type Disk, type DiskFile, errorCode } from '@qsfs/io';
import { messageOf, QsfsError } from './errors.ts';
import { diskHint } from './known-errors.ts';
import type { Layout } from './layout.ts';

/** The lock on a state folder. */
export interface FolderLock {
  /** Leaves no trace when nothing else was made in the folder. The lock goes with the process: whoever gets it finds nothing of that one any more. */
  leave(): void;
  /** The same, for a process that goes on. */
  release(): void;
}

/**
 * Takes the lock; makes the folder when it is missing.
 * @throws QsfsError QSFS_E_RUNNING; QSFS_E_DISK
 */
export function lockFolder(disk: Disk, layout: Layout): FolderLock {
  const { root, folderLock: path } = layout;
  const status = disk.stat(root);
  if (status && status.kind !== 'directory') {
    throw new QsfsError('QSFS_E_DISK', `${root} is not a folder`, 'Choose another one with --dir.');
  }
  const isNew = !status;
  let before: ReadonlySet<string>;
  let file: DiskFile;
  try {
    before = new Set(isNew ? [] : disk.list(root));
    disk.makeDirectory(root);
    file = disk.open(path, 'create');
  } catch (error) {
    throw new QsfsError(
      'QSFS_E_DISK',
      `${root} cannot be used: ${messageOf(error)}`,
      diskHint(errorCode(error)),
    );
  }
  // Whoever had it before us may have removed the file, and somebody else made another: then the lock is worth nothing.
  const isThere = () => {
    const opened = file.descriptor < 0 ? undefined : disk.stat(`/proc/self/fd/${file.descriptor}`);
    const found = disk.stat(path);
    return found !== undefined && (opened ?? found).inode === found.inode;
  };
  if (!file.tryLock() || !isThere()) {
    file.close();
    throw new QsfsError(
      'QSFS_E_RUNNING',
      `another qsfs is working on ${root}: it runs, or is just starting`,
      'Look at it with "qsfs status".',
    );
  }
  const leave = () => {
    try {
      const made = disk.list(root).filter((name) => !before.has(name));
      if (made.some((name) => join(root, name) !== path)) return;
      if (made.length > 0) disk.remove(path);
      if (isNew) disk.remove(root);
    } catch (error) {
      if (errorCode(error) === undefined) throw error;
    }
  };
  const release = () => {
    try {
      leave();
    } finally {
      file.close();
    }
  };
  return { leave, release };
}
