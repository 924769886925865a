// The codec on threads: the same results from shared memory, bounded memory, order, crashes, the end.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { realNetwork } from '@qsfs/io';
import {
  CODEC_MEMORY_BYTES,
  CODEC_WRITING_SHARE,
  CodecClosed,
  CodecPool,
  StripeNotAuthentic,
  TooFewShards,
  WorkerCrashed,
} from '../../src/codec/index.ts';
import { codedObject, noise, pick, prose, stored } from './material.ts';

const MIB = 1024 * 1024;
const ENDING_WORKER = new URL('./ending-worker.ts', import.meta.url);
const object = codedObject(3, 8);

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'qsfs-codec-'));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function withPool(
  options: ConstructorParameters<typeof CodecPool>[0],
  run: (pool: CodecPool) => Promise<void>,
): Promise<void> {
  const pool = new CodecPool(options);
  try {
    await run(pool);
  } finally {
    await pool.close();
  }
}

test('a file goes out and comes back through two threads, many stripes at once, within the memory', async () => {
  await withFolder(async (folder) => {
    await withPool({ threads: 2, memoryBytes: 6 * MIB }, async (pool) => {
      const stripeBytes = 512 * 1024;
      const content = Buffer.concat([noise(5 * MIB), prose(5 * MIB), Buffer.alloc(5 * MIB), noise(1234)]);
      const source = join(folder, 'source');
      const target = join(folder, 'target');
      writeFileSync(source, content);
      writeFileSync(target, '');
      truncateSync(target, content.length);
      const count = Math.ceil(content.length / stripeBytes);
      let mostBytes = 0;
      await Promise.all(
        Array.from({ length: count }, async (_, stripe) => {
          const offset = stripe * stripeBytes;
          const lengthBytes = Math.min(stripeBytes, content.length - offset);
          const encoded = await pool.encode(object, stripe, { path: source, offset, lengthBytes });
          const shards = stored(encoded);
          mostBytes = Math.max(mostBytes, pool.memory.usedBytes);
          encoded.release();
          const some = [stripe % 8, (stripe + 3) % 8, (stripe + 5) % 8];
          const decoded = await pool.decode(object, stripe, lengthBytes, pick(shards, ...some), {
            file: { path: target, offset },
          });
          decoded.release();
        }),
      );
      assert.equal(readFileSync(target).compare(content), 0);
      assert.ok(mostBytes <= pool.memory.limitBytes && mostBytes > 0);
      assert.equal(pool.memory.usedBytes, 0);
    });
  });
});

test('shards and errors are the same with and without threads', async () => {
  await withPool({ threads: 1 }, async (threads) => {
    await withPool({ threads: 0 }, async (inline) => {
      const plain = noise(100_000);
      const [a, b] = await Promise.all([threads.encode(object, 1, plain), inline.encode(object, 1, plain)]);
      const shards = stored(a);
      assert.deepEqual(shards, stored(b));
      a.release();
      b.release();
      const bad = { index: 2, bytes: noise(10) };
      const other = { ...object, keys: { contents: noise(32), shards: object.keys.shards } };
      for (const pool of [threads, inline]) {
        await assert.rejects(
          pool.decode(object, 1, plain.length, [...pick(shards, 0, 1), bad], { bytes: true }),
          (error: unknown) => {
            assert.ok(error instanceof TooFewShards);
            assert.deepEqual(error.bad, [{ index: 2, defect: 'length' }]);
            return true;
          },
        );
        await assert.rejects(
          pool.decode(other, 1, plain.length, shards, { bytes: true }),
          (error: unknown) => error instanceof StripeNotAuthentic && error.stripe === 1,
        );
        await assert.rejects(
          pool.encode(object, 0, { path: '/nonexistent/file', offset: 0, lengthBytes: 1 }),
          (error: unknown) => (error as { code?: string }).code === 'ENOENT',
        );
        await assert.rejects(
          pool.decode(object, 1, plain.length, shards, { file: { path: '/dev/full', offset: 0 } }),
          (error: unknown) => (error as { code?: string }).code === 'ENOSPC',
        );
        assert.equal(pool.memory.usedBytes, 0);
      }
    });
  });
});

test('calls wait for memory in the order in which they were made', async () => {
  await withPool({ threads: 1, memoryBytes: 4 * MIB }, async (pool) => {
    const plain = noise(700_000);
    const held = await pool.encode(object, 0, plain);
    const order: number[] = [];
    // The first needs more than is free; the small one behind it would fit but does not overtake.
    const large = pool.encode(object, 1, plain).then((stripe) => {
      order.push(1);
      return stripe;
    });
    const small = pool.encode(object, 2, plain.subarray(0, 10)).then((stripe) => {
      order.push(2);
      return stripe;
    });
    const another = await Promise.race([large, small, new Promise((done) => setImmediate(done))]);
    assert.equal(another, undefined);
    held.release();
    held.release();
    (await large).release();
    (await small).release();
    assert.deepEqual(order, [1, 2]);
    assert.equal(pool.memory.usedBytes, 0);
  });
});

test('a stripe that can never fit is refused with what to do', async () => {
  await withPool({ threads: 1, memoryBytes: 4 * MIB }, async (pool) => {
    await assert.rejects(pool.encode(object, 0, noise(4 * MIB)), /smaller stripes or fewer shards/);
    (await pool.encode(object, 0, noise(1000))).release();
  });
});

test('the default memory holds several stripes of 4 MiB at k = 3, n = 8, and stays below 160 MiB', () => {
  const stripeBytes = 8 * (64 + (4 * MIB + 16) / 3 + 16) + 4 * MIB;
  assert.ok((CODEC_MEMORY_BYTES * CODEC_WRITING_SHARE) / stripeBytes > 6);
  assert.ok(CODEC_MEMORY_BYTES < 160 * MIB);
});

for (const [stripe, how] of [
  [13, /thrown on purpose/],
  [14, /exit code 3/],
] as const) {
  test(`a thread that ends (${how.source}) fails its jobs only, is replaced, and its memory comes back`, async () => {
    await withPool({ threads: 2, workerModule: ENDING_WORKER }, async (pool) => {
      const plain = noise(100_000);
      for (let round = 0; round < 3; round++) {
        const results = await Promise.allSettled([
          pool.encode(object, 0, plain),
          pool.encode(object, stripe, plain),
          ...Array.from({ length: 6 }, (_, i) => pool.encode(object, i + 1, plain)),
        ]);
        const failed = results.filter((result) => result.status === 'rejected');
        assert.equal(results[1]!.status, 'rejected');
        for (const { reason } of failed) {
          assert.ok(reason instanceof WorkerCrashed);
          assert.match(reason.message, how);
        }
        // At most what was sent to that thread.
        assert.ok(failed.length <= 2);
        for (const result of results) if (result.status === 'fulfilled') result.value.release();
        assert.equal(pool.memory.usedBytes, 0);
      }
    });
  });
}

test('closing rejects what runs and what waits, and what is called later', async () => {
  const pool = new CodecPool({ threads: 1, memoryBytes: 16 * MIB });
  const calls = Array.from({ length: 20 }, (_, i) => pool.encode(object, i, noise(MIB)));
  const settled = Promise.allSettled(calls);
  await pool.close();
  for (const result of await settled) {
    if (result.status === 'rejected') assert.ok(result.reason instanceof CodecClosed);
    else result.value.release();
  }
  await assert.rejects(pool.encode(object, 0, noise(10)), CodecClosed);
  await assert.rejects(pool.reserve(10), CodecClosed);
  await pool.close();
});

test('views of shards go to sockets as they are', async () => {
  await withPool({ threads: 1 }, async (pool) => {
    const received: Buffer[] = [];
    const server = createServer((socket: Socket) =>
      socket.on('data', (chunk: Buffer) => received.push(chunk)),
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    assert.ok(address && typeof address === 'object');
    const encoded = await pool.encode(object, 0, noise(2 * MIB));
    const expected = Buffer.concat(stored(encoded).map(({ bytes }) => bytes));
    const connection = await realNetwork.connect({ host: '127.0.0.1', port: address.port }, 1000);
    await new Promise<void>((resolve, reject) => {
      connection.start({
        data: () => {},
        drained: () => {},
        closed: (error) => (error ? reject(error) : resolve()),
      });
      connection.write(encoded.shards);
      connection.end();
    });
    encoded.release();
    server.close();
    assert.equal(Buffer.concat(received).compare(expected), 0);
  });
});
