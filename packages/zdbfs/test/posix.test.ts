// The rules of POSIX that are ours to keep (the kernel checks permissions).
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Attributes, Timestamp } from '@qsfs/fuse';
import type { Volume } from '../src/volume.ts';
import { MemoryStore } from './memory-store.ts';
import { assertConsistent, create, mkdir, open, ROOT, ROOT_CALLER, read, write } from './volume-fixture.ts';

const CALLER = { userId: 1000, groupId: 1001, processId: 7 };

function later(a: Timestamp, b: Timestamp): boolean {
  return a.seconds > b.seconds || (a.seconds === b.seconds && a.nanoseconds > b.nanoseconds);
}

/** Which times of an inode a call changes. */
function changedTimes(volume: Volume, inode: number, call: () => void): string {
  const before = volume.getAttributes(inode);
  call();
  const after = volume.getAttributes(inode);
  const names: (keyof Attributes)[] = ['accessed', 'modified', 'changed'];
  return names.filter((name) => later(after[name] as Timestamp, before[name] as Timestamp)).join(' ');
}

describe('times', () => {
  it('change as POSIX says', () => {
    const volume = open(new MemoryStore());
    const folder = mkdir(volume, ROOT, 'folder');
    const other = mkdir(volume, ROOT, 'other');
    const file = create(volume, folder, 'file');
    const cases: [number, () => void, string][] = [
      [folder, () => void create(volume, folder, 'new'), 'modified changed'],
      [folder, () => void mkdir(volume, folder, 'sub'), 'modified changed'],
      [folder, () => volume.removeDirectory(folder, 'sub'), 'modified changed'],
      [folder, () => volume.unlink(folder, 'new'), 'modified changed'],
      [folder, () => void volume.link(file, other, 'link'), ''],
      [other, () => volume.rename(other, 'link', folder, 'link', 0), 'modified changed'],
      [file, () => volume.unlink(folder, 'link'), 'changed'],
      [file, () => void volume.link(file, folder, 'link'), 'changed'],
      [file, () => volume.rename(folder, 'link', other, 'link', 0), 'changed'],
      [file, () => write(volume, file, 0, 'x'), 'modified changed'],
      [file, () => write(volume, file, 100_000, 'x'), 'modified changed'],
      [file, () => void read(volume, file), ''],
      [file, () => void volume.setAttributes(file, { mode: 0o600 }), 'changed'],
      [file, () => void volume.setAttributes(file, { sizeBytes: 5 }), 'modified changed'],
      [file, () => volume.setExtendedAttribute(file, 'user.a', Buffer.from('x'), 0), 'changed'],
      [file, () => volume.removeExtendedAttribute(file, 'user.a'), 'changed'],
      [file, () => volume.allocate(file, 0, 0, 1000), 'modified changed'],
      [file, () => void volume.setAttributes(file, { accessed: 'now' }), 'accessed changed'],
      [folder, () => volume.listDirectory(folder, 0, () => true, true), ''],
    ];
    cases.forEach(([inode, call, expected], at) => {
      assert.equal(changedTimes(volume, inode, call), expected, `case ${at}: ${call}`);
    });
  });

  it('are kept to the nanosecond, before 1970 and after 2106', () => {
    const store = new MemoryStore();
    const volume = open(store);
    const file = create(volume, ROOT, 'file');
    const accessed = { seconds: -2_000_000_000, nanoseconds: 1 };
    const modified = { seconds: 9_000_000_000, nanoseconds: 999_999_999 };
    volume.setAttributes(file, { accessed, modified });
    volume.close();
    const attributes = open(store.afterKill()).getAttributes(file);
    assert.deepEqual(attributes.accessed, accessed);
    assert.deepEqual(attributes.modified, modified);
  });
});

describe('owners and modes', () => {
  it('come from the caller, or from a set-group-id directory', () => {
    const volume = open(new MemoryStore());
    const plain = volume.makeDirectory(ROOT, 'plain', 0o755, CALLER);
    assert.deepEqual([plain.userId, plain.groupId, plain.mode], [1000, 1001, 0o040755]);
    volume.setAttributes(plain.inode, { groupId: 77, mode: 0o2775 });
    const file = volume.makeNode(plain.inode, 'file', 0o100640, 0, CALLER);
    assert.deepEqual([file.userId, file.groupId, file.mode], [1000, 77, 0o100640]);
    const folder = volume.makeDirectory(plain.inode, 'folder', 0o755, CALLER);
    assert.deepEqual([folder.groupId, folder.mode], [77, 0o042755]);
    const big = volume.setAttributes(file.inode, { userId: 0xfffffffe, groupId: 65_536 });
    assert.deepEqual([big.userId, big.groupId], [0xfffffffe, 65_536]);
  });

  it('set-id bits and capabilities go when owner or contents change', () => {
    const volume = open(new MemoryStore());
    const file = create(volume, ROOT, 'program', 0o106755);
    const capability = () => volume.getExtendedAttribute(file, 'security.capability');
    const arm = (mode: number) => {
      volume.setAttributes(file, { mode });
      volume.setExtendedAttribute(file, 'security.capability', Buffer.alloc(20), 0);
    };
    arm(0o6755);
    assert.equal(volume.setAttributes(file, { userId: 5 }).mode, 0o100755);
    assert.equal(capability(), undefined);
    arm(0o6745);
    // Without group execution set-group-id means mandatory locking and stays (chown(2)).
    assert.equal(volume.setAttributes(file, { groupId: 5 }).mode, 0o102745);
    arm(0o6755);
    volume.write(file, 0, Buffer.from('x'), CALLER, true);
    assert.equal(volume.getAttributes(file).mode, 0o100755);
    assert.equal(capability(), undefined);
    arm(0o6755);
    volume.write(file, 0, Buffer.from('x'), ROOT_CALLER, false);
    assert.equal(volume.getAttributes(file).mode, 0o106755);
    arm(0o6755);
    assert.equal(volume.setAttributes(file, { sizeBytes: 0, clearSetId: true }).mode, 0o100755);
    assert.equal(capability(), undefined);
    const folder = mkdir(volume, ROOT, 'folder');
    volume.setAttributes(folder, { mode: 0o2755 });
    assert.equal(volume.setAttributes(folder, { groupId: 9 }).mode, 0o042755);
  });

  it('chmod does not change the type', () => {
    const volume = open(new MemoryStore());
    const pipe = volume.makeNode(ROOT, 'pipe', 0o010644, 0, CALLER);
    assert.equal(volume.setAttributes(pipe.inode, { mode: 0o100777 }).mode, 0o010777);
    const device = volume.makeNode(ROOT, 'device', 0o060600, 0x1234, CALLER);
    assert.equal(device.deviceNumber, 0x1234);
    const made = volume.makeNode(ROOT, 'typeless', 0o644, 0, CALLER);
    assert.equal(made.mode, 0o100644);
  });
});

describe('names', () => {
  it('that cannot be are refused with the right error', () => {
    const volume = open(new MemoryStore());
    const file = create(volume, ROOT, 'x'.repeat(255));
    const refuse = (call: () => unknown, code: string) => assert.throws(call, { code });
    refuse(() => create(volume, ROOT, 'x'.repeat(256)), 'ENAMETOOLONG');
    refuse(() => volume.lookup(ROOT, 'x'.repeat(256)), 'ENAMETOOLONG');
    refuse(() => create(volume, ROOT, 'x'.repeat(255)), 'EEXIST');
    refuse(() => create(volume, file, 'y'), 'ENOTDIR');
    refuse(() => volume.lookup(file, 'y'), 'ENOTDIR');
    refuse(() => create(volume, ROOT, 'a/b'), 'EINVAL');
    refuse(() => create(volume, ROOT, '..'), 'EEXIST');
    refuse(() => volume.unlink(ROOT, 'none'), 'ENOENT');
    refuse(() => volume.removeDirectory(ROOT, 'x'.repeat(255)), 'ENOTDIR');
    const folder = mkdir(volume, ROOT, 'folder');
    refuse(() => volume.unlink(ROOT, 'folder'), 'EISDIR');
    refuse(() => volume.link(folder, ROOT, 'again'), 'EPERM');
    create(volume, folder, 'inside');
    refuse(() => volume.removeDirectory(ROOT, 'folder'), 'ENOTEMPTY');
    refuse(() => volume.makeSymlink(ROOT, 'long', Buffer.alloc(4096, 'a'), CALLER), 'ENAMETOOLONG');
    refuse(() => volume.rename(ROOT, 'folder', ROOT, 'other', 4), 'EINVAL');
    refuse(() => volume.rename(ROOT, '.', ROOT, 'other', 0), 'EBUSY');
    refuse(() => volume.readLink(file), 'EINVAL');
    refuse(() => volume.setAttributes(folder, { sizeBytes: 0 }), 'EISDIR');
    refuse(() => volume.setAttributes(file, { sizeBytes: 2 ** 53 }), 'EFBIG');
    refuse(() => write(volume, file, Number.MAX_SAFE_INTEGER, 'x'), 'EFBIG');
    refuse(() => read(volume, folder, 0, 10), 'EISDIR');
    assertConsistent(volume);
  });

  it('of any bytes are kept as they are', () => {
    const store = new MemoryStore();
    const volume = open(store);
    const names = ['\u0001', '\u00ff\u00fe', ' ', '-rf', '\n', Buffer.from('grün').toString('latin1'), '...'];
    const inodes = names.map((name) => create(volume, ROOT, name));
    volume.close();
    const again = open(store.afterKill());
    names.forEach((name, at) => {
      assert.equal(again.lookup(ROOT, name)?.inode, inodes[at]);
    });
  });

  it('can only be made in a directory that still has one', () => {
    const volume = open(new MemoryStore());
    const folder = mkdir(volume, ROOT, 'folder');
    volume.removeDirectory(ROOT, 'folder');
    assert.throws(() => create(volume, folder, 'x'), { code: 'ENOENT' });
    assert.throws(() => volume.makeTemporary(folder, 0o600, CALLER), { code: 'ENOENT' });
    assert.equal(volume.getAttributes(folder).linkCount, 0);
    volume.forget(folder, 1);
    volume.idle();
    assertConsistent(volume);
  });

  it('can be given to a file made without one', () => {
    const store = new MemoryStore();
    const volume = open(store);
    const file = volume.makeTemporary(ROOT, 0o600, CALLER).inode;
    write(volume, file, 0, 'hidden');
    const forgotten = volume.makeTemporary(ROOT, 0o600, CALLER).inode;
    volume.link(file, ROOT, 'seen');
    volume.forget(forgotten, 1);
    volume.close();
    const again = open(store.afterKill());
    assert.equal(read(again, again.lookup(ROOT, 'seen')?.inode ?? 0).toString(), 'hidden');
    assert.equal(again.statistics().inodes, 2);
    assertConsistent(again);
  });

  it('keep an inode number apart from the one that had it before', () => {
    const volume = open(new MemoryStore());
    const seen = new Set<string>();
    for (let at = 0; at < 200; at++) {
      const { inode, generation } = volume.makeNode(ROOT, 'same', 0o100644, 0, CALLER);
      assert.ok(!seen.has(`${inode} ${generation}`));
      seen.add(`${inode} ${generation}`);
      volume.unlink(ROOT, 'same');
      volume.forget(inode, 1);
      volume.idle();
    }
    assert.ok(volume.statistics().inodes === 1);
  });
});

describe('extended attributes', () => {
  it('keep their rules and limits', () => {
    const volume = open(new MemoryStore());
    const file = create(volume, ROOT, 'file');
    const set = (name: string, size: number, flags = 0) =>
      volume.setExtendedAttribute(file, name, Buffer.alloc(size, 1), flags);
    set('user.a', 10, 1);
    assert.throws(() => set('user.a', 10, 1), { code: 'EEXIST' });
    assert.throws(() => set('user.b', 10, 2), { code: 'ENODATA' });
    set('user.a', 0, 2);
    assert.equal(volume.getExtendedAttribute(file, 'user.a')?.length, 0);
    assert.throws(() => set('user.big', 65_537), { code: 'E2BIG' });
    set('user.big', 65_536);
    assert.throws(() => set('user.more', 65_536), { code: 'ENOSPC' });
    assert.throws(() => set('system.posix_acl_access', 10), { code: 'EOPNOTSUPP' });
    assert.throws(() => volume.removeExtendedAttribute(file, 'user.none'), { code: 'ENODATA' });
    assert.deepEqual(volume.listExtendedAttributes(file), ['user.a', 'user.big']);
    assertConsistent(volume);
    volume.removeExtendedAttribute(file, 'user.big');
    assertConsistent(volume);
  });
});

describe('background work', () => {
  it('joins fragments without changing contents or times', () => {
    const store = new MemoryStore();
    const volume = open(store);
    const file = create(volume, ROOT, 'log');
    const expected = Buffer.alloc(400_000);
    for (let at = 0; at < 100; at++) {
      expected.fill(at + 1, at * 4000, at * 4000 + 4000);
      write(volume, file, at * 4000, Buffer.alloc(4000, at + 1));
    }
    write(volume, file, 3_000_000, Buffer.alloc(4000, 9));
    const before = volume.getAttributes(file);
    assert.equal(volume.verify().extents, 101);
    for (let step = 0; step < 4000; step++) volume.idle();
    assert.equal(volume.verify().extents, 2);
    assert.deepEqual(volume.getAttributes(file), before);
    assert.ok(read(volume, file, 0, 400_000).equals(expected));
    volume.checkpoint();
    while (volume.statistics().doomedRecords > 0) volume.idle();
    assert.equal(store.data.size, 3);
    assertConsistent(volume);
  });
});
