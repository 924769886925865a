// Who gets the codec's memory: order, reads before writes, the share of writes, nothing lost.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arena } from '@qsfs/erasure';
import fc from 'fast-check';
import { CODEC_WAITING_MAX, CODEC_WRITING_SHARE, CodecClosed, CodecPool } from '../../src/codec/index.ts';
import { type MemoryUse, StripeMemory } from '../../src/codec/memory.ts';
import { codedObject, noise, pick, stored } from './material.ts';

const KIB = 1024;

/** Lets everything that can go on go on. */
const settle = (): Promise<void> => new Promise((done) => setImmediate(done));

test('stripes held for slow backends never keep reads out', async () => {
  const codec = new CodecPool({ threads: 0, memoryBytes: 2048 * KIB });
  const object = codedObject(2, 4);
  const plain = noise(100 * KIB);
  const held = [await codec.encode(object, 0, plain)];
  const shards = stored(held[0]!);
  let waiting = 0;
  for (let stripe = 1; stripe < 20; stripe++) {
    waiting++;
    void codec.encode(object, stripe, plain).then((encoded) => {
      waiting--;
      held.push(encoded);
    });
  }
  await settle();
  assert.ok(waiting > 0, 'the writes filled their share');
  assert.ok(codec.memory.usedBytes <= codec.memory.limitBytes * CODEC_WRITING_SHARE);
  const decoded = await codec.decode(object, 0, plain.length, pick(shards, 2, 3), { bytes: true });
  assert.equal(Buffer.compare(decoded.bytes, plain), 0);
  decoded.release();
  while (waiting > 0 || held.length > 0) {
    for (const stripe of held.splice(0)) stripe.release();
    await settle();
  }
  assert.equal(codec.memory.usedBytes, 0);
  await codec.close();
});

test('reads that wait are served before writes that waited longer', async () => {
  const memory = new StripeMemory(new Arena(1024 * KIB));
  const first = await memory.allocate('reading', 900 * KIB);
  const order: string[] = [];
  const calls = [
    memory.allocate('writing', 200 * KIB).then(() => order.push('write')),
    memory.allocate('reading', 500 * KIB).then(() => order.push('read')),
    memory.allocate('reading', 10 * KIB).then(() => order.push('small read')),
  ];
  await settle();
  assert.deepEqual(order, []);
  memory.free(first);
  await Promise.all(calls);
  assert.deepEqual(order, ['read', 'small read', 'write']);
});

test('one write alone may have more than its share', async () => {
  const memory = new StripeMemory(new Arena(1024 * KIB));
  const region = await memory.allocate('writing', 900 * KIB);
  let isServed = false;
  const second = memory.allocate('writing', KIB).then((offset) => {
    isServed = true;
    return offset;
  });
  await settle();
  assert.equal(isServed, false);
  memory.shrink(region, 100 * KIB);
  memory.free(await second);
  memory.free(region);
  assert.equal(memory.usedBytes, 0);
});

test('too many waiting calls are refused, and closing rejects those that wait', async () => {
  const memory = new StripeMemory(new Arena(1024 * KIB));
  await memory.allocate('reading', memory.limitBytes);
  const calls = Array.from({ length: CODEC_WAITING_MAX }, () => memory.allocate('writing', 1));
  const settled = Promise.allSettled(calls);
  await assert.rejects(memory.allocate('writing', 1), RangeError);
  memory.close();
  for (const result of await settled) {
    assert.ok(result.status === 'rejected' && result.reason instanceof CodecClosed);
  }
  await assert.rejects(memory.allocate('reading', 1), CodecClosed);
});

test('property: everybody is served in the end, and all memory comes back', async () => {
  const call = fc.record({
    use: fc.constantFrom<MemoryUse>('reading', 'writing'),
    bytes: fc.integer({ min: 0, max: 1000 * KIB }),
    holds: fc.nat({ max: 5 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(call, { maxLength: 40 }), async (calls) => {
      const memory = new StripeMemory(new Arena(1024 * KIB));
      await Promise.all(
        calls.map(async ({ use, bytes, holds }) => {
          const region = await memory.allocate(use, bytes);
          assert.ok(memory.usedBytes <= memory.limitBytes);
          for (let i = 0; i < holds; i++) await undefined;
          memory.shrink(region, bytes >> 1);
          for (let i = 0; i < holds; i++) await undefined;
          memory.free(region);
        }),
      );
      assert.equal(memory.usedBytes, 0);
    }),
    { numRuns: 100 },
  );
});
