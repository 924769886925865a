// Starting and restoring while as many backends are lost as reading survives: everything is there, to be read only, until they return.
// The backends are namespaces of two zdb servers; one of them is lost with a whole group and one backend of every other group.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { realClock, realNetwork } from '@qsfs/io';
import { ZdbClient } from '@qsfs/resp';
import { ZdbServer } from '../../zstor/test/zdb-servers.ts';
import { qsfs, type Running, scratchFor, waitFor } from './running.ts';
import { describeTree, makeTree } from './tree.ts';

const LOST = [0, 1, 2, 4, 6];
const BIG_BYTES = 9 * 2 ** 20;

/** Makes the namespaces d0… and m0… of these backends. */
async function prepare(server: ZdbServer, backends: readonly number[]): Promise<void> {
  const admin = await ZdbClient.connect(realNetwork, realClock, { address: { path: server.socket } });
  for (const index of backends) {
    for (const [kind, mode] of [
      ['d', 'seq'],
      ['m', 'user'],
    ] as const) {
      await admin.createNamespace(`${kind}${index}`);
      await admin.configureNamespace(`${kind}${index}`, { mode });
    }
  }
  admin.close();
}

/** Eight backends in four groups, each also a metadata store. */
function configure(path: string, socketOf: (index: number) => string): void {
  const place = (kind: string, index: number) =>
    `{ name = "${kind}${index}", address = "unix:${socketOf(index)}", namespace = "${kind}${index}" }`;
  const all = [0, 1, 2, 3, 4, 5, 6, 7];
  const groups = [0, 2, 4, 6].map(
    (first) => `[[groups]]\nbackends = [${place('d', first)}, ${place('d', first + 1)}]`,
  );
  writeFileSync(
    path,
    `minimal_shards = 3
expected_shards = 8
redundant_groups = 1
redundant_nodes = 1
[encryption]
algorithm = "AES"
key = "${'6b'.repeat(32)}"
[meta]
type = "zdb"
[meta.config]
prefix = "read-only"
backends = [${all.map((index) => place('m', index)).join(', ')}]
${groups.join('\n')}
`,
  );
}

/** Everything a program could change ends in EROFS. `path` is a file that is there. */
function assertUnchangeable(mount: string, path: string): void {
  const readOnly = { code: 'EROFS' };
  assert.throws(() => writeFileSync(join(mount, 'new'), 'x'), readOnly);
  assert.throws(() => mkdirSync(join(mount, 'new')), readOnly);
  assert.throws(() => appendFileSync(path, 'x'), readOnly);
  assert.throws(() => truncateSync(path, 0), readOnly);
  assert.throws(() => chmodSync(path, 0o700), readOnly);
  assert.throws(() => renameSync(path, `${path}2`), readOnly);
  assert.throws(() => linkSync(path, `${path}2`), readOnly);
  assert.throws(() => unlinkSync(path), readOnly);
}

/** Waits until the mount can be written; nothing is mounted anew. */
function assertBecomesWritable(running: Running): void {
  const path = join(running.mountPoint, 'goes on');
  waitFor(() => {
    try {
      writeFileSync(path, 'x');
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EROFS') throw error;
      return false;
    }
  }, 'the mount to be writable');
  unlinkSync(path);
  running.must('sync');
  const { readOnly, sync } = running.status();
  assert.equal(readOnly, null);
  assert.equal(sync.dirty, false);
}

test('after the tolerated loss a killed frontend starts, and a lost one is restored, to be read only until the backends are back', {
  timeout: 400_000,
}, async (context) => {
  const make = scratchFor(context);
  const first = make('first');
  const source = join(first.scratch, 'source');
  mkdirSync(source);
  makeTree(source, BIG_BYTES);
  const [staying, going] = ['staying', 'going'].map((name) => new ZdbServer(join(first.scratch, name)));
  assert.ok(staying && going);
  context.after(() => Promise.all([staying.kill(), going.kill()]));
  await Promise.all([staying.start(), going.start()]);
  await prepare(staying, [3, 5, 7]);
  await prepare(going, LOST);
  const config = join(first.scratch, 'remote.toml');
  configure(config, (index) => (LOST.includes(index) ? going : staying).socket);
  const mount = first.mountPoint;
  const late = join(mount, 'late');
  let wanted: ReturnType<typeof describeTree>;

  await context.test('up after kill -9 shows everything, what was never synced too', async () => {
    first.up('--config', config);
    execFileSync('cp', ['-a', `${source}/.`, mount]);
    first.must('sync');
    first.must('evict', '--all', '--metadata');
    await going.kill();
    writeFileSync(late, 'written without the backends');
    wanted = describeTree(mount);
    first.kill();
    const up = first.run('up', '--mount', mount, '--detach');
    assert.equal(up.code, 0, up.errors);
    assert.match(up.errors, /can only be read.*3 of 8 metadata stores answer, 6 are needed/);
    assert.deepEqual(describeTree(mount), wanted);
    assertUnchangeable(mount, late);
    const { readOnly, sync } = first.status();
    assert.equal(readOnly?.cause, 'no-lease');
    assert.match(readOnly?.reason ?? '', /6 are needed/);
    assert.ok(sync.dirty);
    const refused = first.run('sync');
    assert.equal(refused.code, 5, refused.errors);
    assert.match(refused.errors, /can only be read/);
  });

  await context.test('it is writable again by itself when they return', async () => {
    await going.start();
    assertBecomesWritable(first);
    wanted = describeTree(mount);
  });

  const second = make('second');
  await context.test(
    'restore without its frontend shows everything, and so does a start after it',
    async () => {
      first.kill();
      rmSync(first.frontend, { recursive: true });
      await going.kill();
      const words = ['restore', '--from', config, '--dir', second.directory, '--mount', second.mountPoint];
      const restored = qsfs(...words);
      assert.equal(restored.code, 0, restored.errors);
      assert.match(restored.errors, /can only be read/);
      assert.deepEqual(describeTree(second.mountPoint), wanted);
      assertUnchangeable(second.mountPoint, join(second.mountPoint, 'late'));
      assert.equal(second.status().readOnly?.cause, 'no-lease');
      second.must('down'); // nothing was ever written there: nothing is missing
      second.up();
    },
  );

  await context.test('it has the volume, writable, when they return', async () => {
    await going.start();
    assertBecomesWritable(second);
    assert.deepEqual(describeTree(second.mountPoint), wanted);
    assert.ok(second.status().epoch > 1);
  });

  await context.test('a volume that another frontend has can be looked at, and is not taken away', () => {
    const other = make('other');
    const refused = qsfs('restore', '--from', config, '--dir', other.directory);
    assert.equal(refused.code, 8, refused.errors);
    assert.match(refused.errors, /restore --read-only/);
    const words = ['restore', '--from', config, '--dir', other.directory, '--read-only'];
    const restored = qsfs(...words, '--mount', other.mountPoint);
    assert.equal(restored.code, 0, restored.errors);
    assert.equal(other.status().readOnly?.cause, 'asked');
    assert.deepEqual(describeTree(other.mountPoint), wanted);
    assertUnchangeable(other.mountPoint, join(other.mountPoint, 'late'));
    other.must('down');
    const up = other.run('up', '--mount', other.mountPoint, '--detach');
    assert.equal(up.code, 8, up.errors);
  });

  await context.test(
    'when more is lost than reading survives, it is refused and says what is missing',
    async () => {
      second.kill();
      await Promise.all([going.kill(), staying.kill()]);
      const up = second.run('up', '--mount', second.mountPoint, '--detach');
      assert.equal(up.code, 5, up.errors);
      assert.match(up.errors, /m3: cannot connect.*Start them, or correct their addresses/s);
      const words = ['restore', '--from', config, '--dir', first.directory];
      assert.equal(qsfs(...words).code, 5);
      await Promise.all([going.start(), staying.start()]);
      second.up();
      assert.deepEqual(describeTree(second.mountPoint), wanted);
    },
  );
});
