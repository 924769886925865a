// What the backends have room for.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Configuration } from '../src/configuration.ts';
import { GAUGES } from '../src/messages.ts';
import { CapacityKeeper, capacityOf } from '../src/offload/capacity.ts';

const MIB = 2 ** 20;
const RESERVED = 8 * MIB;

/** Four backends, of which two shards are needed and three are enough to store; those of `paths` are on this machine. */
function capacity(free: readonly (number | undefined)[], paths: readonly (string | undefined)[] = []) {
  const backends = free.map((_, number) => ({ name: `b${number}`, path: paths[number] }));
  const zstor = { expectedShards: 4, minimalShards: 2, writeQuorum: 3, groups: [{ backends }] };
  const rows = free.map((freeBytes, number) => ({ name: `b${number}`, role: 'data', freeBytes }));
  return capacityOf(
    { status: () => Promise.resolve({ backends: rows } as never) },
    { zstor } as never as Configuration,
    { stat: (path: string) => ({ device: path === '/one' ? 1 : 2 }) } as never,
  );
}

test('the fullest backend decides what is stored whole, and the fullest but one what is stored', async () => {
  assert.deepEqual(await capacity([108 * MIB, 58 * MIB, 208 * MIB, 28 * MIB]), {
    wholeBytes: 40 * MIB,
    storableBytes: 100 * MIB,
  });
  assert.deepEqual(await capacity([108 * MIB, RESERVED - 1, 208 * MIB, 0]), {
    wholeBytes: 0,
    storableBytes: 0,
  });
});

test('backends that do not tell are left out, and when too many do nothing is known', async () => {
  const found = await capacity([108 * MIB, undefined, 108 * MIB, 108 * MIB]);
  assert.deepEqual(found, { wholeBytes: -1, storableBytes: 200 * MIB });
  assert.equal((await capacity([108 * MIB, undefined, undefined, 108 * MIB])).storableBytes, -1);
});

test('backends on one disk share its room', async () => {
  const found = await capacity(
    [408 * MIB, 408 * MIB, 408 * MIB, 408 * MIB],
    ['/one', '/one', '/one', '/two'],
  );
  // 136 MiB each for three, all of its disk for the fourth.
  assert.deepEqual(found, { wholeBytes: 256 * MIB, storableBytes: 256 * MIB });
});

test('what was stored since the backends were asked takes its room, what is on its way once; they are asked more often when little is left', async () => {
  const gauges = new Float64Array(18);
  const status = { finishedBytes: 5 * MIB, underWayBytes: 30 * MIB };
  let nowMs = 0;
  let asked = 0;
  let storableBytes = 2000 * MIB;
  const keeper = new CapacityKeeper({
    gauges,
    offload: { status: status as never },
    clock: { monotonicMs: () => nowMs },
    measure: () => {
      asked += 1;
      return Promise.resolve({ wholeBytes: -1, storableBytes });
    },
  });
  await keeper.tend();
  status.finishedBytes += 100 * MIB;
  status.underWayBytes = 0;
  keeper.adjust();
  assert.deepEqual([gauges[GAUGES.capacityBytes], gauges[GAUGES.storableBytes]], [-1, 1930 * MIB]);
  nowMs += 10_000;
  await keeper.tend();
  assert.equal(asked, 1);
  nowMs += 20_000;
  storableBytes = 50 * MIB;
  await keeper.tend();
  assert.equal(gauges[GAUGES.storableBytes], 50 * MIB);
  nowMs += 3000;
  await keeper.tend();
  assert.equal(asked, 3);
});
