// The zdb engine alone: operations per second of both modes, CPU beside the system calls, loading, memory per key.
//
//   npm run bench -- zdb-engine [keys]
//
// The baseline in the same run is a bare loop of the system calls an operation needs (one write for a batch, one read per record).
import { closeSync, fdatasyncSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { realClock, realDisk, realRandom } from '@qsfs/io';
import { type Engine, type Namespace, type NamespaceMode, openEngine } from '@qsfs/zdb';

const BATCH = 32;
const OPERATIONS = 100_000;

/** Runs the benchmark. @param parameters number of keys for loading (default 1,000,000) */
export async function run(parameters: string[]): Promise<void> {
  const keys = Number(parameters[0] ?? 1_000_000);
  const directory = mkdtempSync(join(tmpdir(), 'zdb-engine-bench-'));
  try {
    console.log(`batches of ${BATCH}; µs of wall time (CPU) per operation\n`);
    baseline(directory);
    for (const bytes of [64, 4096, 131_072]) sequential(directory, bytes);
    for (const bytes of [64, 4096]) user(directory, bytes);
    load(directory, keys);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function open(directory: string, name: string, mode: NamespaceMode): Engine {
  return openEngine({
    disk: realDisk,
    clock: realClock,
    random: realRandom,
    dataDirectory: join(directory, name, 'data'),
    indexDirectory: join(directory, name, 'index'),
    dataSizeBytes: 268_435_456,
    mode,
    sync: 'none',
  });
}

/** Measures `count` calls. */
function measure(what: string, count: number, call: (number: number) => void): void {
  const cpu = process.cpuUsage();
  const started = performance.now();
  for (let number = 0; number < count; number++) call(number);
  const wall = (performance.now() - started) * 1000;
  const used = process.cpuUsage(cpu);
  console.log(
    `${what.padEnd(44)}${(wall / count).toFixed(2).padStart(9)}  (user ${(used.user / count).toFixed(2)}, system ${(used.system / count).toFixed(2)})`,
  );
}

function baseline(directory: string): void {
  const file = openSync(join(directory, 'baseline'), 'w+');
  const block = Buffer.alloc(BATCH * 90);
  measure('bare: one write per batch', OPERATIONS, (number) => {
    if (number % BATCH === 0) writeSync(file, block, 0, block.length, number * 90);
  });
  const record = Buffer.alloc(90);
  measure('bare: one read of 90 bytes', OPERATIONS, (number) => {
    readSync(file, record, 0, record.length, (number * 7919) % 80_000);
  });
  fdatasyncSync(file);
  closeSync(file);
}

function sequential(directory: string, bytes: number): void {
  const name = `seq-${bytes}`;
  const count = Math.min(OPERATIONS, Math.floor(400_000_000 / bytes));
  const engine = open(directory, name, 'seq');
  const namespace = engine.namespace('default')!;
  const payload = Buffer.alloc(bytes, 7);
  const part = Buffer.alloc(Math.min(bytes, 4096));
  const commit = (number: number): void => {
    if (number % BATCH === BATCH - 1) engine.commit();
  };
  measure(`seq ${bytes} B: insertId`, count, (number) => {
    namespace.insertId(payload);
    commit(number);
  });
  measure(`seq ${bytes} B: updateId, random`, count, (number) => {
    namespace.updateId((number * 7919) % count, payload);
    commit(number);
  });
  engine.commit();
  measure(`seq ${bytes} B: lengthOfId, random`, count, (number) => {
    namespace.lengthOfId((number * 7919) % count);
  });
  measure(`seq ${bytes} B: readId, random`, count, (number) => {
    namespace.readId((number * 7919) % count);
  });
  measure(`seq ${bytes} B: readIdInto, random, first`, count, (number) => {
    namespace.readIdInto((number * 7919) % count, 0, part);
  });
  measure(`seq ${bytes} B: readIdInto, random, again`, count, (number) => {
    namespace.readIdInto((number * 7919) % count, 0, part);
  });
  measure(`seq ${bytes} B: removeId, random`, count, (number) => {
    namespace.removeId((number * 7919) % count);
    commit(number);
  });
  engine.close();
  rmSync(join(directory, name), { recursive: true });
}

function user(directory: string, bytes: number): void {
  const name = `user-${bytes}`;
  const engine = open(directory, name, 'user');
  const namespace = engine.namespace('default')!;
  const payload = Buffer.alloc(bytes, 7);
  const key = Buffer.alloc(16);
  const commit = (number: number): void => {
    if (number % BATCH === BATCH - 1) engine.commit();
  };
  const setKey = (number: number): void => void key.writeUInt32LE(Math.imul(number, 0x9e3779b1) >>> 0, 4);
  measure(`user ${bytes} B: set, new keys`, OPERATIONS, (number) => {
    setKey(number);
    namespace.set(key, payload);
    commit(number);
  });
  measure(`user ${bytes} B: get, random`, OPERATIONS, (number) => {
    setKey((number * 7919) % OPERATIONS);
    namespace.get(key);
  });
  payload.fill(8);
  measure(`user ${bytes} B: set, existing keys`, OPERATIONS, (number) => {
    setKey((number * 7919) % OPERATIONS);
    namespace.set(key, payload);
    commit(number);
  });
  measure(`user ${bytes} B: remove`, OPERATIONS, (number) => {
    setKey(number);
    namespace.remove(key);
    commit(number);
  });
  engine.close();
  rmSync(join(directory, name), { recursive: true });
}

function load(directory: string, keys: number): void {
  for (const mode of ['user', 'seq'] as const) {
    const name = `load-${mode}`;
    let engine = open(directory, name, mode);
    fill(engine.namespace('default')!, keys, () => engine.commit());
    engine.close();
    globalThis.gc?.();
    const before = process.memoryUsage().rss;
    const started = performance.now();
    engine = open(directory, name, mode);
    const seconds = (performance.now() - started) / 1000;
    const grown = process.memoryUsage().rss - before;
    console.log(
      `${`load ${mode}: ${keys} keys`.padEnd(44)}${seconds.toFixed(2).padStart(9)} s, resident memory grew ${(grown / 1e6).toFixed(0)} MB (${(grown / keys).toFixed(0)} B a key)`,
    );
    engine.close();
    rmSync(join(directory, name), { recursive: true });
  }
}

function fill(namespace: Namespace, keys: number, commit: () => void): void {
  const key = Buffer.alloc(20);
  const payload = Buffer.alloc(8, 1);
  for (let number = 0; number < keys; number++) {
    if (namespace.mode === 'seq') namespace.insertId(payload);
    else {
      key.writeUInt32LE(Math.imul(number, 0x9e3779b1) >>> 0, 0);
      key.writeUInt32LE(number, 8);
      namespace.set(key, payload, 1);
    }
    if (number % 1024 === 1023) commit();
  }
  commit();
}
