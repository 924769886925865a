// Moving what is alive in a data file of many small stripes: each of them has to be brought first.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { realClock, realDisk, realRandom } from '@qsfs/io';
import { openEngine } from '@qsfs/zdb';
import { EngineStore, openVolume } from '@qsfs/zdbfs';
import { Filesystem } from '../src/filesystem/filesystem.ts';
import { startSyncThread } from '../src/filesystem/syncing.ts';
import { StripeMap } from '../src/local/stripe-map.ts';
import { GAUGES_BYTES } from '../src/messages.ts';

const STRIPE = 65_536;
const STRIPES = 260;
const FILE = 2 ** 25;

test('a data file of several hundred stripes, none of which is here, is emptied', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'qsfs-test-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const dataDirectory = join(folder, 'data');
  const indexDirectory = join(folder, 'index');
  const parts = { disk: realDisk, clock: realClock, random: realRandom };
  const engine = openEngine({
    ...parts,
    dataDirectory,
    indexDirectory,
    mode: 'seq',
    dataSizeBytes: FILE,
    sync: 'none',
  });
  openVolume(new EngineStore(engine, realDisk, dataDirectory, false), parts).close();
  const data = engine.namespace('zdbfs-data');
  assert.ok(data);
  const payload = Buffer.alloc(STRIPE);
  for (let record = 0; record < STRIPES; record += 1) data.insertId(payload);
  data.rotate();
  engine.close();
  const absent = new StripeMap(STRIPE, FILE);
  absent.add(0, 0, STRIPES + 1);
  let asked = 0;
  const filesystem = new Filesystem(
    {
      dataDirectory,
      indexDirectory,
      segmentBytes: FILE,
      fileBytes: FILE,
      stripeBytes: STRIPE,
      absent: { 'zdbfs-meta': new Uint32Array(0), 'zdbfs-data': absent.snapshot() },
      gauges: new SharedArrayBuffer(GAUGES_BYTES),
      shared: { shardFactor: 0, fileBytes: FILE },
      storedFiles: { 'zdbfs-meta': 0, 'zdbfs-data': 1 },
      create: false,
      userId: 0,
      groupId: 0,
    },
    {
      rotated: () => {},
      need: ({ namespace, file, first, count }) => {
        asked += 1;
        filesystem.send({ kind: 'brought', ahead: false, namespace, file, first, count });
      },
      reached: () => {},
      look: () => {},
      dropped: () => {},
      log: () => {},
      unmounted: () => {},
      crashed: () => {},
    },
    startSyncThread,
  );
  await filesystem.opened();
  try {
    assert.ok((await filesystem.relocate(0)) >= STRIPES * STRIPE);
    assert.ok(asked > 250, `${asked} stripes were asked for`);
  } finally {
    await filesystem.stop();
  }
});
