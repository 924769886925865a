// `npm run bench -- zdbfs [sizeMiB] [files] [option…]`: the program zdbfs on a real mount against the plain disk below it, in
// one run. Options are those behind `-o` of zdbfs, for instance `writeback`. Ratios count: time of the disk / time of the mount.
import { type ChildProcess, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MIB = 1024 * 1024;
const ROOT = join(import.meta.dirname, '..');
const RANDOM_OPERATIONS = 16_384;
const SMALL_BYTES = 4096;
const DIRECTORIES = 20;

interface Figures {
  [name: string]: { readonly seconds: number; readonly amount: number; readonly unit: string };
}

/** Milliseconds to seconds of one part. */
function timed(figures: Figures, name: string, amount: number, unit: string, part: () => void): void {
  const start = performance.now();
  part();
  figures[name] = { seconds: (performance.now() - start) / 1000, amount, unit };
}

function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

/** Incompressible, the same on both sides. */
function noise(bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  const next = random(42);
  for (let at = 0; at < bytes; at += 4) buffer.writeUInt32LE(next(2 ** 32), at);
  return buffer;
}

function fill(path: string, sizeBytes: number, block: Buffer): void {
  const file = fs.openSync(path, 'w');
  for (let at = 0; at < sizeBytes; at += block.length) fs.writeSync(file, block, 0, block.length, at);
  fs.fsyncSync(file);
  fs.closeSync(file);
}

function scan(path: string, block: Buffer): void {
  const file = fs.openSync(path, 'r');
  while (fs.readSync(file, block, 0, block.length, null) > 0);
  fs.closeSync(file);
}

function scatter(path: string, sizeBytes: number, write: boolean): void {
  const file = fs.openSync(path, 'r+');
  const next = random(7);
  const block = noise(SMALL_BYTES);
  for (let count = 0; count < RANDOM_OPERATIONS; count++) {
    const at = next(sizeBytes / SMALL_BYTES) * SMALL_BYTES;
    if (write) fs.writeSync(file, block, 0, SMALL_BYTES, at);
    else fs.readSync(file, block, 0, SMALL_BYTES, at);
  }
  if (write) fs.fsyncSync(file);
  fs.closeSync(file);
}

function appendDurably(path: string, count: number): void {
  const file = fs.openSync(path, 'w');
  const block = noise(SMALL_BYTES);
  for (let at = 0; at < count; at++) {
    fs.writeSync(file, block);
    fs.fsyncSync(file);
  }
  fs.closeSync(file);
}

function small(folder: string, files: number, each: (path: string) => void): void {
  for (let at = 0; at < files; at++) each(join(folder, `d${at % DIRECTORIES}`, `file-${at}`));
}

/** Everything that writes, and what can be read at once. */
function first(folder: string, sizeBytes: number, files: number): Figures {
  const figures: Figures = {};
  const block = noise(MIB);
  const large = join(folder, 'large');
  timed(figures, 'sequential write + fsync', sizeBytes / MIB, 'MiB', () => fill(large, sizeBytes, block));
  timed(figures, 'sequential read, cached', sizeBytes / MIB, 'MiB', () => scan(large, block));
  timed(figures, 'random 4 KiB write + fsync', RANDOM_OPERATIONS, 'ops', () =>
    scatter(large, sizeBytes, true),
  );
  timed(figures, '4 KiB append + fsync each', 500, 'ops', () => appendDurably(join(folder, 'log'), 500));
  const content = noise(SMALL_BYTES);
  timed(figures, `create ${files} files of 4 KiB`, files, 'files', () => {
    for (let at = 0; at < DIRECTORIES; at++) fs.mkdirSync(join(folder, `d${at}`));
    small(folder, files, (path) => fs.writeFileSync(path, content));
  });
  timed(figures, 'list and stat them, cached', files, 'files', () => statAll(folder));
  timed(figures, 'read them, cached', files, 'files', () =>
    small(folder, files, (path) => void fs.readFileSync(path)),
  );
  return figures;
}

function statAll(folder: string): void {
  for (let at = 0; at < DIRECTORIES; at++) {
    const directory = join(folder, `d${at}`);
    for (const name of fs.readdirSync(directory)) fs.statSync(join(directory, name));
  }
}

/** After a remount: the kernel knows nothing of the mount (the disk below stays in its cache). */
function second(folder: string, sizeBytes: number, files: number): Figures {
  const figures: Figures = {};
  const large = join(folder, 'large');
  timed(figures, 'list and stat them, remounted', files, 'files', () => statAll(folder));
  timed(figures, 'read them, remounted', files, 'files', () =>
    small(folder, files, (path) => void fs.readFileSync(path)),
  );
  timed(figures, 'random 4 KiB read, remounted', RANDOM_OPERATIONS, 'ops', () =>
    scatter(large, sizeBytes, false),
  );
  timed(figures, 'sequential read, remounted', sizeBytes / MIB, 'MiB', () => scan(large, noise(MIB)));
  timed(figures, 'remove them', files, 'files', () => small(folder, files, (path) => fs.unlinkSync(path)));
  return figures;
}

async function start(volume: string, mountPoint: string, options: readonly string[]): Promise<ChildProcess> {
  const words = ['--dir', volume, ...options.flatMap((option) => ['-o', option]), mountPoint];
  const child = spawn(join(ROOT, 'bin/zdbfs'), words, { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once('data', () => resolve());
    child.once('exit', (code) => reject(new Error(`zdbfs ended with code ${code}`)));
  });
  return child;
}

async function stop(child: ChildProcess): Promise<number> {
  const begin = performance.now();
  await new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGTERM');
  });
  return (performance.now() - begin) / 1000;
}

function print(disk: Figures, mount: Figures): void {
  for (const [name, there] of Object.entries(mount)) {
    const plain = disk[name];
    if (!plain) continue;
    const cell = (figure: Figures[string]) =>
      `${(figure.amount / figure.seconds).toFixed(0)} ${figure.unit}/s`.padStart(16);
    const ratio = (plain.seconds / there.seconds).toFixed(2).padStart(8);
    process.stdout.write(`${name.padEnd(34)}${cell(there)}${cell(plain)}${ratio}\n`);
  }
}

/** @param parameters size of the large file in MiB (512), number of small files (10000), then mount options */
export async function run(parameters: string[]): Promise<void> {
  const numbers = parameters.filter((word) => /^\d+$/.test(word)).map(Number);
  const options = parameters.filter((word) => !/^\d+$/.test(word));
  const sizeBytes = (numbers[0] ?? 512) * MIB;
  const files = numbers[1] ?? 10_000;
  const scratch = fs.mkdtempSync(join(tmpdir(), 'zdbfs-bench-'));
  const mountPoint = join(scratch, 'mount');
  const plain = join(scratch, 'plain');
  fs.mkdirSync(mountPoint);
  fs.mkdirSync(plain);
  let child: ChildProcess | undefined;
  try {
    process.stdout.write(
      `${'zdbfs ' + options.join(' ')}`.padEnd(34) +
        'mount'.padStart(16) +
        'disk'.padStart(16) +
        'ratio'.padStart(8) +
        '\n',
    );
    child = await start(join(scratch, 'volume'), mountPoint, options);
    print(first(plain, sizeBytes, files), first(mountPoint, sizeBytes, files));
    const stopSeconds = await stop(child);
    const begin = performance.now();
    child = await start(join(scratch, 'volume'), mountPoint, options);
    const startSeconds = (performance.now() - begin) / 1000;
    print(second(plain, sizeBytes, files), second(mountPoint, sizeBytes, files));
    process.stdout.write(
      `unmounting took ${stopSeconds.toFixed(2)} s, mounting ${startSeconds.toFixed(2)} s\n`,
    );
  } finally {
    if (child && child.exitCode === null) await stop(child);
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}
