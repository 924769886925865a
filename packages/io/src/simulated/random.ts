// A seeded generator: the same seed and the same calls give the same values on every machine. Not for secrets.
import type { Random } from '../random.ts';

/** xoshiro128** (Blackman and Vigna, 2018), its state filled by splitmix32 from a 32-bit seed. */
export class SimulatedRandom implements Random {
  /** What the generator was made from; print it when a test fails. */
  readonly seed: number;
  readonly #state = new Uint32Array(4);

  /** @param seed any integer; only its low 32 bits count */
  constructor(seed: number) {
    this.seed = seed >>> 0;
    let mixed = this.seed;
    for (let i = 0; i < 4; i++) {
      mixed = (mixed + 0x9e3779b9) >>> 0;
      let z = mixed;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      this.#state[i] = z ^ (z >>> 15);
    }
  }

  /** Uniform in 0 … 2^32 - 1. */
  next(): number {
    const s = this.#state;
    const scrambled = Math.imul(rotate(Math.imul(s[1]!, 5), 7), 9) >>> 0;
    const shifted = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= shifted;
    s[3] = rotate(s[3]!, 11);
    return scrambled;
  }

  bytes(lengthBytes: number): Uint8Array {
    const result = new Uint8Array(lengthBytes);
    let at = 0;
    for (; at + 4 <= lengthBytes; at += 4) {
      const word = this.next();
      result[at] = word;
      result[at + 1] = word >>> 8;
      result[at + 2] = word >>> 16;
      result[at + 3] = word >>> 24;
    }
    for (let word = this.next(); at < lengthBytes; at++, word >>>= 8) result[at] = word;
    return result;
  }

  below(limit: number): number {
    if (limit <= 1) return 0;
    // Values at or above the largest multiple of `limit` would favour small results: draw again.
    const fair = 2 ** 32 - (2 ** 32 % limit);
    let value = this.next();
    while (value >= fair) value = this.next();
    return value % limit;
  }

  /** True with the given probability, 0 … 1. */
  chance(probability: number): boolean {
    return this.next() < probability * 2 ** 32;
  }

  /** One of `choices`. @throws RangeError when there is none */
  pick<T>(choices: readonly T[]): T {
    if (choices.length === 0) throw new RangeError('nothing to pick from');
    return choices[this.below(choices.length)] as T;
  }

  /** An independent generator whose values do not depend on how often this one is used afterwards. */
  fork(): SimulatedRandom {
    return new SimulatedRandom(this.next());
  }
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
