// Trees of files that are hard to keep: odd names, all kinds, every mode, links, holes, old and exact times; and what a tree
// looks like, for comparison.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';

/** A generator of numbers below a limit; the same seed gives the same numbers. */
export function numbers(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return (state >>> 3) % limit;
  };
}

/** Bytes that do not compress. */
export function noise(seed: number, length: number): Buffer {
  const next = numbers(seed);
  const bytes = Buffer.alloc(length + 4);
  for (let at = 0; at < length; at += 4) bytes.writeUInt32LE((next(0x7fffffff) * 2 + next(2)) >>> 0, at);
  return bytes.subarray(0, length);
}

function at(folder: string, name: string | Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name)]);
}

/** Fills an empty folder. @param bigBytes size of the one big file */
export function makeTree(folder: string, bigBytes: number): void {
  const next = numbers(7);
  const root = process.getuid?.() === 0;
  const oddNames: (string | Buffer)[] = [
    'with blanks and\ttab',
    'line\nbreak',
    '-leading-dash',
    '*?[]"\'\\',
    'ünïcödé-日本語-🎉',
    Buffer.from([0xff, 0xfe, 0x80, 0x41]),
    'n'.repeat(255),
    '.hidden',
    '%d%n',
  ];
  for (const [place, name] of oddNames.entries()) fs.writeFileSync(at(folder, name), `content ${place}`);
  for (let directory = 0; directory < 12; directory += 1) {
    const path = `${folder}/dir-${directory}`;
    fs.mkdirSync(path);
    for (let file = 0; file < 25; file += 1) {
      const size = [0, 1, 100, 4095, 4096, 4097, 20_000, 131_072][next(8)] as number;
      const name = `${path}/file-${file}`;
      const content =
        file % 2 === 0 ? noise(directory * 100 + file, size) : Buffer.alloc(size, `text ${file} `);
      fs.writeFileSync(name, content);
      fs.chmodSync(name, [0o644, 0o600, 0o755, 0o4755, 0o2711, 0o444, 0o1777][next(7)] as number);
      if (root) fs.chownSync(name, next(70_000), next(70_000));
    }
  }
  fs.mkdirSync(`${folder}/deep/${'down/'.repeat(30)}`, { recursive: true });
  fs.writeFileSync(`${folder}/deep/${'down/'.repeat(30)}bottom`, 'here');
  fs.writeFileSync(`${folder}/big`, noise(99, bigBytes));
  const sparse = fs.openSync(`${folder}/sparse`, 'w');
  fs.writeSync(sparse, 'begin', 0);
  fs.writeSync(sparse, 'end', 30_000_000);
  fs.closeSync(sparse);
  for (let link = 0; link < 10; link += 1) {
    fs.symlinkSync(
      link % 2 === 0 ? `dir-${link}/file-1` : `nowhere/${'x'.repeat(link * 40)}`,
      `${folder}/symlink-${link}`,
    );
    fs.linkSync(`${folder}/dir-${link}/file-2`, `${folder}/dir-${(link + 1) % 12}/hard-${link}`);
  }
  for (const name of fs.readdirSync(folder, { encoding: 'buffer' })) {
    // Seconds with a fraction, before and after 1970.
    const seconds = next(2_000_000_000) - 100_000_000 + next(1000) / 1000;
    const path = Buffer.concat([Buffer.from(`${folder}/`), name]);
    if (!fs.lstatSync(path).isSymbolicLink()) fs.utimesSync(path, seconds, seconds);
    else fs.lutimesSync(path, seconds, seconds);
  }
}

/** Every entry of a tree with all that must survive, by path (one character a byte); hard links name their first path. */
export function describeTree(root: string): Map<string, string> {
  const entries = new Map<string, string>();
  const firstPath = new Map<bigint, string>();
  const visit = (folder: Buffer, prefix: string) => {
    const names = fs.readdirSync(folder, { encoding: 'buffer' }).sort(Buffer.compare);
    for (const name of names) {
      const path = Buffer.concat([folder, Buffer.from('/'), name]);
      const key = `${prefix}/${name.toString('latin1')}`;
      entries.set(key, describe(path, key, firstPath));
      if (fs.lstatSync(path).isDirectory()) visit(path, key);
    }
  };
  visit(Buffer.from(root), '');
  return entries;
}

function describe(path: Buffer, key: string, firstPath: Map<bigint, string>): string {
  const status = fs.lstatSync(path, { bigint: true });
  const parts = [status.mode.toString(8), status.uid, status.gid, status.mtimeNs];
  if (status.isSymbolicLink()) return [...parts, fs.readlinkSync(path, { encoding: 'latin1' })].join(' ');
  if (!status.isFile()) return parts.join(' ');
  const first = firstPath.get(status.ino) ?? key;
  firstPath.set(status.ino, first);
  const hash = createHash('sha256').update(fs.readFileSync(path)).digest('hex');
  return [...parts, status.nlink, status.size, hash, first].join(' ');
}
