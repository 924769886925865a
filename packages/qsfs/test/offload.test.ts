import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dataName } from '../src/manifest.ts';
import { Offload } from '../src/offload/offload.ts';
import { type Fixture, fixture, STRIPE } from './volume-fixture.ts';

function offloadOf(made: Fixture, mayBegin = () => true): { offload: Offload; stored: string[] } {
  const stored: string[] = [];
  const offload = new Offload({
    ...made,
    verification: 'checked',
    epoch: () => 1,
    mayBegin,
    stored: (_, file, complete) => void stored.push(`${file}${complete ? '' : ' degraded'}`),
  });
  return { offload, stored };
}

/** So many files that are on the backends. */
async function withStored(files: number): Promise<{ made: Fixture; offload: Offload }> {
  const made = fixture();
  made.addFiles(files);
  const { offload } = offloadOf(made);
  await offload.start();
  await made.clock.until(offload.drain());
  return { made, offload };
}

test('every closed file reaches the backends, with its bytes', async () => {
  const made = fixture();
  made.addFiles(5);
  const { offload, stored } = offloadOf(made);
  await offload.start();
  assert.equal(offload.status.pendingBytes, 40 * STRIPE);
  await made.clock.until(offload.drain());
  assert.deepEqual(stored.sort(), ['0', '1', '2', '3', '4']);
  assert.equal(offload.status.pendingFiles, 0);
  assert.equal(offload.status.pendingBytes, 0);
  offload.add('zdbfs-data', 3);
  assert.equal(offload.status.pendingFiles, 0, 'what is stored is not stored again');
  assert.equal(made.volume['zdbfs-data'].data(3).safety, 'complete');
  assert.equal(made.zstor.objects.get(dataName('zdbfs-data', 3, 1))?.content.length, 8 * STRIPE);
});

test('while the backends are away it waits, tells who asks, and goes on when they return', async () => {
  const made = fixture();
  made.addFiles(1);
  made.zstor.mode = 'down';
  const { offload, stored } = offloadOf(made);
  await offload.start();
  const startMs = made.clock.monotonicMs();
  await assert.rejects(
    made.clock.until(offload.drain()),
    /nothing can be stored at present: the backends are switched off/,
  );
  assert.ok(made.clock.monotonicMs() - startMs <= 15_100, 'not only with the next attempt');
  assert.equal(offload.status.pendingFiles, 1);
  made.zstor.mode = 'up';
  await made.clock.run(60_000);
  assert.deepEqual(stored, ['0']);
  await made.clock.until(offload.drain());
  assert.equal(offload.status.stuck, '');
});

test('asked right after backends returned that had been away for long, it tries for some seconds', async () => {
  const made = fixture();
  made.addFiles(1);
  made.zstor.mode = 'down';
  const { offload, stored } = offloadOf(made);
  await offload.start();
  await made.clock.run(60_000);
  made.clock.after(3000, () => {
    made.zstor.mode = 'up';
  });
  await made.clock.until(offload.drain());
  assert.deepEqual(stored, ['0']);
  // And not for ever.
  made.addFiles(1);
  made.zstor.mode = 'down';
  offload.add('zdbfs-data', 1);
  await made.clock.run(60_000);
  const startMs = made.clock.monotonicMs();
  await assert.rejects(made.clock.until(offload.drain()), /nothing can be stored at present/);
  assert.ok(made.clock.monotonicMs() - startMs <= 8000);
});

test('a kill loses nothing: what is pending is found again, what is stored is not sent again', async () => {
  const made = fixture();
  made.addFiles(2);
  const first = offloadOf(made);
  await first.offload.start();
  await made.clock.until(first.offload.drain());
  made.addFiles(1);
  const second = offloadOf(made);
  await second.offload.start();
  await made.clock.until(second.offload.drain());
  assert.deepEqual(second.stored, ['2']);
});

test('an object without all its shards is degraded until it is whole', async () => {
  const made = fixture();
  made.addFiles(2);
  made.zstor.mode = 'degraded';
  const { offload, stored } = offloadOf(made);
  await offload.start();
  await made.clock.until(offload.drain());
  assert.deepEqual(stored.sort(), ['0 degraded', '1 degraded']);
  assert.equal(await made.clock.until(offload.degraded.heal(true)), 2);
  made.zstor.mode = 'up';
  assert.equal(await made.clock.until(offload.degraded.heal(true)), 0);
  assert.equal(made.volume['zdbfs-data'].data(0).safety, 'complete');
  assert.equal(offload.status.degradedFiles, 0);
});

test('after a backend was emptied nothing counts as safe before it was looked at', async () => {
  const { made, offload } = await withStored(3);
  offload.degraded.doubt();
  assert.equal(offload.status.degradedFiles, 3);
  assert.equal(made.volume['zdbfs-data'].data(1).safety, 'degraded');
  assert.equal(await made.clock.until(offload.degraded.heal(true)), 0);
});

test('the record of an object is not believed after a backend was emptied: only looking at the shards is', async () => {
  const { made, offload } = await withStored(1);
  made.zstor.wipedShards = 1;
  offload.degraded.doubt();
  assert.equal(await made.clock.until(offload.degraded.heal(false)), 1);
  assert.equal(made.volume['zdbfs-data'].data(0).safety, 'degraded');
  made.zstor.wipedShards = 0;
  assert.equal(await made.clock.until(offload.degraded.heal(false)), 0);
  assert.equal(made.volume['zdbfs-data'].data(0).safety, 'complete');
});

test('what the backends have lost altogether is stored again from the local copy', async () => {
  const { made, offload } = await withStored(1);
  const before = made.zstor.objects.get(dataName('zdbfs-data', 0, 1))?.record.version;
  made.zstor.wipedShards = 2;
  offload.degraded.doubt();
  await made.clock.until(offload.degraded.heal(true));
  await made.clock.until(offload.drain());
  const after = made.zstor.objects.get(dataName('zdbfs-data', 0, 1))?.record.version;
  assert.notEqual(after, before);
  assert.equal(made.volume['zdbfs-data'].data(0).safety, 'complete');
  assert.equal(offload.status.storedFiles, 1);
});

test('what the backends have lost altogether, and is not here either, is counted as damaged', async () => {
  const { made, offload } = await withStored(2);
  made.volume['zdbfs-data'].recordAbsent(0, 0, 1);
  made.zstor.wipedShards = 2;
  offload.degraded.doubt();
  await made.clock.until(offload.degraded.heal(true));
  assert.equal(offload.status.damagedFiles, 1);
  assert.equal(offload.status.degradedFiles, 1);
  made.zstor.wipedShards = 0;
  await made.clock.until(offload.degraded.heal(true));
  assert.equal(offload.status.damagedFiles, 0);
});

test('what could not be read although its record is whole counts as damaged until its shards were read', async () => {
  const { made, offload } = await withStored(2);
  made.volume['zdbfs-data'].recordAbsent(0, 0, 1);
  const name = dataName('zdbfs-data', 0, 1);
  made.zstor.rotten.add(name);
  offload.degraded.suspect({ namespace: 'zdbfs-data', file: 0 });
  for (const rebuild of [false, true]) {
    assert.equal(offload.status.damagedFiles, 1);
    assert.equal(await made.clock.until(offload.degraded.heal(rebuild)), 1);
  }
  assert.equal(offload.status.damagedFiles, 1);
  assert.equal(made.volume['zdbfs-data'].data(0).safety, 'degraded');
  made.zstor.rotten.delete(name);
  assert.equal(await made.clock.until(offload.degraded.heal(true)), 0);
  assert.equal(offload.status.damagedFiles, 0);
  assert.equal(made.volume['zdbfs-data'].data(0).safety, 'complete');
});

test('an evicted file whose catalog entry is lost is found on the backends', async () => {
  const made = fixture();
  made.addFiles(1);
  const first = offloadOf(made);
  await first.offload.start();
  await made.clock.until(first.offload.drain());
  const data = made.volume['zdbfs-data'];
  data.recordAbsent(0, 0, 8);
  data.catalog.setData(0, { safety: 'pending', sizeBytes: 0, epoch: 0 });
  const { offload } = offloadOf(made);
  await offload.start();
  assert.equal(offload.status.pendingFiles, 0);
  assert.equal(data.data(0).epoch, 1);
  assert.equal(await made.clock.until(offload.degraded.heal(false)), 0);
  assert.equal(data.data(0).safety, 'complete');
});

test('while programs write a file waits, unless somebody asks for it', async () => {
  const made = fixture();
  made.addFiles(2);
  let writing = true;
  const { offload, stored } = offloadOf(made, () => !writing);
  await offload.start();
  await made.clock.run(5000);
  offload.tend();
  assert.deepEqual(stored, []);
  await made.clock.until(offload.drain());
  assert.deepEqual(stored.sort(), ['0', '1']);
  made.addFiles(1);
  offload.add('zdbfs-data', 2);
  assert.equal(offload.status.pendingFiles, 1);
  writing = false;
  offload.tend();
  await made.clock.run(10);
  assert.equal(offload.status.pendingFiles, 0);
});
