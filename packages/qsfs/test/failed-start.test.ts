// A start that does not come about leaves things as they were found, or says what is left.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Ended, processesOf, Running, scratchFor } from './running.ts';

const PROGRAM = join(import.meta.dirname, '../src/main.ts');
const NEEDS_ROOT = process.getuid?.() !== 0 && 'needs root';

/** Runs a command that finds everything in order and may not mount when it comes to that. */
function withoutMounting(...words: string[]): Ended {
  const result = spawnSync(
    'setpriv',
    ['--bounding-set=-sys_admin', '--inh-caps=-sys_admin', process.execPath, PROGRAM, ...words],
    { encoding: 'utf8', timeout: 90_000 },
  );
  return { code: result.status ?? 128, output: result.stdout, errors: result.stderr };
}

function begin(context: TestContext): Running {
  return scratchFor(context)();
}

test('a new volume that cannot be mounted is not begun', {
  skip: NEEDS_ROOT,
  timeout: 120_000,
}, (context) => {
  const running = begin(context);
  const { directory, mountPoint } = running;
  const ended = withoutMounting('up', '--dir', directory, '--mount', mountPoint, '--detach');
  assert.equal(ended.code, 7, ended.errors);
  assert.ok(!existsSync(directory), readdirSync(running.scratch).join(' '));
  assert.ok(!existsSync(mountPoint));
  assert.deepEqual(processesOf(directory), []);
  // What was there before stays: a folder of somebody, a mount point of somebody.
  mkdirSync(join(directory, 'frontend'), { recursive: true });
  writeFileSync(join(directory, 'notes'), 'mine');
  mkdirSync(mountPoint);
  withoutMounting('up', '--dir', directory, '--mount', mountPoint, '--detach');
  assert.deepEqual(readdirSync(directory).sort(), ['frontend', 'notes']);
  assert.deepEqual(readdirSync(join(directory, 'frontend')), []);
  assert.ok(existsSync(mountPoint));
});

test('a volume that is there stays when it cannot be mounted, and so does a restored one, which is said', {
  skip: NEEDS_ROOT,
  timeout: 180_000,
}, (context) => {
  const running = begin(context);
  running.up();
  writeFileSync(join(running.mountPoint, 'file'), 'content');
  running.must('down');
  const again = withoutMounting('up', '--dir', running.directory, '--mount', running.mountPoint, '--detach');
  assert.equal(again.code, 7, again.errors);
  assert.deepEqual(processesOf(running.directory), []);
  const restored = new Running(running.scratch, 'restored');
  const { directory, mountPoint } = restored;
  const ended = withoutMounting(
    'restore',
    '--from',
    running.config,
    '--dir',
    directory,
    '--mount',
    mountPoint,
  );
  assert.equal(ended.code, 7, ended.errors);
  assert.match(ended.errors, /is restored in .*qsfs up --dir/);
  assert.ok(!existsSync(mountPoint));
  assert.deepEqual(processesOf(running.directory), []);
  restored.up();
  assert.equal(readFileSync(join(mountPoint, 'file'), 'utf8'), 'content');
  restored.must('down');
});

test('when local backends do not start their logs are left, which is said; a restore leaves nothing', {
  timeout: 180_000,
}, (context) => {
  const running = begin(context);
  mkdirSync(running.directory);
  writeFileSync(join(running.directory, 'backends'), 'in the way');
  const ended = running.run('up', '--mount', running.mountPoint, '--detach');
  assert.equal(ended.code, 12);
  assert.match(ended.errors, /is left as it is/);
  assert.deepEqual(readdirSync(running.directory).sort(), ['backends', 'lock', 'qsfs.toml']);
  // With backends that start, and hold nothing, there is nothing to restore.
  rmSync(join(running.directory, 'backends'));
  const restored = new Running(running.scratch, 'restored');
  const failed = restored.run('restore', '--from', running.config);
  assert.equal(failed.code, 10, failed.errors);
  assert.ok(!existsSync(restored.directory));
  // In a folder of somebody nothing changes either.
  mkdirSync(join(restored.directory, 'notes'), { recursive: true });
  assert.equal(restored.run('restore', '--from', running.config).code, 10);
  assert.deepEqual(readdirSync(restored.directory), ['notes']);
  assert.deepEqual(processesOf(running.directory), []);
});
