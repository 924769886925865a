// scripts/run.mjs stands between a shell and the program: the shell must learn how the program ended.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = join(dirname(dirname(fileURLToPath(import.meta.url))), 'scripts/run.mjs');

for (const [signal, code] of [
  ['SIGKILL', 137],
  ['SIGSEGV', 139],
] as const) {
  test(`a program that was ended by ${signal} ends as shells say it`, {
    timeout: 60_000,
  }, async (context) => {
    const folder = mkdtempSync(join(tmpdir(), 'qsfs-run-'));
    context.after(() => rmSync(folder, { recursive: true }));
    const words = ['program', 'zdb', '--data', join(folder, 'd'), '--index', join(folder, 'i')];
    const child = spawn(process.execPath, [script, ...words, '--socket', join(folder, 's')], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    context.after(() => child.kill());
    const ended = once(child, 'exit');
    await Promise.race([once(child.stdout, 'data'), once(child.stderr, 'data')]);
    const [program] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').split(' ');
    process.kill(Number(program), signal);
    assert.deepEqual(await ended, [code, null]);
  });
}
