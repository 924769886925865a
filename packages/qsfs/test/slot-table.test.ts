import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crashPolicies, SimulatedDisk } from '@qsfs/io/simulated';
import fc from 'fast-check';
import { SlotTable, slotBytesFor } from '../src/local/slot-table.ts';

const PATH = '/table';

function payload(...bytes: number[]): Uint8Array {
  const result = new Uint8Array(12);
  result.set(bytes);
  return result;
}

function open(disk: SimulatedDisk): SlotTable {
  return SlotTable.open(disk, PATH, 'presence', 16, 7);
}

test('slots come back after closing, gaps are empty', () => {
  const disk = new SimulatedDisk();
  const table = open(disk);
  table.write(3, payload(1, 2, 3));
  table.write(5000, payload(9));
  table.flush();
  table.close();
  const again = open(disk);
  assert.equal(again.state(3), 'valid');
  assert.deepEqual(again.payload(3), payload(1, 2, 3));
  assert.deepEqual(again.payload(5000), payload(9));
  assert.equal(again.state(4), 'empty');
  assert.equal(again.state(1_000_000), 'empty');
  again.clear(3);
  again.flush();
  assert.equal(open(disk).state(3), 'empty');
});

test('a changed byte, and a slot in the place of another, read as damaged', () => {
  const disk = new SimulatedDisk();
  const table = open(disk);
  table.write(0, payload(1));
  table.write(1, payload(2));
  table.flush();
  table.close();
  const file = disk.open(PATH, 'write');
  const first = new Uint8Array(16);
  file.read(first, 512);
  file.write(first, 512 + 16);
  file.write(Uint8Array.of(99), 512 + 3);
  file.close();
  const again = open(disk);
  assert.equal(again.state(0), 'damaged');
  assert.equal(again.state(1), 'damaged');
});

test('a table of another kind, size or parameter is refused', () => {
  const disk = new SimulatedDisk();
  open(disk).close();
  assert.throws(() => SlotTable.open(disk, PATH, 'catalog', 16, 7), RangeError);
  assert.throws(() => SlotTable.open(disk, PATH, 'presence', 32, 7), RangeError);
  assert.throws(() => SlotTable.open(disk, PATH, 'presence', 16, 8), RangeError);
  const file = disk.open(PATH, 'write');
  file.write(Uint8Array.of(0), 0);
  file.close();
  assert.throws(() => open(disk), /not a table/);
});

test('after any crash a slot holds a value that was written to it, and what was flushed is not older', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat({ max: 40 }), fc.nat({ max: 250 }), fc.boolean()), {
        minLength: 1,
        maxLength: 25,
      }),
      fc.integer(),
      (steps, seed) => {
        const disk = new SimulatedDisk();
        const table = open(disk);
        disk.syncDirectory('/');
        const written = new Map<number, number[]>();
        const flushed = new Map<number, number>();
        for (const [slot, value, flush] of steps) {
          table.write(slot, payload(1, value));
          written.set(slot, [...(written.get(slot) ?? []), value]);
          if (!flush) continue;
          table.flush();
          for (const [known, values] of written) flushed.set(known, values.length - 1);
        }
        for (const policy of crashPolicies(seed)) {
          const after = open(disk.crash(policy));
          for (const [slot, values] of written) {
            const since = flushed.get(slot);
            const allowed = values.slice(since ?? 0);
            if (since === undefined && after.state(slot) === 'empty') continue;
            assert.equal(after.state(slot), 'valid', policy.name);
            assert.ok(allowed.includes(after.payload(slot)[1] as number), policy.name);
          }
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('on a full disk a slot that has its room can still be changed', () => {
  const disk = new SimulatedDisk({ capacityBytes: 256 * 1024 });
  const table = open(disk);
  table.write(0, payload(1));
  table.flush();
  const filler = disk.open('/filler', 'create');
  assert.throws(() => filler.write(new Uint8Array(256 * 1024), 0), /ENOSPC/);
  table.write(100, payload(7));
  table.flush();
  assert.equal(open(disk).state(100), 'valid');
});

test('slot sizes are powers of two that hold the payload', () => {
  assert.equal(slotBytesFor(3), 8);
  assert.equal(slotBytesFor(4), 8);
  assert.equal(slotBytesFor(5), 16);
  assert.equal(slotBytesFor(508), 512);
  assert.throws(() => slotBytesFor(509), RangeError);
});
