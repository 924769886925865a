// The client: pipelining, memory of the caller, aborts, silence, loss of the connection, login.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import * as net from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { realClock, realNetwork } from '@qsfs/io';
import {
  ConnectionError,
  ReplyWriter,
  RequestDecoder,
  RespClient,
  type RespClientOptions,
  RespError,
  ZdbClient,
} from '../src/index.ts';

type Answer = (words: Buffer[], writer: ReplyWriter, socket: net.Socket) => void;

/** A server that answers as a test says; `requests` are the words it received, as text. */
class ScriptedServer {
  readonly requests: string[][] = [];
  answer: Answer = (_, writer) => writer.simple('OK');
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  constructor() {
    this.#server = net.createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      const decoder = new RequestDecoder();
      socket.on('data', (chunk: Buffer) => {
        const writer = new ReplyWriter();
        writer.begin();
        decoder.push(chunk);
        while (decoder.next()) {
          const words = Array.from({ length: decoder.count }, (_, i) => Buffer.from(decoder.argument(i)));
          this.requests.push(words.map((word) => word.toString('latin1').slice(0, 100)));
          this.answer(words, writer, socket);
        }
        for (const segment of writer.finish()) socket.write(segment);
      });
    });
  }

  async listen(): Promise<number> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    return (this.#server.address() as net.AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }
}

describe('client', () => {
  let server: ScriptedServer;
  let options: RespClientOptions;
  let client: RespClient | undefined;

  const connect = async (more: Partial<RespClientOptions> = {}) => {
    client = await RespClient.connect(realNetwork, realClock, { ...options, ...more });
    return client;
  };

  beforeEach(async () => {
    server = new ScriptedServer();
    options = { address: { host: '127.0.0.1', port: await server.listen() } };
  });

  afterEach(async () => {
    client?.close();
    client = undefined;
    await server.close();
  });

  it('answers pipelined commands in order, errors included, and keeps the bound on what is in flight', async () => {
    let most = 0;
    const waiting: (() => void)[] = [];
    server.answer = ([, word], _, socket) => {
      waiting.push(() => {
        const text = String(word);
        socket.write(text.endsWith('3') ? `-bad ${text}\r\n` : `$${text.length}\r\n${text}\r\n`);
      });
      most = Math.max(most, waiting.length);
      setImmediate(() => waiting.shift()?.());
    };
    const one = await connect({ maxInFlight: 5 });
    const replies = await Promise.allSettled(
      Array.from({ length: 200 }, (_, i) => one.command(['ECHO', `v${i}`])),
    );
    replies.forEach((reply, i) => {
      if (String(i).endsWith('3')) {
        assert.ok(reply.status === 'rejected' && reply.reason instanceof RespError);
        assert.equal(reply.reason.message, `bad v${i}`);
      } else {
        assert.ok(reply.status === 'fulfilled');
        assert.equal(Buffer.from(reply.value as Uint8Array).toString(), `v${i}`);
      }
    });
    assert.ok(most <= 5, `${most} commands were in flight`);
  });

  it('sends values given in parts of shared memory and reads into the caller’s memory', async () => {
    const stored = new Map<string, Buffer>();
    server.answer = ([command, key, value], writer) => {
      if (String(command) === 'SET') {
        stored.set(String(key), value!);
        writer.bulk(key!);
      } else writer.bulk(stored.get(String(key))!);
    };
    const one = await connect();
    const zdb = new ZdbClient(one);
    const parts = [
      new Uint8Array(new SharedArrayBuffer(100)).fill(1),
      new Uint8Array(new SharedArrayBuffer(1_500_000)).fill(2),
    ];
    assert.equal(await zdb.set('k', parts), true);
    const into = new Uint8Array(new SharedArrayBuffer(2_000_000));
    const value = await zdb.get('k', { into });
    assert.equal(value?.buffer, into.buffer);
    assert.equal(Buffer.compare(Buffer.from(value!), Buffer.concat(parts)), 0);
  });

  it('fails an aborted command at once, never writes its memory again, and goes on with the others', async () => {
    let socket: net.Socket | undefined;
    server.answer = (_, __, from) => {
      socket = from;
    };
    const one = await connect();
    const abort = new AbortController();
    const into = new Uint8Array(100_000);
    const first = one.command(['GET', 'slow'], { into, signal: abort.signal });
    const second = one.command(['GET', 'next']);
    while (server.requests.length < 2) await new Promise((done) => setImmediate(done));
    // Half of the first reply is there when it is aborted.
    socket?.write('$100000\r\n');
    socket?.write(Buffer.alloc(50_000, 1));
    while (into[49_999] === 0) await new Promise((done) => setImmediate(done));
    abort.abort(new Error('too slow'));
    await assert.rejects(first, /too slow/);
    into.fill(7);
    socket?.write(Buffer.alloc(50_000, 1));
    socket?.write('\r\n$2\r\nhi\r\n');
    assert.equal(Buffer.from((await second) as Uint8Array).toString(), 'hi');
    assert.ok(into.every((byte) => byte === 7));
  });

  it('gives a silent server up and fails everything that waits for it', async () => {
    server.answer = () => {};
    const one = await connect({ commandTimeoutMs: 40 });
    const replies = await Promise.allSettled([one.command(['GET', 'a']), one.command(['GET', 'b'])]);
    for (const reply of replies) {
      assert.ok(reply.status === 'rejected' && reply.reason instanceof ConnectionError);
      assert.equal(reply.reason.code, 'ETIMEDOUT');
    }
    assert.equal(one.open, false);
    assert.equal((await one.closed)?.code, 'ETIMEDOUT');
    await assert.rejects(one.command(['GET', 'c']), ConnectionError);
  });

  it('fails what is under way when the connection is cut', async () => {
    server.answer = (_, __, socket) => socket.destroy();
    const one = await connect();
    await assert.rejects(one.command(['GET', 'a']), ConnectionError);
    assert.ok((await one.closed) instanceof ConnectionError);
  });

  it('gives a server up that does not speak the protocol', async () => {
    server.answer = (_, __, socket) => void socket.write('HTTP/1.1 400 Bad Request\r\n');
    const one = await connect();
    await assert.rejects(one.command(['GET', 'a']), (error: ConnectionError) => error.code === 'EPROTO');
  });

  it('gives a server up that answers what nobody asked', async () => {
    server.answer = (_, writer) => {
      writer.simple('one');
      writer.simple('two');
    };
    const one = await connect();
    assert.equal(await one.command(['PING']), 'one');
    assert.equal((await one.closed)?.code, 'EPROTO');
  });

  it('says why a server cannot be reached', async () => {
    await server.close();
    await assert.rejects(connect(), (error: ConnectionError) => error.code === 'ECONNREFUSED');
    server = new ScriptedServer();
  });

  it('refuses more waiting commands than it was told to keep', async () => {
    server.answer = () => {};
    const one = await connect({ maxInFlight: 1, maxWaiting: 2 });
    const replies = [1, 2, 3, 4, 5].map((i) => one.command(['GET', i]));
    const settled = Promise.allSettled(replies);
    await assert.rejects(replies[4]!, (error: ConnectionError) => error.code === 'ENOBUFS');
    one.close();
    await settled;
    assert.equal(await one.closed, undefined);
  });

  it('logs in once per connection, by challenge when asked to', async () => {
    server.answer = ([command, word], writer) => {
      if (
        String(command) === 'AUTH' &&
        String(word) === 'SECURE' &&
        server.requests.at(-1)?.[2] === 'CHALLENGE'
      ) {
        writer.simple('0123456789abcdef');
      } else writer.simple('OK');
    };
    const one = await connect({
      login: { adminPassword: 'root', namespace: 'ns', namespacePassword: 'pw', secure: true },
    });
    await one.command(['PING']);
    const proof = (password: string) =>
      createHash('sha1').update(`0123456789abcdef:${password}`).digest('hex');
    assert.deepEqual(server.requests, [
      ['AUTH', 'SECURE', 'CHALLENGE'],
      ['AUTH', 'SECURE', proof('root')],
      ['AUTH', 'SECURE', 'CHALLENGE'],
      ['SELECT', 'ns', 'SECURE', proof('pw')],
      ['PING'],
    ]);
  });

  it('says what the server said when it refuses the login', async () => {
    server.answer = (_, writer) => writer.error('Access denied');
    await assert.rejects(
      connect({ login: { namespace: 'ns', namespacePassword: 'bad' } }),
      (error: Error) => {
        return error instanceof RespError && error.message === 'Access denied';
      },
    );
  });

  it('gives a server up that never answers the login', async () => {
    server.answer = () => {};
    await assert.rejects(
      connect({ login: { namespace: 'ns' }, connectTimeoutMs: 50 }),
      (error: ConnectionError) => {
        return error.code === 'ETIMEDOUT';
      },
    );
  });
});
