// Mounting is refused before anything was made where it cannot work.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { IoError, type Processes, realDisk, realProcesses } from '@qsfs/io';
import { checkMounting, MountError } from '../src/index.ts';

const IO = { disk: realDisk, processes: realProcesses };

function reasonOf(act: () => void): string {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof MountError, String(error));
    return `${error.reason}: ${error.message}`;
  }
  return '';
}

test('places that cannot be mounted on are refused, and nothing is made', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'qsfs-fuse-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'file'), '');
  mkdirSync(join(folder, 'there'));
  const check = (place: string) => reasonOf(() => checkMounting(IO, place));
  assert.match(check(join(folder, 'file')), /^not-a-directory: .*file is not a directory/);
  assert.match(check(join(folder, 'file', 'below')), /^no-mount-point: .*ENOTDIR/);
  assert.match(check('/proc/x'), /^no-mount-point: no directory can be made in \/proc \(proc\)/);
  assert.match(check('/proc'), /^already-mounted: \/proc is already a mount point/);
  assert.match(check(''), /^no-mount-point/);
  assert.equal(check(join(folder, 'there')), '');
  assert.equal(check(join(folder, 'missing')), '');
  assert.equal(check(join(folder, 'missing', 'far', 'below')), '');
  assert.deepEqual(readdirSync(folder), ['file', 'there']);
});

test('a missing device and a missing fusermount3 are told before', () => {
  const without = (code: 'ENOENT' | 'EACCES') => ({
    ...IO,
    disk: {
      ...realDisk,
      stat: realDisk.stat.bind(realDisk),
      resolve: realDisk.resolve.bind(realDisk),
      open: (path: string, ...more: [mode: 'read']) => {
        if (path === '/dev/fuse') throw new IoError(code, path);
        return realDisk.open(path, ...more);
      },
    },
  });
  assert.match(
    reasonOf(() => checkMounting(without('ENOENT'), '/nowhere')),
    /^no-device: .*modprobe fuse/,
  );
  assert.match(
    reasonOf(() => checkMounting(without('EACCES'), '/nowhere')),
    /^not-permitted: .*chmod 666/,
  );
  const user: Processes = {
    ...realProcesses,
    userId: 1000,
    run: (program) => {
      throw new IoError('ENOENT', program);
    },
  };
  assert.match(
    reasonOf(() => checkMounting({ ...IO, processes: user }, '/nowhere')),
    /^no-fusermount: .*install the package fuse3/,
  );
});
