// Sequential ids whose newest record is gone with the end of a data file: they get the version before back.
import { DATA_HEADER_BYTES } from '../format/data-format.ts';
import { DataScanner } from '../format/data-scanner.ts';
import {
  ID_BYTES,
  INDEX_ENTRY_BYTES,
  INDEX_HEADER_BYTES,
  indexEntry,
  SLOT_BYTES,
} from '../format/index-format.ts';
import { get64, TWO_32 } from '../format/little-endian.ts';
import { IdSet } from '../id-set.ts';
import { emptyPlace, type Place } from '../place.ts';
import type { SeqRecords } from '../seq-records.ts';
import type { Loading } from './loading.ts';
import { REPAIRS_MAX } from './replay-user.ts';
import { fillPlace, recordFits } from './slot-files.ts';

/** Restores older versions. */
export class SeqRestore {
  readonly #loading: Loading;
  readonly #records: SeqRecords;
  readonly #place = emptyPlace();

  constructor(loading: Loading, records: SeqRecords) {
    this.#loading = loading;
    this.#records = records;
  }

  /** Slots whose record is gone: back to the version before, from its copy or from older data files, or dead. */
  run(dangling: Iterable<number>): void {
    const { log, flush, repaired } = this.#loading;
    const records = this.#records;
    const place = this.#place;
    const lost = new IdSet();
    let restored = 0;
    const last = log.active;
    for (const id of dangling) {
      if (!records.locateId(id, place) || recordFits(log, place)) continue;
      // Only the last data file loses its end: a slot that points nowhere else is damaged, and its parent may be older than others.
      const parent = this.#pointsInto(last, place) ? this.#parentOf(id, place) : undefined;
      if (parent) {
        this.#pointBack(place, parent);
        restored++;
      } else lost.add(id);
      if (log.current.changes.size >= REPAIRS_MAX) flush();
    }
    flush();
    const found = lost.size > 0 ? this.#search(lost) : 0;
    let gone = 0;
    for (const id of lost) {
      if (!records.locateId(id, place)) continue;
      // Nothing of it in the data files that are here.
      const parent = this.#parentOf(id, place);
      if (parent) {
        this.#pointBack(place, parent);
        restored++;
      } else {
        records.flag(place, true);
        gone++;
      }
      if (log.current.changes.size >= REPAIRS_MAX) flush();
    }
    flush();
    if (restored + found > 0)
      repaired(`${restored + found} ids lost their newest record; the one before it counts again`);
    if (gone > 0) repaired(`${gone} ids lost their only record; they are gone`);
  }

  /** Whether a slot names a place in a data file, be it behind its end. */
  #pointsInto(file: number, place: Place): boolean {
    const { log } = this.#loading;
    log.view(place.indexFile, place.indexOffset);
    return (
      indexEntry.dataFile(log.bytes, log.at) === file &&
      indexEntry.dataOffset(log.bytes, log.at) >= DATA_HEADER_BYTES
    );
  }

  /** The newest older version in the chain of copies that still has its record. */
  #parentOf(id: number, place: Place): { place: Place; file: number; offset: number } | undefined {
    const { log } = this.#loading;
    log.view(place.indexFile, place.indexOffset);
    let file = indexEntry.parentFile(log.bytes, log.at);
    let offset = indexEntry.parentOffset(log.bytes, log.at);
    if (offset === 0) return undefined;
    const slot = new Uint8Array(SLOT_BYTES);
    const seen = new Set<number>();
    while (offset >= INDEX_HEADER_BYTES && (offset - INDEX_HEADER_BYTES) % SLOT_BYTES === 0) {
      const end = log.indexEnds[file];
      if (end === undefined || offset + SLOT_BYTES > end || seen.has(file * TWO_32 + offset))
        return undefined;
      seen.add(file * TWO_32 + offset);
      log.readIndex(file, offset, slot);
      if (slot[0] !== ID_BYTES || get64(slot, INDEX_ENTRY_BYTES) !== id) return undefined;
      const parent = emptyPlace();
      fillPlace(parent, slot, 0);
      file = indexEntry.parentFile(slot, 0);
      offset = indexEntry.parentOffset(slot, 0);
      if (recordFits(log, parent)) return { place: parent, file, offset };
    }
    return undefined;
  }

  #pointBack(place: Place, parent: { place: Place; file: number; offset: number }): void {
    const { dataFile, dataOffset, payloadBytes, crc, timestamp } = parent.place;
    this.#records.point(
      place,
      dataFile,
      dataOffset,
      payloadBytes,
      crc,
      timestamp,
      parent.file,
      parent.offset,
    );
    this.#records.count(1, dataFile, payloadBytes);
  }

  /** Looks for the newest record of each id in the data files, newest file first. Found ids leave the set. @returns how many */
  #search(ids: IdSet): number {
    const { log, pairs, flush } = this.#loading;
    const records = this.#records;
    const place = this.#place;
    let found = 0;
    for (let file = pairs.length - 1; file >= 0 && ids.size > 0; file--) {
      const pair = pairs[file]!;
      if (!pair.readable) continue;
      const seen = new IdSet();
      const restored = new IdSet();
      const scanner = new DataScanner(() => log.data.reading(file), 'seq', pair.dataEnd);
      while (scanner.next()) {
        const id = get64(scanner.bytes, scanner.keyAt);
        if (!ids.has(id) || !records.findSlot(id, place)) continue;
        seen.add(id);
        if (restored.has(id)) {
          // By an older record of this file.
          log.view(place.indexFile, place.indexOffset);
          records.count(-1, file, indexEntry.payloadBytes(log.bytes, log.at));
          restored.delete(id);
        }
        if (scanner.deleted || !scanner.intact()) records.flag(place, true);
        else {
          const { offset, payloadBytes, crc, timestamp } = scanner;
          records.point(place, file, offset, payloadBytes, crc, timestamp, 0, 0);
          records.count(1, file, payloadBytes);
          restored.add(id);
        }
        if (log.current.changes.size >= REPAIRS_MAX) flush();
      }
      for (const id of seen) ids.delete(id);
      found += restored.size;
      flush();
    }
    return found;
  }
}
