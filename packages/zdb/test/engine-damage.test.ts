// Damage beyond a crash: index files lost, emptied, cut or overwritten, data files away or damaged. What is intact in the data files is
// served; what was set aside is kept; nothing is served that is wrong.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SimulatedDisk } from '@qsfs/io/simulated';
import { type Engine, type Namespace, StoreError } from '../src/index.ts';
import { idKey, openScratch, scratchDirectory } from './scratch.ts';
import { filesOf, openSmall } from './support/damage.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');

function contents(namespace: Namespace): Map<string, string> {
  const found = new Map<string, string>();
  for (let cursor: Uint8Array | undefined; ; ) {
    const batch = namespace.scan('forward', cursor);
    if (!batch) return found;
    for (const { key, timestamp } of batch.entries)
      found.set(
        Buffer.from(key).toString('hex'),
        `${timestamp} ${createHash('sha256').update(namespace.get(key)!).digest('hex')}`,
      );
    cursor = batch.cursor;
  }
}

function fixture(context: TestContext, name: string): { directory: string; expected: Map<string, string> } {
  const directory = scratchDirectory(context);
  cpSync(join(FIXTURES, name), directory, { recursive: true });
  const engine = openScratch(directory);
  const expected = contents(engine.namespace('default')!);
  engine.close();
  return { directory, expected };
}

function open(directory: string): { engine: Engine; namespace: Namespace; log: string[] } {
  const log: string[] = [];
  const engine = openScratch(directory, { events: { log: (level, line) => log.push(`${level} ${line}`) } });
  return { engine, namespace: engine.namespace('default')!, log };
}

const CASES = [
  'user-small-clean',
  'seq-small-clean',
  'user-rotate-clean',
  'seq-rotate-clean',
  'user-history',
];

for (const name of CASES) {
  const indexDirectory = join(FIXTURES, name, 'index', 'default');
  const count = readdirSync(indexDirectory).filter((file) => file.startsWith('i')).length;
  const sets: [string, number[]][] = Array.from({ length: count }, (_, file) => [`i${file}`, [file]]);
  sets.push(['all index files', Array.from({ length: count }, (_, file) => file)]);
  for (const [what, files] of sets) {
    for (const damage of ['removed', 'emptied', 'cut in half', 'overwritten'] as const) {
      test(`${name}: ${what} ${damage}: rebuilt from the data files`, (context) => {
        const { directory, expected } = fixture(context, name);
        const before = files.map((file) => readFileSync(join(directory, 'index', 'default', `i${file}`)));
        for (const file of files) {
          const path = join(directory, 'index', 'default', `i${file}`);
          const bytes = readFileSync(path);
          if (damage === 'removed') rmSync(path);
          else if (damage === 'emptied') truncateSync(path, 0);
          else if (damage === 'cut in half') truncateSync(path, Math.ceil(bytes.length / 2));
          else writeFileSync(path, Buffer.alloc(bytes.length, 0x5a));
        }
        const { engine, namespace, log } = open(directory);
        assert.deepEqual(
          new Map([...contents(namespace)].sort()),
          new Map([...expected].sort()),
          log.join('\n'),
        );
        assert.ok(log.some((line) => line.startsWith('warning')));
        engine.close();
        for (const [at, file] of files.entries()) {
          const path = join(directory, 'index', 'default', `i${file}`);
          if (files.length === count && damage !== 'cut in half') {
            // With nothing left of the old index the new one is the same, byte for byte (user inserts: the right data file).
            const expectedBytes = before[at]!;
            const found = readFileSync(path);
            if (expectedBytes[28] === 0) {
              for (const bytes of [expectedBytes, found])
                for (let entry = 29; entry < bytes.length; entry += 34 + bytes[entry]!)
                  bytes.writeUInt32LE(0, entry + 14);
            }
            assert.equal(found.toString('hex'), expectedBytes.toString('hex'));
          }
        }
        const again = open(directory);
        assert.deepEqual(new Map([...contents(again.namespace)].sort()), new Map([...expected].sort()));
        assert.deepEqual(again.log, [], 'nothing is left to repair');
      });
    }
  }
}

test('a flipped bit is an error for its record alone, in whole and partial reads', (context) => {
  const directory = scratchDirectory(context);
  const first = openScratch(directory, { mode: 'seq' });
  const namespace = first.namespace('default')!;
  for (let id = 0; id < 3; id++) namespace.insertId(Buffer.alloc(5000, `${id}`));
  first.close();
  const path = join(directory, 'data', 'default', 'd0');
  const bytes = readFileSync(path);
  bytes[28 + 5026 + 26 + 4000]! ^= 4;
  writeFileSync(path, bytes);
  const engine = openScratch(directory, { mode: 'seq' });
  const again = engine.namespace('default')!;
  const corrupt = (error: unknown): boolean => error instanceof StoreError && error.reason === 'corrupt';
  assert.throws(() => again.readId(1), corrupt);
  assert.throws(() => again.readIdInto(1, 0, Buffer.alloc(10)), corrupt);
  assert.throws(() => again.readIdInto(1, 0, Buffer.alloc(5000)), corrupt);
  for (const id of [0, 2]) {
    const part = Buffer.alloc(100);
    assert.equal(again.readIdInto(id, 4950, part), 50);
    assert.equal(part.subarray(0, 50).toString(), `${id}`.repeat(50));
  }
});

test('a key that is damaged in the active index is told of at opening, and no other is lost', (context) => {
  const { directory, expected } = fixture(context, 'user-small-clean');
  const path = join(directory, 'index', 'default', 'i2');
  const bytes = readFileSync(path);
  // The key of the first entry stands behind its fixed part (docs/formats/zdb.md).
  const at = 29 + 34;
  bytes[at] = bytes[at]! ^ 0x80;
  writeFileSync(path, bytes);
  const { engine, namespace, log } = open(directory);
  const told = log.filter((line) => line.includes('cannot be read'));
  assert.equal(told.length, 1, log.join('\n'));
  assert.match(
    told[0]!,
    /^error default: records that are not what the index says, and cannot be read: 1, the first: .*d2 at 28$/,
  );
  let intact = 0;
  for (const key of expected.keys()) if (namespace.get(Buffer.from(key, 'hex')) !== undefined) intact++;
  assert.equal(intact, expected.size - 1);
  engine.close();
});

test('a damaged header in the middle of the last data file loses that entry alone', (context) => {
  for (const mode of ['user', 'seq'] as const) {
    const directory = scratchDirectory(context);
    const first = openScratch(directory, { mode });
    const namespace = first.namespace('default')!;
    const keys = Array.from({ length: 6 }, (_, at) =>
      namespace.set(
        mode === 'seq' ? new Uint8Array(0) : Buffer.from(`key-${at}xx`),
        Buffer.alloc(50, `${at}`),
      ),
    );
    first.close();
    const path = join(directory, 'data', 'default', 'd0');
    const bytes = readFileSync(path);
    bytes.fill(0xff, 28 + 2 * 76, 28 + 2 * 76 + 18);
    writeFileSync(path, bytes);
    const { engine, namespace: again, log } = open(directory);
    assert.ok(log.some((line) => line.startsWith('error') && line.includes('damaged')));
    for (const [at, key] of keys.entries()) {
      if (at === 2) assert.throws(() => again.get(key!), StoreError);
      else assert.equal(Buffer.from(again.get(key!)!).toString(), `${at}`.repeat(50));
    }
    const last = again.set(mode === 'seq' ? new Uint8Array(0) : Buffer.from('last'), Buffer.from('end'))!;
    engine.close();
    assert.equal(Buffer.from(open(directory).namespace.get(last)!).toString(), 'end');
  }
});

for (const mode of ['user', 'seq'] as const) {
  test(`behind a damaged header in a closed data file its records are found that the index lost: ${mode}`, (context) => {
    const directory = scratchDirectory(context);
    const engine = openScratch(directory, { mode });
    const namespace = engine.namespace('default')!;
    const keys: Uint8Array[] = [];
    const offsets: number[] = [];
    for (let i = 0; i < 20; i++) {
      offsets.push(namespace.activeOffset);
      keys.push(
        namespace.set(mode === 'seq' ? new Uint8Array(0) : Buffer.from(`k${i}`), Buffer.from(`v${i}`))!,
      );
      engine.commit();
    }
    namespace.remove(keys[1]!);
    namespace.remove(keys[18]!);
    engine.commit();
    const entryBytes = 34 + keys[0]!.length;
    namespace.rotate();
    namespace.set(mode === 'seq' ? new Uint8Array(0) : Buffer.from('last'), Buffer.from('l'));
    engine.commit();
    engine.close();
    // No key has 0 bytes, and the index lost everything behind the first ten entries.
    const file = join(directory, 'data', 'default', 'd0');
    const data = readFileSync(file);
    data[offsets[4]!] = 0;
    writeFileSync(file, data);
    truncateSync(join(directory, 'index', 'default', 'i0'), 29 + 10 * entryBytes + 5);
    for (const time of ['first', 'second']) {
      const again = open(directory);
      const found = keys.map((key) => {
        try {
          return again.namespace.get(key);
        } catch {
          return Buffer.from('error');
        }
      });
      const expected = keys.map((_, i) => (i === 1 || i === 18 ? 'none' : i === 4 ? 'error' : `v${i}`));
      assert.deepEqual(
        found.map((value) => (value === undefined ? 'none' : Buffer.from(value).toString())),
        expected,
        `${time}: ${again.log.join('\n')}`,
      );
      again.engine.close();
    }
  });
}

test('what is cut off a torn file is kept beside it', (context) => {
  const directory = scratchDirectory(context);
  const first = openScratch(directory, { mode: 'user' });
  first.namespace('default')!.set(Buffer.from('a'), Buffer.from('one'));
  first.close();
  const path = join(directory, 'data', 'default', 'd0');
  const whole = readFileSync(path);
  writeFileSync(path, Buffer.concat([whole, Buffer.from([3, 100, 0])]));
  open(directory).engine.close();
  assert.deepEqual(readFileSync(path), whole);
  const kept = readdirSync(join(directory, 'data', 'default')).filter((name) => name.startsWith('d0.torn-'));
  assert.equal(kept.length, 1);
  assert.deepEqual(readFileSync(join(directory, 'data', 'default', kept[0]!)), Buffer.from([3, 100, 0]));
});

test('an index file that says the other mode is set right by the others, and by the keys in the data', (context) => {
  for (const [mode, pairs, keyOf] of [
    ['user', 1, (at) => `${at}`],
    ['user', 1, (at) => `key-${at}xxx`],
    ['user', 2, (at) => `${at}`],
    ['user', 3, (at) => `${at}`],
    ['seq', 2, () => ''],
    ['seq', 3, () => ''],
  ] as ['user' | 'seq', number, (at: number) => string][]) {
    for (let wrong = 0; wrong < pairs; wrong++) {
      const directory = scratchDirectory(context);
      const first = openScratch(directory, { mode });
      const namespace = first.namespace('default')!;
      const keys = Array.from({ length: pairs * 3 }, (_, at) => {
        if (at > 0 && at % 3 === 0) namespace.rotate();
        return namespace.set(Buffer.from(keyOf(at)), Buffer.from(`value ${at}`))!;
      });
      first.close();
      const index = join(directory, 'index', 'default');
      const before = Array.from({ length: pairs }, (_, file) => readFileSync(join(index, `i${file}`)));
      const changed = Buffer.from(before[wrong]!);
      changed[28] = mode === 'seq' ? 0 : 1;
      writeFileSync(join(index, `i${wrong}`), changed);
      const { engine, namespace: again, log } = open(directory);
      const what = `${mode}, i${wrong} of ${pairs}: ${log.join('; ')}`;
      assert.equal(again.mode, mode, what);
      for (const [at, key] of keys.entries())
        assert.equal(Buffer.from(again.get(key)!).toString(), `value ${at}`, what);
      assert.match(log.join(), new RegExp(`i${wrong} did not say that it is in ${mode} mode`));
      engine.close();
      for (const [file, bytes] of before.entries())
        assert.deepEqual(readFileSync(join(index, `i${file}`)), bytes, what);
    }
  }
});

test('a torn tail on a full disk is not cut without a copy: the refusal says what to do, and nothing is left behind', () => {
  const disk = new SimulatedDisk();
  const first = openSmall(disk, 'user');
  first.namespace('default')!.set(Buffer.from('a'), Buffer.from('one'));
  first.close();
  const file = disk.open('/data/default/d0', 'write');
  file.write(Buffer.from([3, 100, 0]), file.size());
  file.close();
  const files = [...filesOf(disk)];
  const stop = disk.fail({ code: 'ENOSPC', kinds: ['write'], times: 100 });
  assert.throws(() => openSmall(disk, 'user'), /d0: 3 bytes at 50 have to be cut off.*make room/);
  stop();
  assert.deepEqual([...filesOf(disk)], files);
  const engine = openSmall(disk, 'user');
  assert.equal(Buffer.from(engine.namespace('default')!.get(Buffer.from('a'))!).toString(), 'one');
  engine.close();
});

test('an index file without entries whose header is damaged is made anew where there is no data either', (context) => {
  const directory = scratchDirectory(context);
  open(directory).engine.close();
  const index = join(directory, 'index', 'default', 'i0');
  writeFileSync(index, Buffer.alloc(29, 0xa7));
  const first = open(directory);
  assert.match(first.log.join('\n'), /i0 is damaged; kept as/);
  first.namespace.set(Buffer.from('key'), Buffer.from('value'), 1);
  first.engine.close();
  const second = open(directory);
  assert.deepEqual(second.log, []);
  assert.equal(Buffer.from(second.namespace.get(Buffer.from('key'))!).toString(), 'value');
  second.engine.close();
});

test('where no data file has a record a damaged index file of any length is kept aside and keeps no store closed', (context) => {
  const directory = scratchDirectory(context);
  open(directory).engine.close();
  const folder = join(directory, 'index', 'default');
  const text = Buffer.from('a text of somebody, longer than a header '.repeat(20));
  writeFileSync(join(folder, 'i0'), text);
  const first = open(directory);
  assert.match(first.log.join('\n'), /i0 is damaged; kept as/);
  const aside = readdirSync(folder).find((name) => name.startsWith('i0.damaged-'))!;
  assert.deepEqual(readFileSync(join(folder, aside)), text);
  first.namespace.set(Buffer.from('key'), Buffer.from('value'), 1);
  first.engine.close();
  const second = open(directory);
  assert.deepEqual(second.log, []);
  assert.equal(Buffer.from(second.namespace.get(Buffer.from('key'))!).toString(), 'value');
});

test('a sequential namespace that lost its data and the header of its index gives no id out twice', (context) => {
  const directory = scratchDirectory(context);
  const first = openScratch(directory);
  const made = first.createNamespace('shards', 'seq');
  for (let id = 0; id < 3; id++) made.set(new Uint8Array(0), Buffer.from(`value ${id}`));
  first.close();
  const index = join(directory, 'index', 'shards', 'i0');
  truncateSync(join(directory, 'data', 'shards', 'd0'), 28);
  const bytes = readFileSync(index);
  writeFileSync(index, Buffer.concat([Buffer.alloc(29, 0x5a), bytes.subarray(29)]));
  for (const id of [3, 4]) {
    const engine = openScratch(directory);
    const namespace = engine.namespace('shards')!;
    assert.equal(namespace.mode, 'seq');
    for (let lost = 0; lost < 3; lost++) assert.equal(namespace.get(idKey(lost)), undefined);
    assert.deepEqual(Buffer.from(namespace.set(new Uint8Array(0), Buffer.from('new'))!), idKey(id));
    engine.close();
  }
});

test('a version that no program ever writes is damage, and the index is made anew from the data', (context) => {
  const { directory, expected } = fixture(context, 'user-rotate-clean');
  const index = join(directory, 'index', 'default', 'i0');
  const damaged = readFileSync(index);
  damaged.writeUInt32LE(3_775_047_684, 4);
  writeFileSync(index, damaged);
  const { engine, namespace } = open(directory);
  assert.deepEqual(contents(namespace), expected);
  engine.close();
});

test('files that are not ours are refused with what to do, and are not touched', (context) => {
  const directory = scratchDirectory(context);
  open(directory).engine.close();
  const index = join(directory, 'index', 'default', 'i0');
  const refused = (text: RegExp) => (error: unknown) =>
    error instanceof StoreError && error.reason === 'bad-files' && text.test(error.message);
  const good = readFileSync(index);
  const version = Buffer.from(good);
  version[4] = 9;
  writeFileSync(index, version);
  assert.throws(() => open(directory), refused(/version 9/));
  assert.deepEqual(readFileSync(index), version);
  // With a data file that is away, or records anywhere in the namespace, it may be needed.
  writeFileSync(index, 'this is a text, and longer than a header');
  const data = join(directory, 'data', 'default', 'd0');
  const empty = readFileSync(data);
  rmSync(data);
  assert.throws(() => open(directory), refused(/not an index file.*restore/));
  writeFileSync(data, empty);
  cpSync(index, join(directory, 'text'));
  writeFileSync(index, good);
  const filled = open(directory);
  filled.namespace.set(Buffer.from('key'), Buffer.from('value'), 1);
  filled.namespace.rotate();
  filled.engine.close();
  const second = join(directory, 'index', 'default', 'i1');
  const goodSecond = readFileSync(second);
  cpSync(join(directory, 'text'), second);
  assert.throws(() => open(directory), refused(/not an index file.*restore/));
  assert.deepEqual(readFileSync(second), readFileSync(join(directory, 'text')));
  writeFileSync(second, goodSecond);
  writeFileSync(join(directory, 'index', 'default', 'zdb-index-00000'), '');
  assert.throws(() => open(directory), refused(/version 1/));
  rmSync(join(directory, 'index', 'default', 'zdb-index-00000'));
  const descriptor = join(directory, 'index', 'default', 'zdb-namespace');
  const bytes = readFileSync(descriptor);
  bytes[0] = 2;
  writeFileSync(descriptor, bytes);
  assert.throws(() => open(directory), refused(/version 2/));
  truncateSync(descriptor, 7);
  const { log, namespace } = open(directory);
  assert.ok(log.some((line) => line.includes('too short')));
  assert.equal(namespace.settings.public, true);
  assert.ok(existsSync(descriptor));
});

test('data files that were exchanged are refused until they have their names back, and a file far away is', (context) => {
  for (const mode of ['user', 'seq'] as const) {
    const directory = scratchDirectory(context);
    const first = openScratch(directory, { mode });
    const namespace = first.namespace('default')!;
    const keys = ['a', 'b'].map((name) => {
      const key = namespace.set(mode === 'seq' ? new Uint8Array(0) : Buffer.from(name), Buffer.from(name))!;
      namespace.rotate();
      return key;
    });
    first.close();
    const data = join(directory, 'data', 'default');
    const exchange = () => {
      renameSync(join(data, 'd0'), join(data, 'd9'));
      renameSync(join(data, 'd1'), join(data, 'd0'));
      renameSync(join(data, 'd9'), join(data, 'd1'));
    };
    exchange();
    const refused = (text: RegExp) => (error: unknown) =>
      error instanceof StoreError && error.reason === 'bad-files' && text.test(error.message);
    assert.throws(() => open(directory), refused(/d0 is .*d1 by its header.*exchanged/));
    exchange();
    writeFileSync(join(data, 'd9000000'), '');
    assert.throws(() => open(directory), refused(/number 9000000, and none between 2 and it/));
    rmSync(join(data, 'd9000000'));
    const { namespace: again } = open(directory);
    for (const [at, name] of ['a', 'b'].entries())
      assert.equal(Buffer.from(again.get(keys[at]!)!).toString(), name);
  }
});

test('one damaged id in a short index file does not have millions of slots filled in', (context) => {
  const directory = scratchDirectory(context);
  const first = openScratch(directory, { mode: 'seq' });
  const namespace = first.namespace('default')!;
  for (let id = 0; id < 3; id++) namespace.insertId(Buffer.from(`before ${id}`));
  namespace.rotate();
  namespace.insertId(Buffer.from('alone'));
  namespace.rotate();
  namespace.insertId(Buffer.from('after'));
  first.close();
  const path = join(directory, 'index', 'default', 'i1');
  const bytes = readFileSync(path);
  bytes[29 + 34 + 2] = 0x40;
  writeFileSync(path, bytes);
  const { namespace: again } = open(directory);
  assert.equal(again.nextId, 5);
  assert.equal(Buffer.from(again.readId(2)!).toString(), 'before 2');
  assert.equal(Buffer.from(again.readId(4)!).toString(), 'after');
});
