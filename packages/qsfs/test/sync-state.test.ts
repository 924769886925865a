import assert from 'node:assert/strict';
import { test } from 'node:test';
import { syncAtOnce } from '@qsfs/io';
import { SimulatedClock, SimulatedDisk, SimulatedRandom } from '@qsfs/io/simulated';
import { type Engine, openEngine } from '@qsfs/zdb';
import { SyncState } from '../src/filesystem/sync-state.ts';
import type { SyncedNamespace } from '../src/messages.ts';

const NOTHING = { 'zdbfs-meta': [], 'zdbfs-data': [] };

function engineOn(disk: SimulatedDisk, rotated: (name: string, file: number) => void): Engine {
  return openEngine({
    disk,
    clock: new SimulatedClock(),
    random: new SimulatedRandom(1),
    dataDirectory: '/data',
    indexDirectory: '/index',
    mode: 'seq',
    dataSizeBytes: 2 ** 20,
    sync: 'none',
    events: { rotated },
  });
}

/** Makes a state, waiting for the disk. */
function make(state: SyncState): SyncedNamespace[] {
  const made: SyncedNamespace[] = [];
  syncAtOnce(state.makeSteps('/staging', NOTHING, made));
  return made;
}

test('what the last process left in the active files is closed by the next sync point, nothing written since', () => {
  const disk = new SimulatedDisk();
  const first = engineOn(disk, () => {});
  for (const name of ['zdbfs-meta', 'zdbfs-data'])
    first.createNamespace(name, 'seq').insertId(new Uint8Array(70_000));
  first.close();
  disk.makeDirectory('/staging');
  const engine: Engine = engineOn(disk, (name, file) => void state.rotated(name, file));
  const state: SyncState = new SyncState(disk, engine, '/index');
  assert.ok(state.changed, 'it counts as not synced');
  for (const synced of make(state)) {
    assert.equal(synced.activeFile, 1);
    assert.deepEqual(
      synced.closed.map(({ file }) => file),
      [0],
    );
    assert.ok(synced.activeData.length < 100, 'the manifest carries a header, not contents');
  }
  assert.ok(!state.changed);
  engine.close();
});

test('a sync point that ran out of room forgets nothing: the next one copies every index file again', () => {
  const disk = new SimulatedDisk();
  const engine: Engine = engineOn(disk, (name, file) => void state.rotated(name, file));
  const state: SyncState = new SyncState(disk, engine, '/index');
  const meta = engine.namespace('zdbfs-meta') ?? engine.createNamespace('zdbfs-meta', 'seq');
  const data = engine.namespace('zdbfs-data') ?? engine.createNamespace('zdbfs-data', 'seq');
  disk.makeDirectory('/staging');
  const id = meta.insertId(new Uint8Array(10));
  data.insertId(new Uint8Array(10));
  make(state);
  // An entry of the closed index file 0 changes in place, in both namespaces something new is written.
  meta.updateId(id, new Uint8Array(20));
  data.insertId(new Uint8Array(10));
  disk.fail({
    code: 'ENOSPC',
    kinds: ['create'],
    matches: ({ path }) => path.startsWith('/staging/zdbfs-data'),
  });
  assert.throws(() => make(state), { code: 'ENOSPC' });
  const [synced] = make(state);
  assert.ok(
    synced?.copied.some(({ file }) => file === 0),
    'the index file changed in place is copied',
  );
  assert.deepEqual(disk.list('/staging').sort(), [
    'zdbfs-data-i0',
    'zdbfs-data-i1',
    'zdbfs-meta-i0',
    'zdbfs-meta-i1',
  ]);
  engine.close();
});

test('what is dead in a state is given back: holes in files that are on no backend, and wholly dead files are gone', () => {
  const disk = new SimulatedDisk();
  const engine: Engine = engineOn(disk, (name, file) => void state.rotated(name, file));
  const state: SyncState = new SyncState(disk, engine, '/index');
  engine.createNamespace('zdbfs-meta', 'seq');
  const data = engine.createNamespace('zdbfs-data', 'seq');
  disk.makeDirectory('/staging');
  // Three files of ten records, and a record in the one that is written.
  for (let file = 0; file < 3; file++) {
    for (let record = 0; record < 10; record++) data.insertId(new Uint8Array(50_000).fill(1));
    data.rotate();
  }
  data.insertId(new Uint8Array(50_000).fill(1));
  for (let id = 0; id < 30; id++) if (id < 10 || id % 10 > 1) data.removeId(id);
  engine.commit();
  const survey = state.survey();
  assert.deepEqual([...survey.files], [0, 1, 2]);
  assert.deepEqual([...survey.discardable], [0]);
  assert.ok(survey.deadBytes[1]! > 390_000 && survey.deadBytes[1]! < 410_000);
  assert.ok(survey.activeDeadBytes < 1000, 'deletion markers are of use');
  const taken = (file: number) => disk.stat(data.dataPath(file))?.allocatedBytes ?? 0;
  const before = taken(2);
  const made: SyncedNamespace[] = [];
  // File 2 is on its way to the backends.
  syncAtOnce(state.makeSteps('/staging', NOTHING, made, { hollow: [1], discard: [0, 1] }));
  const synced = made.find(({ namespace }) => namespace === 'zdbfs-data')!;
  assert.deepEqual(synced.removed, [0]);
  assert.ok(!disk.stat(data.dataPath(0)));
  assert.deepEqual(synced.closed.map(({ file }) => file).sort(), [1, 2, 3]);
  assert.ok(synced.copied.some(({ file }) => file === 0));
  assert.ok(taken(1) < 150_000, `${taken(1)} bytes`);
  assert.equal(taken(2), before);
  for (const id of [10, 11, 20, 21, 30]) assert.equal(data.readId(id)?.length, 50_000);
  engine.close();
});
