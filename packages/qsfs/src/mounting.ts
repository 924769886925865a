// Mounting the volume, and what to say of the place it is mounted on. Used by Frontend and by `up --detach`.
import { checkMounting, MountError, type MountedDevice, mount } from '@qsfs/fuse';
import { loadLibc, openRealDevice } from '@qsfs/io';
import type { Context } from './context.ts';
import { QsfsError } from './errors.ts';
import type { Layout } from './layout.ts';
import { count } from './quantities.ts';

/** Mounts. @throws QsfsError QSFS_E_MOUNT */
export function mountVolume(context: Context, layout: Layout, mountPoint: string): MountedDevice {
  const { disk, processes } = context;
  return translated(() =>
    mount(
      { disk, processes, libc: loadLibc(), openDevice: openRealDevice },
      { mountPoint, source: layout.root, subtype: 'qsfs', createMountPoint: true },
    ),
  );
}

/** Finds out whether mounting can work there, before anything is made. @throws QsfsError QSFS_E_MOUNT */
export function checkMount(context: Context, mountPoint: string): void {
  translated(() => checkMounting(context, mountPoint));
}

function translated<Result>(act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof MountError)) throw error;
    const place = ['no-mount-point', 'not-a-directory', 'already-mounted', 'busy'].includes(error.reason);
    throw new QsfsError('QSFS_E_MOUNT', error.message, place ? undefined : 'Then run the command again.');
  }
}

/** What to say of files below the mount: they were meant for it, maybe. */
export function hiddenText(at: { readonly hiddenCount: number; readonly mountPoint: string }): string {
  return `${at.mountPoint} was not empty: ${count(at.hiddenCount, 'name')} in it cannot be seen while QSFS is mounted there, and ${at.hiddenCount === 1 ? 'is' : 'are'} not part of it`;
}
