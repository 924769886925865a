import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Processes } from '@qsfs/io';
import { SimulatedClock, SimulatedDisk } from '@qsfs/io/simulated';
import type { Context } from '../src/context.ts';
import type { Identity } from '../src/lease/identity.ts';
import { LeaseHolder, readLease } from '../src/lease/lease.ts';
import { MemoryZstor } from './memory-zstor.ts';

const IDENTITY: Identity = {
  volumeId: '01'.repeat(16),
  frontendId: '02'.repeat(16),
  epoch: 1,
  generation: 3,
  stripeBytes: 4096,
  segmentBytes: 32768,
  createdMs: 0,
};

/** A holder in a process of its own. */
function holderOf(
  zstor: MemoryZstor,
  disk: SimulatedDisk,
  pid: number,
  identity = IDENTITY,
  directory = `/state-of-${pid}`,
): LeaseHolder {
  const context: Pick<Context, 'disk' | 'clock'> & { processes: Pick<Processes, 'pid'> } = {
    disk,
    clock: new SimulatedClock(),
    processes: { pid },
  };
  return new LeaseHolder(context as Context, zstor, () => identity, directory);
}

test('the holder of the lease keeps it over heartbeats, and gives it back', async () => {
  const disk = new SimulatedDisk();
  const zstor = new MemoryZstor(disk, 4096);
  const holder = holderOf(zstor, disk, 10);
  await holder.take(undefined);
  await holder.heartbeat();
  await holder.heartbeat();
  await holder.confirm();
  await holder.release();
  const found = await readLease(zstor);
  assert.deepEqual([found?.lease.state, found?.lease.beat], ['released', 4]);
  await holderOf(zstor, disk, 11).take(found);
});

test('a frontend that took over fences the one before', async () => {
  const disk = new SimulatedDisk();
  const zstor = new MemoryZstor(disk, 4096);
  const before = holderOf(zstor, disk, 10);
  await before.take(undefined);
  await holderOf(zstor, disk, 11, { ...IDENTITY, frontendId: '03'.repeat(16), epoch: 2 }).take(undefined);
  await assert.rejects(before.confirm(), { code: 'QSFS_E_FENCED' });
  await assert.rejects(before.heartbeat(), { code: 'QSFS_E_FENCED' });
});

test('two processes on copies of one state folder do not both go on: the one started later fences the other', async () => {
  const disk = new SimulatedDisk();
  const zstor = new MemoryZstor(disk, 4096);
  const original = holderOf(zstor, disk, 10);
  await original.take(undefined);
  const copy = holderOf(zstor, disk, 11);
  await copy.take(await readLease(zstor));
  await assert.rejects(original.confirm(), { code: 'QSFS_E_FENCED' });
  await copy.heartbeat();
});

test('whoever is fenced is told which other one it is, also when that has the same folder', async () => {
  const disk = new SimulatedDisk();
  const other = { ...IDENTITY, frontendId: '03'.repeat(16), epoch: 2 };
  const told = async (successor: Identity, directory: string) => {
    const zstor = new MemoryZstor(disk, 4096);
    const before = holderOf(zstor, disk, 10, IDENTITY, '/state');
    await before.take(undefined);
    await holderOf(zstor, disk, 11, successor, directory).take(await readLease(zstor));
    return before.confirm().then(
      () => '',
      (error: Error) => error.message,
    );
  };
  assert.match(await told(other, '/elsewhere'), /belong to the frontend in \/elsewhere on .*epoch 2/);
  assert.match(await told(other, '/state'), /another frontend in the same folder.*process 11.*epoch 2/);
  assert.match(await told(IDENTITY, '/state'), /another process of this frontend, 11 in \/state/);
  assert.match(await told(IDENTITY, '/copy'), /another process of this frontend, 11 in \/copy/);
});
