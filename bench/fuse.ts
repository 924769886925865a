// `npm run bench -- fuse [MiB]`: the session loop with a filesystem in memory, against tmpfs in the same run. Each figure is the
// best of some rounds, as everything else on the machine only makes it slower; the ratio is what matters.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROUNDS = 5;
const SMALL = 10_000;
const FILES = 2_000;
const MIB = 1024 * 1024;
const TMPFS_MAGIC = 0x01021994;

/** Microseconds for one operation, by name. */
type Figures = Map<string, number>;

/** Keeps the best time of one operation. */
function measure(figures: Figures, name: string, count: number, work: () => void): void {
  const start = performance.now();
  work();
  const microseconds = ((performance.now() - start) * 1000) / count;
  figures.set(name, Math.min(figures.get(name) ?? Number.POSITIVE_INFINITY, microseconds));
}

/** Empties the page cache of one file. */
function dropCache(path: string): void {
  execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
}

function measureTransfers(folder: string, figures: Figures, mebibytes: number): void {
  const path = join(folder, 'transfer');
  const large = Buffer.alloc(MIB, 7);
  const small = Buffer.alloc(4096, 9);
  const pages = mebibytes * 256;
  const file = fs.openSync(path, 'w+');
  // Memory is allotted once, outside of what is measured.
  for (let index = 0; index < mebibytes; index++) fs.writeSync(file, large, 0, MIB, index * MIB);
  for (let round = 0; round < ROUNDS; round++) {
    measure(figures, 'write 1 MiB', mebibytes, () => {
      for (let index = 0; index < mebibytes; index++) fs.writeSync(file, large, 0, MIB, index * MIB);
      fs.fsyncSync(file);
    });
    measure(figures, 'write 4 KiB, random', SMALL, () => {
      for (let index = 0; index < SMALL; index++) {
        fs.writeSync(file, small, 0, 4096, ((index * 7919) % pages) * 4096);
      }
    });
    dropCache(path);
    measure(figures, 'read 1 MiB, not cached', mebibytes, () => {
      for (let index = 0; index < mebibytes; index++) fs.readSync(file, large, 0, MIB, index * MIB);
    });
    const direct = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECT);
    measure(figures, 'read 4 KiB, random, direct', SMALL, () => {
      for (let index = 0; index < SMALL; index++) {
        fs.readSync(direct, small, 0, 4096, ((index * 7919) % pages) * 4096);
      }
    });
    fs.closeSync(direct);
  }
  fs.closeSync(file);
  fs.unlinkSync(path);
}

function measureNames(folder: string, figures: Figures): void {
  const small = Buffer.alloc(4096, 9);
  const names = Array.from({ length: FILES }, (_, index) => join(folder, `file-${index}`));
  for (let round = 0; round < ROUNDS; round++) {
    measure(figures, 'create a 4 KiB file', FILES, () => {
      for (const name of names) fs.writeFileSync(name, small);
    });
    measure(figures, 'read a 4 KiB file, cached', FILES, () => {
      for (const name of names) fs.readFileSync(name);
    });
    measure(figures, 'list an entry', FILES, () => void fs.readdirSync(folder));
    measure(figures, 'remove a file', FILES, () => {
      for (const name of names) fs.unlinkSync(name);
    });
  }
}

function measureStat(folder: string, figures: Figures): void {
  const path = join(folder, 'stat');
  const file = fs.openSync(path, 'w');
  for (let round = 0; round < ROUNDS; round++) {
    measure(figures, 'stat, not cached', SMALL, () => {
      for (let index = 0; index < SMALL; index++) fs.fstatSync(file);
    });
  }
  fs.closeSync(file);
  fs.unlinkSync(path);
}

/** Mounts the filesystem in memory, works on it, unmounts. */
async function onMount(settings: object, work: (mountPoint: string) => void): Promise<void> {
  const folder = fs.mkdtempSync(join(tmpdir(), 'qsfs-bench-fuse-'));
  const mountPoint = join(folder, 'mnt');
  fs.mkdirSync(mountPoint);
  const program = fileURLToPath(new URL('../packages/fuse/test/serve.ts', import.meta.url));
  const server: ChildProcess = spawn(
    process.execPath,
    [...process.execArgv, program, JSON.stringify({ ...settings, mountPoint })],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const ended = new Promise((resolve) => server.once('close', resolve));
  try {
    const lines = createInterface({ input: server.stdout as NodeJS.ReadableStream });
    const first = await new Promise<string>((resolve) => {
      lines.once('line', resolve);
      lines.once('close', () => resolve('{}'));
    });
    const told = JSON.parse(first) as { mounted?: string; message?: string };
    if (told.mounted === undefined) throw new Error(told.message ?? 'the server did not start');
    work(mountPoint);
  } finally {
    server.stdin?.write('{"do":"unmount"}\n');
    await ended;
    fs.rmSync(folder, { recursive: true });
  }
}

function print(ours: Figures, theirs: Figures): void {
  const row = (name: string, ...cells: string[]) =>
    process.stdout.write(`${name.padEnd(28)}${cells.map((cell) => cell.padStart(14)).join('')}\n`);
  row('', 'FUSE', '', 'tmpfs', '', 'FUSE/tmpfs');
  for (const [name, microseconds] of ours) {
    const other = theirs.get(name) ?? Number.NaN;
    const rate = (time: number) =>
      name.includes('1 MiB') ? `${(MIB / time / 1000).toFixed(2)} GB/s` : `${(1000 / time).toFixed(1)} k/s`;
    const time = (value: number) => `${value.toFixed(2)} µs`;
    row(
      name,
      time(microseconds),
      rate(microseconds),
      time(other),
      rate(other),
      (other / microseconds).toFixed(3),
    );
  }
}

/** @param parameters size of the file in MiB (default 128) */
export async function run(parameters: string[]): Promise<void> {
  const mebibytes = Number(parameters[0] ?? 128);
  if (!Number.isInteger(mebibytes) || mebibytes < 1) throw new RangeError('the parameter is a number of MiB');
  const isTmpfs = fs.existsSync('/dev/shm') && fs.statfsSync('/dev/shm').type === TMPFS_MAGIC;
  if (!isTmpfs) process.stdout.write('no tmpfs at /dev/shm: the baseline is the temporary directory\n');
  const baseline = fs.mkdtempSync(join(isTmpfs ? '/dev/shm' : tmpdir(), 'qsfs-bench-fuse-'));
  const ours: Figures = new Map();
  const theirs: Figures = new Map();
  try {
    measureStat(baseline, theirs);
    measureTransfers(baseline, theirs, mebibytes);
    measureNames(baseline, theirs);
  } finally {
    fs.rmSync(baseline, { recursive: true });
  }
  await onMount({ cacheSeconds: 0 }, (folder) => measureStat(folder, ours));
  await onMount({}, (folder) => {
    measureTransfers(folder, ours, mebibytes);
    measureNames(folder, ours);
  });
  print(ours, theirs);
}
