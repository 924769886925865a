// Backends that are away, and backends that come back without a part of what they held although they look the same.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Running, scratchFor, waitFor } from './running.ts';
import { noise } from './tree.ts';

const AWAY = ['a1', 'a2', 'b1', 'c1', 'd1'];
const REST = ['b2', 'c2', 'd2'];

/** Ends a backend at once. */
function kill(running: Running, backend: string): void {
  const pid = Number.parseInt(readFileSync(join(running.directory, 'backends', backend, 'pid'), 'utf8'), 10);
  process.kill(pid, 'SIGKILL');
  waitFor(() => !existsSync(`/proc/${pid}/cwd`), `the end of ${backend}`);
}

/** Cuts every data file of shards in two, as a filesystem may that is repaired after a crash. */
function cutOff(running: Running, backend: string): void {
  const folder = join(running.directory, 'backends', backend, 'data', 'data');
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    truncateSync(path, Math.floor(statSync(path).size / 2));
  }
}

test('sync tells of backends that are away, and when they come back cut off it returns when they have their part again', {
  timeout: 150_000,
}, (context) => {
  const running = scratchFor(context)();
  running.up();
  const path = join(running.mountPoint, 'file');
  const content = noise(1, 9 * 2 ** 20);
  const isRight = () => Buffer.compare(readFileSync(path), content) === 0;
  writeFileSync(path, content);
  running.must('sync');
  for (const name of AWAY) kill(running, name);
  const away = running.run('sync');
  assert.equal(away.code, 6, away.output);
  assert.match(away.errors, /everything is stored, but 5 of 8 backends are away.*a1 stopped.*d1 stopped/);
  for (const name of AWAY) cutOff(running, name);
  for (const name of AWAY) running.must('backend', 'start', name);
  assert.match(running.must('sync'), /everything is on all backends/);
  for (const name of REST) kill(running, name);
  running.must('evict', '--all', '--metadata');
  assert.ok(isRight());
  running.must('down');
  // The others, while nothing runs.
  const others = [...REST, 'a1', 'a2'];
  for (const name of others) cutOff(running, name);
  running.up();
  assert.match(running.must('sync'), /everything is on all backends/);
  for (const name of AWAY) if (!others.includes(name)) kill(running, name);
  running.must('evict', '--all', '--metadata');
  assert.ok(isRight());
  running.must('down');
});
