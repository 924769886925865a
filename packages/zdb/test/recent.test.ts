// Large values that were compared with their checksum a moment ago.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentRecords } from '../src/engine/verified.ts';
import { LocalServer } from './support/local-server.ts';

test('a comparison is remembered for ten seconds, for one record and its file as it was', () => {
  const recent = new RecentRecords();
  assert.equal(recent.has(1, 28, 500, 0), false);
  recent.add(1, 28, 500, 0);
  recent.add(2, 28, 700, 6000);
  assert.equal(recent.has(1, 28, 500, 9999), true);
  assert.equal(recent.has(1, 28, 501, 9999), false, 'the file was changed');
  assert.equal(recent.has(1, 29, 500, 9999), false);
  assert.equal(recent.has(2, 28, 500, 9999), false);
  assert.equal(recent.has(2, 28, 700, 9999), true);
  assert.equal(recent.has(1, 28, 500, 10_000), false);
  assert.equal(recent.has(2, 28, 700, 10_000), false, 'none is remembered for longer');
  for (let offset = 0; offset < 100_000; offset++) recent.add(3, offset, 1, 20_000);
  assert.equal(recent.has(3, 0, 1, 20_001), true);
  assert.equal(recent.has(3, 99_999, 1, 20_001), false, 'the memory has a bound');
});

test('damage in a file is noticed by the next GET of a large value, and CHECK looks each time', async () => {
  const local = await LocalServer.start();
  const client = await local.connect();
  const value = 'v'.repeat(100_000);
  const get = async () => {
    const reply = await local.request(client, 'GET', 'k');
    return reply === `$100000\r\n${value}\r\n` ? 'whole' : reply.slice(0, 20);
  };
  await local.request(client, 'SET', 'k', value);
  assert.equal(await get(), 'whole');
  assert.equal(await get(), 'whole');
  const flip = () => {
    const file = local.disk.open('/data/default/d0', 'write');
    const byte = new Uint8Array(1);
    file.read(byte, 50_000);
    file.write(Uint8Array.of(byte[0]! ^ 1), 50_000);
    file.close();
  };
  flip();
  assert.equal(await local.request(client, 'CHECK', 'k'), ':0\r\n');
  flip();
  assert.equal(await get(), 'whole');
  flip();
  assert.equal(await get(), '-Internal Error\r\n');
  flip();
  assert.equal(await get(), 'whole');
  await local.close();
});
