// Local backends that do not serve when a frontend starts: lost ones, like any others.
import assert from 'node:assert/strict';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFor } from './running.ts';

test('up and restore go on without local backends that hang or cannot be started', {
  timeout: 120_000,
}, (context) => {
  const make = scratchFor(context);
  const running = make();
  running.up();
  writeFileSync(join(running.mountPoint, 'file'), 'content');
  running.must('sync');
  running.must('evict', '--all');
  running.kill();
  // One whose process hangs, as behind a broken disk, and one whose folder is damaged.
  const folderOf = (name: string) => join(running.directory, 'backends', name);
  const hung = Number(readFileSync(join(folderOf('a1'), 'pid'), 'latin1'));
  running.must('backend', 'stop', 'b1');
  renameSync(join(folderOf('b1'), 'data'), join(folderOf('b1'), 'kept'));
  writeFileSync(join(folderOf('b1'), 'data'), 'not a folder');
  process.kill(hung, 'SIGSTOP');
  try {
    const up = running.run('up', '--mount', running.mountPoint, '--detach');
    assert.equal(up.code, 0, up.errors);
    assert.match(up.errors, /backend a1 does not answer/);
    assert.match(up.errors, /backend b1 ended at once/);
    assert.equal(readFileSync(join(running.mountPoint, 'file'), 'utf8'), 'content');
  } finally {
    process.kill(hung, 'SIGCONT');
  }
  running.kill();
  rmSync(running.frontend, { recursive: true });
  const again = make('again');
  const restored = again.run('restore', '--from', running.config, '--mount', again.mountPoint);
  assert.equal(restored.code, 0, restored.errors);
  assert.match(restored.errors, /backend b1 ended at once/);
  assert.equal(readFileSync(join(again.mountPoint, 'file'), 'utf8'), 'content');
  // What its message says to do helps.
  const start = again.run('backend', 'start', 'b1');
  assert.equal(start.code, 12);
  assert.match(start.errors, /"qsfs backend wipe b1" and "qsfs backend start b1"/);
  again.must('backend', 'wipe', 'b1');
  again.must('backend', 'start', 'b1');
  again.must('sync');
});
