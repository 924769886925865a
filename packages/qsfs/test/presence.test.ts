import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crashPolicies, SimulatedDisk } from '@qsfs/io/simulated';
import fc from 'fast-check';
import { Presence } from '../src/local/presence.ts';
import { StripeMap, stripeRuns } from '../src/local/stripe-map.ts';

const STRIPE = 4096;
const STRIPES = 10;
const FILE_MAX = STRIPE * STRIPES;

function open(disk: SimulatedDisk): Presence {
  return Presence.open(disk, '/presence', STRIPE, FILE_MAX);
}

function absentStripes(presence: Presence, file: number): number[] {
  return Array.from({ length: STRIPES }, (_, stripe) => stripe).filter((stripe) =>
    presence.absent.has(file, stripe),
  );
}

test('a file without a record is wholly local', () => {
  const presence = open(new SimulatedDisk());
  assert.ok(!presence.absent.any(12345, 0, FILE_MAX));
  assert.deepEqual([...presence.trackedFiles()], []);
});

test('what was dropped is absent after reopening, what was brought only once it was recorded', () => {
  const disk = new SimulatedDisk();
  const first = open(disk);
  first.recordAbsent(3, 2, 5);
  first.flush();
  first.notePresent(3, 2, 1);
  first.flush();
  assert.deepEqual(absentStripes(first, 3), [3, 4, 5, 6]);
  assert.deepEqual(absentStripes(open(disk), 3), [2, 3, 4, 5, 6]);
  first.recordPresent(first.mark(3));
  first.flush();
  assert.deepEqual(absentStripes(open(disk), 3), [3, 4, 5, 6]);
  first.notePresent(3, 3, 4);
  first.recordPresent(first.mark(3));
  first.flush();
  assert.deepEqual([...open(disk).trackedFiles()], []);
});

test('a mark proves nothing about what was brought after it, nor after a drop', () => {
  const disk = new SimulatedDisk();
  const presence = open(disk);
  presence.recordAbsent(0, 0, 4);
  presence.notePresent(0, 0, 1);
  const early = presence.mark(0);
  presence.notePresent(0, 1, 1);
  presence.recordPresent(early);
  presence.flush();
  assert.deepEqual(absentStripes(open(disk), 0), [1, 2, 3]);
  assert.deepEqual(presence.unrecorded(), [0]);
  const overtaken = presence.mark(0);
  presence.recordAbsent(0, 1, 1);
  presence.notePresent(0, 1, 1);
  presence.recordPresent(overtaken);
  presence.flush();
  assert.deepEqual(absentStripes(open(disk), 0), [1, 2, 3]);
});

test('a drop of one stripe does not record another that was brought and is not synced', () => {
  const disk = new SimulatedDisk();
  const presence = open(disk);
  presence.recordAbsent(0, 0, 2);
  presence.flush();
  presence.notePresent(0, 0, 1);
  presence.recordAbsent(0, 5, 1);
  presence.flush();
  assert.deepEqual(absentStripes(open(disk), 0), [0, 1, 5]);
});

test('a damaged record counts as wholly absent', () => {
  const disk = new SimulatedDisk();
  const presence = open(disk);
  presence.recordAbsent(1, 4, 1);
  presence.flush();
  const file = disk.open('/presence', 'write');
  file.write(Uint8Array.of(0xff), 512 + 8 + 2);
  file.close();
  assert.equal(absentStripes(open(disk), 1).length, STRIPES);
});

/** The disk's own holes: a stripe is there when its bytes were written and not punched since. */
test('no crash leaves a stripe recorded as present whose bytes are gone', () => {
  type Step = { readonly kind: 'drop' | 'bring' | 'record'; readonly stripe: number };
  const step: fc.Arbitrary<Step> = fc.record({
    kind: fc.constantFrom('drop' as const, 'bring' as const, 'record' as const),
    stripe: fc.nat({ max: STRIPES - 1 }),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 20 }), fc.integer(), (steps, seed) => {
      const disk = new SimulatedDisk();
      const presence = open(disk);
      const data = disk.open('/d0', 'create');
      for (let stripe = 0; stripe < STRIPES; stripe += 1) data.write(content(stripe), stripe * STRIPE);
      data.datasync();
      disk.syncDirectory('/');
      for (const { kind, stripe } of steps) {
        const absent = presence.absent.has(0, stripe);
        if (kind === 'drop' && !absent) {
          presence.recordAbsent(0, stripe, 1);
          presence.flush();
          data.punchHole(stripe * STRIPE, STRIPE);
        } else if (kind === 'bring' && absent) {
          data.write(content(stripe), stripe * STRIPE);
          presence.notePresent(0, stripe, 1);
        } else if (kind === 'record') {
          const mark = presence.mark(0);
          data.datasync();
          presence.recordPresent(mark);
          presence.flush();
        }
        for (const policy of crashPolicies(seed)) {
          const after = disk.crash(policy);
          const found = open(after);
          const file = after.open('/d0', 'read');
          for (let place = 0; place < STRIPES; place += 1) {
            if (found.absent.has(0, place)) continue;
            const bytes = new Uint8Array(STRIPE);
            file.read(bytes, place * STRIPE);
            assert.deepEqual(bytes, content(place), `${policy.name}: stripe ${place}`);
          }
        }
      }
    }),
    { numRuns: 25 },
  );
});

function content(stripe: number): Uint8Array {
  return new Uint8Array(STRIPE).fill(stripe + 1);
}

test('a stripe map agrees with a set of pairs', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(fc.boolean(), fc.nat({ max: 70 }), fc.nat({ max: 39 }), fc.integer({ min: 1, max: 8 })),
      ),
      (steps) => {
        const map = new StripeMap(STRIPE, STRIPE * 40);
        const model = new Set<string>();
        for (const [add, file, first, wanted] of steps) {
          const count = Math.min(wanted, 40 - first);
          if (add) map.add(file, first, count);
          else map.delete(file, first, count);
          for (let stripe = first; stripe < first + count; stripe += 1) {
            if (add) model.add(`${file}/${stripe}`);
            else model.delete(`${file}/${stripe}`);
          }
        }
        const copy = new StripeMap(STRIPE, STRIPE * 40);
        for (let file = 0; file <= 70; file += 1) {
          copy.decode(file, map.encode(file));
          for (let stripe = 0; stripe < 40; stripe += 1) {
            const wanted = model.has(`${file}/${stripe}`);
            assert.equal(map.has(file, stripe), wanted);
            assert.equal(copy.has(file, stripe), wanted);
            assert.equal(map.any(file, stripe * STRIPE + 5, 1), wanted);
          }
          assert.equal(map.size(file), [...model].filter((key) => key.startsWith(`${file}/`)).length);
        }
      },
    ),
    { numRuns: 50 },
  );
});

test('a range belongs to every stripe it touches', () => {
  const map = new StripeMap(STRIPE, FILE_MAX);
  map.add(2, 3);
  assert.ok(!map.any(2, 0, 3 * STRIPE));
  assert.ok(map.any(2, 0, 3 * STRIPE + 1));
  assert.ok(map.any(2, 4 * STRIPE - 1, 10));
  assert.ok(!map.any(2, 4 * STRIPE, 10));
  assert.ok(!map.any(2, 3 * STRIPE, 0));
  assert.deepEqual(
    stripeRuns(8, (stripe) => stripe !== 0 && stripe !== 4),
    [
      { first: 1, count: 3 },
      { first: 5, count: 3 },
    ],
  );
});
