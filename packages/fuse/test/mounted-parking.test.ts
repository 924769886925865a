// Reads that wait for data from elsewhere: nobody else waits, and who waits can be killed.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { clearLeftovers, Place, type Server, serve } from './mounted.ts';

const place = new Place();
const at = (name: string) => join(place.mountPoint, name);
const DIRECT = fs.constants.O_RDONLY | fs.constants.O_DIRECT;
let server: Server;

before(async () => {
  server = await serve({ mountPoint: place.mountPoint });
});

after(async () => {
  await server.unmount();
  place.clear();
});
after(clearLeftovers);

/** A file whose reads wait; its contents are not in the page cache. Answers its inode. */
function slowFile(name: string, content: string): number {
  const file = fs.openSync(at(name), fs.constants.O_CREAT | fs.constants.O_RDWR | fs.constants.O_DIRECT);
  fs.writeSync(file, content);
  const { ino } = fs.fstatSync(file);
  fs.closeSync(file);
  return ino;
}

/** Reads in another process, so that a wait there is not ours. */
function reading(name: string, ...flags: string[]): ChildProcess & { readonly result: Promise<Buffer> } {
  const child = spawn('dd', [`if=${at(name)}`, 'bs=64k', 'status=none', ...flags], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const parts: Buffer[] = [];
  child.stdout.on('data', (part: Buffer) => parts.push(part));
  const result = new Promise<Buffer>((resolve, reject) => {
    child.once('close', (code, signal) => {
      if (code === 0) resolve(Buffer.concat(parts));
      else reject(new Error(`dd ended with ${code ?? signal}`));
    });
  });
  result.catch(() => {});
  return Object.assign(child, { result });
}

test('a read waits for its data while everybody else is served', async () => {
  const inode = slowFile('slow-one', 'worth the wait');
  const buffered = reading('slow-one');
  const direct = reading('slow-one', 'iflag=direct');
  await server.parked(2);
  fs.writeFileSync(at('quick'), 'quick');
  assert.equal(fs.readFileSync(at('quick'), 'latin1'), 'quick');
  assert.deepEqual(fs.readdirSync(place.mountPoint).sort(), ['quick', 'slow-one']);
  assert.equal(fs.statSync(at('slow-one')).size, 14);
  assert.ok(fs.statfsSync(place.mountPoint).blocks > 0);
  assert.equal((await server.statistics()).parkedCount, 2);
  server.tell({ do: 'release', inode });
  assert.equal((await buffered.result).toString(), 'worth the wait');
  assert.equal((await direct.result).toString(), 'worth the wait');
  assert.equal((await server.statistics()).parkedCount, 0);
});

test('running everything again without the data parks it again', async () => {
  const inode = slowFile('slow-two', 'patience');
  const read = reading('slow-two', 'iflag=direct');
  const { parkedEver } = await server.parked(1);
  server.tell({ do: 'retry-all' });
  await server.parked(1);
  assert.equal((await server.statistics()).parkedEver, parkedEver + 1);
  server.tell({ do: 'release', inode });
  assert.equal((await read.result).toString(), 'patience');
});

test('data that will never come is an error for the reader', async () => {
  const inode = slowFile('slow-three', 'lost');
  const file = await fs.promises.open(at('slow-three'), DIRECT);
  const read = file.read(Buffer.alloc(10), 0, 10, 0);
  await server.parked(1);
  server.tell({ do: 'fail', inode });
  await assert.rejects(read, { code: 'EIO' });
  await file.close();
});

for (const [signal, flags] of [
  ['SIGKILL', ['iflag=direct']],
  ['SIGINT', ['iflag=direct']],
  ['SIGKILL', []],
] as const) {
  test(`a reader that waits ${flags.length > 0 ? 'directly' : 'for the page cache'} dies of ${signal} at once`, async () => {
    const inode = slowFile(`slow-${signal}-${flags.length}`, 'never read');
    const child = reading(`slow-${signal}-${flags.length}`, ...flags);
    await server.parked(1);
    child.kill(signal);
    await assert.rejects(child.result, /SIG/);
    // Readahead belongs to nobody and stays parked; a direct read is taken back.
    await server.parked(flags.length > 0 ? 0 : 1);
    server.tell({ do: 'release', inode });
    await server.parked(0);
  });
}

test('more readers than may be parked get an error, and none hangs', async () => {
  const other = new Place();
  const bounded = await serve({ mountPoint: other.mountPoint, parkedCountMax: 2 });
  const path = join(other.mountPoint, 'slow');
  const file = fs.openSync(path, fs.constants.O_CREAT | fs.constants.O_RDWR | fs.constants.O_DIRECT);
  fs.writeSync(file, 'x'.repeat(100));
  const { ino } = fs.fstatSync(file);
  fs.closeSync(file);
  const child = (skip: number) =>
    reading('', `if=${path}`, 'iflag=direct,skip_bytes', `skip=${skip}`, 'count=1');
  const first = [child(0), child(1)];
  await bounded.parked(2);
  await assert.rejects(child(2).result, /ended with 1/);
  assert.equal((await bounded.statistics()).parkedRefused, 1);
  bounded.tell({ do: 'release', inode: ino });
  for (const read of first) assert.ok((await read.result).length > 0);
  await bounded.unmount();
  other.clear();
});
