// Empties sparse data files: what is alive in them is written again at the end of the log, so that they can be removed, here with the next state and on
// the backends with its manifest. For what removed files left in data files that are on the backends and needed for something else.
//
// It takes room before it gives any: nothing is begun that does not fit what is kept for it (shared-disk.ts). Until the manifest is there the
// files stay on the backends as they are, so a fire or a kill in between costs nothing.
import type { Clock } from '@qsfs/io';
import { messageOf } from '../errors.ts';
import type { Cache } from '../local/cache.ts';
import type { Volume, VolumeFiles } from '../local/volume-files.ts';
import type { SharedDisk, Survey } from '../messages.ts';
import type { Offload } from '../offload/offload.ts';
import { count, formatSize } from '../quantities.ts';

const CONTENTS = 'zdbfs-data';
/** A data file is worth it when at most this part of it is alive; when room is scarce, more. */
const LIVE_SHARE = 0.5;
const LIVE_SHARE_SCARCE = 0.8;
/** Files in one round: changes wait while one is moved, and the room comes with the round's end. */
const FILES_MAX = 8;
/** A file that cannot be emptied (a damaged record, backends that do not answer) is left alone for so long. */
const LEFT_MS = 5 * 60_000;

/** What a round may do. */
export interface RelocationLimits {
  /** Programs get ENOSPC soon, or do already. */
  readonly isScarce: boolean;
  /** Bytes it may take on the disk before it gives any back, when all copies that can be dropped are dropped. */
  readonly budgetBytes: number;
  /** Nothing is moved for less than this. */
  readonly worthBytes: number;
}

/** What moving needs. */
export interface RelocatorParts {
  readonly shared: SharedDisk;
  readonly volume: Volume;
  readonly offload: Pick<Offload, 'isStoring'>;
  readonly cache: Pick<Cache, 'pin' | 'evictAll'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Has the filesystem thread move what is alive in a file. */
  readonly move: (file: number) => Promise<number>;
  readonly log: (level: 'info' | 'warning' | 'error', message: string) => void;
}

/** Moves what is alive. Owned by the main thread. */
export class Relocator {
  readonly #parts: RelocatorParts;
  /** When files were moved, or could not be. */
  readonly #leftAtMs = new Map<number, number>();

  constructor(parts: RelocatorParts) {
    this.#parts = parts;
  }

  /** @returns whether something was moved, and a state should be made */
  async relocate(survey: Survey, limits: RelocationLimits): Promise<boolean> {
    const { cache, clock, log, move } = this.#parts;
    const files = this.#choose(survey, limits);
    let emptied = 0;
    let movedBytes = 0;
    if (files.length === 0) return false;
    const pins = new Map(files.map((file) => [file, cache.pin(CONTENTS, file)]));
    // The room for it may hold copies.
    await cache
      .evictAll(false)
      .catch((error: unknown) => log('warning', `copies cannot be dropped: ${messageOf(error)}`));
    for (const [file, unpin] of pins) {
      // Should something stay in it, it is not tried again and again.
      this.#leftAtMs.set(file, clock.monotonicMs());
      try {
        const bytes = await move(file);
        movedBytes += bytes;
        if (bytes > 0) emptied += 1;
        // What is alive in it cannot be read: a state would give nothing back, now or later.
        else this.#leftAtMs.set(file, Number.POSITIVE_INFINITY);
      } catch (error) {
        log('warning', `${CONTENTS}/d${file} cannot be emptied now: ${messageOf(error)}`);
        break;
      } finally {
        unpin();
        pins.delete(file);
      }
    }
    for (const unpin of pins.values()) unpin();
    if (emptied > 0)
      log('info', `${formatSize(movedBytes)} of ${count(emptied, 'sparse data file')} moved to make room`);
    return emptied > 0;
  }

  /** The sparsest files that are on the backends, as far as the budget goes; none when they would not give enough back. */
  #choose(survey: Survey, { isScarce, budgetBytes, worthBytes }: RelocationLimits): number[] {
    const { volume, offload, shared } = this.#parts;
    const files = volume[CONTENTS];
    const nowMs = this.#parts.clock.monotonicMs();
    for (const [file, atMs] of this.#leftAtMs) if (nowMs - atMs >= LEFT_MS) this.#leftAtMs.delete(file);
    const candidates: { file: number; share: number; costBytes: number; gainBytes: number }[] = [];
    for (const [place, file] of survey.files.entries()) {
      const sizeBytes = files.sizeOf(file);
      const liveBytes = survey.liveBytes[place] as number;
      if (
        sizeBytes === 0 ||
        liveBytes === 0 ||
        liveBytes > sizeBytes * (isScarce ? LIVE_SHARE_SCARCE : LIVE_SHARE)
      )
        continue;
      if (files.data(file).safety === 'pending' || offload.isStoring(CONTENTS, file)) continue;
      if (this.#leftAtMs.has(file)) continue;
      candidates.push({
        file,
        share: liveBytes / sizeBytes,
        costBytes: sizeBytes - stayingBytes(files, file) + liveBytes * (1 + shared.shardFactor),
        gainBytes: (sizeBytes - liveBytes) * shared.shardFactor,
      });
    }
    candidates.sort((left, right) => left.share - right.share);
    const chosen: number[] = [];
    let costBytes = 0;
    let gainBytes = 0;
    for (const candidate of candidates) {
      if (chosen.length >= FILES_MAX || costBytes + candidate.costBytes > budgetBytes) continue;
      chosen.push(candidate.file);
      costBytes += candidate.costBytes;
      gainBytes += candidate.gainBytes;
    }
    return gainBytes >= worthBytes ? chosen : [];
  }
}

/** What is here of a file and cannot be dropped, so that it takes no room of what can be had by dropping. */
function stayingBytes(files: VolumeFiles, file: number): number {
  return files.data(file).safety === 'complete' ? 0 : files.presentBytes(file);
}
