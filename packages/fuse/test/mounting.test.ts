// Mounting, unmounting, and what is left after a crash: a mount that answers errors until the next start.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ERRNO, realDisk, realProcesses } from '@qsfs/io';
import { deadMounts, detach } from '../src/index.ts';
import { clearLeftovers, type Message, Place, Server, serve } from './mounted.ts';
import type { ServeSettings } from './serve.ts';
import { system } from './system-calls.ts';

const ROOT = process.getuid?.() === 0;
const onlyRoot = { skip: ROOT ? false : 'only root may' };

after(clearLeftovers);

/** Names in a directory, or why they cannot be listed. */
function listing(path: string): string {
  try {
    return fs.readdirSync(path).join(' ');
  } catch (error) {
    return `${(error as NodeJS.ErrnoException).code}`;
  }
}

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

test('after kill -9 the place answers errors and not the folder below, until the next start clears the dead mounts', async () => {
  const place = new Place();
  for (let turn = 0; turn < 2; turn++) {
    const server = await serve({ mountPoint: place.mountPoint });
    const file = fs.openSync(join(place.mountPoint, 'open'), 'w+');
    await server.kill();
    assert.ok(place.isMounted);
    assert.throws(() => fs.writeSync(file, 'x'), { code: /ECONNABORTED|ENOTCONN/ });
    assert.throws(() => fs.closeSync(file), { code: /ECONNABORTED|ENOTCONN/ });
    assert.throws(() => fs.readdirSync(place.mountPoint), { code: 'ENOTCONN' });
    assert.throws(() => fs.writeFileSync(join(place.mountPoint, 'new'), ''), { code: 'ENOTCONN' });
  }
  const server = new Server({ mountPoint: place.mountPoint });
  const message = await server.message('mounted');
  assert.equal(message['replacedDead'], true);
  assert.equal(message['hiddenCount'], 0);
  fs.writeFileSync(join(place.mountPoint, 'x'), 'alive');
  await server.unmount();
  assert.ok(!place.isMounted);
  place.clear();
});

test(
  'whoever looks again and again while a dead mount is replaced sees errors or the new one, never the folder below',
  onlyRoot,
  async () => {
    const place = new Place();
    fs.writeFileSync(join(place.mountPoint, 'below'), '');
    const settings = { mountPoint: place.mountPoint };
    const first = await serve(settings);
    await first.kill();
    const seen = new Set<string>();
    const watch = setInterval(() => seen.add(listing(place.mountPoint)), 1);
    try {
      for (let turn = 0; turn < 3; turn++) {
        const next = await serve(settings);
        assert.equal(listing(place.mountPoint), '');
        assert.ok(place.mountCount <= 2, 'dead mounts pile up');
        await next.kill();
      }
    } finally {
      clearInterval(watch);
    }
    assert.deepEqual(
      [...seen].filter((listed) => !['ENOTCONN', 'ECONNABORTED', ''].includes(listed)),
      [],
    );
    const last = await serve(settings);
    await last.unmount();
    assert.equal(listing(place.mountPoint), 'below');
    place.clear();
  },
);

test(
  'a mount over a dead one takes the dead one along, whoever unmounts it, and gives it back when it was for nothing',
  onlyRoot,
  async () => {
    const place = new Place();
    const settings = { mountPoint: place.mountPoint };
    const killed = await serve(settings);
    await killed.kill();
    const useless = await serve(settings);
    useless.tell({ do: 'put-back' });
    await useless.message('ended');
    await useless.ended;
    assert.equal(listing(place.mountPoint), 'ENOTCONN');
    assert.equal(place.mountCount, 1);
    const unmounted = await serve(settings);
    assert.equal(spawnSync('umount', [place.mountPoint]).status, 0);
    await unmounted.ended;
    assert.equal(place.mountCount, 0);
    const again = await serve(settings);
    await again.kill();
    const used = await serve(settings);
    const file = fs.openSync(join(place.mountPoint, 'open'), 'w+');
    used.tell({ do: 'unmount' });
    assert.equal((await used.message('unmount'))['unmount'], 'detached');
    assert.equal(place.mountCount, 0);
    fs.closeSync(file);
    await used.ended;
    place.clear();
  },
);

test('a mount(8) that looks at the place first gets it cleared', onlyRoot, async () => {
  const place = new Place();
  const settings = { mountPoint: place.mountPoint };
  const killed = await serve(settings);
  await killed.kill();
  const mount = join(place.folder, 'mount');
  const real = spawnSync('sh', ['-c', 'command -v mount'], { encoding: 'utf8' }).stdout.trim();
  fs.writeFileSync(mount, `#!/bin/sh\nstat "${place.mountPoint}" >/dev/null && exec ${real} "$@"\n`, {
    mode: 0o755,
  });
  const server = await serve(settings, ['env', `PATH=${place.folder}:${process.env['PATH']}`]);
  assert.equal(place.mountCount, 1);
  await server.unmount();
  place.clear();
});

test('dead mounts are found by their source; a living, a stopped and a foreign one are not taken for dead', async () => {
  const io = { disk: realDisk, processes: realProcesses };
  const [dead, living, stopped, foreign] = [new Place(), new Place(), new Place(), new Place()];
  const source = dead.folder;
  const killed = await serve({ mountPoint: dead.mountPoint, source });
  await killed.kill();
  const well = await serve({ mountPoint: living.mountPoint, source });
  const held = await serve({ mountPoint: stopped.mountPoint, source, cacheSeconds: 0 });
  const other = await serve({ mountPoint: foreign.mountPoint, source: foreign.folder });
  await other.kill();
  held.process.kill('SIGSTOP');
  assert.deepEqual(
    deadMounts(io, (name) => name === source),
    [dead.mountPoint],
  );
  held.process.kill('SIGCONT');
  assert.ok(detach(realProcesses, dead.mountPoint));
  assert.deepEqual(
    deadMounts(io, (name) => name === source),
    [],
  );
  assert.ok(foreign.isMounted);
  await well.unmount();
  await held.unmount();
  for (const place of [dead, living, stopped, foreign]) place.clear();
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

test('with the writeback cache what was just written is no hole', async () => {
  const place = new Place();
  const server = await serve({ mountPoint: place.mountPoint, writebackCache: true });
  const file = fs.openSync(join(place.mountPoint, 'sparse'), 'w+');
  fs.ftruncateSync(file, 1_000_000);
  fs.writeSync(file, 'written', 524_288);
  const [data, hole] = [3, 4];
  // Programs that copy sparse files read from where the data begins to where the hole does.
  const begin = system.seek(file, 0, data);
  assert.ok(begin >= 0 && begin <= 524_288, `data begins at ${begin}`);
  assert.ok(system.seek(file, 524_288, hole) >= 524_288 + 7);
  assert.equal(system.seek(file, 2_000_000, data), -ERRNO.ENXIO);
  fs.closeSync(file);
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
