import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Thread } from '@qsfs/io';
import { Filesystem } from '../src/filesystem/filesystem.ts';
import { startSyncThread } from '../src/filesystem/syncing.ts';
import { GAUGES_BYTES } from '../src/messages.ts';

/** A filesystem thread without a mount, whose volume is in a temporary folder. */
function start(
  t: TestContext,
  startSync = startSyncThread,
  prepare: (dataDirectory: string) => void = () => {},
) {
  const folder = mkdtempSync(join(tmpdir(), 'qsfs-test-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const dataDirectory = join(folder, 'data');
  prepare(dataDirectory);
  const absent = { 'zdbfs-meta': new Uint32Array(0), 'zdbfs-data': new Uint32Array(0) };
  const crashes: string[] = [];
  const logged: string[] = [];
  const filesystem = new Filesystem(
    {
      dataDirectory,
      indexDirectory: join(folder, 'index'),
      segmentBytes: 2 ** 20,
      fileBytes: 2 ** 20,
      stripeBytes: 2 ** 18,
      absent,
      gauges: new SharedArrayBuffer(GAUGES_BYTES),
      shared: { shardFactor: 0, fileBytes: 2 ** 20 },
      storedFiles: { 'zdbfs-meta': 0, 'zdbfs-data': 0 },
      create: true,
      userId: 0,
      groupId: 0,
    },
    {
      rotated: () => {},
      need: () => {},
      reached: () => {},
      look: () => {},
      dropped: () => {},
      log: (level, message) => void logged.push(`${level}: ${message}`),
      unmounted: () => {},
      crashed: (message) => void crashes.push(message),
    },
    startSync,
  );
  return { filesystem, folder, crashes, logged };
}

const NO_SUSPECTS = { 'zdbfs-meta': [], 'zdbfs-data': [] };

test('when the thread is gone, whoever asks it or ends it is told instead of waiting for ever', async (t) => {
  const { filesystem, folder } = start(t, startSyncThread, (dataDirectory) =>
    writeFileSync(dataDirectory, 'a file where the folder should be'),
  );
  await assert.rejects(filesystem.opened(), { code: 'QSFS_E_DISK' });
  const gone = { code: 'QSFS_E_DISK' };
  await assert.rejects(filesystem.makeState(folder, NO_SUSPECTS), gone);
  await assert.rejects(filesystem.cachedInodes(), gone);
  await assert.rejects(filesystem.serve(-1, folder), gone);
  await assert.rejects(filesystem.stop(), gone);
  await filesystem.terminate();
});

test('when the sync thread dies nobody waits for ever, and it is said', async (t) => {
  let die: (error: Error) => void = () => {};
  // It takes requests and never answers.
  const deaf = (): Thread => ({
    port: { send: () => {}, receive: () => undefined, onMessage: () => {}, close: () => {} },
    ended: new Promise((_, reject) => {
      die = reject;
    }),
    terminate: () => Promise.resolve(),
    unref: () => {},
  });
  const { filesystem, folder, logged, crashes } = start(t, deaf);
  await filesystem.opened();
  const staging = join(folder, 'staging');
  mkdirSync(staging);
  let settled = false;
  const state = filesystem.makeState(staging, NO_SUSPECTS).finally(() => {
    settled = true;
  });
  state.catch(() => {});
  // Whoever only looks is answered meanwhile.
  await filesystem.cachedInodes();
  assert.equal(settled, false);
  die(new RangeError('out of memory'));
  await assert.rejects(state, /the thread that syncs files died: out of memory/);
  assert.match(filesystem.syncFailure, /out of memory/);
  assert.match(logged.join('\n'), /^error: the thread that syncs files died \(out of memory\)/m);
  // From now on the filesystem thread syncs itself.
  const after = await filesystem.makeState(staging, NO_SUSPECTS);
  assert.deepEqual(
    after.map(({ namespace }) => namespace),
    ['zdbfs-meta', 'zdbfs-data'],
  );
  assert.deepEqual(await filesystem.stop(), { kind: 'ended', clean: true, message: '' });
  assert.deepEqual(crashes, []);
});
