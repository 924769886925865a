// A disk that is full or fails: every write is answered by what really happened to it, reads go on, and room makes writes work again.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Disk, IoError, type OpenMode } from '@qsfs/io';
import { SimulatedDisk } from '@qsfs/io/simulated';
import { type Reply, ReplyDecoder, RespError } from '@qsfs/resp';
import { openSimulated } from './scratch.ts';
import { encode, LocalServer, ManualLoop } from './support/local-server.ts';

const VALUE = Buffer.alloc(10_000, 7);

function replies(bytes: Buffer): Reply[] {
  const all: Reply[] = [];
  new ReplyDecoder({ reply: (reply) => void all.push(reply) }).push(bytes);
  return all;
}

describe('a full disk', () => {
  it('refuses writes with an error, keeps what was acknowledged, and takes writes again when there is room', async () => {
    const disk = new SimulatedDisk({ capacityBytes: 400_000 });
    const local = await LocalServer.start(disk);
    const connections = await Promise.all([local.connect(), local.connect(), local.connect()]);
    const acknowledged = new Set<string>();
    let refused = 0;
    for (let round = 0; round < 10; round++) {
      for (const [c, connection] of connections.entries()) {
        const keys = Array.from({ length: 4 }, (_, i) => `c${c}-${round}-${i}`);
        connection.send(Buffer.concat(keys.map((key) => encode(['SET', key, VALUE]))));
      }
      await local.settle();
      for (const [c, connection] of connections.entries()) {
        const all = replies(connection.take());
        assert.equal(all.length, 4);
        all.forEach((reply, i) => {
          if (reply instanceof RespError) {
            assert.equal(reply.message, 'Cannot write data right now');
            refused++;
          } else {
            acknowledged.add(`c${c}-${round}-${i}`);
          }
        });
      }
    }
    assert.ok(refused > 0 && acknowledged.size > 0);
    // Reads go on, also of what was written last.
    const [reader] = connections;
    for (const key of acknowledged) {
      assert.equal(await local.request(reader!, 'EXISTS', key), ':1\r\n', key);
      assert.equal(
        (await local.request(reader!, 'GET', key)).length,
        VALUE.length + '$10000\r\n\r\n'.length,
        key,
      );
    }
    assert.equal(await local.request(reader!, 'DBSIZE'), `:${acknowledged.size}\r\n`);
    assert.equal(await local.request(reader!, 'NSNEW', 'more'), '-Could not create namespace\r\n');
    const stop = disk.fail({ code: 'ENOSPC', kinds: ['write', 'create'], times: 100 });
    for (const words of [['NSJUMP'], ['NSSET', 'default', 'lock', '1']])
      assert.equal(await local.request(reader!, ...words), '-Cannot write data right now\r\n', words[0]);
    stop();
    disk.capacityBytes = 4_000_000;
    assert.equal(await local.request(reader!, 'SET', 'room', VALUE), '$4\r\nroom\r\n');
    assert.equal(await local.request(reader!, 'NSNEW', 'more'), '+OK\r\n');
    // And the next process finds the same.
    const again = await LocalServer.start(disk.kill());
    const client = await again.connect();
    assert.equal(await again.request(client, 'DBSIZE'), `:${acknowledged.size + 1}\r\n`);
    for (const key of acknowledged) assert.equal(await again.request(client, 'CHECK', key), ':1\r\n', key);
    await again.close();
  });

  it('gives each command of a failed batch its own answer, and leaves other answers alone', async () => {
    const disk = new SimulatedDisk();
    const loop = new ManualLoop();
    const local = await LocalServer.start(disk, 1, {}, loop);
    const one = loop.connect();
    const two = loop.connect();
    const texts = (client: typeof one) =>
      replies(client.take()).map((reply) => {
        if (reply instanceof RespError) return reply.message;
        return reply instanceof Uint8Array ? Buffer.from(reply).toString() : reply;
      });
    one.send(encode(['SET', 'a', 'old']));
    loop.turn();
    assert.deepEqual(texts(one), ['a']);
    disk.fail({ code: 'ENOSPC', kinds: ['write'], times: 1 });
    one.send(
      Buffer.concat([
        encode(['PING']),
        encode(['SET', 'a', 'new']),
        encode(['EXISTS', 'zz']),
        encode(['DEL', 'a']),
      ]),
    );
    two.send(Buffer.concat([encode(['SET', 'b', 'x']), encode(['DBSIZE'])]));
    one.send(encode(['SET', 'c', Buffer.alloc(100_000)]));
    loop.turn();
    const cannot = 'Cannot write data right now';
    assert.deepEqual(texts(one), ['PONG', cannot, 0, 'Cannot delete key (data)', cannot]);
    assert.equal(texts(two)[0], cannot);
    // From now on each write is answered by its own commit, until one succeeds.
    const stop = disk.fail({ code: 'ENOSPC', kinds: ['write'], times: 1 });
    one.send(Buffer.concat([encode(['SET', 'd', 'x']), encode(['SET', 'e', 'x'])]));
    two.send(
      Buffer.concat([encode(['GET', 'a']), encode(['GET', 'b']), encode(['GET', 'd']), encode(['GET', 'e'])]),
    );
    loop.turn();
    stop();
    assert.deepEqual(texts(one), [cannot, 'e']);
    assert.deepEqual(texts(two), ['old', null, null, 'x']);
    local.engine.close();
  });

  it('says that there is no room to compact, loses nothing by it, and compacts when there is', async () => {
    const disk = new SimulatedDisk();
    const local = await LocalServer.start(disk);
    const one = await local.connect();
    for (let key = 0; key < 20; key++) await local.request(one, 'SET', `k${key}`, VALUE);
    await local.request(one, 'NSJUMP');
    for (let key = 0; key < 12; key++) assert.equal(await local.request(one, 'DEL', `k${key}`), '+OK\r\n');
    const stop = disk.fail({ code: 'ENOSPC', kinds: ['write'], times: 1000 });
    assert.equal(
      await local.request(one, 'COMPACT', '90'),
      '-No space left on this disk to move values to\r\n',
    );
    stop();
    assert.match(await local.request(one, 'COMPACT', '90'), /^\*3\r\n:1\r\n:8\r\n/);
    for (let key = 12; key < 20; key++) assert.equal(await local.request(one, 'CHECK', `k${key}`), ':1\r\n');
    await local.close();
  });

  it('that cannot read answers reads with an error and writes nothing wrong', async () => {
    const disk = new SimulatedDisk();
    const local = await LocalServer.start(disk);
    const one = await local.connect();
    assert.equal(await local.request(one, 'SET', 'a', VALUE), '$1\r\na\r\n');
    const stop = disk.fail({ code: 'EIO', kinds: ['read'], times: 1000 });
    const answer = await local.request(one, 'GET', 'a');
    stop();
    assert.ok(answer === '-Internal Error\r\n' || answer.startsWith('$10000'), answer.slice(0, 40));
    assert.equal((await local.request(one, 'GET', 'a')).slice(0, 8), '$10000\r\n');
    await local.close();
  });
});

describe('a disk that turned read-only', () => {
  it('goes on being read, files that were closed meanwhile too, and is written again when it can be', () => {
    for (const mode of ['seq', 'user'] as const) {
      const disk = new SimulatedDisk();
      let isReadOnly = false;
      const failing: Disk = new Proxy(disk, {
        get(target, name) {
          if (name === 'open')
            return (path: string, access: OpenMode) => {
              if (isReadOnly && access !== 'read') throw new IoError('EROFS', `${path}: read-only`);
              return target.open(path, access);
            };
          const value = Reflect.get(target, name) as unknown;
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
      const engine = openSimulated(failing as SimulatedDisk, { mode });
      const namespace = engine.namespace('default')!;
      const put = (number: number) =>
        mode === 'seq' ? namespace.insertId(VALUE) : namespace.set(Buffer.from(`k${number}`), VALUE);
      const get = (number: number) =>
        mode === 'seq' ? namespace.readId(number) : namespace.get(Buffer.from(`k${number}`));
      for (let number = 0; number < 5; number++) put(number);
      engine.commit();
      isReadOnly = true;
      for (let round = 0; round < 3; round++) {
        engine.closeIdleFiles();
        engine.closeIdleFiles();
        for (let number = 0; number < 5; number++) assert.deepEqual(Buffer.from(get(number)!), VALUE);
        assert.ok(namespace.scan('forward', undefined));
        assert.throws(
          () => {
            put(5 + round);
            engine.commit();
          },
          { code: 'EROFS' },
        );
      }
      isReadOnly = false;
      put(9);
      engine.commit();
      assert.equal(namespace.entries, 6);
      engine.close();
    }
  });
});
