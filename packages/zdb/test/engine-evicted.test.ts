// Data files that are not here, or not whole: evicted, or away. What the index knows of them is served, what needs them says so (`NotLocal`), and
// nothing is changed before they are here.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { SLOT_BYTES, slotOffset } from '../src/engine/format/index-format.ts';
import { NotLocal, type Presence } from '../src/index.ts';
import { openScratch, scratchDirectory } from './scratch.ts';

test('index entries of an evicted data file are used as they are, without reading it', (context) => {
  const directory = scratchDirectory(context);
  const first = openScratch(directory, { mode: 'seq', dataSizeBytes: 524_288 });
  const namespace = first.namespace('default')!;
  const payloads = Array.from({ length: 12 }, (_, at) => Buffer.alloc(100_000, `${at}`));
  for (const payload of payloads) namespace.insertId(payload);
  namespace.updateId(2, Buffer.from('new'));
  first.commit();
  first.close();
  const path = join(directory, 'data', 'default', 'd0');
  const whole = readFileSync(path);
  writeFileSync(path, Buffer.alloc(whole.length));
  const asked: string[] = [];
  let here = false;
  const presence: Presence = {
    has(name, file, offset, lengthBytes) {
      asked.push(`${name} ${file} ${offset} ${lengthBytes}`);
      return file !== 0 || here;
    },
  };
  const engine = openScratch(directory, { mode: 'seq', dataSizeBytes: 524_288, presence });
  const again = engine.namespace('default')!;
  assert.equal(again.entries, 12);
  assert.equal(again.lengthOfId(0), 100_000);
  assert.equal(Buffer.from(again.readId(2)!).toString(), 'new');
  let missing: NotLocal | undefined;
  assert.throws(
    () => again.readId(0),
    (error) => {
      missing = error as NotLocal;
      return error instanceof NotLocal;
    },
  );
  assert.deepEqual([missing!.file, missing!.offset, missing!.lengthBytes], [0, 28, 100_026]);
  assert.ok(again.removeId(1), 'removing needs no payload');
  again.updateId(3, Buffer.from('three'));
  engine.commit();
  writeFileSync(path, whole);
  here = true;
  assert.deepEqual(Buffer.from(again.readId(0)!), payloads[0]);
});

test('a data file of which the beginning is evicted is not looked through for what stands behind its end', (context) => {
  const directory = scratchDirectory(context);
  const first = openScratch(directory, { mode: 'seq', dataSizeBytes: 524_288 });
  for (let id = 0; id < 12; id++) first.namespace('default')!.insertId(Buffer.alloc(100_000, `${id}`));
  first.close();
  const path = join(directory, 'data', 'default', 'd0');
  const size = readFileSync(path).length;
  const evicted = Buffer.concat([Buffer.alloc(size), Buffer.alloc(40, 0xff)]);
  writeFileSync(path, evicted);
  const presence: Presence = { has: (_, file, offset) => file !== 0 || offset >= size };
  const engine = openScratch(directory, { mode: 'seq', dataSizeBytes: 524_288, presence });
  const again = engine.namespace('default')!;
  assert.equal(again.entries, 12);
  assert.throws(() => again.readId(0), NotLocal);
  assert.equal(again.readId(11)![0], 49);
  engine.close();
  assert.deepEqual(readFileSync(path), evicted, 'untouched');
});

test('a restored store whose last data file is not here starts a new pair and keeps all ids', (context) => {
  const directory = scratchDirectory(context);
  const first = openScratch(directory, { mode: 'seq' });
  const namespace = first.namespace('default')!;
  for (let id = 0; id < 5; id++) assert.equal(namespace.insertId(Buffer.from(`payload ${id}`)), id);
  first.close();
  const path = join(directory, 'data', 'default', 'd0');
  const size = readFileSync(path).length;
  writeFileSync(path, Buffer.alloc(size));
  const presence: Presence = { has: (_, file) => file !== 0 };
  const engine = openScratch(directory, { mode: 'seq', presence });
  const again = engine.namespace('default')!;
  assert.equal(again.activeFile, 1);
  assert.equal(again.entries, 5);
  assert.equal(again.insertId(Buffer.from('next')), 5);
  engine.commit();
  assert.throws(() => again.readId(4), NotLocal);
  assert.deepEqual(readFileSync(path), Buffer.alloc(size), 'untouched');
});

test('a set that must compare with an old value that is not here changes nothing until it is', (context) => {
  const directory = scratchDirectory(context);
  let here = true;
  const presence: Presence = { has: () => here };
  const engine = openScratch(directory, { mode: 'user', presence, dataSizeBytes: 524_288 });
  const namespace = engine.namespace('default')!;
  namespace.set(Buffer.from('k'), Buffer.from('old'), 7);
  namespace.rotate();
  here = false;
  const before = [namespace.activeOffset, namespace.nextId, namespace.activeFile];
  // Same length and checksum: only the bytes can tell.
  assert.throws(() => namespace.set(Buffer.from('k'), Buffer.from('old'), 8), NotLocal);
  assert.deepEqual([namespace.activeOffset, namespace.nextId, namespace.activeFile], before);
  assert.equal(engine.pendingBytes, 0);
  assert.ok(namespace.set(Buffer.from('k'), Buffer.from('other'), 8), 'another length needs no look');
  assert.ok(namespace.set(Buffer.from('k'), Buffer.from('other'), 9, false), 'not compared');
  here = true;
  engine.commit();
  assert.equal(Buffer.from(namespace.get(Buffer.from('k'))!).toString(), 'other');
});

test('a closed data file that was removed is told as not local, and is served again when it is back', (context) => {
  const directory = scratchDirectory(context);
  const engine = openScratch(directory, { mode: 'user' });
  const namespace = engine.namespace('default')!;
  const key = Buffer.from('k');
  namespace.set(key, Buffer.from('value'));
  namespace.rotate();
  assert.ok(namespace.get(key), 'the descriptor is cached now');
  const path = join(directory, 'data', 'default', 'd0');
  renameSync(path, `${path}.away`);
  engine.closeIdleFiles();
  assert.throws(() => namespace.get(key), NotLocal);
  assert.throws(() => namespace.check(key), NotLocal);
  assert.throws(() => namespace.history(key), NotLocal);
  assert.throws(() => namespace.rawEntry(0, 28), NotLocal);
  assert.equal(namespace.info(key)?.lengthBytes, 5);
  renameSync(`${path}.away`, path);
  assert.equal(Buffer.from(namespace.get(key)!).toString(), 'value');
});

/** What can happen to an index file of a closed pair that evicted data files know more of. */
const DAMAGES: Readonly<Record<string, (index: Buffer) => Buffer>> = {
  'its header is damaged': (index) => Buffer.concat([Buffer.alloc(27, 0x5a), index.subarray(27)]),
  'it is empty': () => Buffer.alloc(0),
  'it ends within a slot': (index) => index.subarray(0, index.length - 7),
  'it lost slots': (index) => index.subarray(0, index.length - 3 * SLOT_BYTES),
  'a slot is damaged': (index) =>
    Buffer.concat([
      index.subarray(0, slotOffset(2)),
      Buffer.alloc(SLOT_BYTES),
      index.subarray(slotOffset(3)),
    ]),
};

for (const [what, damage] of Object.entries(DAMAGES)) {
  test(`an index file whose repair needs an evicted data file, ${what}: it is asked for before anything is changed`, (context) => {
    const directory = scratchDirectory(context);
    const first = openScratch(directory, { mode: 'seq' });
    const namespace = first.namespace('default')!;
    const expected = new Map<number, string>();
    const insert = (text: string) => expected.set(namespace.insertId(Buffer.from(text)), text);
    for (let record = 0; record < 9; record++) insert(`record ${record}`);
    namespace.rotate();
    namespace.updateId(2, Buffer.from('new'));
    expected.set(2, 'new');
    for (const id of [7, 8]) {
      namespace.removeId(id);
      expected.delete(id);
    }
    for (let record = 9; record < 12; record++) insert(`record ${record}`);
    namespace.rotate();
    insert('last');
    first.close();
    const data = join(directory, 'data', 'default', 'd1');
    const index = join(directory, 'index', 'default', 'i0');
    const whole = readFileSync(data);
    writeFileSync(data, Buffer.alloc(whole.length));
    writeFileSync(index, damage(readFileSync(index)));
    const before = readFileSync(index);
    const here = new Set([0, 2, 3]);
    const presence: Presence = { has: (_, file) => here.has(file) };
    const open = () => openScratch(directory, { mode: 'seq', presence });
    for (let attempt = 0; attempt < 2; attempt++) {
      assert.throws(open, (error) => {
        assert.ok(error instanceof NotLocal);
        assert.deepEqual([error.file, error.offset, error.lengthBytes], [1, 0, whole.length]);
        return true;
      });
    }
    assert.deepEqual(readFileSync(index), before);
    assert.deepEqual(readdirSync(join(directory, 'index', 'default')).sort(), [
      'i0',
      'i1',
      'i2',
      'zdb-namespace',
    ]);
    writeFileSync(data, whole);
    here.add(1);
    const again = open().namespace('default')!;
    const found = new Map<number, string>();
    for (let id = 0; id < again.nextId; id++) {
      const payload = again.readId(id);
      if (payload) found.set(id, Buffer.from(payload).toString());
    }
    assert.deepEqual(found, expected);
  });
}
