// A mounted filesystem does what the system calls say.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ERRNO } from '@qsfs/io';
import { clearLeftovers, eventually, Place, type Server, serve } from './mounted.ts';
import { system } from './system-calls.ts';

const place = new Place();
const at = (name: string) => join(place.mountPoint, name);
const ROOT = process.getuid?.() === 0;
/** A user that is not root, for tests that can become one. */
const SOMEBODY = 65534;
let server: Server;

before(async () => {
  server = await serve({ mountPoint: place.mountPoint, source: 'a name, with blank' });
});

after(async () => {
  await server.unmount();
  place.clear();
});
after(clearLeftovers);

test('the table of mounts shows the type and the source as given', () => {
  const line = fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((row) => row.includes(` ${place.mountPoint} `));
  assert.match(line ?? '', / - fuse\.memory a\\040name,\\040with\\040blank /);
});

test('what is written is read, at any offset and across pieces', () => {
  const content = Buffer.alloc(3_000_001);
  for (let index = 0; index < content.length; index++) content[index] = (index * 31) >>> 3;
  fs.writeFileSync(at('big'), content);
  assert.ok(fs.readFileSync(at('big')).equals(content));
  const file = fs.openSync(at('big'), fs.constants.O_RDWR | fs.constants.O_DIRECT);
  const part = Buffer.alloc(1_200_000);
  assert.equal(fs.readSync(file, part, 0, part.length, 777_777), part.length);
  assert.ok(part.equals(content.subarray(777_777, 777_777 + part.length)));
  assert.equal(fs.readSync(file, part, 0, part.length, 2_999_999), 2);
  assert.equal(fs.readSync(file, part, 0, part.length, 5_000_000), 0);
  fs.closeSync(file);
  fs.truncateSync(at('big'), 10);
  fs.truncateSync(at('big'), 20);
  assert.deepEqual(fs.readFileSync(at('big')), Buffer.concat([content.subarray(0, 10), Buffer.alloc(10)]));
  fs.writeFileSync(at('big'), 'short');
  assert.equal(fs.readFileSync(at('big'), 'latin1'), 'short');
  fs.appendFileSync(at('big'), 'er');
  assert.equal(fs.readFileSync(at('big'), 'latin1'), 'shorter');
});

test('directories, links, symlinks and renames', () => {
  fs.mkdirSync(at('d/e'), { recursive: true });
  fs.writeFileSync(at('d/file'), 'x');
  fs.linkSync(at('d/file'), at('d/e/link'));
  assert.equal(fs.statSync(at('d/file')).nlink, 2);
  assert.equal(fs.statSync(at('d/file')).ino, fs.statSync(at('d/e/link')).ino);
  fs.symlinkSync('../file', at('d/e/sym'));
  assert.equal(fs.readlinkSync(at('d/e/sym')), '../file');
  assert.equal(fs.readFileSync(at('d/e/sym'), 'latin1'), 'x');
  assert.throws(() => fs.rmdirSync(at('d')), { code: 'ENOTEMPTY' });
  assert.throws(() => fs.mkdirSync(at('d')), { code: 'EEXIST' });
  fs.renameSync(at('d/e'), at('moved'));
  assert.equal(fs.statSync(at('d')).nlink, 2);
  assert.deepEqual(fs.readdirSync(at('moved')).sort(), ['link', 'sym']);
  fs.writeFileSync(at('other'), 'y');
  assert.equal(system.rename(at('other'), at('d/file'), 1), -ERRNO.EEXIST);
  assert.equal(system.rename(at('other'), at('d/file'), 2), 0);
  assert.equal(fs.readFileSync(at('d/file'), 'latin1'), 'y');
  assert.equal(fs.readFileSync(at('other'), 'latin1'), 'x');
  assert.equal(system.rename(at('other'), at('d/file'), 4), -ERRNO.EINVAL);
  fs.rmSync(at('d'), { recursive: true });
  fs.rmSync(at('moved'), { recursive: true });
  assert.ok(!fs.existsSync(at('d')));
});

test('odd names are kept byte by byte', () => {
  const names = ['-', ' blank ', 'new\nline', '\\back', 'ümläut', '名前', 'a'.repeat(255)];
  fs.mkdirSync(at('names'));
  for (const name of names) fs.writeFileSync(at(`names/${name}`), name);
  const raw = Buffer.concat([Buffer.from(at('names/')), Buffer.from([0xff, 0x80, 0x01])]);
  fs.writeFileSync(raw, 'raw');
  for (const name of names) assert.equal(fs.readFileSync(at(`names/${name}`), 'utf8'), name);
  const listed = fs.readdirSync(at('names'), { encoding: 'buffer' }).map((name) => name.toString('latin1'));
  const expected = [...names.map((name) => Buffer.from(name).toString('latin1')), '\xff\x80\x01'];
  assert.deepEqual(listed.sort(), expected.sort());
  assert.throws(() => fs.writeFileSync(at('a'.repeat(256)), ''), { code: 'ENAMETOOLONG' });
});

test('times before 1970 and after 2038 keep their nanoseconds', () => {
  fs.writeFileSync(at('timed'), '');
  assert.equal(spawnSync('touch', ['-d', '1969-12-31T23:59:58.5Z', at('timed')]).status, 0);
  assert.equal(fs.statSync(at('timed'), { bigint: true }).mtimeNs, -1_500_000_000n);
  assert.equal(spawnSync('touch', ['-d', '2242-03-16T12:56:32.000000001Z', at('timed')]).status, 0);
  assert.equal(fs.statSync(at('timed'), { bigint: true }).mtimeNs, 8_589_934_592_000_000_001n);
});

test('modes, owners and special files', { skip: ROOT ? false : 'only root may' }, () => {
  fs.writeFileSync(at('owned'), 'x');
  fs.chmodSync(at('owned'), 0o4751);
  assert.equal(fs.statSync(at('owned')).mode, 0o104751);
  fs.chownSync(at('owned'), 70_000, 4_294_967_294);
  const status = fs.statSync(at('owned'));
  assert.deepEqual([status.uid, status.gid, status.mode], [70_000, 4_294_967_294, 0o100751]);
  assert.equal(system.makeNode(at('null'), 0o020666, 0x103), 0);
  assert.equal(fs.statSync(at('null')).rdev, 0x103);
  assert.equal(system.makeNode(at('pipe'), 0o010600, 0), 0);
  assert.ok(fs.statSync(at('pipe')).isFIFO());
});

test('a file can be made without write permission and written by who made it', {
  skip: ROOT ? false : 'needs another user',
}, () => {
  fs.mkdirSync(at('shared'), { mode: 0o777 });
  fs.chmodSync(at('shared'), 0o1777);
  const script = `umask 333; echo made > "$1"; cat "$1"; echo more >> "$1"`;
  const made = spawnSync('sh', ['-c', script, 'sh', at('shared/readonly')], {
    uid: SOMEBODY,
    gid: SOMEBODY,
    encoding: 'utf8',
  });
  assert.equal(made.stdout, 'made\n');
  assert.match(made.stderr, /Permission denied/);
  const status = fs.statSync(at('shared/readonly'));
  assert.deepEqual([status.mode, status.uid], [0o100444, SOMEBODY]);
  fs.writeFileSync(at('secret'), 'x', { mode: 0o600 });
  const peeked = spawnSync('cat', [at('secret')], { uid: SOMEBODY, gid: SOMEBODY });
  assert.notEqual(peeked.status, 0);
});

test('a stranger’s write takes the set-user-id bit away', {
  skip: ROOT ? false : 'needs another user',
}, () => {
  fs.writeFileSync(at('setid'), 'x');
  fs.chmodSync(at('setid'), 0o6777);
  fs.appendFileSync(at('setid'), 'by root');
  assert.equal(fs.statSync(at('setid')).mode & 0o7777, 0o6777);
  const written = spawnSync('sh', ['-c', 'echo x >> "$1"', 'sh', at('setid')], {
    uid: SOMEBODY,
    gid: SOMEBODY,
  });
  assert.equal(written.status, 0);
  assert.equal(fs.statSync(at('setid')).mode & 0o7777, 0o777);
});

test('locks are kept by the kernel and work between processes', () => {
  fs.writeFileSync(at('locked'), '');
  const script = 'exec 9< "$1"; flock -n 9 && ! flock -n "$1" true && flock -u 9 && flock -n "$1" echo free';
  const tried = spawnSync('sh', ['-c', script, 'sh', at('locked')], { encoding: 'utf8' });
  assert.equal(tried.stdout, 'free\n');
});

test('extended attributes', () => {
  fs.writeFileSync(at('attributed'), '');
  const path = at('attributed');
  assert.equal(system.setExtended(path, 'user.one', 'first'), 0);
  assert.equal(system.setExtended(path, 'user.two', ''), 0);
  assert.equal(system.setExtended(path, 'user.one', 'x', 1), -ERRNO.EEXIST);
  assert.equal(system.setExtended(path, 'user.three', 'x', 2), -ERRNO.ENODATA);
  assert.equal(system.getExtended(path, 'user.one'), 'first');
  assert.equal(system.getExtended(path, 'user.two'), '');
  assert.equal(system.getExtended(path, 'user.none'), -ERRNO.ENODATA);
  assert.deepEqual(system.listExtended(path).sort(), ['user.one', 'user.two']);
  assert.equal(system.removeExtended(path, 'user.one'), 0);
  assert.deepEqual(system.listExtended(path), ['user.two']);
});

test('statfs, allocation, holes, ranges and files without a name', () => {
  const space = fs.statfsSync(place.mountPoint);
  assert.deepEqual([space.bsize, space.blocks, space.bavail], [4096, 1_000_000, 800_000]);
  const file = fs.openSync(at('holes'), 'w+');
  assert.equal(system.allocate(file, 0, 0, 1_000_000), 0);
  assert.equal(fs.fstatSync(file).size, 1_000_000);
  fs.writeSync(file, 'data', 524_288);
  assert.equal(system.seek(file, 0, 3), 524_288);
  assert.equal(system.seek(file, 524_288, 4), 655_360);
  assert.equal(system.seek(file, 2_000_000, 3), -ERRNO.ENXIO);
  assert.equal(system.allocate(file, 3, 524_288, 2), 0);
  const four = Buffer.alloc(4);
  fs.readSync(file, four, 0, 4, 524_288);
  assert.equal(four.toString('latin1'), '\0\0ta');
  const copy = fs.openSync(at('copied'), 'w+');
  system.seek(file, 524_288, 0);
  assert.equal(system.copyRange(file, copy, 4), 4);
  assert.equal(fs.readFileSync(at('copied'), 'latin1'), '\0\0ta');
  fs.closeSync(copy);
  fs.closeSync(file);
  // O_TMPFILE
  const nameless = fs.openSync(place.mountPoint, 0o20200000 | fs.constants.O_RDWR, 0o600);
  fs.writeSync(nameless, 'nameless');
  assert.equal(system.linkOpen(nameless, at('named')), 0);
  fs.closeSync(nameless);
  assert.equal(fs.readFileSync(at('named'), 'latin1'), 'nameless');
});

test('an open file outlives its name', () => {
  fs.writeFileSync(at('doomed'), 'still here');
  const file = fs.openSync(at('doomed'), 'r+');
  fs.unlinkSync(at('doomed'));
  assert.equal(fs.fstatSync(file).nlink, 0);
  fs.writeSync(file, 'STILL', 0);
  const content = Buffer.alloc(10);
  fs.readSync(file, content, 0, 10, 0);
  assert.equal(content.toString('latin1'), 'STILL here');
  fs.closeSync(file);
});

test('ten thousand entries are listed once each, also while others vanish', async () => {
  fs.mkdirSync(at('many'));
  const names = Array.from({ length: 10_000 }, (_, index) => `entry-${index}`);
  for (const name of names) fs.closeSync(fs.openSync(at(`many/${name}`), 'w'));
  assert.deepEqual(fs.readdirSync(at('many')).sort(), [...names].sort());
  const kinds = fs.readdirSync(at('many'), { withFileTypes: true });
  assert.ok(kinds.every((entry) => entry.isFile()));
  const seen: string[] = [];
  const directory = fs.opendirSync(at('many'));
  for (let entry = directory.readSync(); entry; entry = directory.readSync()) {
    seen.push(entry.name);
    const index = Number(entry.name.slice(6));
    // Every second one goes: the one before, and one far ahead.
    if (index % 2 === 0) {
      fs.rmSync(at(`many/entry-${index}`), { force: true });
      fs.rmSync(at(`many/entry-${(index + 5000) % 10_000}`), { force: true });
    }
  }
  directory.closeSync();
  assert.equal(new Set(seen).size, seen.length);
  const odd = names.filter((name) => Number(name.slice(6)) % 2 === 1);
  assert.deepEqual(seen.filter((name) => Number(name.slice(6)) % 2 === 1).sort(), odd.sort());
  assert.deepEqual(fs.readdirSync(at('many')).sort(), odd.sort());
  for (const name of odd) fs.unlinkSync(at(`many/${name}`));
  fs.rmdirSync(at('many'));
});

test('fsync arrives, and the kernel does not ask twice for what it knows', async () => {
  fs.writeFileSync(at('known'), 'x');
  fs.statSync(at('known'));
  const before = await server.statistics();
  for (let turn = 0; turn < 50; turn++) {
    fs.statSync(at('known'));
    fs.readFileSync(at('known'));
    assert.ok(!fs.existsSync(at('never made')));
  }
  const file = fs.openSync(at('known'), 'r+');
  fs.fsyncSync(file);
  fs.fdatasyncSync(file);
  fs.closeSync(file);
  const later = await server.statistics();
  assert.equal(later.syncs - before.syncs, 2);
  const asked = (name: string) => (later.byOperation[name] ?? 0) - (before.byOperation[name] ?? 0);
  assert.ok(asked('lookup') <= 1, `${asked('lookup')} lookups`);
  assert.deepEqual([asked('open'), asked('flush'), asked('openDirectory'), asked('release')], [0, 0, 0, 0]);
  assert.ok((later.byOperation['open'] ?? 0) <= 1 && (later.byOperation['create'] ?? 0) <= 1);
  assert.equal(later.failures, 0);
});

test('what changed behind the kernel’s back is seen after a notification', async () => {
  fs.writeFileSync(at('stale'), 'contents');
  const { ino } = fs.statSync(at('stale'));
  server.tell({ do: 'change-behind', inode: ino });
  await server.message('changed');
  assert.equal(fs.statSync(at('stale')).size, 8);
  server.tell({ do: 'notify', inode: ino });
  assert.equal((await server.message('known'))['known'], true);
  assert.equal(fs.statSync(at('stale')).size, 0);
  assert.equal(fs.readFileSync(at('stale'), 'latin1'), '');
  server.tell({ do: 'notify', inode: 123_456_789 });
  assert.equal((await server.message('known'))['known'], false);
  server.tell({ do: 'notify', inode: 1, name: 'stale' });
  assert.equal((await server.message('known'))['known'], true);
});

test('what was removed is forgotten, reference by reference', async () => {
  for (const name of fs.readdirSync(place.mountPoint)) fs.rmSync(at(name), { recursive: true });
  assert.deepEqual(fs.readdirSync(place.mountPoint), []);
  const end = await eventually(
    () => server.statistics(),
    ({ inodes }) => inodes === 1,
  );
  assert.equal(end.references, 0);
});
