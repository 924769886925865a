import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LocalPresence } from '../src/filesystem/local-presence.ts';
import { layoutOf } from '../src/layout.ts';
import { Cache } from '../src/local/cache.ts';
import { VolumeFiles } from '../src/local/volume-files.ts';
import { OFFLOADED, type OffloadedName, type ToFilesystem } from '../src/messages.ts';
import { type Fixture, fixture, SEGMENT, STRIPE } from './volume-fixture.ts';

interface CacheFixture extends Fixture {
  readonly cache: Cache;
  readonly presence: LocalPresence;
}

/** A cache whose filesystem thread is the real presence, answering at once. */
function cacheOf(
  files: number,
  limitStripes: number,
  safe: (file: number) => boolean = () => true,
): CacheFixture {
  const made = fixture();
  made.addFiles(files);
  const data = made.volume['zdbfs-data'];
  for (const file of data.files()) {
    const safety = safe(file) ? 'complete' : 'degraded';
    data.catalog.setData(file, { safety, sizeBytes: data.sizeOf(file), epoch: 1 });
  }
  const snapshot = (name: OffloadedName) => made.volume[name].presence.absent.snapshot();
  const presence = new LocalPresence(
    STRIPE,
    SEGMENT,
    { 'zdbfs-meta': snapshot('zdbfs-meta'), 'zdbfs-data': snapshot('zdbfs-data') },
    { copy: () => undefined, isWaited: () => true, need: () => {}, reached: () => {} },
    () => made.clock.monotonicMs(),
  );
  for (const name of OFFLOADED) presence.reach(name, 100);
  const send = (message: ToFilesystem) => {
    made.send(message);
    if (message.kind === 'brought') presence.brought(message, message.ahead);
    if (message.kind !== 'drop') return;
    const given = presence.drop(message.stripes, message.keepTouched);
    queueMicrotask(() => cache.dropped(message.id, given));
  };
  const cache: Cache = new Cache({ ...made, send, limitBytes: limitStripes * STRIPE });
  return { ...made, cache, presence };
}

test('below the limit nothing is dropped', async () => {
  const { cache, clock, sent } = cacheOf(2, 20);
  cache.tend();
  await clock.run(1);
  assert.equal(sent.length, 0);
  assert.equal(cache.usedBytes, 16 * STRIPE);
});

test('above the limit the oldest goes first, and the space is given back', async () => {
  const { cache, clock, volume, disk } = cacheOf(4, 16);
  cache.tend();
  await clock.run(1);
  const data = volume['zdbfs-data'];
  assert.ok(cache.usedBytes <= 16 * STRIPE);
  assert.equal(data.presentBytes(0), 0);
  assert.equal(data.presentBytes(3), 8 * STRIPE);
  assert.equal(disk.stat(data.dataPath(0))?.allocatedBytes, 0);
  assert.equal(disk.stat(data.dataPath(0))?.sizeBytes, 8 * STRIPE);
});

test('what is not on all backends is never dropped', async () => {
  const { cache, clock, volume } = cacheOf(4, 8, (file) => file === 2);
  cache.tend();
  await clock.run(1);
  const present = [0, 1, 2, 3].map((file) => volume['zdbfs-data'].presentBytes(file) / STRIPE);
  assert.deepEqual(present, [8, 8, 0, 8]);
  assert.equal((await cache.evictAll(true)).bytes, 0);
});

test('what was read lately stays while something else can go', async () => {
  const { cache, clock, volume, presence } = cacheOf(4, 27);
  assert.ok(presence.has('zdbfs-data', 0, 0, 8 * STRIPE));
  cache.tend();
  await clock.run(1);
  assert.equal(volume['zdbfs-data'].presentBytes(0), 8 * STRIPE);
  assert.ok(cache.usedBytes <= 27 * STRIPE);
});

test('when everything was read lately the limit is kept all the same', async () => {
  const { cache, clock, presence } = cacheOf(4, 16);
  for (const file of [0, 1, 2, 3]) presence.has('zdbfs-data', file, 0, 8 * STRIPE);
  cache.tend();
  await clock.run(1);
  assert.ok(cache.usedBytes <= 16 * STRIPE);
});

test('evicting all drops every safe stripe and says how much', async () => {
  const { cache, volume } = cacheOf(3, 1000);
  assert.deepEqual(await cache.evictAll(false), { bytes: 24 * STRIPE, stripes: 24 });
  assert.equal(cache.usedBytes, 0);
  assert.deepEqual(await cache.evictAll(false), { bytes: 0, stripes: 0 });
  assert.equal(volume['zdbfs-data'].presentBytes(1), 0);
});

test('a crash between recording and punching costs no space for long', async () => {
  const { volume, disk } = cacheOf(1, 1000);
  const data = volume['zdbfs-data'];
  data.recordAbsent(0, 0, 4);
  data.presence.flush();
  data.catalog.flush();
  const after = disk.kill();
  const reopened = VolumeFiles.open(after, layoutOf('/state'), 'zdbfs-data', STRIPE, SEGMENT);
  reopened.load({
    namespace: 'zdbfs-data',
    activeFile: 1,
    files: Float64Array.of(0),
    sizes: Float64Array.of(8 * STRIPE),
  });
  assert.equal(reopened.trim(after), 1);
  assert.equal(after.stat(data.dataPath(0))?.allocatedBytes, 4 * STRIPE);
  assert.equal(reopened.localBytes, 4 * STRIPE);
  await Promise.resolve();
});

test('a nearly full disk lowers the limit', async () => {
  const { cache, clock, disk } = cacheOf(4, 1000);
  const { availableBytes, totalBytes } = disk.space('/');
  disk.capacityBytes = totalBytes - availableBytes + STRIPE;
  cache.tend();
  await clock.run(1);
  assert.ok(cache.usedBytes < 32 * STRIPE);
});

test('on a nearly full disk what was read lately stays, in half of what programs have left', async () => {
  const { cache, clock, disk, presence, volume } = cacheOf(4, 1000);
  const { availableBytes, totalBytes } = disk.space('/');
  disk.capacityBytes = totalBytes - availableBytes;
  const working = cache.workingBytes();
  assert.ok(working >= 8 * STRIPE && working <= 16 * STRIPE, `${working / STRIPE} stripes`);
  presence.has('zdbfs-data', 2, 0, 8 * STRIPE);
  cache.tend();
  await clock.run(1);
  assert.ok(cache.usedBytes <= working);
  assert.ok(volume['zdbfs-data'].presentBytes(2) > 0);
  const kept = cache.usedBytes;
  cache.tend();
  await clock.run(1);
  assert.equal(cache.usedBytes, kept);
});

test('a file that is doubted while its stripes are being given up keeps them', async () => {
  const { cache, clock, volume, presence, disk } = cacheOf(1, 100);
  const data = volume['zdbfs-data'];
  const evicting = cache.evictAll(false);
  data.catalog.setData(0, { safety: 'degraded', sizeBytes: data.sizeOf(0), epoch: 1 });
  assert.deepEqual(await clock.until(evicting), { bytes: 0, stripes: 0 });
  assert.equal(data.presentBytes(0), 8 * STRIPE);
  assert.equal(disk.stat(data.dataPath(0))?.allocatedBytes, 8 * STRIPE);
  assert.equal(presence.has('zdbfs-data', 0, 0, 8 * STRIPE), true);
});

test('a catalog that cannot be written keeps files from being dropped only as long', async () => {
  const { cache, clock, volume, disk } = cacheOf(1, 100);
  const data = volume['zdbfs-data'];
  disk.fail({ code: 'EIO', kinds: ['datasync'], matches: ({ path }) => path.includes('catalog') });
  await assert.rejects(clock.until(cache.evictAll(false)), { code: 'EIO' });
  assert.equal(data.presentBytes(0), 8 * STRIPE);
  await clock.until(cache.evictAll(false));
  assert.equal(data.presentBytes(0), 0);
});
