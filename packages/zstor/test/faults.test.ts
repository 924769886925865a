import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { SimulatedClock } from '@qsfs/io/simulated';
import { BackendError } from '../src/backend/backend.ts';
import { isZstorError } from '../src/errors.ts';
import { openZstor } from '../src/index.ts';
import type { StoredRecord } from '../src/metadata/record.ts';
import { capabilities, openRig, type Rig, randomFile } from './support.ts';

const unavailable = (error: unknown) => isZstorError(error, 'QSFS_E_UNAVAILABLE');

function shardFiles(rig: Rig, backend = ''): string[] {
  return readdirSync(join(rig.folder, 'data', backend), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.parentPath.includes('/shards/'))
    .map((entry) => join(entry.parentPath, entry.name));
}

async function stored(rig: Rig, lengthBytes = 200_000): Promise<Buffer> {
  const { path, content } = randomFile(rig.folder, 'source', lengthBytes);
  await rig.zstor.put('name', { path, lengthBytes });
  return content;
}

for (const mode of ['refuse', 'freeze'] as const) {
  test(`reads work with all but k backends gone (${mode}), and a dead backend is asked once`, async (t) => {
    const clock = new SimulatedClock();
    const rig = await openRig(t, {}, { clock });
    const content = await stored(rig);
    const dead = ['a0', 'a1', 'b0', 'b1', 'c0'];
    for (const name of dead) rig.fault(name).mode = mode;
    const reads = async () => assert.ok(content.equals(await clock.until(rig.zstor.getSmall('name'))));
    await reads();
    // Whoever was silent for a second is down, and is left alone: only probes go there, in the background.
    await clock.until(clock.sleep(2000));
    const calls = () => dead.reduce((sum, name) => sum + (rig.fault(name).calls.get('get') ?? 0), 0);
    const before = calls();
    assert.ok(before > 0 && before <= 4 * dead.length, `${before} calls`);
    for (let round = 0; round < 5; round++) await reads();
    assert.equal(calls() - before, 0);
  });
}

test('a read of a few bytes asks k backends for one stripe, and does not wait for one that is slow', async (t) => {
  const clock = new SimulatedClock();
  const rig = await openRig(t, {}, { clock });
  const content = await stored(rig);
  const record = (await rig.zstor.head('name'))!;
  const gets = () => [...rig.faults.values()].reduce((sum, { calls }) => sum + (calls.get('get') ?? 0), 0);
  const before = gets();
  assert.ok(content.subarray(70_000, 74_096).equals(await rig.zstor.read(record, 70_000, 4096)));
  assert.equal(gets() - before, 3);

  for (const name of ['a0', 'b0', 'c0']) {
    rig.fault(name).before = (operation) => (operation === 'get' ? clock.sleep(100_000) : undefined);
  }
  for (let stripe = 0; stripe < record.stripeCount; stripe++) {
    const startMs = clock.monotonicMs();
    const from = stripe * record.stripeSizeBytes;
    const bytes = await clock.until(rig.zstor.read(record, from, 100));
    assert.ok(content.subarray(from, from + 100).equals(bytes));
    assert.ok(clock.monotonicMs() - startMs <= 2000, `${clock.monotonicMs() - startMs} ms`);
  }
  await clock.run(200_000);
});

test('on a line that is slow for all no more shards are asked for than are needed, as long as they arrive', async (t) => {
  const clock = new SimulatedClock();
  const rig = await openRig(t, {}, { clock });
  const content = await stored(rig);
  const record = (await rig.zstor.head('name'))!;
  const gets = () => [...rig.faults.values()].reduce((sum, { calls }) => sum + (calls.get('get') ?? 0), 0);
  let arriving = true;
  for (const fault of rig.faults.values()) {
    fault.before = (operation) => (operation === 'get' ? clock.sleep(3000) : undefined);
    fault.gotBytes = () => (arriving ? clock.monotonicMs() : 0);
  }
  const before = gets();
  let arrived = 0;
  const waiting = (arrivedBytes: () => number) => void clock.after(2000, () => (arrived = arrivedBytes()));
  const read = clock.until(rig.zstor.read(record, 0, 100, { waiting }));
  assert.ok(content.subarray(0, 100).equals(await read));
  assert.ok(arrived >= 3 * 1900, `${arrived} bytes`);
  assert.ok(gets() - before <= 4, `${gets() - before} shards`);
  arriving = false;
  const between = gets();
  await clock.until(rig.zstor.read(record, 0, 100));
  assert.ok(gets() - between >= 6, `${gets() - between} shards`);
  await clock.run(10_000);
});

test('what others get from a backend that has answered is no progress of a read that waits for another', async (t) => {
  const clock = new SimulatedClock();
  const rig = await openRig(t, {}, { clock });
  await stored(rig);
  const record = (await rig.zstor.head('name'))!;
  let answers = 2;
  for (const fault of rig.faults.values()) {
    let stuckAtMs: number | undefined;
    fault.before = (operation) => {
      if (operation !== 'get' || answers-- > 0) return undefined;
      stuckAtMs = clock.monotonicMs();
      return clock.sleep(60_000);
    };
    fault.gotBytes = () => stuckAtMs ?? clock.monotonicMs();
  }
  let arrivedBytes = () => -1;
  const waiting = (told: () => number) => (arrivedBytes = told);
  const read = rig.zstor.read(record, 0, 100, { waiting });
  await clock.until(clock.sleep(1000));
  const before = arrivedBytes();
  await clock.until(clock.sleep(8000));
  assert.ok(before >= 0);
  assert.equal(arrivedBytes(), before);
  await clock.until(read);
});

test('one backend too many gone is an error that names backends, and the object comes back with them', async (t) => {
  const rig = await openRig(t);
  const content = await stored(rig);
  const dead = ['a0', 'a1', 'b0', 'b1', 'c0', 'c1'];
  for (const name of dead) rig.fault(name).mode = 'refuse';
  await assert.rejects(
    rig.zstor.getSmall('name'),
    (error) => unavailable(error) && /c1/.test((error as Error).message),
  );
  for (const name of dead) rig.fault(name).mode = 'healthy';
  const other = await rig.reopen();
  assert.ok(content.equals(await other.getSmall('name')));
});

test('changed bytes on up to n - k backends are noticed, replaced, reported and repaired', async (t) => {
  const rig = await openRig(t);
  const content = await stored(rig);
  for (const name of ['a0', 'b1', 'c0', 'd1']) {
    for (const path of shardFiles(rig, name)) {
      const bytes = readFileSync(path);
      bytes[20 + Math.floor(Math.random() * (bytes.length - 20))]! ^= 1 + Math.floor(Math.random() * 255);
      writeFileSync(path, bytes);
    }
  }
  assert.ok(content.equals(await rig.zstor.getSmall('name')));
  const report = await rig.zstor.check('name');
  assert.equal(report.badShards, 16);
  assert.equal(report.verdict, 'degraded');
  const repaired = await rig.zstor.repairPending();
  assert.deepEqual(repaired.failures, []);
  assert.equal(repaired.rewrittenShards, 16);
  assert.equal((await rig.zstor.check('name', { deep: true })).verdict, 'complete');
  assert.equal(shardFiles(rig).length, 32, 'the wrong ones are gone');
  assert.ok(content.equals(await rig.zstor.getSmall('name')));
});

test('a stripe that is lost does not keep the others from being repaired', async (t) => {
  const rig = await openRig(t);
  const content = await stored(rig);
  const { stripes } = (await rig.zstor.head('name')) as StoredRecord;
  const spoil = (stripe: number, count: number) => {
    for (const { backend, location } of stripes.places(stripe).slice(0, count)) {
      const path = shardFiles(rig, backend).find(
        (file) => Number.parseInt(basename(file), 16) === location.key,
      );
      writeFileSync(path as string, 'spoilt');
    }
  };
  spoil(1, 6);
  for (const stripe of [0, 2, 3]) spoil(stripe, 5);
  await assert.rejects(rig.zstor.rebuild('name', { deep: true }), (error) =>
    isZstorError(error, 'QSFS_E_DAMAGED'),
  );
  const report = await rig.zstor.check('name', { deep: true });
  assert.equal(report.badShards, 6, 'those of the lost stripe');
  assert.ok(
    content
      .subarray(65_536 * 2)
      .equals(await rig.zstor.read('name', 65_536 * 2, content.length - 65_536 * 2)),
  );
  assert.equal(shardFiles(rig).length, 32, 'nothing is left over');
});

test('whoever waits for data is told when a backend comes back, from as many on as reads need', async (t) => {
  const clock = new SimulatedClock();
  const rig = await openRig(t, {}, { clock });
  let told = 0;
  rig.zstor.whenReadable(() => {
    told += 1;
  });
  const turn = async (mode: 'refuse' | 'healthy', ...names: string[]) => {
    for (const name of names) rig.fault(name).mode = mode;
    await clock.until(rig.zstor.inspect());
  };
  await turn('refuse', 'a0', 'a1', 'b0', 'b1', 'c0', 'c1', 'd0');
  await turn('healthy', 'a0');
  assert.equal(told, 0);
  await turn('healthy', 'a1');
  assert.equal(told, 1);
  await turn('healthy', 'b0', 'b1');
  assert.equal(told, 3);
});

test('backends that come back without a part of what they held are asked for it, and get it again', async (t) => {
  const clock = new SimulatedClock();
  const rig = await openRig(t, {}, { clock });
  const content = await stored(rig);
  await clock.until(rig.zstor.repairPending());
  assert.deepEqual((await rig.zstor.inspect()).unseenBackends, []);
  const away = ['a0', 'b1', 'c0', 'd1'];
  const turn = async (mode: 'refuse' | 'healthy') => {
    for (const name of away) rig.fault(name).mode = mode;
    await clock.until(rig.zstor.status());
  };
  const newest = (name: string) => shardFiles(rig, name).sort().at(-1) as string;
  await turn('refuse');
  for (const name of away) rmSync(newest(name));
  assert.deepEqual((await clock.until(rig.zstor.inspect())).unseenBackends, []);
  await turn('healthy');
  assert.deepEqual((await clock.until(rig.zstor.inspect())).unseenBackends, away);
  const repaired = await clock.until(rig.zstor.repairPending());
  assert.deepEqual([repaired.rewrittenShards, repaired.failures], [4, []]);
  assert.equal((await clock.until(rig.zstor.check('name'))).verdict, 'complete');
  assert.deepEqual((await clock.until(rig.zstor.inspect())).unseenBackends, []);
  // More than is survived: it is told which object is lost, until it is stored again.
  away.push('a1', 'b0');
  await turn('refuse');
  for (const name of away) for (const path of shardFiles(rig, name)) rmSync(path);
  await turn('healthy');
  assert.match((await clock.until(rig.zstor.repairPending())).failures[0]?.reason ?? '', /are needed/);
  assert.deepEqual((await clock.until(rig.zstor.inspect())).lostObjects, ['name']);
  await clock.until(rig.zstor.putSmall('name', content));
  assert.deepEqual((await clock.until(rig.zstor.inspect())).lostObjects, []);
});

test('a backend that lies, also when asked to check, is found by reading', async (t) => {
  const rig = await openRig(t);
  const content = await stored(rig);
  for (const name of ['a0', 'a1', 'b0']) {
    rig.fault(name).corrupt = (bytes) => Buffer.from(bytes).fill(7, 100, 120);
  }
  assert.equal((await rig.zstor.check('name')).verdict, 'complete', 'its own check is fine');
  const deep = await rig.zstor.check('name', { deep: true });
  assert.equal(deep.badShards, 12);
  assert.equal(deep.method, 'read');
  for (let round = 0; round < 10; round++) assert.ok(content.equals(await rig.zstor.getSmall('name')));
});

test('stored as checked: what a lying backend was given does not count, and goes elsewhere', async (t) => {
  const { path, content } = randomFile((await openRig(t)).folder, 'source', 400_000);
  const lies: Record<string, (bytes: Uint8Array) => Uint8Array> = {
    changed: (bytes) => Buffer.from(bytes).fill(7, 100, 120),
    cut: (bytes) => bytes.subarray(0, bytes.length - 1),
  };
  for (const [lie, corrupt] of Object.entries(lies)) {
    const spare = await openRig(t, { groups: [3, 3, 3] });
    spare.fault('b1').corrupt = corrupt;
    const source = { path, lengthBytes: content.length };
    const moved = await spare.zstor.put('name', source, { verification: 'checked' });
    assert.deepEqual([moved.missingShards, moved.verification], [0, 'checked'], lie);
    assert.equal((await spare.zstor.check(moved, { deep: true })).verdict, 'complete', lie);
    assert.deepEqual(shardFiles(spare, 'b1'), [], 'what it was given was taken back');
    const row = (await spare.zstor.status()).backends.find(({ name }) => name === 'b1');
    assert.match(row?.reason ?? '', /right after writing/);

    const full = await openRig(t);
    full.fault('b1').corrupt = corrupt;
    const record = await full.zstor.put('name', source, { verification: 'checked' });
    assert.equal(record.missingShards, record.stripeCount, 'one of each stripe has no honest place');
    assert.equal((await full.zstor.head('name'))?.verification, 'checked');
    assert.ok(content.equals(await full.zstor.getSmall('name')));
  }
});

test('a rebuild claims no more for a record than it made sure of', async (t) => {
  const rig = await openRig(t);
  await stored(rig);
  for (const path of shardFiles(rig, 'a0')) rmSync(path);
  assert.equal((await rig.zstor.rebuild('name')).rewrittenShards, 4);
  assert.equal((await rig.zstor.head('name'))?.verification, 'present', 'the others were not read');
  for (const path of shardFiles(rig, 'a0')) rmSync(path);
  await rig.zstor.rebuild('name', { deep: true });
  assert.equal((await rig.zstor.head('name'))?.verification, 'checked');
});

test('shards swapped between stripes, objects and versions count as missing', async (t) => {
  const rig = await openRig(t);
  const content = await stored(rig);
  await rig.zstor.putSmall('other', content.subarray(0, 65_536));
  for (const name of ['a0', 'b0', 'c0']) {
    const files = shardFiles(rig, name).filter((path) => readFileSync(path).length > 20_000);
    const [first, second] = [readFileSync(files[0]!), readFileSync(files[1]!)];
    writeFileSync(files[0]!, second);
    writeFileSync(files[1]!, first);
  }
  assert.ok(content.equals(await rig.zstor.getSmall('name')));
  assert.ok(content.subarray(0, 65_536).equals(await rig.zstor.getSmall('other')));
});

test('a write with dead backends keeps the quorum, records what is missing, and is completed when they return', async (t) => {
  const pending = new Set<string>();
  const repairList = {
    add: (n: string) => void pending.add(n),
    remove: (n: string) => void pending.delete(n),
    names: () => [...pending],
  };
  const rig = await openRig(t, {}, { repairList });
  for (const name of ['a0', 'b0', 'c0', 'd0']) rig.fault(name).mode = 'refuse';
  const { path, content } = randomFile(rig.folder, 'source', 200_000);
  const record = await rig.zstor.put('name', { path, lengthBytes: content.length });
  assert.equal(record.missingShards, 16);
  assert.deepEqual([...pending], ['name'], 'remembered by the embedding program');
  assert.ok(content.equals(await rig.zstor.getSmall('name')));
  assert.equal(rig.zstor.tolerance(record).backends, 1);

  for (const name of ['a0', 'b0', 'c0', 'd0']) rig.fault(name).mode = 'healthy';
  const other = await rig.reopen();
  assert.equal((await other.repairPending()).rewrittenShards, 16);
  const after = await other.head('name');
  assert.equal(after?.missingShards, 0);
  assert.equal(other.tolerance(after!).backends, 5);
  assert.deepEqual([...pending], [], 'and forgotten when it is whole');
});

test('nothing is repaired in the background while it may not be, and it is made up for', async (t) => {
  const clock = new SimulatedClock();
  let mayWork = false;
  const rig = await openRig(t, {}, { clock, maintenance: () => mayWork });
  rig.fault('a0').mode = 'refuse';
  const { path, content } = randomFile(rig.folder, 'source', 200_000);
  await rig.zstor.put('name', { path, lengthBytes: content.length });
  rig.fault('a0').mode = 'healthy';
  await clock.run(600_000);
  assert.equal((await rig.zstor.head('name'))?.missingShards, 4);
  mayWork = true;
  await clock.run(30_000);
  assert.equal((await rig.zstor.head('name'))?.missingShards, 0);
});

test('in the background a backend that returns gets what it missed, and a wiped one everything', async (t) => {
  const clock = new SimulatedClock();
  const rig = await openRig(t, {}, { clock, maintenance: true });
  await clock.run(60_000);
  rig.fault('a0').mode = 'refuse';
  rig.fault('m0').mode = 'refuse';
  const { path, content } = randomFile(rig.folder, 'source', 200_000);
  const record = await rig.zstor.put('name', { path, lengthBytes: content.length });
  assert.equal(record.missingShards, 4);
  await clock.run(600_000);
  assert.equal((await rig.zstor.head('name'))?.missingShards, 4);
  assert.equal((await rig.zstor.status()).repair.pendingObjects, 1);
  rig.fault('a0').mode = 'healthy';
  rig.fault('m0').mode = 'healthy';
  await clock.run(30_000);
  assert.equal((await rig.zstor.head('name'))?.missingShards, 0);
  assert.equal((await rig.zstor.status()).repair.pendingObjects, 0);
  for (const name of ['m1', 'm2']) rig.fault(name).mode = 'refuse';
  assert.equal((await rig.zstor.head('name'))?.missingShards, 0, 'the metadata store has caught up too');
  for (const name of ['m1', 'm2']) rig.fault(name).mode = 'healthy';

  rig.fault('b1').mode = 'refuse';
  assert.ok(content.equals(await rig.zstor.getSmall('name')));
  rmSync(join(rig.folder, 'data/b1'), { recursive: true });
  mkdirSync(join(rig.folder, 'data/b1'));
  await rig.zstor.check('name');
  await clock.run(20_000);
  rig.fault('b1').mode = 'healthy';
  await clock.run(30_000);
  assert.equal(shardFiles(rig, 'b1').length, 4);
  assert.equal((await rig.zstor.check('name', { deep: true })).verdict, 'complete');
});

test('a write below the quorum fails, says which backends would help, and leaves nothing behind', async (t) => {
  const rig = await openRig(t);
  await rig.zstor.putSmall('name', Buffer.from('old'));
  const before = shardFiles(rig).length;
  for (const name of ['a0', 'b0', 'c0', 'd0', 'a1']) rig.fault(name).mode = 'refuse';
  const { path } = randomFile(rig.folder, 'source', 200_000);
  await assert.rejects(rig.zstor.put('name', { path, lengthBytes: 200_000 }), (error) => {
    return (
      unavailable(error) &&
      /3 of 8 backends .*at least 4 of 8 must be written; bring back any 1 of/.test((error as Error).message)
    );
  });
  for (const name of ['a0', 'b0', 'c0', 'd0', 'a1']) rig.fault(name).mode = 'healthy';
  assert.equal(shardFiles(rig).length, before);
  assert.equal(Buffer.from(await rig.zstor.getSmall('name')).toString(), 'old');
});

test('backends that are full are said to be that, not to be gone', async (t) => {
  const rig = await openRig(t);
  for (const name of ['a0', 'a1', 'b0', 'b1', 'c0', 'c1', 'd0']) rig.fault(name).full = true;
  rig.fault('d1').mode = 'refuse';
  const full = (error: unknown) =>
    unavailable(error) &&
    /bring back or make room on any 4 of: a0, .*d0 \(no room \(injected\)\); d1 \(refused/.test(
      (error as Error).message,
    );
  await assert.rejects(rig.zstor.putSmall('name', Buffer.from('x')), full);
  const { data } = await rig.zstor.status();
  assert.match(data.reason, /bring back or make room on any 4 of: a0, a1/);
});

test('a backend that cannot write and has room is not told to be full', async (t) => {
  const rig = await openRig(t);
  for (const { name } of rig.config.groups.flatMap(({ backends }) => backends))
    rig.fault(name).before = (operation) => {
      if (operation === 'put') throw new BackendError(name, 'unwritable', 'answered "Cannot write"');
    };
  const failing =
    /; put right any 4 of: a0, .*\(answered "Cannot write", although it has room: its disk fails/;
  await assert.rejects(rig.zstor.putSmall('name', Buffer.from('x')), (error) => {
    return unavailable(error) && failing.test((error as Error).message);
  });
  const { data, backends } = await rig.zstor.status();
  assert.match(data.reason, /; put right any 4 of: a0, a1/);
  assert.match(backends.find(({ name }) => name === 'a0')?.reason ?? '', /its disk fails/);
});

test('a backend that dies in the middle of a write is replaced by a spare one within the policy', async (t) => {
  const rig = await openRig(t, { groups: [3, 3, 3, 3], redundantGroups: 1, redundantNodes: 1 });
  let puts = 0;
  rig.fault('a0').before = (operation) => {
    if (operation === 'put' && ++puts > 2) rig.fault('a0').mode = 'refuse';
  };
  const { path, content } = randomFile(rig.folder, 'source', 1_000_000);
  const record = await rig.zstor.put('name', { path, lengthBytes: content.length });
  assert.equal(record.missingShards, 0);
  assert.ok(content.equals(await rig.zstor.getSmall('name')));
});

test('a full backend takes no shards for a while, and the others do', async (t) => {
  const rig = await openRig(t, { groups: [3, 3, 3] });
  rig.fault('b1').full = true;
  const { path, content } = randomFile(rig.folder, 'source', 500_000);
  const record = await rig.zstor.put('name', { path, lengthBytes: content.length });
  assert.equal(record.missingShards, 0);
  assert.equal(shardFiles(rig, 'b1').length, 0);
  assert.ok((rig.fault('b1').calls.get('put') ?? 0) <= 6, 'one try for each stripe under way');
  const row = (await rig.zstor.status()).backends.find(({ name }) => name === 'b1');
  assert.match(row?.reason ?? '', /no room/);
  assert.ok(content.equals(await rig.zstor.getSmall('name')));
});

test('a wiped backend is known to be empty, is refilled, and its old keys never touch new shards', async (t) => {
  const rig = await openRig(t);
  const content = await stored(rig);
  rmSync(join(rig.folder, 'data/a0'), { recursive: true });
  rig.fault('a0').mode = 'refuse';
  assert.ok(content.equals(await rig.zstor.getSmall('name')));
  mkdirSync(join(rig.folder, 'data/a0'));
  rig.fault('a0').mode = 'healthy';
  const other = await rig.reopen();
  const record = await other.head('name');
  assert.equal(other.tolerance(record!).backends, 4, 'what was on it does not count');
  const before = (await other.status({ objects: true })).objects!;
  assert.deepEqual([before.count, before.lacking, before.tolerance.backends], [1, 1, 4]);
  const report = await other.repairPending();
  assert.equal(report.rewrittenShards, 4);
  assert.equal((await other.check('name', { deep: true })).verdict, 'complete');
  assert.equal(shardFiles(rig, 'a0').length, 4);
});

test('rebuild moves shards from a dead backend to a spare one', async (t) => {
  const rig = await openRig(t, { groups: [3, 3, 3] });
  const content = await stored(rig);
  const holder = (await rig.zstor.head('name'))!;
  assert.equal(holder.missingShards, 0);
  rig.fault('a0').mode = 'refuse';
  rig.fault('b0').mode = 'refuse';
  await rig.zstor.getSmall('name');
  const report = await rig.zstor.rebuild('name');
  // Nine backends, eight shards a stripe: each stripe has exactly one spare backend, which may be one of the dead.
  assert.ok(report.rewrittenShards >= 0);
  const tolerance = rig.zstor.tolerance((await rig.zstor.head('name'))!);
  assert.equal(tolerance.backends, 4, 'seven live backends hold a shard of every stripe');
  assert.ok(content.equals(await rig.zstor.getSmall('name')));
});

test('a rebuild says which shards it could neither look at nor move, and check says the same', async (t) => {
  const rig = await openRig(t);
  await stored(rig);
  for (const path of shardFiles(rig, 'b0')) rmSync(path);
  rig.fault('a0').mode = 'refuse';
  await rig.zstor.status();
  const report = await rig.zstor.rebuild('name');
  assert.deepEqual([report.rewrittenShards, report.missingShards, report.unreachableShards], [4, 0, 4]);
  assert.match(report.reason, /bring back a0/);
  const check = await rig.zstor.check('name');
  assert.deepEqual([check.badShards, check.unreachableShards, check.verdict], [0, 4, 'degraded']);
});

test('another key or prefix over stores that hold records is an error, and nothing is written', async (t) => {
  const rig = await openRig(t);
  await stored(rig);
  const config = { ...rig.config, masterKey: new Uint8Array(32).fill(1) };
  const files = () => readdirSync(join(rig.folder, 'meta'), { recursive: true }).sort();
  const before = files();
  await assert.rejects(
    openZstor(config, capabilities),
    (error) => isZstorError(error, 'QSFS_E_CONFIG') && /encryption\.key/.test(error.message),
  );
  assert.deepEqual(files(), before);
});

test('an object keeps its own k and n when the configuration changes', async (t) => {
  const rig = await openRig(t, { k: 2, n: 5, groups: [3, 3] });
  const content = await stored(rig);
  for (const path of shardFiles(rig, 'a0')) rmSync(path);
  for (const path of shardFiles(rig, 'b0')) rmSync(path);
  Object.assign(rig.config, { minimalShards: 4, expectedShards: 6 });
  const other = await rig.reopen();
  const report = await other.rebuild('name');
  assert.equal(report.missingShards, 0);
  const record = await other.head('name');
  assert.deepEqual([record?.minimalShards, record?.expectedShards], [2, 5]);
  assert.equal((await other.check('name', { deep: true })).verdict, 'complete');
  assert.ok(content.equals(await other.getSmall('name')));
});

test('a crash at any point of a put leaves the old object or the new one, whole', async (t) => {
  const rig = await openRig(t, { groups: [2, 2], n: 4, k: 2 });
  const old = Buffer.alloc(150_000, 'old');
  const fresh = Buffer.alloc(200_000, 'new!');
  await rig.zstor.putSmall('name', old);
  // The process "dies" at operation number `limit`: nothing it does afterwards happens.
  for (let limit = 1; ; limit++) {
    const victim = await rig.reopen();
    let operations = 0;
    let isDead = false;
    for (const fault of rig.faults.values()) {
      fault.before = (operation) => {
        if (['put', 'check', 'delete', 'set'].includes(operation) && ++operations >= limit) isDead = true;
        if (isDead) throw Object.assign(new Error('the process is dead'), { isCrash: true });
      };
    }
    let finished = false;
    try {
      await victim.putSmall('name', fresh);
      finished = true;
    } catch {
      // whatever the dying process thinks
    }
    for (const fault of rig.faults.values()) fault.before = undefined;
    const survivor = await rig.reopen();
    const found = Buffer.from(await survivor.getSmall('name'));
    assert.ok(found.equals(old) || found.equals(fresh), `after ${limit} operations`);
    if (finished) {
      assert.ok(found.equals(fresh));
      assert.ok(limit > 20, 'the crash was tried at many points');
      break;
    }
    await survivor.repairPending();
    assert.ok(Buffer.from(await survivor.getSmall('name')).equals(found), 'and repair does not change which');
    await survivor.putSmall('name', old);
    await survivor.close();
    await victim.close();
  }
});

test('a read that is tried again right after the backends returned succeeds, long before their next probe', async (t) => {
  const clock = new SimulatedClock();
  const rig = await openRig(t, {}, { clock });
  const content = await stored(rig);
  const record = (await rig.zstor.head('name'))!;
  const all = [...rig.config.groups.flatMap(({ backends }) => backends), ...rig.config.metadata.backends];
  for (const { name } of all) rig.fault(name).mode = 'refuse';
  await assert.rejects(rig.zstor.read(record, 0, 100), (error) => isZstorError(error, 'QSFS_E_UNAVAILABLE'));
  await clock.run(60_000); // from now on probes are seconds apart
  for (const { name } of all) rig.fault(name).mode = 'healthy';
  const first = await Promise.allSettled([rig.zstor.read(record, 0, 100), rig.zstor.head('name')]);
  assert.deepEqual(
    first.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  await clock.run(10);
  assert.ok(content.subarray(0, 100).equals(await rig.zstor.read(record, 0, 100)));
  assert.equal((await rig.zstor.head('name'))?.name, 'name');
});

test('an error after the record was switched does not take the new shards away', async (t) => {
  const { zstor, folder, fault } = await openRig(
    t,
    {},
    {
      repairList: {
        add: () => {
          throw new Error('the list of repairs cannot be written');
        },
        remove: () => {},
        names: () => [],
      },
    },
  );
  const { path, content } = randomFile(folder, 'source', 200_000);
  fault('a0').mode = 'refuse';
  await assert.rejects(zstor.put('object', { path, lengthBytes: content.length }), /cannot be written/);
  assert.ok(content.equals(await zstor.getSmall('object')), 'the record names it, so it must be there');
});

test('two objects stored at the same time under one name leave one of them, whole', async (t) => {
  const rig = await openRig(t);
  const contents = [1, 2, 3, 4].map((fill) => Buffer.alloc(100_000 + fill, fill));
  await Promise.all(contents.map((content) => rig.zstor.putSmall('name', content)));
  const found = await rig.zstor.getSmall('name');
  assert.ok(contents.some((content) => content.equals(found)));
  assert.equal(shardFiles(rig).length, 16, 'the others left nothing');
});

test('a record that was overtaken by repair or replacement still reads, or says what happened', async (t) => {
  const rig = await openRig(t);
  const content = await stored(rig);
  const record = (await rig.zstor.head('name'))!;
  for (const path of ['a0', 'b0', 'c0', 'd0'].flatMap((name) => shardFiles(rig, name))) rmSync(path);
  await rig.zstor.rebuild('name');
  for (const name of ['a1', 'b1', 'c1', 'd1']) rig.fault(name).mode = 'refuse';
  assert.ok(
    content.equals(await rig.zstor.read(record, 0, content.length)),
    'the places of the old record are empty',
  );
  for (const name of ['a1', 'b1', 'c1', 'd1']) rig.fault(name).mode = 'healthy';
  const later = await rig.reopen();
  const stale = (await later.head('name'))!;
  await later.putSmall('name', Buffer.from('another'));
  await assert.rejects(
    later.read(stale, 0, 10),
    (error) => isZstorError(error) && /replaced/.test(error.message),
  );
});

test('the full loss of metadata stores up to the tolerance is survived and repaired', async (t) => {
  const rig = await openRig(t, { stores: 8 });
  const content = await stored(rig);
  for (const index of [0, 2, 3, 5, 6]) {
    rmSync(join(rig.folder, 'meta', `${index}`), { recursive: true });
    mkdirSync(join(rig.folder, 'meta', `${index}`));
  }
  const other = await rig.reopen();
  assert.ok(content.equals(await other.getSmall('name')));
  assert.equal(await other.head('never stored'), undefined, 'three stores know of every acknowledged write');
  assert.equal((await other.status()).metadata.tolerance, 0);
  const report = await other.repairPending();
  assert.deepEqual(report.failures, []);
  assert.equal((await other.status()).metadata.tolerance, 5);
  assert.equal(await other.head('never stored'), undefined);
});
