// Remote backends (zdb servers of this test, and a directory) that lose everything and are served anew: what `qsfs sync` says is on the
// backends is there.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { realClock, realNetwork } from '@qsfs/io';
import { ZdbClient } from '@qsfs/resp';
import { ZdbServer } from '../../zstor/test/zdb-servers.ts';
import { type Running, scratchFor } from './running.ts';
import { noise } from './tree.ts';

const NAMES = ['a', 'b', 'c', 'd', 'e'] as const;
const PASSWORD = 'secret';
const MIB = 2 ** 20;

/** Makes the namespaces of a server, as its owner would. */
async function prepare(server: ZdbServer): Promise<void> {
  const admin = await ZdbClient.connect(realNetwork, realClock, { address: { path: server.socket } });
  for (const [name, mode] of [
    ['data', 'seq'],
    ['meta', 'user'],
  ] as const) {
    if (await admin.namespaceInfo(name)) await admin.removeNamespace(name);
    await admin.createNamespace(name);
    await admin.configureNamespace(name, { mode, password: PASSWORD, public: false });
  }
  admin.close();
}

/** Empties both namespaces under everybody's connections. */
async function flush(server: ZdbServer): Promise<void> {
  for (const namespace of ['data', 'meta']) {
    const owner = await ZdbClient.connect(realNetwork, realClock, {
      address: { path: server.socket },
      login: { namespace, namespacePassword: PASSWORD },
    });
    await owner.client.command(['FLUSH']);
    owner.close();
  }
}

/** Names of the backends that were noticed to be emptied, each time. */
function lost(running: Running): string[] {
  const lines = running.log().matchAll(/ warning lost what it held: (.*)$/gm);
  return [...lines].flatMap(([, names = '']) => names.split(', ')).sort();
}

/** Five servers and a directory, each a data backend and a metadata store; any three may be lost. */
async function start(context: TestContext, running: Running) {
  const servers = Object.fromEntries(
    NAMES.map((name) => [name, new ZdbServer(join(running.scratch, name))]),
  ) as Record<(typeof NAMES)[number], ZdbServer>;
  context.after(() => Promise.all(Object.values(servers).map((server) => server.kill())));
  await Promise.all(Object.values(servers).map((server) => server.start().then(() => prepare(server))));
  const directory = join(running.scratch, 'f');
  for (const part of ['data', 'meta']) mkdirSync(join(directory, part), { recursive: true });
  const places = (namespace: string) => [
    ...NAMES.map(
      (name) =>
        `{ name = "${name}", address = "unix:${servers[name].socket}", namespace = "${namespace}", password = "${PASSWORD}" }`,
    ),
    `{ name = "f", path = "${directory}/${namespace}" }`,
  ];
  const config = join(running.scratch, 'remote.toml');
  writeFileSync(
    config,
    `minimal_shards = 3
expected_shards = 6
redundant_groups = 0
redundant_nodes = 3
[encryption]
algorithm = "AES"
key = "${'5a'.repeat(32)}"
[meta]
type = "zdb"
[meta.config]
prefix = "emptied"
backends = [${places('meta').join(', ')}]
[[groups]]
backends = [${places('data').join(', ')}]
`,
  );
  return { servers, directory, config };
}

test('remote backends that lose everything get their part again before sync says that it is there', {
  timeout: 150_000,
}, async (context) => {
  const running = scratchFor(context)();
  const { servers, directory, config } = await start(context, running);
  const up = () => running.up('--config', config, '--cache-size', '256MiB');
  up();
  const path = (name: string) => join(running.mountPoint, name);
  const contents = new Map([
    ['large', noise(1, 9 * MIB)],
    ['small', noise(2, 5000)],
  ]);
  for (const [name, content] of contents) writeFileSync(path(name), content);
  running.must('sync');
  const readAll = () => {
    running.must('evict', '--all', '--metadata');
    for (const [name, content] of contents)
      assert.equal(Buffer.compare(readFileSync(path(name)), content), 0, name);
  };
  const stopped = async (names: readonly (typeof NAMES)[number][], act: () => void) => {
    for (const name of names) await servers[name].kill();
    act();
    for (const name of names) await servers[name].start();
  };

  // A new disk, a namespace made anew, and one flushed, all while we are connected.
  await servers.a.wipe();
  await prepare(servers.a);
  await prepare(servers.b);
  await flush(servers.c);
  running.must('sync');
  const { segments, backends, problems } = running.status();
  assert.equal(segments.degraded, 0);
  assert.deepEqual(
    backends.filter(({ state }) => state !== 'up'),
    [],
  );
  assert.deepEqual(problems, []);
  // In one line or more: somebody may look while they are being emptied.
  assert.deepEqual(lost(running), ['a', 'b', 'c']);
  renameSync(directory, `${directory}.away`);
  await stopped(['d', 'e'], readAll);
  renameSync(`${directory}.away`, directory);

  // While nothing runs, and a directory while we run.
  running.must('down');
  await servers.d.wipe();
  await prepare(servers.d);
  up();
  contents.set('later', noise(3, MIB));
  writeFileSync(path('later'), contents.get('later') as Uint8Array);
  for (const part of ['data', 'meta']) {
    // At once: what is repaired meanwhile must not be written into a folder that is being removed.
    const emptied = join(running.scratch, `emptied-${part}`);
    renameSync(join(directory, part), emptied);
    mkdirSync(join(directory, part));
    rmSync(emptied, { recursive: true });
  }
  running.must('sync');
  assert.match(running.log(), /warning lost what it held: d$/m);
  assert.match(running.log(), /warning lost what it held: f$/m);
  await stopped(['a', 'b', 'c'], readAll);
  running.must('sync');
});
