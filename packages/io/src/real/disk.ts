// The machine's own filesystem behind the Disk interface.
//
// Node takes a negative position for "where the last call ended" and a negative size for 0, so positions are checked
// here; descriptors are reused by the kernel, so a closed file forgets its own. Reads and writes run once or more for
// every operation of a filesystem above: they make one system call and no object.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import type { Disk, DiskFile, DiskSpace, FileStatus, OpenMode } from '../disk.ts';
import { type ErrnoCode, errnoName, errorCode, IoError } from '../errors.ts';
import { type Libc, loadLibc } from '../libc.ts';

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_DIRECTORY, O_NONBLOCK } = fs.constants;
/** Not defined on every system. */
const O_NOATIME = fs.constants.O_NOATIME ?? 0;

// O_NONBLOCK changes nothing for files; with it a named pipe is refused by the first read and cannot hang the open.
const OPEN_FLAGS: Record<Exclude<OpenMode, 'create'>, number> = {
  read: O_RDONLY | O_NONBLOCK,
  write: O_RDWR | O_NONBLOCK,
  'create-new': O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK,
};
/** Others may make and remove the file between our two attempts; so often in a row they do not. */
const CREATE_ATTEMPTS_MAX = 100;
/** flock(2): LOCK_EX | LOCK_NB. */
const LOCK_EXCLUSIVE_NONBLOCKING = 2 | 4;
/** fallocate(2). */
const FALLOCATE_KEEP_SIZE = 1;
const SYNC_FILE_RANGE_WRITE = 2;
const FALLOCATE_PUNCH_HOLE = 2;
/** writev(2) takes at most IOV_MAX buffers. */
const VECTOR_MAX = 1024;
/** One read(2) or write(2) moves at most so many bytes. */
const TRANSFER_MAX_BYTES = 0x7ffff000;
const PERMISSION_BITS = 0o7777;

class RealFile implements DiskFile {
  readonly path: string;
  /** -1 when closed. */
  descriptor: number;
  readonly #writable: boolean;
  readonly #libc: () => Libc | undefined;

  constructor(path: string, descriptor: number, writable: boolean, libc: () => Libc | undefined) {
    this.path = path;
    this.descriptor = descriptor;
    this.#writable = writable;
    this.#libc = libc;
  }

  read(target: Uint8Array, position: number, lengthBytes = target.length): number {
    this.#check(position, 'read');
    let done = 0;
    while (done < lengthBytes) {
      const wanted = Math.min(lengthBytes - done, TRANSFER_MAX_BYTES);
      let got: number;
      try {
        got = fs.readSync(this.descriptor, target, done, wanted, position + done);
      } catch (error) {
        // The only call that libuv does not repeat by itself.
        if (errorCode(error) === 'EINTR') continue;
        throw error;
      }
      if (got === 0) break;
      done += got;
    }
    return done;
  }

  write(source: Uint8Array, position: number): void {
    this.#check(position, 'write');
    let done = 0;
    while (done < source.length) {
      const wanted = Math.min(source.length - done, TRANSFER_MAX_BYTES);
      const put = fs.writeSync(this.descriptor, source, done, wanted, position + done);
      if (put === 0) throw new IoError('EIO', `write ${this.path}: nothing was taken`);
      done += put;
    }
  }

  writeVector(sources: readonly Uint8Array[], position: number): void {
    this.#check(position, 'write');
    let next = position;
    for (let first = 0; first < sources.length; first += VECTOR_MAX) {
      const batch = sources.length <= VECTOR_MAX ? sources : sources.slice(first, first + VECTOR_MAX);
      let written = fs.writevSync(this.descriptor, batch, next);
      // A full disk or a signal can end the call early: go on behind what was taken, or learn why not.
      for (const source of batch) {
        if (written < source.length) this.write(source.subarray(written), next + written);
        written = Math.max(0, written - source.length);
        next += source.length;
      }
    }
  }

  size(): number {
    this.#check(0, 'size');
    return fs.fstatSync(this.descriptor).size;
  }

  changedMs(): number {
    this.#check(0, 'size');
    return fs.fstatSync(this.descriptor).ctimeMs;
  }

  truncate(sizeBytes: number): void {
    this.#check(sizeBytes, 'truncate');
    fs.ftruncateSync(this.descriptor, sizeBytes);
  }

  datasync(): void {
    this.#check(0, 'datasync');
    fs.fdatasyncSync(this.descriptor);
  }

  startWriteback(position: number, lengthBytes: number): void {
    // sync_file_range(2); what it answers does not matter, datasync reports what went wrong.
    this.#libc()?.syncFileRange(this.descriptor, position, lengthBytes, SYNC_FILE_RANGE_WRITE);
  }

  reserve(position: number, lengthBytes: number): void {
    this.#allocate('reserve', FALLOCATE_KEEP_SIZE, ['--keep-size'], position, lengthBytes);
  }

  punchHole(position: number, lengthBytes: number): void {
    const mode = FALLOCATE_KEEP_SIZE | FALLOCATE_PUNCH_HOLE;
    this.#allocate('punch-hole', mode, ['--punch-hole'], position, lengthBytes);
  }

  tryLock(): boolean {
    this.#check(0, 'lock');
    const libc = this.#libc();
    if (libc) {
      const code = callUntilDone(libc, () => libc.flock(this.descriptor, LOCK_EXCLUSIVE_NONBLOCKING));
      if (code === undefined || code === 'EAGAIN') return code === undefined;
      throw new IoError(code, `lock ${this.path}`);
    }
    // The lock belongs to the open file, which the child shares with us: it stays when the child ends.
    const { status } = this.#runTool('flock', [
      '--nonblock',
      '--exclusive',
      '--conflict-exit-code',
      '75',
      '3',
    ]);
    if (status === 0 || status === 75) return status === 0;
    throw new IoError('ENOLCK', `lock ${this.path}: flock(1) ended with ${status}`);
  }

  close(): void {
    const { descriptor } = this;
    if (descriptor < 0) return;
    this.descriptor = -1;
    fs.closeSync(descriptor);
  }

  #check(position: number, action: string): void {
    if (this.descriptor < 0) throw new IoError('EBADF', `${action} ${this.path}: it is closed`);
    if (!(position >= 0) || !Number.isSafeInteger(position)) {
      throw new IoError('EINVAL', `${action} ${this.path} at ${position}`);
    }
  }

  #allocate(action: string, mode: number, flags: string[], position: number, lengthBytes: number): void {
    this.#check(position, action);
    this.#check(lengthBytes, action);
    if (!this.#writable) throw new IoError('EBADF', `${action} ${this.path}: it is open for reading`);
    if (lengthBytes === 0) return;
    const libc = this.#libc();
    if (libc) {
      const code = callUntilDone(libc, () => libc.fallocate(this.descriptor, mode, position, lengthBytes));
      if (code === undefined) return;
      throw new IoError(code, `${action} ${this.path}, ${lengthBytes} bytes at ${position}`);
    }
    const range = ['--offset', `${position}`, '--length', `${lengthBytes}`];
    const { status, errors } = this.#runTool('fallocate', [...flags, ...range, '/proc/self/fd/3']);
    if (status === 0) return;
    const sentences: [RegExp, ErrnoCode][] = [
      [/No space left/, 'ENOSPC'],
      [/File too large/, 'EFBIG'],
      [/not supported/, 'EOPNOTSUPP'],
    ];
    const code = sentences.find(([pattern]) => pattern.test(errors))?.[1] ?? 'EIO';
    throw new IoError(code, `${action} ${this.path}: ${errors.trim()}`);
  }

  /** Runs a program of util-linux with our file as its descriptor 3. */
  #runTool(command: string, parameters: string[]): { status: number | null; errors: string } {
    const result = spawnSync(command, parameters, {
      stdio: ['ignore', 'ignore', 'pipe', this.descriptor],
      env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' },
    });
    if (result.error) {
      throw new IoError('ENOSYS', `${this.path}: koffi does not load here, and ${command}(1) cannot be run`);
    }
    return { status: result.status, errors: `${result.stderr}` };
  }
}

function kindOf(status: fs.Stats): FileStatus['kind'] {
  if (status.isFile()) return 'file';
  if (status.isDirectory()) return 'directory';
  return status.isSocket() ? 'socket' : 'other';
}

/** Makes a call of the C library until no signal interrupts it; undefined when it succeeded. */
function callUntilDone(libc: Libc, call: () => number): ErrnoCode | undefined {
  for (;;) {
    if (call() === 0) return undefined;
    const code = errnoName(libc.errno());
    if (code !== 'EINTR') return code;
  }
}

/** Node refuses a zero byte with an error that has no errno. */
function checkPath(path: string): string {
  if (path.includes('\0')) throw new IoError('EINVAL', `a path with a zero byte: ${JSON.stringify(path)}`);
  return path;
}

/**
 * Opens without access times, which only the owner may: a read that changes the inode waits for a disk that hangs, although what it reads
 * is in memory.
 */
function openQuietly(path: string, flags: number, permissions = 0): number {
  try {
    return fs.openSync(path, flags | O_NOATIME, permissions);
  } catch (error) {
    if (errorCode(error) !== 'EPERM') throw error;
  }
  try {
    return fs.openSync(path, flags, permissions);
  } catch (error) {
    // Made by the first attempt, and not ours for all that (a share where root is nobody).
    if ((flags & O_EXCL) === 0 || errorCode(error) !== 'EEXIST') throw error;
    return fs.openSync(path, flags & ~(O_EXCL | O_CREAT));
  }
}

/** Makes a file, with exactly these permissions whatever the umask. */
function createFile(path: string, permissions: number): number {
  const descriptor = openQuietly(path, OPEN_FLAGS['create-new'], permissions);
  try {
    if ((fs.fstatSync(descriptor).mode & PERMISSION_BITS) !== permissions) {
      fs.fchmodSync(descriptor, permissions);
    }
  } catch (error) {
    fs.closeSync(descriptor);
    throw error;
  }
  return descriptor;
}

function openOrCreate(path: string, permissions: number): number {
  for (let attempt = 1; ; attempt++) {
    try {
      return openQuietly(path, OPEN_FLAGS.write);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT' || attempt >= CREATE_ATTEMPTS_MAX) throw error;
    }
    try {
      return createFile(path, permissions);
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
      // A name that is there and leads nowhere: a symbolic link to a file that is to be made.
      if (attempt > 1 && fs.lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) {
        return fs.openSync(path, O_RDWR | O_CREAT | O_NONBLOCK, permissions);
      }
    }
  }
}

/** Makes one directory with exactly these permissions; fine when it is there. */
function makeOne(path: string, permissions: number): void {
  try {
    fs.mkdirSync(path, permissions);
  } catch (error) {
    if (errorCode(error) === 'EEXIST' && fs.statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
    throw error;
  }
  if ((fs.statSync(path).mode & PERMISSION_BITS) !== permissions) fs.chmodSync(path, permissions);
}

function makeWithParents(path: string, permissions: number): void {
  try {
    makeOne(path, permissions);
  } catch (error) {
    const parent = dirname(path);
    if (errorCode(error) !== 'ENOENT' || parent === path || path === '') throw error;
    makeWithParents(parent, permissions);
    makeOne(path, permissions);
  }
}

/**
 * A real disk. Stateless: one value serves the whole process.
 * @param libc finds the C library; without it flock(1) and fallocate(1) are run
 */
export function openRealDisk(libc: () => Libc | undefined): Disk {
  return {
    open(path: string, mode: OpenMode, permissions = 0o600): DiskFile {
      checkPath(path);
      const descriptor =
        mode === 'create'
          ? openOrCreate(path, permissions)
          : mode === 'create-new'
            ? createFile(path, permissions)
            : openQuietly(path, OPEN_FLAGS[mode]);
      // Linux opens directories for reading and refuses only the read.
      if (mode === 'read' && fs.fstatSync(descriptor).isDirectory()) {
        fs.closeSync(descriptor);
        throw new IoError('EISDIR', `open ${path}`);
      }
      return new RealFile(path, descriptor, mode !== 'read', libc);
    },

    stat(path: string): FileStatus | undefined {
      const status = fs.statSync(checkPath(path), { throwIfNoEntry: false });
      if (!status) return undefined;
      return {
        kind: kindOf(status),
        sizeBytes: status.size,
        allocatedBytes: status.blocks * 512,
        modifiedMs: status.mtimeMs,
        inode: status.ino,
        device: status.dev,
      };
    },

    list: (path: string): string[] => fs.readdirSync(checkPath(path)).sort(),

    makeDirectory: (path: string, permissions = 0o700): void => makeWithParents(checkPath(path), permissions),

    remove(path: string): void {
      if (fs.lstatSync(checkPath(path)).isDirectory()) fs.rmdirSync(path);
      else fs.unlinkSync(path);
    },

    removeTree: (path: string): void => fs.rmSync(checkPath(path), { recursive: true, force: true }),
    rename: (source: string, target: string): void => fs.renameSync(checkPath(source), checkPath(target)),
    copy(source: string, target: string): void {
      // libuv opens the target before it sees that it cannot read the source, and then removes the target.
      const status = fs.statSync(checkPath(source));
      if (status.isDirectory()) throw new IoError('EISDIR', `copy ${source}`);
      if (!status.isFile()) throw new IoError('EINVAL', `copy ${source}: it is not a file`);
      fs.copyFileSync(source, checkPath(target), fs.constants.COPYFILE_FICLONE);
    },

    syncDirectory(path: string): void {
      const descriptor = fs.openSync(checkPath(path), O_RDONLY | O_DIRECTORY);
      try {
        fs.fsyncSync(descriptor);
      } finally {
        fs.closeSync(descriptor);
      }
    },

    space(path: string): DiskSpace {
      const status = fs.statfsSync(checkPath(path));
      return { totalBytes: status.blocks * status.bsize, availableBytes: status.bavail * status.bsize };
    },

    resolve: (path: string): string => fs.realpathSync.native(checkPath(path)),
  };
}

/** The machine's own disk. */
export const realDisk: Disk = openRealDisk(loadLibc);
