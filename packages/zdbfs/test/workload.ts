// One scripted sequence of calls that uses everything: inline and large files, directories that split, checkpoints, syncs.
// The fault tests run it with something going wrong at every point.
import type { Volume } from '../src/volume.ts';
import { create, dump, mkdir, ROOT, ROOT_CALLER, write } from './volume-fixture.ts';

/** So small that checkpoints and evictions happen on the way. */
export const LIMITS = { cacheBytes: 0, dirtyBytes: 60_000, journalBytes: 40_000 };

/** Name of the step that is not atomic. */
export const CUT = 'cutLarge';

/** Names of the steps after which everything before is promised to survive. */
export const DURABLE = new Set(['sync', 'syncAll', 'checkpoint']);

/** Single calls, so that each can be repeated when it failed. Inodes are found by name: numbers depend on failures. */
export function workload(): ((volume: Volume) => void)[] {
  const at = (volume: Volume, path: string): number => {
    let inode = ROOT;
    for (const part of path.split('/')) inode = volume.lookup(inode, part)?.inode ?? 0;
    return inode;
  };
  const steps: ((volume: Volume) => void)[] = [
    (volume) => void mkdir(volume, ROOT, 'folder'),
    (volume) => void mkdir(volume, at(volume, 'folder'), 'inner'),
    (volume) => void create(volume, ROOT, 'large'),
    (volume) => write(volume, at(volume, 'large'), 0, Buffer.alloc(200_000, 1)),
    (volume) => write(volume, at(volume, 'large'), 70_000, Buffer.alloc(5000, 2)),
    (volume) => void create(volume, ROOT, 'small'),
    (volume) => write(volume, at(volume, 'small'), 0, 'inline'),
    (volume) => write(volume, at(volume, 'small'), 3, Buffer.alloc(2000, 3)),
    function checkpoint(volume) {
      volume.checkpoint();
    },
    (volume) => void volume.link(at(volume, 'small'), at(volume, 'folder'), 'linked'),
    (volume) => volume.setExtendedAttribute(at(volume, 'small'), 'user.a', Buffer.alloc(2000, 'a'), 0),
    (volume) => void volume.makeSymlink(ROOT, 'pointer', Buffer.from('small'), ROOT_CALLER),
    (volume) => volume.rename(ROOT, 'small', at(volume, 'folder/inner'), 'renamed', 0),
    function sync(volume) {
      volume.sync(at(volume, 'small'), false);
    },
  ];
  for (let number = 0; number < 120; number++) {
    steps.push((volume) => void create(volume, at(volume, 'folder/inner'), `${number}`.padStart(40, 'n')));
  }
  for (let number = 0; number < 150; number++) {
    const offset = ((number * 7919) % 400) * 500;
    steps.push((volume) => write(volume, at(volume, 'large'), offset, Buffer.alloc(300, number)));
  }
  steps.push(
    (volume) => volume.rename(ROOT, 'pointer', at(volume, 'folder'), 'linked', 2),
    (volume) => volume.rename(ROOT, 'pointer', at(volume, 'folder'), 'linked', 0),
    (volume) => volume.allocate(at(volume, 'large'), 3, 10_000, 90_000),
    function cutLarge(volume) {
      volume.setAttributes(at(volume, 'large'), { sizeBytes: 20_000 });
    },
    function syncAll(volume) {
      volume.syncAll();
    },
    (volume) => void volume.setAttributes(at(volume, 'folder'), { userId: 5, groupId: 6, mode: 0o2750 }),
  );
  for (let number = 0; number < 100; number++) {
    steps.push((volume) => volume.unlink(at(volume, 'folder/inner'), `${number}`.padStart(40, 'n')));
  }
  steps.push(
    (volume) => volume.unlink(ROOT, 'large'),
    (volume) => volume.idle(),
    function checkpoint(volume) {
      volume.checkpoint();
    },
    (volume) => volume.idle(),
  );
  return steps;
}

/** A dump without what depends on how often the clock was read, and without inode numbers. */
export function essence(volume: Volume): string {
  return JSON.stringify(dump(volume), (key, value) =>
    ['accessed', 'modified', 'changed', 'inode'].includes(key) ? undefined : value,
  );
}
