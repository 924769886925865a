import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { mounted, processesOf, qsfs, scratchFor, waitFor } from './running.ts';

/** Appends numbers to a file as long as it is there, never makes it (in the folder below the mount), and prints the last one. */
const WRITER =
  'while echo $((i + 1)) | dd of="$1" oflag=append conv=notrunc,nocreat status=none; do i=$((i + 1)); done; echo $i';

test('down says that everything is on the backends only when that holds for what was written until the end', {
  timeout: 150_000,
}, async (context) => {
  const running = scratchFor(context)();
  running.up();
  const log = join(running.mountPoint, 'log');
  writeFileSync(log, '');
  const writer = spawn('sh', ['-c', WRITER, 'sh', log], { stdio: ['ignore', 'pipe', 'ignore'] });
  const last = writer.stdout.toArray().then((chunks) => Buffer.concat(chunks).toString().trim());
  waitFor(() => readFileSync(log, 'utf8').includes('\n20\n'), 'the writer');
  running.must('down');
  const written = await last;
  rmSync(running.frontend, { recursive: true });
  running.must('restore', '--from', running.config);
  running.up();
  assert.equal(readFileSync(log, 'utf8').trimEnd().split('\n').at(-1), written);
  running.must('down');
});

test('down of a frontend that was replaced leaves the local backends to the one that has them now', {
  timeout: 120_000,
}, (context) => {
  const make = scratchFor(context);
  const first = make('first');
  const second = make('second');
  first.up();
  writeFileSync(join(first.mountPoint, 'kept'), 'kept');
  first.must('sync');
  const restored = qsfs(
    ...['restore', '--from', first.config, '--dir', second.directory],
    ...['--take-over', '--mount', second.mountPoint],
  );
  assert.equal(restored.code, 0, restored.errors);
  const down = first.run('down');
  assert.equal(down.code, 14, down.errors);
  assert.match(down.errors, /goes on there/);
  assert.ok(second.status().backends.every((backend) => backend.state === 'up'));
  const read = execFileSync('cat', [join(second.mountPoint, 'kept')], { encoding: 'utf8' });
  assert.equal(read, 'kept');
  second.must('down');
  assert.ok(!existsSync(join(first.directory, 'backends', 'a1', 'pid')));
});

test('down returns when the local backends have ended, and the next start finds the folder free', {
  timeout: 120_000,
}, async (context) => {
  const running = scratchFor(context)();
  running.up();
  // In the place of a backend a process that takes its time to end.
  running.must('backend', 'stop', 'a1');
  const folder = join(running.directory, 'backends', 'a1');
  const script = 'trap "sleep 2; exit" TERM; echo ready; while :; do sleep 0.05; done';
  const slow = spawn('sh', ['-c', script], { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] });
  await once(slow.stdout, 'data');
  writeFileSync(join(folder, 'pid'), `${slow.pid}\n`);
  const down = running.run('down');
  assert.equal(down.code, 14, down.errors);
  assert.deepEqual(processesOf(running.directory), []);
  running.up();
  running.must('down');
});

test('after kill -9 the mount answers errors and takes nothing, commands say so, down clears it, and up has everything', {
  timeout: 120_000,
}, (context) => {
  const running = scratchFor(context)();
  running.up();
  const file = join(running.mountPoint, 'kept');
  writeFileSync(file, 'kept');
  running.kill();
  assert.throws(() => readdirSync(running.mountPoint), { code: 'ENOTCONN' });
  assert.throws(() => writeFileSync(file, 'into the folder below'), { code: 'ENOTCONN' });
  const status = running.run('status');
  assert.equal(status.code, 3, status.errors);
  assert.match(status.errors, /killed or crashed.*not connected/);
  assert.match(status.errors, /Nothing is lost.*qsfs up/);
  const down = running.run('down');
  assert.equal(down.code, 14, down.errors);
  assert.match(down.errors, /dead mount at .* is cleared; the local backends are stopped/);
  assert.match(down.errors, /Nothing is lost/);
  assert.ok(!mounted(running.mountPoint));
  assert.ok(!existsSync(join(running.directory, 'backends', 'a1', 'pid')));
  assert.deepEqual(readdirSync(running.mountPoint), []);
  const again = running.run('down');
  assert.equal(again.code, 3, again.errors);
  assert.match(again.errors, /nothing to stop/);
  running.up();
  assert.equal(readFileSync(file, 'utf8'), 'kept');
  running.kill();
  running.up();
  assert.equal(readFileSync(file, 'utf8'), 'kept');
  running.must('down');
});
