// A zdb namespace that held something before it got shards has no incarnation: that it was emptied shows by the keys it has given out.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { realClock, realNetwork } from '@qsfs/io';
import { ZdbClient } from '@qsfs/resp';
import { openZstor, parseConfig } from '../src/index.ts';
import { capabilities, KEY, temporaryFolder } from './support.ts';
import { ZdbServer } from './zdb-servers.ts';

const NAMES = ['n0', 'n1', 'n2', 'n3'];
const PASSWORD = 'secret';

test('shards in a namespace without an incarnation that was emptied while nobody looked count as missing', async (t) => {
  const folder = temporaryFolder(t);
  const server = new ZdbServer(join(folder, 'zdb'));
  t.after(() => server.kill());
  await server.start();
  const address = { path: server.socket };
  const connect = (namespace: string) =>
    ZdbClient.connect(realNetwork, realClock, {
      address,
      login: { namespace, namespacePassword: PASSWORD },
    });
  const admin = await ZdbClient.connect(realNetwork, realClock, { address });
  for (const name of NAMES) {
    await admin.createNamespace(name);
    await admin.configureNamespace(name, { mode: 'seq', password: PASSWORD, public: false });
    const owner = await connect(name);
    await owner.insert(Buffer.from('what was there before'));
    owner.close();
  }
  admin.close();
  mkdirSync(join(folder, 'meta'));
  const config = parseConfig(
    `minimal_shards = 2
expected_shards = 4
redundant_groups = 0
redundant_nodes = 2
[encryption]
algorithm = "AES"
key = "${KEY}"
[meta.config]
prefix = "test"
backends = [{ name = "m", path = "meta" }]
[[groups]]
backends = [${NAMES.map((name) => `{ name = "${name}", address = "unix:${server.socket}", namespace = "${name}", password = "${PASSWORD}" }`).join(', ')}]
`,
    folder,
  );
  const content = randomBytes(10_000);
  const first = await openZstor(config, capabilities);
  await first.putSmall('name', content);
  const { incarnations } = await first.inspect();
  assert.deepEqual(
    NAMES.map((name) => incarnations.get(name)),
    ['+2', '+2', '+2', '+2'],
  );
  await first.close();
  const owner = await connect('n1');
  await owner.client.command(['FLUSH']);
  owner.close();

  const second = await openZstor(config, capabilities);
  t.after(() => second.close());
  const record = await second.head('name');
  assert.ok(record);
  assert.equal((await second.inspect()).incarnations.get('n1'), '');
  assert.ok(second.lacksShards(record));
  const rebuilt = await second.rebuild('name');
  assert.equal(rebuilt.rewrittenShards, 1);
  assert.ok(!second.lacksShards(rebuilt.record));
  assert.match((await second.inspect()).incarnations.get('n1') ?? '', /^[0-9a-f]{16}$/);
  assert.ok(content.equals(await second.getSmall('name')));
});
