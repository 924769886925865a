import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Filesystem } from '../src/filesystem.ts';
import { GAUGES_BYTES } from '../src/messages.ts';

test('when the thread is gone, whoever asks it or ends it is told instead of waiting for ever', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'qsfs-test-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const dataDirectory = join(folder, 'in the way');
  writeFileSync(dataDirectory, 'a file where the folder should be');
  const absent = { 'zdbfs-meta': new Uint32Array(0), 'zdbfs-data': new Uint32Array(0) };
  const crashes: string[] = [];
  const filesystem = new Filesystem(
    {
      dataDirectory,
      indexDirectory: join(folder, 'index'),
      segmentBytes: 2 ** 20,
      fileBytes: 2 ** 20,
      stripeBytes: 2 ** 18,
      absent,
      gauges: new SharedArrayBuffer(GAUGES_BYTES),
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
      log: () => {},
      unmounted: () => {},
      crashed: (message) => void crashes.push(message),
    },
  );
  await assert.rejects(filesystem.opened(), { code: 'QSFS_E_DISK' });
  const gone = { code: 'QSFS_E_DISK' };
  await assert.rejects(filesystem.makeState(folder, { 'zdbfs-meta': [], 'zdbfs-data': [] }), gone);
  await assert.rejects(filesystem.cachedInodes(), gone);
  await assert.rejects(filesystem.serve(-1, folder), gone);
  await assert.rejects(filesystem.stop(), gone);
  await filesystem.terminate();
});
