// The field GF(2^8) with polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11D) and generator 2. Addition is XOR.

const POLYNOMIAL = 0x11d;

/** EXP[i] = 2^i, twice over so that a sum of two logarithms needs no reduction. */
const EXP = new Uint8Array(510);
/** LOG[2^i] = i; LOG[0] means nothing. */
const LOG = new Uint8Array(256);

for (let i = 0, value = 1; i < 255; i++) {
  EXP[i] = value;
  EXP[i + 255] = value;
  LOG[value] = i;
  value = value < 128 ? value << 1 : (value << 1) ^ POLYNOMIAL;
}

/** Product of two field elements. */
export function multiply(a: number, b: number): number {
  return a === 0 || b === 0 ? 0 : EXP[LOG[a]! + LOG[b]!]!;
}

/** Inverse of a field element. @throws RangeError for 0, which has none */
export function inverse(a: number): number {
  if (a === 0) throw new RangeError('0 has no inverse');
  return EXP[255 - LOG[a]!]!;
}

/** a to the power of b; 0 to the power of 0 is 1. */
export function power(a: number, b: number): number {
  if (b === 0) return 1;
  return a === 0 ? 0 : EXP[(LOG[a]! * b) % 255]!;
}

/** PRODUCTS[c * 256 + x] = c * x. */
export const PRODUCTS = new Uint8Array(256 * 256);

/** NIBBLE_PRODUCTS[c * 32 + i] = c * i and NIBBLE_PRODUCTS[c * 32 + 16 + i] = c * (i << 4), for i < 16. */
export const NIBBLE_PRODUCTS = new Uint8Array(256 * 32);

for (let c = 0; c < 256; c++) {
  for (let x = 0; x < 256; x++) PRODUCTS[c * 256 + x] = multiply(c, x);
  for (let i = 0; i < 16; i++) {
    NIBBLE_PRODUCTS[c * 32 + i] = multiply(c, i);
    NIBBLE_PRODUCTS[c * 32 + 16 + i] = multiply(c, i << 4);
  }
}
