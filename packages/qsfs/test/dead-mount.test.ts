// What programs see that use the mount point while a killed qsfs is replaced: the tree or an error, never the folder below.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { mounted, qsfs, scratchFor } from './running.ts';

const onlyRoot = { skip: process.getuid?.() === 0 ? false : 'fusermount3 cannot mount over a dead mount' };

/** Lists a directory every millisecond until its input ends; prints all that it saw. */
const WATCHER = `const { readdirSync } = require('node:fs');
const seen = {};
const look = () => {
  let answer;
  try { answer = readdirSync(process.argv[1]).join(' '); } catch (error) { answer = error.code; }
  seen[answer] = (seen[answer] ?? 0) + 1;
};
const timer = setInterval(look, 1);
process.stdin.on('end', () => { clearInterval(timer); look(); console.log(JSON.stringify(seen)); }).resume();`;

/** Watches a directory. @returns ends it; what was seen, and how often */
function watch(path: string): () => Promise<Record<string, number>> {
  const watcher = spawn(process.execPath, ['-e', WATCHER, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  const output = watcher.stdout.toArray();
  return async () => {
    watcher.stdin.end();
    return JSON.parse(Buffer.concat(await output).toString()) as Record<string, number>;
  };
}

/** How many mounts lie on each other at a path. */
function mountCount(path: string): number {
  return readFileSync('/proc/self/mountinfo', 'utf8').split(` ${path} `).length - 1;
}

test('whoever lists the mount point every millisecond while killed ones are replaced sees the tree or an error; down leaves nothing mounted', {
  timeout: 300_000,
  ...onlyRoot,
}, async (context) => {
  const make = scratchFor(context);
  const running = make();
  const restored = make('restored');
  const { mountPoint } = running;
  running.up();
  writeFileSync(join(mountPoint, 'kept'), 'kept');
  running.must('sync');
  const end = watch(mountPoint);
  for (let turn = 0; turn < 2; turn++) {
    running.kill();
    running.up();
    assert.ok(mountCount(mountPoint) <= 2, 'dead mounts pile up');
  }
  running.kill();
  const words = ['--from', running.config, '--dir', restored.directory, '--take-over', '--mount', mountPoint];
  const restore = qsfs('restore', ...words);
  assert.equal(restore.code, 0, restore.errors);
  const { kept = 0, ...others } = await end();
  assert.ok(kept > 0);
  assert.deepEqual(
    Object.keys(others).filter((seen) => !['ENOTCONN', 'ECONNABORTED'].includes(seen)),
    [],
  );
  // The killed one has nothing to clear where another one is mounted now.
  assert.match(running.run('down').errors, /no qsfs is running/);
  assert.equal(readFileSync(join(mountPoint, 'kept'), 'utf8'), 'kept');
  restored.kill(mountPoint);
  restored.up();
  assert.ok(mounted(mountPoint), 'who uses the old place must get errors');
  restored.must('down');
  assert.ok(!mounted(mountPoint) && !mounted(restored.mountPoint));
});
