import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedClock, SimulatedDisk } from '@qsfs/io/simulated';
import type { Context } from '../src/context.ts';
import { layoutOf } from '../src/layout.ts';
import { readClaim, writeClaim } from '../src/lease/claim.ts';
import { Claimant, leaseIdOf } from '../src/lease/claimant.ts';
import { HEARTBEAT_MS, LeaseHolder, readLease, WATCH_MS } from '../src/lease/lease.ts';
import { LEASE_NAME, manifestName } from '../src/manifest.ts';
import { identity, machine } from './machines.ts';
import { MemoryZstor } from './memory-zstor.ts';

const LAYOUT = layoutOf('/state');
const FENCED = { code: 'QSFS_E_FENCED' };
const NEWEST = { epoch: 1, generation: 4 };

/** A holder (frontend 22, epoch 1) on one machine, and backends that hold its sync point. */
async function setting() {
  const clock = new SimulatedClock();
  const zstor = new MemoryZstor(new SimulatedDisk(), 4096);
  const first = machine(clock, 'boot-a');
  const holder = new LeaseHolder(first.context, zstor, () => identity('22', 1), '/first');
  await zstor.putSmall(manifestName(NEWEST), Buffer.from('a sync point'));
  await holder.take(undefined);
  /** What tries to take the lease, as a frontend on a machine. */
  const claimant = (context: Context, frontend: string, epoch: number) => {
    const who = () => identity(frontend, epoch);
    const lease = new LeaseHolder(context, zstor, who, LAYOUT.root);
    return new Claimant({ context, layout: LAYOUT, zstor, lease, identity: who });
  };
  /** A frontend restored from what is there now. */
  const restored = async (context: Context, takeOver = false) => {
    context.disk.makeDirectory(LAYOUT.frontend);
    const lease = leaseIdOf(await readLease(zstor));
    writeClaim(context.disk, LAYOUT.claim, { version: 1, lease, takeOver, ...NEWEST });
    return claimant(context, '33', 2);
  };
  const holderNow = async () => (await readLease(zstor))?.lease.frontendId;
  return { clock, zstor, first, holder, claimant, restored, holderNow };
}

const FIRST = identity('22', 1).frontendId;
const SECOND = identity('33', 2).frontendId;

test('the frontend that had the lease waits while it can only be read, and takes it then', async () => {
  const { zstor, first, claimant } = await setting();
  const again = claimant(first.context, '22', 1);
  zstor.mode = 'readable';
  const before = new Map(zstor.objects);
  assert.match(await again.attempt(), /take nothing/);
  zstor.mode = 'down';
  assert.match(await again.attempt(), /switched off/);
  assert.deepEqual(zstor.objects, before, 'nothing was written');
  zstor.mode = 'up';
  assert.equal(await again.attempt(), '');
  assert.equal((await readLease(zstor))?.lease.beat, 2);
});

test('a frontend that waits is fenced when another one has taken the lease meanwhile', async () => {
  const { clock, zstor, first, claimant, holderNow } = await setting();
  const again = claimant(first.context, '22', 1);
  zstor.mode = 'readable';
  await again.attempt();
  zstor.mode = 'up';
  const usurper = machine(clock, 'boot-b').context;
  await new LeaseHolder(usurper, zstor, () => identity('44', 2), '/third').take(await readLease(zstor));
  await assert.rejects(again.attempt(), FENCED);
  assert.equal(await holderNow(), identity('44', 2).frontendId);
});

test('a restored frontend takes the lease of one that is dead, and forgets what it followed', async () => {
  const { zstor, first, restored, holderNow } = await setting();
  const after = await restored(first.context);
  first.alive = false;
  zstor.mode = 'readable';
  assert.match(await after.attempt(), /take nothing/);
  assert.equal(await holderNow(), FIRST);
  assert.ok(readClaim(first.context.disk, LAYOUT.claim));
  zstor.mode = 'up';
  assert.equal(await after.attempt(), '');
  assert.equal(await holderNow(), SECOND);
  assert.equal(readClaim(first.context.disk, LAYOUT.claim), undefined);
});

test('a lost lease is said to be that, and only who takes over whoever had it goes on', async () => {
  const { clock, zstor, first, claimant, restored, holderNow } = await setting();
  const again = claimant(first.context, '22', 1);
  const lost = {
    code: 'QSFS_E_LOST',
    exitCode: 15,
    message: /lost on the backends: "[^"]*lease[^"]*"/,
  };
  zstor.lost.add(LEASE_NAME);
  await assert.rejects(again.attempt(), lost);
  zstor.lost.clear();
  const machineB = machine(clock, 'boot-b').context;
  const patient = await restored(machineB);
  zstor.lost.add(LEASE_NAME);
  await assert.rejects(patient.attempt(), lost);
  writeClaim(machineB.disk, LAYOUT.claim, { version: 1, lease: '', takeOver: true, ...NEWEST });
  assert.equal(await patient.attempt(), '');
  assert.equal(await holderNow(), SECOND);
});

test('silence of the holder before counts from when it could have shown itself', async () => {
  const { clock, zstor, restored, holderNow } = await setting();
  const after = await restored(machine(clock, 'boot-b').context);
  zstor.mode = 'readable';
  for (let at = 0; at < 10; at++) {
    assert.match(await after.attempt(), /sign of life of the frontend in \/first on host-boot-a/);
    await clock.run(HEARTBEAT_MS);
  }
  zstor.mode = 'up';
  assert.match(await after.attempt(), /sign of life/);
  await clock.run(WATCH_MS - 1000);
  assert.match(await after.attempt(), /sign of life/);
  assert.equal(await holderNow(), FIRST);
  await clock.run(1000);
  assert.equal(await after.attempt(), '');
  assert.equal(await holderNow(), SECOND);
});

test('a restored frontend that waits does not ask all backends for their state with every look', async () => {
  const { clock, zstor, restored, holderNow } = await setting();
  const after = await restored(machine(clock, 'boot-b').context);
  let asked = 0;
  const status = zstor.status.bind(zstor);
  zstor.status = () => {
    asked += 1;
    return status();
  };
  for (let at = 0; at < WATCH_MS; at += 3000) {
    assert.match(await after.attempt(), /sign of life/);
    await clock.run(3000);
  }
  assert.ok(asked <= 12, `${asked} times`);
  zstor.mode = 'readable';
  assert.match(await after.attempt(), /sign of life/, 'the last moment counts, too');
  assert.equal(await holderNow(), FIRST);
});

test('a holder that shows itself keeps the volume: the restored frontend is fenced for good', async () => {
  const { clock, zstor, holder, restored, holderNow } = await setting();
  const after = await restored(machine(clock, 'boot-b').context);
  zstor.mode = 'readable';
  await after.attempt();
  zstor.mode = 'up';
  await after.attempt();
  await holder.heartbeat();
  await assert.rejects(after.attempt(), FENCED);
  await clock.run(2 * WATCH_MS);
  await assert.rejects(after.attempt(), FENCED);
  assert.equal(await holderNow(), FIRST);
});

test('a holder that runs on the same machine keeps the volume', async () => {
  const { clock, first, restored, holderNow } = await setting();
  const after = await restored(first.context);
  await assert.rejects(clock.until(after.attempt()), FENCED);
  assert.equal(await holderNow(), FIRST);
});

test('who was told to take over does not wait for signs of life', async () => {
  const { clock, restored, holderNow } = await setting();
  const after = await restored(machine(clock, 'boot-b').context, true);
  assert.equal(await after.attempt(), '');
  assert.equal(await holderNow(), SECOND);
});

test('a restored frontend whose state is old by now does not take the lease', async () => {
  const { zstor, first, restored, holderNow } = await setting();
  first.alive = false;
  const after = await restored(first.context);
  await zstor.putSmall(manifestName({ epoch: 1, generation: 5 }), Buffer.from('a later one'));
  await assert.rejects(after.attempt(), FENCED);
  assert.equal(await holderNow(), FIRST);
});

test('killed between taking the lease and the last look, a restored frontend looks again', async () => {
  for (const isOld of [false, true]) {
    const { zstor, first, restored, claimant } = await setting();
    first.alive = false;
    const claim = await restored(first.context).then(() => readClaim(first.context.disk, LAYOUT.claim));
    await claimant(first.context, '33', 2).attempt();
    writeClaim(first.context.disk, LAYOUT.claim, claim!);
    if (isOld) await zstor.putSmall(manifestName({ epoch: 1, generation: 5 }), Buffer.from('a later one'));
    const again = claimant(first.context, '33', 2);
    if (isOld) await assert.rejects(again.attempt(), FENCED);
    else assert.equal(await again.attempt(), '');
    assert.equal(readClaim(first.context.disk, LAYOUT.claim) === undefined, !isOld);
  }
});

test('a damaged claim is an error that says what to do', async () => {
  const { first, restored } = await setting();
  const after = await restored(first.context);
  for (const text of ['', 'null', '{"version":1}']) {
    const file = first.context.disk.open(LAYOUT.claim, 'create');
    file.truncate(0);
    file.write(Buffer.from(text), 0);
    file.close();
    await assert.rejects(after.attempt(), { code: 'QSFS_E_DISK', message: /claim is damaged/ });
  }
});
