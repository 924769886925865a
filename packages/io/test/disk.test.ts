import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import type { Disk } from '../src/disk.ts';
import { errorCode } from '../src/errors.ts';
import { readWhole, realDisk, replaceWhole } from '../src/index.ts';
import { loadLibc } from '../src/libc.ts';
import { openRealDisk } from '../src/real/disk.ts';
import { SimulatedDisk, SimulatedRandom } from '../src/simulated/index.ts';
import { type DiskUnderTest, describeDisk } from './disk-conformance.ts';

function realUnderTest(disk: Disk): DiskUnderTest {
  const root = fs.mkdtempSync(join(tmpdir(), 'qsfs-io-disk-'));
  return { disk, root, dispose: () => fs.rmSync(root, { recursive: true }) };
}

function simulatedUnderTest(): DiskUnderTest {
  const disk = new SimulatedDisk();
  disk.makeDirectory('/home');
  return { disk, root: '/home', dispose: () => assert.equal(disk.openFiles, 0, 'a file was left open') };
}

describeDisk('real', () => realUnderTest(realDisk));
describeDisk('real, without the C library', () => realUnderTest(openRealDisk(() => undefined)));
describeDisk('simulated', simulatedUnderTest);

function digest(content: Uint8Array | undefined): string | undefined {
  return content && createHash('sha256').update(content).digest('hex').slice(0, 8);
}

describe('the simulated disk and the real one', () => {
  /** Runs made-up calls and writes down every answer. */
  function play({ disk, root }: DiskUnderTest, seed: number): unknown[] {
    const random = new SimulatedRandom(seed);
    const paths = ['a', 'b', 'd', 'd/a', 'd/e', 'd/e/a', 'd/', './b'];
    const path = () => `${root}/w/${random.pick(paths)}`;
    const answers: unknown[] = [];
    const ask = (question: string, call: () => unknown) => {
      let answer: unknown;
      try {
        answer = call();
      } catch (error) {
        // When both paths of a copy are wrong, either may be named.
        answer = question.startsWith('4 ') ? 'failed' : (errorCode(error) ?? error);
      }
      answers.push([question.replaceAll(root, ''), answer]);
    };
    disk.makeDirectory(`${root}/w`);
    for (let i = 0; i < 60; i++) {
      const position = random.below(20_000);
      const length = random.below(10_000);
      const value = random.below(256);
      const mode = random.pick(['read', 'write', 'create', 'create', 'create-new'] as const);
      const [source, target] = [path(), path()];
      const action = random.below(16);
      ask(`${action} ${source} ${target} ${mode} ${position} ${length}`, () => {
        if (action === 0) return disk.makeDirectory(source);
        if (action === 1) return disk.remove(source);
        if (action === 2) return disk.rename(source, target);
        if (action === 3) return disk.list(source);
        if (action === 4) return source.endsWith('/') || disk.copy(source, target.replace(/\/$/, ''));
        if (action === 5) return disk.stat(source)?.kind;
        if (action === 6) return disk.removeTree(source);
        const file = disk.open(source, mode);
        try {
          if (action === 7) return file.truncate(position);
          if (action === 8) return file.punchHole(position, length);
          if (action === 9) return file.reserve(position, length);
          if (action < 14) return file.write(new Uint8Array(length).fill(value), position);
          const bytes = new Uint8Array(length);
          return [file.read(bytes, position), digest(bytes), file.size()];
        } finally {
          file.close();
        }
      });
    }
    for (const name of ['a', 'b', 'd', 'd/a', 'd/e', 'd/e/a']) {
      ask(name, () => digest(readWhole(disk, `${root}/w/${name}`)));
    }
    return answers;
  }

  it('give the same answers to the same calls', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const [real, simulated] = [realUnderTest(realDisk), simulatedUnderTest()];
        try {
          const [answers, expected] = [play(simulated, seed), play(real, seed)];
          answers.forEach(
            (answer, index) =>
              void assert.deepEqual(
                answer,
                expected[index],
                `call ${index} after ${JSON.stringify(answers.slice(0, index))}`,
              ),
          );
        } finally {
          real.dispose();
          simulated.dispose();
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('the real disk', () => {
  let root: string;
  before(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'qsfs-io-disk-'));
  });
  after(() => fs.rmSync(root, { recursive: true }));

  it('gives new files and directories exactly the permissions asked for, whatever the umask', () => {
    const script = `
      import { realDisk } from ${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)};
      process.umask(0o077);
      realDisk.open('made', 'create', 0o644).close();
      realDisk.open('new', 'create-new', 0o666).close();
      realDisk.makeDirectory('x/y', 0o755);
      process.umask(0);
      realDisk.open('private', 'create').close();
      realDisk.makeDirectory('z');
      realDisk.open('made', 'create', 0o600).close();
    `;
    const result = spawnSync(process.execPath, ['--input-type=module', '-e', script], { cwd: root });
    assert.equal(`${result.stderr}`, '');
    const modes = ['made', 'new', 'x', 'x/y', 'private', 'z'].map((name) =>
      (fs.statSync(join(root, name)).mode & 0o7777).toString(8),
    );
    assert.deepEqual(modes, ['644', '666', '755', '755', '600', '700']);
  });

  it('does not hang on a named pipe, and says what other things are', () => {
    const pipe = join(root, 'pipe');
    assert.equal(spawnSync('mkfifo', [pipe]).status, 0);
    assert.equal(realDisk.stat(pipe)?.kind, 'other');
    const file = realDisk.open(pipe, 'read');
    assert.throws(() => file.read(new Uint8Array(1), 0), { code: 'ESPIPE' });
    file.close();
  });

  it('follows symbolic links, also to a file that is still to be made', () => {
    fs.symlinkSync('target', join(root, 'link'));
    assert.throws(() => realDisk.open(join(root, 'link'), 'write'), { code: 'ENOENT' });
    const file = realDisk.open(join(root, 'link'), 'create');
    file.write(new Uint8Array([1]), 0);
    file.close();
    assert.deepEqual(readWhole(realDisk, join(root, 'target')), new Uint8Array([1]));
    assert.equal(realDisk.resolve(join(root, 'link')), fs.realpathSync(join(root, 'target')));
    realDisk.remove(join(root, 'link'));
    assert.equal(realDisk.stat(join(root, 'target'))?.sizeBytes, 1);
    fs.symlinkSync(join(root, 'elsewhere'), join(root, 'tree'));
    fs.mkdirSync(join(root, 'elsewhere'));
    fs.writeFileSync(join(root, 'elsewhere', 'kept'), '');
    realDisk.removeTree(join(root, 'tree'));
    assert.deepEqual(fs.readdirSync(join(root, 'elsewhere')), ['kept']);
  });

  it('keeps a lock against other processes, and gives it up when it dies', () => {
    const path = join(root, 'locked');
    const file = realDisk.open(path, 'create');
    assert.ok(file.tryLock());
    assert.equal(spawnSync('flock', ['-n', path, 'true']).status, 1);
    file.close();
    assert.equal(spawnSync('flock', ['-n', path, 'true']).status, 0);
  });

  it('reports a full disk, keeps the prefix, and goes on when there is room', () => {
    // A limit on the file's size is the full disk that every user may make: ulimit counts in KiB.
    const script = `
      import { realDisk } from ${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)};
      process.on('SIGXFSZ', () => {});
      const file = realDisk.open('limited', 'create');
      const codes = [];
      for (const sources of [[new Uint8Array(100000).fill(1)], [new Uint8Array(30000), new Uint8Array(70000)]]) {
        try { file.writeVector(sources, 0); } catch (error) { codes.push(error.code); }
        codes.push(file.size());
        file.truncate(0);
      }
      file.write(new Uint8Array(1000), 0);
      console.log(JSON.stringify([...codes, file.size()]));
    `;
    const inner = `ulimit -f 64 && exec "$0" --input-type=module -e "$1"`;
    const result = spawnSync('bash', ['-c', inner, process.execPath, script], {
      cwd: root,
      encoding: 'utf8',
    });
    assert.equal(result.stdout.trim(), JSON.stringify(['EFBIG', 65536, 'EFBIG', 65536, 1000]), result.stderr);
  });

  it('names the errno of a device without room', () => {
    const file = realDisk.open('/dev/full', 'write');
    assert.throws(() => file.write(new Uint8Array(10), 0), { code: 'ENOSPC' });
    assert.throws(() => file.writeVector([new Uint8Array(10), new Uint8Array(10)], 0), { code: 'ENOSPC' });
    assert.throws(() => file.reserve(0, 10), { code: 'ENODEV' });
    file.close();
  });

  it('removes the half-written file when a replacement fails', () => {
    const disk = new SimulatedDisk({ capacityBytes: 8192 });
    replaceWhole(disk, '/a', new Uint8Array(4096).fill(1));
    assert.throws(() => replaceWhole(disk, '/a', new Uint8Array(8192)), { code: 'ENOSPC' });
    assert.deepEqual(disk.list('/'), ['a']);
    assert.deepEqual(readWhole(disk, '/a'), new Uint8Array(4096).fill(1));
  });

  it('finds the C library here, so that the suite above has tested both ways', () => {
    assert.ok(loadLibc());
  });
});

describe('reading on the real disk', () => {
  it('leaves access times alone, and reads what belongs to others all the same', () => {
    const { root, dispose } = realUnderTest(realDisk);
    const path = join(root, 'file');
    const file = realDisk.open(path, 'create-new');
    file.write(Buffer.from('content'), 0);
    // Older than the last change: then reading sets it (relatime), unless it is opened without.
    fs.utimesSync(path, 1000, fs.statSync(path).mtimeMs / 1000);
    const buffer = new Uint8Array(7);
    file.read(buffer, 0);
    file.close();
    for (const mode of ['read', 'write', 'create'] as const) {
      const again = realDisk.open(path, mode);
      again.read(buffer, 0);
      again.close();
    }
    assert.equal(fs.statSync(path).atimeMs, 1_000_000);
    dispose();
    // Of root, for whoever runs the tests.
    assert.ok(readWhole(realDisk, '/etc/passwd'));
  });
});
