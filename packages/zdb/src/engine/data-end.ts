// The end of the active data file: how far whole entries reach, and cutting off what stands behind them.
import { DATA_HEADER_BYTES } from './data-format.ts';
import { DataScanner } from './data-scanner.ts';
import type { Loading, PairState } from './loading.ts';
import { cutTail } from './set-aside.ts';

/** Bytes of a data file that are no entries, with entries behind them: damage in the middle. */
export interface Gap {
  readonly start: number;
  readonly end: number;
}

/** A data entry as an index entry names it. */
export interface IndexedEntry {
  readonly dataOffset: number;
  /** Offset of the index entry. */
  readonly offset: number;
  readonly key: Uint8Array;
}

/**
 * Sets `pair.dataEnd` to the end of whole entries. Where the chain of entries breaks, it goes on at the next entry that the index
 * knows and that is really there; only when there is none the rest is no data.
 * @param indexed entries of this data file that the index knows, in any order; asked for only when the chain breaks
 */
export function findEnd(loading: Loading, pair: PairState, indexed: () => Iterable<IndexedEntry>): Gap[] {
  const { log, warn } = loading;
  const size = pair.dataEnd;
  const scanner = new DataScanner(log.data.reading(pair.file), log.mode, size);
  const gaps: Gap[] = [];
  for (;;) {
    while (scanner.next());
    const start = scanner.nextOffset;
    if (start >= size) break;
    const end = nextIndexed(scanner, start, indexed());
    if (end === 0) {
      pair.dataEnd = Math.max(start, DATA_HEADER_BYTES);
      break;
    }
    warn(`${log.data.path(pair.file)}: damaged from ${start} to ${end}; entries there are lost`);
    gaps.push({ start, end });
    scanner.seek(end);
  }
  return gaps;
}

/** Offset of the first entry behind `start` that the index knows and the data file has; 0: none. */
function nextIndexed(scanner: DataScanner, start: number, indexed: Iterable<IndexedEntry>): number {
  let best = 0;
  for (const { dataOffset, key } of indexed) {
    if (dataOffset <= start || (best > 0 && dataOffset >= best)) continue;
    scanner.seek(dataOffset);
    if (scanner.next() && Buffer.compare(scanner.key(), key) === 0) best = dataOffset;
  }
  return best;
}

/** Cuts the active data file at `end`, when it is longer, and keeps what is cut beside it. */
export function cutData(loading: Loading, pair: PairState, end: number): void {
  const { log, nowSeconds, repaired } = loading;
  const { disk } = log.surroundings;
  const path = log.data.path(pair.file);
  const size = disk.stat(path)?.sizeBytes ?? end;
  if (size <= end) return;
  const copy = cutTail(disk, path, end, nowSeconds);
  repaired(`${path}: ${size - end} bytes at ${end} are no whole entry; cut off, kept as ${copy}`);
  loading.flush();
  pair.dataEnd = end;
  log.openPair(pair.file, end, log.indexEnds[pair.file]!);
}
