// What of a data file is dead, by what the log counts.
import { DATA_HEADER_BYTES } from './format/data-format.ts';
import type { Log } from './log/log.ts';

/** Bytes of dead records in a data file that no pass has looked at. */
export function unseenDeadBytes(log: Log, file: number): number {
  const size = log.dataEnds[file] ?? -1;
  if (size <= 0) return 0;
  const useful = DATA_HEADER_BYTES + log.liveBytes[file]! + (log.markerBytes.get(file) ?? 0);
  return size - useful - (log.hollowed.get(file)?.deadBytes ?? 0);
}

/** Whether a data file is closed, nothing in it is alive, and removing it gives more back than moving its deletion markers takes. */
export function isDiscardable(log: Log, file: number): boolean {
  const size = log.dataEnds[file] ?? -1;
  if (file >= log.active || size < 0 || log.liveBytes[file] !== 0) return false;
  return (log.markerBytes.get(file) ?? 0) * 2 <= size;
}
