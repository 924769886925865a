// What happens when more fails than was promised, when backends lie, and when the local disk is full.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Running, scratchFor, waitFor } from './running.ts';
import { noise } from './tree.ts';

const MIB = 2 ** 20;

/** Seconds a command takes, and its exit code. A command that is too slow is killed and counts as such. */
function timed(command: string, ...words: string[]): { code: number; seconds: number; errors: string } {
  const begin = performance.now();
  const result = spawnSync(command, words, { encoding: 'utf8', timeout: 30_000 });
  return { code: result.status ?? 128, seconds: (performance.now() - begin) / 1000, errors: result.stderr };
}

function md5(path: string): string {
  return execFileSync('md5sum', [path], { encoding: 'utf8' }).split(' ')[0] ?? '';
}

/** Changes bytes all over the data files of a backend, as a bad disk would. */
function corrupt(running: Running, backend: string): number {
  let changed = 0;
  const data = join(running.directory, 'backends', backend, 'data');
  for (const namespace of ['data', 'meta']) {
    for (const name of readdirSync(join(data, namespace))) {
      const path = join(data, namespace, name);
      const { size } = statSync(path);
      const file = openSync(path, 'r+');
      for (let at = 200; at < size; at += 3000) {
        const byte = Buffer.alloc(1);
        readSync(file, byte, 0, 1, at);
        writeSync(file, Buffer.of((byte[0] as number) ^ 0xff), 0, 1, at);
        changed += 1;
      }
      closeSync(file);
    }
  }
  return changed;
}

test('failures of backends', { timeout: 200_000 }, async (context) => {
  const running = scratchFor(context)();
  running.up('--cache-size', '256MiB');
  const mount = running.mountPoint;
  const content = noise(1, 12 * MIB);
  writeFileSync(join(mount, 'evicted'), content);
  mkdirSync(join(mount, 'folder'));
  running.must('sync');
  running.must('evict', '--all');
  writeFileSync(join(mount, 'cached'), 'still here');
  const wanted = execFileSync('md5sum', { input: content, encoding: 'utf8' }).split(' ')[0];

  await context.test('more lost than tolerated: EIO within ten seconds, everything else goes on', () => {
    for (const name of ['a1', 'a2', 'b1', 'b2', 'c1', 'c2']) running.must('backend', 'stop', name);
    const read = timed('cat', join(mount, 'evicted'));
    assert.notEqual(read.code, 0);
    assert.match(read.errors, /Input\/output error/);
    assert.ok(read.seconds < 10, `${read.seconds} s`);
    assert.equal(readFileSync(join(mount, 'cached'), 'utf8'), 'still here');
    writeFileSync(join(mount, 'folder', 'new'), 'written meanwhile');
    const { tolerance, problems } = running.status();
    assert.equal(tolerance.data.now.backends, -1);
    assert.equal(tolerance.data.writable, false);
    assert.ok(problems.length > 0);
  });

  await context.test('ls and df answer while reads wait', () => {
    const reader = spawnSync(
      'sh',
      ['-c', 'cat "$1"/evicted >/dev/null 2>&1 & sleep 0.3; ls -l "$1"/folder && df "$1"', 'sh', mount],
      {
        encoding: 'utf8',
        timeout: 5000,
      },
    );
    assert.equal(reader.status, 0, reader.stderr);
    assert.match(reader.stdout, /new/);
  });

  await context.test('sync says that the backends take nothing, and gives up', () => {
    const sync = running.run('sync');
    assert.equal(sync.code, 5, sync.errors);
    assert.match(sync.errors, /QSFS_E_BACKENDS/);
  });

  await context.test('when as many as are needed are back the first read of the same file is right', () => {
    assert.notEqual(timed('cat', join(mount, 'evicted')).code, 0);
    running.must('backend', 'start', 'a1');
    assert.equal(md5(join(mount, 'evicted')), wanted);
    for (const name of ['a2', 'b1', 'b2', 'c1', 'c2']) running.must('backend', 'start', name);
    running.must('sync');
  });

  await context.test(
    'with fewer backends than shards sync says what is degraded, and later it is whole again',
    () => {
      running.must('backend', 'stop', 'd2');
      writeFileSync(join(mount, 'degraded'), noise(2, 3 * MIB));
      const sync = running.run('sync');
      assert.equal(sync.code, 6, sync.errors);
      assert.match(sync.errors, /d2 is not up/);
      const kept = running.status().cache.usedBytes;
      running.must('evict', '--all');
      assert.ok(running.status().cache.usedBytes >= Math.min(kept, 3 * MIB), 'what is degraded stays here');
      running.must('backend', 'start', 'd2');
      waitFor(() => running.run('sync').code === 0, 'everything to be whole again');
      assert.equal(running.status().segments.degraded, 0);
    },
  );

  await context.test('bytes changed at random on as many backends as are tolerated: reads are right', () => {
    running.must('evict', '--all');
    const victims = ['a1', 'a2', 'b1', 'c1', 'd1'];
    for (const name of victims) running.must('backend', 'stop', name);
    for (const name of victims) assert.ok(corrupt(running, name) > 50);
    for (const name of victims) running.must('backend', 'start', name);
    assert.equal(md5(join(mount, 'evicted')), wanted);
  });

  await context.test('a wiped backend gets its part again', () => {
    // What was damaged above is repaired first: together with a wipe it would be more than is tolerated.
    for (const name of ['a1', 'a2', 'b1', 'c1', 'd1']) running.must('backend', 'wipe', name);
    running.must('sync');
    running.must('evict', '--all');
    for (const name of ['b2', 'c2', 'd2']) running.must('backend', 'stop', name);
    assert.equal(md5(join(mount, 'evicted')), wanted);
    assert.equal(readFileSync(join(mount, 'folder', 'new'), 'utf8'), 'written meanwhile');
    for (const name of ['b2', 'c2', 'd2']) running.must('backend', 'start', name);
  });

  await context.test('backends whose files were removed by hand get their part again, too', () => {
    const empty = (names: readonly string[]) => {
      for (const name of names) {
        running.must('backend', 'stop', name);
        for (const part of ['data', 'index'])
          rmSync(join(running.directory, 'backends', name, part), { recursive: true });
      }
    };
    // One while qsfs runs, the others while it does not.
    empty(['b2']);
    assert.match(running.must('backend', 'start', 'b2'), /empty/);
    running.kill();
    empty(['c2', 'd2']);
    running.up('--cache-size', '256MiB');
    running.must('sync');
    assert.equal(running.status().segments.degraded, 0);
    running.must('evict', '--all');
    for (const name of ['a1', 'a2', 'b1', 'c1', 'd1']) running.must('backend', 'stop', name);
    assert.equal(md5(join(mount, 'evicted')), wanted);
    assert.equal(readFileSync(join(mount, 'folder', 'new'), 'utf8'), 'written meanwhile');
  });
});

test('a full disk under the frontend', {
  timeout: 120_000,
  skip: process.getuid?.() !== 0 && 'needs root',
}, async (context) => {
  const running = scratchFor(
    context,
    (scratch) => void spawnSync('umount', ['-l', join(scratch, 'small')]),
  )();
  mkdirSync(running.directory);
  const small = join(running.scratch, 'small');
  mkdirSync(small);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=160m', 'tmpfs', small]);
  // The frontend alone is on the small disk; the backends have room.
  mkdirSync(join(small, 'frontend'));
  symlinkSync(join(small, 'frontend'), running.frontend);
  running.up();
  const mount = running.mountPoint;
  const fill = (name: string) => {
    const file = openSync(join(mount, name), 'w');
    let written = 0;
    try {
      for (; written < 400 * MIB; written += MIB) writeSync(file, noise(written, MIB));
      return { written, code: '' };
    } catch (error) {
      return { written, code: (error as NodeJS.ErrnoException).code ?? '' };
    } finally {
      try {
        closeSync(file);
      } catch {
        // With writeback the error may come here.
      }
    }
  };

  const kept = noise(4, 6 * MIB);
  const compareKept = () =>
    assert.equal(Buffer.compare(readFileSync(join(mount, 'kept')), kept), 0, 'what was there before');

  await context.test('without backends the application gets ENOSPC, and the mount lives', () => {
    for (const name of ['a1', 'a2', 'b1', 'b2', 'c1', 'c2', 'd1', 'd2'])
      running.must('backend', 'stop', name);
    // Only now: what is on the backends may be dropped here.
    writeFileSync(join(mount, 'kept'), kept);
    const { code, written } = fill('one');
    assert.equal(code, 'ENOSPC');
    assert.ok(written > 32 * MIB);
    assert.ok(readdirSync(mount).includes('one'));
    compareKept();
    const one = openSync(join(mount, 'one'), 'r');
    const piece = Buffer.alloc(MIB);
    for (let at = 0; at < 32 * MIB; at += MIB) {
      readSync(one, piece, 0, MIB, at);
      assert.equal(Buffer.compare(piece, noise(at, MIB)), 0, `from byte ${at}`);
    }
    closeSync(one);
    assert.ok(timed('df', mount).seconds < 5);
    assert.equal(running.run('status').code, 0);
  });

  await context.test('deleting works on a full disk', () => {
    execFileSync('rm', [join(mount, 'one')]);
    assert.deepEqual(readdirSync(mount), ['kept']);
    compareKept();
  });

  await context.test('when there is room again it goes on', () => {
    for (const name of ['a1', 'a2', 'b1', 'b2', 'c1', 'c2', 'd1', 'd2'])
      running.must('backend', 'start', name);
    running.must('sync');
    waitFor(() => {
      running.run('evict', '--all');
      try {
        writeFileSync(join(mount, 'two'), noise(5, 20 * MIB));
        return true;
      } catch {
        return false;
      }
    }, 'room for a file');
    assert.equal(
      md5(join(mount, 'two')),
      execFileSync('md5sum', { input: noise(5, 20 * MIB), encoding: 'utf8' }).split(' ')[0],
    );
    waitFor(() => running.run('sync').code === 0, 'all of it to be on the backends');
    running.must('evict', '--all');
    compareKept();
  });
});
