// A data file that is removed while its bytes are on no disk of this machine takes its deletion markers with it. When the index is lost after
// that, records are alive again that were removed. Nobody sees them: contents are found through inodes alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { syncAtOnce } from '@qsfs/io';
import { SimulatedClock, SimulatedDisk, SimulatedRandom } from '@qsfs/io/simulated';
import { openEngine } from '@qsfs/zdb';
import { EngineStore, openVolume } from '@qsfs/zdbfs';
import { SyncState } from '../src/filesystem/sync-state.ts';

const NOTHING = { 'zdbfs-meta': [], 'zdbfs-data': [] };
const CALLER = { userId: 0, groupId: 0, processId: 1 };
const ROOT = 1;

function open(disk: SimulatedDisk, absent: ReadonlySet<number>) {
  const engine = openEngine({
    disk,
    clock: new SimulatedClock(),
    random: new SimulatedRandom(1),
    dataDirectory: '/data',
    indexDirectory: '/index',
    mode: 'seq',
    dataSizeBytes: 2 ** 20,
    sync: 'none',
    presence: { has: (name, file) => name !== 'zdbfs-data' || !absent.has(file) },
  });
  const volume = openVolume(new EngineStore(engine, disk, '/data', false), {
    clock: new SimulatedClock(),
    random: new SimulatedRandom(2),
    rootOwner: { ...CALLER, mode: 0o755 },
  });
  return { engine, volume, state: new SyncState(disk, engine, '/index') };
}

test('with the deletion markers in a discarded file gone and the index lost, no program sees what was removed', () => {
  const disk = new SimulatedDisk();
  const absent = new Set<number>();
  const { engine, volume, state } = open(disk, absent);
  disk.makeDirectory('/staging');
  const data = engine.namespace('zdbfs-data')!;
  const put = (name: string, fill: number) => {
    const { inode } = volume.makeNode(ROOT, name, 0o100644, 0, CALLER);
    volume.write(inode, 0, new Uint8Array(200_000).fill(fill), CALLER, false);
    volume.forget(inode, 1);
  };
  const makeState = (discard: readonly number[] = []) => {
    volume.idle();
    syncAtOnce(volume.checkpointSteps());
    syncAtOnce(volume.emptySteps());
    syncAtOnce(state.makeSteps('/staging', NOTHING, [], { hollow: [], discard }));
  };
  put('kept', 1);
  put('removed', 2);
  makeState();
  const ids = Array.from({ length: data.nextId }, (_, id) => id);
  const alive = () => ids.filter((id) => data.lengthOfId(id) !== undefined).length;
  const before = alive();
  put('passing', 3);
  volume.unlink(ROOT, 'removed');
  volume.unlink(ROOT, 'passing');
  makeState();
  assert.ok(alive() < before);
  const { usedBytes } = volume.statistics();
  // Safe on the backends, and evicted: then nothing in it is needed any more.
  absent.add(1);
  makeState([1]);
  assert.ok(!disk.stat(data.dataPath(1)), 'it is discarded');
  volume.close();
  engine.close();
  const index = disk.open('/index/zdbfs-data/i0', 'write');
  index.write(new Uint8Array(27).fill(0x5a), 0);
  index.close();
  const again = open(disk, absent);
  const found = again.engine.namespace('zdbfs-data')!;
  assert.equal(ids.filter((id) => found.lengthOfId(id) !== undefined).length, before, 'the record is back');
  const names: string[] = [];
  again.volume.listDirectory(ROOT, 0, (name) => names.push(name) > 0, false);
  assert.deepEqual(
    names.filter((name) => !name.startsWith('.')),
    ['kept'],
  );
  assert.equal(again.volume.lookup(ROOT, 'removed'), undefined);
  const inode = again.volume.lookup(ROOT, 'kept')?.inode ?? 0;
  const content = new Uint8Array(200_000);
  again.volume.read(inode, 0, content);
  assert.deepEqual(content, new Uint8Array(200_000).fill(1));
  assert.equal(again.volume.statistics().usedBytes, usedBytes);
  assert.deepEqual(again.volume.verify().problems, []);
  again.engine.close();
});
