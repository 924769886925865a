// Loads and repairs a sequential namespace. First every index file is read once, for counting and checking; then the data files from
// which something may be missing are replayed over the slots (replay-seq.ts); then slots whose record is gone get the one before
// it back (restore-seq.ts).

import { DATA_HEADER_BYTES } from '../format/data-format.ts';
import { DataScanner } from '../format/data-scanner.ts';
import {
  ID_BYTES,
  INDEX_DELETED,
  INDEX_ENTRY_BYTES,
  INDEX_HEADER_BYTES,
  indexEntry,
  SLOT_BYTES,
  slotOffset,
} from '../format/index-format.ts';
import { get64 } from '../format/little-endian.ts';
import { IdSet } from '../id-set.ts';
import { INDEX_KEY_OVERHEAD_BYTES } from '../records.ts';
import type { SeqRecords } from '../seq-records.ts';
import { findEnd, type VisitIndexed } from './data-end.ts';
import { type Loading, type PairState, requireReadable } from './loading.ts';
import { SeqReplay } from './replay-seq.ts';
import { SeqRestore } from './restore-seq.ts';
import { cutTail } from './set-aside.ts';
import {
  CHUNK_SLOTS,
  lostBefore,
  putDeadSlot,
  RECORD_OVERHEAD_BYTES,
  slotChunks,
  slotsOf,
} from './slot-files.ts';

/** Reads the index for `records` and repairs what the data files know better. */
export function loadSeq(loading: Loading, records: SeqRecords): void {
  new SeqLoader(loading, records).load();
}

class SeqLoader {
  readonly #loading: Loading;
  readonly #records: SeqRecords;
  /** End of the data that the index knows, per data file. */
  readonly #coveredEnds: number[] = [];
  /** Ids whose record is gone. */
  readonly #dangling = new IdSet();
  #damagedSlots = 0;
  #replayFrom = Number.POSITIVE_INFINITY;

  constructor(loading: Loading, records: SeqRecords) {
    this.#loading = loading;
    this.#records = records;
  }

  load(): void {
    const { log, pairs, lastIsActive, repaired } = this.#loading;
    const last = pairs[pairs.length - 1]!;
    for (const pair of pairs) {
      log.liveBytes[pair.file] = 0;
      this.#coveredEnds[pair.file] = DATA_HEADER_BYTES;
      this.#cutTorn(pair);
    }
    // The end of the data comes first: slots that point behind it are dangling.
    const gaps = lastIsActive ? findEnd(this.#loading, last, (visit) => this.#indexed(last.file, visit)) : [];
    const ends = pairs.map((pair) => (pair.dataEnd < 0 ? Number.POSITIVE_INFINITY : pair.dataEnd));
    for (const pair of pairs) this.#readIndex(pair, ends);
    for (const pair of pairs) this.#checkTail(pair);
    requireReadable(log, pairs, Math.min(this.#replayFrom, pairs.length));
    if (this.#damagedSlots > 0) repaired(`${this.#damagedSlots} damaged index slots`);
    this.#openAll();
    const first = Math.min(this.#replayFrom, lastIsActive ? last.file : pairs.length);
    const replay = new SeqReplay(this.#loading, this.#records);
    const replayAll = (): void => {
      for (let file = first; file < pairs.length; file++)
        replay.run(
          pairs[file]!,
          lastIsActive && file === last.file ? gaps : undefined,
          this.#coveredEnds[file]!,
        );
    };
    replayAll();
    // Slots of an index file that is lost with the next one's, which would tell how many there were, are made by later data files.
    if (replay.withoutSlot < this.#records.nextId) replayAll();
    if (replay.repairedSlots > 0)
      repaired(`${replay.repairedSlots} index slots repaired from the data files`);
    if (replay.cutFrom > 0) this.#findDangling(last, replay.cutFrom);
    if (this.#dangling.size > 0) new SeqRestore(this.#loading, this.#records).run(this.#dangling);
  }

  /** Cuts half a slot at the end of an index file. */
  #cutTorn(pair: PairState): void {
    const { log, nowSeconds, repaired } = this.#loading;
    const torn = (pair.indexSize - INDEX_HEADER_BYTES) % SLOT_BYTES;
    if (pair.rebuild || torn > 0) this.#replayFrom = Math.min(this.#replayFrom, pair.file);
    if (torn === 0) return;
    const path = log.index.path(pair.file);
    const end = pair.indexSize - torn;
    const copy = cutTail(log.surroundings.disk, path, end, nowSeconds);
    repaired(`${path}: ${torn} bytes at ${end} are no whole entry; cut off, kept as ${copy}`);
    pair.indexSize = end;
  }

  /** Counts one index file and notes what is wrong with it. @param ends of the data files */
  #readIndex(pair: PairState, ends: readonly number[]): void {
    const { log } = this.#loading;
    const { firstIds, tally } = this.#records;
    const { file } = pair;
    const firstId = (firstIds[file] = this.#fillLostBefore(pair));
    const live = log.liveBytes;
    const covered = this.#coveredEnds;
    let slot = 0;
    let entries = 0;
    let payloads = 0;
    for (const [bytes, count] of slotChunks(log.indexFile(file), slotsOf(pair), log.counters)) {
      for (let at = 0, end = count * SLOT_BYTES; at < end; at += SLOT_BYTES, slot++) {
        if (bytes[at] !== ID_BYTES) {
          this.#damagedSlots++;
          continue;
        }
        const dataFile = indexEntry.dataFile(bytes, at);
        const payloadBytes = indexEntry.payloadBytes(bytes, at);
        const dataOffset = indexEntry.dataOffset(bytes, at);
        const recordEnd = dataOffset + RECORD_OVERHEAD_BYTES + payloadBytes;
        const flagged = (indexEntry.flags(bytes, at) & INDEX_DELETED) !== 0;
        if (!(recordEnd <= ends[dataFile]!) || dataOffset < DATA_HEADER_BYTES) {
          if (!flagged) this.#dangling.add(firstId + slot);
          continue;
        }
        if (recordEnd > covered[dataFile]!) covered[dataFile] = recordEnd;
        if (flagged) continue;
        entries++;
        payloads += payloadBytes;
        live[dataFile] = live[dataFile]! + RECORD_OVERHEAD_BYTES + payloadBytes;
      }
    }
    tally.entries += entries;
    tally.dataBytes += payloads;
    tally.indexBytes += entries * (INDEX_KEY_OVERHEAD_BYTES + ID_BYTES);
    tally.written += slotsOf(pair);
    if (this.#damagedSlots > 0) this.#replayFrom = Math.min(this.#replayFrom, file);
  }

  /** Fills in what the files before this one lost. @returns the id of its first slot */
  #fillLostBefore(pair: PairState): number {
    const { pairs, log } = this.#loading;
    const { firstIds } = this.#records;
    if (pair.file === 0) return 0;
    const next = pairs[pair.file - 1]!;
    const expected = firstIds[next.file]! + slotsOf(next);
    // The file that lost them is the one before, or an earlier one when nothing was ever in that.
    let owner = next;
    while (owner.file > 0 && slotsOf(owner) === 0 && !owner.rebuild) owner = pairs[owner.file - 1]!;
    let room = -slotsOf(owner);
    for (const { dataEnd } of pairs.slice(owner.file, pair.file))
      room += Math.max(0, Math.floor((dataEnd - DATA_HEADER_BYTES) / RECORD_OVERHEAD_BYTES));
    const lost = lostBefore(log, pair, expected, slotsOf(owner), room);
    if (lost === 0) return expected;
    this.#fillLost(owner, lost);
    for (let file = owner.file + 1; file < pair.file; file++) firstIds[file] = firstIds[file]! + lost;
    return expected + lost;
  }

  /** Appends dead slots to an index file for those it lost. */
  #fillLost(pair: PairState, lost: number): void {
    const { log, pairs, repaired } = this.#loading;
    requireReadable(log, pairs, pair.file);
    const path = log.index.path(pair.file);
    const handle = log.indexFile(pair.file);
    let id = this.#records.firstIds[pair.file]! + slotsOf(pair);
    const filled = pairs.findLast((each) => each.file < pair.file && slotsOf(each) > 0);
    let previous = filled ? slotOffset(slotsOf(filled) - 1) : 0;
    if (slotsOf(pair) > 0) previous = slotOffset(slotsOf(pair) - 1);
    for (let left = lost; left > 0; ) {
      const count = Math.min(left, CHUNK_SLOTS);
      const bytes = new Uint8Array(count * SLOT_BYTES);
      for (let slot = 0; slot < count; slot++) {
        putDeadSlot(bytes, slot * SLOT_BYTES, id++, previous);
        previous = pair.indexSize + slot * SLOT_BYTES;
      }
      handle.write(bytes, pair.indexSize);
      pair.indexSize += bytes.length;
      left -= count;
    }
    this.#records.tally.written += lost;
    this.#replayFrom = Math.min(this.#replayFrom, pair.file);
    repaired(`${path}: lost its last ${lost} entries; filled in`);
  }

  /** Live slots that point behind a new end of the active data file do not count any more. */
  #findDangling(active: PairState, end: number): void {
    const { log, pairs } = this.#loading;
    const records = this.#records;
    for (const pair of pairs) {
      let id = records.firstIds[pair.file]!;
      for (const [bytes, count] of slotChunks(log.indexFile(pair.file), slotsOf(pair), log.counters)) {
        for (let at = 0; at < count * SLOT_BYTES; at += SLOT_BYTES, id++) {
          if (bytes[at] !== ID_BYTES || (indexEntry.flags(bytes, at) & INDEX_DELETED) !== 0) continue;
          if (indexEntry.dataFile(bytes, at) !== active.file || indexEntry.dataOffset(bytes, at) < end)
            continue;
          // Slots behind the first end are in the list and were not counted.
          if (this.#dangling.has(id)) continue;
          this.#dangling.add(id);
          records.count(-1, active.file, indexEntry.payloadBytes(bytes, at));
        }
      }
    }
  }

  /** Makes the log know all pairs, as they are counted now. */
  #openAll(): void {
    const { log, pairs } = this.#loading;
    let previous = 0;
    for (const pair of pairs) {
      const slots = slotsOf(pair);
      log.lastEntries[pair.file] = slots > 0 ? slotOffset(slots - 1) : 0;
      log.openPair(pair.file, pair.dataEnd, pair.indexSize);
      previous = log.lastEntries[pair.file]! || previous;
    }
    log.previousIndex = previous;
  }

  /** Looks whether a closed data file goes on behind what the index knows of it, with something that is not known. */
  #checkTail(pair: PairState): void {
    const { log, pairs, lastIsActive, warn } = this.#loading;
    const coveredEnd = this.#coveredEnds[pair.file]!;
    if ((lastIsActive && pair === pairs[pairs.length - 1]) || pair.dataEnd <= coveredEnd) return;
    const { presence } = log.surroundings;
    if (presence && !presence.has(log.name, pair.file, coveredEnd, pair.dataEnd - coveredEnd)) return;
    const scanner = new DataScanner(() => log.data.reading(pair.file), 'seq', pair.dataEnd);
    scanner.seek(coveredEnd);
    while (scanner.next()) {
      if (scanner.deleted ? this.#liveBefore(pair, scanner) : scanner.intact())
        this.#replayFrom = Math.min(this.#replayFrom, pair.file);
    }
    if (scanner.nextOffset >= pair.dataEnd) return;
    if (scanner.nextOffset === coveredEnd && !this.#leadsTo(pair, coveredEnd)) {
      // Otherwise what is found there would depend on what is repaired now, and the next opening would show more.
      warn(
        `${log.data.path(pair.file)}: what the index knows of it ends within an entry; looked through from its start`,
      );
      this.#replayFrom = Math.min(this.#replayFrom, pair.file);
      return;
    }
    warn(`${log.data.path(pair.file)}: no whole entry at ${scanner.nextOffset}; left as it is`);
  }

  /** Whether one of the entries of a data file ends at an offset. Of a file that is not all here that is believed. */
  #leadsTo(pair: PairState, end: number): boolean {
    const { log } = this.#loading;
    const { presence } = log.surroundings;
    if (presence && !presence.has(log.name, pair.file, 0, end)) return true;
    const scanner = new DataScanner(() => log.data.reading(pair.file), 'seq', pair.dataEnd);
    while (scanner.nextOffset < end && scanner.next());
    return scanner.nextOffset === end;
  }

  /** Whether the id of a deletion marker is live with a record from before it. */
  #liveBefore(pair: PairState, scanner: DataScanner): boolean {
    const { log, pairs } = this.#loading;
    const id = get64(scanner.bytes, scanner.keyAt);
    const { firstIds } = this.#records;
    const owner = pairs.findLast((each) => firstIds[each.file]! <= id);
    if (!owner || id - firstIds[owner.file]! >= slotsOf(owner)) return false;
    const slot = new Uint8Array(SLOT_BYTES);
    log.indexFile(owner.file).read(slot, slotOffset(id - firstIds[owner.file]!));
    if (slot[0] !== ID_BYTES || (indexEntry.flags(slot, 0) & INDEX_DELETED) !== 0) return false;
    const dataFile = indexEntry.dataFile(slot, 0);
    return (
      dataFile < pair.file || (dataFile === pair.file && indexEntry.dataOffset(slot, 0) < scanner.offset)
    );
  }

  /** Slots that point into a data file, for finding the way past damage. */
  #indexed(dataFile: number, visit: VisitIndexed): void {
    const { log, pairs } = this.#loading;
    for (const pair of pairs) {
      for (const [bytes, count] of slotChunks(log.indexFile(pair.file), slotsOf(pair), log.counters)) {
        for (let at = 0; at < count * SLOT_BYTES; at += SLOT_BYTES) {
          if (bytes[at] !== ID_BYTES || indexEntry.dataFile(bytes, at) !== dataFile) continue;
          visit(indexEntry.dataOffset(bytes, at), bytes, at + INDEX_ENTRY_BYTES, ID_BYTES);
        }
      }
    }
  }
}
