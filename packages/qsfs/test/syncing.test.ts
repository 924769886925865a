// The thread that waits for the disk in place of the filesystem thread.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { realClock, type SyncSteps, type Unstable } from '@qsfs/io';
import { Syncing } from '../src/syncing.ts';

const LARGE = Number.POSITIVE_INFINITY;

function prepared(context: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'qsfs-syncing-'));
  writeFileSync(join(folder, 'file'), 'contents');
  const settled: unknown[] = [];
  const syncing = new Syncing(realClock, (error) => settled.push(error));
  context.after(() => {
    syncing.close();
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
  return { syncing, settled, here, unstable, carryOut };
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
