// What is alive in a data file is written again at the end of the log, so that the file can go, although most of it is not here. Nothing is lost on the way,
// wherever it stops.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { syncAtOnce } from '@qsfs/io';
import { crashPolicies, SimulatedCrash, SimulatedDisk } from '@qsfs/io/simulated';
import { type Engine, type EngineOptions, type Namespace, NotLocal, StoreError } from '../src/index.ts';
import { openSimulated } from './scratch.ts';

const NAME = 'default';
const RECORDS = 20;

function open(disk: SimulatedDisk, options: Partial<EngineOptions> = {}): Engine {
  return openSimulated(disk, {
    mode: 'seq',
    syncOnRotation: true,
    indexTailBytes: 300,
    ...options,
  });
}

const payload = (id: number) => Buffer.alloc([100, 120_000, 3000, 20_000][id % 4]!, `${id},`);

/** Two closed data files of which every fourth record is alive, and an active one. @returns the ids that are alive */
function sparse(namespace: Namespace): number[] {
  for (let half = 0; half < 2; half++) {
    for (let number = 0; number < RECORDS / 2; number++) namespace.insertId(payload(namespace.nextId));
    namespace.rotate();
  }
  namespace.sync();
  const alive: number[] = [];
  for (let id = 0; id < RECORDS; id++) {
    if (id % 4 === 1) alive.push(id);
    else namespace.removeId(id);
  }
  namespace.sync();
  return alive;
}

function check(namespace: Namespace, alive: readonly number[], where = ''): void {
  for (let id = 0; id < RECORDS; id++) {
    const found = namespace.readId(id);
    if (alive.includes(id)) assert.ok(found && payload(id).equals(found), `${where} id ${id}`);
    else assert.equal(found, undefined, `${where} id ${id}`);
  }
  assert.equal(namespace.entries, alive.length, where);
}

const filesOf = (namespace: Namespace) => namespace.dataFiles().map(({ file }) => file);

test('what is alive moves to the end, and the file can go; the store opens as before', () => {
  const disk = new SimulatedDisk();
  const engine = open(disk);
  const namespace = engine.namespace(NAME)!;
  const alive = sparse(namespace);
  const { nextId } = namespace;
  let moved = 0;
  for (const file of [0, 1]) {
    syncAtOnce(
      namespace.relocateSteps(file, (bytes) => {
        moved += bytes;
      }),
    );
    assert.equal(namespace.dataFiles().find((info) => info.file === file)?.liveBytes, 0);
  }
  assert.equal(
    moved,
    alive.reduce((sum, id) => sum + payload(id).length, 0),
  );
  check(namespace, alive);
  assert.ok(namespace.dirtyIndexFiles().includes(0), 'its index files have changed');
  // Again, and of the file that is written: nothing is there to be moved.
  for (const file of [0, 1, namespace.activeFile, 99])
    syncAtOnce(namespace.relocateSteps(file, (bytes) => assert.equal(bytes, 0)));
  syncAtOnce(namespace.discardSteps([0, 1]));
  assert.ok(!filesOf(namespace).includes(0) && !filesOf(namespace).includes(1));
  check(namespace, alive);
  engine.close();
  const log: string[] = [];
  const again = open(disk.kill(), { events: { log: (level, message) => log.push(`${level} ${message}`) } });
  check(again.namespace(NAME)!, alive);
  assert.deepEqual(log, []);
  assert.ok(again.namespace(NAME)!.insertId(payload(1)) >= nextId, 'ids stay new');
  again.close();
});

test('only the records themselves have to be here; as long as one is not, nothing is moved', () => {
  const disk = new SimulatedDisk();
  const here: { offset: number; length: number }[] = [];
  let isEvicted = false;
  const engine = open(disk, {
    presence: {
      has: (_, file, offset, length) =>
        !isEvicted ||
        file > 0 ||
        here.some((range) => range.offset <= offset && offset + length <= range.offset + range.length),
    },
  });
  const namespace = engine.namespace(NAME)!;
  const alive = sparse(namespace);
  // All of file 0 but its live records is gone.
  const file = disk.open(namespace.dataPath(0), 'write');
  const kept = new Uint8Array(file.size());
  file.read(kept, 0);
  const holes = new Uint8Array(file.size());
  isEvicted = true;
  for (let misses = 0; ; misses++) {
    const { liveBytes } = namespace.dataFiles()[0]!;
    try {
      syncAtOnce(namespace.relocateSteps(0, () => {}));
      assert.ok(misses > 1, 'each live record was asked for');
      break;
    } catch (error) {
      assert.ok(error instanceof NotLocal && error.file === 0);
      assert.equal(namespace.dataFiles()[0]!.liveBytes, liveBytes, 'nothing was moved');
      here.push({ offset: error.offset, length: error.lengthBytes });
      holes.set(kept.subarray(error.offset, error.offset + error.lengthBytes), error.offset);
      file.write(holes, 0);
    }
  }
  syncAtOnce(namespace.discardSteps([0]));
  assert.ok(!filesOf(namespace).includes(0));
  check(namespace, alive);
  file.close();
  engine.close();
});

test('a damaged record stays, and its file with it', () => {
  const disk = new SimulatedDisk();
  const engine = open(disk);
  const namespace = engine.namespace(NAME)!;
  const alive = sparse(namespace);
  const damaged = alive[1]!;
  const file = disk.open(namespace.dataPath(0), 'write');
  const content = new Uint8Array(file.size());
  file.read(content, 0);
  const at = Buffer.from(content).indexOf(payload(damaged));
  file.write(Uint8Array.of(1), at + 7);
  file.close();
  syncAtOnce(namespace.relocateSteps(0, () => {}));
  syncAtOnce(namespace.discardSteps([0]));
  assert.ok(filesOf(namespace).includes(0));
  assert.throws(() => namespace.readId(damaged), StoreError);
  for (const id of alive.filter((each) => each !== damaged))
    assert.ok(payload(id).equals(namespace.readId(id)!));
  engine.close();
});

test('a full disk in the middle: what was moved is moved, what was not is where it was', () => {
  const disk = new SimulatedDisk();
  const engine = open(disk);
  const namespace = engine.namespace(NAME)!;
  const alive = sparse(namespace);
  const files = filesOf(namespace).filter((file) => file < namespace.activeFile);
  disk.fail({ code: 'ENOSPC', kinds: ['create'], matches: ({ path }) => path.includes(`/${NAME}/`) });
  let failures = 0;
  for (const file of files) {
    try {
      syncAtOnce(namespace.relocateSteps(file, () => {}));
    } catch {
      failures++;
    }
    check(namespace, alive);
  }
  for (const file of files) syncAtOnce(namespace.relocateSteps(file, () => {}));
  syncAtOnce(namespace.discardSteps(files));
  check(namespace, alive, `after ${failures} failures`);
  engine.close();
  const again = open(disk.kill());
  check(again.namespace(NAME)!, alive);
  again.close();
});

test('a crash at any change while records move and their files go takes none of them away', () => {
  const script = (disk: SimulatedDisk) => {
    const engine = open(disk);
    const namespace = engine.namespace(NAME)!;
    const alive = sparse(namespace);
    const before = disk.changes;
    const files = filesOf(namespace).filter((file) => file < namespace.activeFile);
    for (const file of files) syncAtOnce(namespace.relocateSteps(file, () => {}));
    syncAtOnce(namespace.discardSteps(files));
    namespace.rotate();
    engine.commit();
    return { before, alive };
  };
  const whole = new SimulatedDisk();
  const { before, alive } = script(whole);
  assert.ok(whole.changes > before + 20, `${whole.changes - before} changes`);
  for (let point = before; point < whole.changes; point++) {
    const disk = new SimulatedDisk();
    disk.crashAfter(point, point % 3 === 0 ? 0 : 7);
    assert.throws(() => script(disk), SimulatedCrash);
    for (const left of [disk.kill(), ...[...crashPolicies(point)].map((policy) => disk.crash(policy))]) {
      const engine = open(left);
      check(engine.namespace(NAME)!, alive, `change ${point}`);
      engine.close();
    }
  }
});

test('ids that moving has used up stay used up, whatever a loss of power takes', () => {
  for (const way of ['relocate', 'compact'] as const) {
    const disk = new SimulatedDisk();
    const engine = open(disk);
    const namespace = engine.namespace(NAME)!;
    const alive = sparse(namespace);
    if (way === 'compact') namespace.compact(0.9, 2 ** 30);
    else {
      // The second one is cut short: what was moved of it counts as well.
      syncAtOnce(namespace.relocateSteps(0, () => {}));
      const steps = namespace.relocateSteps(1, () => {});
      let left = 2;
      for (let step = steps.next(); !step.done && left > 0; step = steps.next(), left--) step.value?.sync();
    }
    namespace.sync();
    const { nextId } = namespace;
    for (let seed = 0; seed < 10; seed++) {
      for (const policy of crashPolicies(seed)) {
        const again = open(disk.crash(policy));
        const found = again.namespace(NAME)!;
        check(found, alive, `${way}, ${policy.name}`);
        assert.ok(found.nextId >= nextId, `${way}, ${policy.name}: ${found.nextId}, was ${nextId}`);
        again.close();
      }
    }
  }
});
