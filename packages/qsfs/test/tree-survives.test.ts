// The whole way on a real mount: a tree is copied, offloaded, evicted, backends are lost, the process is killed, the frontend
// burns; and every byte, mode, owner and time is as it was.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { qsfs, scratchFor } from './running.ts';
import { describeTree, makeTree } from './tree.ts';

const BIG_BYTES = 40 * 2 ** 20;

test('a tree survives eviction, lost backends, kill -9, and the loss of the frontend', {
  timeout: 200_000,
}, async (context) => {
  const make = scratchFor(context);
  const first = make('first');
  const source = join(first.scratch, 'source');
  mkdirSync(source);
  makeTree(source, BIG_BYTES);
  let wanted = describeTree(source);
  assert.ok(wanted.size > 300);

  await context.test('up makes a configuration with eight backends, readable by the owner only', () => {
    first.up('--cache-size', '256MiB');
    assert.equal(statSync(first.config).mode & 0o777, 0o600);
    const { backends, tolerance, mountPoint } = first.status();
    assert.equal(backends.length, 8);
    assert.ok(backends.every((backend) => backend.state === 'up' && backend.local));
    assert.equal(mountPoint, first.mountPoint);
    assert.deepEqual(
      tolerance.data.now.combinations.find((entry) => entry.groups === 1),
      { groups: 1, nodesPerGroup: 1 },
    );
    assert.equal(tolerance.metadata.now, 5);
  });

  await context.test('everything is on all backends after sync, and evict drops it', () => {
    execFileSync('cp', ['-a', `${source}/.`, first.mountPoint]);
    const answer = JSON.parse(first.must('sync', '--json')) as { complete: boolean };
    assert.equal(answer.complete, true);
    const { segments } = first.status();
    assert.equal(segments.pending, 0);
    assert.equal(segments.pendingBytes, 0);
    assert.equal(segments.degraded, 0);
    const evicted = JSON.parse(first.must('evict', '--all', '--json')) as Record<string, number>;
    assert.ok((evicted['droppedBytes'] as number) >= BIG_BYTES);
    assert.ok(first.status().cache.usedBytes < BIG_BYTES / 10);
  });

  await context.test('with a whole group and one backend of every other stopped, all is as it was', () => {
    for (const name of ['a1', 'a2', 'b1', 'c2', 'd1']) first.must('backend', 'stop', name);
    assert.deepEqual(describeTree(first.mountPoint), wanted);
    const { backends, tolerance } = first.status();
    assert.equal(backends.filter((backend) => backend.state === 'stopped').length, 5);
    assert.equal(tolerance.data.now.backends, 0);
    assert.equal(tolerance.metadata.now, 0);
  });

  await context.test('after kill -9 and a new up, too', () => {
    first.must('evict', '--all');
    first.kill();
    assert.equal(first.run('status').code, 3);
    first.up();
    assert.deepEqual(describeTree(first.mountPoint), wanted);
  });

  await context.test(
    'what was written after the last sync survives kill -9, and the sync after it takes it along',
    () => {
      const late = randomBytes(200_000);
      writeFileSync(join(first.mountPoint, 'late'), late);
      first.kill();
      first.up();
      const { sync, segments } = first.status();
      assert.ok(sync.dirty && segments.pendingBytes >= late.length, 'it is known to be here only');
      const read = execFileSync('cat', [join(first.mountPoint, 'late')]);
      assert.equal(Buffer.compare(read, late), 0);
      // Nothing is written in between: the restore below finds it all the same.
      first.must('sync');
      wanted = describeTree(first.mountPoint);
    },
  );

  await context.test('a second frontend is refused, and leaves no trace', () => {
    const other = make('other');
    const up = qsfs(
      'up',
      '--dir',
      other.directory,
      '--mount',
      other.mountPoint,
      '--config',
      first.config,
      '--detach',
    );
    assert.equal(up.code, 9, up.errors);
    const restored = qsfs('restore', '--from', first.config, '--dir', other.directory);
    assert.equal(restored.code, 8, restored.errors);
    assert.equal(first.run('up', '--mount', other.mountPoint, '--detach').code, 13);
    assert.ok(!existsSync(other.directory));
    assert.ok(first.status().backends.every((backend) => backend.state === 'up'));
  });

  await context.test('without its frontend the folder is not mounted as an empty one', () => {
    first.kill();
    rmSync(first.frontend, { recursive: true });
    const refused = first.run('up', '--mount', first.mountPoint, '--detach');
    assert.equal(refused.code, 9, refused.errors);
    assert.match(refused.errors, /qsfs restore/);
    assert.ok(!existsSync(first.frontend));
  });

  await context.test('restore brings all back from the configuration alone', () => {
    const second = make('second');
    for (const name of ['a1', 'b1']) first.must('backend', 'stop', name);
    const restored = qsfs(
      'restore',
      '--from',
      first.config,
      '--dir',
      second.directory,
      '--mount',
      second.mountPoint,
    );
    assert.equal(restored.code, 0, restored.errors);
    assert.deepEqual(describeTree(second.mountPoint), wanted);
    assert.ok(second.status().epoch > 1);
    assert.equal(qsfs('restore', '--from', first.config, '--dir', second.directory).code, 9);
    writeFileSync(join(second.mountPoint, 'more'), 'goes on');
    const down = second.run('down');
    assert.equal(down.code, 0, down.errors);
    assert.deepEqual(readdirSync(second.mountPoint), []);
  });

  await context.test('and again, into the folder where it was', () => {
    const restored = qsfs(
      'restore',
      '--from',
      first.config,
      '--dir',
      first.directory,
      '--mount',
      first.mountPoint,
    );
    assert.equal(restored.code, 0, restored.errors);
    assert.equal(execFileSync('cat', [join(first.mountPoint, 'more')], { encoding: 'utf8' }), 'goes on');
    rmSync(join(first.mountPoint, 'more'));
    execFileSync('touch', ['-r', source, first.mountPoint]);
    assert.deepEqual(describeTree(first.mountPoint), wanted);
  });
});
