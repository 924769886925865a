// What every Network promises. Run against the real one and the simulated one.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Address, Connection, ConnectionEvents, Listener, Network } from '../src/network.ts';

/** A network, two addresses nobody uses, and a way to let time pass until a promise is settled. */
export interface NetworkUnderTest {
  readonly network: Network;
  readonly tcp: Address;
  readonly unix: Address & { readonly path: string };
  settle<T>(promise: Promise<T>): Promise<T>;
  /** Long enough for everything that is on its way to arrive. */
  pause(): Promise<void>;
  dispose(): void;
}

/** Both ends' events are written down by one of these. */
class Recorder implements ConnectionEvents {
  readonly connection: Connection;
  received: Uint8Array[] = [];
  receivedBytes = 0;
  drains = 0;
  closings: (Error | undefined)[] = [];
  late = 0;
  #watchers: { condition: () => boolean; resolve: () => void }[] = [];

  constructor(connection: Connection) {
    this.connection = connection;
  }

  data(chunk: Uint8Array): void {
    if (this.closings.length > 0) this.late++;
    this.received.push(new Uint8Array(chunk));
    this.receivedBytes += chunk.length;
    this.check();
  }

  drained(): void {
    if (this.closings.length > 0) this.late++;
    this.drains++;
    this.check();
  }

  closed(error?: Error): void {
    this.closings.push(error);
    this.check();
  }

  check(): void {
    for (const watcher of this.#watchers) if (watcher.condition()) watcher.resolve();
  }

  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#watchers.push({ condition, resolve });
      this.check();
    });
  }

  get text(): string {
    return Buffer.concat(this.received).toString();
  }
}

const text = (content: string) => [new TextEncoder().encode(content)];

/** Bytes that never repeat within a page and differ between pages. */
function pattern(length: number, salt: number): Uint8Array {
  const result = new Uint8Array(length);
  for (let i = 0; i < length; i++) result[i] = (i * 31 + (i >> 8) * 7 + salt) & 0xff;
  return result;
}

/** Defines the suite. */
export function describeNetwork(name: string, make: () => NetworkUnderTest): void {
  describe(`${name}: a network`, () => {
    let under: NetworkUnderTest;
    let listeners: Listener[];
    let recorders: Recorder[];

    const settle = <T>(promise: Promise<T>) => under.settle(promise);
    const record = (connection: Connection, events?: Partial<ConnectionEvents>): Recorder => {
      const recorder = new Recorder(connection);
      recorders.push(recorder);
      connection.start(Object.assign(recorder, events));
      return recorder;
    };
    const listen = async (address: Address, accepted: (connection: Connection) => void) => {
      const listener = await settle(under.network.listen(address, accepted));
      listeners.push(listener);
      return listener;
    };
    /** Two ends of one connection, not started. */
    const pair = async (address: Address): Promise<[Connection, Connection]> => {
      const accepted = Promise.withResolvers<Connection>();
      const listener = await listen(address, accepted.resolve);
      const client = await settle(under.network.connect(listener.address, 5000));
      return [client, await settle(accepted.promise)];
    };

    beforeEach(() => {
      under = make();
      listeners = [];
      recorders = [];
    });
    afterEach(async () => {
      for (const { connection } of recorders) connection.destroy();
      for (const listener of listeners) await settle(listener.close());
      for (const recorder of recorders) {
        await settle(recorder.until(() => recorder.closings.length > 0));
        assert.equal(recorder.closings.length, 1, 'closed is called once');
        assert.equal(recorder.late, 0, 'nothing is called after closed');
      }
      under.dispose();
    });

    for (const kind of ['tcp', 'unix'] as const) {
      describe(kind, () => {
        it('carries bytes both ways, in order', async () => {
          const [client, server] = (await pair(under[kind])).map((connection) => record(connection));
          client!.connection.write(text('how '));
          client!.connection.write([...text('are'), ...text(' '), ...text('you')]);
          server!.connection.write(text('fine'));
          await settle(server!.until(() => server!.text === 'how are you'));
          await settle(client!.until(() => client!.text === 'fine'));
          assert.ok(client!.connection.remote.length > 0 && server!.connection.remote.length > 0);
          assert.equal(client!.connection.queuedBytes, 0);
        });

        it('leaves the memory of what was written as it is', async () => {
          const [client, server] = (await pair(under[kind])).map((connection) => record(connection));
          const twice = Buffer.from('twice ');
          client!.connection.write([twice, twice]);
          await settle(server!.until(() => server!.text === 'twice twice '));
          client!.connection.write([twice]);
          await settle(server!.until(() => server!.text === 'twice twice twice '));
          assert.equal(twice.toString(), 'twice ');
        });

        it('keeps what arrives before the start for then', async () => {
          const [client, server] = await pair(under[kind]);
          client.write(text('early'));
          client.end();
          const other = record(client);
          const recorder = record(server);
          await settle(recorder.until(() => recorder.closings.length > 0));
          await settle(other.until(() => other.closings.length > 0));
          assert.equal(recorder.text, 'early');
          assert.deepEqual([...recorder.closings, ...other.closings], [undefined, undefined]);
        });

        it('delivers everything that was written before the end', async () => {
          const [client, server] = (await pair(under[kind])).map((connection) => record(connection));
          const large = pattern(3_000_000, 1);
          client!.connection.write([large]);
          client!.connection.end();
          client!.connection.end();
          await settle(server!.until(() => server!.closings.length > 0));
          await settle(client!.until(() => client!.closings.length > 0));
          assert.deepEqual(Buffer.concat(server!.received), Buffer.from(large));
          assert.deepEqual([...server!.closings, ...client!.closings], [undefined, undefined]);
        });

        it('can be answered after the other side has ended', async () => {
          const [client, server] = await pair(under[kind]);
          const asking = record(client);
          let ends = 0;
          const answering = record(server, {
            ended() {
              ends++;
              server.write([pattern(1_000_000, 2)]);
              server.write(text('bye'));
              server.end();
            },
          });
          client.write(text('question'));
          client.end();
          await settle(asking.until(() => asking.closings.length > 0));
          await settle(answering.until(() => answering.closings.length > 0));
          assert.equal(answering.text, 'question');
          assert.equal(asking.receivedBytes, 1_000_003);
          assert.equal(ends, 1);
          assert.deepEqual([...asking.closings, ...answering.closings], [undefined, undefined]);
        });

        it('holds the sender back while the receiver is paused', async () => {
          const [client, server] = (await pair(under[kind])).map((connection) => record(connection));
          const chunk = pattern(100_000, 3);
          server!.connection.pause();
          // What the kernels buffer is limited: write until bytes stay queued although time passes.
          let chunks = 0;
          const full = async (): Promise<void> => {
            for (; chunks < 1000; ) {
              chunks++;
              if (client!.connection.write([chunk])) continue;
              const drains = client!.drains;
              const stuck = await Promise.race([
                client!.until(() => client!.drains > drains).then(() => false),
                under.pause().then(() => true),
              ]);
              if (stuck) return;
            }
          };
          await settle(full());
          assert.ok(client!.connection.queuedBytes > 0, 'the sender was held back');
          const before = server!.receivedBytes;
          server!.connection.resume();
          const all = chunks * chunk.length;
          await settle(server!.until(() => server!.receivedBytes === all));
          await settle(client!.until(() => client!.connection.queuedBytes === 0));
          assert.ok(before < all);
          const whole = Buffer.concat(server!.received);
          for (let at = 0; at < all; at += chunk.length) {
            assert.ok(whole.subarray(at, at + chunk.length).equals(chunk));
          }
        });

        it('calls drained after a write that answered no', async () => {
          const [client, server] = (await pair(under[kind])).map((connection) => record(connection));
          let refused = 0;
          for (let i = 0; i < 50; i++) if (!client!.connection.write([pattern(200_000, i)])) refused++;
          assert.ok(refused > 0);
          await settle(client!.until(() => client!.drains > 0));
          await settle(server!.until(() => server!.receivedBytes === 10_000_000));
        });

        it('carries much both ways at the same time', async () => {
          const [client, server] = (await pair(under[kind])).map((connection) => record(connection));
          const total = 8_000_000;
          const digest = (parts: Uint8Array[]) => {
            const hash = createHash('sha256');
            for (const part of parts) hash.update(part);
            return hash.digest('hex');
          };
          const sent = [client!, server!].map((end, salt) => {
            const parts: Uint8Array[] = [];
            for (let bytes = 0, i = 0; bytes < total; i++) {
              const part = pattern(Math.min(1 + ((i * 7919) % 90_000), total - bytes), salt + i);
              parts.push(part);
              bytes += part.length;
            }
            for (let i = 0; i < parts.length; i += 9) end.connection.write(parts.slice(i, i + 9));
            return digest(parts);
          });
          for (const end of [client!, server!]) await settle(end.until(() => end.receivedBytes === total));
          assert.deepEqual([digest(server!.received), digest(client!.received)], sent);
        });

        it('tells the other side of a destruction', async () => {
          const [client, server] = (await pair(under[kind])).map((connection) => record(connection));
          client!.connection.write(text('x'));
          await settle(server!.until(() => server!.text === 'x'));
          client!.connection.destroy();
          client!.connection.destroy();
          await settle(server!.until(() => server!.closings.length > 0));
          await settle(client!.until(() => client!.closings.length > 0));
          assert.equal(client!.closings[0], undefined);
        });

        it('takes nothing after end, destroy and close, and says so', async () => {
          const [client, server] = (await pair(under[kind])).map((connection) => record(connection));
          assert.equal(client!.connection.write([]), true);
          assert.equal(client!.connection.write([new Uint8Array(0)]), true);
          client!.connection.write(text('last'));
          client!.connection.end();
          assert.equal(client!.connection.write(text('more')), false);
          await settle(server!.until(() => server!.closings.length > 0));
          assert.equal(server!.text, 'last');
          assert.equal(server!.connection.write(text('more')), false);
          server!.connection.end();
          server!.connection.destroy();
          assert.equal(server!.connection.write(text('more')), false);
          assert.equal(server!.connection.queuedBytes, 0);
        });

        it('is started once', async () => {
          const [client, server] = (await pair(under[kind])).map((connection) => record(connection));
          assert.throws(() => client!.connection.start(server!), /started twice/);
        });

        it('delivers nothing to a connection paused before its start', async () => {
          const [client, server] = await pair(under[kind]);
          server.pause();
          const recorder = record(server);
          const other = record(client);
          client.write(text('x'));
          server.write(text('y'));
          await settle(other.until(() => other.text === 'y'));
          assert.equal(recorder.receivedBytes, 0);
          server.resume();
          await settle(recorder.until(() => recorder.text === 'x'));
        });

        it('serves many at a time', async () => {
          const listener = await listen(under[kind], (connection) => {
            const echo = record(connection, { data: (chunk) => void connection.write([chunk]) });
            assert.equal(echo.connection, connection);
          });
          const clients = await settle(
            Promise.all(
              Array.from({ length: 100 }, async (_, i) => {
                const recorder = record(await under.network.connect(listener.address, 5000));
                recorder.connection.write(text(`client ${i}`));
                return recorder;
              }),
            ),
          );
          for (const [i, client] of clients.entries()) {
            await settle(client.until(() => client.text === `client ${i}`));
          }
        });

        it('gives an address to one listener at a time', async () => {
          const listener = await listen(under[kind], (connection) => connection.destroy());
          await assert.rejects(settle(under.network.listen(listener.address, () => {})), {
            code: 'EADDRINUSE',
          });
          await settle(listener.close());
          listeners = [];
          await listen(listener.address, (connection) => connection.destroy());
        });

        it('ends with its listener', async () => {
          const accepted = Promise.withResolvers<Connection>();
          const listener = await listen(under[kind], accepted.resolve);
          const client = record(await settle(under.network.connect(listener.address, 5000)));
          const server = record(await settle(accepted.promise));
          await settle(listener.close());
          listeners = [];
          await settle(client.until(() => client.closings.length > 0));
          await settle(server.until(() => server.closings.length > 0));
          const code = kind === 'tcp' ? 'ECONNREFUSED' : 'ENOENT';
          await assert.rejects(settle(under.network.connect(listener.address, 5000)), { code });
        });
      });
    }

    it('refuses where nobody listens', async () => {
      const listener = await settle(under.network.listen(under.tcp, () => {}));
      await settle(listener.close());
      await assert.rejects(settle(under.network.connect(listener.address, 5000)), { code: 'ECONNREFUSED' });
      await assert.rejects(settle(under.network.connect(under.unix, 5000)), { code: 'ENOENT' });
    });

    it('chooses ports when asked for port 0', async () => {
      const first = await listen(under.tcp, () => {});
      const second = await listen(under.tcp, () => {});
      assert.ok('port' in first.address && 'port' in second.address);
      assert.ok(first.address.port > 0 && second.address.port > 0);
      assert.notEqual(first.address.port, second.address.port);
    });

    it('reaches unix sockets at long paths', async () => {
      const path = `${under.unix.path}-${'x'.repeat(60)}`;
      const [client, server] = (await pair({ path })).map((connection) => record(connection));
      client!.connection.write(text('here'));
      await settle(server!.until(() => server!.text === 'here'));
    });
  });
}
