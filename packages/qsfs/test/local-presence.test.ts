// What the filesystem thread gives up, and what it keeps for those who wait.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NotLocal } from '@qsfs/zdb';
import { LocalPresence } from '../src/filesystem/local-presence.ts';
import { StripeMap } from '../src/local/stripe-map.ts';
import type { Stripes } from '../src/messages.ts';

const NAME = 'zdbfs-data';
const STRIPE = 4096;
const FILE_BYTES = 8 * STRIPE;

/** File 0 is on the backends only. */
function evicted() {
  const absent = new StripeMap(STRIPE, FILE_BYTES);
  absent.add(0, 0, 8);
  const none = () => new StripeMap(STRIPE, FILE_BYTES).snapshot();
  const needed: Stripes[] = [];
  const clock = { ms: 1000 };
  const waited = { is: true };
  const presence = new LocalPresence(
    STRIPE,
    FILE_BYTES,
    { 'zdbfs-meta': none(), 'zdbfs-data': absent.snapshot() },
    {
      copy: (_, __, ___, lengthBytes) => new Uint8Array(lengthBytes),
      need: (stripes) => void needed.push(stripes),
      isWaited: () => waited.is,
      reached: () => {},
    },
    () => clock.ms,
  );
  presence.reach(NAME, 0);
  return { presence, needed, clock, waited };
}

const ALL: readonly Stripes[] = [{ namespace: NAME, file: 0, first: 0, count: 8 }];

test('a request that needs several stripes gets on although the cache gives up all it can after each one', () => {
  const { presence, needed, clock } = evicted();
  // Records of one request: some lie in two stripes.
  const records = [
    { offset: STRIPE - 900, lengthBytes: 600 },
    { offset: STRIPE - 300, lengthBytes: 600 },
    { offset: 2 * STRIPE - 300, lengthBytes: 600 },
  ];
  const run = (): boolean => {
    for (const { offset, lengthBytes } of records) {
      if (presence.has(NAME, 0, offset, lengthBytes) || presence.loans.cover(NAME, 0, offset, lengthBytes))
        continue;
      presence.ask(new NotLocal(NAME, 0, offset, lengthBytes));
      return false;
    }
    return true;
  };
  let rounds = 0;
  for (; !run(); rounds += 1) {
    assert.ok(rounds < 20, 'it goes round and round');
    const stripes = needed.shift();
    assert.ok(stripes, 'nobody is asked any more');
    presence.brought(stripes, false);
    presence.drop(ALL, true);
    presence.drop(ALL, false);
    clock.ms += 1000;
  }
});

test('a request that needs a record of each of many stripes gets on although there is never room for two', () => {
  const { presence, needed } = evicted();
  const run = (): boolean => {
    for (let record = 0; record < 16; record += 1) {
      const offset = (record % 8) * STRIPE + (record < 8 ? 100 : 2000);
      if (presence.has(NAME, 0, offset, 600) || presence.loans.cover(NAME, 0, offset, 600)) continue;
      presence.ask(new NotLocal(NAME, 0, offset, 600));
      return false;
    }
    return true;
  };
  let rounds = 0;
  for (; !run(); rounds += 1) {
    assert.ok(rounds < 20, 'it goes round and round');
    presence.drop(ALL, false);
    presence.brought(needed.shift() as Stripes, false);
  }
  assert.equal(needed.length, 0);
});

test('what goes when nobody waits is not kept in memory: it is to come here again', () => {
  const { presence, waited } = evicted();
  const ask = () => presence.ask(new NotLocal(NAME, 0, 100, 600));
  ask();
  presence.brought({ namespace: NAME, file: 0, first: 0, count: 1 }, false);
  assert.ok(presence.has(NAME, 0, 100, 600));
  waited.is = false;
  presence.drop(ALL, false);
  assert.equal(presence.loans.sizeBytes, 0);
  waited.is = true;
  ask();
  presence.lent({ namespace: NAME, file: 0, first: 0, count: 1 }, new Uint8Array(STRIPE));
  presence.recall();
  assert.equal(presence.loans.sizeBytes, 600);
  presence.tend();
  assert.equal(presence.loans.sizeBytes, 600);
  waited.is = false;
  presence.tend();
  assert.equal(presence.loans.sizeBytes, 0);
});

test('all that a request is known to miss is asked for at once', () => {
  const { presence, needed } = evicted();
  const missing = new NotLocal(NAME, 0, 0, 10);
  missing.further.push(new NotLocal(NAME, 0, 3 * STRIPE, 10), new NotLocal(NAME, 0, 3 * STRIPE + 50, 10));
  assert.equal(presence.ask(missing), `${NAME}/0/0`);
  assert.deepEqual(
    needed.map(({ first }) => first),
    [0, 3],
  );
});

test('what was read, and what nobody came for in time, is given up', () => {
  const { presence, clock } = evicted();
  const ask = () => presence.ask(new NotLocal(NAME, 0, 0, 2 * STRIPE));
  const both: Stripes = { namespace: NAME, file: 0, first: 0, count: 2 };
  ask();
  presence.brought(both, false);
  assert.deepEqual(presence.drop(ALL, false), []);
  assert.ok(presence.has(NAME, 0, 0, 10));
  assert.deepEqual(presence.drop(ALL, true), []);
  assert.deepEqual(presence.drop(ALL, false), [{ namespace: NAME, file: 0, first: 0, count: 1 }]);
  clock.ms += 10_000;
  presence.tend();
  assert.deepEqual(presence.drop(ALL, false), [{ namespace: NAME, file: 0, first: 1, count: 1 }]);
  // Nobody asked for these.
  presence.brought(both, false);
  assert.deepEqual(presence.drop(ALL, false), [both]);
});

test('when a request has waited for long enough the kernel, which asks again for a part of it, has the error at once', () => {
  const { presence, needed, clock } = evicted();
  const ask = () => presence.ask(new NotLocal(NAME, 0, STRIPE, 10));
  presence.gaveUp(ask());
  assert.throws(ask, { code: 'EIO' });
  clock.ms += 1001;
  ask();
  assert.equal(needed.length, 1, 'it was never asked for twice');
  presence.gaveUp(ask());
  presence.brought({ namespace: NAME, file: 0, first: 1, count: 1 }, false);
  assert.ok(presence.has(NAME, 0, STRIPE, 10));
});

test('whoever comes for a stripe right after it could not be had has the error at once; a little later it is asked for again', () => {
  const { presence, needed, clock } = evicted();
  const missing = new NotLocal(NAME, 0, 10, 20);
  presence.ask(missing);
  assert.deepEqual(presence.failed(needed[0] as Stripes), [`${NAME}/0/0`]);
  for (let reader = 0; reader < 100; reader += 1) assert.throws(() => presence.ask(missing), { code: 'EIO' });
  assert.equal(presence.ask(new NotLocal(NAME, 0, STRIPE, 20)), `${NAME}/0/1`, 'another one is asked for');
  assert.equal(needed.length, 2);
  clock.ms += 1000;
  assert.equal(presence.ask(missing), `${NAME}/0/0`);
  assert.equal(needed.length, 3);
  // Brought and given up again within that time: it can be had.
  presence.failed(needed[2] as Stripes);
  presence.brought(needed[2] as Stripes, true);
  presence.has(NAME, 0, 10, 20);
  presence.drop(ALL, false);
  assert.equal(presence.ask(missing), `${NAME}/0/0`);
});
