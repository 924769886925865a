// The allocator of shared memory: regions never overlap, everything comes back, the bound holds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ARENA_ALIGNMENT_BYTES, ARENA_MAX_BYTES, Arena } from '../src/index.ts';

test('property: regions are aligned, disjoint and inside, and all memory comes back', () => {
  const step = fc.record({
    grow: fc.boolean(),
    high: fc.boolean(),
    pick: fc.nat(),
    bytes: fc.integer({ min: 0, max: 40_000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const arena = new Arena(256 * 1024);
      const regions = new Map<number, number>();
      for (const { grow, high, pick, bytes } of steps) {
        const offsets = [...regions.keys()];
        if (grow || offsets.length === 0) {
          const offset = high ? arena.allocateHigh(bytes) : arena.allocate(bytes);
          if (offset === undefined) continue;
          assert.equal(offset % ARENA_ALIGNMENT_BYTES, 0);
          assert.ok(offset > 0 && offset + bytes <= arena.bytes.length);
          for (const [other, length] of regions) {
            assert.ok(offset + bytes <= other || other + length <= offset, 'regions overlap');
          }
          regions.set(offset, bytes);
          continue;
        }
        const offset = offsets[pick % offsets.length]!;
        if (bytes <= regions.get(offset)! && pick % 3 === 0) {
          arena.shrink(offset, bytes);
          regions.set(offset, bytes);
        } else {
          arena.free(offset);
          regions.delete(offset);
        }
      }
      for (const offset of regions.keys()) arena.free(offset);
      assert.equal(arena.usedBytes, 0);
      // One region again, not pieces.
      assert.notEqual(arena.allocate(arena.largestBytes), undefined);
      assert.equal(arena.allocate(1), undefined);
    }),
    { numRuns: 100 },
  );
});

test('what was not given out cannot be given back', () => {
  const arena = new Arena(65536);
  const offset = arena.allocate(100)!;
  assert.throws(() => arena.free(offset + 64), RangeError);
  assert.throws(() => arena.shrink(offset, 1000), RangeError);
  arena.free(offset);
  assert.throws(() => arena.free(offset), RangeError);
});

test('impossible sizes are refused', () => {
  for (const size of [0, -1, Number.NaN, ARENA_MAX_BYTES + 1])
    assert.throws(() => new Arena(size), RangeError);
});

test('a region can be kept below an offset, and others above everything', () => {
  const arena = new Arena(65536);
  const low = arena.allocate(10_000, 20_000)!;
  assert.equal(arena.allocate(15_000, 20_000), undefined);
  const high = arena.allocateHigh(10_000)!;
  assert.ok(low + 10_000 <= 20_000 && high + 10_000 > 65_536 - ARENA_ALIGNMENT_BYTES);
  assert.ok(arena.allocate(15_000)! < high);
});
