// Whether mounting can work, found out without changing anything: whoever makes a volume first asks here.
import { type Disk, errorCode } from '@qsfs/io';
import { type MountIo, PLAIN_MESSAGES } from './dead-mount.ts';
import { DEVICE_HINT, MISSING_FUSERMOUNT, PROGRAMS, ROOT_ONLY_DEVICE } from './fusermount.ts';
import { MountError } from './mount-error.ts';
import { checkMountPoint } from './mount-point.ts';

/** The device everything goes through. */
export const DEVICE_PATH = '/dev/fuse';

/**
 * Looks at the device, at what this user needs to mount, and at the place. What it passes may still be refused by the system.
 * @param mountPoint may be missing with `create`: then it must be possible to make it
 * @throws MountError
 */
export function checkMounting(io: MountIo, mountPoint: string, create = true): void {
  checkMountPoint(io, mountPoint, create);
  checkDevice(io.disk);
  if (io.processes.userId !== 0 && !hasFusermount(io))
    throw new MountError('no-fusermount', MISSING_FUSERMOUNT);
}

function checkDevice(disk: Disk): void {
  try {
    disk.open(DEVICE_PATH, 'write').close();
  } catch (error) {
    const code = errorCode(error);
    if (code === undefined) throw error;
    if (code === 'EACCES') throw new MountError('not-permitted', ROOT_ONLY_DEVICE);
    throw new MountError('no-device', `cannot open ${DEVICE_PATH} (${code}); ${DEVICE_HINT}`);
  }
}

function hasFusermount({ processes }: MountIo): boolean {
  const options = { streams: ['ignore', 'ignore', 'ignore'] as const, environment: PLAIN_MESSAGES };
  return PROGRAMS.some((program) => {
    try {
      processes.run(program, ['--version'], options);
      return true;
    } catch (error) {
      if (!['ENOENT', 'EACCES'].includes(errorCode(error) ?? '')) throw error;
      return false;
    }
  });
}
