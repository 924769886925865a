// Loads and repairs a sequential namespace. First every index file is read once, for counting and checking; then the data files from
// which something may be missing are replayed over the slots; then slots whose record is gone get the one before it back.
//
// Replaying decides by position: a data entry is known when the slot of its id points at it or at something newer. Replaying what is
// known changes nothing, so it can be repeated. Slots are never taken away: ids are not given out twice (docs/formats/zdb.md, "Recovery").
import { cutData, findEnd, type Gap, type IndexedEntry } from './data-end.ts';
import { DATA_ENTRY_BYTES, DATA_HEADER_BYTES } from './data-format.ts';
import { DataScanner } from './data-scanner.ts';
import {
  ID_BYTES,
  INDEX_DELETED,
  INDEX_ENTRY_BYTES,
  INDEX_HEADER_BYTES,
  indexEntry,
  putIndexEntry,
  SLOT_BYTES,
  slotOffset,
} from './index-format.ts';
import { get64, put64 } from './little-endian.ts';
import type { Loading, PairState } from './load.ts';
import { emptyPlace, type Place } from './place.ts';
import { INDEX_KEY_OVERHEAD_BYTES } from './records.ts';
import type { SeqRecords } from './seq-records.ts';
import { cutTail } from './set-aside.ts';
import { BLOCK_SLOTS } from './slot-cache.ts';

const READ_SLOTS = 16_384;
const RECORD_OVERHEAD_BYTES = DATA_ENTRY_BYTES + ID_BYTES;
/** Repairs are written when this many are pending. */
const REPAIRS_MAX = 32_768;
/** Slots lost from an index file that are filled in at most; more is taken for garbage. */
const LOST_SLOTS_MAX = 2 ** 31;
/** A data entry may be at most so many ids ahead of the index: more than a data file has entries. */
const AHEAD_MAX = 2 ** 24;

/** Reads the index for `records` and repairs what the data files know better. */
export function loadSeq(loading: Loading, records: SeqRecords): void {
  new SeqLoader(loading, records).load();
}

class SeqLoader {
  readonly #loading: Loading;
  readonly #records: SeqRecords;
  readonly #place = emptyPlace();
  /** End of the data that the index knows, per data file. */
  readonly #coveredEnds: number[] = [];
  /** Ids whose record is gone. */
  readonly #dangling: number[] = [];
  #damagedSlots = 0;
  #repairedSlots = 0;
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
    const gaps = lastIsActive ? findEnd(this.#loading, last, () => this.#indexed(last.file)) : [];
    const ends = pairs.map((pair) => (pair.dataEnd < 0 ? Number.POSITIVE_INFINITY : pair.dataEnd));
    for (const pair of pairs) this.#readIndex(pair, ends);
    if (this.#damagedSlots > 0) repaired(`${this.#damagedSlots} damaged index slots`);
    for (const pair of pairs) this.#checkTail(pair);
    this.#openAll();
    const first = Math.min(this.#replayFrom, lastIsActive ? last.file : pairs.length);
    for (let file = first; file < pairs.length; file++)
      this.#replay(pairs[file]!, lastIsActive && file === last.file ? gaps : undefined);
    this.#restoreDangling();
    if (this.#repairedSlots > 0) repaired(`${this.#repairedSlots} index slots repaired from the data files`);
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
    const { pairs, log } = this.#loading;
    const { firstIds, tally } = this.#records;
    const { file } = pair;
    const previous = pairs[file - 1];
    firstIds[file] = previous ? firstIds[file - 1]! + slotsOf(previous) : 0;
    const lost = previous ? this.#lostBefore(pair) : 0;
    if (previous && lost > 0) this.#fillLost(previous, lost);
    const firstId = (firstIds[file] = previous ? firstIds[file - 1]! + slotsOf(previous) : 0);
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
          if (!flagged) this.#dangling.push(firstId + slot);
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

  /**
   * How many slots the files before this one lost: every live slot carries its own id, so they tell where the file begins.
   * Only a shift on which the live slots of the first chunk agree counts.
   */
  #lostBefore(pair: PairState): number {
    const { log } = this.#loading;
    const expected = this.#records.firstIds[pair.file]!;
    const votes = new Map<number, number>();
    for (const [bytes, count] of slotChunks(log.indexFile(pair.file), slotsOf(pair), log.counters)) {
      for (let slot = 0; slot < count; slot++) {
        const at = slot * SLOT_BYTES;
        if (bytes[at] !== ID_BYTES || (indexEntry.flags(bytes, at) & INDEX_DELETED) !== 0) continue;
        const shift = get64(bytes, at + INDEX_ENTRY_BYTES) - (expected + slot);
        votes.set(shift, (votes.get(shift) ?? 0) + 1);
        if (votes.size > 16) return 0;
      }
      break;
    }
    let best = 0;
    for (const [shift, count] of votes) if (count > (votes.get(best) ?? 0)) best = shift;
    return best > 0 && best < LOST_SLOTS_MAX ? best : 0;
  }

  /** Appends dead slots to an index file for those it lost. */
  #fillLost(pair: PairState, lost: number): void {
    const { log, repaired } = this.#loading;
    const path = log.index.path(pair.file);
    const handle = log.indexFile(pair.file);
    let id = this.#records.firstIds[pair.file]! + slotsOf(pair);
    for (let left = lost; left > 0; ) {
      const count = Math.min(left, READ_SLOTS);
      const bytes = new Uint8Array(count * SLOT_BYTES);
      for (let slot = 0; slot < count; slot++) putDeadSlot(bytes, slot * SLOT_BYTES, id++);
      handle.write(bytes, pair.indexSize);
      pair.indexSize += bytes.length;
      left -= count;
    }
    this.#records.tally.written += lost;
    this.#replayFrom = Math.min(this.#replayFrom, pair.file);
    repaired(`${path}: lost its last ${lost} entries; filled in`);
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
    const scanner = new DataScanner(log.data.reading(pair.file), 'seq', pair.dataEnd);
    scanner.seek(coveredEnd);
    while (scanner.next()) {
      if (scanner.deleted ? this.#liveBefore(pair, scanner) : scanner.intact())
        this.#replayFrom = Math.min(this.#replayFrom, pair.file);
    }
    if (scanner.nextOffset < pair.dataEnd)
      warn(`${log.data.path(pair.file)}: no whole entry at ${scanner.nextOffset}; left as it is`);
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

  /** Replays one data file. @param gaps of the active one; undefined: it is closed */
  #replay(pair: PairState, gaps: readonly Gap[] | undefined): void {
    const { log, pairs, warn, flush } = this.#loading;
    const { firstIds } = this.#records;
    const { file } = pair;
    if (!pair.readable) {
      if (slotsOf(pair) > 0 || pair.dataEnd >= 0)
        warn(`${log.data.path(file)} is not on this machine: the index cannot be completed from it`);
      return;
    }
    // Slots can be added to a file only while there are none behind it.
    const open = gaps !== undefined || pairs.slice(file + 1).every((each) => slotsOf(each) === 0);
    flush();
    if (open) log.openPair(file, pair.dataEnd, log.indexEnds[file]!);
    const scanner = new DataScanner(log.data.reading(file), 'seq', pair.dataEnd);
    const copies = new CopyFinder(this.#loading, this.#records, file);
    let damagedFrom = 0;
    let lastWhole = 0;
    for (let gap = 0; ; gap++) {
      while (scanner.next()) {
        const outcome = scanner.deleted
          ? this.#replayDeletion(file, scanner)
          : this.#replayRecord(file, scanner, copies, open);
        if (outcome === 'damaged') damagedFrom ||= scanner.offset;
        else {
          damagedFrom = 0;
          lastWhole = scanner.offset;
        }
        if (log.current.changes.size >= REPAIRS_MAX) flush();
      }
      if (!gaps || gap === gaps.length) break;
      scanner.seek(gaps[gap]!.end);
    }
    flush();
    pair.indexSize = log.indexEnds[file]!;
    if (gaps) {
      log.previousData = lastWhole;
      cutData(this.#loading, pair, damagedFrom || pair.dataEnd);
    } else if (open) {
      for (const each of pairs.slice(file + 1)) {
        firstIds[each.file] = firstIds[each.file - 1]! + slotsOf(pairs[each.file - 1]!);
        log.openPair(each.file, each.dataEnd, each.indexSize);
      }
    }
  }

  #replayRecord(
    file: number,
    scanner: DataScanner,
    copies: CopyFinder,
    open: boolean,
  ): 'known' | 'added' | 'damaged' {
    const records = this.#records;
    const { log } = this.#loading;
    const { offset, payloadBytes, crc, timestamp } = scanner;
    const id = get64(scanner.bytes, scanner.keyAt);
    copies.take(id);
    const place = this.#place;
    if (!records.findSlot(id, place)) {
      if (!open) return 'known';
      if (!scanner.intact()) return 'damaged';
      if (id - records.nextId > AHEAD_MAX) return 'damaged';
      while (records.nextId < id) this.#appendDead();
      records.indexInsert(offset, payloadBytes, crc, timestamp);
      this.#repairedSlots++;
      return 'added';
    }
    log.view(place.indexFile, place.indexOffset);
    const { bytes, at } = log;
    const good = bytes[at] === ID_BYTES;
    const flagged = !good || (indexEntry.flags(bytes, at) & INDEX_DELETED) !== 0;
    fillPlace(place, bytes, at);
    const exists = good && this.#holds(place);
    if (exists && (place.dataFile > file || (place.dataFile === file && place.dataOffset > offset)))
      return 'known';
    if (exists && place.dataFile === file && place.dataOffset === offset) {
      const torn = place.payloadBytes !== payloadBytes || place.crc !== crc || place.timestamp !== timestamp;
      // Flagged by something that is not in the data, or comes next.
      if (flagged && !scanner.intact()) return 'known';
      if (flagged) records.flag(place, false);
      if (torn || !this.#hasKey(id, place)) this.#rewrite(id, file, place, scanner, copies);
      if (!flagged) records.count(-1, file, place.payloadBytes);
      records.count(1, file, payloadBytes);
      return 'known';
    }
    if (!scanner.intact()) return 'damaged';
    if (!good || !this.#hasKey(id, place)) this.#revive(id, place);
    let parent = exists ? copies.offset : 0;
    if (exists && copies.offset > 0 && copies.dead) this.#fillCopy(id, file, place, copies.offset);
    if (exists && copies.offset === 0 && open) {
      parent = records.indexCopy(scanner.key(), place);
      copies.appended();
    }
    records.point(place, file, offset, payloadBytes, crc, timestamp, parent > 0 ? file : 0, parent);
    if (!flagged && exists) records.count(-1, place.dataFile, place.payloadBytes);
    records.count(1, file, payloadBytes);
    this.#repairedSlots++;
    return 'added';
  }

  #replayDeletion(file: number, scanner: DataScanner): 'known' {
    const records = this.#records;
    const place = this.#place;
    const id = get64(scanner.bytes, scanner.keyAt);
    if (!records.locateId(id, place) || !this.#holds(place)) return 'known';
    if (place.dataFile > file || (place.dataFile === file && place.dataOffset > scanner.offset))
      return 'known';
    records.drop(place);
    return 'known';
  }

  /** Whether the record a slot points at can exist. */
  #holds(place: Place): boolean {
    const end = this.#loading.log.dataEnds[place.dataFile];
    if (end === undefined || place.dataOffset < DATA_HEADER_BYTES) return false;
    return end < 0 || place.dataOffset + RECORD_OVERHEAD_BYTES + place.payloadBytes <= end;
  }

  /** Writes the copy that an update makes of the old slot into the slot it used up. */
  #fillCopy(id: number, file: number, place: Place, offset: number): void {
    const { log, flush } = this.#loading;
    flush();
    log.view(place.indexFile, place.indexOffset);
    const slot = new Uint8Array(SLOT_BYTES);
    slot.set(log.bytes.subarray(log.at, log.at + INDEX_ENTRY_BYTES));
    indexEntry.setFlags(slot, 0, INDEX_DELETED);
    indexEntry.setPrevious(slot, 0, offset > slotOffset(0) ? offset - SLOT_BYTES : 0);
    put64(slot, INDEX_ENTRY_BYTES, id);
    log.indexFile(file).write(slot, offset);
    log.cache.clear();
  }

  /** Appends a slot that is nobody's: what stood there is lost, and its id is not given out again. */
  #appendDead(): void {
    const { log } = this.#loading;
    const key = new Uint8Array(ID_BYTES);
    put64(key, 0, this.#records.nextId);
    this.#records.tally.written++;
    log.appendIndex(key, 0, 0, INDEX_DELETED, 0, 0, 0, 0, 0);
    this.#repairedSlots++;
  }

  /** Whether a slot carries its id; a slot of this batch does. */
  #hasKey(id: number, place: Place): boolean {
    const { log } = this.#loading;
    if (place.indexOffset >= log.writtenIndexEnd(place.indexFile)) return true;
    const slot = (place.indexOffset - INDEX_HEADER_BYTES) / SLOT_BYTES;
    const frame = log.frameOf(place.indexFile, slot);
    const at = log.cache.at(frame) + (slot % BLOCK_SLOTS) * SLOT_BYTES;
    return get64(log.cache.bytes(frame), at + INDEX_ENTRY_BYTES) === id;
  }

  /** Makes a half-written slot what it was to become. */
  #rewrite(id: number, file: number, place: Place, scanner: DataScanner, copies: CopyFinder): void {
    if (!this.#hasKey(id, place)) this.#revive(id, place);
    const parent = copies.dead ? 0 : copies.offset;
    this.#records.point(
      place,
      file,
      scanner.offset,
      scanner.payloadBytes,
      scanner.crc,
      scanner.timestamp,
      parent > 0 ? file : 0,
      parent,
    );
    this.#repairedSlots++;
  }

  /** Writes a dead slot over a damaged one, so that it can be pointed at a record. */
  #revive(id: number, place: Place): void {
    const { log, flush } = this.#loading;
    flush();
    const slot = new Uint8Array(SLOT_BYTES);
    putDeadSlot(slot, 0, id);
    if (place.indexOffset > slotOffset(0)) indexEntry.setPrevious(slot, 0, place.indexOffset - SLOT_BYTES);
    log.indexFile(place.indexFile).write(slot, place.indexOffset);
    log.cache.clear();
  }

  /** Slots whose record is gone: back to the version before, from its copy or from older data files, or dead. */
  #restoreDangling(): void {
    const { log, flush, repaired } = this.#loading;
    const records = this.#records;
    const place = this.#place;
    const lost = new Set<number>();
    let restored = 0;
    for (const id of this.#dangling) {
      if (!records.locateId(id, place) || this.#holds(place)) continue;
      const parent = this.#parentOf(id, place);
      if (parent) {
        this.#pointBack(place, parent);
        restored++;
      } else lost.add(id);
      if (log.current.changes.size >= REPAIRS_MAX) flush();
    }
    flush();
    const found = lost.size > 0 ? this.#search(lost) : 0;
    for (const id of lost) {
      if (!records.locateId(id, place)) continue;
      records.flag(place, true);
      if (log.current.changes.size >= REPAIRS_MAX) flush();
    }
    flush();
    if (restored + found > 0)
      repaired(`${restored + found} ids lost their newest record; the one before it counts again`);
    if (lost.size > 0) repaired(`${lost.size} ids lost their only record; they are gone`);
  }

  /** The newest older version in the chain of copies that still has its record. */
  #parentOf(id: number, place: Place): { place: Place; file: number; offset: number } | undefined {
    const { log } = this.#loading;
    log.view(place.indexFile, place.indexOffset);
    let file = indexEntry.parentFile(log.bytes, log.at);
    let offset = indexEntry.parentOffset(log.bytes, log.at);
    const slot = new Uint8Array(SLOT_BYTES);
    const seen = new Set<number>();
    while (offset >= INDEX_HEADER_BYTES && (offset - INDEX_HEADER_BYTES) % SLOT_BYTES === 0) {
      const end = log.indexEnds[file];
      if (end === undefined || offset + SLOT_BYTES > end || seen.has(file * 2 ** 32 + offset))
        return undefined;
      seen.add(file * 2 ** 32 + offset);
      log.readIndex(file, offset, slot);
      if (slot[0] !== ID_BYTES || get64(slot, INDEX_ENTRY_BYTES) !== id) return undefined;
      const parent = emptyPlace();
      fillPlace(parent, slot, 0);
      file = indexEntry.parentFile(slot, 0);
      offset = indexEntry.parentOffset(slot, 0);
      if (this.#holds(parent)) return { place: parent, file, offset };
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
  #search(ids: Set<number>): number {
    const { log, pairs, flush } = this.#loading;
    const records = this.#records;
    const place = this.#place;
    let found = 0;
    for (let file = pairs.length - 1; file >= 0 && ids.size > 0; file--) {
      const pair = pairs[file]!;
      if (!pair.readable) continue;
      const newest = new Map<number, Place | undefined>();
      const scanner = new DataScanner(log.data.reading(file), 'seq', pair.dataEnd);
      while (scanner.next()) {
        const id = get64(scanner.bytes, scanner.keyAt);
        if (!ids.has(id)) continue;
        const { offset, payloadBytes, crc, timestamp } = scanner;
        const record = { ...emptyPlace(), dataFile: file, dataOffset: offset, payloadBytes, crc, timestamp };
        newest.set(id, scanner.deleted || !scanner.intact() ? undefined : record);
      }
      for (const [id, record] of newest) {
        ids.delete(id);
        if (!records.locateId(id, place)) continue;
        if (record) {
          this.#pointBack(place, { place: record, file: 0, offset: 0 });
          found++;
        } else records.flag(place, true);
      }
      flush();
    }
    return found;
  }

  /** Slots that point into a data file, for finding the way past damage. */
  *#indexed(dataFile: number): Generator<IndexedEntry> {
    const { log, pairs } = this.#loading;
    for (const pair of pairs) {
      let slot = 0;
      for (const [bytes, count] of slotChunks(log.indexFile(pair.file), slotsOf(pair), log.counters)) {
        for (let at = 0; at < count * SLOT_BYTES; at += SLOT_BYTES, slot++) {
          if (bytes[at] !== ID_BYTES || indexEntry.dataFile(bytes, at) !== dataFile) continue;
          const keyAt = at + INDEX_ENTRY_BYTES;
          yield {
            dataOffset: indexEntry.dataOffset(bytes, at),
            offset: slotOffset(slot),
            key: bytes.subarray(keyAt, keyAt + ID_BYTES),
          };
        }
      }
    }
  }
}

/**
 * Finds the slot that an update used up in its own index file, for the copy of the old slot. Data and index file are in the same
 * order, one slot for each record: so it is the next slot behind those of the records before.
 */
class CopyFinder {
  /** Where the copy of the last `take` is; 0: the entry was an insert, or the copy is not there. */
  offset = 0;
  /** There is a slot for the copy at `offset`, but nothing in it. */
  dead = false;
  readonly #log: Loading['log'];
  readonly #file: number;
  readonly #slots: number;
  readonly #firstId: number;
  #next = 0;

  constructor(loading: Loading, records: SeqRecords, file: number) {
    this.#log = loading.log;
    this.#file = file;
    this.#firstId = records.firstIds[file]!;
    this.#slots = (loading.log.writtenIndexEnd(file) - INDEX_HEADER_BYTES) / SLOT_BYTES;
  }

  /** Must be called for every record of the data file, in order. */
  take(id: number): void {
    this.offset = 0;
    this.dead = false;
    const slot = id - this.#firstId;
    if (slot >= this.#next) {
      this.#next = slot + 1;
      return;
    }
    if (this.#next >= this.#slots) return;
    const frame = this.#log.frameOf(this.#file, this.#next);
    const bytes = this.#log.cache.bytes(frame);
    const at = this.#log.cache.at(frame) + (this.#next % BLOCK_SLOTS) * SLOT_BYTES;
    this.dead = bytes[at] !== ID_BYTES || indexEntry.dataOffset(bytes, at) === 0;
    if (this.dead || get64(bytes, at + INDEX_ENTRY_BYTES) === id) this.offset = slotOffset(this.#next++);
  }

  /** A slot was appended for the entry of the last `take`. */
  appended(): void {
    this.#next++;
  }
}

function slotsOf(pair: PairState): number {
  return Math.floor((pair.indexSize - INDEX_HEADER_BYTES) / SLOT_BYTES);
}

function fillPlace(place: Place, bytes: Uint8Array, at: number): void {
  place.keyBytes = ID_BYTES;
  place.dataFile = indexEntry.dataFile(bytes, at);
  place.dataOffset = indexEntry.dataOffset(bytes, at);
  place.payloadBytes = indexEntry.payloadBytes(bytes, at);
  place.crc = indexEntry.crc(bytes, at);
  place.timestamp = indexEntry.timestamp(bytes, at);
}

/** A slot that belongs to an id and holds nothing. */
function putDeadSlot(bytes: Uint8Array, at: number, id: number): void {
  putIndexEntry(bytes, at, ID_BYTES, 0, 0, 0, INDEX_DELETED, 0, 0, 0, 0, 0);
  put64(bytes, at + INDEX_ENTRY_BYTES, id);
}

/** The slots of an index file in large pieces: bytes and number of slots. The memory is used again. */
function* slotChunks(
  file: { read(target: Uint8Array, position: number): number },
  slots: number,
  counters: { indexRead(bytes: number): void },
): Generator<[Uint8Array, number]> {
  const buffer = new Uint8Array(Math.min(READ_SLOTS, slots) * SLOT_BYTES);
  for (let slot = 0; slot < slots; ) {
    const wanted = Math.min(READ_SLOTS, slots - slot);
    const got = file.read(buffer.subarray(0, wanted * SLOT_BYTES), slotOffset(slot));
    counters.indexRead(got);
    const count = Math.floor(got / SLOT_BYTES);
    if (count === 0) return;
    yield [buffer, count];
    slot += count;
  }
}
