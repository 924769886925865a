// Index entries that wait in memory (`indexTailBytes`): which files are whole when, and what a failure leaves. That a crash loses
// none of them is in engine-crash.test.ts and engine-model.test.ts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Disk, readWhole } from '@qsfs/io';
import { SimulatedDisk } from '@qsfs/io/simulated';
import type { Engine } from '../src/index.ts';
import { openSimulated } from './scratch.ts';

const TAIL_BYTES = 1000;

function open(disk: SimulatedDisk, indexTailBytes: number): Engine {
  return openSimulated(disk, { mode: 'seq', indexTailBytes });
}

/** Inserts, each a batch of its own. */
function insert(engine: Engine, count: number, namespace = 'default'): void {
  for (let at = 0; at < count; at++) {
    engine.namespace(namespace)?.insertId(Buffer.from(`record ${at}`));
    engine.commit();
  }
}

function bytes(disk: Disk, path: string): Buffer {
  return Buffer.from(readWhole(disk, path) ?? []);
}

/** What `work` leaves of an index file, with and without entries that wait. */
function both(path: string, work: (engine: Engine, disk: SimulatedDisk) => void): [Buffer, Buffer] {
  const [waiting, direct] = [TAIL_BYTES, 0].map((tailBytes) => {
    const disk = new SimulatedDisk();
    work(open(disk, tailBytes), disk);
    return bytes(disk.kill(), path);
  });
  return [waiting as Buffer, direct as Buffer];
}

test('appended index entries wait until there are enough of them', () => {
  const disk = new SimulatedDisk();
  const engine = open(disk, TAIL_BYTES);
  insert(engine, 1);
  const size = bytes(disk, '/index/default/i0').length;
  insert(engine, 20);
  assert.equal(bytes(disk, '/index/default/i0').length, size);
  insert(engine, 10);
  assert.ok(bytes(disk, '/index/default/i0').length > size);
  assert.equal(engine.namespace('default')?.readId(25)?.toString(), 'record 4');
});

const MOMENTS: [string, (engine: Engine) => void][] = [
  ['its pair is closed', (engine) => engine.namespace('default')?.rotate()],
  ['the engine is closed', (engine) => engine.close()],
  ['the namespace is loaded again', (engine) => engine.reload('default')],
  ['the engine is told to complete its index files', (engine) => engine.writeHeldChanges()],
  [
    'an entry is changed in place',
    (engine) => {
      engine.namespace('default')?.removeId(3);
      engine.commit();
    },
  ],
];
for (const [name, moment] of MOMENTS) {
  test(`an index file is whole when ${name}`, () => {
    const [waiting, direct] = both('/index/default/i0', (engine) => {
      insert(engine, 8);
      moment(engine);
    });
    assert.ok(direct.length > 8 * 42);
    assert.deepEqual(waiting, direct);
  });
}

test('the pair before is whole when the next one begins to exist', () => {
  const disk = new SimulatedDisk();
  const engine = open(disk, TAIL_BYTES);
  insert(engine, 8);
  const whole = bytes(disk, '/data/default/d0').length;
  assert.ok(whole > 0);
  const stop = disk.fail({ code: 'EIO', kinds: ['create'], skip: 0 });
  assert.throws(() => engine.namespace('default')?.rotate(), { code: 'EIO' });
  stop();
  assert.equal(bytes(disk, '/index/default/i0').length, 29 + 8 * 42);
});

test('a batch that fails in another namespace leaves nothing that waits', () => {
  const disk = new SimulatedDisk();
  const engine = open(disk, TAIL_BYTES);
  engine.createNamespace('other');
  insert(engine, 2);
  insert(engine, 2, 'other');
  engine.namespace('default')?.insertId(Buffer.from('taken back'));
  engine.namespace('other')?.insertId(Buffer.from('refused'));
  const stop = disk.fail({ code: 'ENOSPC', kinds: ['write'], skip: 1 });
  assert.throws(() => engine.commit(), { code: 'ENOSPC' });
  stop();
  insert(engine, 1);
  insert(engine, 1, 'other');
  engine.close();
  assert.equal(bytes(disk, '/index/default/i0').length, 29 + 3 * 42);
  const again = open(disk, 0);
  assert.deepEqual(
    [0, 1, 2, 3].map((id) => again.namespace('default')?.readId(id)?.toString()),
    ['record 0', 'record 1', 'record 0', undefined],
  );
});
