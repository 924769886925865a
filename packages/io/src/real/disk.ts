// The machine's own filesystem behind the Disk interface.

import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import type { Disk, DiskFile, DiskSpace, FileStatus, OpenMode } from '../disk.ts';
import { IoError } from '../errors.ts';
import { loadLibc } from '../libc.ts';

const OPEN_FLAGS: Record<OpenMode, number> = {
  read: fs.constants.O_RDONLY,
  write: fs.constants.O_RDWR,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT,
  'create-new': fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
};
const LOCK_EXCLUSIVE_NONBLOCKING = 2 | 4;
const FALLOCATE_KEEP_SIZE = 1;
const FALLOCATE_PUNCH_HOLE = 2;
/** writev(2) takes at most IOV_MAX buffers. */
const VECTOR_MAX = 1024;

class RealFile implements DiskFile {
  readonly path: string;
  readonly descriptor: number;

  constructor(path: string, descriptor: number) {
    this.path = path;
    this.descriptor = descriptor;
  }

  read(target: Uint8Array, position: number): number {
    let done = 0;
    while (done < target.length) {
      const got = fs.readSync(this.descriptor, target, done, target.length - done, position + done);
      if (got === 0) break;
      done += got;
    }
    return done;
  }

  write(source: Uint8Array, position: number): void {
    let done = 0;
    while (done < source.length) {
      done += fs.writeSync(this.descriptor, source, done, source.length - done, position + done);
    }
  }

  writeVector(sources: readonly Uint8Array[], position: number): void {
    let next = position;
    for (let first = 0; first < sources.length; first += VECTOR_MAX) {
      const batch = sources.slice(first, first + VECTOR_MAX);
      const length = batch.reduce((sum, source) => sum + source.length, 0);
      let written = fs.writevSync(this.descriptor, batch, next);
      for (const source of batch) {
        if (written >= source.length) {
          written -= source.length;
        } else {
          this.write(source.subarray(written), next + written);
          written = 0;
        }
        next += source.length;
      }
      if (length === 0) continue;
    }
  }

  size(): number {
    return fs.fstatSync(this.descriptor).size;
  }

  truncate(sizeBytes: number): void {
    fs.ftruncateSync(this.descriptor, sizeBytes);
  }

  datasync(): void {
    fs.fdatasyncSync(this.descriptor);
  }

  reserve(position: number, lengthBytes: number): void {
    this.#fallocate(FALLOCATE_KEEP_SIZE, ['--keep-size'], position, lengthBytes);
  }

  punchHole(position: number, lengthBytes: number): void {
    this.#fallocate(FALLOCATE_KEEP_SIZE | FALLOCATE_PUNCH_HOLE, ['--punch-hole'], position, lengthBytes);
  }

  tryLock(): boolean {
    const libc = loadLibc();
    if (libc) return libc.flock(this.descriptor, LOCK_EXCLUSIVE_NONBLOCKING) === 0;
    // The lock belongs to the open file, which the child shares with us: it stays when the child ends.
    const result = spawnSync('flock', ['-n', '-x', '3'], {
      stdio: ['ignore', 'ignore', 'ignore', this.descriptor],
    });
    if (result.error)
      throw new IoError('ENOSYS', `lock ${this.path}: neither koffi nor flock(1) can be used here`);
    return result.status === 0;
  }

  close(): void {
    fs.closeSync(this.descriptor);
  }

  #fallocate(mode: number, flags: string[], position: number, lengthBytes: number): void {
    if (lengthBytes <= 0) return;
    const libc = loadLibc();
    if (libc) {
      if (libc.fallocate(this.descriptor, mode, position, lengthBytes) === 0) return;
      const number = libc.errno();
      throw new IoError(
        number === 28 ? 'ENOSPC' : number === 95 ? 'EOPNOTSUPP' : 'EIO',
        `fallocate ${this.path}`,
      );
    }
    const words = [...flags, '--offset', `${position}`, '--length', `${lengthBytes}`, '/proc/self/fd/3'];
    const result = spawnSync('fallocate', words, { stdio: ['ignore', 'ignore', 'pipe', this.descriptor] });
    if (result.status === 0) return;
    const text = `${result.stderr}`;
    throw new IoError(/No space/.test(text) ? 'ENOSPC' : 'EOPNOTSUPP', `fallocate ${this.path}: ${text}`);
  }
}

/** The real disk. Stateless: one value serves the whole process. */
export const realDisk: Disk = {
  open(path: string, mode: OpenMode, permissions = 0o600): DiskFile {
    return new RealFile(path, fs.openSync(path, OPEN_FLAGS[mode], permissions));
  },

  stat(path: string): FileStatus | undefined {
    const status = fs.statSync(path, { throwIfNoEntry: false });
    if (!status) return undefined;
    return {
      kind: status.isFile() ? 'file' : status.isDirectory() ? 'directory' : 'other',
      sizeBytes: status.size,
      allocatedBytes: status.blocks * 512,
      modifiedMs: status.mtimeMs,
      inode: status.ino,
    };
  },

  list: (path: string): string[] => fs.readdirSync(path).sort(),
  makeDirectory: (path: string, permissions = 0o700): void =>
    void fs.mkdirSync(path, { recursive: true, mode: permissions }),

  remove(path: string): void {
    if (fs.lstatSync(path).isDirectory()) fs.rmdirSync(path);
    else fs.unlinkSync(path);
  },

  removeTree: (path: string): void => fs.rmSync(path, { recursive: true, force: true }),
  rename: (source: string, target: string): void => fs.renameSync(source, target),
  copy: (source: string, target: string): void =>
    fs.copyFileSync(source, target, fs.constants.COPYFILE_FICLONE),

  syncDirectory(path: string): void {
    const descriptor = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
    try {
      fs.fsyncSync(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
  },

  space(path: string): DiskSpace {
    const status = fs.statfsSync(path);
    return { totalBytes: status.blocks * status.bsize, availableBytes: status.bavail * status.bsize };
  },

  resolve: (path: string): string => fs.realpathSync(path),
};
