// The memory of the key table, which is what a key costs beside itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedRandom } from '@qsfs/io/simulated';
import { KeyHash } from '../src/engine/key-hash.ts';
import { FETCHED_TOGETHER, KeyTable } from '../src/engine/key-table.ts';
import { Part } from '../src/engine/key-table-part.ts';

const KEYS = 300_000;
/** The whole table may hold so many bytes in pieces begun and not full. */
const PIECES_BYTES = 1.2 * 2 ** 20;
const BOUND_BYTES = 40;

for (const keyBytes of [17, 20]) {
  test(`a key of ${keyBytes} bytes costs at most ${BOUND_BYTES} bytes beside itself, whatever the number of keys`, () => {
    const table = new KeyTable(new SimulatedRandom(12_345));
    const key = Buffer.alloc(keyBytes, 0x6b);
    for (let number = 0; number < KEYS; number++) {
      key.writeUInt32LE(number, 8);
      assert.equal(table.find(key, 0, keyBytes), -1);
      table.add(keyBytes);
      if (number < 20_000 || number % 1000 !== 0) continue;
      assertBound(table, keyBytes);
    }
  });
}

for (const growing of [1, 1.1, 1.35, 2]) {
  test(`a key costs at most ${BOUND_BYTES} bytes beside itself after loading and when ${growing} times as many are there`, () => {
    const table = new KeyTable(new SimulatedRandom(growing));
    const loaded = 200_000;
    table.reserve(1.27 * loaded);
    const key = Buffer.alloc(17);
    for (let number = 0; number < growing * loaded; number++) {
      if (number === loaded) table.fit();
      key.writeUInt32LE(number, 4);
      table.find(key, 0, key.length);
      table.add(key.length);
      if (number >= loaded && number % 1000 === 0) assertBound(table, key.length);
    }
    if (growing === 1) table.fit();
    assertBound(table, key.length);
  });
}

function assertBound(table: KeyTable, keyBytes: number): void {
  const perKey = (table.memoryBytes - PIECES_BYTES) / table.size - keyBytes;
  assert.ok(perKey <= BOUND_BYTES, `${perKey} bytes a key at ${table.size} keys`);
}

test('room reserved for keys that are not there is given back, and every key is still found', () => {
  const table = new KeyTable(new SimulatedRandom(54_321));
  table.reserve(1_000_000);
  const key = Buffer.alloc(20);
  for (let number = 0; number < 50_000; number++) {
    key.writeUInt32LE(number, 4);
    table.find(key, 0, key.length);
    table.add(key.length);
  }
  table.fit();
  assertBound(table, key.length);
  for (let number = 0; number < 50_000; number++) {
    key.writeUInt32LE(number, 4);
    assert.ok(table.find(key, 0, key.length) >= 0);
  }
});

test('keys of all lengths are told apart, through removal, reuse of their places and growth', () => {
  const table = new KeyTable(new SimulatedRandom(1));
  /** Keys that differ only in their last byte, in their length, or in zeros behind their end. */
  const keys = Array.from({ length: 256 }, (_, length) => [
    Buffer.alloc(length),
    Buffer.alloc(length, 1),
  ]).flatMap(([zeros, ones], length) =>
    length === 0 ? [zeros!] : [zeros!, Buffer.concat([ones!.subarray(1), Buffer.of(2)])],
  );
  for (let round = 0; round < 3; round++) {
    const entries = keys.map((key, number) => {
      assert.equal(table.find(key, 0, key.length), -1);
      const entry = table.add(key.length);
      table.place(entry, number, number + 1, number + 2, number + 3, 0xffffffff, number + 5);
      return entry;
    });
    for (const [number, key] of keys.entries()) {
      const padded = Buffer.concat([Buffer.of(9), key, Buffer.of(9)]);
      const entry = table.find(padded, 1, key.length);
      assert.equal(entry, entries[number]);
      assert.deepEqual(table.key(entry), new Uint8Array(key));
      assert.deepEqual(
        [table.file(entry), table.indexOffset(entry), table.dataOffset(entry), table.payloadBytes(entry)],
        [number, number + 1, number + 2, number + 3],
      );
      assert.deepEqual([table.crc(entry), table.timestamp(entry)], [0xffffffff, number + 5]);
    }
    const before = table.memoryBytes;
    for (const entry of entries) {
      table.unlink(entry);
      table.release(entry);
    }
    assert.equal(table.size, 0);
    if (round > 0) assert.equal(table.memoryBytes, before, 'the places are used again');
  }
});

test('fetching keys changes nothing: those that are there, those that are not, and more of them than are fetched', () => {
  const table = new KeyTable(new SimulatedRandom(777));
  const bytes = Buffer.alloc(40_000 * 20);
  for (let number = 0; number < 40_000; number++) bytes.writeUInt32LE(number, 20 * number);
  for (let number = 0; number < 39_000; number++) {
    assert.equal(table.find(bytes, 20 * number, 20), -1);
    table.place(table.add(20), number, 0, 0, 0, 0, 0);
  }
  const positions = new Int32Array(200);
  const entries = new Uint32Array(FETCHED_TOGETHER);
  for (let first = 38_950; first < 39_050; first++) {
    for (let i = 0; i < 100; i++) positions.set([20 * (first + i), i === 7 ? 300 : i === 8 ? 0 : 20], 2 * i);
    table.fetch(bytes, positions, 100, first % 2 === 0 ? entries : undefined);
    const entry = table.find(bytes, 20 * first, 20);
    assert.equal(entry < 0 ? -1 : table.file(entry), first < 39_000 ? first : -1);
  }
  assert.equal(table.size, 39_000);
});

test('fetching names the entries of nearly all keys that are there', () => {
  for (const count of [3000, 40_000]) {
    const table = new KeyTable(new SimulatedRandom(778));
    const bytes = Buffer.alloc(count * 16);
    for (let number = 0; number < count; number++) {
      bytes.writeUInt32LE(number, 16 * number);
      table.find(bytes, 16 * number, 16);
      table.place(table.add(16), number, 0, 0, 0, 0, 0);
    }
    const positions = new Int32Array(2 * FETCHED_TOGETHER);
    const entries = new Uint32Array(FETCHED_TOGETHER);
    let named = 0;
    for (let first = 0; first + FETCHED_TOGETHER <= count; first += FETCHED_TOGETHER) {
      for (let i = 0; i < FETCHED_TOGETHER; i++) positions.set([16 * (first + i), 16], 2 * i);
      table.fetch(bytes, positions, FETCHED_TOGETHER, entries);
      entries.forEach((entry, i) => {
        if (entry === table.find(bytes, 16 * (first + i), 16)) named++;
      });
    }
    if (count > 4096) assert.ok(named > 0.9 * count, `${named} of ${count}`);
    else assert.equal(named, 0, 'a small table is in the cache of the processor anyway');
  }
});

/** Keys that collide in a table hashed with Murmur3, whatever its seed: what one pair of words changes in the state, the next takes back. */
function murmurCollisions(pairs: number): Uint8Array[] {
  /** The word that Murmur3 mixes into these bits. */
  const wordOf = (bits: number) => {
    const rotated = Math.imul(bits, inverse(0x1b873593));
    return Math.imul((rotated >>> 15) | (rotated << 17), inverse(0xcc9e2d51)) >>> 0;
  };
  return Array.from({ length: 2 ** pairs }, (_, choice) => {
    const key = Buffer.alloc(8 * pairs);
    for (let pair = 0; pair < pairs; pair++) {
      const other = (choice >>> pair) & 1;
      key.writeUInt32LE(wordOf(other << 18), 8 * pair);
      key.writeUInt32LE(wordOf(other << 31), 8 * pair + 4);
    }
    return key;
  });
}

/** Of an odd number modulo 2^32. */
function inverse(odd: number): number {
  let result = odd;
  for (let i = 0; i < 5; i++) result = Math.imul(result, 2 - Math.imul(odd, result));
  return result;
}

test('nobody can choose keys that collide', () => {
  const hash = new KeyHash(new SimulatedRandom(4));
  const hashesOf = (keys: Uint8Array[]) =>
    new Set(keys.map((key) => hash.of(new Uint32Array(new Uint8Array(key).buffer), 0, key.length))).size;
  const keys = murmurCollisions(14);
  assert.ok(hashesOf(keys) > keys.length - 100, 'made for Murmur3');
  const table = new KeyTable(new SimulatedRandom(4));
  for (const key of keys) {
    assert.equal(table.find(key, 0, key.length), -1);
    table.add(key.length);
  }
  assert.equal(table.size, keys.length);
  const zeros = Array.from({ length: 64 }, (_, units) => Buffer.alloc(4 * units));
  assert.equal(hashesOf(zeros), zeros.length, 'of different lengths');
});

for (const [name, keyOf] of [
  ['counted', (number: number) => Buffer.from(String(number).padStart(16, '0'))],
  [
    'counted in binary',
    (number: number) => {
      const key = Buffer.alloc(16);
      key.writeUInt32BE(number, 8);
      return key;
    },
  ],
  [
    'of one bit each',
    (number: number) => {
      const key = Buffer.alloc(252);
      key[((number / 8) % 252) | 0] = 1 << (number % 8);
      key.writeUInt16LE(number / 2016, 0);
      return key;
    },
  ],
] as const) {
  test(`keys ${name} stand near the home of their hash`, () => {
    for (let seed = 0; seed < 20; seed++) {
      const hash = new KeyHash(new SimulatedRandom(seed));
      const part = new Part(20_000, 0);
      let away = 0;
      const count = 15_000;
      for (let number = 0; number < count; number++) {
        const key = keyOf(number);
        assert.ok(part.insert(number, hash.of(new Uint32Array(new Uint8Array(key).buffer), 0, key.length)));
      }
      for (let slot = 0; 2 * slot < part.words.length; slot++)
        if (part.words[2 * slot + 1] !== 0) away += slot - part.home(part.words[2 * slot]!);
      // At a load of 0.75 slots that are chosen at random are 1.5 away on average.
      assert.ok(away / count < 2, `${away / count} slots away, seed ${seed}`);
    }
  });
}

test('a part grows, takes out and finds in the order of its hashes, and past its last home', () => {
  const random = new SimulatedRandom(9);
  const part = new Part(64, 8);
  const expected = new Map<number, number>();
  const crowd = 0xab_ffffff;
  for (let step = 0; step < 20_000; step++) {
    if (expected.size > 0 && random.below(5) < 2) {
      const [entry, hash] = [...expected][random.below(expected.size)]!;
      part.remove(entry, hash);
      expected.delete(entry);
    } else {
      const hash =
        random.below(3) === 0 ? crowd - random.below(3) : (0xab000000 | random.below(2 ** 24)) >>> 0;
      while (!part.insert(step, hash)) part.resize(part.size + 1 + random.below(10));
      expected.set(step, hash);
    }
    if (step % 500 === 0) part.resize(Math.max(16, expected.size >> random.below(2)));
    if (step % 100 > 0) continue;
    const found = [...part.slots()];
    assert.equal(part.used, expected.size);
    assert.deepEqual(new Map(found.map(([hash, entry]) => [entry, hash])), expected);
    assert.deepEqual(
      found.map(([hash]) => hash),
      found.map(([hash]) => hash).sort((a, b) => a - b),
    );
  }
});
