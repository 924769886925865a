// The server as a process: floods, slow and vanishing clients, limits, signals, and what survives kill -9.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { realClock, realDisk, realNetwork, realRandom } from '@qsfs/io';
import { type Reply, ReplyDecoder, RespClient, type RespError, ZdbClient } from '@qsfs/resp';
import { openEngine } from '../src/index.ts';
import { RawConnection } from './support/raw-connection.ts';
import { Scratch, ZdbProcess } from './support/zdb-process.ts';

const MIB = 1024 * 1024;

/** Requests as bytes. */
function encode(...requests: (string | Uint8Array)[][]): Buffer {
  const parts: Uint8Array[] = [];
  for (const words of requests) {
    parts.push(Buffer.from(`*${words.length}\r\n`));
    for (const word of words) {
      const bytes = Buffer.from(word);
      parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
    }
  }
  return Buffer.concat(parts);
}

function residentBytes(pid: number): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
  return Number(line?.[1]) * 1024;
}

for (const loop of ['epoll', 'node']) {
  describe(`server, ${loop} loop`, () => {
    let scratch: Scratch;
    let server: ZdbProcess;
    const open: RawConnection[] = [];

    const connect = async () => {
      const connection = await RawConnection.open({ path: scratch.socket });
      open.push(connection);
      return connection;
    };
    const client = () => ZdbClient.connect(realNetwork, realClock, { address: { path: scratch.socket } });

    beforeEach(async () => {
      scratch = new Scratch();
      server = await ZdbProcess.serve(scratch, ['--mode', 'user', '--loop', loop]);
    });

    afterEach(async () => {
      for (const connection of open.splice(0)) connection.close();
      await server.stop('SIGKILL');
      scratch.dispose();
    });

    it('answers a pipeline of 10,000 requests in order', async () => {
      const connection = await connect();
      const requests: string[][] = [];
      for (let i = 0; i < 5000; i++) requests.push(['SET', `k${i}`, `value ${i}`], ['GET', `k${i}`]);
      await connection.send(encode(...requests));
      const replies: Reply[] = [];
      new ReplyDecoder({ reply: (reply) => void replies.push(reply) }).push(await connection.receive(10_000));
      for (let i = 0; i < 5000; i++) {
        assert.equal(Buffer.from(replies[2 * i] as Uint8Array).toString(), `k${i}`);
        assert.equal(Buffer.from(replies[2 * i + 1] as Uint8Array).toString(), `value ${i}`);
      }
    });

    it('stores and returns values of every size up to 8 MiB and refuses one byte more', async () => {
      const zdb = await client();
      for (const size of [0, 1, 16_383, 16_384, 65_535, 65_536, 131_072, MIB, 8 * MIB]) {
        const value = Buffer.alloc(size, size % 251);
        for (let i = 0; i < size; i += 4096) value.writeUInt8(i % 255, i);
        assert.equal(await zdb.set(`k${size}`, value), true);
        assert.equal(Buffer.compare((await zdb.get(`k${size}`))!, value), 0, `${size} bytes`);
      }
      zdb.close();
      const connection = await connect();
      await connection.send(Buffer.from('*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388609\r\n'));
      assert.equal((await connection.receive(1)).toString(), '-Payload too big\r\n');
      await connection.end();
    });

    it('gives several clients their own large values at the same time, framed and in order', async () => {
      const sizes = [16_383, 16_384, 70_000, 131_072, 300_000];
      const value = (name: number, size: number) => Buffer.alloc(size, 97 + name).fill(`${name}`, 0, 1);
      const connections = await Promise.all([0, 1, 2].map(connect));
      await Promise.all(
        connections.map(async (connection, name) => {
          const words: (string | Uint8Array)[][] = [];
          const expected: Uint8Array[] = [];
          for (const size of sizes) words.push(['SET', `${name}-${size}`, value(name, size)]);
          for (const size of sizes) expected.push(Buffer.from(`${name}-${size}`));
          for (let round = 0; round < 3; round++) {
            // In between: small replies, a write that is not committed yet, and several values in one reply.
            for (const size of sizes)
              words.push(['GET', `${name}-${size}`], ['SET', `n${name}`, `${round} ${size}`]);
            for (const size of sizes) expected.push(value(name, size), Buffer.from(`n${name}`));
          }
          await connection.send(encode(...words));
          const replies: Reply[] = [];
          const decoder = new ReplyDecoder({ reply: (reply) => void replies.push(reply) });
          decoder.push(await connection.receive(expected.length));
          assert.equal(replies.length, expected.length);
          for (const [number, reply] of replies.entries())
            assert.ok(
              Buffer.from(reply as Uint8Array).equals(expected[number]!),
              `client ${name}, reply ${number}`,
            );
        }),
      );
    });

    it('executes requests that are followed at once by a close', async () => {
      const sender = await connect();
      await sender.send(encode(...Array.from({ length: 50 }, (_, i) => ['SET', `closed${i}`, 'x'])));
      sender.close();
      const zdb = await client();
      while ((await zdb.size()) < 50);
      for (let i = 0; i < 50; i++) assert.equal(await zdb.exists(`closed${i}`), true);
      zdb.close();
    });

    it('answers a client that has ended its side, then closes', async () => {
      const connection = await connect();
      connection.socket.end(encode(['PING'], ['SET', 'a', 'b'], ['GET', 'a']));
      assert.equal((await connection.receive(3)).toString(), '+PONG\r\n$1\r\na\r\n$1\r\nb\r\n');
      await connection.end();
    });

    it('gives the last words to a client that is still sending garbage', async () => {
      const connection = await connect();
      connection.socket.write(Buffer.concat([encode(['PING']), Buffer.alloc(4 * MIB, 'x')]));
      assert.equal(
        (await connection.receive(2)).toString(),
        '+PONG\r\n-Malformed request, array expected\r\n',
      );
    });

    it('does not let a client that reads nothing use memory without bound or stop the others', async () => {
      const zdb = await client();
      await zdb.set('big', Buffer.alloc(MIB, 1));
      const before = residentBytes(server.child.pid!);
      const slow = await connect();
      slow.socket.pause();
      const count = 400;
      const half = Array.from({ length: count / 2 }, () => 'big');
      void slow.send(encode(...half.map((key) => ['GET', key]), ['MGET', ...half]));
      // The others are served meanwhile, and the slow one's 400 MiB of replies do not pile up.
      for (let i = 0; i < 200; i++) {
        await zdb.set(`other${i}`, 'x');
        assert.ok(await zdb.get(`other${i}`));
      }
      assert.ok(residentBytes(server.child.pid!) - before < 120 * MIB);
      zdb.close();
      // And they all come once it reads.
      let received = 0;
      const decoder = new ReplyDecoder({
        reply: (reply) => {
          for (const value of Array.isArray(reply) ? reply : [reply]) {
            assert.equal((value as Uint8Array).length, MIB);
            received++;
          }
        },
      });
      slow.socket.on('data', (chunk: Buffer) => decoder.push(chunk));
      slow.socket.resume();
      while (received < count) await new Promise((resolve) => slow.socket.once('data', resolve));
    });

    it('keeps a half-sent value to itself when its client goes away', async () => {
      const connection = await connect();
      await connection.send(Buffer.from('*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$1000000\r\nabc'));
      connection.close();
      const zdb = await client();
      assert.equal(await zdb.exists('half'), false);
      zdb.close();
    });

    it('loses nothing it has acknowledged when it is killed under load', async () => {
      const clients = await Promise.all([client(), client(), client(), client()]);
      const acknowledged = new Map<string, number>();
      const writers = clients.map(async (zdb, c) => {
        const inFlight: Promise<void>[] = [];
        for (let i = 0; i < 100_000; i++) {
          const key = `c${c}-${i % 500}`;
          const stored = zdb.set(key, `${i}`.padEnd(50, '.')).then(() => {
            acknowledged.set(key, Math.max(i, acknowledged.get(key) ?? -1));
          });
          stored.catch(() => {}); // the server is killed in the middle
          inFlight.push(stored);
          if (inFlight.length === 32) await inFlight.shift();
        }
      });
      const lost = Promise.allSettled(writers);
      while (acknowledged.size < 1000) await new Promise((resolve) => setImmediate(resolve));
      await server.stop('SIGKILL');
      await lost;
      server = await ZdbProcess.serve(scratch, ['--mode', 'user', '--loop', loop]);
      const zdb = await client();
      for (const [key, least] of acknowledged) {
        const value = await zdb.get(key);
        // What was written last may have got there without its acknowledgement.
        assert.ok(value !== undefined && Number.parseInt(Buffer.from(value).toString(), 10) >= least, key);
      }
      zdb.close();
    });

    it('ends with 143 on SIGTERM and 130 on SIGINT, and takes its socket away', async () => {
      const zdb = await client();
      await zdb.set('kept', 'yes');
      zdb.close();
      assert.equal((await server.stop('SIGTERM')).code, 143);
      assert.equal(existsSync(scratch.socket), false);
      server = await ZdbProcess.serve(scratch, ['--mode', 'user', '--loop', loop]);
      const again = await client();
      assert.equal(Buffer.from((await again.get('kept'))!).toString(), 'yes');
      again.close();
      assert.equal((await server.stop('SIGINT')).code, 130);
    });
  });
}

describe('server', () => {
  let scratch: Scratch;
  const running: ZdbProcess[] = [];

  const serve = async (...flags: string[]) => {
    const server = await ZdbProcess.serve(scratch, flags);
    running.push(server);
    return server;
  };

  beforeEach(() => {
    scratch = new Scratch();
  });

  afterEach(async () => {
    for (const server of running.splice(0)) await server.stop('SIGKILL');
    scratch.dispose();
  });

  it('ends in order on every signal that ends programs, and opens no debugger', async () => {
    for (const [name, code] of [
      ['SIGHUP', 129],
      ['SIGQUIT', 131],
      ['SIGUSR1', 138],
      ['SIGUSR2', 140],
    ] as const) {
      const ending = await (await serve()).stop(name);
      assert.equal(ending.code, code, name);
      assert.equal(existsSync(scratch.socket), false, name);
      assert.doesNotMatch(ending.errors, /Debugger/, name);
    }
  });

  it('ends in order on SIGUSR1 that comes while it starts, in the background too, and opens no debugger', {
    timeout: 60_000,
  }, async () => {
    const SIGUSR1_BIT = 0x200n;
    // From the first moment at which Node blocks or catches the signal; before, it ends the process, as bash in the launcher.
    const signalEarly = async (pid: number) => {
      const blockedOrCaught = () =>
        [...readFileSync(`/proc/${pid}/status`, 'latin1').matchAll(/^Sig(?:Blk|Cgt):\s*(\w+)/gm)]
          .map((line) => BigInt(`0x${line[1]}`))
          .some((mask) => (mask & SIGUSR1_BIT) !== 0n);
      for (;;) {
        const isNode = readlinkSync(`/proc/${pid}/exe`).endsWith('/node');
        if (isNode && blockedOrCaught()) break;
        await new Promise((resolve) => setImmediate(resolve));
      }
      process.kill(pid, 'SIGUSR1');
    };
    const words = ['--data', scratch.data, '--index', scratch.index, '--socket', scratch.socket];
    const server = ZdbProcess.run(words);
    running.push(server);
    await signalEarly(server.child.pid!);
    const ending = await server.ended;
    assert.equal(ending.code, 138, ending.output + ending.errors);
    assert.doesNotMatch(ending.errors, /Debugger/);
    assert.equal(existsSync(scratch.socket), false);

    const command = await ZdbProcess.run([...words, '--background', '--logfile', `${scratch.path}/log`])
      .ended;
    const pid = Number(command.output.trim().split('\n').at(-1));
    assert.match(
      readFileSync(`/proc/${pid}/cmdline`, 'latin1'),
      /--max-semi-space-size=4/,
      'it has the flags of the launcher',
    );
    process.kill(pid, 'SIGUSR1');
    while (existsSync(scratch.socket)) await new Promise((resolve) => setImmediate(resolve));
    const log = readFileSync(`${scratch.path}/log`, 'utf8');
    assert.match(log, /SIGUSR1: stopping/);
    assert.doesNotMatch(log, /Debugger/);
  });

  it('is refused on directories another one works on, and on its socket', async () => {
    await serve();
    const words = [
      '--data',
      scratch.data,
      '--index',
      scratch.index,
      '--socket',
      `${scratch.path}/other.sock`,
    ];
    const second = await ZdbProcess.run(words).ended;
    assert.equal(second.code, 1);
    assert.match(second.output, /in use|another/);
    const third = await ZdbProcess.run([
      ...['--data', `${scratch.path}/d2`, '--index', `${scratch.path}/i2`, '--socket', scratch.socket],
    ]).ended;
    assert.equal(third.code, 1);
    assert.match(third.output, /another server listens on/);
  });

  it('takes the place of a socket that a killed server left behind', async () => {
    const first = await serve();
    await first.stop('SIGKILL');
    assert.equal(existsSync(scratch.socket), true);
    await serve();
    const connection = await RawConnection.open({ path: scratch.socket });
    assert.equal(await connection.request('PING'), '+PONG\r\n');
    connection.close();
  });

  it('leaves what stands in the place of its socket alone when it is something else', {
    timeout: 60_000,
  }, async () => {
    const pipe = `${scratch.path}/pipe`;
    execFileSync('mkfifo', [pipe]);
    const ending = await ZdbProcess.run([
      ...['--data', scratch.data, '--index', scratch.index, '--socket', pipe],
    ]).ended;
    assert.equal(ending.code, 1);
    assert.match(ending.output, /is there already and is no socket/);
    assert.ok(statSync(pipe).isFIFO());
  });

  it('leaves nothing behind when it is told to listen where nobody can', { timeout: 60_000 }, async () => {
    const data = `${scratch.path}/new/data`;
    const files = ['--data', data, '--index', `${scratch.path}/new/index`];
    const refused = [
      { words: ['--port', 'x'], output: /'x' is no TCP port/ },
      { words: ['--port', '65536'], output: /'65536' is no TCP port/ },
      { words: ['--socket', `${scratch.path}/${'x'.repeat(120)}`], output: /is too long: at most 107 bytes/ },
      { words: ['--listen', '999.1.1.1', '--port', '0'], output: /no address is known for '999\.1\.1\.1'/ },
    ];
    await Promise.all(
      refused.map(async ({ words, output }) => {
        const ending = await ZdbProcess.run([...files, ...words]).ended;
        assert.equal(ending.code, 1);
        assert.match(ending.output, output);
      }),
    );
    assert.equal(existsSync(`${scratch.path}/new`), false);
  });

  it('lets only this machine in as long as there is no admin password, and says so', async () => {
    const server = await serve('--dualnet', '--port', '0');
    assert.match(server.output, /no --admin password: listening on this machine only/);
    const port = /127\.0\.0\.1:(\d+)/.exec(server.output)?.[1];
    assert.ok(port, server.output);
    const connection = await RawConnection.open({ host: '127.0.0.1', port: Number(port) });
    assert.equal(await connection.request('PING'), '+PONG\r\n');
    connection.close();
  });

  it('refuses more clients than it was told to take, and takes new ones when some have left', async () => {
    await serve('--maxclients', '3');
    const connections: RawConnection[] = [];
    for (let i = 0; i < 3; i++) {
      const connection = await RawConnection.open({ path: scratch.socket });
      assert.equal(await connection.request('PING'), '+PONG\r\n');
      connections.push(connection);
    }
    const fourth = await RawConnection.open({ path: scratch.socket });
    assert.equal((await fourth.receive(1)).toString(), '-Too many connections\r\n');
    await fourth.end();
    connections[0]!.close();
    for (;;) {
      const again = await RawConnection.open({ path: scratch.socket });
      const answer = await again.request('PING').catch(() => '');
      again.close();
      if (answer === '+PONG\r\n') break;
    }
    for (const connection of connections) connection.close();
  });

  it('is stopped by STOP in debug mode, with exit code 0', async () => {
    const server = await serve('--debug');
    const connection = await RawConnection.open({ path: scratch.socket });
    assert.equal(await connection.request('STOP'), '+Stopping\r\n');
    assert.equal((await server.ended).code, 0);
  });

  it('uses a proof for SELECT only once (D14)', async () => {
    await serve();
    const admin = await ZdbClient.connect(realNetwork, realClock, { address: { path: scratch.socket } });
    await admin.createNamespace('ns');
    await admin.configureNamespace('ns', { password: 'pw', public: false });
    admin.close();
    const login = { namespace: 'ns', namespacePassword: 'pw', secure: true };
    const client = await RespClient.connect(realNetwork, realClock, {
      address: { path: scratch.socket },
      login,
    });
    await assert.rejects(
      client.command(['SELECT', 'ns', 'SECURE', '0'.repeat(40)]),
      (error: RespError) => error.message === 'No CHALLENGE requested, secure authentication not available',
    );
    client.close();
  });

  it('greets the usual Redis clients, also in the third version of the protocol', async () => {
    await serve('--admin', 'secret');
    const connection = await RawConnection.open({ path: scratch.socket });
    assert.equal(await connection.request('CLIENT', 'SETINFO', 'LIB-NAME', 'x'), '+OK\r\n');
    assert.equal(await connection.request('HELLO', '4'), '-NOPROTO unsupported protocol version\r\n');
    assert.match(await connection.request('HELLO'), /^\*14\r\n\$6\r\nserver\r\n\$3\r\nzdb\r\n/);
    assert.equal(await connection.request('GET', 'none'), '$-1\r\n');
    assert.equal(await connection.request('HELLO', '3', 'AUTH', 'default', 'bad'), '-Access denied\r\n');
    await connection.send(
      encode(['HELLO', '3', 'AUTH', 'default', 'secret'], ['GET', 'none'], ['NSNEW', 'n'], ['QUIT']),
    );
    await connection.end();
    const answers = (await connection.receive(0)).toString();
    assert.ok(answers.startsWith('%7\r\n') && answers.endsWith('*0\r\n_\r\n+OK\r\n+OK\r\n'), answers);
  });

  it('answers the typed client: clock, hooks, changed index files, compaction', async () => {
    await serve('--datasize', '524288', '--hook', '/bin/true', '--mode', 'user');
    const zdb = await ZdbClient.connect(realNetwork, realClock, { address: { path: scratch.socket } });
    assert.ok(Math.abs((await zdb.time()) - Date.now()) < 3_600_000);
    const ready = (await zdb.hooks()).find((run) => run.name === 'ready');
    assert.ok(ready && ready.pid > 0 && ready.exitStatus === 0 && ready.ended! >= ready.started);
    for (let i = 0; i < 20; i++) await zdb.set(`k${i}`, Buffer.alloc(100_000, i));
    assert.deepEqual(await zdb.dirtyIndexFiles(), []);
    for (let i = 0; i < 15; i++) await zdb.delete(`k${i}`);
    assert.deepEqual(await zdb.dirtyIndexFiles(), [0, 1, 2]);
    await zdb.resetDirty();
    assert.deepEqual(await zdb.dirtyIndexFiles(), []);
    const { removedFiles, freedBytes } = await zdb.compact();
    assert.ok(removedFiles > 0 && freedBytes > 0);
    assert.equal((await zdb.compact(0)).movedEntries, 0);
    assert.equal((await zdb.get('k19'))?.length, 100_000);
    zdb.close();
  });

  it('refuses names that would leave their directory or forge lines', async () => {
    await serve();
    const connection = await RawConnection.open({ path: scratch.socket });
    for (const name of ['\0x', 'a\0b', 'a\nb', '../x', Uint8Array.of(0xff, 0xfe)]) {
      assert.equal(await connection.request('NSNEW', name), '-This name is not allowed\r\n');
    }
    assert.equal(await connection.request('NSNEW', 'grüße'), '+OK\r\n');
    assert.equal(await connection.request('NSLIST'), '*2\r\n$7\r\ndefault\r\n$7\r\ngr\xc3\xbc\xc3\x9fe\r\n');
    connection.close();
  });

  it('removes everything with FLUSH and goes on (D2)', async () => {
    await serve();
    const zdb = await ZdbClient.connect(realNetwork, realClock, { address: { path: scratch.socket } });
    await zdb.createNamespace('ns');
    await zdb.configureNamespace('ns', { password: 'pw', public: false });
    await zdb.select('ns', 'pw');
    for (let i = 0; i < 100; i++) await zdb.set(`k${i}`, 'v');
    await zdb.flush();
    assert.equal(await zdb.size(), 0);
    assert.equal(await zdb.get('k1'), undefined);
    await zdb.set('k1', 'new');
    assert.equal(await zdb.size(), 1);
    zdb.close();
  });

  it('keeps descriptors for its files when clients take all others, and serves new ones when some have left', async () => {
    const words = ['--data', scratch.data, '--index', scratch.index, '--socket', scratch.socket];
    const server = ZdbProcess.run(words, { descriptors: 60 });
    running.push(server);
    await server.says('ready on');
    assert.match(server.output, /at most \d+ clients: only 60 descriptors/);
    const connections: RawConnection[] = [];
    for (let i = 0; i < 80; i++) connections.push(await RawConnection.open({ path: scratch.socket }));
    const [first, ...others] = connections;
    // Some do not go away when they are told to.
    const stubborn = Array.from({ length: 80 }, () => connect({ path: scratch.socket, allowHalfOpen: true }));
    await Promise.all(
      stubborn.map((socket) =>
        once(
          socket.on('error', () => {}),
          'connect',
        ),
      ),
    );
    assert.equal(await first!.request('SET', 'k', 'v'), '$1\r\nk\r\n');
    assert.equal(await first!.request('NSNEW', 'more'), '+OK\r\n');
    assert.equal(await first!.request('NSJUMP'), '+OK\r\n');
    assert.equal(await first!.request('GET', 'k'), '$1\r\nv\r\n');
    assert.equal((await others.at(-1)!.receive(1)).toString(), '-Too many connections\r\n');
    for (const connection of others) connection.close();
    for (const socket of stubborn) socket.destroy();
    // Who left is noticed in the order of events, so a new one may come too early.
    for (;;) {
      const late = await RawConnection.open({ path: scratch.socket });
      const answer = await late.request('PING');
      late.close();
      if (answer.startsWith('+PONG')) break;
      assert.match(answer, /^-Too many connections/);
    }
    first!.close();
  });

  it('starts and serves with fewer descriptors than files, in several namespaces', async () => {
    const engine = openEngine({
      disk: realDisk,
      clock: realClock,
      random: realRandom,
      dataDirectory: scratch.data,
      indexDirectory: scratch.index,
      dataSizeBytes: 524_288,
      sync: 'none',
    });
    const names = ['a', 'b', 'c', 'd'];
    for (const name of names) {
      const namespace = engine.createNamespace(name, name === 'a' ? 'seq' : 'user');
      for (let i = 0; i < 20; i++) {
        namespace.set(name === 'a' ? Buffer.alloc(0) : Buffer.from(`k${i}`), Buffer.from(`${name}${i}`));
        namespace.rotate();
      }
    }
    engine.close();
    const words = ['--data', scratch.data, '--index', scratch.index, '--socket', scratch.socket];
    const server = ZdbProcess.run(words, { descriptors: 60 });
    running.push(server);
    await server.says('ready on');
    const most = Number(/at most (\d+) clients/.exec(server.output)?.[1]);
    assert.ok(most >= 10, server.output);
    const connections: RawConnection[] = [];
    for (let i = 0; i < most; i++) connections.push(await RawConnection.open({ path: scratch.socket }));
    for (const [at, connection] of connections.entries()) {
      const name = names[at % names.length]!;
      assert.equal(await connection.request('SELECT', name), '+OK\r\n');
      for (let i = 0; i < 20; i++) {
        const key = name === 'a' ? String.fromCharCode(i, 0, 0, 0, 0, 0, 0, 0) : `k${i}`;
        const value = `${name}${i}`;
        assert.equal(await connection.request('GET', key), `$${value.length}\r\n${value}\r\n`);
      }
    }
    assert.equal(await connections[0]!.request('NSNEW', 'more'), '+OK\r\n');
    for (const connection of connections) connection.close();
  });

  it('copies commands to mirrors with their owner id, but not those of owner 0', async () => {
    await serve();
    const [mirror, master, other] = await Promise.all(
      [1, 2, 3].map(() => RawConnection.open({ path: scratch.socket })),
    );
    assert.equal(await mirror!.request('MIRROR'), '+Starting mirroring\r\n');
    assert.equal(await master!.request('MASTER'), '+Hello, master\r\n');
    assert.equal(await master!.request('SET', 'echo', 'x', '5', '0'), '$4\r\necho\r\n');
    assert.equal(await master!.request('SET', 'k', 'x', '5', '42'), '$1\r\nk\r\n');
    assert.equal(await master!.request('PING'), '-Missing arguments\r\n');
    assert.equal(await other!.request('SET', 'plain', 'y'), '$5\r\nplain\r\n');
    const copies: Reply[] = [];
    const decoder = new ReplyDecoder({ reply: (reply) => void copies.push(reply) });
    while (copies.length < 3) decoder.push(await mirror!.receive(1));
    const words = copies.map((copy) =>
      (copy as Reply[])
        .slice(1)
        .map((word) => (word instanceof Uint8Array ? Buffer.from(word).toString() : word)),
    );
    assert.equal(words[0]?.[2], 'MASTER');
    assert.deepEqual(words[1], ['default', 42, 'SET', 'k', 'x', '5']);
    assert.deepEqual(words[2]?.slice(2), ['SET', 'plain', 'y']);
    for (const connection of [mirror!, master!, other!]) connection.close();
  });

  it('goes to the background when it serves and reports why it could not', async () => {
    const words = [
      '--data',
      scratch.data,
      '--index',
      scratch.index,
      '--socket',
      scratch.socket,
      '--background',
    ];
    const command = await ZdbProcess.run([...words, '--logfile', `${scratch.path}/log`]).ended;
    assert.equal(command.code, 0, command.output + command.errors);
    const pid = Number(command.output.trim().split('\n').at(-1));
    try {
      const connection = await RawConnection.open({ path: scratch.socket });
      assert.equal(await connection.request('PING'), '+PONG\r\n');
      connection.close();
      assert.match(readFileSync(`${scratch.path}/log`, 'utf8'), /ready on/);
      const second = await ZdbProcess.run(words).ended;
      assert.equal(second.code, 1);
      assert.match(second.output, /in use|another/);
    } finally {
      process.kill(pid, 'SIGTERM');
    }
    while (existsSync(scratch.socket)) await new Promise((resolve) => setImmediate(resolve));
  });
});
