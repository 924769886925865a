// The payload checksum of data and index files: CRC-32C (polynomial 0x82F63B78, reflected) with initial value 0 and no final
// inversion (docs/formats/zdb.md, "Checksum"). Not the standard CRC-32C value.
import { loadChecksumKernel } from './checksum-kernel/kernel.ts';
import type { Payload } from './types.ts';

/** Up to this many bytes the tables are faster than the kernel. */
const TABLE_MAX_BYTES = 192;

/** Eight tables one behind the other: what a byte does to the checksum when 0 to 7 bytes follow it. */
const TABLES = new Uint32Array(8 * 256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  TABLES[byte] = value;
}
for (let at = 256; at < TABLES.length; at++) {
  const before = TABLES[at - 256]!;
  TABLES[at] = (before >>> 8) ^ TABLES[before & 255]!;
}

const kernel = loadChecksumKernel();

/**
 * Checksum of `bytes`, continuing from the checksum of what stands before it.
 * @param before checksum of the preceding bytes; 0 at the start
 */
export function checksum(bytes: Uint8Array, before = 0): number {
  return bytes.length <= TABLE_MAX_BYTES || kernel === undefined
    ? tableChecksum(bytes, 0, bytes.length, before)
    : kernel(bytes, before);
}

/** Checksum of `bytes[from … to - 1]`. */
export function checksumAt(bytes: Uint8Array, from: number, to: number): number {
  return to - from <= TABLE_MAX_BYTES
    ? tableChecksum(bytes, from, to, 0)
    : checksum(bytes.subarray(from, to));
}

/** The same for a few bytes, eight at a time. */
function tableChecksum(bytes: Uint8Array, from: number, to: number, before: number): number {
  let crc = before;
  let at = from;
  for (; at + 8 <= to; at += 8) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc =
      TABLES[0x700 + (crc & 255)]! ^
      TABLES[0x600 + ((crc >>> 8) & 255)]! ^
      TABLES[0x500 + ((crc >>> 16) & 255)]! ^
      TABLES[0x400 + (crc >>> 24)]! ^
      TABLES[0x300 + bytes[at + 4]!]! ^
      TABLES[0x200 + bytes[at + 5]!]! ^
      TABLES[0x100 + bytes[at + 6]!]! ^
      TABLES[bytes[at + 7]!]!;
  }
  for (; at < to; at++) crc = (crc >>> 8) ^ TABLES[(crc ^ bytes[at]!) & 255]!;
  return crc >>> 0;
}

/** Checksum of a payload in one or several parts. */
export function payloadChecksum(payload: Payload): number {
  if (payload instanceof Uint8Array) return checksum(payload);
  let crc = 0;
  for (const part of payload) crc = checksum(part, crc);
  return crc;
}

/** Bytes of a payload in one or several parts. */
export function payloadLength(payload: Payload): number {
  if (payload instanceof Uint8Array) return payload.length;
  let length = 0;
  for (const part of payload) length += part.length;
  return length;
}
