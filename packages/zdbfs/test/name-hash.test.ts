// The order of names: the hash is HalfSipHash-1-3 as described, checked through a plain implementation that is itself
// checked with a published vector of HalfSipHash-2-4 (64 bits of output, key 00 … 07, the empty message).
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { KEY_GROUP, nameKey } from '../src/name-hash.ts';

const MASK = 0xffffffffn;
const rotate = (value: bigint, by: bigint) => ((value << by) | (value >> (32n - by))) & MASK;

/** The algorithm as in the paper, for any number of rounds; slow. */
function halfSipHash64(message: Uint8Array, k0: bigint, k1: bigint, c: number, d: number): bigint {
  let [v0, v1, v2, v3] = [k0, k1 ^ 0xeen, 0x6c796765n ^ k0, 0x74656462n ^ k1];
  const rounds = (count: number) => {
    for (let at = 0; at < count; at++) {
      v0 = (v0 + v1) & MASK;
      v1 = rotate(v1, 5n) ^ v0;
      v0 = rotate(v0, 16n);
      v2 = (v2 + v3) & MASK;
      v3 = rotate(v3, 8n) ^ v2;
      v0 = (v0 + v3) & MASK;
      v3 = rotate(v3, 7n) ^ v0;
      v2 = (v2 + v1) & MASK;
      v1 = rotate(v1, 13n) ^ v2;
      v2 = rotate(v2, 16n);
    }
  };
  const padded = Buffer.alloc(Math.floor(message.length / 4) * 4 + 4);
  padded.set(message);
  padded[padded.length - 1] = message.length & 0xff;
  for (let at = 0; at < padded.length; at += 4) {
    const word = BigInt(padded.readUInt32LE(at));
    v3 ^= word;
    rounds(c);
    v0 ^= word;
  }
  v2 ^= 0xeen;
  rounds(d);
  const low = v1 ^ v3;
  v1 ^= 0xddn;
  rounds(d);
  return ((v1 ^ v3) << 32n) | low;
}

describe('the key of a name', () => {
  it('comes from an algorithm that gives the published vector', () => {
    const key = [0x03020100n, 0x07060504n] as const;
    const hash = (length: number) => {
      const out = Buffer.alloc(8);
      out.writeBigUInt64LE(
        halfSipHash64(
          Uint8Array.from({ length }, (_, at) => at),
          ...key,
          2,
          4,
        ),
      );
      return out.toString('hex');
    };
    assert.equal(hash(0), '218d1f59b9b83cc8');
  });

  it('is 48 bits of HalfSipHash-1-3 times the size of a group', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 0, maxLength: 255 }),
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.integer({ min: 0, max: 0xffffffff }),
        (bytes, low, high) => {
          const name = Buffer.from(bytes).toString('latin1');
          const hash = halfSipHash64(bytes, BigInt(low), BigInt(high), 1, 3) & 0xffffffffffffn;
          assert.equal(nameKey(name, low, high), Number(hash) * KEY_GROUP);
        },
      ),
    );
  });
});
