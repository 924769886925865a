// Mounting and unmounting. As root through mount(8), which inherits the open device; otherwise through fusermount3.
//
// Where the mount of a killed server lies, root mounts over it: mount(2) asks the filesystem below nothing. So the folder below
// is never seen in between, as it would be if the dead mount were cleared first, which is all that fusermount3 can do: it looks
// at the place and fails on a dead one (docs/adr/fuse-dead-mounts.md).
//
// A mount belongs to the process that made it: closing the descriptor (or dying) aborts everything that goes through it.
// Called by the programs, never by the thread of the session: unmounting needs that thread to answer.
import {
  type ChildResult,
  type Device,
  type Disk,
  errorCode,
  type Libc,
  type OpenDevice,
  type Processes,
} from '@qsfs/io';
import { clearDead, DEAD_TEXT, detach, PLAIN_MESSAGES } from './dead-mount.ts';
import { DEVICE_HINT, mountWithFusermount } from './fusermount.ts';
import { DEVICE_PATH } from './mount-check.ts';
import { MountError } from './mount-error.ts';
import { prepareMountPoint } from './mount-point.ts';
import { mountedAt } from './mount-table.ts';
import { TRANSFER_MAX_BYTES } from './protocol.ts';

/** What mounting needs of the machine. */
export interface Mounting {
  readonly disk: Disk;
  readonly processes: Processes;
  readonly libc: Libc | undefined;
  readonly openDevice: OpenDevice;
}

/** What to mount, and how. */
export interface MountOptions {
  readonly mountPoint: string;
  /** What the table of mounts shows as the source. */
  readonly source: string;
  /** The type is `fuse.SUBTYPE`; letters, digits, `-`, `_` and `.`. */
  readonly subtype: string;
  /** Make the mount point when it is missing. */
  readonly createMountPoint?: boolean;
  readonly readOnly?: boolean;
  /** Let other users in. Default: when root mounts. */
  readonly allowOther?: boolean;
  /** Set-user-id programs and device nodes on the mount work as such. Only root may ask. */
  readonly allowSetId?: boolean;
  readonly allowDevices?: boolean;
  readonly noExecute?: boolean;
  readonly noAccessTimes?: boolean;
  /** How far the kernel reads ahead, bytes; the kernel's own default is 128 KiB. Only root can change it. */
  readonly readaheadBytes?: number;
}

/** A mount of ours. */
export interface MountedDevice {
  readonly descriptor: number;
  readonly device: Device;
  /** Absolute, without symlinks. */
  readonly mountPoint: string;
  /** `major:minor` of the mounted filesystem. */
  readonly deviceNumber: string;
  /** The dead mount of an earlier run was here. */
  readonly replacedDead: boolean;
  /** Names in the directory below the mount, which nobody sees while it is mounted; 0 when a dead mount hides them from us, too. */
  readonly hiddenCount: number;
  /**
   * Unmounts, waiting for what is on its way to us. When files are still in use there, it writes back what the kernel
   * holds and detaches the tree: the name is free at once, and the session goes on until the last user is gone.
   * Then the dead mount goes that this one was mounted over.
   * @returns whether the session will end by itself now
   * @throws MountError 'busy' when the system refuses even that
   */
  unmount(): Promise<'unmounted' | 'detached'>;
  /** Detaches at once, without waiting and without the event loop: for the last moments of a process. */
  detach(): void;
  /** Detaches a mount that could not be served: a dead one below it stays and answers errors as before. */
  putBack(): void;
  /** Aborts the mount: whatever goes through it fails with ENOTCONN. After the session ended, or instead. */
  close(): void;
}

/** Where the kernel lets root set the readahead of a mount. */
const READAHEAD_PATH = '/sys/class/bdi';
const READAHEAD_BYTES = 1024 * 1024;

/**
 * Mounts. The session must be started soon after: until then everybody who touches the mount waits.
 * @throws MountError
 */
export function mount(io: Mounting, options: MountOptions): MountedDevice {
  if (!/^[\w.-]+$/.test(options.subtype))
    throw new RangeError(`"${options.subtype}" cannot be a filesystem type`);
  const prepared = prepareMountPoint(io, options.mountPoint, options.createMountPoint ?? false);
  const { path, isNew, dead } = prepared;
  const place = { path, replacedDead: dead !== undefined };
  const root = io.processes.userId === 0;
  if (root && dead) {
    try {
      const over = { ...place, hiddenCount: 0, covered: dead.device };
      return new Mounted(io, options, mountAsRoot(io, path, options), over);
    } catch (error) {
      // A mount(8) that looks at the place first cannot mount over it.
      if (!(error instanceof MountError && DEAD_TEXT.test(error.message))) throw error;
    }
  }
  if (dead) clearDead(io.processes, path);
  const hiddenCount = countNames(io.disk, path);
  let descriptor: number;
  try {
    descriptor = root ? mountAsRoot(io, path, options) : mountAsUser(io, path, options);
  } catch (error) {
    if (isNew) removeQuietly(io.disk, path);
    throw error;
  }
  return new Mounted(io, options, descriptor, { ...place, hiddenCount, covered: undefined });
}

/** Why it was made in vain matters more than what is left of it. */
function removeQuietly(disk: Disk, path: string): void {
  try {
    disk.remove(path);
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
  }
}

/** 0 when they may not be seen. */
function countNames(disk: Disk, path: string): number {
  try {
    return disk.list(path).length;
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return 0;
  }
}

/** The place as it was before. */
interface Place {
  readonly path: string;
  readonly replacedDead: boolean;
  readonly hiddenCount: number;
  /** `major:minor` of the dead mount that is covered now. */
  readonly covered: string | undefined;
}

class Mounted implements MountedDevice {
  readonly descriptor: number;
  readonly device: Device;
  readonly mountPoint: string;
  readonly deviceNumber: string;
  readonly replacedDead: boolean;
  readonly hiddenCount: number;
  readonly #io: Mounting;
  readonly #covered: string | undefined;

  constructor(io: Mounting, options: MountOptions, descriptor: number, place: Place) {
    const { path } = place;
    this.#io = io;
    this.descriptor = descriptor;
    this.device = io.openDevice(descriptor, io.libc);
    this.mountPoint = path;
    this.replacedDead = place.replacedDead;
    this.hiddenCount = place.hiddenCount;
    this.#covered = place.covered;
    const entry = mountedAt(io.disk, path);
    if (!entry || entry.device === place.covered) {
      this.device.close();
      throw new MountError('refused', `the system says it mounted ${path}, but nothing is mounted there`);
    }
    this.deviceNumber = entry.device;
    if (io.processes.userId === 0)
      setReadahead(io.disk, entry.device, options.readaheadBytes ?? READAHEAD_BYTES);
  }

  async unmount(): Promise<'unmounted' | 'detached'> {
    const how = await this.#unmount();
    this.#clearCovered();
    return how;
  }

  async #unmount(): Promise<'unmounted' | 'detached'> {
    if (!this.#isThere()) return 'unmounted';
    const root = this.#io.processes.userId === 0;
    const [command, ...flags] = root ? ['umount'] : ['fusermount3', '-u'];
    const first = await this.#command(command as string, [...flags, '--', this.mountPoint]);
    if (first.exitCode === 0 || !this.#isThere()) return 'unmounted';
    // In use. Bring what the kernel still holds to us, then take the tree away from under its users.
    await this.#command('sync', ['-f', '--', this.mountPoint]);
    if (detach(this.#io.processes, this.mountPoint) || !this.#isThere()) return 'detached';
    throw new MountError('busy', `${this.mountPoint} cannot be unmounted: ${first.errors.trim()}`);
  }

  detach(): void {
    this.putBack();
    this.#clearCovered();
  }

  putBack(): void {
    if (this.#isThere()) detach(this.#io.processes, this.mountPoint);
  }

  close(): void {
    this.device.close();
  }

  #isThere(): boolean {
    return mountedAt(this.#io.disk, this.mountPoint)?.device === this.deviceNumber;
  }

  /** What died once stays dead, and its number is its own as long as it is mounted. */
  #clearCovered(): void {
    if (this.#covered === undefined) return;
    if (mountedAt(this.#io.disk, this.mountPoint)?.device !== this.#covered) return;
    detach(this.#io.processes, this.mountPoint);
  }

  #command(command: string, parameters: readonly string[]): Promise<ChildResult> {
    const options = { streams: ['ignore', 'pipe', 'pipe'] as const, environment: PLAIN_MESSAGES };
    return this.#io.processes.start(command, parameters, options).ended;
  }
}

function mountAsRoot(io: Mounting, path: string, options: MountOptions): number {
  let descriptor: number;
  try {
    descriptor = io.disk.open(DEVICE_PATH, 'write').descriptor;
  } catch (error) {
    throw new MountError('no-device', `cannot open ${DEVICE_PATH} (${errorCode(error)}); ${DEVICE_HINT}`);
  }
  const words = [
    'fd=3',
    'rootmode=40000',
    `user_id=${io.processes.userId}`,
    `group_id=${io.processes.groupId}`,
    ...commonOptions(options, true),
  ];
  // -i: no helper program; -c: the source is a name, not a path to be resolved.
  const parameters = [
    '-i',
    '-c',
    '-t',
    `fuse.${options.subtype}`,
    '-o',
    words.join(','),
    '--',
    options.source,
    path,
  ];
  const result = io.processes.run('mount', parameters, {
    streams: ['ignore', 'pipe', 'pipe', descriptor],
    environment: PLAIN_MESSAGES,
  });
  if (result.exitCode === 0) return descriptor;
  io.openDevice(descriptor, io.libc).close();
  const said = result.errors.trim();
  if (/permission denied|not permitted|must be superuser/i.test(said)) {
    throw new MountError('not-permitted', `mount(8) may not mount here (${said}); ${DEVICE_HINT}`);
  }
  throw new MountError('refused', `mount(8) refused: ${said}`);
}

function mountAsUser(io: Mounting, path: string, options: MountOptions): number {
  if (!io.libc) {
    throw new MountError(
      'no-ffi',
      'mounting without being root needs the koffi library, which has no binary for this machine; run as root',
    );
  }
  const words = [
    `fsname=${escaped(options.source)}`,
    `subtype=${options.subtype}`,
    ...commonOptions(options, false),
  ];
  return mountWithFusermount(io.processes, io.libc, path, words);
}

function commonOptions(options: MountOptions, root: boolean): string[] {
  const words = ['default_permissions', `max_read=${TRANSFER_MAX_BYTES}`];
  words.push(options.readOnly ? 'ro' : 'rw');
  words.push(options.allowSetId ? 'suid' : 'nosuid', options.allowDevices ? 'dev' : 'nodev');
  if (options.allowOther ?? root) words.push('allow_other');
  if (options.noExecute) words.push('noexec');
  if (options.noAccessTimes) words.push('noatime');
  return words;
}

/** fusermount3 separates options by commas; backslashes escape. */
function escaped(text: string): string {
  return text.replace(/[\\,]/g, '\\$&');
}

/** Best effort: /sys may be read-only in containers, and then reads are only slower. */
function setReadahead(disk: Disk, device: string, bytes: number): void {
  try {
    const file = disk.open(`${READAHEAD_PATH}/${device}/read_ahead_kb`, 'write');
    try {
      file.write(Buffer.from(`${Math.max(1, Math.round(bytes / 1024))}`), 0);
    } finally {
      file.close();
    }
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
  }
}
