import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedDisk } from '@qsfs/io/simulated';
import { RepairFile } from '../src/lease/repair-file.ts';

const PATH = '/frontend/repairs';

test('names are there after a restart, as they were left', () => {
  const disk = new SimulatedDisk();
  const early = new RepairFile(disk, PATH);
  early.add('before there is a folder');
  disk.makeDirectory('/frontend');
  early.add('b');
  early.add('c');
  early.remove('b');
  early.close();
  const later = new RepairFile(disk, PATH);
  assert.deepEqual([...later.names()], ['before there is a folder', 'c']);
  later.add('d');
  assert.deepEqual([...new RepairFile(disk, PATH).names()], ['before there is a folder', 'c', 'd']);
});

test('nothing is written before something changes, and a damaged end costs only itself', () => {
  const disk = new SimulatedDisk();
  disk.makeDirectory('/frontend');
  const file = new RepairFile(disk, PATH);
  assert.ok(!disk.stat(PATH));
  file.add('a');
  file.close();
  const handle = disk.open(PATH, 'write');
  handle.write(Buffer.from('+"tor'), handle.size());
  handle.close();
  const { changes } = disk;
  const again = new RepairFile(disk, PATH);
  assert.deepEqual([...again.names()], ['a']);
  assert.equal(disk.changes, changes);
});
