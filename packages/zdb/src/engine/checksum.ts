// The payload checksum of data and index files: CRC-32C (polynomial 0x82F63B78, reflected) with initial value 0 and no final
// inversion (docs/formats/zdb.md, "Checksum"). Not the standard CRC-32C value.
import { crc32c } from '@node-rs/crc32';
import type { Payload } from './types.ts';

/** Below this many bytes the table is faster than the call into native code (measured: about 64). */
const TABLE_MAX_BYTES = 64;

const TABLE = new Uint32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  TABLE[byte] = value >>> 0;
}

/**
 * Checksum of `bytes`, continuing from the checksum of what stands before it.
 * @param before checksum of the preceding bytes; 0 at the start
 */
export function checksum(bytes: Uint8Array, before = 0): number {
  if (bytes.length <= TABLE_MAX_BYTES) {
    let crc = before;
    for (let at = 0; at < bytes.length; at++) crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[at]!) & 255]!;
    return crc >>> 0;
  }
  // The native function inverts its seed and its result; inverting both again leaves the bare remainder.
  return ~crc32c(bytes, ~before >>> 0) >>> 0;
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
