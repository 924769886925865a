import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { qsfs, scratchFor, waitFor } from './running.ts';

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
