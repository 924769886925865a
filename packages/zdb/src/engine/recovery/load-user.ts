// Loads and repairs a user-mode namespace. Pair by pair: the index entries go into the key table; where the index may lack something
// (the last pair, a rebuilt index file, a data file that is longer than its index knows), the data file is replayed over it.
//
// Replaying decides by position: a data entry is known when the table points at it or at something newer, or when an index
// entry for it exists. Replaying what is known changes nothing, so it can be repeated (docs/formats/zdb.md, "Recovery").

import { checksum } from '../checksum.ts';
import { DATA_ENTRY_BYTES, DATA_HEADER_BYTES } from '../format/data-format.ts';
import { DataScanner } from '../format/data-scanner.ts';
import { INDEX_DELETED, INDEX_ENTRY_BYTES, INDEX_HEADER_BYTES, indexEntry } from '../format/index-format.ts';
import { TWO_32 } from '../format/little-endian.ts';
import { TABLE_PAYLOAD_MAX } from '../key-table.ts';
import { emptyPlace } from '../place.ts';
import type { UserRecords } from '../user-records.ts';
import { findEnd, type Gap, type VisitIndexed } from './data-end.ts';
import { IndexEntries } from './index-entries.ts';
import type { Loading, PairState } from './loading.ts';
import { REPAIRS_MAX, UserReplay } from './replay-user.ts';
import { cutTail } from './set-aside.ts';

/** Entries whose places in the table are asked for in one go. */
const TOUCHED_TOGETHER = 64;

/** Read of each index file to guess how many live entries it has. */
const SAMPLE_BYTES = 4096;

/** Reads the index into `records` and repairs what the data files know better. */
export function loadUser(loading: Loading, records: UserRecords): void {
  new UserLoader(loading, records).load();
}

class UserLoader {
  readonly #loading: Loading;
  readonly #records: UserRecords;
  readonly #replay: UserReplay;
  readonly #place = emptyPlace();
  /** Where the keys of the next entries are: pairs, see IndexEntries.ahead. */
  readonly #ahead = new Int32Array(2 * TOUCHED_TOGETHER);
  /** Index entries, as file * 2^32 + offset, of the versions before those whose record is gone; and checksums of their keys. */
  readonly #older: number[] = [];
  readonly #olderKeys: number[] = [];
  /** For looking at single records of one data file. */
  #probe: { readonly file: number; readonly scanner: DataScanner } | undefined;
  /** Index entries of the active pair that describe a record better than its header does; where the first of them is. */
  #mismatches = 0;
  #firstMismatch = '';
  #superseded = 0;
  #gone = 0;
  #restored = 0;
  /** From this pair on everything is replayed. */
  #replayFrom = Number.POSITIVE_INFINITY;

  constructor(loading: Loading, records: UserRecords) {
    this.#loading = loading;
    this.#records = records;
    this.#replay = new UserReplay(loading, records);
  }

  load(): void {
    const { log, pairs, repaired, warn } = this.#loading;
    this.#reserve();
    let previousIndex = 0;
    for (const pair of pairs) {
      const active = this.#loading.lastIsActive && pair === pairs[pairs.length - 1];
      const gaps = active ? findEnd(this.#loading, pair, (visit) => this.#indexed(pair, visit)) : [];
      if (pair.rebuild) this.#replayFrom = Math.min(this.#replayFrom, pair.file);
      if (active) this.#checkActiveIndex(pair, gaps);
      const loaded = this.#readIndex(pair, active);
      log.previousIndex = log.lastEntries[pair.file]! || previousIndex;
      if (active || pair.file >= this.#replayFrom || this.#tailUnknown(pair, loaded.coveredEnd))
        this.#replay.run(pair, active, loaded.monotonic, gaps, loaded.coveredEnd);
      previousIndex = log.previousIndex;
      this.#loading.flush();
    }
    this.#restoreDangling();
    this.#records.table.fit();
    for (const [count, what] of [
      [this.#superseded, 'superseded index entries were not flagged; flagged'],
      [this.#gone, 'index entries name records that are gone; flagged'],
      [this.#restored, 'keys lost their newest record; the one before it counts again'],
    ] as const)
      if (count > 0) repaired(`${count} ${what}`);
    if (this.#mismatches > 0)
      warn(
        `records that are not what the index says, and cannot be read: ${this.#mismatches}, the first: ${this.#firstMismatch}`,
      );
  }

  /**
   * Index entries have no checksum, but those of the active pair can be compared with the data. The first that does not match is
   * where the index ends: all behind it is made anew from the data.
   */
  #checkActiveIndex(pair: PairState, gaps: readonly Gap[]): void {
    const { log } = this.#loading;
    const scanner = new DataScanner(() => log.data.reading(pair.file), 'user', pair.dataEnd);
    let gap = 0;
    let last = 0;
    const entries = new IndexEntries(log.index, pair.file, pair.indexSize);
    while (entries.next()) {
      const { dataOffset, offset, bytes, at } = entries;
      if (dataOffset <= last) return; // Written over a lost data file: such entries are told apart when replaying.
      last = dataOffset;
      while (gap < gaps.length && dataOffset >= gaps[gap]!.end) scanner.seek(gaps[gap++]!.end);
      if (gap < gaps.length && dataOffset >= gaps[gap]!.start) continue;
      let found = scanner.next();
      while (found && scanner.offset < dataOffset) found = scanner.next();
      if (!found || scanner.offset > dataOffset) {
        // A damaged header of an entry that the index does not know leads over this one.
        scanner.seek(dataOffset);
        found = scanner.next();
      }
      const matches =
        found &&
        scanner.offset === dataOffset &&
        scanner.payloadBytes === indexEntry.payloadBytes(bytes, at) &&
        scanner.crc === indexEntry.crc(bytes, at) &&
        scanner.timestamp === indexEntry.timestamp(bytes, at) &&
        !scanner.deleted &&
        entries.hasKey(scanner.bytes, scanner.keyAt, scanner.keyBytes);
      if (matches) continue;
      if (this.#describesBetter(scanner, found, entries)) {
        // The header of the record is damaged, not the index: reading the record is an error.
        if (this.#mismatches++ === 0) this.#firstMismatch = `${log.data.path(pair.file)} at ${dataOffset}`;
        scanner.seek(dataOffset + DATA_ENTRY_BYTES + entries.keyBytes + indexEntry.payloadBytes(bytes, at));
        continue;
      }
      if (dataOffset < pair.dataEnd) this.#cutIndex(pair, offset, 'entries that do not match the data');
      return;
    }
  }

  /** Whether an index entry rather than the header in the data file tells what the record is, when they differ. */
  #describesBetter(scanner: DataScanner, found: boolean, entries: IndexEntries): boolean {
    const { bytes, at, dataOffset, keyAt, keyBytes } = entries;
    const key = bytes.subarray(keyAt, keyAt + keyBytes);
    if (scanner.fits(dataOffset, key, indexEntry.payloadBytes(bytes, at), indexEntry.crc(bytes, at)))
      return true;
    // One of two keys is damaged, and nothing tells which.
    const sameButKey =
      scanner.payloadBytes === indexEntry.payloadBytes(bytes, at) &&
      scanner.crc === indexEntry.crc(bytes, at) &&
      scanner.timestamp === indexEntry.timestamp(bytes, at) &&
      scanner.keyBytes === keyBytes &&
      !entries.hasTornKey(scanner.bytes, scanner.keyAt, scanner.keyBytes);
    // Both may be damaged: a header of zeros describes an empty record.
    return (
      found &&
      !scanner.deleted &&
      (sameButKey ||
        (scanner.payloadBytes === 0 &&
          indexEntry.payloadBytes(bytes, at) > 0 &&
          entries.hasKey(scanner.bytes, scanner.keyAt, scanner.keyBytes) &&
          !scanner.followed()))
    );
  }

  /** Entries of the index file, for finding the way past damage in the data. */
  #indexed(pair: PairState, visit: VisitIndexed): void {
    const entries = new IndexEntries(this.#loading.log.index, pair.file, pair.indexSize);
    while (entries.next()) visit(entries.dataOffset, entries.bytes, entries.keyAt, entries.keyBytes);
  }

  /** Room for about as many keys as the index files hold, judged by their sizes and how many of their first entries are live. */
  #reserve(): void {
    const { pairs, log } = this.#loading;
    const sample = new Uint8Array(SAMPLE_BYTES);
    let keys = 0;
    for (const pair of pairs) {
      const size = pair.indexSize - INDEX_HEADER_BYTES;
      if (size <= 0) continue;
      const got = log.indexFile(pair.file).read(sample, INDEX_HEADER_BYTES);
      let at = 0;
      let live = 0;
      for (; at + INDEX_ENTRY_BYTES <= got; at += INDEX_ENTRY_BYTES + sample[at]!)
        if ((indexEntry.flags(sample, at) & INDEX_DELETED) === 0) live++;
      if (at > 0) keys += Math.floor((size / at) * live);
    }
    this.#records.table.reserve(keys);
  }

  /** Reads one index file into the table. */
  #readIndex(pair: PairState, active: boolean): { coveredEnd: number; monotonic: boolean } {
    const { log } = this.#loading;
    const records = this.#records;
    const { file } = pair;
    log.openPair(file, pair.dataEnd, pair.indexSize);
    const entries = new IndexEntries(log.index, file, pair.indexSize);
    const buffer = entries.bytes;
    const dataEnd = pair.dataEnd < 0 ? Number.POSITIVE_INFINITY : pair.dataEnd;
    let last = 0;
    let coveredEnd = DATA_HEADER_BYTES;
    let monotonic = true;
    let lastOffset = 0;
    /** Where the run of dangling entries at the end begins; 0: the last entry is none. */
    let danglingRun = 0;
    let lastBeforeRun = 0;
    let danglingEntries = 0;
    /** Entries whose memory in the table was asked for already. */
    let touched = 0;
    while (entries.next()) {
      if (touched-- === 0) touched = this.#touch(entries) - 1;
      const { at, offset, keyBytes } = entries;
      const payloadBytes = indexEntry.payloadBytes(buffer, at);
      const dataOffset = indexEntry.dataOffset(buffer, at);
      const entryEnd = dataOffset + DATA_ENTRY_BYTES + keyBytes + payloadBytes;
      const flags = indexEntry.flags(buffer, at);
      if (payloadBytes > TABLE_PAYLOAD_MAX || dataOffset < DATA_HEADER_BYTES || flags > 3) break;
      records.tally.written++;
      if (entryEnd > dataEnd) {
        if (danglingRun === 0) {
          danglingRun = offset;
          lastBeforeRun = last;
          danglingEntries = 0;
        }
        danglingEntries++;
        this.#noteDangling(buffer, at, file, offset, flags, danglingRun);
      } else {
        danglingRun = 0;
        if (entryEnd > coveredEnd) coveredEnd = entryEnd;
        if (dataOffset <= lastOffset) monotonic = false;
        lastOffset = dataOffset;
        if ((flags & INDEX_DELETED) === 0) this.#readLive(buffer, at, file, offset);
      }
      last = offset;
    }
    log.counters.indexRead(entries.readBytes);
    let end = entries.offset;
    if (active && danglingRun > 0) {
      // The records are gone; the entries at the end go too, so that the next ones stand in the order of the data.
      records.tally.written -= danglingEntries;
      end = danglingRun;
      last = lastBeforeRun;
    }
    this.#loading.flush();
    if (end < pair.indexSize)
      this.#cutIndex(
        pair,
        end,
        danglingRun > 0 && active ? 'entries whose records are gone' : 'no whole entry',
      );
    log.lastEntries[file] = last;
    log.openPair(file, pair.dataEnd, end);
    return { coveredEnd, monotonic };
  }

  /**
   * Nearly all the time of loading goes into waiting for memory: the processor waits for many places of the table at once. @returns for how
   * many entries, this one included
   */
  #touch(entries: IndexEntries): number {
    const count = entries.ahead(this.#ahead);
    this.#records.table.fetch(entries.bytes, this.#ahead, count);
    return count;
  }

  #readLive(buffer: Uint8Array, at: number, file: number, offset: number): void {
    const records = this.#records;
    const keyAt = at + INDEX_ENTRY_BYTES;
    const keyBytes = buffer[at]!;
    const { table } = records;
    const entry = table.find(buffer, keyAt, keyBytes);
    if (entry >= 0) {
      // Two live entries of one key: the flag of the older one was lost, or waited for the newer record, which may be lost itself.
      if (!this.#recordIntact(buffer, at, file)) {
        records.flag(file, offset, indexEntry.dataOffset(buffer, at), true);
        this.#gone++;
        this.#relieve();
        return;
      }
      records.flag(table.file(entry), table.indexOffset(entry), table.dataOffset(entry), true);
      this.#superseded++;
      this.#relieve();
    }
    records.putFound(
      entry,
      keyBytes,
      file,
      offset,
      indexEntry.dataOffset(buffer, at),
      indexEntry.payloadBytes(buffer, at),
      indexEntry.crc(buffer, at),
      indexEntry.timestamp(buffer, at),
    );
  }

  /** Whether the record that an index entry names is there, whole and intact; what is not on this machine counts as intact. */
  #recordIntact(buffer: Uint8Array, at: number, file: number): boolean {
    const { log, pairs } = this.#loading;
    const pair = pairs[file]!;
    if (!pair.readable) return true;
    if (this.#probe?.file !== file)
      this.#probe = { file, scanner: new DataScanner(() => log.data.reading(file), 'user', pair.dataEnd) };
    const { scanner } = this.#probe;
    scanner.seek(indexEntry.dataOffset(buffer, at));
    if (!scanner.next() || scanner.deleted || scanner.crc !== indexEntry.crc(buffer, at)) return false;
    const keyAt = at + INDEX_ENTRY_BYTES;
    const key = buffer.subarray(keyAt, keyAt + buffer[at]!);
    return Buffer.compare(scanner.key(), key) === 0 && scanner.intact();
  }

  /** Writes repairs when many are pending. */
  #relieve(): void {
    if (this.#loading.log.current.changes.size >= REPAIRS_MAX) this.#loading.flush();
  }

  /** @param runStart where the run of entries without records begins that this one belongs to */
  #noteDangling(
    buffer: Uint8Array,
    at: number,
    file: number,
    offset: number,
    flags: number,
    runStart: number,
  ): void {
    const parentFile = indexEntry.parentFile(buffer, at);
    const parentOffset = indexEntry.parentOffset(buffer, at);
    // A version before it of the same run is gone too.
    if (parentOffset >= INDEX_HEADER_BYTES && (parentFile !== file || parentOffset < runStart)) {
      const keyAt = at + INDEX_ENTRY_BYTES;
      this.#older.push(parentFile * TWO_32 + parentOffset);
      this.#olderKeys.push(checksum(buffer.subarray(keyAt, keyAt + buffer[at]!)));
    }
    if ((flags & INDEX_DELETED) === 0 && file < this.#loading.pairs.length - 1) {
      this.#records.flag(file, offset, indexEntry.dataOffset(buffer, at), true);
      this.#gone++;
      this.#relieve();
    }
  }

  #cutIndex(pair: PairState, end: number, why: string): void {
    const { log, nowSeconds } = this.#loading;
    const path = log.index.path(pair.file);
    const size = pair.indexSize;
    const copy = cutTail(log.surroundings.disk, path, end, nowSeconds);
    pair.indexSize = end;
    this.#loading.repaired(`${path}: ${size - end} bytes at ${end} are ${why}; cut off, kept as ${copy}`);
    // What stood there comes from the data.
    this.#replayFrom = Math.min(this.#replayFrom, pair.file);
  }

  /** Whether the data file goes on behind what the index knows of it, with more than deletions that took effect. */
  #tailUnknown(pair: PairState, coveredEnd: number): boolean {
    const { log, warn } = this.#loading;
    if (pair.dataEnd < 0 || pair.dataEnd <= coveredEnd) return false;
    const { presence } = log.surroundings;
    if (presence && !presence.has(log.name, pair.file, coveredEnd, pair.dataEnd - coveredEnd)) return false;
    const scanner = new DataScanner(() => log.data.reading(pair.file), 'user', pair.dataEnd);
    scanner.seek(coveredEnd);
    while (scanner.next()) {
      if (!scanner.deleted && scanner.intact()) {
        this.#replayFrom = Math.min(this.#replayFrom, pair.file);
        return true;
      }
      if (scanner.deleted) this.#replay.deletion(pair.file, scanner);
    }
    if (scanner.nextOffset < pair.dataEnd)
      warn(`${log.data.path(pair.file)}: no whole entry at ${scanner.nextOffset}; left as it is`);
    return false;
  }

  /** A key whose newest record is gone gets back the one before it, if nothing newer of it is live. */
  #restoreDangling(): void {
    const { log } = this.#loading;
    const place = this.#place;
    for (let lost = this.#older.length - 1; lost >= 0; lost--) {
      const position = this.#older[lost]!;
      const parentFile = Math.floor(position / TWO_32);
      const parentOffset = position % TWO_32;
      const end = log.indexEnds[parentFile];
      if (end === undefined || parentOffset + INDEX_ENTRY_BYTES > end) continue;
      const fixed = new Uint8Array(INDEX_ENTRY_BYTES);
      log.readIndex(parentFile, parentOffset, fixed);
      const entry = new Uint8Array(INDEX_ENTRY_BYTES + fixed[0]!);
      if (parentOffset + entry.length > end) continue;
      log.readIndex(parentFile, parentOffset, entry);
      const key = entry.subarray(INDEX_ENTRY_BYTES);
      if (key.length === 0 || checksum(key) !== this.#olderKeys[lost] || this.#records.locate(key, place))
        continue;
      const dataEnd = log.dataEnds[parentFile]!;
      const dataOffset = indexEntry.dataOffset(entry, 0);
      const payloadBytes = indexEntry.payloadBytes(entry, 0);
      if (dataEnd >= 0 && dataOffset + DATA_ENTRY_BYTES + key.length + payloadBytes > dataEnd) continue;
      this.#records.flag(parentFile, parentOffset, dataOffset, false);
      this.#records.put(
        key,
        0,
        key.length,
        parentFile,
        parentOffset,
        dataOffset,
        payloadBytes,
        indexEntry.crc(entry, 0),
        indexEntry.timestamp(entry, 0),
      );
      this.#restored++;
      this.#relieve();
    }
  }
}
