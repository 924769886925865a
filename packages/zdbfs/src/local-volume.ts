// A volume on local zdb files: DIR/data and DIR/index hold the embedded engine's namespaces.
import type { Clock, Disk, Random } from '@qsfs/io';
import { openEngine, type SyncPolicy } from '@qsfs/zdb';
import { EngineStore } from './engine-store.ts';
import { openVolume, type Volume, type VolumeOptions } from './volume.ts';

/** Size of one data file unless something else is asked for. */
const SEGMENT_BYTES = 256 * 1024 * 1024;
/** The volume syncs itself where it has promised to. */
const SYNC: SyncPolicy = 'none';

/** How to open a local volume. */
export interface LocalVolumeOptions extends Omit<VolumeOptions, 'clock' | 'random'> {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly directory: string;
  /** Size of one data file; default 256 MiB. */
  readonly segmentBytes?: number;
}

/**
 * Opens, or makes, the volume in a directory. `close` of the volume closes its engine too.
 * @throws StoreError when another process uses the directory; VolumeError; IoError
 */
export function openLocalVolume(options: LocalVolumeOptions): Volume {
  const { disk, clock, random, directory, log } = options;
  const dataDirectory = `${directory}/data`;
  const indexDirectory = `${directory}/index`;
  disk.makeDirectory(dataDirectory, 0o700);
  disk.makeDirectory(indexDirectory, 0o700);
  const engine = openEngine({
    disk,
    clock,
    random,
    dataDirectory,
    indexDirectory,
    mode: 'seq',
    dataSizeBytes: options.segmentBytes ?? SEGMENT_BYTES,
    sync: SYNC,
    syncOnRotation: true,
    ...(log ? { events: { log } } : {}),
  });
  try {
    return openVolume(new EngineStore(engine, disk, dataDirectory), options);
  } catch (error) {
    engine.close();
    throw error;
  }
}
