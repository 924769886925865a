// The checksum is computed in three ways, by length: all of them must give what its definition says.
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
