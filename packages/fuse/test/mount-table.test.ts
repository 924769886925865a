// The kernel's table of mounts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { realDisk } from '@qsfs/io';
import { isFuse, mountedAt, mountTable } from '../src/index.ts';
import { parseMount } from '../src/mount-table.ts';

test('a line with optional fields and escapes', () => {
  const line =
    '98 29 0:57 / /mnt/a\\040b\\134\\303\\274 rw,relatime shared:5 master:1 - fuse.zdbfs so\\011urce rw,user_id=0';
  assert.deepEqual(parseMount(line), {
    id: '98',
    parentId: '29',
    device: '0:57',
    mountPoint: '/mnt/a b\\ü',
    type: 'fuse.zdbfs',
    source: 'so\turce',
  });
});

test('a line without optional fields, and with an empty source', () => {
  assert.equal(parseMount('1 1 8:1 / / rw - ext4 /dev/sda1 rw')?.mountPoint, '/');
  assert.equal(parseMount('1 1 0:5 / /x rw - tmpfs  rw')?.source, '');
});

test('lines that are none are left out', () => {
  for (const line of ['', 'nonsense', '1 2 0:5 / /x rw', '1 1 8:1 / /x rw -']) {
    assert.equal(parseMount(line), undefined);
  }
});

test('this machine’s table has its root and its /proc', () => {
  assert.ok(mountTable(realDisk).length > 1);
  assert.equal(mountedAt(realDisk, '/proc')?.type, 'proc');
  assert.equal(mountedAt(realDisk, '/proc/1'), undefined);
});

test('only fuse and its subtypes are FUSE', () => {
  const of = (type: string) => isFuse({ id: '', parentId: '', type, device: '', mountPoint: '', source: '' });
  assert.deepEqual(['fuse', 'fuse.qsfs', 'fuseblk', 'fusectl', 'ext4'].map(of), [
    true,
    true,
    false,
    false,
    false,
  ]);
});
