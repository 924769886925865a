// `npm run bench -- e2e [sizeMiB] [files]`: QSFS as a user has it — a real mount, eight local backends, three of eight shards —
// against the plain disk in the same run. Ratios count: time of the disk / time of the mount; machines differ.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MIB = 1024 * 1024;
const ROOT = join(import.meta.dirname, '..');
const SMALL_BYTES = 4096;
const FILES_PER_DIRECTORY = 500;

/** Seconds that a part takes. */
function seconds(part: () => void): number {
  const begin = performance.now();
  part();
  return (performance.now() - begin) / 1000;
}

/** Bytes that do not compress, the same in every run. */
function noise(bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  let state = 42;
  for (let at = 0; at < bytes; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    buffer.writeUInt32LE((state ^ (state >>> 15)) >>> 0, at);
  }
  return buffer;
}

function writeLarge(path: string, blocks: number): void {
  const file = fs.openSync(path, 'w');
  const block = noise(MIB);
  for (let at = 0; at < blocks; at += 1) {
    block.writeUInt32LE(at, 0);
    fs.writeSync(file, block);
  }
  fs.fsyncSync(file);
  fs.closeSync(file);
}

/** Reads the file and checks that each block is the one that was written. */
function readLarge(path: string): void {
  const file = fs.openSync(path, 'r');
  const block = Buffer.alloc(MIB);
  for (let at = 0; fs.readSync(file, block) > 0; at += 1) {
    if (block.readUInt32LE(0) !== at) throw new Error(`block ${at} of ${path} is wrong`);
  }
  fs.closeSync(file);
}

function pathsOf(folder: string, files: number): string[] {
  return Array.from({ length: files }, (_, at) =>
    join(folder, `d${Math.floor(at / FILES_PER_DIRECTORY)}`, `file-${at}`),
  );
}

interface Row {
  readonly name: string;
  readonly amount: number;
  readonly unit: string;
  readonly seconds: number;
}

/** Write and read of one large file, and the life of many small ones. */
function workload(folder: string, sizeMib: number, files: number): Row[] {
  const rows: Row[] = [];
  const time = (name: string, amount: number, unit: string, part: () => void) => {
    rows.push({ name, amount, unit, seconds: seconds(part) });
  };
  const large = join(folder, 'large');
  time('sequential write + fsync', sizeMib, 'MiB', () => writeLarge(large, sizeMib));
  time('sequential read, cached', sizeMib, 'MiB', () => readLarge(large));
  const paths = pathsOf(folder, files);
  const content = noise(SMALL_BYTES);
  time(`create ${files} files of 4 KiB`, files, 'files', () => {
    for (let at = 0; at * FILES_PER_DIRECTORY < files; at += 1) fs.mkdirSync(join(folder, `d${at}`));
    for (const path of paths) fs.writeFileSync(path, content);
  });
  time('list and stat them', files, 'files', () => {
    for (let at = 0; at * FILES_PER_DIRECTORY < files; at += 1) {
      const directory = join(folder, `d${at}`);
      for (const name of fs.readdirSync(directory)) fs.statSync(join(directory, name));
    }
  });
  time('read them', files, 'files', () => {
    for (const path of paths) fs.readFileSync(path);
  });
  time('remove them', files, 'files', () => {
    for (const path of paths) fs.unlinkSync(path);
  });
  return rows;
}

function qsfs(folder: string, ...words: string[]): string {
  return execFileSync(join(ROOT, 'bin/qsfs'), [...words, '--dir', join(folder, 'state')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

function rate(row: { amount: number; unit: string; seconds: number }): string {
  return `${(row.amount / row.seconds).toFixed(0)} ${row.unit}/s`;
}

function line(name: string, mount: string, disk: string, ratio: string): void {
  process.stdout.write(`${name.padEnd(34)}${mount.padStart(16)}${disk.padStart(16)}${ratio.padStart(8)}\n`);
}

/** @param parameters size of the large file in MiB (1024), number of small files (10000) */
export async function run(parameters: string[]): Promise<void> {
  const [sizeMib = 1024, files = 10_000] = parameters.map(Number);
  if (!(sizeMib > 0) || !(files > 0)) throw new Error('give a size in MiB and a number of files');
  const scratch = fs.mkdtempSync(join(tmpdir(), 'qsfs-bench-'));
  const mountPoint = join(scratch, 'mnt');
  const plain = join(scratch, 'plain');
  fs.mkdirSync(plain);
  const cache = `${Math.max(256, sizeMib * 2)}MiB`;
  try {
    qsfs(scratch, 'up', '--mount', mountPoint, '--cache-size', cache, '--detach');
    line('', 'mount', 'disk', 'ratio');
    const disk = workload(plain, sizeMib, files);
    for (const [at, row] of workload(mountPoint, sizeMib, files).entries()) {
      const base = disk[at] as Row;
      line(row.name, rate(row), rate(base), (base.seconds / row.seconds).toFixed(2));
    }
    fs.rmSync(plain, { recursive: true });
    // Most of the file is on its way already: what is left is brought to eight backends, coded to 8/3 of its size.
    const left = JSON.parse(qsfs(scratch, 'status', '--json')).segments.pendingBytes / MIB;
    const sync = seconds(() => qsfs(scratch, 'sync', '--quiet'));
    line(`sync of the last ${left.toFixed(0)} MiB`, `${sync.toFixed(2)} s`, '', '');
    const second = join(mountPoint, 'second');
    const begin = performance.now();
    writeLarge(second, sizeMib);
    qsfs(scratch, 'sync', '--quiet');
    const whole = (performance.now() - begin) / 1000;
    line('write + sync to all backends', rate({ amount: sizeMib, unit: 'MiB', seconds: whole }), '', '');
    qsfs(scratch, 'evict', '--all');
    const back = seconds(() => readLarge(join(mountPoint, 'large')));
    line('read back after eviction', rate({ amount: sizeMib, unit: 'MiB', seconds: back }), '', '');
    qsfs(scratch, 'evict', '--all');
    for (const name of ['a1', 'a2', 'b1', 'c1', 'd1']) qsfs(scratch, 'backend', 'stop', name);
    const degraded = seconds(() => readLarge(second));
    line(
      'the same with five backends down',
      rate({ amount: sizeMib, unit: 'MiB', seconds: degraded }),
      '',
      '',
    );
    for (const name of ['a1', 'a2', 'b1', 'c1', 'd1']) qsfs(scratch, 'backend', 'start', name);
  } finally {
    try {
      qsfs(scratch, 'down');
    } finally {
      fs.rmSync(scratch, { recursive: true, force: true });
    }
  }
}
