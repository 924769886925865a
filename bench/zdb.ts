// Speed of the zdb server as ratios against Redis with an append-only file and, where its binary is given, against the reference zdb:
// the same machine, the same run. Driven by redis-benchmark with 50 clients. In each case the servers take turns, three times, and
// the middle of the three rates counts: machines are noisy. Beside the rates: processor time of the servers per request.
//
//   npm run bench -- zdb [--reference PATH] [--quick] [--only TEXT] [--clients N] [--pipeline N]
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { settle } from './settle.ts';

/** Turns of each server in a case. */
const ROUNDS = 3;
const START_MS = 10_000;
const RUN_MS = 120_000;
/** Unit of the times in /proc (USER_HZ, the same on all machines). */
const TICKS_PER_SECOND = 100;

interface Options {
  readonly reference: string | undefined;
  readonly quick: boolean;
  readonly only: string | undefined;
  readonly clients: number;
  /** Instead of 1 and 16. */
  readonly pipeline: number | undefined;
}

/** A server under test. */
interface Subject {
  readonly name: string;
  command(directory: string, port: number, socket: string, sync: boolean): readonly [string, string[]];
}

interface Case {
  readonly command: 'SET' | 'GET';
  readonly sizeBytes: number;
  readonly transport: 'tcp' | 'unix';
  readonly pipeline: number;
  readonly sync: boolean;
}

/** Runs the benchmark. @param parameters the words behind `npm run bench -- zdb` */
export async function run(parameters: string[]): Promise<void> {
  const options = parse(parameters);
  const obstacle = unknownOption(parameters) ?? (await missingProgram(options));
  if (obstacle !== undefined) {
    console.error(`bench zdb: ${obstacle}`);
    process.exitCode = 1;
    return;
  }
  const subjects = [ours, redis, ...(options.reference === undefined ? [] : [reference(options.reference)])];
  const cases = casesOf(options);
  console.log(
    `redis-benchmark, ${options.clients} clients; requests per second (the median of ${ROUNDS}), and ours as a multiple of the others\n`,
  );
  console.log(
    `${'case'.padEnd(28)}${subjects.map(({ name }) => name.padStart(12)).join('')}${subjects
      .slice(1)
      .map(({ name }) => `/${name}`.padStart(12))
      .join('')}   µs of the processor`,
  );
  for (const group of Map.groupBy(cases, serversOf).values()) await runGroup(subjects, group, options);
}

/** Cases with the same answer share their servers. Large values would fill the memory: each transport and depth has fresh servers. */
function serversOf({ sizeBytes, sync, transport, pipeline }: Case): string {
  return isLarge(sizeBytes) ? `${sizeBytes} ${transport} ${pipeline}` : `${sizeBytes} ${sync}`;
}

function isLarge(sizeBytes: number): boolean {
  return sizeBytes > 65_536;
}

function parse(parameters: readonly string[]): Options {
  const value = (name: string) => {
    const at = parameters.indexOf(name);
    return at < 0 ? undefined : parameters[at + 1];
  };
  return {
    reference: value('--reference'),
    quick: parameters.includes('--quick'),
    only: value('--only'),
    clients: Number(value('--clients') ?? 50),
    pipeline: value('--pipeline') === undefined ? undefined : Number(value('--pipeline')),
  };
}

function unknownOption(parameters: readonly string[]): string | undefined {
  const known = ['--reference', '--quick', '--only', '--clients', '--pipeline'];
  const unknown = parameters.find((word) => word.startsWith('-') && !known.includes(word));
  return unknown === undefined ? undefined : `no option ${unknown}; npm run bench lists them`;
}

/** What has to be installed first. */
async function missingProgram({ reference }: Options): Promise<string | undefined> {
  const needed = ['redis-server', 'redis-benchmark', ...(reference === undefined ? [] : [reference])];
  for (const program of needed) {
    try {
      await promisify(execFile)(program, ['--version']);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT' && code !== 'EACCES') continue;
      const hint =
        program === reference
          ? 'give the path of a zdb binary'
          : 'install it (Debian: redis-server, redis-tools)';
      return `${program} cannot be run: ${hint}`;
    }
  }
  return undefined;
}

function casesOf({ quick, only, pipeline: depth }: Options): Case[] {
  const sizes = quick ? [64] : [64, 4096, 131_072];
  const cases: Case[] = [];
  for (const sizeBytes of sizes) {
    for (const transport of ['tcp', 'unix'] as const) {
      for (const pipeline of depth === undefined ? [1, 16] : [depth]) {
        for (const command of ['SET', 'GET'] as const) {
          cases.push({ command, sizeBytes, transport, pipeline, sync: false });
        }
      }
    }
  }
  cases.push({ command: 'SET', sizeBytes: 64, transport: 'unix', pipeline: 1, sync: true });
  return cases.filter((one) => only === undefined || title(one).includes(only));
}

function title({ command, sizeBytes, transport, pipeline, sync }: Case): string {
  const size = sizeBytes < 1024 ? `${sizeBytes} B` : `${sizeBytes / 1024} KiB`;
  return `${command} ${size} ${transport} P=${pipeline}${sync ? ' sync' : ''}`;
}

/** Cases of one value size: fresh servers, keys loaded once, the servers one after the other in each case. */
async function runGroup(
  subjects: readonly Subject[],
  cases: readonly Case[],
  options: Options,
): Promise<void> {
  const first = cases[0]!;
  const scratch = mkdtempSync(join(tmpdir(), 'zdb-bench-'));
  const running: Running[] = [];
  try {
    for (const subject of subjects) running.push(await start(subject, scratch, first.sync));
    const keys = keysOf(first.sizeBytes);
    if (cases.some(({ command }) => command === 'GET')) {
      const fill: Case = { ...first, command: 'SET', transport: 'unix', pipeline: 16 };
      for (const one of running) await measure(one, fill, keys * 3, keys, 50);
    }
    for (const one of cases) {
      const measured: number[][] = running.map(() => []);
      const processor: number[][] = running.map(() => []);
      for (let round = 0; round < ROUNDS; round++) {
        for (const [number, server] of running.entries()) {
          const count = requestsOf(one, server.name, options.quick);
          const range = one.command === 'GET' ? keys : 100_000_000;
          await settle();
          const before = server.processorSeconds();
          measured[number]!.push(await measure(server, one, count, range, options.clients));
          processor[number]!.push(((server.processorSeconds() - before) / count) * 1e6);
        }
      }
      const rates = measured.map(median);
      const [own = 0, ...others] = rates;
      const columns = rates.map((rate) => Math.round(rate).toString().padStart(12)).join('');
      const ratios = others.map((rate) => (own / rate).toFixed(2).padStart(12)).join('');
      const each = processor.map((values) => median(values).toFixed(1)).join(' / ');
      console.log(`${title(one).padEnd(28)}${columns}${ratios}   ${each}`);
    }
  } finally {
    for (const one of running) await one.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Keys that are there to be read. */
function keysOf(sizeBytes: number): number {
  return isLarge(sizeBytes) ? 1000 : sizeBytes > 1024 ? 20_000 : 100_000;
}

/** Requests of one turn: for half a second to two seconds. */
function requestsOf({ sizeBytes, transport, pipeline, sync }: Case, name: string, quick: boolean): number {
  if (sync) return 10_000;
  if (isLarge(sizeBytes)) return 4000;
  if (name === 'reference' && transport === 'tcp' && pipeline > 1) return 20_000; // Nagle stalls it
  if (sizeBytes > 1024) return 50_000;
  return (pipeline > 1 ? 500_000 : 120_000) / (quick ? 2 : 1);
}

interface Running {
  readonly name: string;
  readonly port: number;
  readonly socket: string;
  processorSeconds(): number;
  stop(): Promise<void>;
}

async function start(subject: Subject, scratch: string, sync: boolean): Promise<Running> {
  const directory = mkdtempSync(join(scratch, 's-'));
  const port = await freePort();
  const socket = join(directory, 'sock');
  const [command, words] = subject.command(directory, port, socket, sync);
  const child: ChildProcess = spawn(command, words, { cwd: directory, stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => void child.once('close', () => resolve()));
  let failure: Error | undefined;
  child.once('error', (error) => {
    failure = error;
  });
  const deadline = Date.now() + START_MS;
  while (!(await connects({ path: socket })) || !(await connects({ host: '127.0.0.1', port }))) {
    if (failure !== undefined) throw failure;
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`${subject.name} did not start`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    name: subject.name,
    port,
    socket,
    processorSeconds: () => {
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'latin1').split(') ')[1]!.split(' ');
      return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
    },
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

const ours: Subject = {
  name: 'zdb',
  command: (directory, port, socket, sync) => [
    fileURLToPath(new URL('../bin/zdb', import.meta.url)),
    [...zdbWords(directory, port, socket, sync), '--listen', '127.0.0.1'],
  ],
};

const redis: Subject = {
  name: 'redis',
  command: (directory, port, socket, sync) => [
    'redis-server',
    [
      ...['--port', String(port), '--bind', '127.0.0.1', '--unixsocket', socket, '--dir', directory],
      ...['--save', '', '--appendonly', 'yes', '--appendfsync', sync ? 'always' : 'no'],
      ...['--auto-aof-rewrite-percentage', '0'],
    ],
  ],
};

function reference(path: string): Subject {
  return {
    name: 'reference',
    command: (directory, port, socket, sync) => [
      path,
      [...zdbWords(directory, port, socket, sync), '--listen', '127.0.0.1'],
    ],
  };
}

function zdbWords(directory: string, port: number, socket: string, sync: boolean): string[] {
  return [
    ...['--data', join(directory, 'data'), '--index', join(directory, 'index'), '--mode', 'user'],
    ...['--socket', socket, '--dualnet', '--port', String(port)],
    ...(sync ? ['--sync'] : []),
  ];
}

/** Requests per second. */
async function measure(
  server: Running,
  one: Case,
  count: number,
  keys: number,
  clients: number,
): Promise<number> {
  const where =
    one.transport === 'unix' ? ['-s', server.socket] : ['-h', '127.0.0.1', '-p', String(server.port)];
  const { stdout } = await promisify(execFile)(
    'redis-benchmark',
    [
      ...where,
      ...['-c', String(clients), '-n', String(count), '-P', String(one.pipeline), '-r', String(keys)],
      ...['-d', String(one.sizeBytes), '-t', one.command.toLowerCase(), '--csv'],
    ],
    { timeout: RUN_MS, maxBuffer: 64 * 1024 * 1024 },
  );
  const line = stdout.split('\n').find((text) => text.startsWith(`"${one.command}"`));
  const rate = Number(line?.split(',')[1]?.replaceAll('"', ''));
  if (!(rate > 0))
    throw new Error(`redis-benchmark printed no rate for ${title(one)} on ${server.name}:\n${stdout}`);
  return rate;
}

async function connects(where: { path: string } | { host: string; port: number }): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = net.connect(where);
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}

async function freePort(): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
