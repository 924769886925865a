// The program on a real mount: everything through the kernel. Needs /dev/fuse and root or fusermount3.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';

const MAIN = join(import.meta.dirname, '../src/main.ts');
const TREE = join(import.meta.dirname, '../src');

function run(...words: string[]) {
  return spawnSync(process.execPath, [MAIN, ...words], { encoding: 'utf8' });
}

class Mount {
  readonly path: string;
  readonly volume: string;
  readonly #options: readonly string[];
  #child: ChildProcess | undefined;
  errors = '';

  constructor(test: TestContext, ...options: string[]) {
    const scratch = fs.mkdtempSync(join(tmpdir(), 'zdbfs-program-'));
    this.path = join(scratch, 'mount');
    this.volume = join(scratch, 'volume');
    this.#options = options;
    fs.mkdirSync(this.path);
    test.after(async () => {
      await this.end('SIGKILL');
      if (this.isMounted) spawnSync('umount', ['-l', this.path]);
      if (this.isMounted) spawnSync('fusermount3', ['-u', '-z', this.path]);
      fs.rmSync(scratch, { recursive: true, force: true });
    });
  }

  async start(): Promise<void> {
    const words = ['--dir', this.volume, ...this.#options.flatMap((option) => ['-o', option]), this.path];
    const child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve());
      child.once('exit', (code) => reject(new Error(`exit code ${code}: ${this.errors}`)));
    });
  }

  get isMounted(): boolean {
    return fs.readFileSync('/proc/self/mounts', 'utf8').includes(` ${this.path} `);
  }

  /** Ends the program; resolves with its exit code. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return null;
    return await new Promise<number | null>((resolve) => {
      child.once('exit', resolve);
      child.kill(signal);
    });
  }
}

function compare(source: string, target: string): void {
  const result = spawnSync('diff', ['-r', '--no-dereference', source, target], { encoding: 'utf8' });
  assert.equal(result.stdout + result.stderr, '');
  const list = (folder: string) =>
    spawnSync('find', [folder, '-printf', '%P %m %U %G %l %Ts\n'], { encoding: 'utf8' })
      .stdout.split('\n')
      .sort();
  // The folder itself is only as old as the copy of its last entry, so times are compared below it.
  assert.deepEqual(list(target), list(source));
}

describe('the program zdbfs', () => {
  it('mounts, takes a tree, ends in order, and has it all at the next mount', async (test) => {
    const mount = new Mount(test);
    await mount.start();
    const source = join(mount.volume, '..', 'source');
    fs.cpSync(TREE, join(source, 'code'), { recursive: true });
    fs.mkdirSync(join(source, 'empty'));
    fs.writeFileSync(join(source, 'large'), Buffer.alloc(5_000_000, 'abcdefg'));
    fs.writeFileSync(join(source, 'tiny'), 'x');
    fs.writeFileSync(join(source, 'nothing'), '');
    fs.symlinkSync('tiny', join(source, 'pointer'));
    fs.linkSync(join(source, 'tiny'), join(source, 'same'));
    fs.chmodSync(join(source, 'tiny'), 0o640);
    const copy = spawnSync('cp', ['-a', source, join(mount.path, 'copy')], { encoding: 'utf8' });
    assert.equal(copy.stderr, '');
    compare(source, join(mount.path, 'copy'));
    assert.equal(fs.statSync(join(mount.path, 'copy/same')).nlink, 2);
    assert.equal(await mount.end('SIGTERM'), 0, mount.errors);
    const report = run('--dir', mount.volume, '--verify', '--json');
    assert.equal(report.status, 0, report.stdout + report.stderr);
    assert.equal(JSON.parse(report.stdout).problemCount, 0);
    await mount.start();
    compare(source, join(mount.path, 'copy'));
    assert.equal(
      fs.statSync(join(mount.path, 'copy/same')).ino,
      fs.statSync(join(mount.path, 'copy/tiny')).ino,
    );
    fs.rmSync(join(mount.path, 'copy'), { recursive: true });
    assert.deepEqual(fs.readdirSync(mount.path), []);
    assert.equal(spawnSync('umount', [mount.path]).status, 0);
    assert.notEqual(await mount.end('SIGTERM'), 1);
  });

  it('has what was fsynced after it was killed', async (test) => {
    const mount = new Mount(test);
    await mount.start();
    for (let at = 0; at < 30; at++) {
      const file = fs.openSync(join(mount.path, `file-${at}`), 'w');
      fs.writeSync(file, Buffer.alloc(1000 * at, at));
      fs.fsyncSync(file);
      fs.closeSync(file);
    }
    fs.renameSync(join(mount.path, 'file-1'), join(mount.path, 'file-2'));
    const folder = fs.openSync(mount.path, 'r');
    fs.fsyncSync(folder);
    fs.closeSync(folder);
    await mount.end('SIGKILL');
    // Nobody takes the folder below for the volume: the mount stays and answers errors until the next start.
    assert.throws(() => fs.readdirSync(mount.path), { code: 'ENOTCONN' });
    await mount.start();
    assert.match(mount.errors, /dead mount/);
    assert.equal(fs.readdirSync(mount.path).length, 29);
    assert.deepEqual(fs.readFileSync(join(mount.path, 'file-2')), Buffer.alloc(1000, 1));
    for (let at = 3; at < 30; at++)
      assert.deepEqual(fs.readFileSync(join(mount.path, `file-${at}`)), Buffer.alloc(1000 * at, at));
    assert.equal(await mount.end('SIGINT'), 0);
    assert.ok(!mount.isMounted);
  });

  for (const options of [[], ['writeback']]) {
    it(`reads what was written, however it was written (${options.join() || 'no options'})`, async (test) => {
      const mount = new Mount(test, ...options);
      await mount.start();
      const path = join(mount.path, 'file');
      let file = fs.openSync(path, 'w+');
      const limit = 600_000;
      let model = Buffer.alloc(0);
      let state = 99;
      const next = (bound: number) => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return Math.floor((state / 2 ** 32) * bound);
      };
      const resize = (size: number) => {
        const larger = Buffer.alloc(size);
        model.copy(larger);
        model = larger;
      };
      for (let step = 0; step < 1500; step++) {
        const choice = next(10);
        const offset = next(limit);
        if (choice < 5) {
          const bytes = Buffer.alloc(1 + next(30_000), step);
          if (offset + bytes.length > model.length) resize(offset + bytes.length);
          bytes.copy(model, offset);
          fs.writeSync(file, bytes, 0, bytes.length, offset);
        } else if (choice === 5) {
          resize(offset);
          fs.ftruncateSync(file, offset);
        } else if (choice < 9) {
          const target = Buffer.alloc(next(50_000));
          const got = fs.readSync(file, target, 0, target.length, offset);
          const expected = model.subarray(offset, offset + target.length);
          assert.ok(target.subarray(0, got).equals(expected), `step ${step}`);
        } else if (next(20) === 0) {
          fs.fsyncSync(file);
          fs.closeSync(file);
          if (next(3) === 0) {
            assert.equal(await mount.end('SIGTERM'), 0);
            await mount.start();
          }
          file = fs.openSync(path, 'r+');
        }
        assert.equal(fs.fstatSync(file).size, model.length);
      }
      fs.closeSync(file);
      assert.ok(fs.readFileSync(path).equals(model));
    });
  }

  it('keeps unlinked files while they are open, and gives ENOSPC at its size', async (test) => {
    const mount = new Mount(test, 'size=3MiB');
    await mount.start();
    const path = join(mount.path, 'file');
    const file = fs.openSync(path, 'w+');
    fs.writeSync(file, Buffer.alloc(2_000_000, 1));
    fs.unlinkSync(path);
    assert.throws(() => fs.writeFileSync(join(mount.path, 'more'), Buffer.alloc(2_000_000)), {
      code: 'ENOSPC',
    });
    const target = Buffer.alloc(2_000_000);
    assert.equal(fs.readSync(file, target, 0, target.length, 0), 2_000_000);
    assert.ok(target.equals(Buffer.alloc(2_000_000, 1)));
    fs.closeSync(file);
    fs.rmSync(join(mount.path, 'more'));
    fs.writeFileSync(join(mount.path, 'fits'), Buffer.alloc(2_000_000));
    const status = fs.statfsSync(mount.path);
    assert.equal(status.blocks * status.bsize, 3 * 1024 * 1024);
  });

  it('refuses a second mount of one volume', async (test) => {
    const mount = new Mount(test);
    await mount.start();
    const second = join(mount.path, '..', 'second');
    fs.mkdirSync(second);
    const result = run('--dir', mount.volume, second);
    assert.equal(result.status, 1, result.stdout);
    assert.match(result.stderr, /in use|lock/);
  });
});

describe('the command line of zdbfs', () => {
  it('is explained, and mistakes are answered with what to do', () => {
    assert.match(run('--help').stdout, /--dir DIR/);
    assert.equal(run('--help').status, 0);
    assert.equal(run('help').stdout, run('--help').stdout);
    assert.match(run('--version').stdout, /format 2/);
    const cases: [string[], RegExp][] = [
      [[], /--dir DIR/],
      [['/mnt'], /--dir DIR is missing/],
      [['--dir', '/tmp/x'], /mount point is missing/],
      [['--dir', '/tmp/x', '/a', '/b'], /more than one/],
      [['--dir', '/tmp/x', '-o', 'size=much', '/a'], /no size/],
      [['--dir', '/tmp/x', '-o', 'sise=1G', '/a'], /not known/],
      [['--dir', '/tmp/x', '-o', 'ro=1', '/a'], /takes no value/],
      [['--dir', '/tmp/x', '-o', 'size', '/a'], /needs a value/],
      [['--dir', '/tmp/x', '-o', 'segment=1', '/a'], /between/],
      [['--frob'], /not known/],
    ];
    for (const [words, expected] of cases) {
      const result = run(...words);
      assert.equal(result.status, 2, words.join(' '));
      assert.match(result.stdout + result.stderr, expected);
    }
  });

  it('a folder without a volume, or a mount point that is none, is refused without leaving anything', (test) => {
    const scratch = fs.mkdtempSync(join(tmpdir(), 'zdbfs-program-'));
    test.after(() => fs.rmSync(scratch, { recursive: true, force: true }));
    assert.equal(run('--dir', scratch, '--verify').status, 1);
    assert.deepEqual(fs.readdirSync(scratch), []);
    const result = run('--dir', join(scratch, 'volume'), join(scratch, 'missing'));
    assert.equal(result.status, 1);
    assert.match(result.stderr, /missing/);
    const file = join(scratch, 'file');
    fs.writeFileSync(file, '');
    assert.match(run('--dir', join(scratch, 'volume'), file).stderr, /not a directory/);
    assert.deepEqual(fs.readdirSync(scratch), ['file']);
  });

  it('a volume that cannot be where it is said to be is refused in one line, and nothing is made', (test) => {
    const scratch = fs.mkdtempSync(join(tmpdir(), 'zdbfs-refused-'));
    test.after(() => fs.rmSync(scratch, { recursive: true, force: true }));
    const at = (name: string) => join(scratch, name);
    fs.mkdirSync(at('mount'));
    fs.writeFileSync(at('file'), '');
    for (const [directory, message] of [
      [at('file'), /^zdbfs: \S+file cannot be used for the volume: .*EEXIST.*\n$/],
      ['/proc/volume', /^zdbfs: \/proc\/volume cannot be used for the volume: .*\n$/],
      [at('mount'), /^zdbfs: the volume \S+mount must not lie in its own mount \S+mount\n$/],
      [at('mount/volume'), /^zdbfs: the volume \S+volume must not lie in its own mount \S+mount\n$/],
    ] as const) {
      const { status, stderr } = run('--dir', directory, at('mount'));
      assert.match(stderr, message);
      assert.equal(status, 1);
    }
    assert.deepEqual(fs.readdirSync(at('mount')), []);
  });
});
