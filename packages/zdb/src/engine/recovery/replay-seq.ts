// Replays a data file over the slots of a sequential namespace.
//
// It decides by position: a record is known when the slot of its id points at it or at something newer. Replaying what is known changes
// nothing, so it can be repeated. Slots are never taken away: ids are not given out twice (docs/formats/zdb.md, "Recovery").

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
import { get64, put64 } from '../format/little-endian.ts';
import type { Log } from '../log/log.ts';
import { BLOCK_SLOTS } from '../log/slot-cache.ts';
import { emptyPlace, type Place } from '../place.ts';
import type { SeqRecords } from '../seq-records.ts';
import { cutData, type Gap } from './data-end.ts';
import type { Loading, PairState } from './loading.ts';
import { REPAIRS_MAX } from './replay-user.ts';
import { fillPlace, putDeadSlot, RECORD_OVERHEAD_BYTES, recordFits, slotsOf } from './slot-files.ts';

/** A data entry may be at most so many ids ahead of the index: more than a data file has entries. */
const AHEAD_MAX = 2 ** 24;

/** An id far ahead is confirmed by one of so many records behind it. */
const CONFIRMING_MAX = 64;

/** Replays data files, one after the other. */
export class SeqReplay {
  /** Slots that got something they lacked. */
  repairedSlots = 0;
  /** Whole but damaged entries were cut off the active data file from here on; 0: none. */
  cutFrom = 0;
  /** Smallest id of a record that found no slot, in a file that could not be given one any more. */
  withoutSlot = Number.POSITIVE_INFINITY;
  readonly #loading: Loading;
  readonly #records: SeqRecords;
  readonly #place = emptyPlace();
  readonly #key = new Uint8Array(ID_BYTES);
  /** Nothing is missing in the data file being replayed. */
  #complete = true;

  constructor(loading: Loading, records: SeqRecords) {
    this.#loading = loading;
    this.#records = records;
  }

  /**
   * Replays one data file. Behind damage it goes on: in the active one behind each gap, in others at the end of what the index knows.
   * @param gaps of the active one; undefined: it is closed
   * @param coveredEnd end of the data that the index knows
   */
  run(pair: PairState, gaps: readonly Gap[] | undefined, coveredEnd: number): void {
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
    const reading = () => log.data.reading(file);
    const scanner = new DataScanner(reading, 'seq', pair.dataEnd);
    this.#complete = gaps ? gaps.length === 0 : new DataScanner(reading, 'seq', pair.dataEnd).unbroken();
    const copies = new CopyFinder(log, this.#records, file);
    let damagedFrom = 0;
    let lastWhole = 0;
    const ends = gaps ? gaps.map(({ end }) => end) : [coveredEnd];
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
      if (gap === ends.length || (!gaps && scanner.nextOffset >= coveredEnd)) break;
      scanner.seek(ends[gap]!);
    }
    flush();
    pair.indexSize = log.indexEnds[file]!;
    if (gaps) {
      log.previousData = lastWhole;
      if (damagedFrom > 0) this.cutFrom = damagedFrom;
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
    copies.take(id, scanner);
    if (copies.contradicts) return 'known';
    const place = this.#place;
    if (!records.findSlot(id, place)) {
      if (!open) {
        this.withoutSlot = Math.min(this.withoutSlot, id);
        return 'known';
      }
      if (!scanner.intact() || scanner.suspicious()) return 'damaged';
      if (!this.#plausible(id, file, scanner)) return 'damaged';
      while (records.nextId < id) this.#appendDead();
      records.indexInsert(offset, payloadBytes, crc, timestamp);
      this.repairedSlots++;
      return 'added';
    }
    log.view(place.indexFile, place.indexOffset);
    const { bytes, at } = log;
    const good = bytes[at] === ID_BYTES;
    const flagged = !good || (indexEntry.flags(bytes, at) & INDEX_DELETED) !== 0;
    fillPlace(place, bytes, at);
    const exists = good && recordFits(log, place);
    if (exists && (place.dataFile > file || (place.dataFile === file && place.dataOffset > offset)))
      return 'known';
    if (exists && place.dataFile === file && place.dataOffset === offset) {
      const torn = place.payloadBytes !== payloadBytes || place.crc !== crc || place.timestamp !== timestamp;
      // A slot without its key was half written; a whole one may be right where the header in the data is damaged.
      if (torn && this.#hasKey(id, place) && !this.#tellsBetter(scanner, place)) return 'known';
      // Flagged by something that is not in the data, or comes next.
      if (flagged && !(this.#complete && scanner.intact())) return 'known';
      if (flagged) records.flag(place, false);
      if (torn || !this.#hasKey(id, place)) this.#rewrite(id, file, place, scanner, copies);
      if (!flagged) records.count(-1, file, place.payloadBytes);
      records.count(1, file, payloadBytes);
      return 'known';
    }
    // No record follows a deletion, so its id is damaged; and where the record that was deleted is lost, the marker may be, too.
    if (flagged && place.dataOffset > 0 && (exists || !this.#complete) && good && this.#hasKey(id, place))
      return 'known';
    if (!scanner.intact() || scanner.suspicious()) return 'damaged';
    if (!good || !this.#hasKey(id, place)) this.#revive(id, place);
    let parent = exists ? copies.offset : 0;
    if (exists && copies.offset > 0 && copies.dead) this.#fillCopy(id, file, place, copies.offset);
    if (exists && copies.atEnd && open) {
      parent = records.indexCopy(scanner.key(), place);
      copies.appended();
    }
    records.point(place, file, offset, payloadBytes, crc, timestamp, parent > 0 ? file : 0, parent);
    if (!flagged && exists) records.count(-1, place.dataFile, place.payloadBytes);
    records.count(1, file, payloadBytes);
    this.repairedSlots++;
    return 'added';
  }

  /** Whether the header of a record rather than its slot tells what it is, when they differ. */
  #tellsBetter(scanner: DataScanner, place: Place): boolean {
    if (scanner.payloadBytes > 0 && scanner.intact()) return true;
    if (scanner.fits(scanner.offset, scanner.key(), place.payloadBytes, place.crc)) return false;
    // A header of zeros describes an empty record.
    return scanner.intact() && scanner.followed();
  }

  /**
   * Whether an id ahead of the index can be right: no checksum covers it, and what lies between is filled in. Every slot of a pair
   * has a record in its data file; what is further ahead has to be confirmed by one of the next records.
   */
  #plausible(id: number, file: number, scanner: DataScanner): boolean {
    const { log, pairs } = this.#loading;
    const first = this.#records.firstIds[file]!;
    if (id === this.#records.nextId) return true;
    if (id - first <= (scanner.offset - DATA_HEADER_BYTES) / RECORD_OVERHEAD_BYTES) return true;
    if (id - this.#records.nextId > AHEAD_MAX) return false;
    const next = new DataScanner(() => log.data.reading(file), 'seq', pairs[file]!.dataEnd);
    next.seek(scanner.nextOffset);
    for (let records = 1; records <= CONFIRMING_MAX && next.next(); records++) {
      const other = get64(next.bytes, next.keyAt);
      if (!next.deleted && other > id && other <= id + records) return true;
    }
    return false;
  }

  #replayDeletion(file: number, scanner: DataScanner): 'known' | 'damaged' {
    const records = this.#records;
    const { log } = this.#loading;
    const place = this.#place;
    const id = get64(scanner.bytes, scanner.keyAt);
    if (!records.locateId(id, place) || !recordFits(log, place)) return 'known';
    if (place.dataFile > file || (place.dataFile === file && place.dataOffset > scanner.offset))
      return 'known';
    if (scanner.suspicious()) return 'damaged';
    records.drop(place);
    return 'known';
  }

  /** Writes the copy that an update makes of the old slot into the slot it used up. */
  #fillCopy(id: number, file: number, place: Place, offset: number): void {
    const { log, flush } = this.#loading;
    flush();
    log.view(place.indexFile, place.indexOffset);
    const slot = new Uint8Array(SLOT_BYTES);
    slot.set(log.bytes.subarray(log.at, log.at + INDEX_ENTRY_BYTES));
    indexEntry.setFlags(slot, 0, INDEX_DELETED);
    indexEntry.setPrevious(slot, 0, previousOf(log, file, offset));
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
    this.repairedSlots++;
  }

  /** Whether a slot carries its id. One of this batch may be the copy of another slot: of a compacted data file, whose index is lost. */
  #hasKey(id: number, place: Place): boolean {
    const { log } = this.#loading;
    if (place.indexOffset >= log.writtenIndexEnd(place.indexFile)) {
      log.readIndex(place.indexFile, place.indexOffset + INDEX_ENTRY_BYTES, this.#key);
      return get64(this.#key, 0) === id;
    }
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
    this.repairedSlots++;
  }

  /** Writes a dead slot over a damaged one, so that it can be pointed at a record. */
  #revive(id: number, place: Place): void {
    const { log, flush } = this.#loading;
    flush();
    const slot = new Uint8Array(SLOT_BYTES);
    putDeadSlot(slot, 0, id, previousOf(log, place.indexFile, place.indexOffset));
    log.indexFile(place.indexFile).write(slot, place.indexOffset);
    log.cache.clear();
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
  /** The index ends before the slot of the copy: it can be appended. */
  atEnd = false;
  /** The entry of the last `take` was an insert with another id, as its slot says: the one in the data is damaged. */
  contradicts = false;
  readonly #log: Log;
  readonly #file: number;
  readonly #slots: number;
  readonly #firstId: number;
  #next = 0;

  constructor(log: Log, records: SeqRecords, file: number) {
    this.#log = log;
    this.#file = file;
    this.#firstId = records.firstIds[file]!;
    this.#slots = (log.writtenIndexEnd(file) - INDEX_HEADER_BYTES) / SLOT_BYTES;
  }

  /** Must be called for every record of the data file, in order. */
  take(id: number, scanner: DataScanner): void {
    this.offset = 0;
    this.dead = false;
    this.atEnd = false;
    this.contradicts = false;
    const slot = id - this.#firstId;
    if (slot === this.#next) {
      // An insert in its place.
      this.#next++;
      return;
    }
    const insert = slot > this.#next;
    if (this.#next >= this.#slots) {
      // Otherwise damage in the data hides how many slots were used up, and an appended one could be that of a later insert.
      if (insert) this.#next = slot + 1;
      else this.atEnd = this.#next >= (this.#log.indexEnds[this.#file]! - INDEX_HEADER_BYTES) / SLOT_BYTES;
      return;
    }
    const frame = this.#log.frameOf(this.#file, this.#next);
    const bytes = this.#log.cache.bytes(frame);
    const at = this.#log.cache.at(frame) + (this.#next % BLOCK_SLOTS) * SLOT_BYTES;
    const dead = bytes[at] !== ID_BYTES || indexEntry.dataOffset(bytes, at) === 0;
    const holds = get64(bytes, at + INDEX_ENTRY_BYTES) === id;
    if (insert && !dead && this.#isOwnSlot(bytes, at, scanner)) {
      this.contradicts = true;
      this.#next++;
      return;
    }
    if (insert) this.#next = slot + 1;
    else {
      this.dead = dead;
      if (dead || holds) this.offset = slotOffset(this.#next++);
    }
  }

  /** Whether the slot to be used up next is that of the insert which the record at the scanner was. */
  #isOwnSlot(bytes: Uint8Array, at: number, scanner: DataScanner): boolean {
    return (
      (indexEntry.flags(bytes, at) & INDEX_DELETED) === 0 &&
      get64(bytes, at + INDEX_ENTRY_BYTES) === this.#firstId + this.#next &&
      indexEntry.dataFile(bytes, at) === this.#file &&
      indexEntry.dataOffset(bytes, at) === scanner.offset &&
      indexEntry.payloadBytes(bytes, at) === scanner.payloadBytes &&
      indexEntry.crc(bytes, at) === scanner.crc
    );
  }

  /** A slot was appended for the entry of the last `take`. */
  appended(): void {
    this.#next++;
  }
}

/** What the `previous` field of the slot at a position says. */
function previousOf(log: Log, file: number, offset: number): number {
  if (offset > slotOffset(0)) return offset - SLOT_BYTES;
  for (let before = file - 1; before >= 0; before--)
    if (log.lastEntries[before]! > 0) return log.lastEntries[before]!;
  return 0;
}
