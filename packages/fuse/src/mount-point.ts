// Is this place fit to be mounted on? Also finds what a crash left there.
//
// A mount whose server died answers ENOTCONN ("Transport endpoint is not connected") to everything. It is recognised by
// that and by the table of mounts. It stays until it is replaced (mount.ts); a living mount is never touched.
import { dirname } from 'node:path';
import { type Disk, errorCode } from '@qsfs/io';
import { clearDead, isDeadMount, type MountIo } from './dead-mount.ts';
import { MountError } from './mount-error.ts';
import { isFuse, type MountEntry, mountAbove, mountBelow, mountedAt } from './mount-table.ts';

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
  /** The dead mount that is there. */
  readonly dead: MountEntry | undefined;
}

/**
 * Makes sure that `path` can be mounted on: it is a directory (made when `create`), nothing living is mounted there, and at
 * most one dead mount.
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
  // What is mounted there must not be touched before it is known to answer, not even to resolve symlinks.
  const beside = besideMount(disk, path);
  const dead = beside === undefined ? undefined : lastDead(io, beside);
  if (beside !== undefined && dead) return { path: beside, isNew: false, dead };
  const absolute = resolveDirectory(disk, path);
  if (absolute === undefined)
    return { path: makeDirectory(disk, path, create), isNew: true, dead: undefined };
  return { path: absolute, isNew: false, dead: lastDead(io, absolute) };
}

/**
 * The dead mount at a place, undefined when nothing is mounted there. One that covers another FUSE mount is taken away, so that
 * they do not pile up from crash to crash: what appears answers errors, too, or lives, and then the place is in use.
 * @throws MountError
 */
function lastDead(io: MountIo, path: string): MountEntry | undefined {
  for (let count = 0; count <= STALE_MAX; count++) {
    const dead = deadAt(io, path);
    const below = dead && mountBelow(io.disk, path);
    if (!below || !isFuse(below)) return dead;
    clearDead(io.processes, path);
  }
  throw new MountError(
    'already-mounted',
    `${path} has more than ${STALE_MAX} dead mounts; unmount them by hand`,
  );
}

/**
 * Finds out whether `path` can be mounted on, as `prepareMountPoint` would, without changing anything. A missing directory is fine where
 * one can be made, and `create` is set.
 * @throws MountError
 */
export function checkMountPoint(io: MountIo, path: string, create: boolean): void {
  const { disk } = io;
  if (path === '') throw new MountError('no-mount-point', 'no mount point was given');
  try {
    const beside = besideMount(disk, path);
    if (beside !== undefined && deadAt(io, beside)) return;
    const absolute = resolveDirectory(disk, path);
    if (absolute === undefined) {
      if (!create) throw noDirectory(path);
      checkParent(disk, path);
    } else deadAt(io, absolute);
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

/** The dead mount on top of a place, undefined when nothing is mounted there. @throws MountError when it lives */
function deadAt(io: MountIo, absolutePath: string): MountEntry | undefined {
  const entry = mountedAt(io.disk, absolutePath);
  if (!entry) return undefined;
  if (!isDeadMount(io, absolutePath)) {
    const command = io.processes.userId === 0 ? 'umount' : 'fusermount3 -u';
    throw new MountError(
      'already-mounted',
      `${absolutePath} is already a mount point (${entry.type}, ${entry.source}); unmount it first ("${command} ${absolutePath}") or choose another directory`,
    );
  }
  return entry;
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
  if (!create) throw noDirectory(path);
  disk.makeDirectory(path, 0o755);
  return disk.resolve(path);
}

function noDirectory(path: string): MountError {
  return new MountError(
    'no-mount-point',
    `there is no directory ${path}; make it first ("mkdir -p ${path}")`,
  );
}
