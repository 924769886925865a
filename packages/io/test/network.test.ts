import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { errorCode } from '../src/errors.ts';
import { loadLibc } from '../src/libc.ts';
import { type Address, type Connection, formatAddress, type Network, parseAddress } from '../src/network.ts';
import { realClock } from '../src/real/clock.ts';
import { realNetwork } from '../src/real/network.ts';
import { SimulatedClock, SimulatedNetwork, SimulatedRandom } from '../src/simulated/index.ts';
import { describeNetwork, type NetworkUnderTest } from './network-conformance.ts';

function realUnderTest(): NetworkUnderTest {
  const root = fs.mkdtempSync(join(tmpdir(), 'qsfs-io-net-'));
  const deep = join(root, 'a'.repeat(60), 'b'.repeat(60));
  fs.mkdirSync(deep, { recursive: true });
  return {
    network: realNetwork,
    tcp: { host: '127.0.0.1', port: 0 },
    unix: { path: join(deep, 's') },
    settle: (promise) => promise,
    // Only to see that nothing more happens: a machine too slow for it makes the test weaker, not wrong.
    pause: () => realClock.sleep(100),
    dispose: () => fs.rmSync(root, { recursive: true }),
  };
}

function simulatedUnderTest(shape: Parameters<SimulatedNetwork['shape']>[0]): NetworkUnderTest {
  const clock = new SimulatedClock();
  const network = new SimulatedNetwork(clock, new SimulatedRandom(1));
  network.shape(shape);
  return {
    network,
    tcp: { host: '127.0.0.1', port: 0 },
    unix: { path: '/run/s' },
    settle: (promise) => clock.until(promise),
    pause: () => clock.sleep(1000),
    dispose: () => assert.equal(network.connections, 0, 'a connection was left open'),
  };
}

describeNetwork('real', realUnderTest);
describeNetwork('simulated, perfect', () => simulatedUnderTest({}));
describeNetwork('simulated, slow', () =>
  simulatedUnderTest({ delayMs: 20, jitterMs: 30, bytesPerSecond: 1e7 }),
);

describe('the real network', () => {
  let root: string;
  before(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'qsfs-io-net-'));
  });
  after(() => fs.rmSync(root, { recursive: true }));

  it('replaces a unix socket that a dead process left, but not that of a living one', async () => {
    const path = join(root, 'stale');
    const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    assert.ok(fs.lstatSync(path).isSocket());
    await assert.rejects(realNetwork.connect({ path }, 1000), { code: 'ECONNREFUSED' });
    const listener = await realNetwork.listen({ path }, (connection) => connection.destroy());
    await assert.rejects(
      realNetwork.listen({ path }, () => {}),
      { code: 'EADDRINUSE' },
    );
    (await realNetwork.connect({ path }, 1000)).destroy();
    await listener.close();
    assert.equal(fs.existsSync(path), false);
  });

  it('does not touch a file that is in the way', async () => {
    const path = join(root, 'file');
    fs.writeFileSync(path, 'mine');
    await assert.rejects(
      realNetwork.listen({ path }, () => {}),
      { code: 'EADDRINUSE' },
    );
    assert.equal(fs.readFileSync(path, 'utf8'), 'mine');
    await assert.rejects(realNetwork.connect({ path }, 1000), { code: 'ECONNREFUSED' });
  });

  it('says clearly what is wrong with an address', async () => {
    const cases: [Address, string][] = [
      [{ path: join(root, 'x'.repeat(200)) }, 'ENAMETOOLONG'],
      [{ path: '' }, 'EINVAL'],
      [{ path: 'a\0b' }, 'EINVAL'],
      [{ path: join(root, 'none', 's') }, 'ENOENT'],
      [{ path: join(root, 'n'.repeat(100), 's') }, 'ENOENT'],
      [{ host: 'no-such-name.invalid', port: 1 }, 'EHOSTUNREACH'],
    ];
    for (const [address, code] of cases) {
      await assert.rejects(realNetwork.connect(address, 10_000), { code });
      // Node reports a folder that is missing as EACCES when it binds.
      const bindCode = code === 'ENOENT' ? /ENOENT|EACCES/ : code;
      await assert.rejects(
        realNetwork.listen(address, () => {}),
        (error) => new RegExp(bindCode).test(`${errorCode(error)}`),
      );
    }
    await assert.rejects(
      realNetwork.listen({ host: '192.0.2.1', port: 0 }, () => {}),
      { code: 'EADDRNOTAVAIL' },
    );
  });

  it('gives up after the time-out when nobody accepts', async () => {
    // A listening socket whose queue is full: the next one waits in vain. Only a stopped process can make one.
    const path = join(root, 'full');
    const script = `require('node:net').createServer().listen({ path: ${JSON.stringify(path)}, backlog: 1 }, () => { console.log('ready'); process.kill(process.pid, 'SIGSTOP'); })`;
    const { spawn } = await import('node:child_process');
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const open: Connection[] = [];
    try {
      await new Promise((resolve) => child.stdout.once('data', resolve));
      let failure: unknown;
      for (let i = 0; i < 20 && !failure; i++) {
        await realNetwork.connect({ path }, 200).then(
          (connection) => open.push(connection),
          (error: unknown) => {
            failure = error;
          },
        );
      }
      // A unix socket with a full queue answers EAGAIN at once instead.
      assert.match(`${errorCode(failure)}`, /ETIMEDOUT|EAGAIN/);
    } finally {
      for (const connection of open) connection.destroy();
      child.kill('SIGKILL');
    }
  });

  it('hands a unix socket a large value whole, before anybody reads it', async (t) => {
    const limitBytes = Number(fs.readFileSync('/proc/sys/net/core/wmem_max', 'utf8'));
    if (limitBytes < 1024 * 1024 || loadLibc() === undefined) {
      t.skip('this machine gives no such buffers');
      return;
    }
    const path = join(root, 'wide');
    const server = net.createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const connection = await realNetwork.connect({ path }, 1000);
    try {
      connection.start({ data: () => {}, drained: () => {}, closed: () => {} });
      assert.equal(connection.write([new Uint8Array(1024 * 1024)]), true);
      assert.equal(connection.queuedBytes, 0);
    } finally {
      connection.destroy();
      server.close();
    }
  });

  it('reports a reset as an error', async () => {
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.resetAndDestroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as net.AddressInfo;
    const connection = await realNetwork.connect({ host: '127.0.0.1', port }, 1000);
    const error = await new Promise<Error | undefined>((resolve) => {
      connection.start({ data: () => {}, drained: () => {}, closed: resolve });
      connection.write([new Uint8Array(1)]);
    });
    assert.equal(errorCode(error), 'ECONNRESET');
    server.close();
  });

  it('remembers a close that came before the start', async () => {
    const listener = await realNetwork.listen({ host: '127.0.0.1', port: 0 }, (connection) =>
      connection.destroy(),
    );
    const connection = await realNetwork.connect(listener.address, 1000);
    connection.destroy();
    await listener.close();
    const error = await new Promise((resolve) => {
      connection.start({ data: () => {}, drained: () => {}, closed: resolve });
    });
    assert.equal(error, undefined);
  });
});

describe('the simulated network', () => {
  /** A network, and what is written to connections on it. */
  function simulation(seed = 1) {
    const clock = new SimulatedClock();
    const network = new SimulatedNetwork(clock, new SimulatedRandom(seed));
    const log: string[] = [];
    const serve = (address: Address, on: Network = network) =>
      on.listen(address, (connection) => {
        connection.start({
          data: (chunk) => void connection.write([chunk.slice()]),
          drained: () => {},
          closed: (error) => void log.push(`server closed ${errorCode(error) ?? 'well'}`),
        });
      });
    const dial = async (address: Address, on: Network = network) => {
      const connection = await on.connect(address, 5000);
      const end = { connection, bytes: 0, closed: undefined as string | undefined };
      connection.start({
        data: (chunk) => {
          end.bytes += chunk.length;
          log.push(`${clock.monotonicMs().toFixed(3)} ${chunk.length}`);
        },
        drained: () => {},
        closed: (error) => {
          end.closed = errorCode(error) ?? 'well';
        },
      });
      return end;
    };
    return { clock, network, log, serve, dial };
  }
  const at = (host: string, port = 9900): Address => ({ host, port });

  it('takes the time that distance and bandwidth need', async () => {
    const { clock, network, serve, dial } = simulation();
    await serve(at('far'));
    network.shape({ delayMs: 100, bytesPerSecond: 1_000_000 }, { to: 'far' });
    const end = await clock.until(dial(at('far')));
    assert.equal(clock.monotonicMs(), 200, 'one way there and one back');
    end.connection.write([new Uint8Array(100_000)]);
    await clock.run(200);
    assert.equal(end.bytes, 0, '100 ms there and 100 back');
    await clock.run(100);
    assert.ok(end.bytes < 100_000, '100 ms for the bytes in each direction, in part at the same time');
    await clock.run(100);
    assert.equal(end.bytes, 100_000);
  });

  it('keeps the order in a connection, and none between connections', async () => {
    const { clock, network, serve } = simulation(3);
    network.shape({ delayMs: 10, jitterMs: 500 });
    await serve(at('b'));
    const order: string[] = [];
    const names = ['one', 'two', 'three', 'four'];
    const connections = await clock.until(Promise.all(names.map(() => network.connect(at('b'), 5000))));
    for (const [index, connection] of connections.entries()) {
      let expected = 0;
      connection.start({
        data: (chunk) => {
          for (const byte of chunk) assert.equal(byte, expected++ & 0xff, 'in order');
          if (expected === 1000) order.push(names[index]!);
        },
        drained: () => {},
        closed: () => {},
      });
      for (let i = 0; i < 1000; i += 10) {
        connection.write([Uint8Array.from({ length: 10 }, (_, j) => i + j)]);
      }
    }
    await clock.run(10_000);
    assert.deepEqual([...order].sort(), ['four', 'one', 'three', 'two']);
    assert.notDeepEqual(order, ['one', 'two', 'three', 'four']);
  });

  it('refuses, ignores and loses as told, for one address and not for others', async () => {
    const { clock, network, serve, dial } = simulation();
    await serve(at('a'));
    await serve(at('a', 9901));
    network.shape({ behaviour: 'refuse' }, { to: 'a:9900' });
    await assert.rejects(clock.until(dial(at('a'))), { code: 'ECONNREFUSED' });
    assert.equal((await clock.until(dial(at('a', 9901)))).closed, undefined);

    network.shape({ behaviour: 'vanish' }, { to: 'a:9900' });
    const start = clock.monotonicMs();
    await assert.rejects(clock.until(dial(at('a'))), { code: 'ETIMEDOUT' });
    assert.equal(clock.monotonicMs() - start, 5000);

    network.shape({ behaviour: 'ignore' }, { to: 'a:9900' });
    const end = await clock.until(dial(at('a')));
    let written = 0;
    while (end.connection.write([new Uint8Array(10_000)])) written += 10_000;
    assert.ok(written > 100_000 && written < 1_000_000, `${written} bytes were taken`);
    await clock.run(1e6);
    assert.deepEqual([end.bytes, end.closed], [0, undefined]);
    assert.ok(end.connection.queuedBytes > 0);

    network.shape({ behaviour: 'answer' }, { to: 'a:9900' });
    await clock.run(1000);
    assert.equal(end.bytes, written + 10_000, 'what stalled goes on');
  });

  it('stalls a connection while packets vanish, and loses nothing when they come through again', async () => {
    const { clock, network, serve, dial } = simulation();
    await serve(at('a'));
    network.shape({ delayMs: 5 });
    const end = await clock.until(dial(at('a')));
    end.connection.write([new Uint8Array(1000)]);
    network.shape({ behaviour: 'vanish' });
    end.connection.write([new Uint8Array(1_000_000)]);
    await clock.run(1e6);
    assert.equal(end.bytes, 0);
    network.restore();
    await clock.run(100);
    assert.equal(end.bytes, 1_001_000);
    const late = dial(at('a'));
    network.shape({ behaviour: 'vanish' });
    const waiting = dial(at('a'));
    await clock.run(1500);
    network.restore();
    assert.equal((await clock.until(late)).closed, undefined);
    assert.equal((await clock.until(waiting)).closed, undefined, 'a lost request is sent again');
  });

  it('cuts connections now, or at a chosen byte', async () => {
    const { clock, network, log, serve, dial } = simulation();
    await serve(at('a'));
    await serve(at('b'));
    const [one, other] = [await clock.until(dial(at('a'))), await clock.until(dial(at('b')))];
    assert.equal(network.cut({ to: 'a' }), 1);
    await clock.run(0);
    assert.deepEqual([one.closed, other.closed], ['ECONNRESET', undefined]);
    assert.deepEqual(log, ['server closed ECONNRESET']);
    // 1000 bytes there, then 500 of those that come back.
    network.cutAfter(1500, { to: 'b:9900' });
    other.connection.write([new Uint8Array(1000)]);
    await clock.run(0);
    assert.deepEqual([other.bytes, other.closed], [500, 'ECONNRESET']);
    assert.equal(network.connections, 0);
    const again = await clock.until(dial(at('b')));
    again.connection.write([new Uint8Array(1000)]);
    await clock.run(0);
    assert.equal(again.bytes, 1000, 'a cut happens once');
  });

  it('has hosts, each with its own loopback, unix sockets and ways', async () => {
    const { clock, network, serve, dial } = simulation();
    const [a, b] = [network.host('a'), network.host('b')];
    await serve(at('0.0.0.0'), a);
    await serve({ path: '/s' }, a);
    assert.equal((await clock.until(dial(at('localhost'), a))).closed, undefined);
    assert.equal((await clock.until(dial(at('a'), b))).closed, undefined);
    await assert.rejects(clock.until(dial(at('localhost'), b)), { code: 'ECONNREFUSED' });
    assert.equal((await clock.until(dial({ path: '/s' }, a))).closed, undefined);
    await assert.rejects(clock.until(dial({ path: '/s' }, b)), { code: 'ENOENT' });
    await assert.rejects(serve(at('a'), b), { code: 'EADDRNOTAVAIL' });
    await assert.rejects(serve(at('127.0.0.1'), a), { code: 'EADDRINUSE' });
    network.shape({ behaviour: 'vanish' }, { from: 'b', to: 'a' });
    await assert.rejects(clock.until(dial(at('a'), b)), { code: 'ETIMEDOUT' });
    assert.equal((await clock.until(dial(at('a'), network.host('c')))).closed, undefined);
  });

  it('answers data for a destroyed connection with a reset', async () => {
    const { clock, network, dial } = simulation();
    let server: Connection | undefined;
    await network.listen(at('a'), (connection) => {
      server = connection;
    });
    network.shape({ delayMs: 10 });
    const end = await clock.until(dial(at('a')));
    end.connection.write([new Uint8Array(10)]);
    await clock.run(50);
    server!.destroy();
    await clock.run(50);
    assert.equal(end.closed, 'ECONNRESET', 'something was unread');
  });

  it('shows what is changed while it was only borrowed', async () => {
    const { clock, network, serve } = simulation();
    await serve(at('a'));
    network.shape({ behaviour: 'vanish' });
    const pending = network.connect(at('a'), 5000);
    network.restore();
    const connection = await clock.until(pending);
    const seen: number[] = [];
    connection.start({ data: (chunk) => void seen.push(...chunk), drained: () => {}, closed: () => {} });
    network.shape({ behaviour: 'vanish' });
    const bytes = new Uint8Array([1, 2, 3]);
    assert.equal(connection.write([bytes]), false);
    bytes.fill(9);
    network.restore();
    await clock.run(0);
    assert.deepEqual(seen, [9, 9, 9]);
  });

  it('plays the same from the same seed', async () => {
    const play = async (seed: number): Promise<string[]> => {
      const { clock, network, log, serve, dial } = simulation(seed);
      const random = new SimulatedRandom(seed);
      for (const host of ['a', 'b', 'c']) await serve(at(host));
      for (let i = 0; i < 30; i++) {
        const host = random.pick(['a', 'b', 'c']);
        network.shape({ delayMs: random.below(50), jitterMs: random.below(50) }, { to: host });
        if (random.chance(0.1)) network.cutAfter(random.below(100_000), { to: host });
        void dial(at(host)).then((end) => {
          for (let j = random.below(5); j >= 0; j--)
            end.connection.write([random.bytes(random.below(50_000))]);
          if (random.chance(0.3)) end.connection.end();
        });
        await clock.run(random.below(100));
      }
      await clock.run(10_000);
      return log;
    };
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const first = await play(seed);
        assert.ok(first.length > 20);
        assert.deepEqual(await play(seed), first);
      }),
      { numRuns: 10 },
    );
  });
});

describe('addresses', () => {
  it('are written and read in one form', () => {
    for (const text of ['host:1', '10.0.0.1:65535', '[::1]:9900', 'unix:/run/s', 'unix:relative']) {
      assert.equal(formatAddress(parseAddress(text)), text);
    }
    assert.deepEqual(parseAddress('[fe80::1]:80'), { host: 'fe80::1', port: 80 });
    for (const text of ['', 'host', 'host:', ':80', 'host:x', 'host:65536', '::1:80', 'unix:', 'a b:1x']) {
      assert.throws(() => parseAddress(text), RangeError, text);
    }
  });
});
