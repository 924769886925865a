// Walking a data file: what is read of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedClock, SimulatedDisk, SimulatedRandom } from '@qsfs/io/simulated';
import { DataScanner } from '../src/engine/format/data-scanner.ts';
import { openEngine } from '../src/index.ts';

test('entries asked for from back to front are read in large pieces, too', () => {
  const disk = new SimulatedDisk();
  const engine = openEngine({
    disk,
    clock: new SimulatedClock(),
    random: new SimulatedRandom(1),
    dataDirectory: '/data',
    indexDirectory: '/index',
    dataSizeBytes: 4 << 20,
    sync: 'none',
  });
  const namespace = engine.namespace('default')!;
  for (let number = 0; number < 20_000; number++)
    namespace.set(Buffer.from(`key ${number}`), Buffer.from(`value ${number}`));
  engine.commit();
  engine.close();

  const file = disk.open('/data/default/d0', 'read');
  let reads = 0;
  const counted = Object.assign(Object.create(file) as typeof file, {
    read: (target: Uint8Array, offset: number) => {
      reads++;
      return file.read(target, offset);
    },
  });
  const offsets: number[] = [];
  const forward = new DataScanner(() => file, 'user', file.size());
  while (forward.next()) offsets.push(forward.offset);
  assert.equal(offsets.length, 20_000);

  const scanner = new DataScanner(() => counted, 'user', file.size());
  for (let number = offsets.length - 1; number >= 0; number--) {
    scanner.seek(offsets[number]!);
    assert.ok(scanner.next());
    assert.equal(Buffer.from(scanner.key()).toString(), `key ${number}`);
    assert.ok(scanner.intact());
  }
  assert.ok(reads < 50, `${reads} reads`);
});
