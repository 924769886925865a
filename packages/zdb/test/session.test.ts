// What a server does between turns: whose memory is whose, and what it writes when nobody asks for anything.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readWhole } from '@qsfs/io';
import { SimulatedDisk } from '@qsfs/io/simulated';
import { encode, LocalServer, ManualLoop } from './support/local-server.ts';

describe('a session', () => {
  it('keeps the memory of its replies when the socket runs empty before the turn ends', async () => {
    const loop = new ManualLoop();
    const local = await LocalServer.start(new SimulatedDisk(), 1, {}, loop);
    const one = loop.connect();
    const two = loop.connect();
    // Of one size class: both are read into reusable memory.
    const values = { a: Buffer.alloc(20_000, 'a'), b: Buffer.alloc(20_000, 'b') };
    for (const [key, value] of Object.entries(values)) one.send(encode(['SET', key, value]));
    loop.turn();
    one.take();
    one.send(encode(['GET', 'a']));
    // What an earlier turn sent has left.
    one.drained();
    two.send(encode(['GET', 'b']));
    loop.turn();
    assert.ok(one.take().includes(values.a));
    assert.ok(two.take().includes(values.b));
    await local.close();
  });

  it('writes records of one turn with one time, so that a later record never has an earlier one', async () => {
    const loop = new ManualLoop();
    const local = await LocalServer.start(new SimulatedDisk(), 1, {}, loop);
    const client = loop.connect();
    client.send(encode(['SET', 'a', '1']));
    loop.turn();
    for (const words of [
      ['SET', 'b', '2'],
      ['DEL', 'a'],
      ['SET', 'c', '3'],
    ]) {
      client.send(encode(words));
      local.clock.advance(1000);
    }
    loop.turn();
    client.send(encode(['SET', 'd', '4']));
    loop.turn();
    const namespace = local.engine.namespace('default')!;
    const times: number[] = [];
    for (let offset = 28; offset < namespace.activeOffset; ) {
      const entry = namespace.rawEntry(0, offset);
      times.push(entry.timestamp);
      offset = entry.nextOffset;
    }
    const [first, ...others] = times;
    assert.deepEqual(others, [first, first, first, first! + 3]);
    await local.close();
  });

  it('answers a long pipeline in order where there are many keys, whatever stands between the requests', async () => {
    const loop = new ManualLoop();
    const local = await LocalServer.start(new SimulatedDisk(), 1, {}, loop);
    const client = loop.connect();
    for (let first = 0; first < 40_000; first += 400) {
      const keys = Array.from({ length: 400 }, (_, i) => `key ${first + i}`);
      client.send(Buffer.concat(keys.map((key) => encode(['SET', key, `value of ${key}`]))));
      loop.turn();
      assert.equal(client.take().toString(), keys.map((key) => `$${key.length}\r\n${key}\r\n`).join(''));
    }
    const requests: Buffer[] = [];
    let expected = '';
    for (let number = 39_900; number < 40_100; number++) {
      const value = `value of key ${number}`;
      requests.push(encode(['GET', `key ${number}`]));
      expected += number < 40_000 ? `$${value.length}\r\n${value}\r\n` : '$-1\r\n';
      if (number % 7 === 0) requests.push(encode(['PING']));
      if (number % 7 === 0) expected += '+PONG\r\n';
      if (number % 11 === 0) requests.push(encode(['SET', `key ${number}`, value]));
      if (number % 11 === 0)
        expected += number < 40_000 ? '$-1\r\n' : `$${`key ${number}`.length}\r\nkey ${number}\r\n`;
      if (number % 13 === 0)
        requests.push(encode(['GET', Buffer.alloc(300)]), encode(['EXISTS', 'key 1', '']));
      if (number % 13 === 0) expected += '-Invalid key\r\n-Unexpected arguments\r\n';
    }
    const bytes = Buffer.concat(requests);
    const middle = bytes.length >> 1;
    client.send(bytes.subarray(0, middle));
    client.send(bytes.subarray(middle));
    loop.turn();
    assert.equal(client.take().toString(), expected);
    await local.close();
  });
});

describe('a server that nobody asks for anything', () => {
  it('has the index files say everything after a moment, for a reference that opens them after kill -9', async () => {
    const disk = new SimulatedDisk();
    const first = await LocalServer.start(disk);
    const writer = await first.connect();
    for (const key of ['old', 'older']) await first.request(writer, 'SET', key, 'value');
    await first.close();
    const flags = () => {
      const index = Buffer.from(readWhole(disk, '/index/default/i0')!);
      return ['old', 'older'].map((key) => index[index.indexOf(key) - 34 + 13]);
    };
    const second = await LocalServer.start(disk);
    const remover = await second.connect();
    assert.equal(await second.request(remover, 'DEL', 'old'), '+OK\r\n');
    assert.deepEqual(flags(), [0, 0], 'waits for the data to be on stable storage');
    await second.clock.run(3000);
    assert.deepEqual(flags(), [1, 0]);
    // Nothing is promised for what follows: the next one waits again.
    assert.equal(await second.request(remover, 'DEL', 'older'), '+OK\r\n');
    assert.deepEqual(flags(), [1, 0]);
    await second.close();
    assert.deepEqual(flags(), [1, 1]);
  });
});
