// Backends that are up and not what the configuration means: what the commands say about them.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { realClock, realNetwork } from '@qsfs/io';
import { ZdbClient } from '@qsfs/resp';
import { ZdbServer } from '../../zstor/test/zdb-servers.ts';
import { qsfs, type Running, scratchFor } from './running.ts';

const KEY = 'ab'.repeat(32);
const DATA = ['d0', 'd1', 'd2', 'd3'];

/** A server with the namespaces d0…d3 (with a password), e0…e3, m0…m3 and u0…u3. */
async function start(running: Running): Promise<ZdbServer> {
  const server = new ZdbServer(join(running.scratch, 'zdb'));
  await server.start();
  const admin = await ZdbClient.connect(realNetwork, realClock, { address: { path: server.socket } });
  for (const index of [0, 1, 2, 3]) {
    for (const [kind, more] of [
      ['d', { mode: 'seq', password: 'right', public: false }],
      ['e', { mode: 'seq' }],
      ['m', { mode: 'user' }],
      ['u', { mode: 'user' }],
    ] as const) {
      await admin.createNamespace(`${kind}${index}`);
      await admin.configureNamespace(`${kind}${index}`, more);
    }
  }
  admin.close();
  return server;
}

/** Writes a configuration of these data namespaces. @returns its path */
function configure(running: Running, name: string, socket: string, data: readonly string[]): string {
  const metadata = [0, 1, 2, 3].map((index) => `{ address = "unix:${socket}", namespace = "m${index}" }`);
  const path = join(running.scratch, name);
  writeFileSync(
    path,
    `minimal_shards = 2
expected_shards = 4
redundant_groups = 0
redundant_nodes = 1
[encryption]
algorithm = "AES"
key = "${KEY}"
[meta]
type = "zdb"
[meta.config]
prefix = "p"
backends = [${metadata.join(', ')}]
[[groups]]
backends = [${data.map((keys) => `{ address = "unix:${socket}", ${keys} }`).join(', ')}]
`,
  );
  return path;
}

test('a wrong password, a wrong mode and changed addresses are said to be that', {
  timeout: 120_000,
}, async (context) => {
  let server: ZdbServer | undefined;
  const scratch = scratchFor(context);
  context.after(() => server?.kill());
  const running = scratch();
  server = await start(running);
  const { socket } = server;
  const good = DATA.map((name) => `namespace = "${name}", password = "right"`);
  const wrong = DATA.map((name) => `namespace = "${name}", password = "wrong"`);
  const config = (name: string, data: readonly string[]) => configure(running, name, socket, data);

  // One of them: it goes without, and says so.
  const one = [wrong[0]!, ...good.slice(1)];
  const up = running.run(
    'up',
    '--mount',
    running.mountPoint,
    '--detach',
    '--config',
    config('one.toml', one),
  );
  assert.equal(up.code, 0, up.errors);
  assert.match(
    up.errors,
    /^warning: .*\/d0 is not used: .*Access denied.*password.*groups\.backends in .*one/m,
  );
  assert.equal(up.errors.trimEnd().split('\n').length, 1, up.errors);
  assert.match(running.log(), /warning .*\/d0 is not used/);
  running.run('down');

  const restore = (from: string) =>
    qsfs('restore', '--from', from, '--dir', join(running.scratch, `${from}.d`));
  const mode = restore(config('mode.toml', ['namespace = "u0"', ...good.slice(1)]));
  assert.equal(mode.code, 0, mode.errors);
  assert.match(mode.errors, /^warning: .*\/u0 is not used: .*userkey mode/m);

  // All of them.
  const all = restore(config('all.toml', wrong));
  assert.equal(all.code, 5, all.errors);
  assert.match(all.errors, /out of reach: .*Access denied/);
  assert.match(
    all.errors,
    /Correct password, namespace or mode of .*d0.*\(groups\.backends in .*all\.toml\)/,
  );
  assert.doesNotMatch(all.errors, /[Ss]tart/);

  // Others than the records name.
  const moved = restore(
    config(
      'moved.toml',
      ['e0', 'e1', 'e2', 'e3'].map((name) => `namespace = "${name}"`),
    ),
  );
  assert.equal(moved.code, 4, moved.errors);
  assert.match(moved.errors, /the records name .*d1.*, which this configuration does not have/);
  assert.match(moved.errors, /put them back under groups\.backends, or give /);
});
