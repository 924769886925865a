// The code: golden vectors, every loss pattern of small codes, random ones of large codes, both kernels, any placement.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  Arena,
  createKernel,
  type Kernel,
  plainKernel,
  ReedSolomon,
  SIMD_WORKSPACE_BYTES,
  SimdKernel,
} from '../src/index.ts';

interface Vector {
  readonly name?: string;
  readonly k: number;
  readonly m: number;
  readonly data: readonly string[];
  readonly parity: readonly string[];
}

const fixtures = JSON.parse(readFileSync(new URL('./fixtures/vectors.json', import.meta.url), 'utf8')) as {
  readonly known_answers: readonly Vector[];
  readonly vectors: readonly Vector[];
  readonly object_cases: readonly Vector[];
  readonly parity_matrices: readonly {
    readonly k: number;
    readonly m: number;
    readonly rows: readonly string[];
  }[];
};

const kernels: readonly Kernel[] = [createKernel(), plainKernel];
const fromHex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Bytes that look random and depend only on the seed. */
function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed * 2654435761 + 12345) >>> 0;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state;
  }
  return bytes;
}

/** k data shards and their parity. */
function stripe(coder: ReedSolomon, length: number, seed: number): Uint8Array[] {
  const data = Array.from({ length: coder.k }, (_, i) => noise(length, seed * 1000 + i));
  const parity = Array.from({ length: coder.m }, () => new Uint8Array(length).fill(0xee));
  coder.encode(data, parity);
  return [...data, ...parity];
}

/** Loses the shards not in `kept`, makes them again and compares. */
function assertRecovers(coder: ReedSolomon, shards: readonly Uint8Array[], kept: ReadonlySet<number>): void {
  const left = shards.map((shard, index) => (kept.has(index) ? shard : undefined));
  const wanted = new Map<number, Uint8Array>();
  for (const [index, shard] of shards.entries()) {
    if (!kept.has(index)) wanted.set(index, new Uint8Array(shard.length).fill(0x55));
  }
  coder.reconstruct(left, wanted);
  for (const [index, shard] of wanted) {
    assert.deepEqual(shard, shards[index], `shard ${index} of ${coder.k}+${coder.m} from ${[...kept]}`);
  }
}

/** All subsets of `size` of the numbers 0 … n - 1. */
function* subsets(n: number, size: number, from = 0): Generator<number[]> {
  if (size === 0) {
    yield [];
    return;
  }
  for (let first = from; first <= n - size; first++) {
    for (const rest of subsets(n, size - 1, first + 1)) yield [first, ...rest];
  }
}

test('the SIMD kernel is what runs on the pinned engine', () => {
  assert.equal(createKernel().name, 'simd');
});

for (const kernel of kernels) {
  test(`${kernel.name}: equals every golden vector`, () => {
    const all = [...fixtures.known_answers, ...fixtures.vectors, ...fixtures.object_cases];
    assert.ok(all.length >= 57);
    for (const { name, k, m, data, parity } of all) {
      const outputs = parity.map((text) => new Uint8Array(text.length / 2));
      new ReedSolomon(k, m, kernel).encode(data.map(fromHex), outputs);
      assert.deepEqual(outputs.map(toHex), parity, name ?? `${k}+${m}`);
    }
  });

  test(`${kernel.name}: every loss pattern of every code up to 5+4, lengths around the vector width`, () => {
    for (let k = 1; k <= 5; k++) {
      for (let m = 0; m <= 4; m++) {
        const coder = new ReedSolomon(k, m, kernel);
        for (const length of [1, 31, 33]) {
          const shards = stripe(coder, length, k * 10 + m);
          for (const kept of subsets(k + m, k)) assertRecovers(coder, shards, new Set(kept));
        }
      }
    }
  });
}

test('the parity matrices are the golden ones', () => {
  for (const { k, m, rows } of fixtures.parity_matrices) {
    assert.equal(toHex(new ReedSolomon(k, m).parityMatrix.bytes), rows.join(''));
  }
});

test('every loss pattern of 10+4 and of 3+5', () => {
  for (const [k, m] of [
    [10, 4],
    [3, 5],
  ] as const) {
    const coder = new ReedSolomon(k, m);
    const shards = stripe(coder, 50, k);
    for (const kept of subsets(k + m, k)) assertRecovers(coder, shards, new Set(kept));
  }
});

test('large codes up to 256 shards recover from random losses, alike in both kernels', () => {
  for (const [k, m] of [
    [1, 255],
    [255, 1],
    [256, 0],
    [128, 128],
    [200, 56],
    [17, 100],
  ] as const) {
    const simd = new ReedSolomon(k, m);
    const plain = new ReedSolomon(k, m, plainKernel);
    const shards = stripe(simd, 77, k);
    assert.deepEqual(shards, stripe(plain, 77, k));
    const order = Array.from({ length: k + m }, (_, index) => index);
    const random = noise(4 * (k + m), k + 7);
    for (let i = order.length - 1; i > 0; i--) {
      const j = ((random[2 * i]! << 8) | random[2 * i + 1]!) % (i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    const kept = new Set(order.slice(0, k));
    assertRecovers(simd, shards, kept);
    assertRecovers(plain, shards, kept);
  }
});

test('property: any code, length and loss gives the shards back, and both kernels agree', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 24 }),
      fc.integer({ min: 0, max: 12 }),
      fc.integer({ min: 0, max: 9000 }),
      fc.nat(),
      fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
      (k, m, length, seed, stream) => {
        const coder = new ReedSolomon(k, m);
        const shards = stripe(coder, length, seed);
        assert.deepEqual(shards, stripe(new ReedSolomon(k, m, plainKernel), length, seed));
        const weights = shards.map((_, index) => ({ index, weight: stream.next().value as number }));
        weights.sort((a, b) => a.weight - b.weight);
        assertRecovers(coder, shards, new Set(weights.slice(0, k).map(({ index }) => index)));
      },
    ),
    { numRuns: 150 },
  );
});

test('shards inside a shared memory are coded in place, and nothing around them changes', () => {
  const arena = new Arena(8 << 20);
  const kernel = createKernel({
    memory: arena.memory,
    workspaceOffset: arena.allocate(SIMD_WORKSPACE_BYTES)!,
  });
  assert.ok(kernel instanceof SimdKernel);
  const coder = new ReedSolomon(5, 7, kernel);
  const reference = new ReedSolomon(5, 7, plainKernel);
  for (const length of [1, 16, 31, 32, 33, 4096, 65535, 100_001]) {
    const expected = stripe(reference, length, length);
    const fence = 0xa5;
    const start = arena.allocate(12 * (length + 7))!;
    const region = arena.view(start, 12 * (length + 7));
    region.fill(fence);
    // Odd distances: no shard is aligned.
    const shards = expected.map((_, i) => arena.view(start + i * (length + 7) + 3, length));
    for (let i = 0; i < 5; i++) shards[i]!.set(expected[i]!);
    coder.encode(shards.slice(0, 5), shards.slice(5));
    for (const [i, shard] of shards.entries()) {
      assert.equal(Buffer.compare(shard, expected[i]!), 0, `shard ${i} of ${length} bytes`);
    }
    const left = shards.map((shard, i) => ([0, 3, 8].includes(i) ? undefined : shard));
    // One wanted shard inside the memory, one outside.
    const outside = new Uint8Array(length);
    shards[0]!.fill(0);
    coder.reconstruct(
      left,
      new Map([
        [0, shards[0]!],
        [8, outside],
      ]),
    );
    assert.equal(Buffer.compare(shards[0]!, expected[0]!), 0);
    assert.equal(Buffer.compare(outside, expected[8]!), 0);
    for (let i = 0; i < 12; i++) {
      const at = i * (length + 7);
      assert.ok(region.subarray(at, at + 3).every((byte) => byte === fence));
      assert.ok(region.subarray(at + 3 + length, at + 7 + length).every((byte) => byte === fence));
    }
    arena.free(start);
  }
});

test('more loss patterns than are remembered still give the right shards', () => {
  const coder = new ReedSolomon(6, 4);
  const shards = stripe(coder, 40, 3);
  for (let round = 0; round < 2; round++) {
    for (const kept of subsets(10, 6)) assertRecovers(coder, shards, new Set(kept));
  }
});

test('impossible codes and calls are refused with a sentence', () => {
  for (const [k, m] of [
    [0, 1],
    [1, -1],
    [200, 57],
    [1.5, 1],
    [Number.NaN, 1],
  ] as const) {
    assert.throws(() => new ReedSolomon(k, m), RangeError);
  }
  for (const kernel of kernels) {
    const coder = new ReedSolomon(2, 2, kernel);
    const [a, b, c, d] = stripe(coder, 8, 1) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    const one = new Map([[0, new Uint8Array(8)]]);
    assert.throws(() => coder.encode([a], [c, d]), /cannot make/);
    assert.throws(() => coder.encode([a, b], [c]), /cannot make/);
    assert.throws(() => coder.encode([a, b.subarray(1)], [c, d]), /one length/);
    assert.throws(() => coder.encode([a, b], [c, new Uint8Array(9)]), /one length/);
    assert.throws(() => coder.reconstruct([undefined, undefined, c, undefined], one), /1 shards are there/);
    assert.throws(() => coder.reconstruct([a, b, c], one), /3 entries/);
    assert.throws(() => coder.reconstruct([a, b, c, d], one), /is there/);
    assert.throws(
      () => coder.reconstruct([undefined, b, c, d], new Map([[4, new Uint8Array(8)]])),
      /does not exist/,
    );
    assert.throws(
      () => coder.reconstruct([undefined, b, c, d], new Map([[0, new Uint8Array(7)]])),
      /one length/,
    );
  }
});
