// Is this place fit to be mounted on? Also clears what a crash left there.
//
// A mount whose server died answers ENOTCONN ("Transport endpoint is not connected") to everything. It is recognised by
// that and by the table of mounts, and detached before anything else; a living mount is never touched.
import { dirname } from 'node:path';
import { type Disk, errorCode } from '@qsfs/io';
import { detach, isDead, type MountIo } from './dead-mount.ts';
import { MountError } from './mount-error.ts';
import { isFuse, mountAbove, mountedAt } from './mount-table.ts';

/** Types of filesystems in which no directory can be made. */
const NOTHING_MADE = new Set(['proc', 'sysfs', 'devpts', 'cgroup', 'cgroup2']);
/** Stacked stale mounts that are cleared at most. */
const STALE_MAX = 16;

/** A place that can be mounted on. */
export interface PreparedMountPoint {
  /** Absolute, without symlinks. */
  readonly path: string;
  /** It was made. */
  readonly isNew: boolean;
  /** Dead mounts that were cleared away. */
  readonly cleared: number;
}

/**
 * Makes sure that `path` can be mounted on: it is a directory (made when `create`), nothing living is mounted there, and
 * dead mounts are cleared away.
 * @throws MountError
 */
export function prepareMountPoint(io: MountIo, path: string, create: boolean): PreparedMountPoint {
  if (path === '') throw new MountError('no-mount-point', 'no mount point was given');
  try {
    return prepare(io, path, create);
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    const { message } = error as Error;
    throw new MountError('no-mount-point', `${path} cannot be a mount point: ${message}`);
  }
}

function prepare(io: MountIo, path: string, create: boolean): PreparedMountPoint {
  const { disk } = io;
  for (let cleared = 0; cleared <= STALE_MAX; cleared++) {
    // What is mounted there must not be touched before it is known to answer, not even to resolve symlinks.
    const beside = besideMount(disk, path);
    if (beside !== undefined && clearStale(io, beside)) continue;
    const absolute = resolveDirectory(disk, path);
    if (absolute === undefined) return { path: makeDirectory(disk, path, create), isNew: true, cleared };
    if (!clearStale(io, absolute)) return { path: absolute, isNew: false, cleared };
  }
  throw new MountError(
    'already-mounted',
    `${path} has more than ${STALE_MAX} dead mounts; unmount them by hand`,
  );
}

/**
 * Finds out whether `path` can be mounted on, as `prepareMountPoint` would, without changing anything. A missing directory is fine where
 * one can be made.
 * @throws MountError
 */
export function checkMountPoint(io: MountIo, path: string): void {
  const { disk } = io;
  if (path === '') throw new MountError('no-mount-point', 'no mount point was given');
  try {
    const beside = besideMount(disk, path);
    if (beside !== undefined && isStale(io, beside)) return;
    const absolute = resolveDirectory(disk, path);
    if (absolute === undefined) checkParent(disk, path);
    else isStale(io, absolute);
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    throw new MountError('no-mount-point', `${path} cannot be a mount point: ${(error as Error).message}`);
  }
}

/** The nearest directory above a missing one: something can be made there. */
function checkParent(disk: Disk, path: string): void {
  const above = dirname(path);
  const status = disk.stat(above);
  if (!status) {
    if (above !== path) checkParent(disk, above);
    return;
  }
  if (status.kind !== 'directory') {
    throw new MountError('not-a-directory', `${above} is not a directory; ${path} cannot be made in it`);
  }
  const type = mountAbove(disk, disk.resolve(above))?.type ?? '';
  if (NOTHING_MADE.has(type))
    throw new MountError('no-mount-point', `no directory can be made in ${above} (${type})`);
}

/** False when nothing is mounted there, true when a dead mount is. @throws MountError when it lives */
function isStale(io: MountIo, absolutePath: string): boolean {
  const entry = mountedAt(io.disk, absolutePath);
  if (!entry) return false;
  if (!isFuse(entry) || !isDead(io, absolutePath)) {
    const command = io.processes.userId === 0 ? 'umount' : 'fusermount3 -u';
    throw new MountError(
      'already-mounted',
      `${absolutePath} is already a mount point (${entry.type}, ${entry.source}); unmount it first ("${command} ${absolutePath}") or choose another directory`,
    );
  }
  return true;
}

/** False when nothing is mounted there, true when a dead mount was and is no more. @throws MountError when it lives */
function clearStale(io: MountIo, absolutePath: string): boolean {
  if (!isStale(io, absolutePath)) return false;
  if (detach(io.processes, absolutePath)) return true;
  throw new MountError(
    'not-permitted',
    `a dead mount is in the way at ${absolutePath} and cannot be removed; run "umount -l ${absolutePath}" as root`,
  );
}

/** The absolute path as far as it can be had without touching the last name; undefined when that says nothing. */
function besideMount(disk: Disk, path: string): string | undefined {
  const trimmed = path.replace(/(?:\/\.?)+$/, '');
  const cut = trimmed.lastIndexOf('/');
  const name = trimmed.slice(cut + 1);
  if (name === '' || name === '.' || name === '..') return undefined;
  const parent = cut < 0 ? '.' : cut === 0 ? '/' : trimmed.slice(0, cut);
  try {
    const above = disk.resolve(parent);
    return `${above === '/' ? '' : above}/${name}`;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** The absolute path without symlinks; undefined when nothing is there. */
function resolveDirectory(disk: Disk, path: string): string | undefined {
  let absolute: string;
  try {
    absolute = disk.resolve(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  // A symlink may lead to a dead mount, which has no status; the table of mounts tells.
  if (mountedAt(disk, absolute) || disk.stat(absolute)?.kind === 'directory') return absolute;
  throw new MountError('not-a-directory', `${absolute} is not a directory; a mount point must be one`);
}

function makeDirectory(disk: Disk, path: string, create: boolean): string {
  if (!create) {
    throw new MountError(
      'no-mount-point',
      `there is no directory ${path}; make it first ("mkdir -p ${path}")`,
    );
  }
  disk.makeDirectory(path, 0o755);
  return disk.resolve(path);
}
