// What of the data files a state may give back to the disk, and what the main thread forgets with a file that is gone. The filesystem
// thread does it, inside a state (sync-state.ts): what is dead there is dead in all later ones, and earlier ones are not sent any more.
import type { Disk } from '@qsfs/io';
import type { Cache } from '../local/cache.ts';
import { keptBytes, relocationBytes, roomBytes } from '../local/shared-disk.ts';
import type { Volume } from '../local/volume-files.ts';
import { dataName } from '../manifest.ts';
import { GAUGES, type GiveBack, type OffloadedName, type SharedDisk, type Survey } from '../messages.ts';
import type { Offload } from '../offload/offload.ts';
import type { Relocator } from './relocation.ts';

/** The namespace of file contents. */
const CONTENTS = 'zdbfs-data';
/** Room is looked for when less than this part of the disk, or of what backends elsewhere take, is left, or less than so much of a large one. */
const LITTLE_SHARE = 0.15;
const LITTLE_BYTES = 4 * 2 ** 30;
/** A state is made for the room it gives when that is this part of the disk, but not less than so much; of a large disk so much is enough. */
const WORTH_SHARE = 1 / 256;
const WORTH_BYTES = 4 * 2 ** 20;
const WORTH_BYTES_MAX = 64 * 2 ** 20;
/** Below this part of what counts as little, room is scarce. */
const SCARCE_SHARE = 1 / 4;

/** Data files that nobody reads for the backends until `offload.release`: those that wait may become hollow, all may be discarded. */
export function givable(volume: Volume, offload: Offload): GiveBack {
  const files = volume[CONTENTS];
  const discard: number[] = [];
  for (let file = 0; file < Math.max(files.activeFile, files.catalog.length); file += 1) {
    const isKnown = files.sizeOf(file) > 0 || files.data(file).safety !== 'pending';
    if (isKnown && !offload.isStoring(CONTENTS, file)) discard.push(file);
  }
  return { hollow: offload.waiting(CONTENTS), discard };
}

/**
 * A data file is gone because nothing in it was alive.
 * @returns the name of its object, which nothing names from the next manifest on; undefined when there is none
 */
export function forgetRemoved(
  volume: Volume,
  offload: Offload,
  namespace: OffloadedName,
  file: number,
): string | undefined {
  const files = volume[namespace];
  const { safety, epoch } = files.data(file);
  offload.forget(namespace, file);
  files.removed(file);
  if (safety === 'pending') return undefined;
  files.catalog.setData(file, { safety: 'pending', sizeBytes: 0, epoch: 0 });
  return dataName(namespace, file, epoch);
}

/** What the keeper works with. */
export interface RoomParts {
  readonly disk: Disk;
  readonly dataDirectory: string;
  readonly shared: SharedDisk;
  readonly gauges: Float64Array;
  readonly volume: Volume;
  readonly offload: Offload;
  readonly cache: Pick<Cache, 'evictableBytes'>;
  readonly syncPoints: { makeRoom(): Promise<void>; readonly busy: boolean; readonly unfinished: boolean };
  readonly survey: () => Promise<Survey | undefined>;
  readonly relocator: Pick<Relocator, 'relocate'>;
}

/**
 * Has states made when the disk is filling up and removed files have left something to give back; and where what they left is in data files
 * that are needed for something else, has that moved.
 */
export class RoomKeeper {
  readonly #parts: RoomParts;

  constructor(parts: RoomParts) {
    this.#parts = parts;
  }

  /** Called about once a second. */
  async tend(): Promise<void> {
    const { disk, dataDirectory, shared, gauges, syncPoints, offload, cache, survey, relocator } =
      this.#parts;
    const space = disk.space(dataDirectory);
    const { totalBytes } = space;
    const little = Math.min(totalBytes * LITTLE_SHARE, LITTLE_BYTES);
    const unstoredBytes = offload.status.pendingBytes + (gauges[GAUGES.activeBytes] as number);
    const isRoomy = space.availableBytes - keptBytes(shared, totalBytes, unstoredBytes) > little;
    if (isRoomy && !this.#isFullElsewhere(unstoredBytes)) return;
    const found = await survey();
    if (!found) return;
    const worth = Math.max(WORTH_BYTES, Math.min(totalBytes * WORTH_SHARE, WORTH_BYTES_MAX));
    if (this.#gain(found) >= worth) {
      await syncPoints.makeRoom();
      return;
    }
    // What moves makes room only with the next sync point, and what the last one left to do may be enough.
    if (shared.shardFactor === 0 || syncPoints.busy || syncPoints.unfinished) return;
    const room = roomBytes(shared, space, unstoredBytes);
    // As it will be when all is stored and what can be dropped here is dropped.
    const evictableBytes = cache.evictableBytes();
    const settled = room + unstoredBytes + evictableBytes;
    if (settled > little) return;
    const isScarce = settled < little * SCARCE_SHARE;
    const budgetBytes = room + relocationBytes(shared, totalBytes) + evictableBytes;
    if (await relocator.relocate(found, { isScarce, budgetBytes, worthBytes: worth }))
      await syncPoints.makeRoom();
  }

  /** Backends elsewhere are filling up: what removed files left there goes with the next state. */
  #isFullElsewhere(unstoredBytes: number): boolean {
    const { gauges, offload } = this.#parts;
    const storableBytes = gauges[GAUGES.storableBytes] as number;
    if (storableBytes < 0) return false;
    const totalBytes = storableBytes + offload.status.storedBytes;
    return storableBytes - unstoredBytes < Math.min(totalBytes * LITTLE_SHARE, LITTLE_BYTES);
  }

  /** Bytes that a state would give back, here or on the backends. */
  #gain({ files, deadBytes, discardable, activeDeadBytes }: Survey): number {
    const { volume, offload } = this.#parts;
    const waiting = new Set(offload.waiting(CONTENTS));
    let gain = activeDeadBytes;
    for (const file of discardable) {
      waiting.delete(file);
      if (!offload.isStoring(CONTENTS, file)) gain += volume[CONTENTS].sizeOf(file);
    }
    for (const [place, file] of files.entries()) if (waiting.has(file)) gain += deadBytes[place] as number;
    return gain;
  }
}
