// `npm run bench -- zstor [sizeMiB] [k+m …]`: store and retrieve through real zdb processes on unix sockets, with incompressible and
// compressible data, against a plain copy of the same file in the same run, each from a settled disk. Prints MB/s, ratios and peak memory.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { realClock, realDisk, realNetwork, realRandom } from '../packages/io/src/index.ts';
import { ZdbClient } from '../packages/resp/src/index.ts';
import { openZstor, parseConfig, type Zstor } from '../packages/zstor/src/index.ts';
import { settle } from './settle.ts';

const MIB = 1024 * 1024;
const METADATA_STORES = 4;
const START_TIMEOUT_MS = 60_000;
const ZDB = fileURLToPath(new URL('../packages/zdb/src/main.ts', import.meta.url));

/** @param parameters size in MiB (default 1024), then codes such as `4+4` (default 4+4 and 16+4) */
export async function run(parameters: string[]): Promise<void> {
  const sizeMiB = Number(parameters.find((word) => /^\d+$/.test(word)) ?? 1024);
  const codes = parameters.filter((word) => /^\d+\+\d+$/.test(word));
  const folder = mkdtempSync(join(tmpdir(), 'bench-zstor-'));
  try {
    const random = join(folder, 'random');
    const text = join(folder, 'text');
    writeRandom(random, sizeMiB);
    writeText(text, sizeMiB);
    await settle();
    const copyRate = copyFile(random, join(folder, 'copy'), sizeMiB);
    console.log(`plain copy of ${sizeMiB} MiB, synced: ${copyRate.toFixed(0)} MB/s (ratio 1)`);
    for (const code of codes.length > 0 ? codes : ['4+4', '16+4']) {
      const [k, m] = code.split('+').map(Number) as [number, number];
      await measureCode(folder, k, m, sizeMiB, copyRate, { random, text });
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measureCode(
  folder: string,
  k: number,
  m: number,
  sizeMiB: number,
  copyRate: number,
  sources: { readonly random: string; readonly text: string },
): Promise<void> {
  const base = join(folder, `${k}+${m}`);
  const servers: ChildProcess[] = [];
  try {
    for (let index = 0; index < k + m; index++) servers.push(startServer(join(base, `b${index}`)));
    for (let index = 0; index < k + m; index++) await prepareServer(join(base, `b${index}`, 'socket'));
    const zstor = await openZstor(parseConfig(configuration(k, m), base), {
      disk: realDisk,
      network: realNetwork,
      clock: realClock,
      random: realRandom,
    });
    for (const [kind, path] of Object.entries(sources)) {
      // The first time the servers have just been started and their code is not compiled yet; backends run for months.
      const first = await timed(sizeMiB, () => zstor.put(kind, { path, lengthBytes: sizeMiB * MIB }));
      const store = await timed(sizeMiB, () => zstor.put(kind, { path, lengthBytes: sizeMiB * MIB }));
      const checked = await timed(sizeMiB, () =>
        zstor.put(kind, { path, lengthBytes: sizeMiB * MIB }, { verification: 'checked' }),
      );
      const target = join(base, 'retrieved');
      const retrieve = await timed(sizeMiB, () => zstor.retrieve(kind, target));
      verify(path, target);
      rmSync(target);
      const part = await partialRead(zstor, kind, sizeMiB);
      console.log(
        `${k}+${m} over ${k + m} zdb, ${kind === 'random' ? 'incompressible' : 'compressible'}: ` +
          `store ${figure(first, copyRate)}, again ${figure(store, copyRate)}, with every shard read back ${figure(checked, copyRate)}, retrieve ${figure(retrieve, copyRate)}, ` +
          `read of 4 KiB ${part.toFixed(1)} ms`,
      );
      await zstor.delete(kind);
    }
    await zstor.close();
  } finally {
    await Promise.all(servers.map(stopServer));
    rmSync(base, { recursive: true, force: true });
  }
}

interface Timing {
  readonly rate: number;
  readonly peakMiB: number;
}

function figure({ rate, peakMiB }: Timing, copyRate: number): string {
  return `${rate.toFixed(0)} MB/s (ratio ${(rate / copyRate).toFixed(2)}, peak ${peakMiB.toFixed(0)} MiB resident)`;
}

async function timed(sizeMiB: number, call: () => Promise<unknown>): Promise<Timing> {
  await settle();
  writeFileSync('/proc/self/clear_refs', '5'); // forgets the peak so far
  const start = performance.now();
  await call();
  const seconds = (performance.now() - start) / 1000;
  const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
  return { rate: (sizeMiB * MIB) / seconds / 1e6, peakMiB: Number(peak?.[1]) / 1024 };
}

/** Median milliseconds of a read of 4 KiB somewhere in the object. */
async function partialRead(zstor: Zstor, name: string, sizeMiB: number): Promise<number> {
  const record = await zstor.head(name);
  const times: number[] = [];
  for (let round = 0; round < 21; round++) {
    const start = performance.now();
    await zstor.read(record!, Math.floor(Math.random() * (sizeMiB * MIB - 4096)), 4096);
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[10]!;
}

function configuration(k: number, m: number): string {
  const backend = (table: string, index: number, namespace: string) =>
    `[[${table}]]\nname = "${namespace}${index}"\naddress = "unix:b${index}/socket"\nnamespace = "${namespace}"\n`;
  return `minimal_shards = ${k}\nexpected_shards = ${k + m}\nredundant_groups = 0\nredundant_nodes = 0
[encryption]\nalgorithm = "AES"\nkey = "${'5a'.repeat(32)}"
[meta.config]
${Array.from({ length: METADATA_STORES }, (_, index) => backend('meta.config.backends', index, 'meta')).join('')}
[[groups]]
${Array.from({ length: k + m }, (_, index) => backend('groups.backends', index, 'data')).join('')}`;
}

function startServer(folder: string): ChildProcess {
  mkdirSync(folder, { recursive: true });
  const words = [
    '--data',
    join(folder, 'data'),
    '--index',
    join(folder, 'index'),
    '--socket',
    join(folder, 'socket'),
  ];
  return spawn(process.execPath, [ZDB, ...words], { stdio: 'ignore' });
}

async function prepareServer(socket: string): Promise<void> {
  const start = performance.now();
  while (!(await accepts(socket))) {
    if (performance.now() - start > START_TIMEOUT_MS) throw new Error(`no zdb answers on ${socket}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const client = await ZdbClient.connect(realNetwork, realClock, { address: { path: socket } });
  await client.createNamespace('data');
  await client.configureNamespace('data', { mode: 'seq' });
  await client.createNamespace('meta');
  await client.configureNamespace('meta', { mode: 'user' });
  client.close();
}

function accepts(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const client = connect(socket, () => {
      client.destroy();
      resolve(true);
    });
    client.once('error', () => resolve(false));
  });
}

async function stopServer(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const ended = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGKILL');
  await ended;
}

function writeRandom(path: string, sizeMiB: number): void {
  const block = Buffer.alloc(MIB);
  const file = openSync(path, 'w');
  for (let written = 0; written < sizeMiB; written++) writeSync(file, randomFillSync(block));
  closeSync(file);
}

/** Numbered lines of words: about a fifth of its size with zstd level 1. */
function writeText(path: string, sizeMiB: number): void {
  const words = 'stripe shard backend record group store repair quorum placement salt nonce'.split(' ');
  const file = openSync(path, 'w');
  for (let written = 0; written < sizeMiB; written++) {
    let text = '';
    for (let line = 0; text.length < MIB; line++) {
      text += `${written * 100_000 + line} ${words[(line * 7 + written) % words.length]} ${words[(line * line) % words.length]} ${(line * 2654435761) % 4294967296}\n`;
    }
    writeSync(file, text.slice(0, MIB));
  }
  closeSync(file);
}

/** Reads and writes as a program would, one MiB at a time, and syncs. @returns MB/s */
function copyFile(source: string, target: string, sizeMiB: number): number {
  const block = Buffer.alloc(MIB);
  const start = performance.now();
  const from = openSync(source, 'r');
  const to = openSync(target, 'w');
  for (let got = readSync(from, block); got > 0; got = readSync(from, block)) writeSync(to, block, 0, got);
  fsyncSync(to);
  const seconds = (performance.now() - start) / 1000;
  closeSync(from);
  closeSync(to);
  rmSync(target);
  return (sizeMiB * MIB) / seconds / 1e6;
}

function verify(source: string, target: string): void {
  const [a, b] = [Buffer.alloc(8 * MIB), Buffer.alloc(8 * MIB)];
  const [one, two] = [openSync(source, 'r'), openSync(target, 'r')];
  for (let position = 0; ; position += a.length) {
    const got = readSync(one, a, 0, a.length, position);
    if (readSync(two, b, 0, b.length, position) !== got || !a.subarray(0, got).equals(b.subarray(0, got))) {
      throw new Error(`what was retrieved differs near byte ${position}`);
    }
    if (got === 0) break;
  }
  closeSync(one);
  closeSync(two);
}
