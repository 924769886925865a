// One open file of a simulated disk. Made by SimulatedDisk.open only.
import type { DiskFile, OpenMode } from '../disk.ts';
import { IoError } from '../errors.ts';
import type { SpaceBudget } from './content.ts';
import type { FileInode } from './inode.ts';
import type { DiskOperationKind, OperationGate } from './operations.ts';

/** The largest file: what ext4 with 4 KiB blocks takes. */
const FILE_MAX_BYTES = 2 ** 44 - 4096;

/** What a file needs of its disk. */
export interface FileHost {
  readonly gate: OperationGate;
  readonly budget: SpaceBudget;
  nowMs(): number;
  nextSequence(): number;
  /** Called once, after the last use. */
  closed(file: SimulatedFile, inode: FileInode): void;
}

/** See `DiskFile`. */
export class SimulatedFile implements DiskFile {
  readonly path: string;
  readonly descriptor = -1;
  readonly #host: FileHost;
  readonly #inode: FileInode;
  readonly #writable: boolean;
  #open = true;

  constructor(host: FileHost, inode: FileInode, path: string, mode: OpenMode) {
    this.#host = host;
    this.#inode = inode;
    this.path = path;
    this.#writable = mode !== 'read';
  }

  read(target: Uint8Array, position: number, lengthBytes = target.length): number {
    this.#check('read', position, lengthBytes);
    this.#host.gate.pass({ kind: 'read', path: this.path, position, lengthBytes });
    return this.#inode.content.read(target.subarray(0, lengthBytes), position);
  }

  write(source: Uint8Array, position: number): void {
    this.writeVector([source], position);
  }

  writeVector(sources: readonly Uint8Array[], position: number): void {
    let length = 0;
    for (const source of sources) length += source.length;
    this.#check('write', position, length);
    if (length === 0) return;
    if (!this.#writable) throw new IoError('EBADF', `write ${this.path}: it is open for reading`);
    if (position + length > FILE_MAX_BYTES) throw new IoError('EFBIG', `write ${this.path}`);
    const stop = this.#host.gate.enter({ kind: 'write', path: this.path, position, lengthBytes: length });
    const bytes = new Uint8Array(Math.min(length, stop ? stop.appliedBytes : length));
    let filled = 0;
    for (const source of sources) {
      const part = source.subarray(0, bytes.length - filled);
      bytes.set(part, filled);
      filled += part.length;
    }
    const written = bytes.length === 0 ? 0 : this.#inode.content.write(bytes, position);
    if (written > 0) {
      this.#changed({ kind: 'write', position, bytes: bytes.subarray(0, written) });
      this.#inode.changed(this.#host.nowMs());
    }
    if (stop) throw stop.error;
    if (written < length) throw new IoError('ENOSPC', `write ${this.path}`);
  }

  size(): number {
    this.#check('size');
    this.#host.gate.pass({ kind: 'size', path: this.path });
    return this.#inode.content.sizeBytes;
  }

  changedMs(): number {
    this.#check('size');
    this.#host.gate.pass({ kind: 'size', path: this.path });
    // A clock that a test does not turn must not hide a change.
    return this.#inode.modifiedMs + this.#inode.changes / 1024;
  }

  truncate(sizeBytes: number): void {
    this.#check('truncate', sizeBytes);
    if (!this.#writable) throw new IoError('EINVAL', `truncate ${this.path}: it is open for reading`);
    if (sizeBytes > FILE_MAX_BYTES) throw new IoError('EFBIG', `truncate ${this.path}`);
    this.#alter('truncate', { position: sizeBytes }, () => {
      const fromBytes = this.#inode.content.sizeBytes;
      this.#inode.content.truncate(sizeBytes);
      this.#changed({ kind: 'truncate', sizeBytes, fromBytes });
      this.#inode.changed(this.#host.nowMs());
    });
  }

  datasync(): void {
    this.#check('datasync');
    const stop = this.#host.gate.enter({ kind: 'datasync', path: this.path });
    if (stop) {
      if (!this.#host.gate.crashed) this.#inode.giveUp();
      throw stop.error;
    }
    this.#inode.makeStable();
  }

  startWriteback(): void {
    // What is on its way to the disk may be lost like everything that is not synced.
  }

  reserve(position: number, lengthBytes: number): void {
    this.#check('reserve', position, lengthBytes);
    if (!this.#writable) throw new IoError('EBADF', `reserve ${this.path}: it is open for reading`);
    if (lengthBytes === 0) return;
    if (position + lengthBytes > FILE_MAX_BYTES) throw new IoError('EFBIG', `reserve ${this.path}`);
    this.#alter('reserve', { position, lengthBytes }, () => {
      if (!this.#inode.content.reserve(position, lengthBytes)) {
        throw new IoError('ENOSPC', `reserve ${this.path}`);
      }
      this.#changed({ kind: 'reserve', position, lengthBytes });
    });
  }

  punchHole(position: number, lengthBytes: number): void {
    this.#check('punch-hole', position, lengthBytes);
    if (!this.#writable) throw new IoError('EBADF', `punch-hole ${this.path}: it is open for reading`);
    if (lengthBytes === 0) return;
    this.#alter('punch-hole', { position, lengthBytes }, () => {
      this.#inode.content.punch(position, lengthBytes);
      this.#changed({ kind: 'punch-hole', position, lengthBytes });
      this.#inode.changed(this.#host.nowMs());
    });
  }

  tryLock(): boolean {
    this.#check('lock');
    this.#host.gate.pass({ kind: 'lock', path: this.path });
    this.#inode.lockHolder ??= this;
    return this.#inode.lockHolder === this;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    if (this.#inode.lockHolder === this) this.#inode.lockHolder = undefined;
    this.#host.closed(this, this.#inode);
  }

  /** Refuses a closed file and positions that are none. */
  #check(action: DiskOperationKind, position = 0, lengthBytes = 0): void {
    if (!this.#open) throw new IoError('EBADF', `${action} ${this.path}: it is closed`);
    if (isCount(position) && isCount(lengthBytes)) return;
    throw new IoError('EINVAL', `${action} ${this.path} at ${position}, ${lengthBytes} bytes`);
  }

  /** Carries out a change that happens whole or not at all. */
  #alter(
    kind: DiskOperationKind,
    range: { position?: number; lengthBytes?: number },
    effect: () => void,
  ): void {
    const stop = this.#host.gate.enter({ kind, path: this.path, ...range });
    if (!stop || stop.appliedBytes > 0) effect();
    if (stop) throw stop.error;
  }

  #changed(change: ChangeBody): void {
    const sequence = this.#host.nextSequence();
    this.#inode.note({ ...change, sequence, inode: this.#inode.id, path: this.path });
  }
}

type ChangeBody =
  | { kind: 'write'; position: number; bytes: Uint8Array }
  | { kind: 'truncate'; sizeBytes: number; fromBytes: number }
  | { kind: 'punch-hole' | 'reserve'; position: number; lengthBytes: number };

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
