// What the engine promises beyond storing and finding: limits, rotation, names, settings, locks, modes, cursors, descriptors.
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { realClock } from '@qsfs/io';
import { SimulatedCrash, SimulatedDisk } from '@qsfs/io/simulated';
import { decodeDescriptor, encodeDescriptor } from '../src/engine/format/descriptor-format.ts';
import { type Engine, StoreError, type StoreErrorReason } from '../src/index.ts';
import { idKey, openScratch, openSimulated, scratchDirectory } from './scratch.ts';

const K = Buffer.from('k');
const NONE = new Uint8Array(0);

function reason(expected: StoreErrorReason, text = /./) {
  return (error: unknown): boolean =>
    error instanceof StoreError && error.reason === expected && text.test(error.message);
}

test('rotates when size and payload would pass the data size, counting neither key nor header', (context) => {
  const engine = openScratch(scratchDirectory(context), { dataSizeBytes: 524_288, mode: 'user' });
  const namespace = engine.namespace('default')!;
  namespace.set(K, Buffer.alloc(524_260));
  assert.equal(namespace.activeFile, 0);
  namespace.set(Buffer.from('l'), Buffer.alloc(1));
  assert.equal(namespace.activeFile, 1);
  assert.ok(namespace.remove(K), 'a deletion does not rotate');
  assert.equal(namespace.activeFile, 1);
  engine.commit();
  assert.deepEqual(
    namespace
      .dataFiles()
      .map(({ file, sizeBytes, liveBytes, closed }) => [file, sizeBytes, liveBytes, closed]),
    [
      [0, 28 + 19 + 524_260, 0, true],
      [1, 28 + 20 + 19, 20, false],
    ],
  );
});

test('a first payload larger than the data size leaves the first pair empty', (context) => {
  const engine = openScratch(scratchDirectory(context), { dataSizeBytes: 524_288, mode: 'seq' });
  const namespace = engine.namespace('default')!;
  assert.equal(namespace.insertId(Buffer.alloc(524_261)), 0);
  assert.equal(namespace.activeFile, 1);
  engine.commit();
  assert.equal(namespace.readId(0)!.length, 524_261);
});

test('rotates even when the set then stores nothing', (context) => {
  const engine = openScratch(scratchDirectory(context), { dataSizeBytes: 524_288, mode: 'user' });
  const namespace = engine.namespace('default')!;
  const payload = Buffer.alloc(400_000, 1);
  namespace.set(K, payload);
  assert.equal(namespace.set(K, payload), undefined);
  assert.equal(namespace.activeFile, 1);
  assert.throws(() => namespace.set(NONE, payload), reason('key-needed'));
});

test('one batch may span several pairs of files, and is taken back from all of them', (context) => {
  const directory = scratchDirectory(context);
  const rotations: string[] = [];
  const engine = openScratch(directory, {
    dataSizeBytes: 524_288,
    mode: 'seq',
    events: { rotated: (name, closed, active) => rotations.push(`${name} ${closed} ${active}`) },
  });
  const namespace = engine.namespace('default')!;
  const payloads = Array.from({ length: 5 }, (_, at) => Buffer.alloc(300_000, at));
  for (const payload of payloads) namespace.insertId(payload);
  namespace.updateId(0, Buffer.from('first, changed in the same batch'));
  namespace.removeId(1);
  assert.equal(namespace.activeFile, 4);
  assert.deepEqual(rotations, [], 'nothing is told before it is written');
  assert.equal(Buffer.from(namespace.readId(0)!).toString(), 'first, changed in the same batch');
  engine.commit();
  assert.deepEqual(rotations, ['default 0 1', 'default 1 2', 'default 2 3', 'default 3 4']);
  engine.close();
  const again = openScratch(directory, { mode: 'seq' }).namespace('default')!;
  assert.equal(Buffer.from(again.readId(0)!).toString(), 'first, changed in the same batch');
  assert.equal(again.readId(1), undefined);
  for (const id of [2, 3, 4]) assert.deepEqual(Buffer.from(again.readId(id)!), payloads[id]);
});

test('refuses what the limits forbid, each with its reason', (context) => {
  const engine = openScratch(scratchDirectory(context));
  const user = engine.createNamespace('u', 'user');
  assert.throws(() => user.set(Buffer.alloc(256), K), reason('key-too-large'));
  assert.throws(() => user.set(K, Buffer.alloc(8 * 1024 * 1024 + 1)), reason('payload-too-large'));
  assert.ok(user.set(Buffer.alloc(255), Buffer.alloc(8 * 1024 * 1024)));
  assert.throws(() => user.insertId(K), reason('update-only', /seq mode/));
  user.configure({ maxSizeBytes: 8 * 1024 * 1024 + 10 });
  assert.throws(() => user.set(K, Buffer.alloc(11)), reason('full'));
  assert.ok(user.set(K, Buffer.alloc(10)));
  assert.throws(() => user.set(K, Buffer.alloc(11)), reason('full'));
  assert.ok(user.set(K, Buffer.alloc(9)));
  assert.ok(user.set(Buffer.from('empty'), NONE), 'an empty payload always fits');
  const seq = engine.createNamespace('s', 'seq');
  assert.throws(() => seq.set(idKey(0), K), reason('update-only'));
  assert.throws(() => seq.set(K, K), reason('update-only'));
  const id = seq.insertId(Buffer.from('x'));
  seq.configure({ worm: true });
  assert.throws(() => seq.set(idKey(id), Buffer.from('x')), reason('worm'), 'even the same value');
  assert.throws(() => seq.updateId(id, K), reason('worm'));
  assert.throws(() => seq.removeId(id), reason('worm'));
  assert.equal(seq.removeId(77), false);
  assert.throws(() => seq.updateId(77, K), reason('not-found'));
  assert.throws(() => seq.readIdInto(77, 0, Buffer.alloc(1)), reason('not-found'));
});

test('an id and the same id plus 2^32 are two ids (D12)', (context) => {
  const namespace = openScratch(scratchDirectory(context), { mode: 'seq' }).namespace('default')!;
  namespace.insertId(K);
  assert.equal(namespace.readId(2 ** 32), undefined);
  assert.equal(namespace.info(Buffer.from('0000000001000000', 'hex')), undefined);
  for (const id of [-1, 0.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY])
    assert.equal(namespace.readId(id), undefined);
});

test('payloads in parts are stored one behind the other, borrowed or not', (context) => {
  const namespace = openScratch(scratchDirectory(context), { mode: 'seq' }).namespace('default')!;
  const parts = [
    Buffer.from('head'),
    Buffer.alloc(5000, 'b'),
    NONE,
    Buffer.from('tail'),
    Buffer.alloc(3000, 'c'),
  ];
  const id = namespace.insertId(parts);
  const expected = Buffer.concat(parts);
  assert.deepEqual(Buffer.from(namespace.readId(id)!), expected, 'before the commit');
  const part = Buffer.alloc(20);
  assert.equal(namespace.readIdInto(id, 5000, part), 20);
  assert.deepEqual(part, expected.subarray(5000, 5020));
  namespace.rotate();
  assert.deepEqual(Buffer.from(namespace.readId(id)!), expected, 'after it');
  assert.equal(namespace.readIdInto(id, expected.length - 3, part), 3);
  assert.equal(namespace.readIdInto(id, expected.length, part), 0);
  assert.equal(namespace.readIdInto(id, expected.length + 9, part), 0);
});

test('a second opener is refused with a clear message, and may open when the first has closed', (context) => {
  const directory = scratchDirectory(context);
  const first = openScratch(directory);
  assert.throws(() => openScratch(directory), reason('locked-directory', /in use by another process/));
  first.close();
  first.close();
  assert.ok(openScratch(directory).namespace('default'));
  assert.throws(
    () => first.namespace('default')!.set(K, K),
    /closed/,
    'the closed engine does not write into the other',
  );
});

test('data and index in one directory, and impossible sizes, are refused', (context) => {
  const directory = scratchDirectory(context);
  const same = { dataDirectory: directory, indexDirectory: join(directory, '.') };
  assert.throws(() => openScratch(directory, same), reason('bad-files', /two directories/));
  for (const dataSizeBytes of [524_287, 4_294_967_295, Number.NaN])
    assert.throws(() => openScratch(directory, { dataSizeBytes }), RangeError);
});

test('names that would leave their directory, or forge lines, are refused', (context) => {
  const engine = openScratch(scratchDirectory(context));
  for (const name of ['', '.', '..', 'a/b', '/', 'a\0b', 'x'.repeat(129), 'é'.repeat(65), 'a\nb', '\udc80'])
    assert.throws(() => engine.createNamespace(name), reason('name-not-allowed'), JSON.stringify(name));
  for (const name of ['x'.repeat(128), 'with space', 'é', '...', '-rf'])
    assert.equal(engine.createNamespace(name).name, name);
  assert.throws(() => engine.createNamespace('é'), reason('exists'));
  assert.throws(() => engine.removeNamespace('default'), reason('name-not-allowed'));
  assert.throws(() => engine.removeNamespace('missing'), reason('not-found'));
  assert.throws(() => engine.reload('missing'), reason('not-found'));
});

test('namespaces are listed with default first and new ones in the first free slot', (context) => {
  const directory = scratchDirectory(context);
  const engine = openScratch(directory);
  for (const name of ['c', 'a', 'b']) engine.createNamespace(name);
  engine.removeNamespace('a');
  engine.createNamespace('z');
  const names = (one: Engine): string[] => one.namespaces().map((namespace) => namespace.name);
  assert.deepEqual(names(engine), ['default', 'c', 'z', 'b']);
  assert.ok(!existsSync(join(directory, 'data', 'a')) && !existsSync(join(directory, 'index', 'a')));
  engine.close();
  assert.deepEqual(names(openScratch(directory)), ['default', 'b', 'c', 'z']);
});

test('settings outlive the process, overrides and locks do not, and shortened passwords leave nothing behind (D15, D16)', (context) => {
  const directory = scratchDirectory(context);
  const engine = openScratch(directory);
  const updated: string[] = [];
  const namespace = engine.createNamespace('n');
  namespace.configure({
    password: Buffer.from('a very long secret'),
    public: false,
    worm: true,
    maxSizeBytes: 2 ** 64,
  });
  namespace.configure({ password: Buffer.from('short'), locked: true, frozen: true });
  namespace.override({ password: Buffer.from('of this run'), maxSizeBytes: 5 });
  assert.equal(Buffer.from(namespace.settings.password!).toString(), 'of this run');
  assert.deepEqual([namespace.settings.locked, namespace.settings.frozen], [true, true]);
  const descriptor = join(directory, 'index', 'n', 'zdb-namespace');
  assert.equal(readFileSync(descriptor).length, 15 + 1 + 5);
  assert.ok(!readFileSync(descriptor).includes('secret'));
  assert.equal(statSync(descriptor).mode & 0o777, 0o600);
  engine.close();
  const again = openScratch(directory, {
    events: { namespaceUpdated: (name) => updated.push(name) },
  }).namespace('n')!;
  assert.deepEqual(again.settings, {
    password: new Uint8Array(Buffer.from('short')),
    public: false,
    worm: true,
    maxSizeBytes: 2 ** 64,
    locked: false,
    frozen: false,
  });
  again.configure({ password: undefined });
  assert.equal(again.settings.password, undefined);
  assert.deepEqual(updated, ['n']);
});

test('the mode may change while nothing was written, in a mixed engine only', (context) => {
  const directory = scratchDirectory(context);
  const engine = openScratch(directory);
  const namespace = engine.namespace('default')!;
  assert.ok(namespace.fresh);
  namespace.configure({ mode: 'seq' });
  assert.equal(namespace.insertId(K), 0);
  assert.throws(() => namespace.configure({ mode: 'user' }), reason('mode-fixed'));
  engine.close();
  assert.equal(openScratch(directory).namespace('default')!.mode, 'seq');
  const single = openScratch(scratchDirectory(context), { mode: 'user' });
  assert.throws(() => single.namespace('default')!.configure({ mode: 'seq' }), reason('mode-fixed'));
  assert.throws(() => single.createNamespace('s', 'seq'), reason('mode-fixed'));
});

test('index files changed in place are listed until they are cleared; appends do not count', (context) => {
  const directory = scratchDirectory(context);
  const engine = openScratch(directory, { mode: 'user' });
  const namespace = engine.namespace('default')!;
  for (const name of ['a', 'b', 'c']) {
    namespace.set(Buffer.from(name), K);
    namespace.rotate();
  }
  assert.deepEqual(namespace.dirtyIndexFiles(), []);
  namespace.set(Buffer.from('c'), Buffer.from('new'));
  namespace.remove(Buffer.from('a'));
  assert.deepEqual(namespace.dirtyIndexFiles(), [0, 2]);
  namespace.clearDirty();
  assert.deepEqual(namespace.dirtyIndexFiles(), []);
});

test('cursors of other places, keys and lengths are refused', (context) => {
  const engine = openScratch(scratchDirectory(context));
  for (const mode of ['user', 'seq'] as const) {
    const namespace = engine.createNamespace(mode, mode);
    const keys = ['one', 'two', 'three'].map(
      (name) => namespace.set(mode === 'user' ? Buffer.from(name) : NONE, Buffer.from(`payload ${name}`))!,
    );
    namespace.set(keys[1]!, Buffer.from('second version'));
    const cursor = namespace.cursorOf(keys[0]!)!;
    assert.equal(namespace.cursorOf(Buffer.from('missing')), undefined);
    assert.equal(namespace.scan('forward', cursor, { entries: 1 })!.entries.length, 1);
    for (const [at, value] of [
      [0, 1],
      [1, 9],
      [5, 1],
      [9, 3],
      [13, 1],
    ] as const) {
      const bad = Uint8Array.from(cursor);
      bad[at] = bad[at]! ^ value;
      assert.throws(() => namespace.scan('forward', bad), reason('bad-cursor'), `${mode}, byte ${at}`);
      assert.throws(() => namespace.scan('backward', bad), reason('bad-cursor'));
    }
    assert.throws(() => namespace.scan('forward', cursor.subarray(1)), reason('bad-cursor'));
    const entry = namespace.history(keys[1]!);
    assert.equal(Buffer.from(namespace.history(keys[1]!, entry.older!).payload).toString(), 'payload two');
    assert.throws(() => namespace.history(keys[1]!, new Uint8Array(8)), reason('no-more-data'));
    assert.throws(() => namespace.history(keys[1]!, new Uint8Array(7)), reason('bad-cursor'));
    assert.throws(() => namespace.history(keys[2]!, entry.older!), reason('cursor-key'));
    assert.throws(() => namespace.history(NONE, entry.older!), reason('cursor-key'));
    assert.throws(() => namespace.history(Buffer.from('nothing')), reason('not-found'));
    const far = Buffer.alloc(8);
    far.writeUInt32LE(5, 0);
    assert.throws(() => namespace.history(keys[1]!, far), reason('cursor-entry'));
    assert.ok(namespace.remove(keys[0]!));
    assert.equal(
      namespace.scan('forward', cursor, { entries: 1 })!.entries.length,
      1,
      'a deleted entry still is a place',
    );
  }
});

test('raw entries: records, deletions, empty payloads, and positions that are none (D7)', (context) => {
  const namespace = openScratch(scratchDirectory(context), { mode: 'user' }).namespace('default')!;
  namespace.set(Buffer.from('key'), Buffer.from('value'), 11);
  namespace.set(Buffer.from('empty'), NONE, 12);
  namespace.remove(Buffer.from('key'), 13);
  const first = namespace.rawEntry(0, 28);
  assert.deepEqual(
    [Buffer.from(first.key).toString(), Buffer.from(first.payload!).toString(), first.timestamp, first.flags],
    ['key', 'value', 11, 0],
  );
  const second = namespace.rawEntry(0, first.nextOffset);
  assert.deepEqual([second.payload?.length, second.previous, second.timestamp], [0, 28, 12]);
  const third = namespace.rawEntry(0, second.nextOffset);
  assert.deepEqual([third.payload, third.flags, third.crc, third.timestamp], [undefined, 1, 0, 13]);
  assert.throws(() => namespace.rawEntry(0, third.nextOffset), reason('end-of-file'));
  assert.throws(() => namespace.rawEntry(1, 28), reason('no-such-file'));
  for (const offset of [0, 27, 29, 40, -1, Number.NaN])
    assert.throws(() => namespace.rawEntry(0, offset), reason('unreadable'));
});

test('keys with a prefix come by checksum of the key', (context) => {
  const namespace = openScratch(scratchDirectory(context), { mode: 'user' }).namespace('default')!;
  for (let number = 0; number < 5000; number++) namespace.set(Buffer.from(`key${number}`), K);
  const found = namespace.keysWithPrefix(Buffer.from('key12')).map((key) => Buffer.from(key).toString());
  assert.equal(found.length, 111);
  assert.equal(new Set(found).size, 111);
  assert.ok(found.every((key) => key.startsWith('key12')));
  assert.deepEqual(namespace.keysWithPrefix(Buffer.from('nothing')), []);
});

test('many keys of all lengths, removed and set again, stay apart', (context) => {
  const directory = scratchDirectory(context);
  let engine = openScratch(directory, { mode: 'user' });
  let namespace = engine.namespace('default')!;
  const key = (number: number): Buffer =>
    Buffer.alloc(1 + (number % 255), `${number}-`).fill(`${number}`, 0, Math.min(6, 1 + (number % 255)));
  const expected = new Map<string, string>();
  for (let number = 0; number < 30_000; number++) {
    const name = key(number % 20_000);
    if (number % 7 === 3) {
      assert.equal(namespace.remove(name), expected.delete(name.toString('hex')));
    } else {
      namespace.set(name, Buffer.from(`v${number}`));
      expected.set(name.toString('hex'), `v${number}`);
    }
    if (number % 500 === 0) engine.commit();
  }
  engine.commit();
  for (const round of [1, 2]) {
    assert.equal(namespace.entries, expected.size);
    for (const [hex, value] of expected)
      assert.equal(Buffer.from(namespace.get(Buffer.from(hex, 'hex'))!).toString(), value);
    if (round === 2) break;
    engine.close();
    engine = openScratch(directory, { mode: 'user' });
    namespace = engine.namespace('default')!;
  }
});

test('more closed files than descriptors', () => {
  const disk = new SimulatedDisk({ openFilesMax: 12 });
  const open = (): Engine => openSimulated(disk, { clock: realClock, mode: 'seq', sync: 'always' });
  const engine = open();
  const namespace = engine.namespace('default')!;
  for (let id = 0; id < 40; id++) {
    assert.equal(namespace.insertId(Buffer.from(`payload ${id}`)), id);
    namespace.rotate();
  }
  for (let id = 39; id >= 0; id -= 3) {
    assert.equal(Buffer.from(namespace.readId(id)!).toString(), `payload ${id}`);
    namespace.removeId(id);
  }
  engine.commit();
  engine.closeIdleFiles();
  engine.closeIdleFiles();
  assert.ok(disk.openFiles <= 4, `${disk.openFiles} files open`);
  engine.close();
  assert.equal(open().namespace('default')!.entries, 26);
});

test('a flush removes everything for good; a crash inside leaves all or nothing', () => {
  const open = (disk: SimulatedDisk): Engine => openSimulated(disk, { mode: 'seq' });
  const fill = (disk: SimulatedDisk): Engine => {
    const engine = open(disk);
    const namespace = engine.namespace('default')!;
    namespace.configure({ password: Buffer.from('kept') });
    for (let id = 0; id < 4; id++) {
      namespace.insertId(Buffer.from(`${id}`));
      namespace.rotate();
    }
    namespace.sync();
    return engine;
  };
  let points = 0;
  for (let point = 0; ; point++) {
    const disk = new SimulatedDisk();
    const engine = fill(disk);
    disk.crashAfter(point, 0);
    try {
      engine.namespace('default')!.flush();
      points = point;
      break;
    } catch (error) {
      assert.ok(error instanceof SimulatedCrash);
    }
    const again = open(disk.kill()).namespace('default')!;
    assert.equal(Buffer.from(again.settings.password!).toString(), 'kept');
    assert.ok(
      again.entries === 4 || (again.entries === 0 && again.activeFile === 0),
      `${again.entries} entries`,
    );
    const id = again.insertId(Buffer.from('new'));
    assert.equal(id, again.entries - 1);
  }
  assert.ok(points > 5);
});

test('a descriptor that is cut in its password keeps the rest, and lets nobody in without one', () => {
  const whole = encodeDescriptor(Buffer.from('n'), {
    password: Buffer.from('secret'),
    public: false,
    worm: true,
    maxSizeBytes: 77,
  });
  for (let end = 15; end < whole.length; end++) {
    const read = decodeDescriptor(whole.subarray(0, end))!;
    assert.deepEqual(
      [read.public, read.worm, read.maxSizeBytes, read.password?.length],
      [false, true, 77, 6],
    );
    assert.notEqual(Buffer.from(read.password!).toString(), 'secret');
  }
  assert.equal(decodeDescriptor(whole.subarray(0, 14)), undefined);
});

test('a removal cut by a crash is finished at the next opening', () => {
  for (let point = 0; point < 200; point++) {
    const disk = new SimulatedDisk();
    const open = (on: SimulatedDisk): Engine => openSimulated(on, { sync: 'always' });
    const engine = open(disk);
    const namespace = engine.createNamespace('gone', 'seq');
    namespace.insertId(Buffer.from('x'));
    engine.commit();
    disk.crashAfter(point, 0);
    let finished = false;
    try {
      engine.removeNamespace('gone');
      finished = true;
    } catch (error) {
      assert.ok(error instanceof SimulatedCrash);
    }
    const left = disk.kill();
    const again = open(left);
    const found = again.namespace('gone');
    if (found) assert.equal(found.entries, 1, 'whole');
    else {
      const anew = again.createNamespace('gone', 'user');
      assert.equal(anew.entries, 0);
    }
    if (finished) {
      assert.equal(found, undefined);
      return;
    }
  }
  assert.fail('the removal never ended');
});

test('a namespace that cannot be created leaves nothing behind', () => {
  for (let skip = 0; skip < 12; skip++) {
    const disk = new SimulatedDisk();
    const engine = openSimulated(disk);
    const stop = disk.fail({
      code: 'ENOSPC',
      kinds: ['write', 'create', 'make-directory', 'datasync'],
      skip,
    });
    let failed = false;
    try {
      engine.createNamespace('n');
    } catch (error) {
      failed = true;
      assert.equal((error as { code?: string }).code, 'ENOSPC');
    }
    stop();
    if (!failed) return;
    assert.equal(engine.namespace('n'), undefined);
    assert.deepEqual([disk.stat('/data/n'), disk.stat('/index/n')], [undefined, undefined]);
    assert.ok(engine.createNamespace('n').set(K, K));
  }
  assert.fail('the creation never succeeded');
});

test('reload shows what another program changed in the files', (context) => {
  const directory = scratchDirectory(context);
  const engine = openScratch(directory, { mode: 'user' });
  const namespace = engine.namespace('default')!;
  namespace.set(K, Buffer.from('one'));
  engine.commit();
  const kept = ['data', 'index'].map((kind) => readFileSync(join(directory, kind, 'default', `${kind[0]}0`)));
  namespace.set(K, Buffer.from('two'));
  engine.commit();
  for (const [at, kind] of ['data', 'index'].entries())
    writeFileSync(join(directory, kind, 'default', `${kind[0]}0`), kept[at]!);
  engine.reload('default');
  assert.equal(engine.namespace('default'), namespace, 'the same namespace');
  assert.equal(Buffer.from(namespace.get(K)!).toString(), 'one');
});

test('counts what it reads and writes, and its failures', () => {
  const disk = new SimulatedDisk();
  const engine = openSimulated(disk, { mode: 'user' });
  const namespace = engine.namespace('default')!;
  const before = { ...engine.statistics };
  namespace.set(K, Buffer.from('12345'));
  engine.commit();
  assert.equal(engine.statistics.dataWrittenBytes - before.dataWrittenBytes, 18 + 1 + 5);
  assert.equal(engine.statistics.indexWrittenBytes - before.indexWrittenBytes, 34 + 1);
  namespace.get(K);
  assert.equal(namespace.statistics.dataReadBytes, 24);
  disk.fail({ code: 'EIO', kinds: ['write'] });
  namespace.set(K, Buffer.from('54321'));
  assert.throws(() => engine.commit());
  assert.equal(namespace.statistics.dataWriteFailures, 1);
  assert.ok(namespace.statistics.lastDataFailure > 0);
  assert.equal(Buffer.from(namespace.get(K)!).toString(), '12345');
});

test('a missing descriptor is written anew, directories in the root become namespaces, odd names are told', (context) => {
  const directory = scratchDirectory(context);
  const log: string[] = [];
  openScratch(directory).close();
  rmSync(join(directory, 'index', 'default', 'zdb-namespace'));
  mkdirSync(join(directory, 'index', 'other'));
  mkdirSync(join(directory, 'index', 'two\nlines'));
  writeFileSync(join(directory, 'index', 'a file'), '');
  const engine = openScratch(directory, { events: { log: (_, line) => log.push(line) } });
  assert.deepEqual(
    engine.namespaces().map((namespace) => namespace.name),
    ['default', 'other'],
  );
  assert.ok(log.some((line) => line.includes('ignored')));
  assert.ok(existsSync(join(directory, 'data', 'other', 'd0')));
});

test('millions of slots need next to no memory (sparse files)', (context) => {
  const directory = scratchDirectory(context);
  openScratch(directory, { mode: 'seq' }).close();
  // Two index files of holes; ZDB_SLOTS=50000000 for a hundred million slots in all.
  const slots = Number(process.env['ZDB_SLOTS'] ?? 5_000_000);
  const index = join(directory, 'index', 'default');
  for (const file of [0, 1]) {
    const header = readFileSync(join(index, 'i0')).subarray(0, 29);
    header.writeUInt32LE(file, 24);
    writeFileSync(join(index, `i${file}`), header);
    truncateSync(join(index, `i${file}`), 29 + 42 * slots);
    if (file === 1)
      writeFileSync(
        join(directory, 'data', 'default', 'd1'),
        readFileSync(join(directory, 'data', 'default', 'd0')),
      );
  }
  const before = process.memoryUsage.rss();
  const engine = openScratch(directory, { mode: 'seq' });
  const namespace = engine.namespace('default')!;
  assert.equal(namespace.nextId, 2 * slots);
  const id = namespace.insertId(Buffer.from('one more'));
  engine.commit();
  assert.equal(id, 2 * slots);
  for (let step = 0; step < 2000; step++) assert.equal(namespace.readId((step * 7_919_333) % id), undefined);
  assert.equal(Buffer.from(namespace.readId(id)!).toString(), 'one more');
  assert.ok(process.memoryUsage.rss() - before < 100 * 1024 * 1024);
  assert.ok(readdirSync(index).length > 0);
});

test('whoever asks is told what will be synced, in pieces that follow each other', () => {
  const MIB = 1024 * 1024;
  const ahead: [path: string, from: number, to: number][] = [];
  const engine = openSimulated(new SimulatedDisk(), {
    dataSizeBytes: 24 * MIB,
    syncOnRotation: true,
    writeAhead: (path, position, lengthBytes) => ahead.push([path, position, position + lengthBytes]),
  });
  const namespace = engine.namespace('default')!;
  const value = new Uint8Array(MIB);
  for (let key = 0; key < 48; key++) {
    namespace.set(Buffer.from(`${key}`), value, 1);
    engine.commit();
  }
  for (const file of [0, 1]) {
    const pieces = ahead.filter(([path]) => path === `/data/default/d${file}`);
    assert.equal(pieces.length, 2, 'of 8 MiB and a bit each; what is left is synced with the file');
    assert.equal(pieces[0]![2], pieces[1]![1]);
    for (const [, from, to] of pieces) assert.ok(to - from >= 8 * MIB && to - from < 9.1 * MIB);
  }
  engine.close();
});
