import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Random } from '@qsfs/io';
import fc from 'fast-check';
import { infeasible, place } from '../src/placement/placement.ts';
import { completable, shardsLeft, shardsToSurvive, survives } from '../src/placement/survival.ts';
import { describeTolerance, toleranceOf, weakest } from '../src/placement/tolerance.ts';

function seeded(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
  return {
    bytes: (length) => Uint8Array.from({ length }, () => next() >>> 24),
    below: (limit) => Math.floor((next() / 2 ** 32) * limit),
  };
}

/** All ways to choose `count` of the items. */
function* choices<T>(items: readonly T[], count: number): Generator<T[]> {
  if (count === 0) yield [];
  else {
    for (let index = 0; index <= items.length - count; index++) {
      for (const rest of choices(items.slice(index + 1), count - 1)) yield [items[index]!, ...rest];
    }
  }
}

/** Shards left after the worst loss, by trying every loss of whole groups and of backends in the others. */
function leftByForce(layout: readonly number[], groups: number, nodes: number): number {
  let worst = Number.POSITIVE_INFINITY;
  const indexes = layout.map((_, index) => index);
  for (const lost of choices(indexes, Math.min(groups, layout.length))) {
    let left = 0;
    for (const index of indexes) if (!lost.includes(index)) left += Math.max(0, layout[index]! - nodes);
    worst = Math.min(worst, left);
  }
  return worst;
}

/** Every layout between `base` and `capacity` with exactly `add` more shards. */
function* layouts(
  base: readonly number[],
  capacity: readonly number[],
  add: number,
  from = 0,
): Generator<number[]> {
  if (from === base.length) {
    if (add === 0) yield [...base];
    return;
  }
  for (let more = 0; more <= Math.min(add, capacity[from]! - base[from]!); more++) {
    const next = [...base];
    next[from] = base[from]! + more;
    yield* layouts(next, capacity, add - more, from + 1);
  }
}

const small = fc.record({
  capacity: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 4 }),
  filled: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 4, maxLength: 4 }),
  minimalShards: fc.integer({ min: 1, max: 6 }),
  redundantGroups: fc.integer({ min: 0, max: 3 }),
  redundantNodes: fc.integer({ min: 0, max: 3 }),
});

test('the shards left after the worst loss equal a search over all losses', () => {
  fc.assert(
    fc.property(small, ({ capacity, redundantGroups, redundantNodes }) => {
      assert.equal(
        shardsLeft(capacity, redundantGroups, redundantNodes),
        leftByForce(capacity, redundantGroups, redundantNodes),
      );
    }),
  );
});

test('a layout is completable exactly when a search over all completions finds one', () => {
  fc.assert(
    fc.property(small, ({ capacity, filled, ...policy }) => {
      const base = capacity.map((backends, index) => Math.floor(backends * filled[index]!));
      const room = capacity.reduce((sum, backends, index) => sum + backends - base[index]!, 0);
      let fewest: number | undefined;
      for (let add = 0; add <= room; add++) {
        let found = false;
        for (const layout of layouts(base, capacity, add)) {
          if (leftByForce(layout, policy.redundantGroups, policy.redundantNodes) < policy.minimalShards)
            continue;
          found = true;
          break;
        }
        assert.equal(completable(base, capacity, add, policy), found, `add ${add}`);
        if (found) fewest ??= add;
      }
      assert.equal(shardsToSurvive(base, capacity, policy), fewest);
    }),
    { numRuns: 1000 },
  );
});

test('placement finds a surviving layout whenever there is one, on distinct usable backends', () => {
  fc.assert(
    fc.property(
      small,
      fc.array(fc.boolean(), { minLength: 16, maxLength: 16 }),
      fc.integer({ min: 1, max: 12 }),
      fc.integer(),
      ({ capacity, ...policy }, down, shards, seed) => {
        const candidates = capacity.flatMap((backends, group) =>
          Array.from({ length: backends }, (_, index) => ({ name: `${group}.${index}`, group, index })),
        );
        const states = candidates.map((candidate, index) => ({
          ...candidate,
          usable: !down[index],
          weight: 1 + (index % 3),
        }));
        const live = capacity.map((_, group) => states.filter((s) => s.group === group && s.usable).length);
        const request = { candidates: states, groups: capacity.length, shards, policy, quorum: 1 };
        const placed = place(request, seeded(seed));
        const usable = live.reduce((sum, backends) => sum + backends, 0);
        if ('refused' in placed) {
          assert.equal(usable, 0);
          return;
        }
        assert.equal(new Set(placed.backends).size, placed.backends.length);
        assert.ok(placed.backends.every((index) => states[index]!.usable));
        assert.equal(placed.backends.length + placed.missing, shards);
        const layout = capacity.map(
          (_, group) => placed.backends.filter((i) => states[i]!.group === group).length,
        );
        const empty = capacity.map(() => 0);
        if (completable(empty, live, shards, policy)) {
          assert.equal(placed.missing, 0);
          assert.ok(survives(layout, policy));
        } else if (completable(empty, capacity, shards, policy) && placed.backends.length > 1) {
          assert.ok(
            completable(layout, capacity, placed.missing, policy),
            'the returning backends make it whole',
          );
        }
        assert.deepEqual(place(request, seeded(seed)), placed, 'same random numbers, same placement');
      },
    ),
    { numRuns: 1000 },
  );
});

test('placement tends to the backends with more weight', () => {
  const candidates = Array.from({ length: 10 }, (_, index) => ({
    name: `b${index}`,
    group: 0,
    usable: true,
    weight: index < 5 ? 1 : 100,
  }));
  const random = seeded(7);
  const policy = { minimalShards: 2, redundantGroups: 0, redundantNodes: 0 };
  let heavy = 0;
  for (let round = 0; round < 200; round++) {
    const placed = place({ candidates, groups: 1, shards: 5, policy, quorum: 3 }, random);
    assert.ok(!('refused' in placed));
    heavy += placed.backends.filter((index) => index >= 5).length;
  }
  assert.ok(heavy > 900, `${heavy} of 1000 shards`);
});

test('shards that are held already are completed to the policy, not placed anew', () => {
  const candidates = ['a0', 'a1', 'b0', 'b1', 'c0', 'c1', 'd0', 'd1'].map((name, index) => ({
    name,
    group: index >> 1,
    usable: !['d0'].includes(name),
    weight: 1,
  }));
  const policy = { minimalShards: 3, redundantGroups: 1, redundantNodes: 1 };
  const holders = ['a0', 'a1', 'b0', 'b1', 'c0', 'c1', 'd1'];
  const down = place({ candidates, groups: 4, shards: 8, policy, holders, quorum: 4 }, seeded(1));
  assert.deepEqual(down, { backends: [], missing: 1 });
  const back = candidates.map((candidate) => ({ ...candidate, usable: true }));
  assert.deepEqual(place({ candidates: back, groups: 4, shards: 8, policy, holders, quorum: 4 }, seeded(1)), {
    backends: [6],
    missing: 0,
  });
});

test('a refusal names the backends whose return would help', () => {
  const candidates = ['a', 'b', 'c', 'd'].map((name) => ({
    name,
    group: 0,
    usable: name === 'a',
    weight: 1,
  }));
  const policy = { minimalShards: 2, redundantGroups: 0, redundantNodes: 0 };
  const placed = place({ candidates, groups: 1, shards: 4, policy, quorum: 3 }, seeded(1));
  assert.ok('refused' in placed);
  assert.match(placed.refused, /any 2 of: b, c, d/);
});

test('placement of 256 shards over 64 groups is quick enough to be done for every stripe', () => {
  const candidates = Array.from({ length: 512 }, (_, index) => ({
    name: `b${index}`,
    group: index % 64,
    usable: true,
    weight: 1,
  }));
  const policy = { minimalShards: 128, redundantGroups: 8, redundantNodes: 1 };
  const placed = place({ candidates, groups: 64, shards: 256, policy, quorum: 129 }, seeded(3));
  assert.ok(!('refused' in placed));
  const layout = new Array<number>(64).fill(0);
  for (const index of placed.backends) layout[candidates[index]!.group]!++;
  assert.ok(survives(layout, policy));
});

test('an impossible policy is explained by changes that make it possible', () => {
  const policy = { minimalShards: 4, redundantGroups: 1, redundantNodes: 1 };
  assert.equal(infeasible([2, 2, 2, 2], ['a', 'b', 'c', 'd'], 8, { ...policy, minimalShards: 3 }), undefined);
  const fix = infeasible([2, 2, 2, 2], ['a', 'b', 'c', 'd'], 8, policy);
  assert.match(fix ?? '', /lower minimal_shards to 3/);
  assert.match(
    infeasible([8], ['only'], 8, { ...policy, minimalShards: 3 }) ?? '',
    /add 4 backends to a new group/,
  );
});

test('the tolerance of a layout equals a search over all losses', () => {
  fc.assert(
    fc.property(small, ({ capacity, minimalShards }) => {
      const tolerance = toleranceOf(capacity, minimalShards);
      const live = capacity.reduce((sum, shards) => sum + shards, 0);
      if (live < minimalShards) {
        assert.deepEqual(tolerance, { backends: -1, groups: -1, combinations: [] });
        return;
      }
      assert.equal(tolerance.backends, live - minimalShards);
      for (const { groups, nodesPerGroup } of tolerance.combinations) {
        assert.ok(leftByForce(capacity, groups, nodesPerGroup) >= minimalShards);
        const most = Math.max(0, ...capacity);
        if (nodesPerGroup < most) assert.ok(leftByForce(capacity, groups, nodesPerGroup + 1) < minimalShards);
      }
      assert.ok(leftByForce(capacity, tolerance.groups, 0) >= minimalShards);
      if (tolerance.groups < capacity.length) {
        assert.ok(leftByForce(capacity, tolerance.groups + 1, 0) < minimalShards);
      }
    }),
  );
});

test('several stripes survive what the weakest survives', () => {
  const whole = toleranceOf([2, 2, 2, 2], 3);
  assert.equal(
    describeTolerance(whole),
    'any 5 backends, or 1 backend in every group, or any 1 group plus 1 backend in each other group, or any 2 groups',
  );
  const hurt = toleranceOf([2, 2, 2, 0], 3);
  assert.deepEqual(weakest([whole, hurt]), hurt);
  assert.equal(describeTolerance(toleranceOf([1, 1], 3)), 'nothing: too few are left to read');
});
