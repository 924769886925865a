// Mounting, unmounting, and what is left after a crash: nothing.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { clearLeftovers, eventually, type Message, Place, Server, serve } from './mounted.ts';
import type { ServeSettings } from './serve.ts';

const ROOT = process.getuid?.() === 0;
const onlyRoot = { skip: ROOT ? false : 'only root may' };

after(clearLeftovers);

/** How a server refuses to start. */
async function refusal(settings: ServeSettings): Promise<Message> {
  const server = new Server(settings);
  const message = await server.message('error');
  await server.ended;
  return message;
}

test('a place that is no directory is refused with what to do', async () => {
  const place = new Place();
  const missing = await refusal({ mountPoint: join(place.folder, 'missing') });
  assert.equal(missing['error'], 'no-mount-point');
  assert.match(`${missing['message']}`, /mkdir -p /);
  fs.writeFileSync(join(place.folder, 'file'), '');
  const file = await refusal({ mountPoint: join(place.folder, 'file') });
  assert.equal(file['error'], 'not-a-directory');
  assert.equal((await refusal({ mountPoint: '' }))['error'], 'no-mount-point');
  place.clear();
});

test('a stopped server’s mount is found out without touching it', async () => {
  const place = new Place();
  const server = await serve({ mountPoint: place.mountPoint, cacheSeconds: 0 });
  server.process.kill('SIGSTOP');
  assert.equal((await refusal({ mountPoint: place.mountPoint }))['error'], 'already-mounted');
  server.process.kill('SIGCONT');
  await server.unmount();
  place.clear();
});

test('a mount point may be named through a symlink, and the mount is where it leads', async () => {
  const place = new Place();
  const link = join(place.folder, 'link');
  fs.symlinkSync('mnt', link);
  const server = await serve({ mountPoint: `${link}/.` });
  assert.ok(place.isMounted);
  assert.equal((await refusal({ mountPoint: link }))['error'], 'already-mounted');
  await server.unmount();
  fs.unlinkSync(link);
  fs.symlinkSync('nowhere', link);
  assert.equal((await refusal({ mountPoint: link, createMountPoint: true }))['error'], 'no-mount-point');
  assert.equal((await refusal({ mountPoint: join(place.folder, 'link/x') }))['error'], 'no-mount-point');
  place.clear();
});

test('a missing mount point is made when asked for, with its parents', async () => {
  const place = new Place();
  const mountPoint = join(place.folder, 'deep/er');
  const server = await serve({ mountPoint, createMountPoint: true });
  fs.writeFileSync(join(mountPoint, 'x'), 'x');
  await server.unmount();
  assert.deepEqual(fs.readdirSync(mountPoint), []);
  place.clear();
});

test('a mount point in use is refused, and its mount lives on', async () => {
  const place = new Place();
  const server = await serve({ mountPoint: place.mountPoint });
  fs.writeFileSync(join(place.mountPoint, 'x'), 'x');
  const second = await refusal({ mountPoint: `${place.mountPoint}/` });
  assert.equal(second['error'], 'already-mounted');
  assert.match(`${second['message']}`, /already a mount point.*umount|fusermount3 -u/);
  assert.equal(fs.readFileSync(join(place.mountPoint, 'x'), 'latin1'), 'x');
  await server.unmount();
  place.clear();
});

test('a read-only mount refuses changes', async () => {
  const place = new Place();
  const server = await serve({ mountPoint: place.mountPoint, readOnly: true });
  assert.throws(() => fs.writeFileSync(join(place.mountPoint, 'x'), ''), { code: 'EROFS' });
  await server.unmount();
  place.clear();
});

test('unmounting while a file is open frees the name at once and serves the file to its end', async () => {
  const place = new Place();
  const server = await serve({ mountPoint: place.mountPoint });
  const file = fs.openSync(join(place.mountPoint, 'open'), 'w+');
  server.tell({ do: 'unmount' });
  assert.equal((await server.message('unmount'))['unmount'], 'detached');
  assert.ok(!place.isMounted);
  fs.writeSync(file, 'after the end');
  fs.fsyncSync(file);
  const content = Buffer.alloc(13);
  fs.readSync(file, content, 0, 13, 0);
  assert.equal(content.toString(), 'after the end');
  assert.ok(!server.messages.some((message) => 'ended' in message));
  fs.closeSync(file);
  assert.equal((await server.message('ended'))['ended'], 'unmounted');
  await server.ended;
  place.clear();
});

test('unmounting from outside ends the session as well', async () => {
  const place = new Place();
  const server = await serve({ mountPoint: place.mountPoint });
  const command = ROOT ? ['umount', place.mountPoint] : ['fusermount3', '-u', place.mountPoint];
  assert.equal(spawnSync(command[0] as string, command.slice(1)).status, 0);
  assert.equal((await server.message('ended'))['ended'], 'unmounted');
  await server.ended;
  place.clear();
});

test('a session that is stopped leaves no mount behind', async () => {
  const place = new Place();
  const server = await serve({ mountPoint: place.mountPoint });
  server.tell({ do: 'stop' });
  assert.equal((await server.message('ended'))['ended'], 'stopped');
  await server.ended;
  assert.ok(!place.isMounted);
  place.clear();
});

test('kill -9 leaves no mount behind', async () => {
  const place = new Place();
  const server = await serve({ mountPoint: place.mountPoint });
  const file = fs.openSync(join(place.mountPoint, 'open'), 'w+');
  await server.kill();
  await eventually(
    () => place.isMounted,
    (mounted) => !mounted,
  );
  assert.throws(() => fs.writeSync(file, 'x'), { code: /ECONNABORTED|ENOTCONN/ });
  assert.throws(() => fs.closeSync(file), { code: /ECONNABORTED|ENOTCONN/ });
  assert.deepEqual(fs.readdirSync(place.mountPoint), []);
  place.clear();
});

test('a guardian leaves a newer mount at the same place alone', async () => {
  const place = new Place();
  const first = await serve({ mountPoint: place.mountPoint });
  const command = ROOT ? ['umount', '-l'] : ['fusermount3', '-u', '-z'];
  const busy = fs.openSync(place.mountPoint, 'r');
  assert.equal(spawnSync(command[0] as string, [...command.slice(1), place.mountPoint]).status, 0);
  const second = await serve({ mountPoint: place.mountPoint, guardian: false });
  fs.closeSync(busy);
  await first.kill();
  fs.writeFileSync(join(place.mountPoint, 'x'), 'mine');
  // The first guardian has a moment to do harm: it ends by itself once its pipe is closed.
  await eventually(
    () => spawnSync('pgrep', ['-f', `qsfs-guardian .*${place.mountPoint}`]).status,
    (status) => status === 1,
  );
  assert.equal(fs.readFileSync(join(place.mountPoint, 'x'), 'latin1'), 'mine');
  await second.unmount();
  place.clear();
});

test('dead mounts that a crash without guardian left are cleared by the next start', async () => {
  const place = new Place();
  for (let turn = 0; turn < 2; turn++) {
    const server = await serve({ mountPoint: place.mountPoint, guardian: false });
    await server.kill();
    assert.ok(place.isMounted);
    assert.throws(() => fs.statSync(place.mountPoint), { code: 'ENOTCONN' });
  }
  const server = new Server({ mountPoint: place.mountPoint });
  assert.equal((await server.message('mounted'))['staleCleared'], 1);
  fs.writeFileSync(join(place.mountPoint, 'x'), 'alive');
  await server.unmount();
  assert.ok(!place.isMounted);
  place.clear();
});

test('the writeback cache gathers small writes, and fsync brings them', async () => {
  const place = new Place();
  const server = await serve({ mountPoint: place.mountPoint, writebackCache: true });
  const path = join(place.mountPoint, 'gathered');
  const file = fs.openSync(path, 'w+');
  for (let index = 0; index < 1024; index++)
    fs.writeSync(file, Buffer.alloc(1024, index), 0, 1024, index * 1024);
  fs.fsyncSync(file);
  const { byOperation } = await server.statistics();
  assert.ok((byOperation['write'] ?? 0) < 100, `${byOperation['write']} writes for 1024`);
  fs.closeSync(file);
  const direct = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECT);
  const content = Buffer.alloc(1024 * 1024);
  assert.equal(fs.readSync(direct, content, 0, content.length, 0), content.length);
  for (let index = 0; index < 1024; index++) assert.equal(content[index * 1024 + 1023], index % 256);
  fs.closeSync(direct);
  await server.unmount();
  place.clear();
});

test('without FFI the session works, is woken, and parks', onlyRoot, async () => {
  const place = new Place();
  const server = await serve({ mountPoint: place.mountPoint, useLibc: false });
  const at = (name: string) => join(place.mountPoint, name);
  const content = Buffer.alloc(2_500_000, 'abcdefg');
  fs.writeFileSync(at('plain'), content);
  assert.ok(fs.readFileSync(at('plain')).equals(content));
  const flags = fs.constants.O_CREAT | fs.constants.O_RDWR | fs.constants.O_DIRECT;
  const slow = await fs.promises.open(at('slow'), flags);
  await slow.write('late');
  const { ino } = await slow.stat();
  const buffer = Buffer.alloc(4);
  const read = slow.read(buffer, 0, 4, 0);
  await server.parked(1);
  server.tell({ do: 'release', inode: ino });
  await read;
  assert.equal(buffer.toString(), 'late');
  await slow.close();
  const statistics = await server.statistics();
  assert.equal(statistics.failures, 0);
  assert.ok(statistics.idleCalls > 0);
  await server.unmount();
  place.clear();
});
