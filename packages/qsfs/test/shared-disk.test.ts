import assert from 'node:assert/strict';
import { test } from 'node:test';
import { spareBytes } from '@qsfs/zdbfs';
import type { Configuration } from '../src/configuration.ts';
import { KeptRoom, keptBytes, shardFactorOn, workingBytes } from '../src/local/shared-disk.ts';
import { GAUGES, type Survey } from '../src/messages.ts';
import { Offload } from '../src/offload/offload.ts';
import { RoomKeeper } from '../src/sync/give-back.ts';
import { Relocator } from '../src/sync/relocation.ts';
import { type Fixture, fixture, SEGMENT, STRIPE } from './volume-fixture.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const DATA = 'zdbfs-data';

function configurationOf(
  paths: readonly string[],
  minimalShards: number,
  expectedShards: number,
): Configuration {
  const backends = paths.map((path, number) => ({ name: `b${number}`, type: 'dir' as const, path }));
  const zstor = { minimalShards, expectedShards, groups: [{ name: 'a', backends }] };
  return { zstor, settings: {} } as unknown as Configuration;
}

test('what a byte of contents takes on the disk is n / k, as far as the backends are on it', () => {
  const disk = {
    stat: (path: string) =>
      path.startsWith('/nowhere') ? undefined : { device: path.startsWith('/other') ? 2 : 1 },
  } as never;
  const factor = (...paths: string[]) => shardFactorOn(disk, '/state', configurationOf(paths, 2, 4));
  assert.equal(factor('/state/a', '/state/b', '/state/c', '/state/d'), 2);
  assert.equal(factor('/state/a', '/other/b', '/other/c', '/nowhere/d'), 0.5);
  assert.equal(factor('/other/a', '/other/b'), 0);
});

test('room for the shards of what is not stored yet is kept, that of files just closed too', () => {
  const gauges = new Float64Array(16);
  let active = 10 * MIB;
  const room = new KeptRoom({ shardFactor: 2, fileBytes: 16 * MIB }, gauges, () => active);
  const space = { totalBytes: 2 * GIB, availableBytes: GIB };
  const first = room.left(space).availableBytes;
  assert.equal(first, GIB - 64 * MIB - 20 * MIB, 'four times a data file to move one');
  // It is closed, then heard of, then stored.
  room.closed(active);
  active = 0;
  assert.equal(room.left(space).availableBytes, first);
  gauges[GAUGES.pendingBytes] = 10 * MIB;
  assert.ok(room.left(space).availableBytes < first, 'counted twice rather than not at all');
  gauges[GAUGES.heardBytes] = 10 * MIB;
  assert.equal(room.left(space).availableBytes, first);
  gauges[GAUGES.pendingBytes] = 0;
  assert.equal(room.left(space).availableBytes, GIB - 64 * MIB);
  assert.equal(room.left({ totalBytes: 2 * GIB, availableBytes: MIB }).availableBytes, 0);
  const local = { blockSizeBytes: 4096, blocks: 1000, blocksFree: 300, blocksAvailable: 300 } as never;
  let status = room.status(local);
  assert.deepEqual(
    [status.blocks, status.blocksAvailable],
    [800, 100],
    'what can be written takes three times itself',
  );
  gauges[GAUGES.evictableBytes] = 60 * 4096;
  status = room.status(local);
  // These are in the room for moving, so the disk has said already that they are available.
  assert.deepEqual([status.blocks, status.blocksAvailable], [800, 100], 'what can be dropped counts once');
});

test('copies that can be dropped may take the room for moving, and are no reason for ENOSPC', () => {
  const gauges = new Float64Array(17);
  const shared = { shardFactor: 2, fileBytes: 16 * MIB };
  const room = new KeptRoom(shared, gauges, () => 0);
  const space = { totalBytes: 2 * GIB, availableBytes: 64 * MIB + 40 * MIB };
  assert.equal(room.left(space).availableBytes, 40 * MIB);
  // 30 MiB of copies came back.
  gauges[GAUGES.evictableBytes] = 30 * MIB;
  assert.equal(room.left({ ...space, availableBytes: 74 * MIB }).availableBytes, 40 * MIB);
  // Beyond the room for moving they are dropped first.
  gauges[GAUGES.evictableBytes] = 100 * MIB;
  assert.equal(room.left({ ...space, availableBytes: 4 * MIB }).availableBytes, 4 * MIB);
});

test('how much of what was read lately stays on a nearly full disk', () => {
  const shared = { shardFactor: 2, fileBytes: 16 * MIB };
  const spare = spareBytes(2 * GIB);
  const working = (availableBytes: number, evictableBytes: number, unstoredBytes = 0) =>
    workingBytes(shared, { totalBytes: 2 * GIB, availableBytes }, unstoredBytes, evictableBytes) / MIB;
  assert.equal(working(spare + 64 * MIB, 0), 64, 'programs have nothing left: the room for moving');
  assert.equal(working(spare + 4 * MIB, 60 * MIB), 64, 'and the same when it is in use');
  assert.equal(working(spare + 44 * MIB, 0), 44, 'not what is kept for records');
  assert.equal(working(spare + 84 * MIB, 0, 20 * MIB), 44, 'nor for the shards of what is not stored yet');
  assert.equal(working(spare, 0, 20 * MIB), 0);
  const alone = (availableBytes: number) =>
    workingBytes(
      { ...shared, shardFactor: 0 },
      { totalBytes: 2 * GIB, availableBytes: spare + availableBytes },
      0,
      0,
    ) / MIB;
  assert.equal(alone(20 * MIB), 10, 'half of what programs have where the disk is not shared');
  assert.equal(alone(0), 0);
});

test('backends on other disks: nothing is kept', () => {
  const shared = { shardFactor: 0, fileBytes: 16 * MIB };
  assert.equal(keptBytes(shared, GIB, 50 * MIB), 0);
  const space = { totalBytes: GIB, availableBytes: 100 * MIB };
  const gauges = new Float64Array(18);
  gauges[GAUGES.capacityBytes] = -1;
  gauges[GAUGES.storableBytes] = -1;
  const room = new KeptRoom(shared, gauges, () => MIB);
  assert.deepEqual(room.left(space), space);
  const status = { blockSizeBytes: 4096, blocks: 1000, blocksFree: 300, blocksAvailable: 300 } as never;
  assert.deepEqual(room.status(status), status);
  // They tell how much they take: what is not stored yet is to come out of it.
  gauges[GAUGES.storableBytes] = 31 * MIB;
  gauges[GAUGES.pendingBytes] = 20 * MIB;
  assert.equal(
    room.left(space).availableBytes,
    10 * MIB + spareBytes(GIB),
    'records of the volume have the rest',
  );
  gauges[GAUGES.pendingBytes] = 200 * MIB;
  assert.equal(room.left(space).availableBytes, 0);
  gauges[GAUGES.storableBytes] = GIB;
  assert.equal(room.left(space).availableBytes, 100 * MIB, 'the local disk takes no more than it has');
  gauges[GAUGES.capacityBytes] = 211 * MIB;
  const { blocksAvailable } = room.status(status);
  assert.equal(blocksAvailable * 4096, 10 * MIB);
});

interface Moving extends Fixture {
  readonly relocator: Relocator;
  readonly offload: Offload;
  /** Files that were moved, in order. */
  readonly moved: number[];
  readonly pinned: Set<number>;
  failing: Error | undefined;
  survey(live: readonly number[]): Survey;
}

/** Data files of eight stripes each, all on the backends. */
async function moving(files: number): Promise<Moving> {
  const made = fixture();
  made.addFiles(files);
  const offload = new Offload({
    ...made,
    verification: 'checked',
    epoch: () => 1,
    mayBegin: () => true,
    stored: () => {},
  });
  await offload.start();
  await offload.drain();
  const moved: number[] = [];
  const pinned = new Set<number>();
  const clock = made.clock;
  const result: Moving = {
    ...made,
    offload,
    moved,
    pinned,
    failing: undefined,
    relocator: new Relocator({
      ...made,
      clock,
      shared: { shardFactor: 2, fileBytes: SEGMENT },
      offload,
      cache: {
        evictAll: () => {
          assert.ok(pinned.size > 0, 'what is moved is not dropped');
          return Promise.resolve({ bytes: 0, stripes: 0 });
        },
        pin: (_, file) => {
          pinned.add(file);
          return () => void pinned.delete(file);
        },
      },
      move: (file) => {
        assert.ok(pinned.has(file), 'it stays here while it is moved');
        moved.push(file);
        return result.failing ? Promise.reject(result.failing) : Promise.resolve(1000);
      },
    }),
    survey: (live) => ({
      files: Float64Array.from(live.keys()),
      liveBytes: Float64Array.from(live),
      deadBytes: new Float64Array(live.length),
      discardable: new Float64Array(0),
      activeDeadBytes: 0,
    }),
  };
  return result;
}

const LIMITS = { isScarce: false, budgetBytes: GIB, worthBytes: 1 };

test('the sparsest files are moved first, and only those that are worth it, more of them when room is scarce', async () => {
  const made = await moving(5);
  const survey = made.survey([0.7, 0.3, 0, 0.4, 0.9].map((share) => share * SEGMENT));
  assert.ok(await made.relocator.relocate(survey, LIMITS));
  assert.deepEqual(made.moved.splice(0), [1, 3], 'neither full ones nor those in which nothing is alive');
  assert.equal(made.pinned.size, 0);
  assert.ok(await made.relocator.relocate(survey, { ...LIMITS, isScarce: true }));
  assert.deepEqual(made.moved.splice(0), [0], 'what was moved is not moved again at once');
  made.clock.advance(301_000);
  assert.ok(await made.relocator.relocate(survey, LIMITS));
  assert.deepEqual(made.moved, [1, 3]);
});

test('nothing is begun that does not fit what is kept for it, or gives too little', async () => {
  const made = await moving(3);
  const survey = made.survey([0.25, 0.4, 0.45].map((share) => share * SEGMENT));
  // The file, which could be dropped; a quarter of it, and twice that in shards.
  const costBytes = SEGMENT + (SEGMENT / 4) * 3;
  assert.ok(!(await made.relocator.relocate(survey, { ...LIMITS, budgetBytes: costBytes - 1 })));
  assert.deepEqual(made.moved, []);
  assert.ok(!(await made.relocator.relocate(survey, { ...LIMITS, worthBytes: SEGMENT * 6 })));
  assert.deepEqual(made.moved, []);
  // What is not here has to be brought, and takes the room of a copy that is.
  made.volume[DATA].recordAbsent(0, 0, 1);
  assert.ok(!(await made.relocator.relocate(survey, { ...LIMITS, budgetBytes: costBytes - 1 })));
  // What cannot be dropped is here in any case.
  const { sizeBytes, epoch } = made.volume[DATA].data(0);
  made.volume[DATA].catalog.setData(0, { safety: 'degraded', sizeBytes, epoch });
  assert.ok(await made.relocator.relocate(survey, { ...LIMITS, budgetBytes: costBytes - SEGMENT + STRIPE }));
  assert.deepEqual(made.moved, [0]);
});

test('files that are on no backend, or on their way, are left alone, and so is one that could not be moved', async () => {
  const made = await moving(2);
  made.volume[DATA].catalog.setData(0, { safety: 'pending', sizeBytes: 0, epoch: 0 });
  const survey = made.survey([1000, 1000]);
  made.failing = new Error('the backends do not answer');
  assert.ok(!(await made.relocator.relocate(survey, LIMITS)));
  assert.deepEqual(made.moved, [1]);
  assert.match(made.logged.join('\n'), /d1 cannot be emptied now: the backends do not answer/);
  made.failing = undefined;
  assert.ok(!(await made.relocator.relocate(survey, LIMITS)));
  assert.equal(made.pinned.size, 0);
});

test('records are moved only when room is short for good, and nothing cheaper gives any', async () => {
  const made = await moving(4);
  let availableBytes = GIB;
  let evictableBytes = 0;
  let states = 0;
  const busy = { busy: false, unfinished: false };
  const asked: { isScarce: boolean; budgetBytes: number }[] = [];
  let survey = made.survey([1000, 1000, 1000, 1000]);
  const shared = { shardFactor: 2, fileBytes: 4 * MIB };
  const keeper = new RoomKeeper({
    ...made,
    disk: { space: () => ({ totalBytes: GIB, availableBytes }) } as never,
    shared,
    cache: { evictableBytes: () => evictableBytes },
    syncPoints: Object.assign(busy, {
      makeRoom: () => {
        states += 1;
        return Promise.resolve();
      },
    }),
    survey: () => Promise.resolve(survey),
    relocator: {
      relocate: (_survey, limits) => {
        asked.push(limits);
        return Promise.resolve(true);
      },
    },
  });
  await keeper.tend();
  assert.deepEqual([states, asked.length], [0, 0], 'there is room');
  availableBytes = 160 * MIB;
  await keeper.tend();
  assert.deepEqual(
    [states, asked.length],
    [1, 1],
    'little is left: what moves makes room with the next state',
  );
  assert.equal(asked[0]?.isScarce, false);
  assert.equal(asked[0]?.budgetBytes, 96 * MIB, 'what is left and what is kept for it');
  availableBytes = 150 * MIB;
  evictableBytes = 10 * MIB;
  await keeper.tend();
  assert.equal(asked.pop()?.budgetBytes, 96 * MIB, 'what can be dropped is as good as dropped');
  states = 1;
  evictableBytes = 100 * MIB;
  await keeper.tend();
  assert.equal(asked.length, 1, 'what can be dropped here is dropped first');
  evictableBytes = 0;
  busy.unfinished = true;
  await keeper.tend();
  assert.equal(asked.length, 1, 'the last state may give room');
  busy.unfinished = false;
  availableBytes = 90 * MIB;
  await keeper.tend();
  assert.equal(asked.at(-1)?.isScarce, true);
  states = 0;
  survey = { ...survey, activeDeadBytes: 50 * MIB };
  await keeper.tend();
  assert.deepEqual([states, asked.length], [1, 2], 'holes are cheaper');
});

test('full backends elsewhere: a state is made for what removed files left there, however much room is here', async () => {
  const made = await moving(4);
  let states = 0;
  let survey = made.survey([1000, 1000, 1000, 1000]);
  const keeper = new RoomKeeper({
    ...made,
    disk: { space: () => ({ totalBytes: 100 * GIB, availableBytes: 90 * GIB }) } as never,
    shared: { shardFactor: 0, fileBytes: SEGMENT },
    cache: { evictableBytes: () => 0 },
    syncPoints: {
      busy: false,
      unfinished: false,
      makeRoom: () => {
        states += 1;
        return Promise.resolve();
      },
    },
    survey: () => Promise.resolve(survey),
    relocator: { relocate: () => Promise.reject(new Error('nothing is moved there')) },
  });
  // The four files are on them.
  made.gauges[GAUGES.storableBytes] = SEGMENT / 2;
  await keeper.tend();
  assert.equal(states, 0, 'it would give nothing');
  survey = { ...survey, activeDeadBytes: 100 * MIB };
  await keeper.tend();
  assert.equal(states, 1);
  made.gauges[GAUGES.storableBytes] = SEGMENT;
  await keeper.tend();
  assert.equal(states, 1, 'they have room');
});
