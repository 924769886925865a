import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, it } from 'node:test';
import { realDisk, realProcesses } from '../src/index.ts';

describe('processes', () => {
  it('run to the end and tell what they wrote and how they ended', async () => {
    const script = 'echo out; echo err >&2; exit 3';
    const expected = { exitCode: 3, output: 'out\n', errors: 'err\n' };
    assert.deepEqual(realProcesses.run('sh', ['-c', script]), expected);
    const child = realProcesses.start('sh', ['-c', script]);
    assert.ok(child.pid > 0);
    assert.deepEqual(await child.ended, expected);
    child.signal('SIGTERM');
    assert.equal(realProcesses.run('sh', ['-c', 'kill -TERM $$']).exitCode, 143);
  });

  it('say when they cannot be started', async () => {
    const child = realProcesses.start('/nowhere/program', []);
    assert.equal(child.pid, -1);
    await assert.rejects(child.ended, { code: 'ENOENT' });
    assert.throws(() => realProcesses.run('/nowhere/program', []), { code: 'ENOENT' });
    await assert.rejects(realProcesses.start(tmpdir(), []).ended, { code: 'EACCES' });
  });

  it('are found alive, signalled, and gone', async () => {
    const child = realProcesses.start('sleep', ['1000']);
    assert.equal(realProcesses.alive(child.pid), true);
    realProcesses.signal(child.pid, 'SIGKILL');
    assert.equal((await child.ended).exitCode, 137);
    assert.equal(realProcesses.alive(child.pid), false);
    assert.throws(() => realProcesses.signal(child.pid, 'SIGTERM'), { code: 'ESRCH' });
    assert.equal(realProcesses.alive(realProcesses.pid), true);
  });

  it('get the environment, folder and descriptors they are given, and no others', async () => {
    const folder = mkdtempSync(`${tmpdir()}/qsfs-io-process-`);
    try {
      const log = realDisk.open(`${folder}/log`, 'create');
      const secret = realDisk.open(`${folder}/secret`, 'create');
      const child = realProcesses.start('sh', ['-c', 'echo "$WORD $PWD"; ls -l /proc/self/fd'], {
        environment: { WORD: 'here' },
        workingDirectory: folder,
        streams: ['ignore', log.descriptor, 'inherit'],
      });
      assert.deepEqual(await child.ended, { exitCode: 0, output: '', errors: '' });
      const written = new Uint8Array(log.size());
      log.read(written, 0);
      const text = Buffer.from(written).toString();
      assert.match(text, new RegExp(`^here .*${folder.split('/').at(-1)}\n`));
      assert.doesNotMatch(text, /secret/);
      secret.close();
      log.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  for (const [name, libc] of [
    ['by one call', 'loadLibc()'],
    ['where the C library or the kernel lacks the call', '{ ...loadLibc(), closeRange: () => -1 }'],
    ['where koffi does not load', 'undefined'],
  ]) {
    it(`get nothing that this process inherited itself, ${name}`, () => {
      const folder = mkdtempSync(`${tmpdir()}/qsfs-io-process-`);
      try {
        const script = `import { loadLibc, realProcesses } from '${new URL('../src/index.ts', import.meta.url)}';
          import { inheritingOnly } from '${new URL('../src/real/inheritance.ts', import.meta.url)}';
          import { spawnSync } from 'node:child_process';
          import { fstatSync } from 'node:fs';
          const list = 'ls -l /proc/self/fd';
          const stdio = inheritingOnly(['ignore', 'pipe', 'pipe'], ${libc});
          console.log(String(spawnSync('sh', ['-c', list], { stdio }).stdout));
          console.log('ours', fstatSync(9).isFile(), fstatSync(300).isFile());`;
        const result = realProcesses.run(
          'bash',
          [
            ...['-c', `exec 9>${folder}/lock 300>${folder}/deleted; exec "$@"`, 'bash'],
            ...[realProcesses.nodePath, '--input-type=module', '-e', script],
          ],
          { streams: ['ignore', 'pipe', 'pipe'] },
        );
        assert.match(result.output, / 1 -> socket/, result.errors);
        assert.match(result.output, /ours true true/, 'the process itself keeps them');
        assert.doesNotMatch(result.output, / -> .*(lock|deleted)/);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }

  it('get nothing that this process inherited itself, however they are started', () => {
    const folder = mkdtempSync(`${tmpdir()}/qsfs-io-process-`);
    try {
      const script = `import { realProcesses } from '${new URL('../src/index.ts', import.meta.url)}';
        const list = ['sh', ['-c', 'ls -l /proc/self/fd']];
        const second = process.argv[1] === 'start' ? await realProcesses.start(...list).ended : realProcesses.run(...list);
        console.log(second.output);`;
      for (const how of ['start', 'run']) {
        const result = realProcesses.run('bash', [
          ...['-c', `exec 300>${folder}/lock; exec "$@"`, 'bash'],
          ...[realProcesses.nodePath, '--input-type=module', '-e', script, how],
        ]);
        assert.match(result.output, / 1 -> socket/, result.errors);
        assert.doesNotMatch(result.output, / -> .*lock/, how);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('keep the end of very much output, and do not wait for a grandchild that holds it', async () => {
    const loud = await realProcesses.start('sh', ['-c', 'head -c 40000000 /dev/zero | tr "\\0" x; echo end'])
      .ended;
    assert.ok(loud.output.length <= 16 * 2 ** 20 && loud.output.length > 10_000_000);
    assert.ok(loud.output.endsWith('xxxend\n'));
    const child = realProcesses.start('sh', ['-c', 'sleep 1000 & echo $!']);
    const { exitCode, output } = await child.ended;
    assert.equal(exitCode, 0);
    realProcesses.signal(Number(output), 'SIGKILL');
  });

  it('do not keep the one that started them from ending when they are detached, whatever they hold', () => {
    const index = new URL('../src/index.ts', import.meta.url);
    const streams = "['ignore', 'pipe', 'pipe']";
    const script = `import { realProcesses } from '${index}';
      const child = realProcesses.start('sleep', ['1000'], { detached: true, streams: ${streams} });
      console.log(child.pid);`;
    const parent = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    realProcesses.signal(Number(parent.stdout), 'SIGKILL');
    assert.equal(parent.status, 0, 'it ended by itself');
  });

  it('can be told of signals to this one', async () => {
    let calls = 0;
    const arrived = new Promise<void>((resolve) => {
      const undo = realProcesses.onSignal('SIGUSR1', () => {
        calls++;
        undo();
        resolve();
      });
    });
    realProcesses.run('kill', ['-USR1', `${realProcesses.pid}`]);
    await arrived;
    assert.equal(calls, 1);
  });
});
