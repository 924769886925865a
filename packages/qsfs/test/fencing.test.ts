import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Processes } from '@qsfs/io';
import { SimulatedClock, SimulatedDisk } from '@qsfs/io/simulated';
import type { Context } from '../src/context.ts';
import type { Identity } from '../src/identity.ts';
import { LeaseHolder, readLease } from '../src/lease.ts';
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
function holderOf(zstor: MemoryZstor, disk: SimulatedDisk, pid: number): LeaseHolder {
  const context: Pick<Context, 'disk' | 'clock'> & { processes: Pick<Processes, 'pid'> } = {
    disk,
    clock: new SimulatedClock(),
    processes: { pid },
  };
  return new LeaseHolder(context as Context, zstor, () => IDENTITY, `/state-of-${pid}`);
}

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
