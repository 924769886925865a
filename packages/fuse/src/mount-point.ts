// Is this place fit to be mounted on? Also clears what a crash left there.
//
// A mount whose server died answers ENOTCONN ("Transport endpoint is not connected") to everything. It is recognised by
// that and by the table of mounts, and detached before anything else; a living mount is never touched.
import { type Disk, errorCode, type FileStatus, type Processes } from '@qsfs/io';
import { MountError } from './mount-error.ts';
import { isFuse, mountedAt } from './mount-table.ts';

/** Stacked stale mounts that are cleared at most. */
const STALE_MAX = 16;
/** A living mount that does not answer for so long is left alone. */
const PROBE_SECONDS = 5;
const STALE_TEXT = 'Transport endpoint is not connected';
/** Messages of the system's programs are compared, so they must not be translated. */
export const PLAIN_MESSAGES: Readonly<Record<string, string>> = { LC_ALL: 'C' };

/** What the check needs. */
interface MountPointIo {
  readonly disk: Disk;
  readonly processes: Processes;
}

/**
 * Makes sure that `path` can be mounted on: it is a directory (made when `create`), nothing living is mounted there, and
 * dead mounts are cleared away.
 * @returns the absolute path without symlinks, and how many dead mounts were cleared
 * @throws MountError
 */
export function prepareMountPoint(
  io: MountPointIo,
  path: string,
  create: boolean,
): { readonly path: string; readonly cleared: number } {
  const { disk } = io;
  if (path === '') throw new MountError('no-mount-point', 'no mount point was given');
  let cleared = 0;
  for (let turn = 0; turn <= STALE_MAX; turn++) {
    const absolute = resolveEvenStale(disk, path);
    const entry = absolute === undefined ? undefined : mountedAt(disk, absolute);
    if (absolute === undefined || !entry) {
      return { path: absolute ?? makeDirectory(disk, path, create), cleared };
    }
    if (!isFuse(entry) || !isStale(io, absolute)) {
      throw new MountError(
        'already-mounted',
        `${absolute} is already a mount point (${entry.type}, ${entry.source}); unmount it first ("${
          io.processes.userId === 0 ? 'umount' : 'fusermount3 -u'
        } ${absolute}") or choose another directory`,
      );
    }
    detach(io.processes, absolute);
    cleared++;
  }
  throw new MountError(
    'already-mounted',
    `${path} has more than ${STALE_MAX} dead mounts; unmount them by hand`,
  );
}

/** Takes a mount out of the tree at once, in use or not. False when the system refused. */
export function detach(processes: Processes, absolutePath: string): boolean {
  const options = { streams: ['ignore', 'pipe', 'pipe'] as const, environment: PLAIN_MESSAGES };
  for (const [command, ...parameters] of detachCommands(processes.userId, absolutePath)) {
    try {
      if (processes.run(command as string, parameters, options).exitCode === 0) return true;
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
    }
  }
  return false;
}

/** The commands that detach lazily, best first. */
export function detachCommands(userId: number, absolutePath: string): string[][] {
  const fusermount = ['fusermount3', '-u', '-z', '--', absolutePath];
  return userId === 0 ? [['umount', '-l', '--', absolutePath], fusermount] : [fusermount];
}

/** The absolute path; undefined when nothing is there. A dead mount cannot be looked at, only at what is above it. */
function resolveEvenStale(disk: Disk, path: string): string | undefined {
  try {
    return asDirectory(disk, disk.resolve(path));
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    if (errorCode(error) !== 'ENOTCONN') throw error;
  }
  const trimmed = path.replace(/\/+$/, '');
  const cut = trimmed.lastIndexOf('/');
  const parent = disk.resolve(cut < 0 ? '.' : cut === 0 ? '/' : trimmed.slice(0, cut));
  return `${parent === '/' ? '' : parent}/${trimmed.slice(cut + 1)}`;
}

function asDirectory(disk: Disk, path: string): string {
  let status: FileStatus | undefined;
  try {
    status = disk.stat(path);
  } catch (error) {
    if (errorCode(error) === 'ENOTCONN') return path;
    throw error;
  }
  if (status?.kind === 'directory') return path;
  throw new MountError('not-a-directory', `${path} is not a directory; a mount point must be one`);
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

/** Asks in another process: a mount whose server is stopped would hold us for ever. */
function isStale(io: MountPointIo, path: string): boolean {
  const probe = ['-s', 'KILL', `${PROBE_SECONDS}`, 'stat', '-f', '-c', '%i', '--', path];
  const result = io.processes.run('timeout', probe, {
    streams: ['ignore', 'pipe', 'pipe'],
    environment: PLAIN_MESSAGES,
  });
  return result.exitCode !== 0 && result.errors.includes(STALE_TEXT);
}
