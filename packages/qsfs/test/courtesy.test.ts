import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedClock } from '@qsfs/io/simulated';
import { GAUGES, GAUGES_BYTES } from '../src/messages.ts';
import { Courtesy } from '../src/offload/courtesy.ts';

const SECOND = 1000;

function setting() {
  const clock = new SimulatedClock();
  const gauges = new Float64Array(GAUGES_BYTES / 8);
  const waiting = { bytes: 0 };
  const courtesy = new Courtesy(clock, gauges, { effectiveLimitBytes: () => 100 }, () => waiting.bytes);
  /** Looks ten times a second while programs keep making requests. @returns seconds in which an offload may begin */
  const busyFor = async (seconds: number) => {
    let granted = 0;
    for (let tick = 0; tick < seconds * 10; tick += 1) {
      gauges[GAUGES.requests]! += 500;
      courtesy.observe();
      if (courtesy.mayBegin) granted += 0.1;
      await clock.run(SECOND / 10);
    }
    return granted;
  };
  return { clock, waiting, courtesy, busyFor };
}

test('offload waits while programs make many small requests, then takes turns with them', async () => {
  const { courtesy, busyFor } = setting();
  assert.ok(courtesy.mayBegin);
  assert.equal(await busyFor(20), 0);
  const granted = await busyFor(90);
  assert.ok(granted > 25 && granted < 35, `${granted} s of 90`);
});

test('offload waits for nobody when much is not yet on the backends, or nobody is there any more', async () => {
  const { clock, waiting, courtesy, busyFor } = setting();
  await busyFor(1);
  assert.ok(!courtesy.mayBegin);
  waiting.bytes = 51;
  assert.ok(courtesy.mayBegin);
  waiting.bytes = 0;
  await clock.run(SECOND);
  courtesy.observe();
  assert.ok(courtesy.mayBegin);
});
