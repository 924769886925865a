import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { realClock, realDisk, realRandom } from '@qsfs/io';
import { SimulatedClock } from '@qsfs/io/simulated';
import { isBackendError, type RecordStore, type ShardStore } from '../src/backend/backend.ts';
import { DirectoryRecordStore, DirectoryShardStore } from '../src/backend/directory.ts';
import { FaultyRecordStore, FaultyShardStore, noFaults } from '../src/backend/faults.ts';
import { GuardedRecordStore, GuardedShardStore } from '../src/backend/guarded.ts';
import { outageConformance, recordStoreConformance, shardStoreConformance } from './conformance.ts';
import { temporaryFolder } from './support.ts';

function directoryPlace<Store>(t: TestContext, open: (path: string) => Store) {
  const folder = temporaryFolder(t);
  const path = join(folder, 'store');
  mkdirSync(path);
  return Promise.resolve({
    open: () => open(path),
    wipe: async () => {
      rmSync(path, { recursive: true });
      mkdirSync(path);
    },
    damage: async () => {
      for (const entry of readdirSync(join(path, 'shards'), { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const file = join(entry.parentPath, entry.name);
        const bytes = readFileSync(file);
        bytes[bytes.length >> 1]! ^= 1;
        writeFileSync(file, bytes);
      }
    },
    stop: async () => renameSync(path, `${path}.away`),
    start: async () => renameSync(`${path}.away`, path),
  });
}

const shards = (path: string): ShardStore => new DirectoryShardStore(realDisk, realRandom, 'store', path);
const records = (path: string): RecordStore => new DirectoryRecordStore(realDisk, realRandom, 'store', path);
shardStoreConformance('directory', (t) => directoryPlace(t, shards));
recordStoreConformance('directory', (t) => directoryPlace(t, records));
shardStoreConformance('healthy faulty store', (t) =>
  directoryPlace(t, (path) => new FaultyShardStore(shards(path), noFaults())),
);
recordStoreConformance('healthy faulty store', (t) =>
  directoryPlace(t, (path) => new FaultyRecordStore(records(path), noFaults())),
);
shardStoreConformance('guarded', (t) =>
  directoryPlace(t, (path) => new GuardedShardStore(shards(path), realClock)),
);
recordStoreConformance('guarded', (t) =>
  directoryPlace(t, (path) => new GuardedRecordStore(records(path), realClock)),
);
outageConformance('directory', async (t) => ({
  shards: await directoryPlace(t, shards),
  records: await directoryPlace(t, records),
}));

test('a directory that was emptied behind an open store takes values where it had some before', async (t) => {
  const place = await directoryPlace(t, records);
  const store = place.open();
  await store.set('key', Buffer.from('old'));
  await place.wipe();
  await store.set('key', Buffer.from('new'));
  assert.deepEqual(Buffer.from((await store.get('key'))!), Buffer.from('new'));
});

/** A guarded store over a faulty directory, under a clock turned by hand. */
async function guarded(t: TestContext) {
  const path = temporaryFolder(t);
  const clock = new SimulatedClock();
  const faults = noFaults();
  const store = new GuardedShardStore(new FaultyShardStore(shards(path), faults), clock);
  const location = await store.put(Buffer.from('value'));
  return { clock, faults, store, location };
}

const unreachable = (error: unknown) => isBackendError(error, 'unreachable');

test('a refusing backend is asked once; while it is down calls fail at once, and it is used again when it returns', async (t) => {
  const { clock, faults, store, location } = await guarded(t);
  faults.mode = 'refuse';
  await assert.rejects(store.get(location), unreachable);
  const calls = faults.calls.get('get');
  for (let round = 0; round < 10; round++) await assert.rejects(store.get(location), unreachable);
  assert.equal(faults.calls.get('get'), calls);
  assert.equal(store.health.state, 'down');
  await clock.run(60_000);
  assert.equal(store.health.state, 'down');
  const probes = faults.calls.get('identify')!;
  assert.ok(probes >= 12 && probes < 25, `${probes} probes in a minute`);
  faults.mode = 'healthy';
  await clock.run(5000);
  assert.equal(store.health.state, 'up');
  assert.ok(await store.get(location));
});

test('a frozen backend costs a second, once', async (t) => {
  const { clock, faults, store, location } = await guarded(t);
  faults.mode = 'freeze';
  const startMs = clock.monotonicMs();
  const outcome = assert.rejects(store.get(location), unreachable);
  const others = Promise.all(
    Array.from({ length: 20 }, () => assert.rejects(store.get(location), unreachable)),
  );
  await clock.run(1000);
  await outcome;
  await others;
  assert.ok(clock.monotonicMs() - startMs <= 1000);
  await assert.rejects(store.put(new Uint8Array(1)), unreachable);
  assert.equal(store.health.reason, 'no answer within 1000 ms');
});

test('a backend that is slow but answers PING is waited for', async (t) => {
  const { clock, faults, store, location } = await guarded(t);
  let finish = () => {};
  faults.before = (operation) => {
    if (operation !== 'get') return;
    return new Promise<void>((resolve) => {
      finish = resolve;
    });
  };
  const reading = store.get(location);
  await clock.run(10_000);
  assert.equal(store.health.state, 'up');
  finish();
  assert.equal(Buffer.from((await reading)!).toString(), 'value');
});

test('on a slow line a backend is given the time that what is on its way takes', async (t) => {
  const { clock, faults, store } = await guarded(t);
  const shard = new Uint8Array(100_000);
  faults.before = (operation) => (operation === 'put' ? clock.sleep(200) : undefined); // 500 KB/s
  const learning = (async () => {
    for (let round = 0; round < 20; round++) await store.put(shard);
  })();
  await clock.until(learning);
  // Ten shards take two seconds on this line, and the PING stands behind them.
  faults.before = (operation) => clock.sleep(operation === 'ping' ? 2100 : 2000);
  const puts = Promise.all(Array.from({ length: 10 }, () => store.put(shard)));
  await clock.until(puts);
  assert.equal(store.health.state, 'up');
  faults.mode = 'freeze';
  faults.before = undefined;
  const startMs = clock.monotonicMs();
  await clock.until(assert.rejects(store.put(new Uint8Array(100)), unreachable));
  const tookMs = clock.monotonicMs() - startMs;
  assert.ok(tookMs <= 1100, `with little on its way it is still a second, not ${tookMs} ms`);
});

test('a full backend is unwritable for seconds, as room may be made at any moment, and not down', async (t) => {
  const { clock, faults, store, location } = await guarded(t);
  faults.full = true;
  await assert.rejects(store.put(new Uint8Array(1)), (error) => isBackendError(error, 'full'));
  assert.match(store.unwritable?.reason ?? '', /no room/);
  assert.equal(store.unwritable?.kind, 'full');
  assert.ok(await store.get(location));
  faults.full = false;
  await clock.run(3001);
  assert.equal(store.unwritable, undefined);
  await store.put(new Uint8Array(1));
});

test('calls beyond the limit wait their turn, and all are answered', async (t) => {
  const { store, location } = await guarded(t);
  const answers = await Promise.all(Array.from({ length: 2000 }, () => store.get(location)));
  assert.ok(answers.every((answer) => answer?.length === 5));
  assert.equal(store.load, 0);
});
