// The index of a real zdb process: how long it takes from its start until it answers, and how much memory it holds, with millions of
// keys. User mode: real files. Sequential mode: real index files over data files of holes.
//
//   npm run bench -- zdb-index [--keys N] [--slots N] [--reference PATH]
//
// The baseline in the same run is the same server without keys, and the reference on the same files where its binary is given.
import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { realClock, realDisk, realNetwork, realRandom } from '@qsfs/io';
import { ZdbClient } from '@qsfs/resp';
import { type NamespaceMode, openEngine } from '@qsfs/zdb';
import { settle } from './settle.ts';

const KEY_BYTES = 20;
const PAYLOAD_BYTES = 8;
const DATA_BYTES = 268_435_456;
const START_MS = 300_000;
const READS = 20_000;
const SCANS = 200;
/** Sequential records of one data file, as many as fit with payloads of 8 bytes. */
const FILE_SLOTS = 20_000_000;
const CHUNK_SLOTS = 100_000;
/** Unit of the times in /proc (USER_HZ, the same on all machines). */
const TICKS_PER_SECOND = 100;

// docs/formats/zdb.md
const INDEX_HEADER_BYTES = 29;
const SLOT_BYTES = 42;
const DATA_HEADER_BYTES = 26;
const RECORD_BYTES = 18 + 8 + PAYLOAD_BYTES;

/** Runs the benchmark. @param parameters the words behind `npm run bench -- zdb-index` */
export async function run(parameters: string[]): Promise<void> {
  const word = (name: string) => {
    const at = parameters.indexOf(name);
    return at < 0 ? undefined : parameters[at + 1];
  };
  const keys = Number(word('--keys') ?? 10_000_000);
  const slots = Number(word('--slots') ?? 100_000_000);
  const reference = word('--reference');
  const scratch = mkdtempSync(join(tmpdir(), 'zdb-index-bench-'));
  try {
    const ours = fileURLToPath(new URL('../bin/zdb', import.meta.url));
    await start(ours, makeUser(join(scratch, 'warm'), 0), 'user', 0); // So that compiled code is there.
    if (keys > 0) {
      const empty = await start(ours, join(scratch, 'warm'), 'user', 0);
      const directory = makeUser(join(scratch, 'user'), keys);
      console.log(`user mode, ${keys} keys of ${KEY_BYTES} bytes (empty server: ${shown(empty)})`);
      reportUser('zdb', await start(ours, directory, 'user', keys), empty, keys);
      if (reference !== undefined) {
        const base = await start(reference, makeUser(join(scratch, 'none'), 0), 'user', 0);
        reportUser('reference', await start(reference, directory, 'user', keys), base, keys);
      }
      rmSync(directory, { recursive: true });
    }
    if (slots > 0) {
      const directory = makeSeq(join(scratch, 'seq'), slots);
      console.log(`seq mode, ${slots} entries`);
      console.log(`  zdb        ${shown(await start(ours, directory, 'seq', slots))}`);
      if (reference !== undefined)
        console.log(`  reference  ${shown(await start(reference, directory, 'seq', slots))}`);
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** What a server needed. */
interface Need {
  readonly seconds: number;
  /** Of the processor until then: what the start costs, also on a machine that is busy with other things. */
  readonly processorSeconds: number;
  /** Resident once it answers. */
  readonly startedBytes: number;
  /** Resident after random reads and walks. */
  readonly usedBytes: number;
  readonly peakBytes: number;
}

function shown({ seconds, processorSeconds, startedBytes, usedBytes, peakBytes }: Need): string {
  const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
  return `answers after ${seconds.toFixed(2)} s (${processorSeconds.toFixed(2)} s of the processor), resident ${mib(startedBytes)}, after ${READS} reads and ${SCANS} walks ${mib(usedBytes)}, at most ${mib(peakBytes)}`;
}

function reportUser(name: string, need: Need, empty: Need, keys: number): void {
  const perKey = (need.usedBytes - empty.usedBytes) / keys - KEY_BYTES;
  console.log(`  ${name.padEnd(10)} ${shown(need)}; ${perKey.toFixed(1)} bytes a key beside the key`);
}

/** Starts a server on files, uses it, stops it. */
async function start(command: string, directory: string, mode: NamespaceMode, count: number): Promise<Need> {
  const socket = join(directory, 'sock');
  const words = [
    ...['--data', join(directory, 'data'), '--index', join(directory, 'index')],
    ...['--mode', mode, '--socket', socket, '--datasize', String(DATA_BYTES)],
  ];
  await settle();
  const started = performance.now();
  const child: ChildProcess = spawn(command, words, { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => void child.once('close', () => resolve()));
  try {
    const client = await connect(socket, child);
    await client.ping();
    const seconds = (performance.now() - started) / 1000;
    const processorSeconds = processorTime(child);
    const startedBytes = resident(child, 'VmRSS');
    const key = Buffer.alloc(mode === 'user' ? KEY_BYTES : 8);
    const reads: Promise<unknown>[] = [];
    for (let read = 0; count > 0 && read < READS; read++) {
      const number = realRandom.below(Math.min(count, 2 ** 30));
      if (mode === 'user') putKey(key, number);
      else key.writeBigUInt64LE(BigInt(number));
      // What lies in a hole has no checksum that fits: an error is as good an answer here.
      reads.push(client.get(Buffer.from(key)).catch(() => undefined));
      if (reads.length === 100) await Promise.all(reads.splice(0));
    }
    let page = count > 0 ? await client.scan() : undefined;
    for (let walk = 0; page !== undefined && walk < SCANS; walk++) page = await client.scan(page.cursor);
    const usedBytes = resident(child, 'VmRSS');
    const peakBytes = resident(child, 'VmHWM');
    client.close();
    return { seconds, processorSeconds, startedBytes, usedBytes, peakBytes };
  } finally {
    child.kill('SIGTERM');
    await ended;
  }
}

async function connect(path: string, child: ChildProcess): Promise<ZdbClient> {
  const until = performance.now() + START_MS;
  for (;;) {
    try {
      return await ZdbClient.connect(realNetwork, realClock, { address: { path } });
    } catch (error) {
      if (child.exitCode !== null || performance.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

function processorTime(child: ChildProcess): number {
  const fields = readFileSync(`/proc/${child.pid}/stat`, 'latin1').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function resident(child: ChildProcess, field: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${child.pid}/status`, 'latin1');
  return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)![1]) * 1024;
}

function open(directory: string, mode: NamespaceMode) {
  return openEngine({
    disk: realDisk,
    clock: realClock,
    random: realRandom,
    dataDirectory: join(directory, 'data'),
    indexDirectory: join(directory, 'index'),
    dataSizeBytes: DATA_BYTES,
    mode,
    sync: 'none',
  });
}

function putKey(key: Buffer, number: number): void {
  key.fill(0x6b);
  key.writeUInt32LE(Math.imul(number, 0x9e3779b1) >>> 0, 0);
  key.writeUInt32LE(number, 8);
}

/** Files of a user-mode namespace with so many keys. */
function makeUser(directory: string, keys: number): string {
  const engine = open(directory, 'user');
  const namespace = engine.namespace('default')!;
  const key = Buffer.alloc(KEY_BYTES);
  const payload = Buffer.alloc(PAYLOAD_BYTES, 1);
  for (let number = 0; number < keys; number++) {
    putKey(key, number);
    namespace.set(key, payload, 1);
    if (number % 4096 === 4095) engine.commit();
  }
  engine.commit();
  engine.close();
  return directory;
}

/** Files of a sequential namespace: index files of live slots, data files of the right size without content, and an empty pair behind. */
function makeSeq(directory: string, slots: number): string {
  open(directory, 'seq').close();
  const index = (file: number) => join(directory, 'index', 'default', `i${file}`);
  const data = (file: number) => join(directory, 'data', 'default', `d${file}`);
  const indexHeader = readFileSync(index(0));
  const files = Math.ceil(slots / FILE_SLOTS);
  const chunk = Buffer.alloc(CHUNK_SLOTS * SLOT_BYTES);
  for (let file = 0; file <= files; file++) {
    if (file > 0) copyFileSync(data(0), data(file));
    const descriptor = openSync(index(file), 'w');
    indexHeader.writeUInt32LE(file, 24);
    writeSync(descriptor, indexHeader);
    const count = Math.min(FILE_SLOTS, slots - file * FILE_SLOTS);
    for (let slot = 0; slot < count; ) {
      const filled = Math.min(CHUNK_SLOTS, count - slot);
      for (let i = 0; i < filled; i++, slot++) {
        const at = i * SLOT_BYTES;
        chunk[at] = 8;
        chunk.writeUInt32LE(DATA_HEADER_BYTES + slot * RECORD_BYTES, at + 1);
        chunk.writeUInt32LE(PAYLOAD_BYTES, at + 5);
        chunk.writeUInt32LE(slot === 0 ? 0 : INDEX_HEADER_BYTES + (slot - 1) * SLOT_BYTES, at + 9);
        chunk.writeUInt32LE(file, at + 14);
        chunk.writeUInt32LE(1, at + 18);
        chunk.writeUInt32LE(file * FILE_SLOTS + slot, at + 34);
      }
      writeSync(descriptor, chunk, 0, filled * SLOT_BYTES);
    }
    closeSync(descriptor);
  }
  for (let file = 0; file < files; file++) {
    const count = Math.min(FILE_SLOTS, slots - file * FILE_SLOTS);
    truncateSync(data(file), DATA_HEADER_BYTES + count * RECORD_BYTES);
  }
  return directory;
}
