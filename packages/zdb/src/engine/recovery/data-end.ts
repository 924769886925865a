// The end of the active data file: how far whole entries reach, and cutting off what stands behind them.
import { DATA_HEADER_BYTES } from '../format/data-format.ts';
import { DataScanner } from '../format/data-scanner.ts';
import type { Loading, PairState } from './loading.ts';
import { cutTail } from './set-aside.ts';

/** Places of the index that are in memory at a time, at most twice as many. */
const PLACES_MAX = 2 ** 21;
const PLACES_FIRST = 1024;
const HASHES = 2 ** 21;
/** So many entries before a break in the chain are looked at again. */
const PASSED_MAX = 32;
/** So many damaged ranges of a file are told one by one. */
const GAPS_TOLD = 16;

/** Bytes of a data file that are no entries, with entries behind them: damage in the middle. */
export interface Gap {
  readonly start: number;
  readonly end: number;
}

/** Is given index entries: where the record of each is, and its key at `bytes[keyAt … keyAt + keyBytes - 1]`. */
export type VisitIndexed = (dataOffset: number, bytes: Uint8Array, keyAt: number, keyBytes: number) => void;

/**
 * Sets `pair.dataEnd` to the end of whole entries. Where the chain of entries breaks, it goes on at the next record that the
 * index knows and that is really there, intact; only when there is none the rest is no data.
 * @param indexed visits the entries of this data file that the index knows, in any order; asked for only when the chain breaks
 */
export function findEnd(loading: Loading, pair: PairState, indexed: (visit: VisitIndexed) => void): Gap[] {
  const { log, warn } = loading;
  const size = pair.dataEnd;
  const scanner = new DataScanner(() => log.data.reading(pair.file), log.mode, size);
  const known = new KnownPlaces(indexed);
  const gaps: Gap[] = [];
  let lostBytes = 0;
  /** Entries passed last, without gap between them; the newest at `count - 1`, modulo the length. */
  const ring = new Float64Array(PASSED_MAX);
  let count = 0;
  for (;;) {
    while (scanner.next()) ring[count++ % PASSED_MAX] = scanner.offset;
    const broken = scanner.nextOffset;
    if (broken >= size) break;
    const kept = Math.min(count, PASSED_MAX);
    const passed = Array.from({ length: kept }, (_, at) => ring[(count - kept + at) % PASSED_MAX]!);
    count = 0;
    const skipped = skippedBefore(scanner, passed, broken, known);
    const start = skipped?.start ?? broken;
    const end = skipped?.end ?? nextKnown(scanner, broken, known);
    if (end === 0) {
      pair.dataEnd = Math.max(start, DATA_HEADER_BYTES);
      break;
    }
    if (gaps.length < GAPS_TOLD)
      warn(`${log.data.path(pair.file)}: damaged from ${start} to ${end}; entries there are lost`);
    gaps.push({ start, end });
    lostBytes += end - start;
    scanner.seek(end);
  }
  if (gaps.length > GAPS_TOLD)
    warn(`${log.data.path(pair.file)}: damaged at ${gaps.length} places, ${lostBytes} bytes in all`);
  return gaps;
}

/** A damaged header may have led into the middle of an entry, and that to where the chain breaks: the range such entries stand in. */
function skippedBefore(
  scanner: DataScanner,
  passed: readonly number[],
  broken: number,
  known: KnownPlaces,
): Gap | undefined {
  let from = passed.length;
  for (; from > 0; from--) {
    scanner.seek(passed[from - 1]!);
    // A payload that matches its checksum proves the header before it.
    if (scanner.next() && scanner.payloadBytes > 0 && scanner.intact()) break;
  }
  if (from === passed.length) return undefined;
  for (let end = known.after(passed[from]!); end > 0 && end < broken; end = known.after(end)) {
    if (passed.includes(end)) continue;
    if (!leadsOn(scanner, end, known)) continue;
    return { start: passed.findLast((offset) => offset < end)!, end };
  }
  return undefined;
}

/** Offset of the first record behind `start` that the index knows and the data file has; 0: none. */
function nextKnown(scanner: DataScanner, start: number, known: KnownPlaces): number {
  for (let offset = known.after(start); offset > 0; offset = known.after(offset))
    if (leadsOn(scanner, offset, known)) return offset;
  return 0;
}

/**
 * Whether the record that the index knows at an offset is there, such that replaying gives it an index entry when it finds none: so the
 * next opening is led here too, even when the entry that led here is cut off the index as one that does not match.
 */
function leadsOn(scanner: DataScanner, offset: number, known: KnownPlaces): boolean {
  scanner.seek(offset);
  return (
    scanner.next() &&
    hashOf(scanner.bytes, scanner.keyAt, scanner.keyBytes) === known.hash &&
    scanner.flags === 0 &&
    scanner.intact() &&
    !scanner.suspicious()
  );
}

/**
 * What the index knows of a data file, in the order of the data: a batch of so many places at a time, read from the index in one pass.
 * A place is one number, its offset and a hash of its key.
 */
class KnownPlaces {
  /** Hash of the key at the offset that `after` answered last. */
  hash = 0;
  readonly #visitAll: (visit: VisitIndexed) => void;
  #places = new Float64Array(0);
  #count = 0;
  #next = 0;
  /** Places behind the batch exist. */
  #more = true;

  constructor(visitAll: (visit: VisitIndexed) => void) {
    this.#visitAll = visitAll;
  }

  /** The next place behind `offset`, which must not become smaller from call to call; 0: none. */
  after(offset: number): number {
    for (;;) {
      for (; this.#next < this.#count; this.#next++) {
        const place = this.#places[this.#next]!;
        const found = Math.floor(place / HASHES);
        if (found <= offset) continue;
        this.hash = place % HASHES;
        return found;
      }
      if (!this.#more) return 0;
      this.#read(offset);
    }
  }

  /** Takes the first places behind `offset`. */
  #read(offset: number): void {
    this.#places = new Float64Array(PLACES_FIRST);
    this.#next = 0;
    this.#more = false;
    let count = 0;
    let bound = Number.POSITIVE_INFINITY;
    this.#visitAll((found, bytes, keyAt, keyBytes) => {
      if (found <= offset || found > bound) return;
      if (count === this.#places.length) {
        if (count < 2 * PLACES_MAX) {
          const larger = new Float64Array(count * 2);
          larger.set(this.#places);
          this.#places = larger;
        } else {
          this.#places.sort();
          count = PLACES_MAX;
          const last = this.#places[count - 1]!;
          bound = Math.floor(last / HASHES);
          this.#more = true;
          if (found > bound) return;
        }
      }
      this.#places[count++] = found * HASHES + hashOf(bytes, keyAt, keyBytes);
    });
    this.#places.subarray(0, count).sort();
    this.#count = count;
  }
}

/** FNV-1a, folded to as many bits as fit beside an offset of 32 bits in an exact number. */
function hashOf(bytes: Uint8Array, at: number, length: number): number {
  let hash = 0x811c9dc5;
  for (let byte = 0; byte < length; byte++) hash = Math.imul(hash ^ bytes[at + byte]!, 0x01000193);
  return (hash ^ (hash >>> 21)) & (HASHES - 1);
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
