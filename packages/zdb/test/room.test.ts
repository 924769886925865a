// Room on a full disk: some is left to small values and deletions, and what removed values took is given back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedDisk } from '@qsfs/io/simulated';
import { idKey } from './scratch.ts';

import { encode, type LocalConnection, LocalServer } from './support/local-server.ts';

const MIB = 2 ** 20;
const CAPACITY = 32 * MIB;
const SPARE = 4 * MIB;
const LARGE = Buffer.alloc(MIB, 'large');

async function sequential(local: LocalServer): Promise<LocalConnection> {
  const client = await local.connect();
  assert.equal(await local.request(client, 'NSNEW', 'shards'), '+OK\r\n');
  assert.equal(await local.request(client, 'NSSET', 'shards', 'mode', 'seq'), '+OK\r\n');
  assert.equal(await local.request(client, 'SELECT', 'shards'), '+OK\r\n');
  return client;
}

/** Inserts large values until one is refused. @returns how many were taken, and the refusal */
async function fill(local: LocalServer, client: LocalConnection): Promise<{ taken: number; answer: string }> {
  for (let taken = 0; ; taken++) {
    assert.ok(taken < 1000);
    const answer = await local.request(client, 'SET', '', LARGE);
    if (!answer.startsWith('$')) return { taken, answer };
  }
}

const freeSaid = async (local: LocalServer, client: LocalConnection) =>
  Number(/data_disk_freespace_bytes: (\d+)/.exec(await local.request(client, 'NSINFO', 'shards'))![1]);

test('on a disk full of large values small ones are still stored, and deletions too; the spare room is not called free', async () => {
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY });
  const local = await LocalServer.start(disk, 1, { spareBytes: SPARE });
  const client = await sequential(local);
  const { taken, answer } = await fill(local, client);
  assert.match(answer, /^-No space left/);
  assert.ok(taken >= 24 && taken <= 28, `${taken} MiB were taken`);
  const { availableBytes } = disk.space('/data');
  assert.ok(availableBytes >= SPARE);
  assert.equal(await freeSaid(local, client), availableBytes - SPARE);
  assert.match(
    await local.request(client, 'NSINFO', 'shards'),
    new RegExp(`data_disk_spare_bytes: ${SPARE}\\n`),
  );
  assert.match(await local.request(client, 'SET', '', Buffer.alloc(60_000)), /^\$8/);
  assert.equal(await local.request(client, 'DEL', Buffer.from(idKey(0))), '+OK\r\n');
  assert.match(await local.request(client, 'GET', Buffer.from(idKey(1))), /large/);
  await local.close();
});

test('room of removed values is there again after some seconds, in files that are written, too', async () => {
  const disk = new SimulatedDisk({ capacityBytes: CAPACITY });
  const local = await LocalServer.start(disk, 1, { spareBytes: SPARE, givesBack: true });
  const client = await sequential(local);
  for (let round = 0; round < 4; round++) {
    const first = Number(
      /next_internal_id: (0x\w+)/.exec(await local.request(client, 'NSINFO', 'shards'))![1],
    );
    const from = Buffer.from(first.toString(16).padStart(16, '0'), 'hex').readBigUInt64LE();
    const { taken } = await fill(local, client);
    assert.ok(taken > 15, `round ${round}: ${taken} MiB were taken`);
    for (let id = Number(from); id < Number(from) + taken; id++)
      if (id % 8 !== 0) assert.equal(await local.request(client, 'DEL', Buffer.from(idKey(id))), '+OK\r\n');
    await local.clock.run(10_000);
    for (let id = 0; id < Number(from) + taken; id += 8)
      assert.match(await local.request(client, 'GET', Buffer.from(idKey(id))), /^\$1048576/, `id ${id}`);
  }
  const kept = await local.request(client, 'DBSIZE');
  await local.close();
  const again = await LocalServer.start(disk.kill());
  const other = await again.connect();
  await again.request(other, 'SELECT', 'shards');
  assert.equal(await again.request(other, 'DBSIZE'), kept);
  await again.close();
});

test('what is told of a namespace is committed: the next key does not become smaller when the disk turns out to be full', async () => {
  const disk = new SimulatedDisk();
  const local = await LocalServer.start(disk);
  const client = await sequential(local);
  const other = await local.connect();
  await local.request(other, 'SELECT', 'shards');
  const stop = disk.fail({ code: 'ENOSPC', kinds: ['write'], times: 1 });
  client.send(encode(['SET', '', Buffer.alloc(1000)]));
  const told = await local.request(other, 'NSINFO', 'shards');
  stop();
  assert.match(client.take().toString(), /^-Cannot write/);
  assert.match(told, /next_internal_id: 0x0+\n/);
  await local.close();
});
