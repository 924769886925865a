// The program is killed under load, again and again on the same directories: several pipelining clients set, overwrite and delete,
// files rotate by size and by NSJUMP, COMPACT moves what they wrote. After each start every key is asked for: it must hold what was
// acknowledged last, or something that was sent after that.
import assert from 'node:assert/strict';
import * as net from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { SimulatedRandom } from '@qsfs/io/simulated';
import { type Reply, ReplyDecoder, RespError } from '@qsfs/resp';
import { encode } from './support/local-server.ts';
import { Scratch, ZdbProcess } from './support/zdb-process.ts';

/** Kills of each case. ZDB_KILL_ROUNDS=… for more, ZDB_KILL_SEED=… for others. */
const ROUNDS = Number(process.env['ZDB_KILL_ROUNDS'] ?? 2);
const SEED = Number(process.env['ZDB_KILL_SEED'] ?? 1);
const WRITERS = 4;
const PIPELINE = 24;
/** Acknowledged writes of one round, at most. */
const WRITES = 1500;

/** What may be found under one key: what was acknowledged last, and what was sent since. Undefined: nothing. */
type Allowed = (string | undefined)[];

/** A pipelining client. */
class Client {
  readonly #socket: net.Socket;
  readonly #waiting: ((reply: Reply) => void)[] = [];
  readonly closed: Promise<void>;

  constructor(path: string) {
    this.#socket = net.connect(path);
    const decoder = new ReplyDecoder({ reply: (reply) => this.#waiting.shift()!(reply) });
    this.#socket.on('data', (chunk: Buffer) => decoder.push(chunk));
    this.#socket.on('error', () => {});
    this.closed = new Promise((resolve) => this.#socket.once('close', () => resolve()));
  }

  send(words: readonly (string | Uint8Array)[], answered: (reply: Reply) => void): void {
    this.#waiting.push(answered);
    this.#socket.write(encode(words));
  }

  async ask(...words: (string | Uint8Array)[]): Promise<Reply> {
    return await new Promise((resolve, reject) => {
      this.send(words, resolve);
      void this.closed.then(() => reject(new Error('the connection is closed')));
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** What all writers together know, over all rounds. */
class Ledger {
  readonly mode: 'user' | 'seq';
  readonly random: SimulatedRandom;
  readonly keys = new Map<string, Allowed>();
  acknowledged = 0;
  readonly #mine: string[][] = Array.from({ length: WRITERS }, () => []);
  #made = 0;

  constructor(mode: 'user' | 'seq', seed: number) {
    this.mode = mode;
    this.random = new SimulatedRandom(seed);
  }

  /** A value that names itself, of many sizes. */
  value(key: string): string {
    const filling = this.random.below(20) === 0 ? 60_000 : this.random.below(600);
    return `${key}=${++this.#made}|${'x'.repeat(filling)}`;
  }

  /** The next request of a writer; each writes keys of its own, so that the order of its requests is the order of the versions. */
  write(client: Client, writer: number, done: () => void): void {
    const { random } = this;
    const mine = this.#mine[writer]!;
    const old = mine[random.below(Math.max(mine.length, 1))];
    const draw = random.below(10);
    if (old !== undefined && draw >= 8) this.#remove(client, old, done);
    else if (old !== undefined && draw >= 5) this.#overwrite(client, old, done);
    else if (this.mode === 'seq') this.#insert(client, mine, done);
    else this.#overwrite(client, this.#named(writer), done);
  }

  #insert(client: Client, mine: string[], done: () => void): void {
    const value = this.value('seq');
    client.send(['SET', '', value], (reply) => {
      assert.ok(reply instanceof Uint8Array, String(reply));
      const key = Buffer.from(reply).toString('hex');
      assert.equal(this.keys.has(key), false, `the id ${key} was given twice`);
      this.keys.set(key, [value]);
      mine.push(key);
      this.acknowledged++;
      done();
    });
  }

  #overwrite(client: Client, key: string, done: () => void): void {
    const allowed = this.keys.get(key)!;
    const value = this.value(key);
    allowed.push(value);
    client.send(['SET', this.bytes(key), value], (reply) => {
      if (reply instanceof RespError) {
        assert.match(reply.message, /only update authorized/, 'only an id deleted before may be refused');
        allowed.splice(allowed.indexOf(value), 1);
      } else {
        allowed.splice(0, allowed.indexOf(value));
      }
      this.acknowledged++;
      done();
    });
  }

  #remove(client: Client, key: string, done: () => void): void {
    const allowed = this.keys.get(key)!;
    allowed.push(undefined);
    client.send(['DEL', this.bytes(key)], (reply) => {
      if (reply instanceof RespError) assert.match(reply.message, /Key not found/);
      allowed.splice(0, allowed.indexOf(undefined, 1));
      this.acknowledged++;
      done();
    });
  }

  #named(writer: number): string {
    const key = `${writer}-${this.random.below(400)}`;
    if (!this.keys.has(key)) {
      this.keys.set(key, [undefined]);
      this.#mine[writer]!.push(key);
    }
    return key;
  }

  bytes(key: string): Uint8Array | string {
    return this.mode === 'seq' ? Buffer.from(key, 'hex') : key;
  }

  /** Asks for every key; what is found is from now on what is allowed. */
  async verify(path: string, about: string): Promise<void> {
    const client = new Client(path);
    let live = 0;
    await Promise.all(
      [...this.keys].map(async ([key, allowed]) => {
        const [got, check] = await Promise.all([
          client.ask('GET', this.bytes(key)),
          client.ask('CHECK', this.bytes(key)),
        ]);
        const found =
          got === null ? undefined : got instanceof Uint8Array ? Buffer.from(got).toString() : String(got);
        const short = (value: string | undefined) => value?.slice(0, 30) ?? 'nothing';
        assert.ok(
          allowed.includes(found),
          `${about}: ${key}: found ${short(found)}, allowed ${allowed.map(short).join(', ')}`,
        );
        assert.equal(check, found === undefined ? null : 1, `${about}: CHECK ${key}`);
        if (found !== undefined) live++;
        allowed.splice(0, allowed.length, found);
      }),
    );
    const size = (await client.ask('DBSIZE')) as number;
    // Inserts whose id never arrived may be there as well.
    if (this.mode === 'user') assert.equal(size, live, about);
    else assert.ok(size >= live, about);
    assert.equal(await scanned(client), size, `${about}: SCAN lists something else than DBSIZE says`);
    client.close();
  }
}

/** How many entries a walk lists. */
async function scanned(client: Client): Promise<number> {
  let count = 0;
  let page = await client.ask('SCAN');
  while (Array.isArray(page)) {
    count += (page[1] as Reply[]).length;
    page = await client.ask('SCAN', page[0] as Uint8Array);
  }
  assert.ok(page instanceof RespError && page.message === 'No more data', String(page));
  return count;
}

const running: ZdbProcess[] = [];
const scratches: Scratch[] = [];

afterEach(async () => {
  for (const server of running.splice(0)) await server.stop('SIGKILL');
  for (const scratch of scratches.splice(0)) scratch.dispose();
});

describe('kill -9 under load', () => {
  const cases = [
    { mode: 'user', flags: ['--datasize', '512k'] },
    { mode: 'seq', flags: ['--datasize', '512k'] },
    { mode: 'user', flags: ['--datasize', '1M', '--sync'] },
    { mode: 'seq', flags: ['--datasize', '1M', '--sync', '--loop', 'node'] },
  ] as const;
  for (const [number, { mode, flags }] of cases.entries()) {
    it(`loses nothing acknowledged: ${mode} ${flags.join(' ')} (seed ${SEED})`, async () => {
      const scratch = new Scratch();
      scratches.push(scratch);
      const ledger = new Ledger(mode, SEED * 100 + number);
      for (let round = 0; round < ROUNDS; round++) {
        const about = `seed ${SEED}, round ${round}`;
        const server = await ZdbProcess.serve(scratch, ['--mode', mode, ...flags]);
        running.push(server);
        await ledger.verify(scratch.socket, about);
        await load(scratch.socket, ledger, () => server.child.kill('SIGKILL'));
        await server.ended;
        running.pop();
      }
      const server = await ZdbProcess.serve(scratch, ['--mode', mode, ...flags]);
      running.push(server);
      await ledger.verify(scratch.socket, 'at the end');
      await server.stop();
      running.pop();
      const check = await ZdbProcess.run(['check', '--data', scratch.data, '--index', scratch.index]).ended;
      assert.equal(check.code, 0, check.output);
    });
  }
});

/** Keeps every writer's pipeline full, rotates and compacts, and kills after a random number of acknowledged writes. */
async function load(path: string, ledger: Ledger, kill: () => void): Promise<void> {
  const { random } = ledger;
  const end = ledger.acknowledged + 1 + random.below(WRITES);
  let killed = false;
  const clients = Array.from({ length: WRITERS }, () => new Client(path));
  const admin = new Client(path);
  const write = (client: Client, writer: number) => {
    ledger.write(client, writer, () => {
      if (killed) return;
      if (ledger.acknowledged < end) return write(client, writer);
      killed = true;
      kill();
    });
  };
  for (const [writer, client] of clients.entries()) for (let i = 0; i < PIPELINE; i++) write(client, writer);
  const turn = async (): Promise<void> => {
    while (!killed) {
      const before = ledger.acknowledged;
      const reply = await (random.below(3) === 0 ? admin.ask('COMPACT', '60') : admin.ask('NSJUMP'));
      assert.ok(!(reply instanceof RespError), String(reply));
      // Not one jump after the other: something has to be written between.
      while (!killed && ledger.acknowledged < before + 100) await admin.ask('PING');
    }
  };
  const turning = turn().catch((error: Error) => assert.equal(error.message, 'the connection is closed'));
  await Promise.all([...clients.map((client) => client.closed), admin.closed, turning]);
}
