// Index slots as bytes in files, for loading: reading them in large pieces, finding out how many were lost, and dead slots, which hold
// the place of an id whose record is gone.
import type { DiskFile } from '@qsfs/io';
import type { Counters } from '../counters.ts';
import { DATA_ENTRY_BYTES, DATA_HEADER_BYTES, dataEntry } from '../format/data-format.ts';
import {
  ID_BYTES,
  INDEX_DELETED,
  INDEX_ENTRY_BYTES,
  INDEX_HEADER_BYTES,
  indexEntry,
  putIndexEntry,
  SLOT_BYTES,
  slotOffset,
} from '../format/index-format.ts';
import { get64, put64 } from '../format/little-endian.ts';
import type { Log } from '../log/log.ts';
import type { Place } from '../place.ts';
import type { PairState } from './loading.ts';

/** Slots read or written at once. */
export const CHUNK_SLOTS = 16_384;
/** Header and key of a sequential record. */
export const RECORD_OVERHEAD_BYTES = DATA_ENTRY_BYTES + ID_BYTES;
/** Slots lost from an index file that are filled in at most; more is taken for garbage. */
const LOST_SLOTS_MAX = 2 ** 31;

/** Whole slots of an index file. */
export function slotsOf(pair: PairState): number {
  return Math.floor((pair.indexSize - INDEX_HEADER_BYTES) / SLOT_BYTES);
}

/** Copies what a slot says of its record. */
export function fillPlace(place: Place, bytes: Uint8Array, at: number): void {
  place.keyBytes = ID_BYTES;
  place.dataFile = indexEntry.dataFile(bytes, at);
  place.dataOffset = indexEntry.dataOffset(bytes, at);
  place.payloadBytes = indexEntry.payloadBytes(bytes, at);
  place.crc = indexEntry.crc(bytes, at);
  place.timestamp = indexEntry.timestamp(bytes, at);
}

/** Whether the record a slot points at can exist: it ends within its data file, as far as that is known. */
export function recordFits(log: Log, place: Place): boolean {
  const end = log.dataEnds[place.dataFile];
  if (end === undefined || place.dataOffset < DATA_HEADER_BYTES) return false;
  return end < 0 || place.dataOffset + RECORD_OVERHEAD_BYTES + place.payloadBytes <= end;
}

/** A slot that belongs to an id and holds nothing. @param previous offset of the slot before it */
export function putDeadSlot(bytes: Uint8Array, at: number, id: number, previous: number): void {
  putIndexEntry(bytes, at, ID_BYTES, 0, 0, previous, INDEX_DELETED, 0, 0, 0, 0, 0);
  put64(bytes, at + INDEX_ENTRY_BYTES, id);
}

/** The slots of an index file in large pieces: bytes and number of slots. The memory is used again. */
export function* slotChunks(
  file: DiskFile,
  slots: number,
  counters: Counters,
): Generator<[Uint8Array, number]> {
  const buffer = new Uint8Array(Math.min(CHUNK_SLOTS, slots) * SLOT_BYTES);
  for (let slot = 0; slot < slots; ) {
    const wanted = Math.min(CHUNK_SLOTS, slots - slot);
    const got = file.read(buffer.subarray(0, wanted * SLOT_BYTES), slotOffset(slot));
    counters.indexRead(got);
    const count = Math.floor(got / SLOT_BYTES);
    if (count === 0) return;
    yield [buffer, count];
    slot += count;
  }
}

/**
 * How many slots the files before an index file lost. Its own slots tell: a slot of an insert carries its own id, a copy carries a
 * smaller one; and `previous` of the first slot is the position of the last slot before it.
 * @param expected id of the first slot when nothing is lost
 * @param before slots of the file before it that is not empty
 * @param room records that the data files of the files before it could have without a slot
 */
export function lostBefore(
  log: Log,
  pair: PairState,
  expected: number,
  before: number,
  room: number,
): number {
  for (const [bytes, count] of slotChunks(log.indexFile(pair.file), slotsOf(pair), log.counters)) {
    const live = new Map<number, number>();
    const flagged = new Map<number, number>();
    for (let slot = 0; slot < count && live.size <= 16; slot++) {
      const at = slot * SLOT_BYTES;
      if (bytes[at] !== ID_BYTES) continue;
      const shift = get64(bytes, at + INDEX_ENTRY_BYTES) - (expected + slot);
      if (shift > LOST_SLOTS_MAX) continue;
      const told = (indexEntry.flags(bytes, at) & INDEX_DELETED) === 0 ? live : flagged;
      told.set(shift, (told.get(shift) ?? 0) + 1);
    }
    const previous = indexEntry.previous(bytes, 0);
    const slots = (previous - INDEX_HEADER_BYTES) / SLOT_BYTES + 1;
    const byPrevious =
      bytes[0] === ID_BYTES && Number.isInteger(slots) && slots > before ? slots - before : 0;
    // One damaged id would have millions of slots filled in.
    const credible = (shift: number, votes: number): boolean =>
      votes > 1 || shift <= Math.max(0, room) || shift === byPrevious;
    let best: number | undefined;
    for (const [shift, votes] of live) if (best === undefined || votes > live.get(best)!) best = shift;
    if (best !== undefined) {
      const believed = credible(best, live.get(best)!) && recordsAgree(log, bytes, count, expected, best);
      return believed ? Math.max(0, best) : 0;
    }
    let largest = Number.NEGATIVE_INFINITY;
    for (const [shift, votes] of flagged) if (credible(shift, votes)) largest = Math.max(largest, shift);
    // Copies only: they do not know where they stand.
    return largest >= 0 ? largest : byPrevious;
  }
  return 0;
}

/** Whether the records of live slots carry the ids that say so many slots are lost, as far as they are on this machine. */
function recordsAgree(log: Log, bytes: Uint8Array, count: number, expected: number, shift: number): boolean {
  if (shift <= 0) return true;
  const record = new Uint8Array(RECORD_OVERHEAD_BYTES);
  for (let slot = 0; slot < count; slot++) {
    const at = slot * SLOT_BYTES;
    const id = get64(bytes, at + INDEX_ENTRY_BYTES);
    const live = bytes[at] === ID_BYTES && (indexEntry.flags(bytes, at) & INDEX_DELETED) === 0;
    if (!live || id - (expected + slot) !== shift) continue;
    const file = indexEntry.dataFile(bytes, at);
    const start = indexEntry.dataOffset(bytes, at);
    const { disk, presence } = log.surroundings;
    if (presence && !presence.has(log.name, file, start, record.length)) return true;
    const status = disk.stat(log.data.path(file));
    if (status === undefined) return true;
    if (start + record.length > status.sizeBytes) continue;
    log.data.reading(file).read(record, start);
    // What is lost or was half written says nothing.
    const whole =
      dataEntry.keyBytes(record, 0) === ID_BYTES &&
      dataEntry.payloadBytes(record, 0) === indexEntry.payloadBytes(bytes, at) &&
      dataEntry.crc(record, 0) === indexEntry.crc(bytes, at);
    if (whole) return get64(record, DATA_ENTRY_BYTES) === id;
  }
  return true;
}
