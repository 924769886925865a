// The offloaded namespaces of a volume together: opened and closed as one. Used by the parts of a frontend.
import { join } from 'node:path';
import type { Disk } from '@qsfs/io';
import { messageOf, QsfsError } from '../errors.ts';
import type { Layout } from '../layout.ts';
import { OFFLOADED, type OffloadedName } from '../messages.ts';
import { type Volume, VolumeFiles } from './volume-files.ts';

/** Opens (or, for a new volume, makes) the tables. @throws QsfsError QSFS_E_DISK */
export function openVolume(disk: Disk, layout: Layout, stripeBytes: number, segmentBytes: number): Volume {
  for (const name of OFFLOADED) {
    const path = join(layout.presence, name);
    if (disk.stat(path) || !disk.stat(join(layout.data, name))) continue;
    // A new table would say that everything is here, and holes would be taken for contents.
    throw new QsfsError(
      'QSFS_E_DISK',
      `${path} is missing: it says which parts of the data files are on this machine`,
      'Put it back; or type "qsfs restore" in another folder, which brings back what was synced.',
    );
  }
  const open = (name: OffloadedName) => VolumeFiles.open(disk, layout, name, stripeBytes, segmentBytes);
  try {
    return { 'zdbfs-meta': open('zdbfs-meta'), 'zdbfs-data': open('zdbfs-data') };
  } catch (error) {
    throw new QsfsError('QSFS_E_DISK', messageOf(error));
  }
}

/** Closes the tables. */
export function closeVolume(volume: Volume): void {
  for (const name of OFFLOADED) volume[name].close();
}
