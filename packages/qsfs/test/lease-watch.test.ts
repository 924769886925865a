import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedClock } from '@qsfs/io/simulated';
import { QsfsError } from '../src/errors.ts';
import { LeaseWatch, lookedLately, STALE_MS } from '../src/lease/lease-watch.ts';
import { GAUGES, GAUGES_BYTES } from '../src/messages.ts';

/** A watch over a lease whose looks the test decides. */
function watched(waiting = '') {
  const clock = new SimulatedClock();
  const gauges = new Float64Array(GAUGES_BYTES / 8);
  const seen = { looks: 0, beats: 0, went: 0, taken: 0, fenced: '' };
  let answer: () => Promise<void> = async () => {};
  const lease = {
    confirm: () => {
      seen.looks += 1;
      return answer();
    },
    heartbeat: () => {
      seen.beats += 1;
      return answer();
    },
  };
  gauges[GAUGES.withoutLease] = waiting === '' ? 0 : 1;
  const claim = { attempt: async () => waiting };
  const watch = new LeaseWatch(
    {
      clock,
      lease,
      claimant: { attempt: () => claim.attempt() },
      gauges,
      fence: (reason) => {
        seen.fenced = reason;
      },
      taken: () => {
        seen.taken += 1;
      },
      looked: () => {
        seen.went += 1;
      },
      log: () => {},
    },
    waiting,
  );
  return {
    clock,
    watch,
    seen,
    claim,
    readOnly: () => gauges[GAUGES.withoutLease] === 1,
    answers: (next: () => Promise<void>) => {
      answer = next;
    },
    lately: () => lookedLately(gauges, clock),
  };
}

test('a process that was stopped has to look again before anything is changed', async () => {
  const { clock, watch, seen, lately } = watched();
  assert.ok(lately());
  await clock.run(STALE_MS + 1);
  assert.ok(!lately());
  await watch.look();
  assert.ok(lately());
  assert.deepEqual([seen.looks, seen.went], [1, 1]);
});

test('a wall clock that jumps a day costs a look, forward, and nothing, back; after it a stop is noticed as ever', async () => {
  const day = 24 * 60 * 60_000;
  for (const jumpMs of [day, -day]) {
    const { clock, watch, seen, lately } = watched();
    await clock.run(1000);
    clock.setWall(clock.nowMs() + jumpMs);
    assert.equal(lately(), jumpMs < 0);
    await watch.look();
    assert.ok(lately());
    assert.equal(seen.fenced, '');
    await clock.run(STALE_MS + 1);
    assert.ok(!lately());
    await watch.look();
    // It slept: the monotonic clock stood still.
    clock.setWall(clock.nowMs() + 10 * 60_000);
    assert.ok(!lately());
    await watch.look();
    await clock.run(60_000);
    await watch.look();
    assert.equal(seen.beats, 1, 'heartbeats go on');
  }
});

test('who finds another frontend in the lease is fenced, and does not look again', async () => {
  const { clock, watch, seen, lately, answers } = watched();
  await clock.run(STALE_MS + 1);
  answers(() => Promise.reject(new QsfsError('QSFS_E_FENCED', 'taken over')));
  await watch.look();
  assert.equal(seen.fenced, 'taken over');
  assert.ok(!lately());
  assert.equal(seen.went, 1, 'who waits is told');
  await watch.look();
  assert.equal(seen.looks, 1);
});

test('backends that do not answer do not hold changes up for long, and their late answer counts', async () => {
  const { clock, watch, seen, lately, answers } = watched();
  await clock.run(STALE_MS + 1);
  let refuse: (error: Error) => void = () => {};
  answers(() => new Promise((_, reject) => (refuse = reject)));
  const looking = watch.look();
  await clock.run(3000);
  await looking;
  assert.ok(lately());
  assert.equal(seen.fenced, '');
  refuse(new QsfsError('QSFS_E_FENCED', 'taken over'));
  await clock.run(0);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(seen.fenced, 'taken over');
});

test('how long the lease was not seen is counted from the last look that was answered', async () => {
  const { clock, watch, answers } = watched();
  await clock.run(3000);
  await watch.look();
  assert.equal(watch.unseenMs, 0);
  answers(() => Promise.reject(new Error('no backend answers')));
  for (let at = 0; at < 10; at++) {
    await clock.run(3000);
    await watch.look();
  }
  assert.equal(watch.unseenMs, 30_000);
  answers(async () => {});
  await watch.look();
  assert.equal(watch.unseenMs, 0);
});

test('now and then a look is a heartbeat', async () => {
  const { clock, watch, seen } = watched();
  for (let at = 0; at < 45; at++) {
    await clock.run(3000);
    await watch.look();
  }
  assert.equal(seen.beats, 2);
  assert.equal(seen.looks, 43);
});

test('at the end nobody waits for a look any more', async () => {
  const { clock, watch, seen, lately } = watched();
  await clock.run(STALE_MS + 1);
  watch.end();
  assert.ok(lately());
  assert.equal(seen.went, 1);
});

test('without the lease each look tries to take it, and beats only begin when it is there', async () => {
  const { clock, watch, seen, claim, readOnly } = watched('too few stores');
  for (let at = 0; at < 30; at++) {
    await clock.run(3000);
    await watch.look();
  }
  assert.deepEqual([seen.looks, seen.beats], [0, 0]);
  assert.equal(watch.waiting, 'too few stores');
  claim.attempt = () => Promise.reject(new Error('a store went away in the middle'));
  await watch.look();
  assert.ok(readOnly());
  assert.equal(watch.waiting, 'a store went away in the middle');
  claim.attempt = async () => '';
  await watch.look();
  assert.ok(!readOnly());
  assert.deepEqual([watch.waiting, seen.taken], ['', 1]);
  await watch.look();
  assert.deepEqual([seen.looks, seen.beats], [1, 0], 'the beat of the taking counts');
  await clock.run(60_000);
  await watch.look();
  assert.deepEqual([seen.looks, seen.beats], [1, 1]);
});

test('who waits for the lease and finds it taken by another is fenced, and stays read-only', async () => {
  const { watch, seen, claim, readOnly } = watched('too few stores');
  claim.attempt = () => Promise.reject(new QsfsError('QSFS_E_FENCED', 'taken over'));
  await watch.look();
  assert.equal(seen.fenced, 'taken over');
  assert.ok(readOnly());
  claim.attempt = async () => '';
  await watch.look();
  assert.ok(readOnly(), 'it does not try again');
});
