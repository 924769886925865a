// The hash of a key for the key table: multilinear, 16 bits of the key at a time, with random factors (Lemire and Kaser, "Strongly universal
// string hashing is fast"). Whatever two keys somebody chooses who does not know the factors, they collide with a probability of 2^-32; for
// hashes that only start from a seed (Murmur, CRC) keys are known that collide whatever the seed is. The products do not wait for each other.
import type { Random } from '@qsfs/io';
import { KEY_MAX_BYTES } from './format/data-format.ts';

const UNITS_MAX = (KEY_MAX_BYTES + 3) >> 2;
/** Two for each half of a unit, two for the length, two to begin with. */
const FACTORS = 4 + 4 * UNITS_MAX;

/** A hash nobody else knows. */
export class KeyHash {
  readonly #factors: Int32Array;

  constructor(random: Random) {
    this.#factors = new Int32Array(new Uint8Array(random.bytes(4 * FACTORS)).buffer);
  }

  /**
   * Hash of a key, 32 bits, unsigned.
   * @param words the key's bytes from `words[at]` on, little-endian, the last word filled up with zeros
   */
  of(words: Uint32Array, at: number, lengthBytes: number): number {
    const factors = this.#factors;
    // Of each sum the upper half is as good as random, and the two have no factor in common.
    let high = factors[0]! + Math.imul(factors[1]!, lengthBytes);
    let low = factors[2]! + Math.imul(factors[3]!, lengthBytes);
    const end = at + ((lengthBytes + 3) >> 2);
    for (let unit = at, next = 4; unit < end; unit++, next += 4) {
      const word = words[unit]!;
      const first = word & 0xffff;
      const second = word >>> 16;
      high = (high + Math.imul(factors[next]!, first) + Math.imul(factors[next + 1]!, second)) | 0;
      low = (low + Math.imul(factors[next + 2]!, first) + Math.imul(factors[next + 3]!, second)) | 0;
    }
    return spread((high & 0xffff0000) | (low >>> 16));
  }
}

/** One to one: keys that differ little are sums that differ little (the finalizer of Murmur3). */
function spread(sum: number): number {
  let mixed = Math.imul(sum ^ (sum >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
