// What every Disk promises. Run against the real one (with and without the C library) and the simulated one.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type Disk, type DiskFile, readWhole, replaceWhole } from '../src/disk.ts';

/** A disk and an empty directory on it. */
export interface DiskUnderTest {
  readonly disk: Disk;
  readonly root: string;
  dispose(): void;
}

const bytes = (length: number, value: number) => new Uint8Array(length).fill(value);

/** Bytes that differ from page to page and within one. */
function pattern(length: number, salt = 1): Uint8Array {
  const result = new Uint8Array(length);
  for (let i = 0; i < length; i++) result[i] = (i * 31 + (i >> 8) * 7 + salt) & 0xff;
  return result;
}

/** Defines the suite. */
export function describeDisk(name: string, make: () => DiskUnderTest): void {
  describe(`${name}: a disk`, () => {
    let under: DiskUnderTest;
    let disk: Disk;
    let opened: DiskFile[];
    const at = (path: string) => `${under.root}/${path}`;
    const open = (path: string, mode: Parameters<Disk['open']>[1]) => {
      const file = disk.open(at(path), mode);
      opened.push(file);
      return file;
    };
    const content = (path: string) => readWhole(disk, at(path));
    const put = (path: string, value: Uint8Array) => {
      const file = disk.open(at(path), 'create');
      file.truncate(0);
      file.write(value, 0);
      file.close();
    };

    beforeEach(() => {
      under = make();
      disk = under.disk;
      opened = [];
    });
    afterEach(() => {
      for (const file of opened) file.close();
      under.dispose();
    });

    it('opens files in four modes, each with its refusals', () => {
      assert.throws(() => open('a', 'read'), { code: 'ENOENT' });
      assert.throws(() => open('a', 'write'), { code: 'ENOENT' });
      open('a', 'create').write(bytes(3, 1), 0);
      assert.equal(open('a', 'create').size(), 3, 'an existing file is not cut');
      assert.throws(() => open('a', 'create-new'), { code: 'EEXIST' });
      open('b', 'create-new').write(bytes(1, 1), 0);
      const reader = open('a', 'read');
      assert.equal(reader.path, at('a'));
      assert.throws(() => reader.write(bytes(1, 1), 0), { code: 'EBADF' });
      assert.throws(() => reader.writeVector([bytes(1, 1), bytes(1, 1)], 0), { code: 'EBADF' });
      assert.throws(() => reader.truncate(0), { code: 'EINVAL' });
      assert.throws(() => reader.reserve(0, 10), { code: 'EBADF' });
      assert.throws(() => reader.punchHole(0, 10), { code: 'EBADF' });
      assert.equal(reader.size(), 3);
      reader.datasync();
    });

    it('refuses directories as files and files as directories', () => {
      disk.makeDirectory(at('d'));
      put('f', bytes(1, 1));
      for (const mode of ['read', 'write', 'create'] as const) {
        assert.throws(() => open('d', mode), { code: 'EISDIR' }, mode);
        assert.throws(() => open('f/x', mode), { code: 'ENOTDIR' }, mode);
        assert.throws(() => open('none/x', mode), { code: 'ENOENT' }, mode);
        assert.throws(
          () => open('f/', mode),
          { code: mode === 'create' ? /EISDIR|ENOTDIR/ : 'ENOTDIR' },
          mode,
        );
      }
      assert.throws(() => open('d', 'create-new'), { code: 'EEXIST' });
      assert.throws(() => disk.list(at('f')), { code: 'ENOTDIR' });
      assert.throws(() => disk.list(at('none')), { code: 'ENOENT' });
      assert.throws(() => disk.syncDirectory(at('f')), { code: 'ENOTDIR' });
      assert.throws(() => disk.makeDirectory(at('f')), { code: 'EEXIST' });
      assert.throws(() => disk.makeDirectory(at('f/x/y')), { code: 'ENOTDIR' });
      assert.throws(() => disk.makeDirectory(''), { code: 'ENOENT' });
      assert.throws(() => disk.copy(at('d'), at('x')), { code: 'EISDIR' });
      assert.throws(() => disk.copy(at('f'), at('d')), { code: 'EISDIR' });
      assert.equal(disk.stat(at('x')), undefined);
      assert.equal(disk.stat(at('f/x')), undefined);
    });

    it('refuses paths that no file can have', () => {
      const long = 'x'.repeat(256);
      for (const [path, code] of [
        [long, 'ENAMETOOLONG'],
        ['a\0b', 'EINVAL'],
        [`${'d/'.repeat(2100)}x`, 'ENAMETOOLONG'],
      ] as const) {
        assert.throws(() => open(path, 'create'), { code });
        assert.throws(() => disk.makeDirectory(at(path)), { code });
        assert.throws(() => disk.remove(at(path)), { code });
        assert.throws(() => disk.stat(at(path)), { code });
      }
      assert.throws(() => disk.open('', 'create'), { code: 'ENOENT' });
    });

    it('reads up to the end of the file and not further', () => {
      put('a', pattern(10_000));
      const file = open('a', 'read');
      const target = bytes(6000, 9);
      assert.equal(file.read(target, 0), 6000);
      assert.deepEqual(target, pattern(10_000).subarray(0, 6000));
      target.fill(9);
      assert.equal(file.read(target, 9000), 1000);
      assert.deepEqual(target.subarray(0, 1000), pattern(10_000).subarray(9000));
      assert.deepEqual(target.subarray(1000), bytes(5000, 9), 'nothing behind what was read');
      assert.equal(file.read(target, 10_000), 0);
      assert.equal(file.read(target, 1e12), 0);
      assert.equal(file.read(bytes(0, 0), 5), 0);
    });

    it('refuses positions and sizes that are none, and changes nothing', () => {
      put('a', bytes(10, 1));
      const file = open('a', 'write');
      for (const position of [-1, -5, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        assert.throws(() => file.read(bytes(2, 0), position), { code: 'EINVAL' });
        assert.throws(() => file.write(bytes(2, 2), position), { code: 'EINVAL' });
        assert.throws(() => file.writeVector([bytes(2, 2), bytes(2, 2)], position), { code: 'EINVAL' });
        assert.throws(() => file.truncate(position), { code: 'EINVAL' });
        assert.throws(() => file.punchHole(position, 5), { code: 'EINVAL' });
        assert.throws(() => file.reserve(0, position), { code: 'EINVAL' });
      }
      assert.throws(() => file.write(bytes(2, 2), Number.MAX_SAFE_INTEGER - 2), { code: 'EFBIG' });
      assert.throws(() => file.truncate(Number.MAX_SAFE_INTEGER), { code: 'EFBIG' });
      assert.throws(() => file.reserve(Number.MAX_SAFE_INTEGER - 2, 1), { code: 'EFBIG' });
      assert.deepEqual(content('a'), bytes(10, 1));
    });

    it('writes anywhere; what was never written reads as zeros', () => {
      const file = open('a', 'create');
      file.write(pattern(5000), 100_000);
      assert.equal(file.size(), 105_000);
      const whole = content('a')!;
      assert.deepEqual(whole.subarray(0, 100_000), bytes(100_000, 0));
      assert.deepEqual(whole.subarray(100_000), pattern(5000));
      file.write(bytes(10, 7), 50);
      file.write(bytes(0, 7), 200_000);
      assert.equal(file.size(), 105_000, 'an empty write does nothing');
      assert.deepEqual(content('a')!.subarray(50, 60), bytes(10, 7));
      assert.ok(disk.stat(at('a'))!.allocatedBytes < 60_000, 'the hole takes no space');
    });

    it('writes many pieces one behind the other, more than one system call takes, empty ones too', () => {
      const pieces = Array.from({ length: 3000 }, (_, i) => pattern(i % 7 === 3 ? 0 : (i % 50) + 1, i));
      const file = open('a', 'create');
      file.writeVector(pieces, 17);
      file.writeVector([], 1e6);
      file.writeVector([bytes(0, 0), bytes(0, 0)], 1e6);
      assert.deepEqual(content('a'), new Uint8Array(Buffer.concat([bytes(17, 0), ...pieces])));
      file.writeVector([bytes(5, 1)], 1);
      assert.deepEqual(content('a')!.subarray(0, 7), new Uint8Array([0, 1, 1, 1, 1, 1, 0]));
    });

    it('keeps what was written when the buffer is used again', () => {
      const buffer = bytes(5000, 1);
      const file = open('a', 'create');
      file.write(buffer, 0);
      buffer.fill(2);
      assert.deepEqual(content('a'), bytes(5000, 1));
    });

    it('writes and reads views into larger buffers', () => {
      const large = pattern(20_000);
      const file = open('a', 'create');
      file.write(large.subarray(1000, 3000), 0);
      file.writeVector([large.subarray(3000, 3001), large.subarray(5000, 9000)], 2000);
      const target = bytes(10_000, 9);
      assert.equal(file.read(target.subarray(100, 6101), 0), 6001);
      assert.deepEqual(target.subarray(100, 2101), large.subarray(1000, 3001));
      assert.deepEqual(target.subarray(2101, 6101), large.subarray(5000, 9000));
      assert.deepEqual([target[99], target[6101]], [9, 9]);
    });

    it('cuts and extends', () => {
      const file = open('a', 'create');
      file.write(bytes(10_000, 1), 0);
      file.truncate(5000);
      assert.equal(file.size(), 5000);
      file.truncate(9000);
      assert.deepEqual(content('a'), new Uint8Array([...bytes(5000, 1), ...bytes(4000, 0)]));
      file.truncate(2 ** 32 + 1);
      assert.equal(file.size(), 2 ** 32 + 1);
      assert.ok(disk.stat(at('a'))!.allocatedBytes < 100_000);
      file.truncate(0);
      assert.equal(file.size(), 0);
    });

    it('punches holes that read as zeros and give space back', () => {
      const file = open('a', 'create');
      file.write(pattern(1_000_000), 0);
      file.datasync();
      const before = disk.stat(at('a'))!.allocatedBytes;
      file.punchHole(100_001, 500_000);
      const expected = pattern(1_000_000);
      expected.fill(0, 100_001, 600_001);
      assert.deepEqual(content('a'), expected);
      const after = disk.stat(at('a'))!;
      assert.equal(after.sizeBytes, 1_000_000);
      assert.ok(before - after.allocatedBytes > 480_000, `${before} before, ${after.allocatedBytes} after`);
      file.punchHole(5, 7);
      expected.fill(0, 5, 12);
      file.punchHole(990_000, 1e6);
      expected.fill(0, 990_000);
      file.punchHole(3, 0);
      assert.deepEqual(content('a'), expected);
      assert.equal(file.size(), 1_000_000);
      file.write(bytes(10, 3), 300_000);
      assert.deepEqual(content('a')!.subarray(300_000, 300_010), bytes(10, 3));
    });

    it('reserves space without changing what is read', () => {
      const file = open('a', 'create');
      file.write(bytes(100, 1), 0);
      file.reserve(0, 500_000);
      assert.equal(file.size(), 100);
      assert.ok(disk.stat(at('a'))!.allocatedBytes >= 500_000);
      file.write(bytes(10, 2), 400_000);
      const whole = content('a')!;
      assert.deepEqual(whole.subarray(0, 200), new Uint8Array([...bytes(100, 1), ...bytes(100, 0)]));
      assert.equal(whole.length, 400_010);
      file.reserve(0, 0);
    });

    it('tells the kind, size, space and identity of what is there', () => {
      disk.makeDirectory(at('d'));
      put('a', bytes(5000, 1));
      assert.equal(disk.stat(at('none')), undefined);
      assert.equal(disk.stat(at('none/none')), undefined);
      assert.equal(disk.stat(at('d'))!.kind, 'directory');
      const status = disk.stat(at('a'))!;
      assert.equal(status.kind, 'file');
      assert.equal(status.sizeBytes, 5000);
      assert.equal(status.allocatedBytes, 8192);
      assert.ok(Number.isFinite(status.modifiedMs));
      put('b', bytes(1, 1));
      assert.notEqual(disk.stat(at('b'))!.inode, status.inode);
      disk.rename(at('a'), at('c'));
      assert.equal(disk.stat(at('c'))!.inode, status.inode);
    });

    it('lists names sorted by code unit, odd ones too', () => {
      const names = [
        'a',
        'B',
        'ä',
        ' x',
        '-r',
        'z\n',
        'Z',
        '10',
        '9',
        '\u{1f600}',
        '.hidden',
        '*',
        'x'.repeat(255),
      ];
      for (const name of names) put(name, bytes(0, 0));
      disk.makeDirectory(at('ab'));
      assert.deepEqual(disk.list(under.root), [...names, 'ab'].sort());
      assert.deepEqual(disk.list(`${under.root}/`), disk.list(under.root));
      assert.deepEqual(disk.list(at('ab')), []);
    });

    it('makes directories with their parents, again and again', () => {
      disk.makeDirectory(at('a/b/c'));
      disk.makeDirectory(at('a/b/c'));
      disk.makeDirectory(at('a//b/d/'));
      assert.deepEqual(disk.list(at('a/b')), ['c', 'd']);
      assert.equal(disk.stat(at('a/b/../b/./c'))!.kind, 'directory');
      assert.equal(disk.stat(at('a/none/../b')), undefined);
    });

    it('removes files and empty directories', () => {
      disk.makeDirectory(at('d/e'));
      put('f', bytes(1, 1));
      assert.throws(() => disk.remove(at('d')), { code: 'ENOTEMPTY' });
      assert.throws(() => disk.remove(at('none')), { code: 'ENOENT' });
      assert.throws(() => disk.remove(at('f/x')), { code: 'ENOTDIR' });
      assert.throws(() => disk.remove(at('f/')), { code: 'ENOTDIR' });
      assert.throws(() => disk.remove(at('d/e/..')), { code: 'ENOTEMPTY' });
      disk.remove(at('f'));
      disk.remove(at('d/e'));
      disk.remove(at('d'));
      assert.deepEqual(disk.list(under.root), []);
    });

    it('removes trees, and nothing beside them', () => {
      disk.makeDirectory(at('d/e/f'));
      put('d/a', bytes(1, 1));
      put('d/e/f/b', bytes(1, 1));
      put('dd', bytes(1, 1));
      disk.removeTree(at('d'));
      disk.removeTree(at('d'));
      disk.removeTree(at('none/none'));
      assert.deepEqual(disk.list(under.root), ['dd']);
      disk.removeTree(at('dd'));
      assert.deepEqual(disk.list(under.root), []);
    });

    it('a removed file lives on for those who have it open', () => {
      const file = open('a', 'create');
      file.write(bytes(5000, 1), 0);
      disk.remove(at('a'));
      put('a', bytes(10, 2));
      const target = bytes(6000, 0);
      assert.equal(file.read(target, 0), 5000);
      file.write(bytes(10, 3), 5000);
      file.datasync();
      assert.equal(file.size(), 5010);
      assert.deepEqual(content('a'), bytes(10, 2));
    });

    it('renames over files and empty directories, and refuses the rest', () => {
      put('a', bytes(1, 1));
      put('b', bytes(2, 2));
      disk.makeDirectory(at('d/sub'));
      disk.makeDirectory(at('empty'));
      const open_b = open('b', 'read');
      disk.rename(at('a'), at('b'));
      assert.deepEqual(content('b'), bytes(1, 1));
      assert.equal(open_b.size(), 2, 'the replaced file lives on where it is open');
      assert.throws(() => disk.rename(at('a'), at('c')), { code: 'ENOENT' });
      assert.throws(() => disk.rename(at('b'), at('none/c')), { code: 'ENOENT' });
      assert.throws(() => disk.rename(at('b'), at('d')), { code: 'EISDIR' });
      assert.throws(() => disk.rename(at('d'), at('b')), { code: 'ENOTDIR' });
      assert.throws(() => disk.rename(at('empty'), at('d')), { code: 'ENOTEMPTY' });
      assert.throws(() => disk.rename(at('d'), at('d/sub/x')), { code: 'EINVAL' });
      assert.throws(() => disk.rename(at('b'), at('new/')), { code: 'ENOTDIR' });
      disk.rename(at('b'), at('b'));
      disk.rename(at('d'), at('empty'));
      disk.rename(at('b'), at('empty/sub/b'));
      assert.deepEqual(disk.list(under.root), ['empty']);
      assert.deepEqual(content('empty/sub/b'), bytes(1, 1));
    });

    it('copies files, replacing the target', () => {
      put('a', pattern(300_000));
      put('b', bytes(500_000, 2));
      disk.copy(at('a'), at('b'));
      disk.copy(at('a'), at('c'));
      disk.copy(at('a'), at('a'));
      for (const name of ['a', 'b', 'c']) assert.deepEqual(content(name), pattern(300_000), name);
      open('a', 'write').write(bytes(10, 9), 0);
      assert.deepEqual(content('c'), pattern(300_000), 'copies are independent');
      assert.throws(() => disk.copy(at('none'), at('x')), { code: 'ENOENT' });
      assert.throws(() => disk.copy(at('a'), at('none/x')), { code: 'ENOENT' });
      assert.equal(disk.stat(at('x')), undefined);
      disk.makeDirectory(at('d'));
      assert.throws(() => disk.copy(at('d'), at('b')), { code: 'EISDIR' });
      assert.deepEqual(content('b'), pattern(300_000), 'a refused copy leaves the target');
    });

    it('locks a file for one open file at a time, until it is closed', () => {
      const first = open('a', 'create');
      const second = open('a', 'read');
      assert.equal(first.tryLock(), true);
      assert.equal(first.tryLock(), true, 'again by its holder');
      assert.equal(second.tryLock(), false);
      assert.equal(second.tryLock(), false);
      first.close();
      assert.equal(second.tryLock(), true);
      assert.equal(open('a', 'write').tryLock(), false);
    });

    it('refuses everything on a closed file, but for closing it again', () => {
      const file = open('a', 'create');
      file.write(bytes(10, 1), 0);
      file.close();
      const other = open('b', 'create');
      other.write(bytes(10, 2), 0);
      for (const call of [
        () => file.read(bytes(1, 0), 0),
        () => file.write(bytes(1, 0), 0),
        () => file.writeVector([bytes(1, 0)], 0),
        () => file.writeVector([bytes(1, 0), bytes(1, 0)], 0),
        () => file.size(),
        () => file.truncate(0),
        () => file.datasync(),
        () => file.reserve(0, 1),
        () => file.punchHole(0, 1),
        () => file.tryLock(),
      ]) {
        assert.throws(call, { code: 'EBADF' });
      }
      assert.equal(file.descriptor, -1);
      file.close();
      assert.deepEqual(content('b'), bytes(10, 2), 'the next file with that descriptor is untouched');
      other.datasync();
    });

    it('tells the space of the filesystem', () => {
      const before = disk.space(under.root);
      assert.ok(before.totalBytes > 0 && before.availableBytes > 0);
      assert.ok(before.availableBytes <= before.totalBytes);
      put('a', bytes(1, 1));
      assert.equal(disk.space(at('a')).totalBytes, before.totalBytes);
      assert.throws(() => disk.space(at('none')), { code: 'ENOENT' });
    });

    it('resolves paths', () => {
      disk.makeDirectory(at('d/e'));
      const root = disk.resolve(under.root);
      assert.equal(disk.resolve(at('d/../d//e/./')), `${root}/d/e`);
      assert.throws(() => disk.resolve(at('none')), { code: 'ENOENT' });
      assert.throws(() => disk.resolve(at('none/..')), { code: 'ENOENT' });
    });

    it('replaces and reads whole files', () => {
      assert.equal(readWhole(disk, at('a')), undefined);
      disk.makeDirectory(at('d'));
      assert.equal(readWhole(disk, at('d')), undefined);
      replaceWhole(disk, at('a'), pattern(5000));
      replaceWhole(disk, at('a'), pattern(100));
      assert.deepEqual(content('a'), pattern(100));
      put('a.new', bytes(1000, 9));
      replaceWhole(disk, at('a'), bytes(0, 0));
      assert.deepEqual(content('a'), bytes(0, 0));
      assert.deepEqual(disk.list(under.root), ['a', 'd']);
      assert.throws(() => replaceWhole(disk, at('d'), bytes(1, 1)), { code: 'EISDIR' });
    });

    it('syncs files and directories', () => {
      const file = open('a', 'create');
      file.write(bytes(10, 1), 0);
      file.datasync();
      disk.syncDirectory(under.root);
      assert.throws(() => disk.syncDirectory(at('none')), { code: 'ENOENT' });
    });
  });
}
