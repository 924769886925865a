// Work that must see some of what it wrote on stable storage before it goes on, in steps: it yields what has to be synced, and the
// caller decides who waits. At once (`syncAtOnce`) the thread itself does; or another thread syncs by path while this one goes on with
// whatever does not disturb the work. One implementation of the order of things, whoever waits.
import type { Disk } from './disk.ts';

/** A file or directory that has to reach stable storage now. */
export interface Unstable {
  readonly path: string;
  readonly kind: 'file' | 'directory';
  /** Syncs it here and now, through whatever its owner has open. @throws IoError */
  sync(): void;
}

/**
 * Goes on (`next`) when what it yielded is on stable storage; a failure to sync is thrown into it (`throw`). undefined: nothing to sync, a
 * moment for others. Nobody else may change what the work is about between two steps.
 */
export type SyncSteps = Generator<Unstable | undefined, void, void>;

/** Does all of it, waiting for each sync. @throws what the work throws */
export function syncAtOnce(steps: SyncSteps): void {
  let step = steps.next();
  while (!step.done) {
    try {
      step.value?.sync();
    } catch (error) {
      step = steps.throw(error);
      continue;
    }
    step = steps.next();
  }
}

/** A directory whose entries have to be on stable storage. */
export function unstableDirectory(disk: Disk, path: string): Unstable {
  return { path, kind: 'directory', sync: () => disk.syncDirectory(path) };
}

/**
 * Brings a file to stable storage through a descriptor of its own, which is told of an earlier failure to write back unless somebody was
 * told before.
 * @throws IoError
 */
export function datasyncFile(disk: Disk, path: string): void {
  const file = disk.open(path, 'read');
  try {
    file.datasync();
  } finally {
    file.close();
  }
}
