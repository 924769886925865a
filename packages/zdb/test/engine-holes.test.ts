// Damage of a size that makes careless recovery eat memory, disk or time: an active data file that is one hole, and one with damage at
// thousands of places.
import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, statSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { SimulatedRandom } from '@qsfs/io/simulated';
import { IdSet } from '../src/engine/id-set.ts';
import type { Namespace } from '../src/index.ts';
import { idKey, openScratch, scratchDirectory } from './scratch.ts';

const HOLE_BYTES = 2 ** 30;
const ENTRIES = 100_000;
const PLACES = 20_000;

const keyOf = (mode: 'user' | 'seq', number: number) =>
  mode === 'seq' ? idKey(number) : Buffer.from(`key-${number}`);

function fill(
  namespace: Namespace,
  mode: 'user' | 'seq',
  count: number,
  payload: (number: number) => Uint8Array,
) {
  for (let number = 0; number < count; number++) {
    if (mode === 'seq') namespace.insertId(payload(number));
    else namespace.set(keyOf(mode, number), payload(number));
  }
}

for (const mode of ['user', 'seq'] as const) {
  test(`${mode}: an active data file that is a hole of a GiB: what was in older files is back, the rest is gone, the copy is a hole too`, (context) => {
    const directory = scratchDirectory(context);
    const first = openScratch(directory, { mode });
    const before = first.namespace('default')!;
    fill(before, mode, 100, (number) => Buffer.from(`old ${number}`));
    before.rotate();
    for (let number = 0; number < 50; number++) before.set(keyOf(mode, number), Buffer.from('new'));
    if (mode === 'seq') for (let number = 0; number < ENTRIES; number++) before.insertId(Buffer.from('x'));
    else fill(before, mode, ENTRIES, () => Buffer.from('x'));
    first.close();
    const path = join(directory, 'data', 'default', 'd1');
    truncateSync(path, 28);
    truncateSync(path, HOLE_BYTES);
    const engine = openScratch(directory, { mode });
    const namespace = engine.namespace('default')!;
    assert.equal(namespace.entries, 100);
    for (let number = 0; number < 100; number++)
      assert.equal(Buffer.from(namespace.get(keyOf(mode, number))!).toString(), `old ${number}`);
    const torn = readdirSync(join(directory, 'data', 'default')).filter((name) => name.includes('torn'));
    assert.equal(torn.length, 1);
    const status = statSync(join(directory, 'data', 'default', torn[0]!));
    assert.equal(status.size, HOLE_BYTES - 28);
    assert.ok(status.blocks * 512 < 2 ** 20, `${status.blocks * 512} bytes are occupied`);
    const key = mode === 'seq' ? idKey(namespace.insertId(Buffer.from('after'))) : Buffer.from('after');
    if (mode === 'user') namespace.set(key, Buffer.from('after'));
    else assert.equal(namespace.nextId, 100 + 50 + ENTRIES + 1);
    engine.close();
    const again = openScratch(directory, { mode }).namespace('default')!;
    assert.equal(Buffer.from(again.get(key)!).toString(), 'after');
    assert.equal(again.entries, 101);
  });

  test(`${mode}: damage at ${PLACES / 2} places of the active data file: every other record is served, in one pass`, (context) => {
    const directory = scratchDirectory(context);
    const first = openScratch(directory, { mode });
    fill(first.namespace('default')!, mode, PLACES, (number) => Buffer.from(`value ${number}`));
    first.close();
    // The length of every second record is overwritten: the chain of entries breaks there.
    const path = join(directory, 'data', 'default', 'd0');
    const file = openSync(path, 'r+');
    let offset = 28;
    for (let number = 0; number < PLACES; number++) {
      if (number % 2 === 1) writeSync(file, Buffer.alloc(4, 0xff), 0, 4, offset + 1);
      offset += 18 + keyOf(mode, number).length + `value ${number}`.length;
    }
    closeSync(file);
    const log: string[] = [];
    const engine = openScratch(directory, { mode, events: { log: (_, line) => log.push(line) } });
    const namespace = engine.namespace('default')!;
    for (let number = 0; number < PLACES; number += 2)
      assert.equal(Buffer.from(namespace.get(keyOf(mode, number))!).toString(), `value ${number}`);
    for (const number of [1, 3, PLACES - 3])
      assert.throws(() => namespace.get(keyOf(mode, number)), /another entry stands/, String(number));
    assert.ok(log.length < 50, `${log.length} lines were logged`);
    assert.ok(
      log.some((line) => line.includes(`damaged at ${PLACES / 2 - 1} places`)),
      log.join('\n'),
    );
  });
}

test('a set of ids equals a Set, and holds more', () => {
  const random = new SimulatedRandom(7);
  const ids = new IdSet();
  const model = new Set<number>();
  for (let step = 0; step < 20_000; step++) {
    const id = random.below(2) === 0 ? random.below(1000) : 2 ** 40 + random.below(200_000);
    if (random.below(3) === 0) {
      ids.delete(id);
      model.delete(id);
    } else {
      ids.add(id);
      model.add(id);
    }
    assert.equal(ids.has(id), model.has(id));
  }
  assert.equal(ids.size, model.size);
  assert.deepEqual(
    [...ids],
    [...model].sort((a, b) => a - b),
  );
  for (let id = 0; id <= 2 ** 24; id++) ids.add(id);
  assert.ok(ids.size > 2 ** 24 && ids.has(2 ** 24));
});
