// The locks of data and index roots, for tools that change files: no server may run on them meanwhile.
import type { Disk, DiskFile } from '@qsfs/io';
import { ToolError } from './tool.ts';

/** Locks roots that exist. @returns the undoing. @throws ToolError when a server works on one of them */
export function lockRoots(disk: Disk, roots: readonly string[]): () => void {
  const locks: DiskFile[] = [];
  const unlock = () => {
    for (const lock of locks) lock.close();
  };
  for (const root of roots) {
    if (disk.stat(root)?.kind !== 'directory') {
      unlock();
      throw new ToolError(`${root} is no directory`);
    }
    const lock = disk.open(`${root}/.lockfile`, 'create', 0o664);
    locks.push(lock);
    if (!lock.tryLock()) {
      unlock();
      throw new ToolError(`${root} is in use by a running zdb: stop it first`);
    }
  }
  return unlock;
}
