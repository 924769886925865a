import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedClock } from '@qsfs/io/simulated';
import { StripeLoans } from '../src/filesystem/loans.ts';
import { StripeMap } from '../src/local/stripe-map.ts';

const STRIPE = 4096;
const NAME = 'zdbfs-data';
const MIB = 2 ** 20;

function start(stripeBytes = STRIPE) {
  const clock = new SimulatedClock();
  const absent = new StripeMap(stripeBytes, 16 * stripeBytes);
  const loans = new StripeLoans(
    () => absent,
    () => clock.monotonicMs(),
  );
  return { clock, absent, loans };
}

test('a range is covered when each absent stripe of it is lent, and put over what the file holds', () => {
  const { absent, loans } = start();
  absent.add(0, 1);
  absent.add(0, 3);
  const offset = STRIPE - 10;
  const length = 2 * STRIPE + 20;
  assert.equal(loans.cover(NAME, 0, offset, length), false);
  loans.add(NAME, 0, STRIPE, new Uint8Array(STRIPE).fill(1));
  assert.equal(loans.cover(NAME, 0, offset, length), false);
  loans.add(NAME, 0, 3 * STRIPE, new Uint8Array(100).fill(3));
  assert.equal(loans.cover(NAME, 0, offset, length), true);
  assert.equal(loans.cover(NAME, 0, 3 * STRIPE + 50, 51), false, 'more than was asked for of that stripe');
  assert.equal(loans.cover(NAME, 1, offset, length), true, 'nothing of that file is absent');
  const target = new Uint8Array(length + 5).fill(9);
  loans.patch(NAME, 0, offset, target, length);
  const expected = new Uint8Array(length + 5).fill(9);
  expected.fill(1, 10, 10 + STRIPE);
  expected.fill(3, 10 + 2 * STRIPE, length);
  assert.deepEqual(target, expected);
});

test('what is not used for a while goes, what is used stays', async () => {
  const { absent, loans, clock } = start();
  absent.add(0, 0, 2);
  loans.add(NAME, 0, 0, new Uint8Array(100));
  loans.add(NAME, 0, STRIPE, new Uint8Array(50));
  await clock.run(8000);
  assert.equal(loans.cover(NAME, 0, 0, 100), true);
  await clock.run(8000);
  loans.tend();
  assert.equal(loans.sizeBytes, 100);
  assert.equal(loans.cover(NAME, 0, STRIPE, 50), false);
  loans.add(NAME, 0, 20, new Uint8Array(80));
  assert.equal(loans.sizeBytes, 100, 'what is there is not kept twice');
});

test('it is bounded', () => {
  const { absent, loans } = start(4 * MIB);
  for (let file = 0; file < 80; file += 1) {
    absent.add(file, 0);
    loans.add(NAME, file, 0, new Uint8Array(4 * MIB));
  }
  assert.equal(loans.sizeBytes, 256 * MIB);
  assert.equal(loans.cover(NAME, 0, 0, 1), false);
  assert.equal(loans.cover(NAME, 79, 0, 4 * MIB), true);
});
