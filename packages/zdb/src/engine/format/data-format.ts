// Data files: header and entries, exactly as docs/formats/zdb.md ("Data file") has them. Nothing else reads or writes these bytes.
import { get32, put32 } from './little-endian.ts';

/** Length of the file header. */
export const DATA_HEADER_BYTES = 28;
/** Fixed part of an entry; key and payload follow. */
export const DATA_ENTRY_BYTES = 18;
/** Entry flag: a deletion marker. */
export const DATA_DELETED = 1;
/** Entry flag: the payload was dropped by an offline compaction; the record is dead. */
export const DATA_TRUNCATED = 2;
/** Longest key. */
export const KEY_MAX_BYTES = 255;
/** Longest payload (the protocol's limit; the field could hold more). */
export const PAYLOAD_MAX_BYTES = 8 * 1024 * 1024;

const MAGIC = 0x30544144; // "DAT0"
const VERSION = 3;

/** Header of a data file. */
export function encodeDataHeader(file: number): Uint8Array {
  const header = new Uint8Array(DATA_HEADER_BYTES);
  put32(header, 0, MAGIC);
  put32(header, 4, VERSION);
  put32(header, 24, file);
  return header;
}

/** Whether these bytes begin with a data file header of the version we know. */
export function isDataHeader(bytes: Uint8Array): boolean {
  return bytes.length >= DATA_HEADER_BYTES && get32(bytes, 0) === MAGIC && get32(bytes, 4) === VERSION;
}

/** Writes the fixed part of an entry. All numbers unsigned 32 bit; `keyBytes` 1 … 255. */
export function putDataEntry(
  target: Uint8Array,
  at: number,
  keyBytes: number,
  payloadBytes: number,
  previous: number,
  crc: number,
  flags: number,
  timestamp: number,
): void {
  target[at] = keyBytes;
  put32(target, at + 1, payloadBytes);
  put32(target, at + 5, previous);
  put32(target, at + 9, crc);
  target[at + 13] = flags;
  put32(target, at + 14, timestamp);
}

/** Fields of the entry whose fixed part stands at `at`. */
export const dataEntry = {
  keyBytes: (bytes: Uint8Array, at: number): number => bytes[at]!,
  payloadBytes: (bytes: Uint8Array, at: number): number => get32(bytes, at + 1),
  previous: (bytes: Uint8Array, at: number): number => get32(bytes, at + 5),
  crc: (bytes: Uint8Array, at: number): number => get32(bytes, at + 9),
  flags: (bytes: Uint8Array, at: number): number => bytes[at + 13]!,
  timestamp: (bytes: Uint8Array, at: number): number => get32(bytes, at + 14),
} as const;
