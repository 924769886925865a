// The memory of the key table, which is what a key costs beside itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FETCHED_TOGETHER, KeyTable } from '../src/engine/key-table.ts';

const KEYS = 300_000;
/** The whole table may hold so many bytes in pieces begun and not full. */
const PIECES_BYTES = 2 * 2 ** 20;
const BOUND_BYTES = 40;

for (const keyBytes of [17, 20]) {
  test(`a key of ${keyBytes} bytes costs at most ${BOUND_BYTES} bytes beside itself, whatever the number of keys`, () => {
    const table = new KeyTable(12_345);
    const key = Buffer.alloc(keyBytes, 0x6b);
    for (let number = 0; number < KEYS; number++) {
      key.writeUInt32LE(number, 8);
      assert.equal(table.find(key, 0, keyBytes), -1);
      table.add(keyBytes);
      if (number < 20_000 || number % 1000 !== 0) continue;
      const perKey = (table.memoryBytes - PIECES_BYTES) / table.size - keyBytes;
      assert.ok(perKey <= BOUND_BYTES, `${perKey} bytes a key at ${table.size} keys`);
    }
  });
}

test('room reserved for keys that are not there is given back, and every key is still found', () => {
  const table = new KeyTable(54_321);
  table.reserve(1_000_000);
  const key = Buffer.alloc(20);
  for (let number = 0; number < 50_000; number++) {
    key.writeUInt32LE(number, 4);
    table.find(key, 0, key.length);
    table.add(key.length);
  }
  table.fit();
  assert.ok((table.memoryBytes - PIECES_BYTES) / table.size - key.length <= BOUND_BYTES);
  for (let number = 0; number < 50_000; number++) {
    key.writeUInt32LE(number, 4);
    assert.ok(table.find(key, 0, key.length) >= 0);
  }
});

test('keys of all lengths are told apart, through removal, reuse of their places and growth', () => {
  const table = new KeyTable(1);
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
  const table = new KeyTable(777);
  const bytes = Buffer.alloc(40_000 * 20);
  for (let number = 0; number < 40_000; number++) bytes.writeUInt32LE(number, 20 * number);
  for (let number = 0; number < 39_000; number++) {
    assert.equal(table.find(bytes, 20 * number, 20), -1);
    table.place(table.add(20), number, 0, 0, 0, 0, 0);
  }
  const positions = new Int32Array(200);
  const entries = new Int32Array(FETCHED_TOGETHER);
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
    const table = new KeyTable(778);
    const bytes = Buffer.alloc(count * 16);
    for (let number = 0; number < count; number++) {
      bytes.writeUInt32LE(number, 16 * number);
      table.find(bytes, 16 * number, 16);
      table.place(table.add(16), number, 0, 0, 0, 0, 0);
    }
    const positions = new Int32Array(2 * FETCHED_TOGETHER);
    const entries = new Int32Array(FETCHED_TOGETHER);
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
