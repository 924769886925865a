// The lock on a state folder, and what it leaves there.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Disk, realDisk } from '@qsfs/io';
import { SimulatedDisk } from '@qsfs/io/simulated';
import { lockFolder } from '../src/folder-lock.ts';
import { layoutOf } from '../src/layout.ts';

const layout = layoutOf('/state');

test('nothing is left of a lock when nothing was made under it', () => {
  const disk = new SimulatedDisk();
  disk.makeDirectory('/');
  lockFolder(disk, layout).release();
  assert.equal(disk.stat('/state'), undefined);
  disk.makeDirectory('/state/notes');
  lockFolder(disk, layout).release();
  assert.deepEqual(disk.list('/state'), ['notes'], 'a folder of somebody stays as it was');
  const lock = lockFolder(disk, layout);
  disk.makeDirectory(layout.frontend);
  lock.release();
  assert.deepEqual(disk.list('/state'), ['frontend', 'lock', 'notes']);
  lockFolder(disk, layout).release();
  assert.deepEqual(disk.list('/state'), ['frontend', 'lock', 'notes'], 'one that was there stays');
});

test('a lock on a file that was removed and made anew by others is none', (context) => {
  const root = mkdtempSync(join(tmpdir(), 'qsfs-lock-'));
  context.after(() => rmSync(root, { recursive: true }));
  const disk = realDisk;
  const real = layoutOf(root);
  const late: Disk = {
    ...disk,
    open: (path, mode, permissions) => {
      const file = disk.open(path, mode, permissions);
      disk.remove(path);
      disk.open(path, 'create').close();
      return file;
    },
  };
  assert.throws(() => lockFolder(late, real), { code: 'QSFS_E_RUNNING' });
  lockFolder(disk, real).release();
});
