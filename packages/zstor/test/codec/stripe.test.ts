// Stripes without threads, on a simulated disk: everything comes back, and nothing wrong is believed.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { readWhole } from '@qsfs/io';
import { SimulatedDisk } from '@qsfs/io/simulated';
import fc from 'fast-check';
import {
  CodecPool,
  type CodedObject,
  type ShardCandidate,
  type ShardDefect,
  StripeNotAuthentic,
  shardDefect,
  TooFewShards,
} from '../../src/codec/index.ts';
import { codedObject, noise, pick, prose, stored } from './material.ts';

const MIB = 1024 * 1024;
const disk = new SimulatedDisk();
const codec = new CodecPool({ disk });
after(() => codec.close());

function equal(actual: Uint8Array, expected: Uint8Array): void {
  assert.equal(Buffer.compare(actual, expected), 0, 'the bytes differ');
}

async function encodeAndStore(
  object: CodedObject,
  stripe: number,
  plain: Uint8Array,
): Promise<ShardCandidate[]> {
  const encoded = await codec.encode(object, stripe, plain);
  const shards = stored(encoded);
  encoded.release();
  return shards;
}

async function decodeBytes(
  object: CodedObject,
  stripe: number,
  plainBytes: number,
  candidates: readonly ShardCandidate[],
): Promise<Uint8Array> {
  const decoded = await codec.decode(object, stripe, plainBytes, candidates, { bytes: true });
  const bytes = Uint8Array.from(decoded.bytes);
  decoded.release();
  return bytes;
}

function writeFile(path: string, content: Uint8Array): void {
  const file = disk.open(path, 'create');
  file.truncate(0);
  file.write(content, 0);
  file.close();
}

test('stripes of every size around the edges come back from data, parity and mixed shards', async () => {
  const object = codedObject(3, 8);
  for (const size of [0, 1, 2, 3, 15, 16, 17, 47, 48, 49, 65_535, 65_536, 65_537, 4 * MIB - 1, 4 * MIB]) {
    for (const plain of [noise(size), prose(size), new Uint8Array(size)]) {
      const shards = await encodeAndStore(object, size, plain);
      for (const kept of [
        [0, 1, 2],
        [5, 6, 7],
        [1, 4, 7],
      ]) {
        equal(await decodeBytes(object, size, size, pick(shards, ...kept)), plain);
      }
    }
  }
  assert.equal(codec.memory.usedBytes, 0);
});

test('property: any k, n, size and content comes back from any k shards in any order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 0, max: 8 }),
      fc.integer({ min: 0, max: 200_000 }),
      fc.constantFrom('noise', 'prose', 'mixed'),
      fc.nat(),
      fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
      async (k, m, size, content, seed, weights) => {
        const plain = content === 'noise' ? noise(size, seed) : prose(size);
        if (content === 'mixed') plain.set(noise(size >> 1, seed));
        const object = codedObject(k, k + m, seed, seed % 5);
        const shards = await encodeAndStore(object, seed, plain);
        const order = shards.map((shard) => ({ shard, weight: weights.next().value as number }));
        order.sort((a, b) => a.weight - b.weight);
        const kept = order.slice(0, k).map(({ shard }) => shard);
        equal(await decodeBytes(object, seed, size, kept), plain);
        const lost = order.slice(k).map(({ shard }) => shard);
        const rebuilt = await codec.rebuild(
          object,
          seed,
          size,
          kept,
          lost.map(({ index }) => index),
        );
        for (const [i, shard] of rebuilt.shards.entries()) {
          assert.equal(shard.index, lost[i]!.index);
          equal(shard.bytes, lost[i]!.bytes);
        }
        rebuilt.release();
      },
    ),
    { numRuns: 60 },
  );
  assert.equal(codec.memory.usedBytes, 0);
});

test('up to 256 shards', async () => {
  const plain = noise(50_000);
  for (const [k, n] of [
    [1, 256],
    [128, 256],
    [256, 256],
  ] as const) {
    const object = codedObject(k, n);
    const shards = await encodeAndStore(object, 0, plain);
    assert.equal(shards.length, n);
    equal(await decodeBytes(object, 0, plain.length, shards.slice(n - k)), plain);
  }
});

test('what compresses is stored smaller, what does not is stored as it is, zeros are not stored', async () => {
  const object = codedObject(4, 6);
  const cases = [
    [noise(MIB), 'plain', MIB + 16],
    [new Uint8Array(MIB), 'zero', 16],
  ] as const;
  for (const [plain, compression, storedBytes] of cases) {
    const encoded = await codec.encode(object, 1, plain);
    assert.equal(encoded.compression, compression);
    assert.equal(encoded.storedBytes, storedBytes);
    assert.equal(encoded.shardBytes, encoded.shards[0]!.length);
    encoded.release();
  }
  const text = await codec.encode(object, 1, prose(MIB));
  assert.equal(text.compression, 'zstd');
  assert.ok(text.storedBytes < MIB / 4);
  text.release();
  // Compressible only where the samples do not look, and not worth it: a plain stripe, not a failed one.
  const islands = noise(MIB);
  islands.fill(0, 200_000, 230_000);
  equal(await decodeBytes(object, 1, MIB, await encodeAndStore(object, 1, islands)), islands);
});

test('a file range is read and a stripe is written into its place in a sparse file, touching nothing else', async () => {
  const object = codedObject(3, 5);
  const content = noise(300_000);
  writeFile('source', content);
  const encoded = await codec.encode(object, 1, { path: 'source', offset: 65_536, lengthBytes: 65_536 });
  const shards = stored(encoded);
  encoded.release();
  const plain = content.subarray(65_536, 131_072);
  writeFile('target', new Uint8Array(300_000).fill(7));
  const decoded = await codec.decode(object, 1, 65_536, pick(shards, 0, 3, 4), {
    file: { path: 'target', offset: 65_536 },
    bytes: true,
  });
  equal(decoded.bytes, plain);
  decoded.release();
  const expected = new Uint8Array(300_000).fill(7);
  expected.set(plain, 65_536);
  equal(readWhole(disk, 'target')!, expected);

  // Zeros replace what was there, as a hole, and the file grows when it ends before.
  const zeros = await encodeAndStore(object, 4, new Uint8Array(65_536));
  for (const offset of [65_536, 4 * 65_536]) {
    const done = await codec.decode(object, 4, 65_536, zeros, { file: { path: 'target', offset } });
    assert.equal(done.bytes.length, 0);
    assert.equal(done.compression, 'zero');
    done.release();
  }
  expected.fill(0, 65_536, 131_072);
  const grown = new Uint8Array(5 * 65_536);
  grown.set(expected.subarray(0, 4 * 65_536));
  equal(readWhole(disk, 'target')!, grown);
  assert.equal(codec.memory.usedBytes, 0);
});

test('a disk without holes gets zeros written', async () => {
  const object = codedObject(2, 3);
  const zeros = await encodeAndStore(object, 0, new Uint8Array(10_000));
  writeFile('full', new Uint8Array(10_000).fill(9));
  const undo = disk.fail({ code: 'EOPNOTSUPP', kinds: ['punch-hole'] });
  await codec.decode(object, 0, 10_000, zeros, { file: { path: 'full', offset: 0 } });
  undo();
  equal(readWhole(disk, 'full')!, new Uint8Array(10_000));
});

test('errors of the disk reach the caller with their code, and memory comes back', async () => {
  const object = codedObject(2, 3);
  writeFile('short', noise(1000));
  const code = (expected: string) => (error: unknown) => (error as { code?: string }).code === expected;
  await assert.rejects(
    codec.encode(object, 0, { path: 'absent', offset: 0, lengthBytes: 10 }),
    code('ENOENT'),
  );
  await assert.rejects(
    codec.encode(object, 0, { path: 'short', offset: 500, lengthBytes: 501 }),
    /ends at 1000/,
  );
  let undo = disk.fail({ code: 'EIO', kinds: ['read'] });
  await assert.rejects(codec.encode(object, 0, { path: 'short', offset: 0, lengthBytes: 10 }), code('EIO'));
  undo();
  const shards = await encodeAndStore(object, 0, noise(1000));
  for (const kind of ['ENOSPC', 'EIO'] as const) {
    undo = disk.fail({ code: kind, kinds: ['write'] });
    await assert.rejects(
      codec.decode(object, 0, 1000, shards, { file: { path: 'short', offset: 0 } }),
      code(kind),
    );
    undo();
  }
  await assert.rejects(
    codec.decode(object, 0, 1000, shards, { file: { path: 'absent', offset: 0 } }),
    code('ENOENT'),
  );
  assert.equal(codec.memory.usedBytes, 0);
});

test('any changed byte of a shard, header or body, is noticed in that shard alone', async () => {
  const object = codedObject(2, 3);
  const plain = noise(500);
  const shards = await encodeAndStore(object, 7, plain);
  const [first] = shards as [ShardCandidate];
  assert.equal(shardDefect(object, 7, 500, first), undefined);
  for (let at = 0; at < first.bytes.length; at++) {
    const bytes = Uint8Array.from(first.bytes);
    bytes[at]! ^= 1 << (at % 8);
    assert.notEqual(shardDefect(object, 7, 500, { index: 0, bytes }), undefined, `byte ${at}`);
    if (at % 16 !== 0) continue;
    const candidates = [{ index: 0, bytes }, ...pick(shards, 1, 2)];
    const decoded = await codec.decode(object, 7, 500, candidates, { bytes: true });
    equal(decoded.bytes, plain);
    assert.deepEqual(
      decoded.bad.map(({ index }) => index),
      [0],
    );
    decoded.release();
    await assert.rejects(
      codec.decode(object, 7, 500, candidates.slice(0, 2), { bytes: true }),
      (error: unknown) =>
        error instanceof TooFewShards && error.good === 1 && error.needed === 2 && error.bad[0]?.index === 0,
    );
  }
  assert.equal(codec.memory.usedBytes, 0);
});

test('shards cut, extended, empty, or of anything else count as missing, each with its reason', async () => {
  const object = codedObject(2, 4);
  const plain = noise(5000);
  const shards = await encodeAndStore(object, 7, plain);
  const [good] = shards as [ShardCandidate];
  const variant = async (changes: Partial<CodedObject>, stripe = 7, content = plain): Promise<Uint8Array> =>
    (await encodeAndStore({ ...object, ...changes }, stripe, content))[0]!.bytes;
  const wrongKeys = { contents: object.keys.contents, shards: noise(32, 99) };
  const extended = new Uint8Array(good.bytes.length + 16);
  extended.set(good.bytes);
  const wrong: readonly (readonly [string, ShardDefect, Uint8Array])[] = [
    ['empty', 'length', new Uint8Array(0)],
    ['header cut', 'length', good.bytes.subarray(0, 63)],
    ['body cut', 'length', good.bytes.subarray(0, -1)],
    ['header only', 'length', good.bytes.subarray(0, 64)],
    ['extended', 'length', extended],
    ['far too long', 'length', noise(200_000)],
    ['noise', 'format', noise(good.bytes.length)],
    ['zeros', 'format', new Uint8Array(good.bytes.length)],
    ['of another index', 'misplaced', shards[1]!.bytes],
    ['of another stripe', 'stripe', await variant({}, 8)],
    ['of another object', 'object', await variant({ id: noise(16, 5) })],
    ['of another generation', 'stale', await variant({ generation: 1 })],
    ['of another k', 'shape', await variant({ k: 3 })],
    ['of another n', 'shape', await variant({ n: 5 })],
    ['of another length', 'shape', await variant({}, 7, plain.subarray(1))],
    ['forged with another key', 'checksum', await variant({ keys: wrongKeys })],
  ];
  for (const [what, defect, bytes] of wrong) {
    const isLongest = bytes.length > 100_000;
    if (!isLongest) assert.equal(shardDefect(object, 7, 5000, { index: 0, bytes }), defect, what);
    const decoded = await codec.decode(object, 7, 5000, [{ index: 0, bytes }, ...pick(shards, 1, 3)], {
      bytes: true,
    });
    equal(decoded.bytes, plain);
    assert.equal(decoded.bad.length, 1, what);
    if (!isLongest) assert.deepEqual(decoded.bad, [{ index: 0, defect }], what);
    decoded.release();
    const rebuilt = await codec.rebuild(object, 7, 5000, [{ index: 0, bytes }, ...pick(shards, 1, 3)], [0]);
    equal(rebuilt.shards[0]!.bytes, good.bytes);
    rebuilt.release();
  }
  await assert.rejects(codec.decode(object, 7, 5000, [], { bytes: true }), TooFewShards);
  assert.equal(codec.memory.usedBytes, 0);
});

test('the wrong contents key gives an error, never bytes', async () => {
  const object = codedObject(2, 3);
  const shards = await encodeAndStore(object, 0, noise(1000));
  const other = { ...object, keys: { contents: noise(32, 50), shards: object.keys.shards } };
  writeFile('untouched', new Uint8Array(1000).fill(3));
  await assert.rejects(
    codec.decode(other, 0, 1000, shards, { bytes: true, file: { path: 'untouched', offset: 0 } }),
    StripeNotAuthentic,
  );
  equal(readWhole(disk, 'untouched')!, new Uint8Array(1000).fill(3));
});

test('authentic shards of two encodings are not mixed: the side with k shards wins', async () => {
  // Two contents under one salt break the rule of the format; nothing wrong may come of it even so.
  const object = codedObject(2, 5);
  const old = await encodeAndStore(object, 0, noise(3000));
  const plain = prose(3000);
  const current = await encodeAndStore(object, 0, plain);
  const decoded = await codec.decode(object, 0, 3000, [old[0]!, ...pick(current, 1, 2)], { bytes: true });
  equal(decoded.bytes, plain);
  assert.deepEqual(decoded.bad, [{ index: 0, defect: 'disagrees' }]);
  decoded.release();
});

test('the keys of an object depend on master key and salt, and contents are never shared between objects', async () => {
  const a = codedObject(1, 1, 1);
  const b = { ...codedObject(1, 1, 2), id: a.id };
  const plain = noise(1000);
  const [first] = await encodeAndStore(a, 0, plain);
  const [second] = await encodeAndStore(b, 0, plain);
  assert.notEqual(Buffer.compare(first!.bytes.subarray(64), second!.bytes.subarray(64)), 0);
  assert.equal(shardDefect(a, 0, 1000, { index: 0, bytes: second!.bytes }), 'checksum');
});

test('reserved memory is used in place, for sources and for candidates', async () => {
  const object = codedObject(3, 5);
  const plain = noise(100_000);
  const source = await codec.reserve(plain.length);
  source.bytes.set(plain);
  const before = codec.memory.usedBytes;
  const encoded = await codec.encode(object, 0, source.bytes);
  assert.ok(codec.memory.usedBytes - before <= encoded.shardBytes * 5 + 64);
  equal(source.bytes, plain);
  source.release();
  const shards = stored(encoded);
  encoded.release();
  const reservations = await Promise.all(
    pick(shards, 0, 2, 4).map(({ bytes }) => codec.reserve(bytes.length)),
  );
  const candidates = pick(shards, 0, 2, 4).map(({ index, bytes }, i) => {
    reservations[i]!.bytes.set(bytes);
    return { index, bytes: reservations[i]!.bytes };
  });
  equal(await decodeBytes(object, 0, plain.length, candidates), plain);
  const rebuilt = await codec.rebuild(object, 0, plain.length, candidates, [1, 3]);
  equal(rebuilt.shards[0]!.bytes, shards[1]!.bytes);
  equal(rebuilt.shards[1]!.bytes, shards[3]!.bytes);
  rebuilt.release();
  for (const reservation of reservations) reservation.release();
  assert.equal(codec.memory.usedBytes, 0);
});

test('arguments no caller may pass are refused with a sentence, and hold no memory', async () => {
  const object = codedObject(3, 5);
  const plain = noise(100);
  const shards = await encodeAndStore(object, 0, plain);
  const to = { bytes: true };
  const calls: (() => Promise<unknown>)[] = [
    () => codec.encode({ ...object, k: 0 }, 0, plain),
    () => codec.encode({ ...object, k: 6 }, 0, plain),
    () => codec.encode({ ...object, n: 257 }, 0, plain),
    () => codec.encode({ ...object, generation: -1 }, 0, plain),
    () => codec.encode({ ...object, id: plain }, 0, plain),
    () => codec.encode({ ...object, keys: { contents: plain, shards: plain } }, 0, plain),
    () => codec.encode(object, 2 ** 32, plain),
    () => codec.encode(object, 0.5, plain),
    () => codec.encode(object, 0, { path: 'x', offset: 0, lengthBytes: 16 * MIB + 1 }),
    () => codec.decode(object, 0, -1, shards, to),
    () => codec.decode(object, 0, 100, shards, {}),
    () => codec.decode(object, 0, 100, [shards[0]!, shards[0]!, shards[1]!], to),
    () => codec.decode(object, 0, 100, [{ index: 5, bytes: plain }], to),
    () => codec.rebuild(object, 0, 100, shards, [5]),
    () => codec.rebuild(object, 0, 100, shards, [1, 1]),
    () => codec.reserve(-1),
    () => codec.reserve(2 ** 31),
  ];
  for (const call of calls) await assert.rejects(call(), RangeError);
  assert.throws(() => new CodecPool({ threads: -1 }), RangeError);
  assert.throws(() => new CodecPool({ memoryBytes: 2 ** 33 }), RangeError);
  assert.equal(codec.memory.usedBytes, 0);
});
