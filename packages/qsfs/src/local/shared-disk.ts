// A disk that the frontend and its backends share. What is written takes its bytes here at once, and those of its shards when it is stored: so much is
// kept free for what is not stored yet, and programs get ENOSPC before it is touched. Then whatever was taken can be stored, a sync point can be
// completed, and what it does not need any more can be deleted on the backends: removed files make room, on a full disk too.
//
// A little more is kept for moving what is alive out of sparse data files (relocation.ts).
import { dirname } from 'node:path';
import type { FilesystemStatus } from '@qsfs/fuse';
import type { Disk, DiskSpace } from '@qsfs/io';
import { spareBytes } from '@qsfs/zdbfs';
import type { Configuration } from '../configuration.ts';
import { GAUGES, type SharedDisk } from '../messages.ts';

/** For moving records at most this part of the disk is kept. */
const RELOCATION_SHARE = 1 / 16;
/** What was read lately stays up to this on a disk that is nearly full. */
const WORKING_BYTES = 64 * 2 ** 20;

/** n / k of what is stored, as far as it comes to the disk of `folder`. */
export function shardFactorOn(disk: Disk, folder: string, configuration: Configuration): number {
  const { zstor } = configuration;
  const device = disk.stat(folder)?.device;
  const devices = devicesOf(disk, configuration);
  const here = [...devices.values()].filter((other) => other !== undefined && other === device);
  return (zstor.expectedShards / zstor.minimalShards) * (here.length / devices.size);
}

/** The disks that data backends are on, by their names; undefined for what is not on this machine. */
export function devicesOf(
  disk: Pick<Disk, 'stat'>,
  { zstor }: Configuration,
): ReadonlyMap<string, number | undefined> {
  const backends = zstor.groups.flatMap((group) => group.backends);
  return new Map(
    backends.map(({ name, path, address }) => {
      const place = path ?? (address && 'path' in address ? dirname(address.path) : undefined);
      return [name, place === undefined ? undefined : disk.stat(place)?.device];
    }),
  );
}

/** What is kept for moving records: their data file brought here, the records written again, and the shards of that. */
export function relocationBytes({ shardFactor, fileBytes }: SharedDisk, totalBytes: number): number {
  if (shardFactor === 0) return 0;
  return Math.min(fileBytes * (2 + shardFactor), Math.floor(totalBytes * RELOCATION_SHARE));
}

/**
 * So much of what was read lately stays also on a disk that is nearly full: in the room for moving records, out of which it is dropped when
 * something is moved, and in half of what programs have left. 0 when there is not even the room for what is not stored yet.
 * @param unstoredBytes not on the backends yet @param evictableBytes copies that can be dropped
 */
export function workingBytes(
  shared: SharedDisk,
  { totalBytes, availableBytes }: DiskSpace,
  unstoredBytes: number,
  evictableBytes: number,
): number {
  const movingBytes = relocationBytes(shared, totalBytes);
  const freeBytes =
    availableBytes + evictableBytes - spareBytes(totalBytes) - keptBytes(shared, totalBytes, unstoredBytes);
  return Math.max(0, Math.min(WORKING_BYTES, movingBytes + Math.min(freeBytes, Math.max(0, freeBytes) / 2)));
}

/** Bytes of the disk that nobody may fill with file contents, what zdbfs leaves not counted. @param unstoredBytes not on the backends yet */
export function keptBytes(shared: SharedDisk, totalBytes: number, unstoredBytes: number): number {
  return Math.ceil(shared.shardFactor * unstoredBytes) + relocationBytes(shared, totalBytes);
}

/** The filesystem thread's view. */
export class KeptRoom {
  readonly #shared: SharedDisk;
  readonly #gauges: Float64Array;
  readonly #activeBytes: () => number;
  #closedBytes = 0;

  /** @param activeBytes what is in the active data files */
  constructor(shared: SharedDisk, gauges: Float64Array, activeBytes: () => number) {
    this.#shared = shared;
    this.#gauges = gauges;
    this.#activeBytes = activeBytes;
  }

  /** A data file was closed; the main thread is being told. */
  closed(sizeBytes: number): void {
    this.#closedBytes += sizeBytes;
  }

  /** What the disk has for this volume. */
  left({ totalBytes, availableBytes }: DiskSpace): DiskSpace {
    const storableBytes = this.#gauges[GAUGES.storableBytes] as number;
    if (this.#shared.shardFactor === 0) {
      if (storableBytes < 0) return { totalBytes, availableBytes };
      const room = storableBytes - this.#unstoredBytes + spareBytes(totalBytes);
      return { totalBytes, availableBytes: Math.max(0, Math.min(availableBytes, room)) };
    }
    const kept = keptBytes(this.#shared, totalBytes, this.#unstoredBytes) - this.#lentBytes(totalBytes);
    return { totalBytes, availableBytes: Math.max(0, availableBytes - kept) };
  }

  get #unstoredBytes(): number {
    // In this order: what the main thread has heard of it has counted before it said so.
    const unheardBytes = this.#closedBytes - (this.#gauges[GAUGES.heardBytes] as number);
    return (this.#gauges[GAUGES.pendingBytes] as number) + unheardBytes + this.#activeBytes();
  }

  /** Of the room for moving records what copies take that can be dropped at once. */
  #lentBytes(totalBytes: number): number {
    return Math.min(this.#gauges[GAUGES.evictableBytes] as number, relocationBytes(this.#shared, totalBytes));
  }

  /** What `df` shows: contents that can be written now, for which copies of others may be dropped, and which take their shards' room too. */
  status(local: FilesystemStatus): FilesystemStatus {
    const capacityBytes = this.#gauges[GAUGES.capacityBytes] as number;
    if (this.#shared.shardFactor === 0 && capacityBytes >= 0) {
      const left = Math.floor(Math.max(0, capacityBytes - this.#unstoredBytes) / local.blockSizeBytes);
      const used = local.blocks - local.blocksFree;
      return { ...local, blocks: used + left, blocksFree: left, blocksAvailable: left };
    }
    // What is lent is in the room that is available already.
    const lentBytes = this.#lentBytes(local.blocks * local.blockSizeBytes);
    const evictable = ((this.#gauges[GAUGES.evictableBytes] as number) - lentBytes) / local.blockSizeBytes;
    const available = Math.floor((local.blocksAvailable + evictable) / (1 + this.#shared.shardFactor));
    return {
      ...local,
      blocks: local.blocks - local.blocksFree + available,
      blocksFree: available,
      blocksAvailable: available,
    };
  }
}

/** The main thread's view: bytes that file contents and their shards may still take; negative when there is not even what is kept. */
export function roomBytes(
  shared: SharedDisk,
  { totalBytes, availableBytes }: DiskSpace,
  unstoredBytes: number,
): number {
  return availableBytes - spareBytes(totalBytes) - keptBytes(shared, totalBytes, unstoredBytes);
}
