// Which data files are emptied, and when one is left alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Survey } from '../src/messages.ts';
import { Relocator } from '../src/sync/relocation.ts';
import { fixture } from './volume-fixture.ts';

const LIMITS = { isScarce: false, budgetBytes: 2 ** 40, worthBytes: 1 };
const MINUTE_MS = 60_000;

test('a data file of which nothing can be moved, as its record is damaged, leads to no state and is not tried again and again', async () => {
  const { volume, addFiles } = fixture();
  addFiles(2);
  const files = volume['zdbfs-data'];
  for (const file of [0, 1])
    files.catalog.setData(file, { safety: 'complete', sizeBytes: files.sizeOf(file), epoch: 1 });
  const survey: Survey = {
    files: Float64Array.of(0, 1),
    deadBytes: new Float64Array(2),
    liveBytes: Float64Array.of(100, 200),
    discardable: new Float64Array(0),
    activeDeadBytes: 0,
  };
  let nowMs = 0;
  const tried: number[] = [];
  const logged: string[] = [];
  const relocator = new Relocator({
    shared: { shardFactor: 2, fileBytes: files.sizeOf(0) },
    volume,
    offload: { isStoring: () => false },
    cache: { pin: () => () => {}, evictAll: () => Promise.resolve({ bytes: 0, stripes: 0 }) },
    clock: { monotonicMs: () => nowMs },
    move: async (file) => {
      tried.push(file);
      return file === 0 ? 0 : 200;
    },
    log: (_, message) => void logged.push(message),
  });
  assert.equal(await relocator.relocate(survey, LIMITS), true);
  assert.deepEqual(tried, [0, 1]);
  assert.deepEqual(logged, ['200 bytes of 1 sparse data file moved to make room']);
  assert.equal(await relocator.relocate(survey, LIMITS), false, 'both are left alone');
  nowMs += 6 * MINUTE_MS;
  assert.equal(await relocator.relocate({ ...survey, files: Float64Array.of(0) }, LIMITS), false);
  assert.deepEqual(tried, [0, 1]);
  // One that was moved may be tried once more.
  assert.equal(await relocator.relocate(survey, LIMITS), true);
  assert.deepEqual(tried, [0, 1, 1]);
});
