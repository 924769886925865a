// Backends that are away, and backends that come back without a part of what they held although they look the same.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Running, scratchFor } from './running.ts';
import { noise } from './tree.ts';

const AWAY = ['a1', 'a2', 'b1', 'c1', 'd1'];
const REST = ['b2', 'c2', 'd2'];

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
  writeFileSync(path, content);
  running.must('sync');
  for (const name of AWAY) running.must('backend', 'stop', name);
  const away = running.run('sync');
  assert.equal(away.code, 6, away.output);
  assert.match(away.errors, /everything is stored, but 5 of 8 backends are away.*a1 stopped.*d1 stopped/);
  for (const name of AWAY) cutOff(running, name);
  for (const name of AWAY) running.must('backend', 'start', name);
  assert.match(running.must('sync'), /everything is on all backends/);
  for (const name of REST) running.must('backend', 'stop', name);
  running.must('evict', '--all', '--metadata');
  assert.equal(Buffer.compare(readFileSync(path), content), 0);
  for (const name of REST) running.must('backend', 'start', name);
  // What is lost on more of them than it survives is stored again from what is here.
  writeFileSync(path, noise(2, 9 * 2 ** 20));
  running.must('sync');
  const all = [...AWAY, ...REST];
  for (const name of all) running.must('backend', 'stop', name);
  for (const name of all.slice(0, 6)) cutOff(running, name);
  for (const name of all) running.must('backend', 'start', name);
  assert.match(running.must('sync'), /everything is on all backends/);
  running.must('evict', '--all');
  assert.equal(Buffer.compare(readFileSync(path), noise(2, 9 * 2 ** 20)), 0);
  running.must('down');
});
