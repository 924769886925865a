// The inner loop of CRC-32C, for AssemblyScript. Built by `scripts/build-kernel.mjs`.
//
// A message is a polynomial over GF(2), first byte highest, and its checksum the remainder of a division by
// P = x^32 + … (0x82F63B78 reflected). If 1 + x^8a + x^8b + x^8d is a multiple of P, then a byte may be replaced by zero when it is added
// to the bytes d - b, d - a and d behind it: the remainder is the same. Done for all bytes from the first on, only the last d bytes
// are left, and doing it is nothing but loads and XORs, for 16 bytes at once (S. Russell, Chorba: A novel CRC32 implementation, 2024).
// Because a byte is added to what lies at fixed distances behind it, each byte can as well collect what lies before it ("pull").
//
// Used here are a multiple with four terms, 1 + y^2751 + y^4508 + y^5275 with y = x^8, for long messages, and for what is left one with
// six, 1 + y^14 + y^39 + y^54 + y^144 + y^209; both are the shortest with so few terms, and a test divides them. The last hundreds of
// bytes are divided with tables, eight bytes at a time.
//
// Memory: tables, then `HISTORY` bytes that were there before the piece at hand (zeros before the first), then the piece, which is
// overwritten.

const TABLES: usize = 0;
/** Bytes of the longest distance, rounded up to a step. */
const HISTORY: usize = 5312;
/** Where a piece is put; a multiple of 64. */
export const PIECE: usize = 13568;
/** Longest piece. */
export const PIECE_BYTES: usize = 32768 + 5312;

const LONG: usize = 5275;
const SHORT: usize = 209;

/** Eight tables one behind the other: what a byte does to the remainder when 0 to 7 bytes follow it. */
export function initialize(): void {
  for (let byte: u32 = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = (value & 1) != 0 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
    store<u32>(TABLES + (byte << 2), value);
  }
  for (let at: u32 = 256; at < 8 * 256; at++) {
    const before = load<u32>(TABLES + ((at - 256) << 2));
    store<u32>(TABLES + (at << 2), (before >>> 8) ^ load<u32>(TABLES + ((before & 255) << 2)));
  }
}

/** Begins a message of `length` bytes with its first piece in place (4 bytes at least), after bytes whose checksum is `before`. */
export function begin(length: usize, before: u32): void {
  if (length >= HISTORY) memory.fill(PIECE - HISTORY, 0, HISTORY);
  store<u32>(PIECE, load<u32>(PIECE) ^ before);
}

/** Takes a piece that is not the last one: a multiple of 64 bytes, `HISTORY` at least. */
export function proceed(length: usize): void {
  pullLong(PIECE, PIECE + length);
  memory.copy(PIECE - HISTORY, PIECE + length - HISTORY, HISTORY);
}

/** Takes the last piece, after others one of `HISTORY` bytes at least. @returns the checksum */
export function finish(length: usize): u32 {
  const to: usize = PIECE + length;
  let from: usize = PIECE;
  if (length >= HISTORY) {
    const end = lastStep(from, to - LONG);
    pullLong(from, end);
    pullLate(end, 767);
    pullLate(end, 2524);
    pullLate(end, LONG);
    from = end;
  }
  if (to - from > 2 * SHORT) {
    memory.fill(from - 256, 0, 256);
    const end = lastStep(from, to - SHORT);
    pullShort(from, end);
    pullLate(end, 65);
    pullLate(end, 155);
    pullLate(end, 170);
    pullLate(end, 195);
    pullLate(end, SHORT);
    from = end;
  }
  return divide(from, to);
}

/** The last address at whole steps of 16 bytes behind `from` that is not behind `limit`: some bytes more stay than have to. */
// @ts-ignore: decorator
@inline
function lastStep(from: usize, limit: usize): usize {
  return limit - ((limit - from) & 15);
}

// @ts-ignore: decorator
@inline
function at(address: usize): v128 {
  return v128.load(address);
}

// @ts-ignore: decorator
@inline
function sum(a: v128, b: v128): v128 {
  return v128.xor(a, b);
}

/** Bytes from … end - 1, whole steps, collect with four terms. */
function pullLong(from: usize, end: usize): void {
  let to = from;
  for (; to + 64 <= end; to += 64) {
    long(to);
    long(to + 16);
    long(to + 32);
    long(to + 48);
  }
  for (; to < end; to += 16) long(to);
}

// @ts-ignore: decorator
@inline
function long(to: usize): void {
  v128.store(to, sum(sum(at(to), at(to - 767)), sum(at(to - 2524), at(to - LONG))));
}

/** The same with six terms. */
function pullShort(from: usize, end: usize): void {
  let to = from;
  for (; to + 64 <= end; to += 64) {
    short(to);
    short(to + 16);
    short(to + 32);
    short(to + 48);
  }
  for (; to < end; to += 16) short(to);
}

// @ts-ignore: decorator
@inline
function short(to: usize): void {
  v128.store(
    to,
    sum(sum(sum(at(to), at(to - 65)), sum(at(to - 155), at(to - 170))), sum(at(to - 195), at(to - SHORT))),
  );
}

/** Of the bytes that stay, those at `end` and less than `distance` behind it collect what was taken from before `end`. */
function pullLate(end: usize, distance: usize): void {
  let to = end;
  const over = end + distance;
  for (; to + 16 <= over; to += 16) v128.store(to, sum(at(to), at(to - distance)));
  if (to + 8 <= over) {
    store<u64>(to, load<u64>(to) ^ load<u64>(to - distance));
    to += 8;
  }
  for (; to < over; to++) store<u8>(to, load<u8>(to) ^ load<u8>(to - distance));
}

// @ts-ignore: decorator
@inline
function entry(table: usize, byte: u32): u32 {
  return load<u32>(TABLES + (table << 10) + (<usize>byte << 2));
}

/** Remainder of the bytes from … to - 1. */
function divide(from: usize, to: usize): u32 {
  let crc: u32 = 0;
  let next = from;
  for (; next + 8 <= to; next += 8) {
    const word = load<u64>(next) ^ <u64>crc;
    const low = <u32>word;
    const high = <u32>(word >>> 32);
    crc =
      entry(7, low & 255) ^
      entry(6, (low >>> 8) & 255) ^
      entry(5, (low >>> 16) & 255) ^
      entry(4, low >>> 24) ^
      entry(3, high & 255) ^
      entry(2, (high >>> 8) & 255) ^
      entry(1, (high >>> 16) & 255) ^
      entry(0, high >>> 24);
  }
  for (; next < to; next++) crc = (crc >>> 8) ^ entry(0, (crc ^ load<u8>(next)) & 255);
  return crc;
}
