// A disk below the frontend alone that others have filled to its last byte: everything that is on the backends is read all the same, from
// memory; and is kept here again when there is room.
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
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFor, waitFor } from './running.ts';

const MIB = 2 ** 20;

/** Takes every byte that is left where a file is made. */
function takeAll(path: string): void {
  const file = openSync(path, 'w');
  for (let piece = MIB; piece > 0; ) {
    try {
      writeSync(file, Buffer.alloc(piece));
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
      piece = Math.floor(piece / 2);
    }
  }
  closeSync(file);
}

const sumOf = (content: Uint8Array) => createHash('md5').update(content).digest('hex');

test('a disk under the frontend with no byte left', {
  timeout: 180_000,
  skip: process.getuid?.() !== 0 && 'needs root',
}, async (context) => {
  const running = scratchFor(
    context,
    (folder) => void spawnSync('umount', ['-l', join(folder, 'state/frontend')]),
  )();
  mkdirSync(running.frontend, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'tmpfs', running.frontend]);
  running.up();
  const mount = running.mountPoint;
  const sums = new Map<string, string>();
  for (let number = 0; number < 6; number += 1) {
    const content = randomBytes(5 * MIB);
    sums.set(`large${number}`, sumOf(content));
    writeFileSync(join(mount, `large${number}`), content);
  }
  mkdirSync(join(mount, 'small'));
  for (let number = 0; number < 300; number += 1) {
    const content = randomBytes(5000);
    sums.set(`small/${number}`, sumOf(content));
    writeFileSync(join(mount, 'small', `${number}`), content);
  }
  const compare = () => {
    assert.equal(readdirSync(join(mount, 'small')).length, 300);
    for (const [name, sum] of sums) assert.equal(sumOf(readFileSync(join(mount, name))), sum, name);
  };
  running.must('sync');
  const ballast = join(running.frontend, 'ballast');

  await context.test('all that was evicted is read, again and again', () => {
    running.must('evict', '--all', '--metadata');
    takeAll(ballast);
    compare();
    execFileSync('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches']);
    compare();
    assert.equal(running.run('status').code, 0);
    assert.ok(running.status().cache.usedBytes < 8 * MIB, 'nothing of it can be here');
  });

  await context.test('and it can be stopped and started', () => {
    // A sync point has to write: that is said, and nothing is lost by it.
    running.run('down');
    running.up();
    compare();
  });

  await context.test('with room again what is read is kept', () => {
    rmSync(ballast);
    running.must('evict', '--all', '--metadata');
    waitFor(() => {
      compare();
      running.must('evict', '--all');
      compare();
      return running.status().cache.usedBytes > 20 * MIB;
    }, 'what was read to stay here');
    running.must('sync');
    running.must('down');
  });
});
