// The order of names in a directory: HalfSipHash-1-3 with 64 bits of output (Aumasson & Bernstein, "SipHash: a fast
// short-input PRF"; 32-bit variant), keyed per volume so that nobody can choose names that collide.
//
// A directory key is 52 bits: 48 bits of hash and 4 that tell names of equal hash apart. 52 and not 64, so that keys
// and readdir cookies are exact JavaScript integers (docs/adr/zdbfs-directory-keys.md).

/** Names whose hash is equal get keys in one group of this many. */
export const KEY_GROUP = 16;

/** First key of the name's group. `seed` is two 32-bit words. Names are latin1 strings, one character a byte. */
export function nameKey(name: string, seedLow: number, seedHigh: number): number {
  let v0 = seedLow | 0;
  let v1 = (seedHigh ^ 0xee) | 0;
  let v2 = (0x6c796765 ^ seedLow) | 0;
  let v3 = (0x74656462 ^ seedHigh) | 0;
  const length = name.length;
  const whole = length & ~3;
  for (let at = 0; at <= whole; at += 4) {
    let word: number;
    if (at < whole) {
      word =
        name.charCodeAt(at) |
        (name.charCodeAt(at + 1) << 8) |
        (name.charCodeAt(at + 2) << 16) |
        (name.charCodeAt(at + 3) << 24);
    } else {
      word = length << 24;
      for (let rest = length - 1; rest >= whole; rest--)
        word |= name.charCodeAt(rest) << ((rest - whole) * 8);
    }
    v3 ^= word;
    // One SipRound.
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= word;
  }
  v2 ^= 0xee;
  let low = 0;
  for (let round = 0; round < 6; round++) {
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    if (round === 2) {
      low = (v1 ^ v3) >>> 0;
      v1 ^= 0xdd;
    }
  }
  const high = (v1 ^ v3) & 0xffff;
  return (high * 4_294_967_296 + low) * KEY_GROUP;
}
