// The thread that waits for the disk in place of the filesystem thread.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openChannel, realClock, type SyncSteps, type Unstable, wrapPort } from '@qsfs/io';
import { Syncing, startSyncThread } from '../src/filesystem/syncing.ts';

const LARGE = Number.POSITIVE_INFINITY;

function prepared(context: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'qsfs-syncing-'));
  writeFileSync(join(folder, 'file'), 'contents');
  const settled: unknown[] = [];
  const [ours, its] = openChannel();
  const thread = startSyncThread(its);
  const syncing = new Syncing(realClock, wrapPort(ours), (error) => settled.push(error));
  context.after(() => {
    syncing.close();
    void thread.terminate();
    rmSync(folder, { recursive: true });
  });
  /** Syncs made here, on this thread. */
  const here: string[] = [];
  const unstable = (name: string, kind: Unstable['kind'] = 'file'): Unstable => ({
    path: join(folder, name),
    kind,
    sync: () => void here.push(name),
  });
  const carryOut = (steps: SyncSteps, sizeBytes = LARGE) =>
    new Promise<unknown>((resolve) => syncing.start(steps, sizeBytes, resolve));
  return { syncing, thread, settled, here, unstable, carryOut };
}

test('steps go on when what they asked for was synced by the other thread, and a failure is thrown into them', async (context) => {
  const { carryOut, unstable, here, settled } = prepared(context);
  const order: string[] = [];
  function* work(): SyncSteps {
    order.push('begin');
    yield unstable('file');
    order.push('file');
    yield;
    yield unstable('.', 'directory');
    order.push('directory');
    try {
      yield unstable('missing');
    } catch (error) {
      order.push((error as { code: string }).code);
    }
  }
  const done = carryOut(work());
  assert.deepEqual(order, ['begin'], 'this thread is free meanwhile');
  assert.equal(await done, undefined);
  assert.deepEqual(order, ['begin', 'file', 'directory', 'ENOENT']);
  assert.deepEqual(here, []);
  function* failing(): SyncSteps {
    yield unstable('missing');
  }
  assert.equal(((await carryOut(failing())) as { code: string }).code, 'ENOENT');
  assert.deepEqual(
    settled.map((error) => (error as { code?: string } | undefined)?.code),
    [undefined, 'ENOENT'],
  );
});

test('a hint to begin writing is answered by nobody, whatever it is about', async (context) => {
  const { syncing, carryOut, unstable, here } = prepared(context);
  const { path } = unstable('file');
  syncing.writeAhead(path, 0, 8);
  syncing.writeAhead(`${path}-that-is-gone`, 0, 8);
  function* work(): SyncSteps {
    yield unstable('file');
  }
  assert.equal(await carryOut(work()), undefined);
  assert.deepEqual(here, []);
});

test('what is under way when the session ends is finished on this thread, and a late answer changes nothing', async (context) => {
  const { syncing, carryOut, unstable, here, settled } = prepared(context);
  let steps = 0;
  function* work(): SyncSteps {
    for (; steps < 3; steps++) yield unstable('file');
  }
  const done = carryOut(work());
  syncing.finish();
  assert.equal(steps, 3);
  assert.deepEqual(here, ['file', 'file', 'file']);
  assert.deepEqual(settled, [undefined]);
  assert.equal(await done, undefined);
  function* more(): SyncSteps {
    yield unstable('file');
  }
  assert.equal(await carryOut(more()), undefined);
  assert.deepEqual(settled, [undefined, undefined]);
});

test('when the thread has ended what it was asked for fails, and the rest is done on this thread', async (context) => {
  const { syncing, thread, carryOut, unstable, here, settled } = prepared(context);
  await thread.terminate();
  const order: string[] = [];
  function* work(): SyncSteps {
    try {
      yield unstable('first');
    } catch (error) {
      order.push((error as { code: string }).code);
    }
    yield;
    yield unstable('second');
  }
  const done = carryOut(work());
  assert.deepEqual(settled, [], 'it does not know yet');
  syncing.lost('it died');
  assert.equal(await done, undefined);
  assert.deepEqual(order, ['EIO']);
  assert.deepEqual(here, ['second']);
  function* more(): SyncSteps {
    yield unstable('third');
    yield;
  }
  assert.equal(await carryOut(more()), undefined);
  function* failing(): SyncSteps {
    yield { ...unstable('bad'), sync: () => assert.fail('no space') };
  }
  assert.match(String(await carryOut(failing())), /no space/);
  assert.deepEqual(here, ['second', 'third']);
});
