// After a restore: directory and inode records come first, because everything waits for them.
import type { Clock } from '@qsfs/io';
import type { VolumeFiles } from '../local/volume-files.ts';
import type { Log } from '../log-file.ts';
import { count } from '../quantities.ts';
import type { ReadBack } from './read-back.ts';

/** When nothing more can be asked for now, it is tried again after so long. */
const PAUSE_MS = 100;

/** What it needs. */
export interface MetadataFirst {
  readonly clock: Pick<Clock, 'after'>;
  /** Of `zdbfs-meta`. */
  readonly files: VolumeFiles;
  readonly readBack: Pick<ReadBack, 'bringAhead'>;
  readonly limitBytes: number;
  readonly isOver: () => boolean;
  readonly log: Log;
}

/** Asks for what is absent, as much as fits the limit. Returns at once. */
export function bringMetadata({ clock, files, readBack, limitBytes, isOver, log }: MetadataFirst): void {
  let budget = limitBytes;
  const wanted: [number, number][] = [];
  for (const file of files.files()) {
    for (let stripe = 0; stripe < files.stripesOf(file) && budget > 0; stripe += 1) {
      if (!files.presence.absent.has(file, stripe)) continue;
      wanted.push([file, stripe]);
      budget -= files.stripeSize(file, stripe);
    }
  }
  if (wanted.length === 0) return;
  log('info', `bringing ${count(wanted.length, 'stripe')} of directory records back`);
  let next = 0;
  const go = () => {
    for (; !isOver() && next < wanted.length; next += 1) {
      const [file, stripe] = wanted[next] as [number, number];
      if (readBack.bringAhead('zdbfs-meta', file, stripe)) continue;
      clock.after(PAUSE_MS, go, true);
      return;
    }
  };
  go();
}
