// The ordinary operations of a volume, on a store in memory.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SimulatedRandom } from '@qsfs/io/simulated';
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

  it('changes long ranges of a fragmented file with nothing in memory', () => {
    const store = new MemoryStore();
    const volume = open(store, { cacheBytes: 0 });
    const file = create(volume, ROOT, 'file');
    const model = Buffer.alloc(3_000_000);
    const random = new SimulatedRandom(21);
    const put = (offset: number, length: number, value: number) => {
      model.fill(value, offset, offset + length);
      write(volume, file, offset, Buffer.alloc(length, value));
    };
    for (let round = 0; round < 60; round++) {
      // On a grid, so that ranges begin and end exactly where extents and pages do.
      for (let at = 0; at < 40; at++) put(random.below(2990) * 1000, 1000, random.below(256));
      const offset = random.below(2900) * 1000;
      const length = 1 + random.below(model.length - offset);
      volume.checkpoint();
      for (let evict = 0; evict < 3; evict++) volume.getAttributes(ROOT);
      if (round % 3 === 0) put(offset, length, round);
      else if (round % 3 === 1) {
        model.fill(0, offset, offset + length);
        volume.allocate(file, 3, offset, length);
      } else {
        const size = volume.getAttributes(file).sizeBytes;
        const cut = Math.floor(size / 2);
        model.fill(0, cut);
        volume.setAttributes(file, { sizeBytes: cut });
        volume.setAttributes(file, { sizeBytes: size });
      }
    }
    const size = volume.getAttributes(file).sizeBytes;
    assert.ok(read(volume, file).equals(model.subarray(0, size)));
    assertConsistent(volume);
  });

  it('replaces whole pages of a map with nothing but them in memory', () => {
    const store = new MemoryStore();
    const made = open(store);
    const file = create(made, ROOT, 'file');
    for (let at = 0; at < 600; at++) write(made, file, at * 1000, Buffer.alloc(1000, at));
    made.close();
    // Among these beginnings is that of a page.
    for (let first = 130; first < 300; first++) {
      const volume = open(store.afterKill());
      write(volume, file, first * 1000, Buffer.alloc(290_000, 1));
      assert.equal(volume.getAttributes(file).blocks, Math.ceil(600_000 / 512));
      if (first % 20 === 0) assertConsistent(volume);
    }
  });

  it('adds, moves, exchanges and removes names of large directories with nothing in memory', () => {
    const store = new MemoryStore();
    const volume = open(store, { cacheBytes: 0 });
    const random = new SimulatedRandom(4);
    const folders = [mkdir(volume, ROOT, 'one'), mkdir(volume, ROOT, 'two')];
    const models = [new Map<string, number>(), new Map<string, number>()];
    const nameOf = () => `${'n'.repeat(random.below(120))}${random.below(500)}`;
    for (let step = 0; step < 4000; step++) {
      if (step % 50 === 0) {
        volume.checkpoint();
        for (let evict = 0; evict < 3; evict++) volume.getAttributes(ROOT);
      }
      const [from, to] = [random.below(2), random.below(2)];
      const [source, target] = [folders[from]!, folders[to]!];
      const [left, right] = [models[from]!, models[to]!];
      const names = [...left.keys()];
      const old = names[random.below(Math.max(1, names.length))] ?? '';
      const other = [...right.keys()][random.below(Math.max(1, right.size))] ?? '';
      const name = nameOf();
      // Grows first, shrinks to nothing at the end.
      const grows = random.below(4000) > step;
      if (grows || names.length === 0) {
        if (!left.has(name)) left.set(name, create(volume, source, name));
      } else if (random.below(3) === 0) {
        const inode = left.get(old)!;
        left.delete(old);
        if (old !== name || left !== right) {
          right.set(name, inode);
          volume.rename(source, old, target, name, 0);
        } else left.set(old, inode);
      } else if (random.below(4) === 0 && other !== '') {
        const [a, b] = [left.get(old)!, right.get(other)!];
        left.set(old, b);
        right.set(other, a);
        if (a === b) left.set(old, a);
        volume.rename(source, old, target, other, 2);
      } else {
        left.delete(old);
        volume.unlink(source, old);
      }
    }
    for (const at of [0, 1]) assert.deepEqual(list(volume, folders[at]!, 13), models[at]);
    assertConsistent(volume);
    for (const at of [0, 1]) for (const name of models[at]!.keys()) volume.unlink(folders[at]!, name);
    assert.equal(volume.getAttributes(folders[0]!).sizeBytes, 0);
    assertConsistent(volume);
  });
});
