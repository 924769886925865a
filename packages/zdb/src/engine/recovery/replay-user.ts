// Replays a data file over the key table and the index of a user-mode namespace.
//
// It decides by position: a record is known when the table points at it or at something newer, or when an index entry for it exists.
// Replaying what is known changes nothing, so it can be repeated (docs/formats/zdb.md, "Recovery").

import { DATA_TRUNCATED } from '../format/data-format.ts';
import { DataScanner } from '../format/data-scanner.ts';
import { INDEX_HEADER_BYTES, indexEntry } from '../format/index-format.ts';
import type { Log } from '../log/log.ts';
import { emptyPlace } from '../place.ts';
import type { UserRecords } from '../user-records.ts';
import { cutData, type Gap } from './data-end.ts';
import { IndexEntries } from './index-entries.ts';
import type { Loading, PairState } from './loading.ts';
import { UnorderedEntries } from './unordered-entries.ts';

/** Repairs are written when this many are pending. */
export const REPAIRS_MAX = 32_768;

/** Replays data files, one after the other. */
export class UserReplay {
  readonly #loading: Loading;
  readonly #records: UserRecords;
  readonly #place = emptyPlace();
  /** Nothing is missing in the data file being replayed. */
  #complete = true;

  constructor(loading: Loading, records: UserRecords) {
    this.#loading = loading;
    this.#records = records;
  }

  /**
   * Gives the index what the data file has and the index lacks. Behind damage it goes on: in the active file behind each gap, in others
   * at the end of what the index knows, where the next opening would look for more.
   * @param coveredEnd end of the data that the index knows
   */
  run(pair: PairState, active: boolean, monotonic: boolean, gaps: readonly Gap[], coveredEnd: number): void {
    const { log, warn, repaired, flush } = this.#loading;
    const { file } = pair;
    if (!pair.readable) {
      if (pair.dataEnd !== -1 || pair.indexSize > INDEX_HEADER_BYTES)
        warn(`${log.data.path(file)} is not on this machine: index ${file} cannot be completed from it`);
      return;
    }
    const known = new KnownEntries(log, file, monotonic);
    const open = () => log.data.reading(file);
    const scanner = new DataScanner(open, 'user', pair.dataEnd);
    // Where entries may be missing, an entry may be flagged for a deletion marker that nobody finds any more.
    this.#complete = gaps.length === 0 && (active || new DataScanner(open, 'user', pair.dataEnd).unbroken());
    let added = 0;
    /** Where a run of entries begins that the index does not know and whose payload is damaged; 0: none. */
    let damagedFrom = 0;
    let lastWhole = 0;
    const ends = active ? gaps.map(({ end }) => end) : [coveredEnd];
    for (let gap = 0; ; gap++) {
      while (scanner.next()) {
        const outcome = scanner.deleted ? this.deletion(file, scanner) : this.#record(file, scanner, known);
        if (outcome === 'damaged') damagedFrom ||= scanner.offset;
        else {
          damagedFrom = 0;
          lastWhole = scanner.offset;
          if (outcome === 'added') added++;
        }
        if (log.current.changes.size >= REPAIRS_MAX) flush();
      }
      if (gap === ends.length || (!active && scanner.nextOffset >= coveredEnd)) break;
      scanner.seek(ends[gap]!);
    }
    if (active) {
      log.previousData = lastWhole;
      // A damaged header may lead over entries that the index knows: those are not cut off.
      cutData(this.#loading, pair, damagedFrom >= coveredEnd ? damagedFrom : pair.dataEnd);
    }
    if (added > 0) repaired(`${added} entries of ${log.data.path(file)} were missing in the index; added`);
  }

  /** Makes the index know the record at the scanner, unless it knows it or something newer. */
  #record(file: number, scanner: DataScanner, known: KnownEntries): 'known' | 'added' | 'damaged' {
    const records = this.#records;
    const place = this.#place;
    const { offset, payloadBytes, crc, timestamp } = scanner;
    const indexOffset = known.find(offset, scanner);
    // An entry that is not flagged is the live one, or something newer is.
    if (indexOffset > 0 && !known.deleted) return 'known';
    const key = scanner.key();
    const live = records.locate(key, place);
    if (live && (place.indexFile > file || (place.indexFile === file && place.dataOffset >= offset)))
      return 'known';
    if (indexOffset > 0) {
      if (!known.agrees || !this.#complete || !scanner.intact()) return 'known';
      // Its entry exists but is flagged, and what superseded it is not in the data, or comes next.
      records.flag(file, indexOffset, offset, false);
      if (live) records.flag(place.indexFile, place.indexOffset, place.dataOffset, true);
      records.put(key, 0, key.length, file, indexOffset, offset, payloadBytes, crc, timestamp);
      return 'known';
    }
    if ((scanner.flags & DATA_TRUNCATED) !== 0) return 'known';
    if (!scanner.intact() || scanner.suspicious()) return 'damaged';
    records.index(key, live ? place : undefined, offset, payloadBytes, crc, timestamp);
    return 'added';
  }

  /** Makes the deletion marker at the scanner take effect, unless something newer is live. */
  deletion(file: number, scanner: DataScanner): 'known' | 'damaged' {
    const key = scanner.key();
    const place = this.#place;
    const newer =
      !this.#records.locate(key, place) ||
      place.indexFile > file ||
      (place.indexFile === file && place.dataOffset > scanner.offset);
    if (newer) return 'known';
    if (scanner.suspicious()) return 'damaged';
    this.#records.drop(key, place);
    return 'known';
  }
}

/** Which data entries of a file have an index entry. The index file is read along with the data file: both are in the same order. */
class KnownEntries {
  /** Whether the entry last found is flagged. */
  deleted = false;
  /** Whether the entry last found describes the record as its header does; told of flagged ones only. */
  agrees = true;
  readonly #entries: IndexEntries;
  #more = false;
  readonly #unordered: UnorderedEntries | undefined;

  constructor(log: Log, file: number, monotonic: boolean) {
    const end = log.indexEnds[file]!;
    this.#entries = new IndexEntries(log.index, file, end);
    if (monotonic) this.#more = this.#entries.next();
    else this.#unordered = new UnorderedEntries(this.#entries, end);
  }

  /** Offset of the index entry for the record at the scanner; 0: none. To be asked in ascending order. */
  find(dataOffset: number, scanner: DataScanner): number {
    if (this.#unordered) {
      const offset = this.#unordered.find(dataOffset);
      this.deleted = this.#unordered.deleted;
      return offset;
    }
    const entries = this.#entries;
    while (this.#more && entries.dataOffset < dataOffset) this.#more = entries.next();
    if (!this.#more || entries.dataOffset !== dataOffset) return 0;
    this.deleted = entries.deleted;
    if (!entries.hasKey(scanner.bytes, scanner.keyAt, scanner.keyBytes)) {
      if (entries.hasTornKey(scanner.bytes, scanner.keyAt, scanner.keyBytes)) return 0;
      // One of the two keys is damaged, and nothing tells which.
      this.agrees = false;
      this.deleted = true;
      return entries.offset;
    }
    if (!this.deleted) return entries.offset;
    const { bytes, at } = entries;
    this.agrees =
      indexEntry.payloadBytes(bytes, at) === scanner.payloadBytes &&
      indexEntry.crc(bytes, at) === scanner.crc;
    return entries.offset;
  }
}
