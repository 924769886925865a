// The cache of data blocks: what is taken in, and what is not found any more.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedDisk } from '@qsfs/io/simulated';
import { BLOCK_BYTES, DataCache } from '../src/engine/log/data-cache.ts';
import { openSimulated } from './scratch.ts';

test('a block is taken in at the second miss in a row of its frame', () => {
  const cache = new DataCache(2 * BLOCK_BYTES);
  const owner = cache.newOwner();
  assert.equal(cache.missed(owner, 0, 100, 50), -1);
  assert.equal(cache.missed(owner, 0, 2 * BLOCK_BYTES + 100, 50), -1, 'another block of the same frame');
  assert.equal(cache.missed(owner, 0, 100, 50), -1);
  assert.equal(cache.missed(owner, 0, 300, 50), 0);
  assert.equal(cache.missed(owner, 0, BLOCK_BYTES - 10, 50), -1, 'a record in two blocks');
  cache.take(owner, 0, 0, 400).fill(7);
  assert.ok(!cache.find(owner, 0, 100, 50), 'not filled yet');
  cache.taken(owner, 0, 0, 400);
  assert.ok(cache.find(owner, 0, 100, 50));
  assert.equal(cache.bytes[cache.at], 7);
  assert.ok(!cache.find(owner, 0, 380, 50), 'not all of it is there');
  assert.ok(!cache.find(owner, 2, 100, 50), 'another file');
  assert.ok(!cache.find(cache.newOwner(), 0, 100, 50), 'another log');
  const { at } = cache;
  cache.touch(
    owner,
    Int32Array.of(0, 0, 2),
    Uint32Array.of(390, 100, 100),
    Int32Array.of(10, 50, 8 << 20),
    3,
  );
  assert.equal(cache.at, at, 'touching changes nothing');
  assert.equal(cache.bytes[cache.at], 7);
  cache.clear();
  assert.ok(!cache.find(owner, 0, 100, 50));
});

test('records read again and again cost no reads of the disk, and those written later are found', () => {
  const engine = openSimulated(new SimulatedDisk(), { mode: 'user' });
  const namespace = engine.namespace('default')!;
  const target = Buffer.alloc(8);
  const read = (key: string) => {
    const length = namespace.find(Buffer.from(key));
    namespace.copyFound(Buffer.from(key), target, 0);
    return target.toString('latin1', 0, length);
  };
  namespace.set(Buffer.from('a'), Buffer.from('one'));
  engine.commit();
  for (let reads = 0; reads < 2; reads++) assert.equal(read('a'), 'one');
  const before = namespace.statistics.dataReadBytes;
  for (let reads = 0; reads < 5; reads++) assert.equal(read('a'), 'one');
  assert.equal(namespace.statistics.dataReadBytes, before);
  namespace.set(Buffer.from('b'), Buffer.from('two'));
  assert.equal(read('b'), 'two', 'before the commit');
  engine.commit();
  namespace.set(Buffer.from('a'), Buffer.from('new'));
  engine.commit();
  for (let reads = 0; reads < 3; reads++) {
    assert.equal(read('b'), 'two');
    assert.equal(read('a'), 'new');
  }
  engine.close();
});

test('keys that are expected are found and read as before: there or not, cached or not, more of them than are looked at', () => {
  const engine = openSimulated(new SimulatedDisk(), { mode: 'user', dataCacheBytes: 4 * BLOCK_BYTES });
  const namespace = engine.namespace('default')!;
  const count = 5000;
  const bytes = Buffer.alloc(8 * count + 800);
  for (let number = 0; number < count + 100; number++) bytes.writeDoubleLE(number + 0.5, 8 * number);
  const key = (number: number) => bytes.subarray(8 * number, 8 * number + 8);
  for (let number = 0; number < count; number++) namespace.set(key(number), Buffer.from(`value ${number}`));
  engine.commit();
  const positions = new Int32Array(200);
  const target = Buffer.alloc(16);
  for (let first = count - 200; first < count; first += 10) {
    for (let i = 0; i < 100; i++) positions.set([8 * (first + i), 8], 2 * i);
    namespace.expect(bytes, positions, 100);
    for (let number = first; number < first + 100; number++) {
      const length = namespace.find(key(number));
      assert.equal(length, number < count ? `value ${number}`.length : -1);
      if (length < 0) continue;
      namespace.copyFound(key(number), target, 0);
      assert.equal(target.toString('latin1', 0, length), `value ${number}`);
    }
  }
  engine.close();
});
