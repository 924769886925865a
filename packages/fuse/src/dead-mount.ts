// Mounts whose server died. They stay in the tree and answer ENOTCONN ("Transport endpoint is not connected") to everything, and
// that is meant: whoever uses the place gets an error, not the folder below, which would look like an emptied filesystem and take
// writes. The next start at the same place mounts over them (mount.ts) and clears them when it unmounts; or whoever asks clears
// those of a source.
import { type Disk, errorCode, type Processes } from '@qsfs/io';
import { MountError } from './mount-error.ts';
import { isFuse, mountedAt, mountTable } from './mount-table.ts';

/** A living mount that does not answer for so long is left alone. */
const PROBE_SECONDS = 2;
/** ENOTCONN, and ECONNABORTED for who asked in the moment of death. */
export const DEAD_TEXT = /Transport endpoint is not connected|Software caused connection abort/;
/** Messages of the system's programs are compared, so they must not be translated. */
export const PLAIN_MESSAGES: Readonly<Record<string, string>> = { LC_ALL: 'C' };

/** What looking at mounts needs. */
export interface MountIo {
  readonly disk: Disk;
  readonly processes: Processes;
}

/** Places where the topmost mount is a dead FUSE mount of a chosen source (as the table of mounts names it). */
export function deadMounts(io: MountIo, isWanted: (source: string) => boolean): string[] {
  const places = mountTable(io.disk)
    .filter((entry) => isFuse(entry) && isWanted(entry.source))
    .filter((entry) => mountedAt(io.disk, entry.mountPoint)?.device === entry.device)
    .map((entry) => entry.mountPoint);
  return [...new Set(places)].filter((place) => isDead(io, place));
}

/** Whether the topmost mount at a place is a dead FUSE mount. */
export function isDeadMount(io: MountIo, absolutePath: string): boolean {
  const entry = mountedAt(io.disk, absolutePath);
  return entry !== undefined && isFuse(entry) && isDead(io, absolutePath);
}

/** Whether what is mounted at a place lost its server. Asks in another process: a mount whose server is stopped would hold us for ever. */
function isDead(io: MountIo, absolutePath: string): boolean {
  const probe = ['-s', 'KILL', `${PROBE_SECONDS}`, 'stat', '-f', '-c', '%i', '--', absolutePath];
  const options = { streams: ['ignore', 'pipe', 'pipe'] as const, environment: PLAIN_MESSAGES };
  const result = io.processes.run('timeout', probe, options);
  return result.exitCode !== 0 && DEAD_TEXT.test(result.errors);
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

/** Takes a dead mount away. @throws MountError when the system refuses */
export function clearDead(processes: Processes, absolutePath: string): void {
  if (detach(processes, absolutePath)) return;
  throw new MountError(
    'not-permitted',
    `a dead mount is in the way at ${absolutePath} and cannot be removed; run "umount -l ${absolutePath}" as root`,
  );
}

/** The commands that detach lazily, best first. */
function detachCommands(userId: number, absolutePath: string): string[][] {
  const fusermount = ['fusermount3', '-u', '-z', '--', absolutePath];
  return userId === 0 ? [['umount', '-l', '--', absolutePath], fusermount] : [fusermount];
}
