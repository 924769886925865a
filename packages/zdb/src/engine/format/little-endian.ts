// Unsigned 32-bit and 64-bit integers in byte arrays, least significant byte first. Plain byte arithmetic: it is what the
// compiler turns into single loads and stores, with no view object per record.

/** 2^32. */
export const TWO_32 = 0x1_0000_0000;

/** Reads an unsigned 32-bit integer. */
export function get32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

/** Writes an unsigned 32-bit integer (taken modulo 2^32). */
export function put32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

/** Reads an unsigned 64-bit integer; above 2^53 the result is inexact. */
export function get64(bytes: Uint8Array, at: number): number {
  return get32(bytes, at + 4) * TWO_32 + get32(bytes, at);
}

/** Writes a non-negative integer below 2^53 as 64 bits. */
export function put64(bytes: Uint8Array, at: number, value: number): void {
  put32(bytes, at, value % TWO_32);
  put32(bytes, at + 4, Math.floor(value / TWO_32));
}
