// Walking a namespace in index order and against it (SCAN, RSCAN), walk cursors, and history (docs/formats/zdb.md, "Cursors").
import {
  encodeHistoryCursor,
  encodeScanCursor,
  HISTORY_CURSOR_BYTES,
  INDEX_HEADER_BYTES,
  indexEntry,
  SCAN_CURSOR_BYTES,
  SLOT_BYTES,
  scanCursor,
} from './format/index-format.ts';
import { get32 } from './format/little-endian.ts';
import { IndexWindow } from './log/index-window.ts';
import type { Log } from './log/log.ts';
import type { Place } from './place.ts';
import { type ScanBatch, type ScanLimits, type ScannedEntry, StoreError } from './types.ts';

const DEFAULT_TIME_MS = 2;
/** The clock is looked at once in so many entries. */
const CLOCK_EVERY = 32;

/** Next part of a walk; undefined: the end. @throws StoreError('bad-cursor') */
export function scan(
  log: Log,
  direction: 'forward' | 'backward',
  cursor: Uint8Array | undefined,
  limits: ScanLimits,
): ScanBatch | undefined {
  const { clock } = log.surroundings;
  const started = clock.monotonicMs();
  const timeMs = limits.timeMs ?? DEFAULT_TIME_MS;
  const maximum = limits.entries ?? Number.POSITIVE_INFINITY;
  const window = new IndexWindow(log);
  const walker = new Walker(log, window, direction, cursor);
  const entries: ScannedEntry[] = [];
  /** Of the last entry. */
  let [keyBytes, payloadBytes, crc, file, offset] = [0, 0, 0, 0, 0];
  for (let seen = 1; entries.length < maximum && walker.next(); seen++) {
    const { bytes, at } = window;
    if (window.live) {
      keyBytes = indexEntry.keyBytes(bytes, at);
      payloadBytes = indexEntry.payloadBytes(bytes, at);
      crc = indexEntry.crc(bytes, at);
      ({ file, offset } = walker);
      entries.push({
        key: window.key(),
        lengthBytes: payloadBytes,
        timestamp: indexEntry.timestamp(bytes, at),
      });
    }
    if (seen % CLOCK_EVERY === 0 && entries.length > 0 && clock.monotonicMs() - started >= timeMs) break;
  }
  if (entries.length === 0) return undefined;
  return { entries, cursor: encodeScanCursor(keyBytes, file, payloadBytes, offset, crc) };
}

/** Cursor of the entry at `place`. */
export function cursorAt(place: Place): Uint8Array {
  return encodeScanCursor(place.keyBytes, place.indexFile, place.payloadBytes, place.indexOffset, place.crc);
}

/** Steps over index entries, deleted ones included. */
class Walker {
  file = 0;
  offset = 0;
  readonly #log: Log;
  readonly #window: IndexWindow;
  readonly #forward: boolean;
  #started = false;

  constructor(
    log: Log,
    window: IndexWindow,
    direction: 'forward' | 'backward',
    cursor: Uint8Array | undefined,
  ) {
    this.#log = log;
    this.#window = window;
    this.#forward = direction === 'forward';
    if (cursor) this.#resume(cursor);
  }

  /** Moves the window to the next entry; false at the end. */
  next(): boolean {
    if (this.#forward) {
      if (this.#started) this.offset += this.#window.entryBytes;
      else this.offset = INDEX_HEADER_BYTES;
      this.#started = true;
      while (!this.#window.seek(this.file, this.offset)) {
        if (this.file >= this.#log.active) return false;
        this.file++;
        this.offset = INDEX_HEADER_BYTES;
      }
      return true;
    }
    let before = this.#started ? predecessor(this.#log, this.#window, this.file, this.offset) : 0;
    if (!this.#started) this.file = this.#log.active + 1;
    this.#started = true;
    while (before === 0) {
      if (this.file === 0) return false;
      this.file--;
      before = this.#log.lastEntries[this.file]!;
    }
    this.offset = before;
    return this.#window.seek(this.file, this.offset, true);
  }

  /** Moves to the entry a cursor names, so that `next` goes on behind (before) it. */
  #resume(cursor: Uint8Array): void {
    this.file = scanCursor.file(cursor);
    this.offset = scanCursor.offset(cursor);
    const window = this.#window;
    if (
      cursor.length !== SCAN_CURSOR_BYTES ||
      (this.#log.mode === 'seq' && (this.offset - INDEX_HEADER_BYTES) % SLOT_BYTES !== 0) ||
      !window.seek(this.file, this.offset, !this.#forward) ||
      indexEntry.keyBytes(window.bytes, window.at) !== scanCursor.keyBytes(cursor) ||
      indexEntry.payloadBytes(window.bytes, window.at) !== scanCursor.payloadBytes(cursor) ||
      indexEntry.crc(window.bytes, window.at) !== scanCursor.crc(cursor)
    )
      throw new StoreError('bad-cursor', 'the cursor names no entry of this namespace');
    this.#started = true;
  }
}

/** Offset of the entry before the one at `offset` in the same file; 0: it is the first. */
function predecessor(log: Log, window: IndexWindow, file: number, offset: number): number {
  if (offset <= INDEX_HEADER_BYTES) return 0;
  if (log.mode === 'seq') return offset - SLOT_BYTES;
  if (!window.seek(file, offset, true)) return 0;
  const previous = indexEntry.previous(window.bytes, window.at);
  if (previous >= INDEX_HEADER_BYTES && previous < offset) {
    if (window.seek(file, previous, true) && previous + window.entryBytes === offset) return previous;
  }
  // The chain is broken (written by a damaged store): look from the start of the file.
  let before = 0;
  for (let at = INDEX_HEADER_BYTES; at < offset && window.seek(file, at); at += window.entryBytes)
    before = at;
  return before;
}

/** An entry of the history of a key. */
export interface HistoryPosition {
  readonly place: Place;
  readonly older: Uint8Array | undefined;
}

/**
 * Finds the version that a history cursor names.
 * @throws StoreError as `Namespace.history` says
 */
export function historyAt(log: Log, key: Uint8Array, cursor: Uint8Array): HistoryPosition {
  if (cursor.length !== HISTORY_CURSOR_BYTES)
    throw new StoreError('bad-cursor', `a history cursor has ${HISTORY_CURSOR_BYTES} bytes`);
  const file = get32(cursor, 0);
  const offset = get32(cursor, 4);
  if (file === 0 && offset === 0) throw new StoreError('no-more-data', 'there is no older version');
  return versionAt(log, key, file, offset);
}

/** The version of `key` whose index entry is at a position. */
export function versionAt(log: Log, key: Uint8Array, file: number, offset: number): HistoryPosition {
  const window = new IndexWindow(log, 0);
  const aligned = log.mode === 'user' || (offset - INDEX_HEADER_BYTES) % SLOT_BYTES === 0;
  if (!aligned || !window.seek(file, offset))
    throw new StoreError('cursor-entry', 'the cursor names no entry of this namespace');
  if (key.length === 0 || Buffer.compare(window.key(), key) !== 0)
    throw new StoreError('cursor-key', 'the cursor names an entry of another key');
  const { bytes, at } = window;
  const parentFile = indexEntry.parentFile(bytes, at);
  const parentOffset = indexEntry.parentOffset(bytes, at);
  return {
    place: {
      indexFile: file,
      indexOffset: offset,
      dataFile: log.mode === 'seq' ? indexEntry.dataFile(bytes, at) : file,
      dataOffset: indexEntry.dataOffset(bytes, at),
      keyBytes: key.length,
      payloadBytes: indexEntry.payloadBytes(bytes, at),
      crc: indexEntry.crc(bytes, at),
      timestamp: indexEntry.timestamp(bytes, at),
    },
    older: parentFile === 0 && parentOffset === 0 ? undefined : encodeHistoryCursor(parentFile, parentOffset),
  };
}
