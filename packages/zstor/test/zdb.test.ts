import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { realClock, realNetwork, realRandom } from '@qsfs/io';
import { type NamespaceProperties, ZdbClient } from '@qsfs/resp';
import { isBackendError } from '../src/backend/backend.ts';
import { ZdbRecordStore, ZdbShardStore } from '../src/backend/zdb.ts';
import { parseConfig } from '../src/config/parse.ts';
import { AbsentBackends, isZstorError, openZstor, type ZstorStatus } from '../src/index.ts';
import { outageConformance, recordStoreConformance, shardStoreConformance } from './conformance.ts';
import { capabilities, KEY, randomFile, temporaryFolder } from './support.ts';
import { ZdbServer } from './zdb-servers.ts';

let shared: ZdbServer;
let admin: ZdbClient;
let namespaces = 0;

before(async () => {
  shared = new ZdbServer(mkdtempSync(join(tmpdir(), 'zstor-zdb-')));
  await shared.start();
  admin = await ZdbClient.connect(realNetwork, realClock, { address: { path: shared.socket } });
});

after(async () => {
  admin.close();
  await shared.kill();
  rmSync(shared.folder, { recursive: true, force: true });
});

/** A namespace of its own on the shared server. */
async function namespace(mode: 'seq' | 'user', more: NamespaceProperties = {}): Promise<string> {
  const name = `test${namespaces++}`;
  await admin.createNamespace(name);
  await admin.configureNamespace(name, { mode, ...more });
  return name;
}

function location(name?: string, password?: string, socket = shared.socket) {
  return { name: 'store', address: { path: socket }, namespace: name, password };
}

function shardStore(t: TestContext, name?: string, password?: string): ZdbShardStore {
  const store = new ZdbShardStore(realNetwork, realClock, realRandom, location(name, password));
  t.after(() => store.close());
  return store;
}

shardStoreConformance('zdb', async () => {
  const name = await namespace('seq');
  return {
    open: () => new ZdbShardStore(realNetwork, realClock, realRandom, location(name)),
    wipe: async () => {
      await admin.removeNamespace(name);
      await admin.createNamespace(name);
      await admin.configureNamespace(name, { mode: 'seq' });
    },
    damage: async () => {
      const path = join(shared.folder, 'data', name, 'd0');
      const bytes = readFileSync(path);
      bytes[bytes.length - 5000]! ^= 1;
      writeFileSync(path, bytes);
    },
  };
});

shardStoreConformance('zdb emptied by FLUSH', async (t) => {
  const name = await namespace('seq', { password: 'secret', public: false });
  const owner = await ZdbClient.connect(realNetwork, realClock, {
    address: { path: shared.socket },
    login: { namespace: name, namespacePassword: 'secret' },
  });
  t.after(() => owner.close());
  return {
    open: () => new ZdbShardStore(realNetwork, realClock, realRandom, location(name, 'secret')),
    wipe: async () => {
      await owner.client.command(['FLUSH']);
    },
    damage: async () => {
      const path = join(shared.folder, 'data', name, 'd0');
      const bytes = readFileSync(path);
      bytes[bytes.length - 5000]! ^= 1;
      writeFileSync(path, bytes);
    },
  };
});

recordStoreConformance('zdb', async () => {
  const name = await namespace('user');
  return { open: () => new ZdbRecordStore(realNetwork, realClock, location(name)) };
});

outageConformance('zdb', async (t) => {
  const start = async (mode: 'seq' | 'user') => {
    const server = new ZdbServer(temporaryFolder(t), mode);
    t.after(() => server.kill());
    await server.start();
    return server;
  };
  const [seq, user] = await Promise.all([start('seq'), start('user')]);
  const at = (server: ZdbServer) => location(undefined, undefined, server.socket);
  return {
    shards: {
      open: () => new ZdbShardStore(realNetwork, realClock, realRandom, at(seq)),
      stop: () => seq.kill(),
      start: () => seq.start(),
    },
    records: {
      open: () => new ZdbRecordStore(realNetwork, realClock, at(user)),
      stop: () => user.kill(),
      start: () => user.start(),
    },
  };
});

test('a namespace of the wrong mode, a missing one and a wrong password each say what to do', async (t) => {
  const plain = await namespace('seq');
  const mine = await namespace('seq', { password: 'right', public: false });
  const records = new ZdbRecordStore(realNetwork, realClock, location(plain));
  t.after(() => records.close());
  await assert.rejects(records.probe(), (error) => {
    return isBackendError(error, 'foreign') && error.message.includes(`NSSET ${plain} mode user`);
  });
  await assert.rejects(shardStore(t, 'absent').identify(), (error) => {
    return isBackendError(error, 'foreign') && /NSNEW absent/.test(error.message);
  });
  await assert.rejects(shardStore(t, mine, 'wrong').put(new Uint8Array(1)), (error) => {
    return isBackendError(error, 'refused') && /Access denied.*password given is wrong/.test(error.message);
  });
  await assert.rejects(shardStore(t, mine).put(new Uint8Array(1)), (error) => {
    return isBackendError(error, 'refused') && /protected and private.*needs a password/.test(error.message);
  });
  const right = shardStore(t, mine, 'right');
  assert.equal(Buffer.from((await right.get(await right.put(Buffer.from('x'))))!).toString(), 'x');
});

test('a server that is not there is named once, and why', async (t) => {
  const nowhere = { ...location('x'), address: { path: '/nowhere/zdb.sock' } };
  const store = new ZdbShardStore(realNetwork, realClock, realRandom, nowhere);
  t.after(() => store.close());
  await assert.rejects(store.identify(), (error) => {
    return (
      isBackendError(error, 'unreachable') &&
      /^cannot connect: ENOENT \(unix:\/nowhere\/zdb\.sock\)$/.test(error.reason)
    );
  });
  const named = new ZdbShardStore(realNetwork, realClock, realRandom, {
    ...nowhere,
    name: 'unix:/nowhere/zdb.sock/x',
  });
  t.after(() => named.close());
  await assert.rejects(named.identify(), (error) => {
    return isBackendError(error) && error.reason === 'cannot connect: ENOENT';
  });
});

/** A configuration of these backends, each a namespace of the shared server. */
function configOf(data: readonly string[], meta: readonly string[]): string {
  return `minimal_shards = 2
expected_shards = ${data.length}
redundant_groups = 0
redundant_nodes = 1
[encryption]
algorithm = "AES"
key = "${KEY}"
[meta.config]
prefix = "p"
${meta.map((line) => `[[meta.config.backends]]\naddress = "unix:${shared.socket}"\n${line}`).join('\n')}
[[groups]]
${data.map((line) => `[[groups.backends]]\naddress = "unix:${shared.socket}"\n${line}`).join('\n')}
`;
}

test('backends that refuse the login, and backends the records do not know, are said to be that', async (t) => {
  const data = await Promise.all([0, 1, 2].map(() => namespace('seq', { password: 'right', public: false })));
  const others = await Promise.all([0, 1, 2].map(() => namespace('seq')));
  const meta = await Promise.all([0, 1, 2].map(() => namespace('user')));
  const open = async (lines: readonly string[]) => {
    const stores = meta.map((name) => `namespace = "${name}"`);
    const zstor = await openZstor(parseConfig(configOf(lines, stores), '/'), capabilities);
    t.after(() => zstor.close());
    return zstor;
  };
  const right = await open(data.map((name) => `namespace = "${name}"\npassword = "right"`));
  await right.putSmall('name', Buffer.from('content'));

  const wrong = await open(data.map((name) => `namespace = "${name}"\npassword = "wrong"`));
  await assert.rejects(wrong.getSmall('name'), (error) => {
    return (
      isZstorError(error, 'QSFS_E_UNAVAILABLE') &&
      /out of reach: .*Access denied.*password/.test(error.message) &&
      /^correct password.*groups\.backends/.test(error.hint)
    );
  });
  await assert.rejects(wrong.putSmall('new', Buffer.from('x')), (error) => {
    return (
      isZstorError(error, 'QSFS_E_UNAVAILABLE') &&
      /put right .*, .* \(answered "Access denied"/.test(error.message)
    );
  });

  const moved = await open(others.map((name) => `namespace = "${name}"`));
  await assert.rejects(moved.getSmall('name'), (error) => {
    return (
      error instanceof AbsentBackends &&
      data.every((name) => error.message.includes(name) && error.hint.includes(name)) &&
      /put them back under groups\.backends, or give .* the names/.test(error.hint)
    );
  });
});

test('a full namespace is told from others, and counts what is left, not its limit', async (t) => {
  const store = shardStore(t, await namespace('seq', { maxsize: 10_000 }));
  await store.put(new Uint8Array(6000));
  assert.ok((await store.space()).freeBytes! < 4000);
  await assert.rejects(store.put(new Uint8Array(6000)), (error) => isBackendError(error, 'full'));
});

test('of an object that does not fit nothing is written; one that fits when it is compressed is stored', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'meta'));
  const names = await Promise.all([0, 1, 2, 3].map(() => namespace('seq', { maxsize: 6 * 2 ** 20 })));
  const place = (name: string) =>
    `{ name = "${name}", address = "unix:${shared.socket}", namespace = "${name}" }`;
  const config = parseConfig(
    `minimal_shards = 2\nexpected_shards = 4\nredundant_groups = 0\nredundant_nodes = 0\nstripe_size = "1MiB"
encryption = { algorithm = "AES", key = "${KEY}" }
[meta.config]\nbackends = [{ name = "m", path = "meta" }]
[[groups]]\nbackends = [${names.map(place).join(', ')}]`,
    folder,
  );
  const zstor = await openZstor(config, capabilities);
  t.after(() => zstor.close());
  const { path } = randomFile(folder, 'large', 12 * 2 ** 20);
  await assert.rejects(
    zstor.put('large', { path, lengthBytes: 12 * 2 ** 20 }),
    /0 of 4 backends can take a shard.*make room on any 3 of: .*has no room for its part of the object/,
  );
  assert.deepEqual(
    [...(await zstor.inspect()).incarnations.values()],
    ['', '', '', ''],
    'they never held anything',
  );
  // Half of each stripe is noise: 6 MiB of each shard would be too much, 3 are not.
  const texts = join(folder, 'texts');
  const half = Buffer.concat([randomBytes(2 ** 19), Buffer.alloc(2 ** 19, 'text ')]);
  writeFileSync(texts, Buffer.concat(new Array(12).fill(half)));
  await zstor.put('texts', { path: texts, lengthBytes: 12 * 2 ** 20 });
  assert.ok(await zstor.delete('texts'));
  const empty = await zstor.status();
  // One that begins with text and does not fit either leaves nothing.
  const late = join(folder, 'late');
  writeFileSync(late, Buffer.concat([Buffer.alloc(8 * 2 ** 20, 'text '), randomBytes(14 * 2 ** 20)]));
  await assert.rejects(zstor.put('late', { path: late, lengthBytes: 22 * 2 ** 20 }), /no room for its part/);
  const used = (status: ZstorStatus) => status.backends.map(({ usedBytes, entries }) => [usedBytes, entries]);
  assert.deepEqual(used(await zstor.status()), used(empty));
  const record = await zstor.put('small', { path, lengthBytes: 2 ** 20 });
  assert.equal(record.missingShards, 0);
});

test('a namespace that held other things before has no incarnation, and works', async (t) => {
  const name = await namespace('seq');
  const client = await ZdbClient.connect(realNetwork, realClock, {
    address: { path: shared.socket },
    login: { namespace: name },
  });
  t.after(() => client.close());
  await client.insert('something else');
  const store = shardStore(t, name);
  const kept = await store.put(Buffer.from('value'));
  assert.equal(kept.incarnation, '');
  assert.equal(Buffer.from((await store.get(kept))!).toString(), 'value');
});

test('objects on real servers', async (t) => {
  const folder = temporaryFolder(t);
  const start = async (name: string, mode: 'seq' | 'user') => {
    const server = new ZdbServer(join(folder, name), mode);
    t.after(() => server.kill());
    await server.start();
    return server;
  };
  const data = await Promise.all([0, 1, 2, 3, 4, 5].map((index) => start(`d${index}`, 'seq')));
  const meta = await Promise.all([0, 1, 2, 3].map((index) => start(`m${index}`, 'user')));
  const backends = (table: string, names: string[]) =>
    names.map((name) => `[[${table}]]\nname = "${name}"\naddress = "unix:${name}/socket"\n`).join('');
  const config = parseConfig(
    `minimal_shards = 3\nexpected_shards = 6\nredundant_groups = 1\nredundant_nodes = 0\nstripe_size = "256KiB"
[encryption]\nalgorithm = "AES"\nkey = "${KEY}"
[meta.config]\n${backends('meta.config.backends', ['m0', 'm1', 'm2', 'm3'])}
${['d0 d1', 'd2 d3', 'd4 d5'].map((names) => `[[groups]]\n${backends('groups.backends', names.split(' '))}`).join('')}`,
    folder,
  );
  const open = async () => {
    const zstor = await openZstor(config, capabilities);
    t.after(() => zstor.close());
    return zstor;
  };

  await t.test('killed, frozen and wiped backends are survived and repaired', async () => {
    const zstor = await open();
    const { path, content } = randomFile(folder, 'one', 3_000_000);
    const record = await zstor.put('one', { path, lengthBytes: content.length });
    assert.equal(record.missingShards, 0);
    assert.deepEqual([zstor.tolerance(record).backends, zstor.tolerance(record).groups], [3, 1]);

    await Promise.all([data[0]!.kill(), meta[0]!.kill()]);
    data[1]!.freeze();
    meta[1]!.freeze();
    assert.ok(content.equals(await zstor.getSmall('one')), 'the connections of before');
    const other = await open();
    assert.ok(content.equals(await other.getSmall('one')), 'and new ones');
    const status = await other.status();
    assert.equal(status.backends.filter((backend) => backend.state === 'down').length, 4);
    assert.equal(status.data.tolerance.backends, 1);
    assert.equal(status.data.writable, true);
    await assert.rejects(other.put('x', { path, lengthBytes: 10 }), /metadata cannot be written: 2 of 4/);

    data[1]!.thaw();
    meta[1]!.thaw();
    await Promise.all([data[0]!.wipe(), meta[0]!.start()]);
    const third = await open();
    const report = await third.repairPending();
    assert.deepEqual(report.failures, []);
    assert.equal(
      report.rewrittenShards,
      12,
      'one shard of each of the twelve stripes was on the wiped backend',
    );
    assert.equal((await third.check('one', { deep: true })).verdict, 'complete');
  });

  await t.test('bytes changed on the disks of all tolerated servers do not reach the reader', async () => {
    const zstor = await open();
    const { path, content } = randomFile(folder, 'two', 2_000_000);
    await zstor.put('two', { path, lengthBytes: content.length });
    for (const server of [data[0]!, data[3]!, data[5]!]) {
      const directory = join(server.folder, 'data/default');
      for (const file of readdirSync(directory)) {
        const bytes = readFileSync(join(directory, file));
        for (let at = 2000; at < bytes.length; at += 20_000) bytes[at]! ^= 0x55;
        writeFileSync(join(directory, file), bytes);
      }
    }
    assert.ok(content.equals(await zstor.getSmall('two')));
    const report = await zstor.check('two', { deep: true });
    assert.equal(report.verdict, 'degraded');
    assert.ok(report.badShards >= 20, `${report.badShards} bad shards`);
    for (const name of ['one', 'two'])
      assert.equal((await zstor.rebuild(name, { deep: true })).missingShards, 0);
    assert.equal((await zstor.check('two', { deep: true })).verdict, 'complete');
  });

  await t.test(
    'a put cut off by servers dying leaves the old object, and succeeds when they are back',
    async () => {
      const zstor = await open();
      const old = randomFile(folder, 'old', 500_000);
      const fresh = randomFile(folder, 'fresh', 4_000_000);
      await zstor.put('three', { path: old.path, lengthBytes: old.content.length });
      let killed: Promise<unknown> | undefined;
      const progress = () => {
        killed ??= Promise.all([data[0]!.kill(), data[2]!.kill(), data[4]!.kill()]);
      };
      const cut = zstor.put('three', { path: fresh.path, lengthBytes: 4_000_000 }, { progress });
      await assert.rejects(cut, (error) => isZstorError(error, 'QSFS_E_UNAVAILABLE'));
      await killed;
      assert.ok(old.content.equals(await zstor.getSmall('three')));
      await Promise.all([data[0]!.start(), data[2]!.start(), data[4]!.start()]);
      const other = await open();
      await other.put('three', { path: fresh.path, lengthBytes: 4_000_000 });
      assert.ok(fresh.content.equals(await other.getSmall('three')));
    },
  );
});

test('asking what a namespace is while shards are written does not make it look emptied', async (t) => {
  const store = shardStore(t, await namespace('seq'));
  const content = randomFile(temporaryFolder(t), 'shard', 20_000).content;
  let writing = true;
  const asking = (async () => {
    const found = new Set<string>();
    while (writing) found.add(await store.identify());
    return found;
  })();
  const keys = new Set<number>();
  for (let round = 0; round < 20; round++) {
    const puts = Array.from({ length: 20 }, () => store.put(content));
    for (const { key } of await Promise.all(puts)) keys.add(key);
  }
  writing = false;
  assert.equal(keys.size, 400);
  assert.ok((await asking).size <= 2, 'none yet, and the one it got');
});
