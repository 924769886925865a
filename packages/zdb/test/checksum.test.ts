// The checksum is computed in several ways, by length: all of them must give what its definition says.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checksum, payloadChecksum } from '../src/engine/checksum.ts';

/** The definition, bit by bit. */
function byDefinition(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return crc >>> 0;
}

test('every length gives the checksum of the definition, in one part and in two', () => {
  const bytes = Uint8Array.from({ length: 300 }, (_, at) => (at * 151 + 89) & 255);
  for (let length = 0; length <= bytes.length; length++) {
    const part = bytes.subarray(0, length);
    const wanted = byDefinition(part);
    assert.equal(checksum(part), wanted, `${length} bytes`);
    const cut = length >> 1;
    assert.equal(
      payloadChecksum([part.subarray(0, cut), part.subarray(cut)]),
      wanted,
      `${length} bytes, cut`,
    );
  }
});

/** The table of one step of eight bits; the definition, a byte at a time. */
const STEP = Uint32Array.from({ length: 256 }, (_, byte) => byDefinition(Uint8Array.of(byte)));
const next = (crc: number, byte: number): number => ((crc >>> 8) ^ STEP[(crc ^ byte) & 255]!) >>> 0;

test('long payloads, after any bytes, at every edge of the pieces they are computed in', () => {
  const longest = 3 * 38080 + 100;
  const bytes = Uint8Array.from({ length: longest }, (_, at) => ((at * 2654435761) >>> 13) & 255);
  // What the definition gives for each length, in one pass.
  const wanted = [0, 0xdeadbeef].map((before) => {
    const all = new Uint32Array(longest + 1);
    all[0] = before;
    for (let at = 0; at < longest; at++) all[at + 1] = next(all[at]!, bytes[at]!);
    return { before, all };
  });
  const edges = [200, 418, 5275, 5312, 10550, 32768, 38080, 65536, 32768 + 38080, 98304, 2 * 32768 + 38080];
  const lengths = new Set<number>();
  for (const edge of edges) for (let by = -70; by <= 70; by++) lengths.add(edge + by);
  for (let length = 0; length <= longest; length += 997) lengths.add(length);
  for (const { before, all } of wanted) {
    for (const length of lengths) {
      if (checksum(bytes.subarray(0, length), before) !== all[length])
        assert.fail(`${length} bytes after ${before}`);
    }
  }
});

test('the sums by which long payloads are made short are multiples of the polynomial', () => {
  // The remainder of y^i, y = x^8, is the checksum of a one followed by i zero bytes (0x80 in the last bit order).
  const power = (i: number): number => {
    let crc = 0x80000000;
    for (let n = 0; n < i; n++) crc = next(crc, 0);
    return crc;
  };
  for (const exponents of [
    [0, 2751, 4508, 5275],
    [0, 14, 39, 54, 144, 209],
  ]) {
    assert.equal(
      exponents.reduce((sum, exponent) => (sum ^ power(exponent)) >>> 0, 0),
      0,
      `${exponents}`,
    );
  }
});
