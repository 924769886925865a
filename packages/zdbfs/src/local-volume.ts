// A volume on local zdb files: DIR/data and DIR/index hold the embedded engine's namespaces.
import type { Clock, Disk, Random } from '@qsfs/io';
import { openEngine, type SyncPolicy } from '@qsfs/zdb';
import { EngineStore, INDEX_TAIL_BYTES } from './engine-store.ts';
import { openVolume, type Volume, type VolumeOptions } from './volume.ts';

/** Size of one data file unless something else is asked for. */
const SEGMENT_BYTES = 256 * 1024 * 1024;
/**
 * … but on a small disk one part in so many, never less than SEGMENT_MIN_BYTES: only whole files that are not written any more
 * are given back, so a disk of which one file takes most would never have room again.
 */
const SEGMENT_SHARE = 64;
const SEGMENT_MIN_BYTES = 1024 * 1024;
/** The volume syncs itself where it has promised to. */
const SYNC: SyncPolicy = 'none';

/** How to open a local volume. */
export interface LocalVolumeOptions extends Omit<VolumeOptions, 'clock' | 'random'> {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly directory: string;
  /** Size of one data file; default 256 MiB, less on a disk below 16 GiB. */
  readonly segmentBytes?: number;
}

/** Makes a directory and those above it, on stable storage: what is synced in it later must not be lost with its name. */
function makeLasting(disk: Disk, path: string): void {
  if (disk.stat(path)) return;
  const cut = path.lastIndexOf('/');
  const parent = cut < 0 ? '.' : cut === 0 ? '/' : path.slice(0, cut);
  if (parent !== path) makeLasting(disk, parent);
  disk.makeDirectory(path, 0o700);
  disk.syncDirectory(parent);
}

/** Size of one data file for this disk. */
function segmentBytesFor(disk: Disk, directory: string): number {
  const share = Math.floor(disk.space(directory).totalBytes / SEGMENT_SHARE);
  return Math.min(SEGMENT_BYTES, Math.max(SEGMENT_MIN_BYTES, share));
}

/**
 * Opens, or makes, the volume in a directory. `close` of the volume closes its engine too.
 * @throws StoreError when another process uses the directory; VolumeError; IoError
 */
export function openLocalVolume(options: LocalVolumeOptions): Volume {
  const { disk, clock, random, directory, log } = options;
  const dataDirectory = `${directory}/data`;
  const indexDirectory = `${directory}/index`;
  makeLasting(disk, dataDirectory);
  makeLasting(disk, indexDirectory);
  const engine = openEngine({
    disk,
    clock,
    random,
    dataDirectory,
    indexDirectory,
    mode: 'seq',
    dataSizeBytes: options.segmentBytes ?? segmentBytesFor(disk, dataDirectory),
    sync: SYNC,
    syncOnRotation: true,
    indexTailBytes: INDEX_TAIL_BYTES,
    ...(log ? { events: { log } } : {}),
  });
  try {
    return openVolume(new EngineStore(engine, disk, dataDirectory, true, true), options);
  } catch (error) {
    engine.close();
    throw error;
  }
}
