// A disk that the frontend and its local backends share and have filled: programs are told, nothing is lost, removed files make room,
// and a kill, a sync and a restore work in that state.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { qsfs, Running, scratchFor, waitFor } from './running.ts';

const MIB = 2 ** 20;
const FILE_BYTES = 4 * MIB;
const SMALL_BYTES = 200_000;

/** Writes a file of noise. @returns its sum, or the code of the error */
function put(path: string, sizeBytes: number): { sum: string; code: string } {
  const content = randomBytes(sizeBytes);
  const sum = createHash('md5').update(content).digest('hex');
  let file: number | undefined;
  try {
    file = openSync(path, 'w');
    for (let at = 0; at < sizeBytes; at += MIB) writeSync(file, content, at, Math.min(MIB, sizeBytes - at));
    return { sum, code: '' };
  } catch (error) {
    return { sum, code: (error as NodeJS.ErrnoException).code ?? 'none' };
  } finally {
    try {
      if (file !== undefined) closeSync(file);
    } catch {
      // With writeback the error may come here.
    }
  }
}

/** Removes a file, if it is there. Not with `rmSync`, which does not try again when a signal of this process interrupts it. */
function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** Writes files until there is no room. @returns the sums of those that are whole, by name */
function fill(folder: string, prefix: string, sizeBytes = FILE_BYTES): Map<string, string> {
  const sums = new Map<string, string>();
  for (let number = 0; ; number += 1) {
    assert.ok(number < 1000, 'the disk does not fill up');
    const name = `${prefix}${number}`;
    const { sum, code } = put(join(folder, name), sizeBytes);
    if (code !== '') {
      assert.equal(code, 'ENOSPC');
      remove(join(folder, name));
      return sums;
    }
    sums.set(name, sum);
  }
}

function compare(folder: string, sums: ReadonlyMap<string, string>): void {
  assert.deepEqual(readdirSync(folder).sort(), [...sums.keys()].sort());
  for (const [name, sum] of sums) {
    const found = createHash('md5')
      .update(readFileSync(join(folder, name)))
      .digest('hex');
    assert.equal(found, sum, name);
  }
}

/** Removes all files but the oldest so many. */
function keepOnly(folder: string, sums: Map<string, string>, kept: number): void {
  for (const name of [...sums.keys()].slice(kept)) {
    remove(join(folder, name));
    sums.delete(name);
  }
}

test('a small disk that frontend and backends have filled together', {
  timeout: 420_000,
  skip: process.getuid?.() !== 0 && 'needs root',
}, async (context) => {
  const scratch = scratchFor(context, (folder) => void spawnSync('umount', ['-l', join(folder, 'small')]));
  const outer = scratch();
  const small = join(outer.scratch, 'small');
  mkdirSync(small);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=192m', 'tmpfs', small]);
  const running = scratch('small/state');
  running.up();
  const mount = running.mountPoint;
  let sums = new Map<string, string>();

  await context.test('programs get ENOSPC, and what was written is there', () => {
    sums = fill(mount, 'first');
    assert.ok(sums.size >= 6, `${sums.size} files`);
    compare(mount, sums);
    assert.equal(running.run('status').code, 0);
  });

  await context.test('removed files make room within seconds, more than once', () => {
    for (const prefix of ['second', 'third']) {
      keepOnly(mount, sums, 3);
      let round = 0;
      waitFor(
        () => {
          for (const [name, sum] of fill(mount, `${prefix}-${round++}-`)) sums.set(name, sum);
          return sums.size >= 8;
        },
        'room for files',
        90_000,
      );
      compare(mount, sums);
    }
  });

  await context.test('a kill on the full disk, and everything is there after the next start', () => {
    running.kill();
    running.up();
    compare(mount, sums);
  });

  await context.test('what shares its data file with something that is still needed makes room, too', () => {
    keepOnly(mount, sums, 1);
    let round = 0;
    const more = (wanted: number) =>
      waitFor(
        () => {
          for (const [name, sum] of fill(mount, `small-${round++}-`, SMALL_BYTES)) sums.set(name, sum);
          return sums.size >= wanted;
        },
        'room for small files',
        90_000,
      );
    more(150);
    waitFor(() => running.run('sync').code === 0, 'everything to be on the backends', 90_000);
    running.must('evict', '--all');
    // Three of four go, and none of the data files is without something that stays.
    for (const [number, name] of [...sums.keys()].entries()) {
      if (number % 4 === 0) continue;
      remove(join(mount, name));
      sums.delete(name);
    }
    const before = sums.size;
    more(before + 110);
    compare(mount, sums);
    assert.match(
      readFileSync(join(running.frontend, 'log'), 'utf8'),
      /sparse data files? moved to make room/,
    );
  });

  await context.test('with room everything goes to the backends, and comes back from them', () => {
    keepOnly(mount, sums, 5);
    waitFor(() => running.run('sync').code === 0, 'everything to be on the backends', 90_000);
    running.must('evict', '--all');
    compare(mount, sums);
    running.must('down');
    rmSync(running.frontend, { recursive: true });
    const again = scratch('again');
    const restored = qsfs(
      'restore',
      '--from',
      running.config,
      '--dir',
      again.directory,
      '--mount',
      again.mountPoint,
    );
    assert.equal(restored.code, 0, restored.errors);
    compare(again.mountPoint, sums);
    again.must('down');
  });
  assert.ok(outer instanceof Running);
});
