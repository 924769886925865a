// What the commands say and end with: refusals that change nothing, the foreground, and folders with long names.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { EvictAnswer } from '../src/control-service.ts';
import { mounted, qsfs, scratchFor, waitFor } from './running.ts';

const PROGRAM = join(import.meta.dirname, '../src/main.ts');

function folder(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'qsfs-commands-'));
  context.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A valid configuration whose backends do not exist. */
function unreachableConfig(key = 'ab'.repeat(32)): string {
  const backend = (name: string, namespace: string) =>
    `{ name = "${name}", address = "unix:/nowhere/${name}", namespace = "${namespace}" }`;
  const names = ['p', 'q', 'r', 's'];
  return `
minimal_shards = 2
expected_shards = 4
redundant_groups = 0
redundant_nodes = 0
[encryption]
algorithm = "AES"
key = "${key}"
[meta]
type = "zdb"
[meta.config]
backends = [${names.map((name) => backend(name, 'meta')).join(', ')}]
[[groups]]
backends = [${names.map((name) => backend(name, 'data')).join(', ')}]
`;
}

test('bad configurations: one clear message with the key, exit code 4, nothing changed on disk', (context) => {
  const path = folder(context);
  const good = unreachableConfig();
  const cases: [string, RegExp][] = [
    [`shards = 3\n${good}`, /shards/],
    [
      good.replace('minimal_shards', 'minimal_shard'),
      /minimal_shard: unknown key; did you mean "minimal_shards"/,
    ],
    [good.replace('minimal_shards = 2', 'minimal_shards = 5'), /minimal_shards/],
    [good.replace('expected_shards = 4', 'expected_shards = 6'), /expected_shards/],
    [unreachableConfig('ab'.repeat(31)), /encryption\.key/],
    [unreachableConfig('xy'.repeat(32)), /encryption\.key/],
    [`${good}\n[qsfs]\ncash_size = "1GiB"\n`, /qsfs\.cash_size/],
    ['this is [not toml', /line 1/],
  ];
  for (const [text, message] of cases) {
    const config = join(path, 'bad.toml');
    writeFileSync(config, text);
    const before = readdirSync(path);
    for (const words of [
      ['up', '--mount', join(path, 'mnt'), '--config', config, '--dir', join(path, 'new')],
      ['restore', '--from', config, '--dir', join(path, 'new')],
    ]) {
      const { code, errors, output } = qsfs(...words);
      assert.equal(code, 4, errors);
      assert.match(errors, message);
      assert.ok(errors.trimEnd().split('\n').length <= 2, errors);
      assert.ok(!errors.includes('    at '), errors);
      assert.equal(output, '');
    }
    assert.deepEqual(readdirSync(path), before);
  }
});

test('unreachable backends: said, with their names, and nothing changed on disk', (context) => {
  const path = folder(context);
  const config = join(path, 'far.toml');
  writeFileSync(config, unreachableConfig());
  for (const words of [
    ['up', '--mount', join(path, 'mnt'), '--config', config, '--dir', join(path, 'new')],
    ['restore', '--from', config, '--dir', join(path, 'new')],
  ]) {
    const { code, errors } = qsfs(...words);
    assert.equal(code, 5, errors);
    assert.match(errors, /metadata stores/);
    assert.match(errors, /unix:\/nowhere\/p/);
  }
  assert.deepEqual(readdirSync(path), ['far.toml']);
});

test('a place that cannot be mounted on is refused before anything is made', (context) => {
  const path = folder(context);
  writeFileSync(join(path, 'file'), '');
  const state = join(path, 'new');
  for (const [place, message] of [
    [join(path, 'file'), /is not a directory/],
    ['/proc/x', /no directory can be made in \/proc/],
    ['/proc', /already a mount point/],
    [join(state, 'backends'), /contain each other/],
    [join(state, 'frontend', 'mnt'), /contain each other/],
  ] as const) {
    const { code, errors } = qsfs('up', '--mount', place, '--dir', state);
    assert.equal(code, 7, errors);
    assert.match(errors, message);
  }
  assert.equal(qsfs('up', '--mount', join(path, 'mnt'), '--dir', join(path, 'file')).code, 11);
  assert.deepEqual(readdirSync(path), ['file']);
});

test('wrong words and folders without a qsfs', (context) => {
  const path = folder(context);
  assert.equal(qsfs('help').code, 0);
  for (const word of ['version', '--version', '-V']) {
    assert.deepEqual(qsfs(word), { code: 0, output: 'qsfs 0.1.0\n', errors: '' });
  }
  assert.equal(qsfs('up', '--help').code, 0);
  assert.equal(qsfs('nonsense').code, 2);
  assert.equal(qsfs('up', '--dir', join(path, 'x')).code, 2);
  assert.equal(qsfs('evict', '--dir', path).code, 2);
  assert.equal(qsfs('restore', '--dir', path).code, 2);
  for (const verb of [['status'], ['sync'], ['evict', '--all'], ['down']]) {
    const { code, errors } = qsfs(...verb, '--dir', path);
    assert.equal(code, 3, errors);
    assert.match(errors, /QSFS_E_NOT_RUNNING/);
  }
  const json = JSON.parse(qsfs('status', '--dir', path, '--json').output) as { error: { code: string } };
  assert.equal(json.error.code, 'QSFS_E_NOT_RUNNING');
  const start = ['up', '--dir', path, '--config', join(path, 'none.toml'), '--mount', join(path, 'mnt')];
  for (const words of [start, [...start, '--detach']]) {
    const refused = JSON.parse(qsfs(...words, '--json').output) as { error: { code: string } };
    assert.equal(refused.error.code, 'QSFS_E_CONFIG');
  }
  assert.equal(qsfs('backend', 'list', '--dir', path).code, 4);
  const look = qsfs('up', '--dir', path, '--mount', join(path, 'mnt'), '--read-only');
  assert.equal(look.code, 10, 'nothing is made to be looked at');
  assert.deepEqual(readdirSync(path), []);
});

test('of two that start on one folder at once one goes on, and the other says why it does not', {
  timeout: 60_000,
}, async (context) => {
  const running = scratchFor(context)();
  const starts = [running.mountPoint, `${running.mountPoint}-2`].map((mountPoint) => {
    const words = [PROGRAM, 'up', '--dir', running.directory, '--mount', mountPoint, '--detach'];
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'ignore', 'pipe'] });
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    return new Promise<{ code: number | null; errors: string }>((resolve) =>
      child.once('close', (code) => resolve({ code, errors })),
    );
  });
  const [one, two] = (await Promise.all(starts)).sort((left, right) => (left.code ?? 0) - (right.code ?? 0));
  assert.equal(one?.code, 0, one?.errors);
  assert.equal(two?.code, 13, two?.errors);
  assert.match(two?.errors ?? '', /QSFS_E_RUNNING/);
  running.must('down');
});

test('in the foreground: says where and what next; Ctrl-C unmounts, stops the backends and keeps everything', {
  timeout: 100_000,
}, async (context) => {
  // Longer than the path of a unix socket may be.
  const running = scratchFor(context)('d'.repeat(120));
  const child: ChildProcess = spawn(
    process.execPath,
    [PROGRAM, 'up', '--dir', running.directory, '--mount', running.mountPoint],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  while (!output.includes('Ctrl-C')) {
    await Promise.race([new Promise((resolve) => child.stdout?.once('data', resolve)), ended]);
    assert.equal(child.exitCode, null, output);
  }
  assert.match(output, new RegExp(`mounted at ${running.mountPoint}`));
  assert.match(output, /survives\s+the loss of 1 whole group together with 1 backend in every other group/);
  assert.match(output, /qsfs sync/);
  writeFileSync(join(running.mountPoint, 'kept'), 'not synced');
  assert.equal(running.run('backend', 'stop', 'zz').code, 12);
  assert.equal(running.run('up', '--mount', running.mountPoint).code, 13);
  child.kill('SIGINT');
  assert.equal(await ended, 0);
  assert.ok(!mounted(running.mountPoint));
  assert.ok(!existsSync(join(running.directory, 'backends', 'a1', 'pid')));
  assert.equal(running.run('status').code, 3);

  await context.test('with another key the volume is not touched', () => {
    running.up();
    running.must('sync');
    running.must('down');
    const config = readFileSync(running.config, 'utf8');
    writeFileSync(running.config, config.replaceAll(/key = "[0-9a-f]{8}/g, 'key = "00000000'));
    const { code, errors } = running.run('up', '--mount', running.mountPoint, '--detach');
    assert.equal(code, 4, errors);
    assert.match(errors, /encryption\.key/);
    const restored = qsfs('restore', '--from', running.config, '--dir', join(running.scratch, 'elsewhere'));
    assert.equal(restored.code, 4, restored.errors);
    assert.match(restored.errors, /encryption\.key/);
    assert.ok(!existsSync(join(running.scratch, 'elsewhere')));
    writeFileSync(running.config, config);
  });

  await context.test('a mount point that cannot be used is refused, and nothing keeps running', () => {
    const { code, errors } = running.run('up', '--mount', running.config, '--detach');
    assert.equal(code, 7, errors);
    assert.ok(!existsSync(join(running.directory, 'backends', 'a1', 'pid')));
    mkdirSync(join(running.scratch, 'within'));
    assert.equal(running.run('up', '--mount', running.scratch, '--detach').code, 7);
  });

  await context.test('and with everything right again what was written is there', () => {
    running.up();
    waitFor(() => existsSync(join(running.mountPoint, 'kept')), 'the file');
    assert.equal(readFileSync(join(running.mountPoint, 'kept'), 'utf8'), 'not synced');
  });

  await context.test('after a sync evict leaves nothing here, also what was rewritten since', () => {
    // Many small writes: seconds later the volume joins them, mostly after the sync.
    const fragments = openSync(join(running.mountPoint, 'fragments'), 'w');
    for (let place = 0; place < 64; place += 1) {
      writeSync(fragments, Buffer.alloc(4096, place));
      fsyncSync(fragments);
    }
    closeSync(fragments);
    running.must('sync');
    for (let looks = 0; looks < 20 && !running.status().sync.dirty; looks += 1)
      execFileSync('sleep', ['0.1']);
    const { pendingBytes } = JSON.parse(running.must('evict', '--all', '--json')) as EvictAnswer;
    assert.equal(pendingBytes, 0);
    // What a program wrote is not sent without having been asked for.
    writeFileSync(join(running.mountPoint, 'more'), 'not synced');
    const second = JSON.parse(running.must('evict', '--all', '--json')) as EvictAnswer;
    assert.ok(second.pendingBytes > 0);
  });
});
