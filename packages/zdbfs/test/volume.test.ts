// The ordinary operations of a volume, on a store in memory.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MemoryStore } from './memory-store.ts';
import {
  assertConsistent,
  create,
  dump,
  list,
  mkdir,
  open,
  ROOT,
  ROOT_CALLER,
  read,
  write,
} from './volume-fixture.ts';

describe('a volume', () => {
  it('is made in an empty store, closed and opened again', () => {
    const store = new MemoryStore();
    const volume = open(store);
    assert.equal(volume.getAttributes(ROOT).mode, 0o040755);
    assert.equal(volume.getAttributes(ROOT).linkCount, 2);
    volume.close();
    assert.ok(store.closed);
    assertConsistent(open(store.afterKill()));
  });

  it('keeps files, directories, links and symlinks over a remount, with and without a clean end', () => {
    for (const end of ['close', 'kill'] as const) {
      const store = new MemoryStore();
      const volume = open(store);
      const folder = mkdir(volume, ROOT, 'folder');
      const small = create(volume, folder, 'small');
      write(volume, small, 0, 'hello');
      const large = create(volume, folder, 'large');
      write(volume, large, 0, Buffer.alloc(3_000_000, 'abc'));
      write(volume, large, 1_000_000, Buffer.alloc(10, 'X'));
      volume.link(small, ROOT, 'second');
      volume.makeSymlink(ROOT, 'pointer', Buffer.from('folder/small'), ROOT_CALLER);
      volume.setExtendedAttribute(large, 'user.note', Buffer.alloc(3000, 'n'), 0);
      volume.makeNode(ROOT, 'device', 0o020600, 0x103, ROOT_CALLER);
      assertConsistent(volume);
      const before = dump(volume);
      if (end === 'close') volume.close();
      const again = open(store.afterKill());
      assert.deepEqual(dump(again), before);
      assertConsistent(again);
      assert.equal(
        read(again, large, 999_999, 12).toString(),
        'bXXXXXXXXXXc'.replace(/^b/, read(again, large, 999_999, 1).toString()),
      );
    }
  });

  it('lists large directories completely while entries come and go', () => {
    const volume = open(new MemoryStore());
    const folder = mkdir(volume, ROOT, 'folder');
    for (let at = 0; at < 2000; at++) create(volume, folder, `file-${at}`);
    assertConsistent(volume);
    assert.equal(list(volume, folder, 7).size, 2000);
    const found = new Set<string>();
    let cookie = 0;
    let round = 0;
    for (;;) {
      let taken = 0;
      volume.listDirectory(
        folder,
        cookie,
        (name, _inode, _mode, next) => {
          if (taken === 10) return false;
          taken++;
          cookie = next;
          assert.ok(!found.has(name));
          found.add(name);
          return true;
        },
        false,
      );
      if (taken === 0) break;
      for (const name of [...found].slice(-3)) {
        if (name.startsWith('file-') && !name.endsWith('x')) volume.unlink(folder, name);
      }
      create(volume, folder, `new-${round++}x`);
    }
    for (let at = 0; at < 2000; at++) assert.ok(found.has(`file-${at}`), `file-${at} was not listed`);
    assertConsistent(volume);
    for (const name of list(volume, folder).keys()) volume.unlink(folder, name);
    assert.equal(volume.getAttributes(folder).sizeBytes, 0);
    volume.removeDirectory(ROOT, 'folder');
    assertConsistent(volume);
  });

  it('keeps unlinked files until the kernel forgets them, and frees them after a crash', () => {
    const store = new MemoryStore();
    const volume = open(store);
    const file = create(volume, ROOT, 'open');
    write(volume, file, 0, Buffer.alloc(100_000, 1));
    volume.unlink(ROOT, 'open');
    assert.equal(volume.getAttributes(file).linkCount, 0);
    assert.equal(read(volume, file).length, 100_000);
    assertConsistent(volume);
    const crashed = open(store.afterKill());
    crashed.idle();
    assertConsistent(crashed);
    assert.equal(crashed.statistics().orphans, 0);
    assert.equal(crashed.statistics().usedBytes, 0);
    volume.forget(file, 1);
    volume.idle();
    assert.equal(volume.statistics().orphans, 0);
    assert.equal(volume.statistics().usedBytes, 0);
    volume.checkpoint();
    while (volume.statistics().doomedRecords > 0) volume.idle();
    assert.equal(store.data.size, 1);
    assertConsistent(volume);
  });

  it('renames atomically: over files, over empty directories, exchanging, refusing', () => {
    const volume = open(new MemoryStore());
    const rename = (a: number, b: string, c: number, d: string, flags = 0) =>
      volume.rename(a, b, c, d, flags);
    const one = mkdir(volume, ROOT, 'one');
    const two = mkdir(volume, one, 'two');
    const file = create(volume, two, 'file');
    const other = create(volume, ROOT, 'other');
    assert.throws(() => rename(ROOT, 'one', two, 'inside'), { code: 'EINVAL' });
    assert.throws(() => rename(ROOT, 'one', ROOT, 'other'), { code: 'ENOTDIR' });
    assert.throws(() => rename(ROOT, 'other', ROOT, 'one'), { code: 'EISDIR' });
    assert.throws(() => rename(ROOT, 'none', ROOT, 'x'), { code: 'ENOENT' });
    assert.throws(() => rename(two, 'file', ROOT, 'other', 1), { code: 'EEXIST' });
    const full = mkdir(volume, ROOT, 'full');
    create(volume, full, 'x');
    assert.throws(() => rename(one, 'two', ROOT, 'full'), { code: 'ENOTEMPTY' });
    rename(two, 'file', ROOT, 'other');
    assert.equal(volume.lookup(ROOT, 'other')?.inode, file);
    assert.equal(volume.getAttributes(other).linkCount, 0);
    rename(one, 'two', ROOT, 'moved');
    assert.equal(volume.getAttributes(one).linkCount, 2);
    assert.equal(volume.getAttributes(ROOT).linkCount, 5);
    assert.equal(volume.lookup(two, '..')?.inode, ROOT);
    rename(ROOT, 'moved', ROOT, 'other', 2);
    assert.equal(volume.lookup(ROOT, 'other')?.inode, two);
    assert.equal(volume.lookup(ROOT, 'moved')?.inode, file);
    assert.throws(() => rename(ROOT, 'moved', ROOT, 'absent', 2), { code: 'ENOENT' });
    assertConsistent(volume);
  });

  it('handles holes, truncation, punching and seeking', () => {
    const volume = open(new MemoryStore());
    const file = create(volume, ROOT, 'sparse');
    write(volume, file, 5_000_000_000_000, 'end');
    assert.equal(volume.getAttributes(file).sizeBytes, 5_000_000_000_003);
    assert.equal(volume.getAttributes(file).blocks, 1);
    assert.deepEqual(read(volume, file, 1000, 10), Buffer.alloc(10));
    assert.equal(volume.seek(file, 0, 3), 5_000_000_000_000);
    assert.equal(volume.seek(file, 0, 4), 0);
    assert.equal(volume.seek(file, 5_000_000_000_001, 4), 5_000_000_000_003);
    assert.throws(() => volume.seek(file, 5_000_000_000_003, 3), { code: 'ENXIO' });
    volume.setAttributes(file, { sizeBytes: 100 });
    write(volume, file, 0, Buffer.alloc(10_000, 'a'));
    volume.setAttributes(file, { sizeBytes: 5000 });
    volume.setAttributes(file, { sizeBytes: 8000 });
    assert.deepEqual(read(volume, file), Buffer.concat([Buffer.alloc(5000, 'a'), Buffer.alloc(3000)]));
    volume.allocate(file, 3, 1000, 2000);
    assert.deepEqual(
      read(volume, file, 900, 2200),
      Buffer.concat([Buffer.alloc(100, 'a'), Buffer.alloc(2000), Buffer.alloc(100, 'a')]),
    );
    assert.equal(volume.seek(file, 0, 4), 1000);
    assert.equal(volume.seek(file, 1000, 3), 3000);
    volume.allocate(file, 0, 0, 20_000);
    assert.equal(volume.getAttributes(file).sizeBytes, 20_000);
    volume.allocate(file, 1, 0, 50_000);
    assert.equal(volume.getAttributes(file).sizeBytes, 20_000);
    volume.allocate(file, 0x10, 19_000, 3000);
    assert.equal(volume.getAttributes(file).sizeBytes, 22_000);
    assert.throws(() => volume.allocate(file, 8, 0, 4096), { code: 'EOPNOTSUPP' });
    assertConsistent(volume);
  });

  it('maps thousands of small writes in one file and takes them off again', () => {
    const volume = open(new MemoryStore());
    const file = create(volume, ROOT, 'fragments');
    const model = Buffer.alloc(4 * 1024 * 1024);
    let seed = 12345;
    const next = (limit: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % limit;
    };
    for (let at = 0; at < 4000; at++) {
      const length = 1 + next(9000);
      const offset = next(model.length - length);
      model.fill(at, offset, offset + length);
      write(volume, file, offset, Buffer.alloc(length, at));
    }
    const size = volume.getAttributes(file).sizeBytes;
    assert.ok(read(volume, file).equals(model.subarray(0, size)));
    assertConsistent(volume);
    volume.setAttributes(file, { sizeBytes: 10_000 });
    assert.ok(read(volume, file).equals(model.subarray(0, 10_000)));
    assertConsistent(volume);
    volume.setAttributes(file, { sizeBytes: 0 });
    assert.equal(volume.getAttributes(file).blocks, 0);
    assertConsistent(volume);
  });
});
