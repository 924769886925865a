// Dead records are given back without moving anything: their payloads become holes, wholly dead files go. What is alive stays readable, the
// store opens as before, an index that is lost is made anew, and a crash at any change brings nothing back and takes nothing away.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { syncAtOnce } from '@qsfs/io';
import { crashPolicies, SimulatedCrash, SimulatedDisk } from '@qsfs/io/simulated';
import { type Engine, type Namespace, NotLocal } from '../src/index.ts';
import { idKey, openSimulated } from './scratch.ts';

const NAME = 'default';

function open(disk: SimulatedDisk, log: string[] = []): Engine {
  return openSimulated(disk, {
    mode: 'seq',
    syncOnRotation: true,
    indexTailBytes: 300,
    events: { log: (level, message) => log.push(`${level} ${message}`) },
  });
}

const payload = (id: number, sizeBytes: number) => Buffer.alloc(sizeBytes, `${id},`);

/** Inserts records of changing sizes over several data files. @returns their sizes by id */
function fill(namespace: Namespace, count: number): Map<number, number> {
  const sizes = new Map<number, number>();
  for (let number = 0; number < count; number++) {
    const size = [100, 5000, 30_000, 9000, 120_000][number % 5]!;
    const id = namespace.insertId(payload(namespace.nextId, size));
    sizes.set(id, size);
  }
  namespace.rotate();
  return sizes;
}

function removeAll(namespace: Namespace, sizes: Map<number, number>, goes: (id: number) => boolean): void {
  for (const id of [...sizes.keys()].filter(goes)) {
    assert.ok(namespace.removeId(id));
    sizes.delete(id);
  }
}

function check(namespace: Namespace, sizes: ReadonlyMap<number, number>, gone: Iterable<number>): void {
  for (const [id, size] of sizes) assert.ok(payload(id, size).equals(namespace.readId(id)!), `id ${id}`);
  for (const id of gone) assert.equal(namespace.readId(id), undefined, `id ${id}`);
  assert.equal(namespace.entries, sizes.size);
}

const allocated = (disk: SimulatedDisk, namespace: Namespace) =>
  namespace
    .dataFiles()
    .reduce((sum, { file }) => sum + (disk.stat(namespace.dataPath(file))?.allocatedBytes ?? 0), 0);

const filesOf = (namespace: Namespace) => namespace.dataFiles().map(({ file }) => file);

test('the blocks of dead records are free at once, everything else stays as it is', () => {
  const disk = new SimulatedDisk();
  const engine = open(disk);
  const namespace = engine.namespace(NAME)!;
  const sizes = fill(namespace, 200);
  const all = [...sizes.keys()];
  removeAll(namespace, sizes, (id) => id % 3 !== 0);
  namespace.updateId(0, payload(0, 120_000));
  sizes.set(0, 120_000);
  engine.commit();
  const before = allocated(disk, namespace);
  const dead = namespace.dataFiles().reduce((sum, file) => sum + file.unseenDeadBytes, 0);
  syncAtOnce(namespace.hollowSteps(filesOf(namespace)));
  const freed = before - allocated(disk, namespace);
  assert.ok(freed > dead * 0.8, `${freed} of ${dead} dead bytes`);
  const holes = namespace.dataFiles().reduce((sum, file) => sum + file.holeBytes, 0);
  assert.equal(holes, freed);
  check(
    namespace,
    sizes,
    all.filter((id) => id % 3 !== 0),
  );
  // Nothing new: nothing is looked at.
  assert.ok(namespace.dataFiles().every((file) => file.unseenDeadBytes < 4096));
  const changes = disk.changes;
  syncAtOnce(namespace.hollowSteps(filesOf(namespace)));
  assert.equal(disk.changes, changes);
  engine.close();
  const log: string[] = [];
  const again = open(disk.kill(), log);
  check(
    again.namespace(NAME)!,
    sizes,
    all.filter((id) => id % 3 !== 0),
  );
  assert.deepEqual(log, []);
  again.close();
});

test('a walk over the raw entries goes on behind hollow records, and says what they are', () => {
  const engine = open(new SimulatedDisk());
  const namespace = engine.namespace(NAME)!;
  const sizes = fill(namespace, 60);
  const count = sizes.size;
  removeAll(namespace, sizes, (id) => id % 3 !== 0);
  namespace.rotate();
  syncAtOnce(namespace.hollowSteps(filesOf(namespace)));
  const seen = { whole: 0, deleted: 0, givenUp: 0 };
  for (const { file, sizeBytes } of namespace.dataFiles()) {
    for (let offset = 28; offset < sizeBytes; ) {
      const entry = namespace.rawEntry(file, offset);
      if (entry.flags === 1) seen.deleted++;
      else if (entry.flags === 2) seen.givenUp++;
      else seen.whole++;
      if (entry.flags === 2) assert.equal(namespace.info(entry.key), undefined);
      offset = entry.nextOffset;
    }
  }
  assert.equal(seen.deleted, count - sizes.size);
  assert.equal(seen.whole + seen.givenUp, count);
  assert.ok(seen.givenUp > 0 && seen.whole >= sizes.size);
  engine.close();
});

test('an index file that is lost is made anew from hollow files: the same records, and no other ids', () => {
  for (const lost of [0, 1, 2]) {
    const disk = new SimulatedDisk();
    const engine = open(disk);
    const namespace = engine.namespace(NAME)!;
    const sizes = fill(namespace, 60);
    const all = [...sizes.keys()];
    removeAll(namespace, sizes, (id) => id % 4 !== 1);
    const { nextId } = namespace;
    syncAtOnce(namespace.hollowSteps(filesOf(namespace)));
    const path = namespace.indexPath(lost);
    engine.close();
    disk.remove(path);
    const again = open(disk.kill());
    const found = again.namespace(NAME)!;
    check(
      found,
      sizes,
      all.filter((id) => id % 4 !== 1),
    );
    assert.equal(found.nextId, nextId, `without i${lost}`);
    again.close();
  }
});

test('files in which nothing is alive go, here or not; deletion markers in them stay', () => {
  const disk = new SimulatedDisk();
  const engine = open(disk);
  const namespace = engine.namespace(NAME)!;
  const first = fill(namespace, 20);
  const kept = [...first.keys()][0]!;
  const second = fill(namespace, 20);
  const secondFiles = [...second.keys()].map((id) => namespace.info(idKey(id))!.dataFile);
  // These markers are in a file that goes.
  const gone = [...first.keys()].slice(1);
  removeAll(namespace, first, (id) => id !== kept);
  const short = namespace.insertId(payload(namespace.nextId, 5000));
  namespace.removeId(short);
  gone.push(short);
  namespace.rotate();
  const markers = namespace.activeFile - 1;
  gone.push(...second.keys());
  removeAll(namespace, second, () => true);
  namespace.rotate();
  const onlyMarkers = namespace.activeFile - 1;
  syncAtOnce(namespace.discardSteps(filesOf(namespace)));
  assert.ok(filesOf(namespace).includes(onlyMarkers), 'moving nothing but markers would give nothing');
  const rest = filesOf(namespace);
  for (const file of [...secondFiles, markers]) assert.ok(!rest.includes(file), `d${file} is still there`);
  check(namespace, first, gone);
  engine.close();
  for (const file of [0, 1]) disk.remove(`/index/${NAME}/i${file}`);
  const again = open(disk.kill());
  check(again.namespace(NAME)!, first, gone);
  again.close();
});

test('a crash at any change while space is given back takes nothing away and brings nothing back', () => {
  const script = (disk: SimulatedDisk, done: (promised: boolean) => void) => {
    const engine = open(disk);
    const namespace = engine.namespace(NAME)!;
    const sizes = fill(namespace, 25);
    namespace.sync();
    const before = disk.changes;
    removeAll(namespace, sizes, (id) => id % 5 !== 2);
    syncAtOnce(namespace.hollowSteps(filesOf(namespace)));
    done(false);
    removeAll(namespace, sizes, (id) => id < 15);
    namespace.insertId(payload(namespace.nextId, 200));
    syncAtOnce(namespace.discardSteps(filesOf(namespace)));
    syncAtOnce(namespace.hollowSteps(filesOf(namespace)));
    done(true);
    return before;
  };
  const whole = new SimulatedDisk();
  const before = script(whole, () => {});
  for (let point = before; point < whole.changes; point++) {
    const disk = new SimulatedDisk();
    let stage = 0;
    disk.crashAfter(point, point % 3 === 0 ? 0 : 7);
    assert.throws(() => script(disk, () => void stage++), SimulatedCrash);
    for (const policy of crashPolicies(point)) {
      const engine = open(disk.crash(policy));
      const namespace = engine.namespace(NAME)!;
      for (let id = 0; id < 25; id++) {
        let found: Uint8Array | undefined;
        try {
          found = namespace.readId(id);
        } catch (error) {
          assert.fail(`change ${point}, ${policy.name}, id ${id}: ${error}`);
        }
        const removedFirst = id % 5 !== 2;
        const where = `change ${point}, ${policy.name}, stage ${stage}, id ${id}`;
        if (found) {
          assert.ok(payload(id, found.length).equals(found), where);
          assert.ok(!(stage > 0 && removedFirst), `${where}: is back`);
        } else assert.ok(removedFirst || (stage > 0 && id < 15), `${where}: is lost`);
      }
      engine.close();
    }
  }
});

test('a file that is not here is left alone, and without user mode there is nothing to do', () => {
  const disk = new SimulatedDisk();
  const absent = new Set<number>();
  const engine = openSimulated(disk, {
    mode: 'seq',
    presence: { has: (_, file) => !absent.has(file) },
  });
  const namespace = engine.namespace(NAME)!;
  const sizes = fill(namespace, 40);
  absent.add(0);
  removeAll(namespace, sizes, (id) => id % 2 === 0);
  syncAtOnce(namespace.hollowSteps(filesOf(namespace)));
  const [first, second] = namespace.dataFiles();
  assert.equal(first!.holeBytes, 0);
  assert.ok(second!.holeBytes > 0);
  absent.clear();
  for (const [id, size] of sizes) assert.ok(payload(id, size).equals(namespace.readId(id)!));
  assert.throws(() => {
    absent.add(0);
    namespace.readId(1);
  }, NotLocal);
  engine.close();
  const user = openSimulated(new SimulatedDisk(), { mode: 'user' }).namespace(NAME)!;
  assert.throws(() => syncAtOnce(user.hollowSteps([0])), /only sequential/);
});
