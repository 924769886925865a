import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedClock, SimulatedDisk } from '@qsfs/io/simulated';
import type { Context } from '../src/context.ts';
import { QsfsError } from '../src/errors.ts';
import { type FoundLease, HEARTBEAT_MS, LeaseHolder, livenessOf, readLease } from '../src/lease/lease.ts';
import { identity, machine } from './machines.ts';
import { MemoryZstor } from './memory-zstor.ts';

function setting() {
  const clock = new SimulatedClock();
  const zstor = new MemoryZstor(new SimulatedDisk(), 4096);
  const here = machine(clock, 'boot-a');
  const holder = new LeaseHolder(here.context, zstor, () => identity('22', 1), '/first');
  return { clock, zstor, here, holder };
}

async function found(zstor: MemoryZstor): Promise<FoundLease> {
  const lease = await readLease(zstor);
  assert.ok(lease);
  return lease;
}

test('on the same machine the process is looked at', async () => {
  const { clock, zstor, here, holder } = setting();
  await holder.take(undefined);
  const lease = await found(zstor);
  assert.equal(lease.lease.hostName, 'host-boot-a');
  assert.equal(lease.lease.pidStarted, '12345');
  assert.equal(await clock.until(livenessOf(here.context, zstor, lease, () => assert.fail())), 'alive');
  const before = clock.monotonicMs();
  here.alive = false;
  assert.equal(await livenessOf(here.context, zstor, lease, () => assert.fail()), 'dead');
  assert.equal(clock.monotonicMs(), before, 'without waiting');
});

test('from another machine a heartbeat is waited for', async () => {
  const { clock, zstor, holder } = setting();
  const there = machine(clock, 'boot-b').context;
  await holder.take(undefined);
  const told: string[] = [];
  const beat = clock.sleep(HEARTBEAT_MS).then(() => holder.heartbeat());
  const verdict = livenessOf(there, zstor, await found(zstor), (line) => told.push(line));
  assert.equal(await clock.until(verdict), 'alive');
  await beat;
  assert.match(told.join(), /host-boot-a/);
  assert.equal(await clock.until(livenessOf(there, zstor, await found(zstor), () => {})), 'dead');
});

test('one that was released is dead at once, one that is long silent when it stays so', async () => {
  const { clock, zstor, holder } = setting();
  const there = machine(clock, 'boot-b').context;
  await holder.take(undefined);
  const old = await found(zstor);
  await clock.run(25 * 60 * HEARTBEAT_MS);
  assert.equal(await clock.until(livenessOf(there, zstor, old, () => {})), 'dead');
  await holder.heartbeat();
  await holder.release();
  assert.equal(await livenessOf(there, zstor, await found(zstor), () => assert.fail()), 'dead');
});

test('a clock that is wrong, by however much, does not make a living holder look dead', async () => {
  const day = 24 * 60 * 60_000;
  for (const offMs of [10 * 60_000, day, 400 * day, -day]) {
    const { clock, zstor, holder } = setting();
    const { context } = machine(clock, 'boot-b');
    const wrong: Context['clock'] = {
      nowMs: () => clock.nowMs() + offMs,
      now: () => clock.now(),
      nowSeconds: () => clock.nowSeconds() + offMs / 1000,
      nowNanoseconds: () => clock.nowNanoseconds(),
      monotonicMs: () => clock.monotonicMs(),
      after: (...parameters) => clock.after(...parameters),
      sleep: (...parameters) => clock.sleep(...parameters),
      soon: (call) => clock.soon(call),
    };
    await holder.take(undefined);
    const beat = clock.sleep(HEARTBEAT_MS).then(() => holder.heartbeat());
    const verdict = livenessOf({ ...context, clock: wrong }, zstor, await found(zstor), () => {});
    assert.equal(await clock.until(verdict), 'alive', `${offMs} ms`);
    await beat;
  }
});

test('whoever lost the lease is told so at the next heartbeat, and does not take it back', async () => {
  const { clock, zstor, holder } = setting();
  await holder.take(undefined);
  const usurper = new LeaseHolder(
    machine(clock, 'boot-b').context,
    zstor,
    () => identity('33', 2),
    '/second',
  );
  await usurper.take(await found(zstor));
  const fenced = (error: unknown) => error instanceof QsfsError && error.code === 'QSFS_E_FENCED';
  await assert.rejects(holder.heartbeat(), fenced);
  await assert.rejects(holder.confirm(), fenced);
  await assert.rejects(holder.release(), fenced);
  assert.equal((await found(zstor)).lease.directory, '/second');
});

test('backends that cannot be asked are no proof of anything', async () => {
  const { zstor, holder } = setting();
  await holder.take(undefined);
  zstor.mode = 'down';
  await assert.rejects(holder.heartbeat(), /switched off/);
  zstor.mode = 'up';
  await holder.heartbeat();
});

test('while the backends take no lease, silence is no proof of death', async () => {
  const { clock, zstor, holder } = setting();
  const there = machine(clock, 'boot-b').context;
  await holder.take(undefined);
  const lease = await found(zstor);
  zstor.mode = 'readable';
  assert.equal(await livenessOf(there, zstor, lease, () => assert.fail()), 'unknown');
  zstor.mode = 'up';
  const verdict = livenessOf(there, zstor, lease, () => {});
  await clock.run(HEARTBEAT_MS);
  zstor.mode = 'readable';
  assert.equal(await clock.until(verdict), 'unknown', 'not when they stop to take it meanwhile, either');
});
