// What is believed of backends that were emptied, over restarts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedDisk } from '@qsfs/io/simulated';
import { EmptiedBackends } from '../src/sync/emptied-backends.ts';

/** A frontend's view of backends `a` and `b`, made anew by every `start`. */
function follow() {
  const disk = new SimulatedDisk();
  disk.makeDirectory('/frontend');
  const state = {
    whole: true,
    doubts: 0,
    incarnations: {} as Record<string, string>,
    blankStores: [] as string[],
    unseenBackends: [] as string[],
    lostObjects: [] as string[],
    suspected: [] as string[],
  };
  const logged: string[] = [];
  const start = (configured = ['a', 'b']) =>
    new EmptiedBackends({
      disk,
      path: '/frontend/incarnations',
      configured,
      zstor: {
        inspect: () =>
          Promise.resolve({
            incarnations: new Map(Object.entries(state.incarnations)),
            blankStores: state.blankStores,
            unseenBackends: state.unseenBackends,
            lostObjects: state.lostObjects,
          }),
      },
      doubt: () => {
        state.doubts += 1;
        state.whole = false;
      },
      suspect: (names) => void state.suspected.push(...names),
      isWhole: () => state.whole,
      log: (level, message) => void logged.push(`${level}: ${message}`),
    });
  return { state, start, logged, disk };
}

/** As `follow`, with `a` and `b` as 1 and 2 when everything was whole. */
async function followWhole() {
  const made = follow();
  const { state, start } = made;
  state.incarnations = { a: '1', b: '2' };
  const emptied = start();
  await emptied.look();
  state.whole = true;
  await emptied.look();
  state.doubts = 0;
  return { ...made, emptied };
}

test('nobody remembers: everything is looked at once', async () => {
  const { state, start } = follow();
  state.incarnations = { a: '1', b: '2' };
  const emptied = start();
  assert.ok(await emptied.look());
  assert.ok(!(await emptied.look()));
  assert.equal(state.doubts, 1);
  state.whole = true;
  await emptied.look();
  assert.ok(!(await start().look()));
  assert.equal(state.doubts, 1);
});

test('the first shards of a new backend are no loss', async () => {
  const { state, start } = follow();
  state.incarnations = { a: '', b: '' };
  const emptied = start();
  await emptied.look();
  state.whole = true;
  state.incarnations = { a: '1', b: '2' };
  assert.ok(!(await emptied.look()));
  assert.ok(!(await start().look()));
  assert.equal(state.doubts, 1);
});

test('an emptied backend is noticed, once, and shown until everything is whole', async () => {
  const { state, emptied, start, logged } = await followWhole();
  state.incarnations = { a: '', b: '2' };
  assert.ok(await emptied.look());
  assert.deepEqual(emptied.emptied, ['a']);
  state.incarnations = { a: '3', b: '2' };
  assert.ok(!(await emptied.look()));
  assert.deepEqual(emptied.emptied, ['a']);
  state.whole = true;
  assert.ok(!(await emptied.look()));
  assert.deepEqual(emptied.emptied, []);
  assert.equal(state.doubts, 1);
  assert.ok(!(await start().look()));
  assert.match(logged.join('\n'), /warning: lost what it held: a\n.*info: has its part again: a$/s);
});

test('a backend that was emptied while nothing ran, or while it was down, is noticed', async () => {
  const { state, start } = await followWhole();
  state.incarnations = { a: '1' };
  const emptied = start();
  assert.ok(!(await emptied.look()), 'it is only down');
  state.incarnations = { a: '1', b: '9' };
  assert.ok(await emptied.look());
  assert.deepEqual(emptied.emptied, ['b']);
  // A kill in the middle of the rebuilding begins anew.
  const next = start();
  assert.ok(await next.look());
  assert.deepEqual(next.emptied, ['b']);
});

test('a backend without an incarnation is known by the keys it has given out: it was emptied when they are fewer, or it has one now', async () => {
  for (const found of ['', '+3', '9']) {
    const { state, start, logged } = follow();
    state.incarnations = { a: '1', b: '+5' };
    const emptied = start();
    await emptied.look();
    state.whole = true;
    await emptied.look();
    state.doubts = 0;
    // More keys are no loss, and nothing to write down each time.
    state.incarnations = { a: '1', b: '+7' };
    assert.ok(!(await emptied.look()));
    assert.deepEqual(emptied.emptied, []);
    assert.ok(!(await start().look()));
    assert.equal(state.doubts, 0);
    state.incarnations = { a: '1', b: found };
    const next = start();
    assert.ok(await next.look(), found);
    assert.deepEqual(next.emptied, ['b']);
    assert.match(logged.join('\n'), /warning: lost what it held: b$/m);
    assert.ok(await emptied.look(), found);
  }
});

test('a backend that was not there when nobody remembered is looked at when it comes', async () => {
  const { state, start } = follow();
  state.incarnations = { a: '1' };
  const emptied = start();
  await emptied.look();
  state.whole = true;
  await emptied.look();
  state.incarnations = { a: '1', b: '2' };
  assert.ok(await emptied.look());
});

test('a backend that was taken out of the configuration is no holder any more', async () => {
  const { state, start } = await followWhole();
  state.incarnations = { a: '1' };
  const emptied = start(['a']);
  assert.ok(await emptied.look());
  assert.deepEqual(emptied.emptied, ['b']);
  state.whole = true;
  await emptied.look();
  assert.deepEqual(emptied.emptied, []);
  assert.ok(!(await start(['a']).look()));
});

test('a damaged memory counts as none, and metadata stores are told of', async () => {
  const { state, start, disk, logged } = await followWhole();
  const file = disk.open('/frontend/incarnations', 'create');
  file.write(Buffer.from('{"a":'), 0);
  file.truncate(5);
  file.close();
  state.blankStores = ['m'];
  const emptied = start();
  assert.ok(await emptied.look());
  assert.deepEqual(emptied.blankStores, ['m']);
  assert.match(logged.join('\n'), /warning: lost its records: m$/m);
});

test('what cannot be remembered on a full disk is remembered later, and nothing fails', async () => {
  const { state, start, disk, logged } = follow();
  const { capacityBytes } = disk;
  state.incarnations = { a: '1', b: '2' };
  const emptied = start();
  await emptied.look();
  state.whole = true;
  disk.capacityBytes = 0;
  assert.ok(!(await emptied.look()));
  assert.match(logged.join('\n'), /incarnations/);
  assert.ok(!disk.stat('/frontend/incarnations'));
  disk.capacityBytes = capacityBytes;
  await emptied.look();
  state.doubts = 0;
  await start().look();
  assert.equal(state.doubts, 0);
});

test('nothing is remembered as whole while a backend that came back was not asked', async () => {
  const { state, emptied, start } = await followWhole();
  state.incarnations = { a: '1', b: '' };
  await emptied.look();
  state.whole = true;
  state.unseenBackends = ['b'];
  await emptied.look();
  assert.deepEqual([emptied.unseen, emptied.emptied], [['b'], ['b']]);
  assert.ok(await start().look(), 'a kill begins anew');
  state.whole = true;
  state.unseenBackends = [];
  await emptied.look();
  assert.deepEqual([emptied.unseen, emptied.emptied], [[], []]);
});

test('objects that are found to have lost too much are told once, and again when they are lost once more', async () => {
  const { state, emptied } = await followWhole();
  state.lostObjects = ['x'];
  assert.ok(await emptied.look());
  assert.ok(!(await emptied.look()));
  state.lostObjects = [];
  await emptied.look();
  state.lostObjects = ['x', 'y'];
  assert.ok(await emptied.look());
  assert.deepEqual(state.suspected, ['x', 'x', 'y']);
});
