// Index files: header and entries, exactly as docs/formats/zdb.md ("Index file") has them. Nothing else reads or writes these bytes.

import type { NamespaceMode } from '../types.ts';
import { get32, put32 } from './little-endian.ts';

/** Length of the file header. */
export const INDEX_HEADER_BYTES = 29;
/** Fixed part of an entry; the key follows. */
export const INDEX_ENTRY_BYTES = 34;
/** Whole entry of a sequential namespace: the key is an 8-byte id. */
export const SLOT_BYTES = INDEX_ENTRY_BYTES + 8;
/** Bytes of a sequential key. */
export const ID_BYTES = 8;
/** Entry flag: deleted or superseded. */
export const INDEX_DELETED = 1;

/** Position of the flags in an entry: the only field that changes in place in user mode. */
export const INDEX_FLAGS_AT = 13;

const MAGIC = 0x30584449; // "IDX0"
const VERSION = 4;
/** No program will ever write a later one: the header is damaged. */
const LAST_VERSION = 1000;

/** Header of an index file. */
export function encodeIndexHeader(file: number, mode: NamespaceMode): Uint8Array {
  const header = new Uint8Array(INDEX_HEADER_BYTES);
  put32(header, 0, MAGIC);
  put32(header, 4, VERSION);
  put32(header, 24, file);
  header[28] = mode === 'seq' ? 1 : 0;
  return header;
}

/** What the first bytes of an index file say. */
export type IndexHeader =
  | { readonly kind: 'good'; readonly mode: NamespaceMode | undefined; readonly file: number }
  | { readonly kind: 'short' }
  | { readonly kind: 'blank' }
  | { readonly kind: 'foreign' }
  | { readonly kind: 'other-version'; readonly version: number };

/** Judges a file header; a mode byte other than 0 and 1 is no mode. A blank one (zeros) was lost with the power. */
export function decodeIndexHeader(bytes: Uint8Array): IndexHeader {
  if (bytes.length < INDEX_HEADER_BYTES) return { kind: 'short' };
  if (bytes.subarray(0, INDEX_HEADER_BYTES).every((byte) => byte === 0)) return { kind: 'blank' };
  if (get32(bytes, 0) !== MAGIC) return { kind: 'foreign' };
  const version = get32(bytes, 4);
  if (version > LAST_VERSION) return { kind: 'foreign' };
  if (version !== VERSION) return { kind: 'other-version', version };
  const mode = bytes[28] === 0 ? 'user' : bytes[28] === 1 ? 'seq' : undefined;
  return { kind: 'good', mode, file: get32(bytes, 24) };
}

/** Writes the fixed part of an entry. All numbers unsigned 32 bit; `keyBytes` 1 … 255. */
export function putIndexEntry(
  target: Uint8Array,
  at: number,
  keyBytes: number,
  dataOffset: number,
  payloadBytes: number,
  previous: number,
  flags: number,
  dataFile: number,
  timestamp: number,
  crc: number,
  parentFile: number,
  parentOffset: number,
): void {
  target[at] = keyBytes;
  put32(target, at + 1, dataOffset);
  put32(target, at + 5, payloadBytes);
  put32(target, at + 9, previous);
  target[at + 13] = flags;
  put32(target, at + 14, dataFile);
  put32(target, at + 18, timestamp);
  put32(target, at + 22, crc);
  put32(target, at + 26, parentFile);
  put32(target, at + 30, parentOffset);
}

/** Points an entry at another record, as an update of a sequential id does: key length and `previous` stay. */
export function repointIndexEntry(
  target: Uint8Array,
  at: number,
  dataOffset: number,
  payloadBytes: number,
  flags: number,
  dataFile: number,
  timestamp: number,
  crc: number,
  parentFile: number,
  parentOffset: number,
): void {
  put32(target, at + 1, dataOffset);
  put32(target, at + 5, payloadBytes);
  target[at + 13] = flags;
  put32(target, at + 14, dataFile);
  put32(target, at + 18, timestamp);
  put32(target, at + 22, crc);
  put32(target, at + 26, parentFile);
  put32(target, at + 30, parentOffset);
}

/** Fields of the entry whose fixed part stands at `at`. */
export const indexEntry = {
  keyBytes: (bytes: Uint8Array, at: number): number => bytes[at]!,
  dataOffset: (bytes: Uint8Array, at: number): number => get32(bytes, at + 1),
  payloadBytes: (bytes: Uint8Array, at: number): number => get32(bytes, at + 5),
  previous: (bytes: Uint8Array, at: number): number => get32(bytes, at + 9),
  flags: (bytes: Uint8Array, at: number): number => bytes[at + 13]!,
  dataFile: (bytes: Uint8Array, at: number): number => get32(bytes, at + 14),
  timestamp: (bytes: Uint8Array, at: number): number => get32(bytes, at + 18),
  crc: (bytes: Uint8Array, at: number): number => get32(bytes, at + 22),
  parentFile: (bytes: Uint8Array, at: number): number => get32(bytes, at + 26),
  parentOffset: (bytes: Uint8Array, at: number): number => get32(bytes, at + 30),
  setPrevious: (bytes: Uint8Array, at: number, value: number): void => put32(bytes, at + 9, value),
  setParent: (bytes: Uint8Array, at: number, file: number, offset: number): void => {
    put32(bytes, at + 26, file);
    put32(bytes, at + 30, offset);
  },
  setFlags: (bytes: Uint8Array, at: number, value: number): void => {
    bytes[at + 13] = value;
  },
} as const;

/** Byte position of a slot in its index file. */
export function slotOffset(slot: number): number {
  return INDEX_HEADER_BYTES + slot * SLOT_BYTES;
}

/** Bytes of a walk cursor (KEYCUR, SCAN). */
export const SCAN_CURSOR_BYTES = 17;
/** Bytes of a history cursor. */
export const HISTORY_CURSOR_BYTES = 8;

/** Cursor of an entry for walks (docs/formats/zdb.md, "Cursors"). */
export function encodeScanCursor(
  keyBytes: number,
  file: number,
  payloadBytes: number,
  offset: number,
  crc: number,
): Uint8Array {
  const cursor = new Uint8Array(SCAN_CURSOR_BYTES);
  cursor[0] = keyBytes;
  put32(cursor, 1, file);
  put32(cursor, 5, payloadBytes);
  put32(cursor, 9, offset);
  put32(cursor, 13, crc);
  return cursor;
}

/** Fields of a walk cursor. */
export const scanCursor = {
  keyBytes: (cursor: Uint8Array): number => cursor[0]!,
  file: (cursor: Uint8Array): number => get32(cursor, 1),
  payloadBytes: (cursor: Uint8Array): number => get32(cursor, 5),
  offset: (cursor: Uint8Array): number => get32(cursor, 9),
  crc: (cursor: Uint8Array): number => get32(cursor, 13),
} as const;

/** Cursor of an older version: the parent fields of the entry just answered. */
export function encodeHistoryCursor(file: number, offset: number): Uint8Array {
  const cursor = new Uint8Array(HISTORY_CURSOR_BYTES);
  put32(cursor, 0, file);
  put32(cursor, 4, offset);
  return cursor;
}
