// The launchers in bin/ after the project was updated: what the new version needs is installed before the program is started.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

test('a launcher installs what another version of the project needs, once, and then starts at once', (context) => {
  const checkout = mkdtempSync(join(tmpdir(), 'qsfs-launchers-'));
  context.after(() => rmSync(checkout, { recursive: true, force: true }));
  const at = (...path: string[]) => join(checkout, ...path);
  const pinned = at('node_modules', `node-linux-${process.arch}`, 'bin');
  for (const folder of [pinned, at('tools'), at('scripts'), at('packages/zstor/src')])
    mkdirSync(folder, { recursive: true });
  cpSync(join(root, 'bin'), at('bin'), { recursive: true });
  copyFileSync(join(root, 'scripts/run.mjs'), at('scripts/run.mjs'));
  writeFileSync(at('packages/zstor/src/main.ts'), 'console.log("started", process.argv[2]);\n');
  symlinkSync(process.execPath, join(pinned, 'node'));
  writeFileSync(at('tools/npm'), `#!/bin/sh\necho npm >> ${at('installed')}\n`, { mode: 0o755 });
  const seconds = Math.floor(Date.now() / 1000);
  const lock = (text: string, age: number) => {
    writeFileSync(at('package-lock.json'), text);
    utimesSync(at('package-lock.json'), seconds - age, seconds - age);
  };
  lock('one', 300);
  writeFileSync(at('node_modules/.qsfs-installed'), 'one');
  utimesSync(at('node_modules/.qsfs-installed'), seconds - 200, seconds - 200);
  const PATH = `${at('tools')}:/usr/bin:/bin`;
  const start = () => {
    const { status, stdout, stderr } = spawnSync(at('bin/zstor'), ['word'], {
      env: { PATH },
      encoding: 'utf8',
    });
    assert.deepEqual([status, stdout], [0, 'started word\n'], stderr);
    return stderr;
  };
  const installs = () => {
    try {
      return readFileSync(at('installed'), 'utf8').split('\n').length - 1;
    } catch {
      return 0;
    }
  };
  assert.equal(start(), '');
  assert.equal(installs(), 0);
  lock('two', 100);
  assert.match(start(), /installing what is missing/);
  assert.equal(installs(), 1);
  // Newer, and the same: nothing is installed.
  lock('two', -5);
  assert.equal(start(), '');
  lock('two', 50);
  assert.equal(start(), '');
  assert.equal(installs(), 1);
});
