import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { SimulatedRandom } from '@qsfs/io/simulated';
import { ZstorError } from '@qsfs/zstor';
import type { Context } from '../src/context.ts';
import { layoutOf } from '../src/layout.ts';
import { type Identity, readIdentity } from '../src/lease/identity.ts';
import { LeaseHolder, readLease } from '../src/lease/lease.ts';
import type { Housekeeping } from '../src/local/housekeeper.ts';
import {
  dataName,
  decodeManifest,
  decodePage,
  indexName,
  MANIFEST_PREFIX,
  manifestName,
  pageName,
} from '../src/manifest.ts';
import { type GiveBack, OFFLOADED, type SyncedNamespace } from '../src/messages.ts';
import { Offload } from '../src/offload/offload.ts';
import { EmptiedBackends } from '../src/sync/emptied-backends.ts';
import { SyncPoints } from '../src/sync/sync-point.ts';
import { type Fixture, fixture, STRIPE } from './volume-fixture.ts';

const layout = layoutOf('/state');
const DATA = 'zdbfs-data';

interface Sync extends Fixture {
  readonly points: SyncPoints;
  readonly offload: Offload;
  readonly emptied: EmptiedBackends;
  readonly identity: { current: Identity };
  /** Writes `bytes` to the volume: the next state has one more data file, and these index files changed. */
  change(indexFiles?: readonly number[]): void;
  /** Nothing is alive in this data file any more: the next state removes it when it may. */
  die(file: number): void;
  /** What the states made so far might have given back. */
  readonly givable: GiveBack[];
  lease: LeaseHolder;
}

function contextOf(made: Fixture): Context {
  const processes = {
    pid: 1,
    userId: 0,
    groupId: 0,
    nodePath: '',
    nodeFlags: [],
    start: () => assert.fail(),
    run: () => assert.fail(),
    alive: () => true,
    signal: () => {},
    onSignal: () => () => {},
  };
  return {
    disk: made.disk,
    network: {} as never,
    clock: made.clock,
    random: new SimulatedRandom(1),
    processes,
    workingDirectory: '/',
    program: '',
    print: () => {},
    warn: () => {},
    terminal: false,
  };
}

/** Sync points over a volume whose filesystem thread is made up: every change is one data file and its index. */
function syncOf(made: Fixture = fixture(), identity = identityOf(), cleanStart = true): Sync {
  const { disk, volume } = made;
  const context = contextOf(made);
  const housekeeper: Housekeeping = {
    datasync: () => Promise.resolve(),
    hash: (path) => {
      const file = disk.open(path, 'read');
      const content = new Uint8Array(file.size());
      file.read(content, 0);
      file.close();
      const hash = createHash('sha256').update(content).digest().subarray(0, 16);
      return Promise.resolve({
        hash,
        sizeBytes: content.length,
        modifiedMs: disk.stat(path)?.modifiedMs ?? 0,
      });
    },
    invalidate: () => Promise.resolve(0),
    close: () => Promise.resolve(),
  };
  const hook: { points?: SyncPoints } = {};
  const offload = new Offload({
    ...made,
    verification: 'checked',
    epoch: () => identity.current.epoch,
    mayBegin: () => true,
    stored: (namespace, file, _complete, isNew) => {
      if (isNew) hook.points?.dataStored(namespace, file);
    },
  });
  const lease = new LeaseHolder(context, made.zstor, () => identity.current, '/state');
  let closed: { file: number; sizeBytes: number }[] = [];
  const dirty = new Set<number>();
  const dead = new Set<number>();
  const givable: GiveBack[] = [];
  const makeState = (
    staging: string,
    suspects: Readonly<Record<string, readonly number[]>>,
    giveBack: GiveBack,
  ) => {
    givable.push(giveBack);
    const removed = giveBack.discard.filter((file) => dead.delete(file));
    for (const file of removed) disk.remove(volume[DATA].dataPath(file));
    const state = OFFLOADED.map((namespace): SyncedNamespace => {
      const data = namespace === 'zdbfs-data';
      const wanted = data
        ? new Set([...dirty, ...closed.map(({ file }) => file), ...(suspects[namespace] ?? [])])
        : [];
      const copied = [...wanted].map((file) => {
        disk.copy(volume[namespace].indexPath(file), `${staging}/${namespace}-i${file}`);
        return {
          file,
          sizeBytes: 1,
          modifiedMs: disk.stat(volume[namespace].indexPath(file))?.modifiedMs ?? 0,
        };
      });
      return {
        namespace,
        activeFile: volume[namespace].activeFile,
        descriptor: Uint8Array.of(1),
        activeIndex: Uint8Array.of(2),
        activeData: Uint8Array.of(3),
        closed: data ? closed : [],
        copied,
        removed: data ? removed : [],
      };
    });
    closed = [];
    dirty.clear();
    return Promise.resolve(state);
  };
  const emptied = new EmptiedBackends({
    disk,
    path: layout.incarnations,
    configured: ['a', 'b'],
    zstor: made.zstor,
    doubt: () => {
      offload.degraded.doubt();
      hook.points?.scrub.doubt();
    },
    suspect: (names) => hook.points?.scrub.suspect(names),
    isWhole: () => offload.status.degradedFiles === 0 && hook.points?.scrub.degradedObjects === 0,
    log: made.log,
  });
  const points = new SyncPoints({
    context,
    zstor: made.zstor,
    verification: 'checked',
    layout,
    volume,
    offload,
    lease,
    housekeeper,
    identity,
    cleanStart,
    emptied,
    makeState,
    log: made.log,
  });
  hook.points = points;
  let version = 0;
  return {
    ...made,
    points,
    offload,
    emptied,
    identity,
    lease,
    givable,
    die(file) {
      dead.add(file);
      dirty.add(file);
    },
    change(indexFiles = []) {
      const files = volume['zdbfs-data'];
      const file = files.activeFile;
      made.addFiles(1);
      closed.push({ file, sizeBytes: 8 * STRIPE });
      for (const changed of [file, ...indexFiles]) {
        dirty.add(changed);
        const handle = disk.open(files.indexPath(changed), 'create');
        handle.write(Buffer.from(`index ${changed} version ${(version += 1)}`), 0);
        handle.close();
      }
    },
  };
}

function identityOf(): { current: Identity } {
  return {
    current: {
      volumeId: '11'.repeat(16),
      frontendId: '22'.repeat(16),
      epoch: 1,
      generation: 0,
      stripeBytes: STRIPE,
      segmentBytes: 8 * STRIPE,
      createdMs: 0,
    },
  };
}

function names(sync: Sync): string[] {
  return [...sync.zstor.objects.keys()].sort();
}

test('a sync point stores data, index, page and manifest, and the manifest names exactly those', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  sync.change();
  const report = await sync.clock.until(sync.points.run());
  assert.deepEqual(
    { ...report, durationMs: 0 },
    { generation: 1, degradedObjects: 0, blankStores: [], unseenBackends: [], durationMs: 0 },
  );
  const version = { epoch: 1, generation: 1 };
  const manifest = decodeManifest(sync.zstor.objects.get(manifestName(version))?.content ?? new Uint8Array());
  const described = manifest.namespaces.find(({ name }) => name === DATA);
  assert.equal(described?.activeFile, 2);
  const page = decodePage(sync.zstor.objects.get(pageName(DATA, 0, version))?.content ?? new Uint8Array(), 0);
  assert.equal(page.length, 2);
  const named = page.flatMap((entry, file) => [
    dataName(DATA, file, entry.data?.epoch ?? 0),
    indexName(DATA, file, entry.index ?? version),
  ]);
  assert.deepEqual(
    names(sync),
    [...named, manifestName(version), pageName(DATA, 0, version), 'volume/lease'].sort(),
  );
});

test('the next one writes only what changed and deletes what it replaces', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  await sync.clock.until(sync.points.run());
  sync.change([0]);
  await sync.clock.until(sync.points.run());
  const version = { epoch: 1, generation: 2 };
  assert.deepEqual(
    names(sync),
    [
      'volume/lease',
      manifestName(version),
      pageName(DATA, 0, version),
      dataName(DATA, 0, 1),
      dataName(DATA, 1, 1),
      indexName(DATA, 0, version),
      indexName(DATA, 1, version),
    ].sort(),
  );
});

test('when nothing changed nothing is written', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  await sync.clock.until(sync.points.run());
  const before = names(sync);
  await sync.clock.until(sync.points.run());
  assert.deepEqual(names(sync), before);
  assert.equal(readIdentity(sync.disk, layout.identity)?.generation, 2, 'a number is never used twice');
});

test('calls during a sync point share one of their own, which covers what was written meanwhile', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  const first = sync.points.run();
  sync.change();
  const second = sync.points.run();
  assert.equal(second, sync.points.run());
  await sync.clock.until(first);
  await sync.clock.until(second);
  assert.ok(sync.zstor.objects.has(dataName(DATA, 1, 1)));
  assert.equal(readIdentity(sync.disk, layout.identity)?.generation, 2);
});

test('with the backends away it fails, keeps what it has, and finishes when they return', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  await sync.clock.until(sync.points.run());
  sync.change([0]);
  const put = sync.zstor.put.bind(sync.zstor);
  sync.zstor.put = (...parameters) => {
    sync.zstor.mode = 'down';
    return put(...parameters);
  };
  await assert.rejects(sync.clock.until(sync.points.run()), /switched off/);
  sync.zstor.put = put;
  assert.equal(sync.points.unfinished, true);
  assert.equal(sync.points.generation, 1);
  sync.zstor.mode = 'up';
  await sync.clock.until(sync.points.finish());
  assert.equal(sync.points.unfinished, false);
  assert.equal(sync.points.generation, 2);
});

test('with shards missing it says how many objects, and a later one repairs them', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  sync.zstor.mode = 'degraded';
  const report = await sync.clock.until(sync.points.run());
  // Data, index, page, manifest.
  assert.equal(report.degradedObjects, 4);
  sync.zstor.mode = 'up';
  assert.equal((await sync.clock.until(sync.points.run())).degradedObjects, 0);
  assert.equal(sync.volume[DATA].catalog.index(0)?.complete, true);
});

test('after a kill in the middle the next run sends what is missing and sweeps what nothing names', async () => {
  const first = syncOf();
  await first.lease.take(undefined);
  first.change();
  await first.clock.until(first.points.run());
  first.change([0]);
  // Killed when the index files were stored, but not the manifest.
  const putSmall = first.zstor.putSmall.bind(first.zstor);
  first.zstor.putSmall = () => new Promise(() => {});
  first.points.run().catch(() => {});
  await first.clock.run(1000);
  first.zstor.putSmall = putSmall;
  assert.ok(first.zstor.objects.has(indexName(DATA, 0, { epoch: 1, generation: 2 })));

  const second = syncOf(first, { current: readIdentity(first.disk, layout.identity) as Identity }, false);
  const found = await readLease(second.zstor);
  await second.lease.take(found);
  await second.clock.until(second.points.run());
  const version = { epoch: 1, generation: 3 };
  assert.deepEqual(
    names(second).filter((name) => name.startsWith(MANIFEST_PREFIX)),
    [manifestName(version)],
  );
  assert.ok(!second.zstor.objects.has(indexName(DATA, 0, { epoch: 1, generation: 1 })), 'swept');
  const page = decodePage(
    second.zstor.objects.get(pageName(DATA, 0, version))?.content ?? new Uint8Array(),
    0,
  );
  for (const [file, entry] of page.entries()) {
    assert.ok(second.zstor.objects.has(dataName(DATA, file, entry.data?.epoch ?? 0)));
    assert.ok(second.zstor.objects.has(indexName(DATA, file, entry.index ?? version)));
  }
});

test('a frontend that was replaced writes no manifest', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  await sync.clock.until(sync.points.run());
  const usurper = identityOf();
  usurper.current = { ...usurper.current, frontendId: '33'.repeat(16), epoch: 2 };
  const other = new LeaseHolder(contextOf(sync), sync.zstor, () => usurper.current, '/other');
  await other.take(await readLease(sync.zstor));
  sync.change();
  await assert.rejects(sync.clock.until(sync.points.run()), /belong to the frontend in \/other/);
  assert.equal(names(sync).filter((name) => name.startsWith(MANIFEST_PREFIX)).length, 1);
});

test('what lacked shards before a restart is counted after it, until it is whole', async () => {
  const first = syncOf();
  await first.lease.take(undefined);
  first.change();
  first.zstor.mode = 'degraded';
  assert.equal((await first.clock.until(first.points.run())).degradedObjects, 4);

  const second = syncOf(first, { current: readIdentity(first.disk, layout.identity) as Identity });
  await second.lease.take(await readLease(second.zstor));
  await second.offload.start();
  assert.equal((await second.clock.until(second.points.run())).degradedObjects, 4);
  second.zstor.mode = 'up';
  assert.equal((await second.clock.until(second.points.run())).degradedObjects, 0);
  assert.equal(second.volume[DATA].catalog.index(0)?.complete, true);
});

test('after a backend was emptied small objects are looked at before they count as whole', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  await sync.clock.until(sync.points.run());
  sync.zstor.wipedShards = 1;
  const rebuilt: string[] = [];
  const rebuild = sync.zstor.rebuild.bind(sync.zstor);
  sync.zstor.rebuild = (name) => {
    rebuilt.push(name);
    return rebuild(name);
  };
  sync.points.scrub.doubt();
  assert.equal(sync.points.scrub.degradedObjects, 3);
  assert.equal((await sync.clock.until(sync.points.run())).degradedObjects, 0);
  const version = { epoch: 1, generation: 1 };
  assert.deepEqual(
    rebuilt.sort(),
    [indexName(DATA, 0, version), pageName(DATA, 0, version), manifestName(version)].sort(),
  );
});

test('a sync point is not done before what an emptied backend held is written again', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  const are = (a: string, b: string) => {
    sync.zstor.inspection = {
      ...sync.zstor.inspection,
      incarnations: new Map(Object.entries({ a, b })),
    };
  };
  are('1', '2');
  sync.change();
  await sync.clock.until(sync.points.run());
  await sync.emptied.look();
  sync.zstor.wipedShards = 1;
  are('1', '');
  assert.equal((await sync.clock.until(sync.points.run())).degradedObjects, 0);
  const record = await sync.zstor.head(dataName(DATA, 0, 1));
  assert.ok(record && !sync.zstor.lacksShards(record));
  assert.match(sync.logged.join('\n'), /warning: lost what it held: b$/m);
  assert.deepEqual(sync.emptied.emptied, [], 'nor does it count as emptied any more');
});

test('a sync point is not done before backends that came back were asked, and what they lost is stored again', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  await sync.clock.until(sync.points.run());
  const { zstor } = sync;
  const version = { epoch: 1, generation: 1 };
  const lost = [dataName(DATA, 0, 1), indexName(DATA, 0, version), dataName(DATA, 0, 9)];
  for (const name of lost) {
    const stored = zstor.objects.get(name);
    if (stored) stored.wiped = 2;
    zstor.rotten.add(name);
  }
  zstor.lacksShards = () => false;
  zstor.inspection = { ...zstor.inspection, unseenBackends: ['b'] };
  zstor.afterRepair = { lostObjects: lost };
  const report = await sync.clock.until(sync.points.run());
  assert.deepEqual(report.unseenBackends, []);
  assert.ok(sync.points.unfinished, 'what is lost comes with a new state');
  assert.match(sync.logged.join('\n'), /d0 was lost on the backends and is stored again/);
  assert.equal((await sync.clock.until(sync.points.finish())).degradedObjects, 0);
  for (const [name, stored] of zstor.objects) assert.equal(stored.wiped, 0, name);
});

test('of a volume so large that asking for everything takes for ever a sync is done all the same, and says that they were not all asked', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  const { zstor } = sync;
  zstor.inspection = { ...zstor.inspection, unseenBackends: ['b'] };
  const asking = Promise.withResolvers<never>();
  zstor.repairPending = () => asking.promise;
  const beginMs = sync.clock.monotonicMs();
  const report = await sync.clock.until(sync.points.run());
  assert.deepEqual([report.generation, report.unseenBackends], [1, ['b']]);
  assert.ok(sync.clock.monotonicMs() - beginMs < 15_000);
  assert.equal(sync.points.busy, false);
  // Nobody is there any more whom its end would reach.
  asking.reject(new ZstorError('QSFS_E_ABORTED', 'the store was closed'));
  await sync.clock.run(100);
});

test('small objects that the backends lost are stored again from what is here', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  await sync.clock.until(sync.points.run());
  sync.zstor.wipedShards = 2;
  sync.points.scrub.doubt();
  assert.equal((await sync.clock.until(sync.points.run())).degradedObjects, 3);
  assert.ok(sync.points.unfinished);
  sync.zstor.wipedShards = 0;
  assert.equal((await sync.clock.until(sync.points.finish())).degradedObjects, 0);
  assert.ok(!sync.points.unfinished);
  const version = { epoch: 1, generation: 3 };
  for (const name of [indexName(DATA, 0, version), pageName(DATA, 0, version), manifestName(version)]) {
    assert.ok(sync.zstor.objects.has(name), name);
  }
});

test('small objects become whole without a sync point', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  sync.zstor.mode = 'degraded';
  await sync.clock.until(sync.points.run());
  sync.zstor.mode = 'up';
  await sync.points.healSmall();
  assert.equal(sync.points.scrub.degradedObjects, 0);
  assert.equal(sync.points.generation, 1);
});

test('a data file in which nothing is alive is named by no further manifest, and its object goes when that is there', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  sync.change();
  await sync.clock.until(sync.points.run());
  sync.die(0);
  sync.zstor.mode = 'readable';
  await assert.rejects(sync.clock.until(sync.points.run()));
  sync.zstor.mode = 'up';
  assert.ok(sync.zstor.objects.has(dataName(DATA, 0, 1)), 'the newest manifest names it');
  await sync.clock.until(sync.points.run());
  assert.ok(!sync.zstor.objects.has(dataName(DATA, 0, 1)));
  const version = { epoch: 1, generation: sync.points.generation };
  const page = decodePage(sync.zstor.objects.get(pageName(DATA, 0, version))?.content ?? new Uint8Array(), 0);
  assert.equal(page[0]?.data, undefined);
  assert.ok(page[0]?.index);
  assert.ok(page[1]?.data);
  assert.equal(sync.offload.status.storedFiles, 1);
});

test('a state that is made for the room it gives takes the place of one that is not sent yet', async () => {
  const sync = syncOf();
  await sync.lease.take(undefined);
  sync.change();
  sync.zstor.mode = 'readable';
  await assert.rejects(sync.clock.until(sync.points.run()));
  // Made without the backends; what waits may become hollow.
  await sync.clock.until(sync.points.makeRoom());
  await sync.clock.until(sync.points.makeRoom());
  assert.deepEqual(sync.givable.at(-1)?.hollow, [0]);
  assert.ok(sync.points.unfinished);
  sync.zstor.mode = 'up';
  await sync.clock.until(sync.points.finish());
  assert.equal(sync.points.generation, sync.identity.current.generation);
  assert.ok(!sync.points.unfinished);
});
