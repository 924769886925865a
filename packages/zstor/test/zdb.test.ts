import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { realClock, realNetwork, realRandom } from '@qsfs/io';
import { ZdbClient } from '@qsfs/resp';
import { isBackendError } from '../src/backend/backend.ts';
import { ZdbRecordStore, ZdbShardStore } from '../src/backend/zdb.ts';
import { parseConfig } from '../src/config/parse.ts';
import { openZstor, type Zstor } from '../src/index.ts';
import { recordStoreConformance, shardStoreConformance } from './conformance.ts';
import { capabilities, KEY, randomFile, temporaryFolder } from './support.ts';
import { ZdbServer } from './zdb-servers.ts';

async function server(t: TestContext, mode: 'seq' | 'user', folder = temporaryFolder(t)): Promise<ZdbServer> {
  const made = new ZdbServer(folder, mode);
  t.after(() => made.kill());
  await made.start();
  return made;
}

function location(socket: string, namespace?: string, password?: string) {
  return { name: 'store', address: { path: socket }, namespace, password };
}

shardStoreConformance('zdb', async (t) => {
  const zdb = await server(t, 'seq');
  return {
    open: () => new ZdbShardStore(realNetwork, realClock, realRandom, location(zdb.socket)),
    wipe: () => zdb.wipe(),
    damage: async () => {
      const path = join(zdb.folder, 'data/default/d0');
      const bytes = readFileSync(path);
      bytes[bytes.length - 5000]! ^= 1;
      writeFileSync(path, bytes);
    },
    stop: () => zdb.kill(),
    start: () => zdb.start(),
  };
});

recordStoreConformance('zdb', async (t) => {
  const zdb = await server(t, 'user');
  return {
    open: () => new ZdbRecordStore(realNetwork, realClock, location(zdb.socket)),
    stop: () => zdb.kill(),
    start: () => zdb.start(),
  };
});

test('a namespace of the wrong mode, a missing one and a wrong password each say what to do', async (t) => {
  const zdb = await server(t, 'seq');
  const admin = await ZdbClient.connect(realNetwork, realClock, { address: { path: zdb.socket } });
  await admin.createNamespace('mine');
  await admin.configureNamespace('mine', { password: 'right', public: false });
  admin.close();
  const records = new ZdbRecordStore(realNetwork, realClock, location(zdb.socket));
  t.after(() => records.close());
  await assert.rejects(
    records.probe(),
    (error) => isBackendError(error, 'foreign') && /NSSET default mode user/.test(error.message),
  );
  const missing = new ZdbShardStore(realNetwork, realClock, realRandom, location(zdb.socket, 'absent'));
  t.after(() => missing.close());
  await assert.rejects(
    missing.identify(),
    (error) => isBackendError(error, 'foreign') && /NSNEW absent/.test(error.message),
  );
  const wrong = new ZdbShardStore(realNetwork, realClock, realRandom, location(zdb.socket, 'mine', 'wrong'));
  t.after(() => wrong.close());
  await assert.rejects(
    wrong.put(new Uint8Array(1)),
    (error) => isBackendError(error, 'refused') && /Access denied/.test(error.message),
  );
  const right = new ZdbShardStore(realNetwork, realClock, realRandom, location(zdb.socket, 'mine', 'right'));
  t.after(() => right.close());
  assert.equal(Buffer.from((await right.get(await right.put(Buffer.from('x'))))!).toString(), 'x');
});

test('a full namespace is told from others, and counts what is left, not its limit', async (t) => {
  const zdb = await server(t, 'seq');
  const admin = await ZdbClient.connect(realNetwork, realClock, { address: { path: zdb.socket } });
  t.after(() => admin.close());
  await admin.createNamespace('small');
  await admin.configureNamespace('small', { maxsize: 10_000 });
  const store = new ZdbShardStore(realNetwork, realClock, realRandom, location(zdb.socket, 'small'));
  t.after(() => store.close());
  await store.put(new Uint8Array(6000));
  assert.ok((await store.space()).freeBytes! < 4000);
  await assert.rejects(store.put(new Uint8Array(6000)), (error) => isBackendError(error, 'full'));
});

test('a namespace that held other things before has no incarnation, and works', async (t) => {
  const zdb = await server(t, 'seq');
  const client = await ZdbClient.connect(realNetwork, realClock, { address: { path: zdb.socket } });
  t.after(() => client.close());
  await client.insert('something else');
  const store = new ZdbShardStore(realNetwork, realClock, realRandom, location(zdb.socket));
  t.after(() => store.close());
  const kept = await store.put(Buffer.from('value'));
  assert.equal(kept.incarnation, '');
  assert.equal(Buffer.from((await store.get(kept))!).toString(), 'value');
});

/** A store over six data and four metadata servers. */
async function rig(
  t: TestContext,
): Promise<{ zstor: Zstor; data: ZdbServer[]; meta: ZdbServer[]; folder: string; open(): Promise<Zstor> }> {
  const folder = temporaryFolder(t);
  const data = await Promise.all(
    [0, 1, 2, 3, 4, 5].map((index) => server(t, 'seq', join(folder, `d${index}`))),
  );
  const meta = await Promise.all([0, 1, 2, 3].map((index) => server(t, 'user', join(folder, `m${index}`))));
  const config = parseConfig(
    `minimal_shards = 3\nexpected_shards = 6\nredundant_groups = 1\nredundant_nodes = 0\nstripe_size = "256KiB"
[encryption]\nalgorithm = "AES"\nkey = "${KEY}"\n[meta.config]\n` +
      meta.map((_, index) => `[[meta.config.backends]]\naddress = "unix:m${index}/socket"\n`).join('') +
      [0, 1, 2]
        .map(
          (group) =>
            `[[groups]]\n${[0, 1].map((i) => `[[groups.backends]]\naddress = "unix:d${2 * group + i}/socket"\n`).join('')}`,
        )
        .join(''),
    folder,
  );
  const open = async () => {
    const zstor = await openZstor(config, capabilities);
    t.after(() => zstor.close());
    return zstor;
  };
  return { zstor: await open(), data, meta, folder, open };
}

test('objects on real servers: killed, frozen and wiped backends are survived and repaired', async (t) => {
  const { zstor, data, meta, folder, open } = await rig(t);
  const { path, content } = randomFile(folder, 'source', 3_000_000);
  const record = await zstor.put('name', { path, lengthBytes: content.length });
  assert.equal(record.missingShards, 0);
  assert.deepEqual([zstor.tolerance(record).backends, zstor.tolerance(record).groups], [3, 1]);

  await data[0]!.kill();
  data[1]!.freeze();
  await meta[0]!.kill();
  meta[1]!.freeze();
  assert.ok(content.equals(await zstor.getSmall('name')), 'the connections of before');
  const other = await open();
  assert.ok(content.equals(await other.getSmall('name')), 'and new ones');
  const { backends, data: state } = await other.status();
  assert.equal(backends.filter((backend) => backend.state === 'down').length, 4);
  assert.equal(state.tolerance.backends, 1);
  assert.equal(state.writable, true);
  await assert.rejects(other.put('x', { path, lengthBytes: 10 }), /metadata cannot be written: 2 of 4/);

  await meta[0]!.start();
  meta[1]!.thaw();
  await data[0]!.wipe();
  data[1]!.thaw();
  const third = await open();
  assert.equal((await third.put('other', { path, lengthBytes: 1_000_000 })).missingShards, 0);
  const report = await third.repairPending();
  assert.deepEqual(report.failures, []);
  assert.equal(
    report.rewrittenShards,
    12,
    'one shard of each of the twelve stripes was on the wiped backend',
  );
  assert.equal((await third.check('name', { deep: true })).verdict, 'complete');
});

test('bytes changed on the disks of all tolerated servers do not reach the reader', async (t) => {
  const { zstor, data, folder } = await rig(t);
  const { path, content } = randomFile(folder, 'source', 2_000_000);
  await zstor.put('name', { path, lengthBytes: content.length });
  for (const zdb of [data[0]!, data[3]!, data[5]!]) {
    const directory = join(zdb.folder, 'data/default');
    for (const file of readdirSync(directory)) {
      const bytes = readFileSync(join(directory, file));
      for (let at = 2000; at < bytes.length; at += 20_000) bytes[at]! ^= 0x55;
      writeFileSync(join(directory, file), bytes);
    }
  }
  assert.ok(content.equals(await zstor.getSmall('name')));
  const report = await zstor.check('name', { deep: true });
  assert.equal(report.verdict, 'degraded');
  assert.ok(report.badShards >= 20, `${report.badShards} bad shards`);
  const rebuilt = await zstor.rebuild('name', { deep: true });
  assert.equal(rebuilt.missingShards, 0);
  assert.equal((await zstor.check('name', { deep: true })).verdict, 'complete');
});

test('a put that is interrupted by servers dying leaves the old object, and succeeds when they are back', async (t) => {
  const { zstor, data, folder, open } = await rig(t);
  const old = randomFile(folder, 'old', 500_000);
  const fresh = randomFile(folder, 'fresh', 4_000_000);
  await zstor.put('name', { path: old.path, lengthBytes: old.content.length });
  let killed: Promise<unknown> | undefined;
  const progress = () => {
    killed ??= Promise.all([data[0]!.kill(), data[2]!.kill(), data[4]!.kill()]);
  };
  await assert.rejects(
    zstor.put('name', { path: fresh.path, lengthBytes: 4_000_000 }, { progress }),
    /QSFS|cannot store/,
  );
  await killed;
  assert.ok(old.content.equals(await zstor.getSmall('name')));
  await Promise.all([data[0]!.start(), data[2]!.start(), data[4]!.start()]);
  const other = await open();
  await other.put('name', { path: fresh.path, lengthBytes: 4_000_000 });
  assert.ok(fresh.content.equals(await other.getSmall('name')));
});
