import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Disk, IoError, type Random } from '@qsfs/io';
import { COMMANDS, GLOBAL_OPTIONS, parseArguments } from '../src/cli/arguments.ts';
import { runProgram } from '../src/cli/program.ts';
import type { Capabilities } from '../src/types.ts';
import { capabilities, configText, KEY, randomFile, type Shape, temporaryFolder } from './support.ts';

/** A folder with a configuration over directories, and the program run in it. */
function prepare(t: TestContext, shape: Shape = {}, more: Partial<Capabilities> = {}) {
  const folder = realpathSync(temporaryFolder(t));
  const text = configText(shape);
  writeFileSync(join(folder, 'zstor_config.toml'), text);
  for (const match of text.matchAll(/^path = "(.*)"$/gm))
    mkdirSync(join(folder, match[1]!), { recursive: true });
  const run = async (...words: string[]) => {
    let output = '';
    let errors = '';
    const exitCode = await runProgram(words, {
      ...capabilities,
      ...more,
      workingDirectory: folder,
      version: '1.2.3',
      output: (part) => {
        output += part;
      },
      errors: (part) => {
        errors += part;
      },
      isTerminal: false,
    });
    return { exitCode, output, errors };
  };
  return { folder, run };
}

test('a file is stored, checked, removed, retrieved and deleted', async (t) => {
  const { folder, run } = prepare(t);
  const { path, content } = randomFile(folder, 'file', 200_000);
  assert.deepEqual(await run('check', '--file', path), { exitCode: 0, output: '', errors: '' });
  assert.deepEqual(await run('-c', 'zstor_config.toml', 'store', '-f', path, '--delete'), {
    exitCode: 0,
    output: '',
    errors: '',
  });
  assert.ok(!existsSync(path));
  const check = await run('check', '-f', path);
  assert.match(check.output, /^[0-9a-f]{32}\n$/);
  assert.deepEqual(await run('retrieve', `-f${path}`), { exitCode: 0, output: '', errors: '' });
  assert.ok(readFileSync(path).equals(content));
  assert.equal((await run('retrieve', '--file=file', '--output', 'copy')).exitCode, 0);
  assert.ok(readFileSync(join(folder, 'copy')).equals(content));
  assert.equal((await run('list')).output, `${path}\n`);
  assert.equal((await run('list', '/nowhere')).output, '');
  assert.equal((await run('delete', '-f', path)).exitCode, 0);
  const gone = await run('retrieve', '-f', path);
  assert.equal(gone.exitCode, 4);
  assert.match(gone.errors, /^Error: no metadata found .*entity not found/);
  assert.equal((await run('delete', '-f', path)).exitCode, 4);
});

test('relative, absolute and symlinked paths mean the same object for every command', async (t) => {
  const { folder, run } = prepare(t);
  mkdirSync(join(folder, 'real'));
  symlinkSync('real', join(folder, 'link'));
  writeFileSync(join(folder, 'real/file'), 'content');
  assert.equal((await run('store', '-f', 'link/file')).exitCode, 0);
  const ids = [];
  for (const path of [
    'real/file',
    './link/../link/file',
    join(folder, 'link/file'),
    join(folder, 'real/file'),
  ]) {
    ids.push((await run('check', '-f', path)).output);
  }
  assert.equal(new Set(ids).size, 1);
  renameSync(join(folder, 'real/file'), join(folder, 'elsewhere'));
  assert.equal((await run('check', '-f', 'link/file')).output, ids[0], 'also when the file is gone');
  assert.equal((await run('retrieve', '-f', 'link/file')).exitCode, 0);
  assert.equal(readFileSync(join(folder, 'real/file'), 'utf8'), 'content');
});

test('with a root names begin below it, and what is outside is refused', async (t) => {
  const { folder, run } = prepare(t);
  mkdirSync(join(folder, 'tree/sub'), { recursive: true });
  writeFileSync(join(folder, 'tree/sub/file'), 'content');
  writeFileSync(join(folder, 'outside'), 'x');
  const text = readFileSync(join(folder, 'zstor_config.toml'), 'utf8');
  writeFileSync(join(folder, 'zstor_config.toml'), `root = "${join(folder, 'tree')}"\n${text}`);
  assert.equal((await run('store', '-f', 'tree/sub/file')).exitCode, 0);
  assert.equal((await run('list')).output, 'sub/file\n');
  const refused = await run('store', '-f', 'outside');
  assert.equal(refused.exitCode, 8);
  assert.match(refused.errors, /not in the file tree rooted at/);
});

test('a directory is stored file by file, under another name where asked for', async (t) => {
  const { folder, run } = prepare(t);
  mkdirSync(join(folder, 'many/sub'), { recursive: true });
  for (const name of ['a', 'b', 'c']) writeFileSync(join(folder, 'many', name), name);
  writeFileSync(join(folder, 'many/sub/d'), 'not this one');
  assert.equal((await run('store', '-f', 'many', '-k', '/somewhere/else')).exitCode, 0);
  assert.deepEqual(
    (await run('list')).output.trim().split('\n').sort(),
    ['a', 'b', 'c'].map((name) => `/somewhere/else/${name}`),
  );
  const listed = (await run('list', '--json')).output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { sizeBytes: number });
  assert.deepEqual(
    listed.map(({ sizeBytes }) => sizeBytes),
    [1, 1, 1],
  );
});

test('check, rebuild and repair tell damage and mend it', async (t) => {
  const { folder, run } = prepare(t);
  const { path } = randomFile(folder, 'file', 100_000);
  await run('store', '-f', path);
  const shards = readdirSync(join(folder, 'data/a0/shards'), { recursive: true, withFileTypes: true }).filter(
    (e) => e.isFile(),
  );
  for (const { parentPath, name } of shards) {
    const file = join(parentPath, name);
    const bytes = readFileSync(file);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(file, bytes);
  }
  const check = await run('check', '-f', path, '--json');
  assert.equal(check.exitCode, 0);
  const report = JSON.parse(check.output) as { verdict: string; badShards: number; method: string };
  assert.deepEqual([report.verdict, report.badShards, report.method], ['degraded', 2, 'backend-check']);
  assert.match((await run('check', '-f', path)).errors, /2 shards bad/);
  const rebuilt = await run('rebuild', '-f', path, '--json');
  assert.equal((JSON.parse(rebuilt.output) as { rewrittenShards: number }).rewrittenShards, 2);
  assert.equal(
    (JSON.parse((await run('check', '-f', path, '--json', '--deep')).output) as { verdict: string }).verdict,
    'complete',
  );
  assert.match((await run('repair')).output, /repaired 0 files/);
  assert.equal((await run('rebuild', '--key', 'nothing')).exitCode, 4);
});

test('a backend that misses the beginning of a store gets its shards before the command ends', async (t) => {
  let refusals = 2;
  const disk: Disk = {
    ...capabilities.disk,
    open: (path, ...rest) => {
      if (path.includes('data/a0/shards') && refusals > 0) {
        refusals -= 1;
        throw new IoError('EIO', `open ${path}`);
      }
      return capabilities.disk.open(path, ...rest);
    },
  };
  const { folder, run } = prepare(t, {}, { disk });
  const { path } = randomFile(folder, 'file', 400_000);
  assert.deepEqual(await run('store', '-f', path), { exitCode: 0, output: '', errors: '' });
  assert.equal(refusals, 0);
  const check = await run('check', '-f', path, '--json', '--deep');
  assert.equal((JSON.parse(check.output) as { verdict: string }).verdict, 'complete');
});

test('what cannot be read or stored now has its own exit code, and status says why', async (t) => {
  const { folder, run } = prepare(t);
  const { path } = randomFile(folder, 'file', 1000);
  await run('store', '-f', path);
  for (const name of ['a0', 'a1', 'b0', 'b1', 'c0', 'c1'])
    renameSync(join(folder, 'data', name), join(folder, `${name}.away`));
  const retrieved = await run('retrieve', '-f', path, '-o', 'copy');
  assert.equal(retrieved.exitCode, 5);
  assert.match(retrieved.errors, /out of reach: .*bring some of them back/s);
  assert.ok(!existsSync(join(folder, 'copy')));
  const store = await run('store', '-f', path);
  assert.equal(store.exitCode, 5);
  assert.match(store.errors, /bring back any 2 of: a0 \(there is no directory/);
  assert.equal((await run('test')).exitCode, 5);
  assert.equal((await run('check', '-f', path)).exitCode, 5);
  const status = await run('status');
  assert.equal(status.exitCode, 5);
  assert.match(status.output, /\| a: a0 .*\| No /);
  assert.match(status.output, /CANNOT STORE: 2 of 8 backends/);
  assert.match(status.output, /survive the loss of nothing/);
  const json = JSON.parse((await run('status', '--json')).output) as { backends: { state: string }[] };
  assert.equal(json.backends.filter(({ state }) => state === 'down').length, 6);
  for (const name of ['a0', 'a1', 'b0', 'b1', 'c0', 'c1'])
    renameSync(join(folder, `${name}.away`), join(folder, 'data', name));
  assert.equal((await run('test')).exitCode, 0);
  assert.match(
    (await run('status')).output,
    /survives the loss of any 5 backends, or 1 backend in every group, or any 1 group plus 1/,
  );
});

test('a wrong command line, a missing and a wrong configuration end with one message and touch nothing', async (t) => {
  const { folder, run } = prepare(t);
  const before = readdirSync(folder, { recursive: true }).sort();
  const cases: [string[], number, RegExp][] = [
    [['stroe'], 2, /did you mean "store"\?/],
    [['store'], 2, /store needs --file PATH/],
    [['store', 'file'], 2, /did you mean --file file\?/],
    [['store', '--fil', 'x'], 2, /did you mean --file\?/],
    [['store', '-f'], 2, /--file needs PATH/],
    [['rebuild'], 2, /either --file PATH or --key NAME/],
    [['monitor'], 2, /no daemon/],
    [['-q'], 2, /a command is missing/],
    [['-c', 'none.toml', 'status'], 3, /there is no configuration .*none\.toml/],
    [['-c', '.', 'status'], 3, /^Error: \/.* is no file/],
    [['store', '-f', 'none'], 7, /there is no file .*none/],
  ];
  for (const [words, exitCode, message] of cases) {
    const result = await run(...words);
    assert.equal(result.exitCode, exitCode, words.join(' '));
    assert.match(result.errors, message);
    assert.equal(result.output, '');
  }
  writeFileSync(join(folder, 'bad.toml'), configText().replace('minimal_shards = 3', 'minimal_shards = 9'));
  const bad = await run('-c', 'bad.toml', 'status');
  assert.equal(bad.exitCode, 3);
  assert.match(bad.errors, /^Error: \/.*bad\.toml: .*minimal_shards: is 9, more than expected_shards \(8\)/);
  assert.deepEqual(readdirSync(folder, { recursive: true }).sort(), [...before, 'bad.toml'].sort());
});

test('a file that changes while it is stored is an error', async (t) => {
  let change = () => {};
  const random: Random = {
    ...capabilities.random,
    bytes: (lengthBytes) => {
      change(); // the object's id and salt are drawn when storing has begun
      return capabilities.random.bytes(lengthBytes);
    },
  };
  const { folder, run } = prepare(t, {}, { random });
  const { path, content } = randomFile(folder, 'file', 300_000);
  change = () => writeFileSync(path, content.toReversed());
  const longer = await run('store', '-f', path);
  assert.equal(longer.exitCode, 7);
  assert.match(longer.errors, /changed while it was stored/);
  change = () => writeFileSync(path, 'short now');
  const shorter = await run('store', '-f', path);
  assert.equal(shorter.exitCode, 7);
});

test('help names every command and option, and letters work joined', async (t) => {
  const { run } = prepare(t);
  const { output } = await run('--help');
  for (const { name } of [...COMMANDS, ...GLOBAL_OPTIONS]) assert.ok(output.includes(name), name);
  assert.equal((await run('help')).output, output);
  for (const command of COMMANDS) {
    const help = (await run(command.name, '--help')).output;
    assert.equal((await run('help', command.name)).output, help);
    for (const { name } of command.options) assert.ok(help.includes(`--${name}`));
  }
  assert.equal((await run('--version')).output, 'zstor 1.2.3\n');
  const parsed = parseArguments(['-d', 'store', '-sdn', '-fx']);
  assert.deepEqual([...parsed.flags].sort(), ['debug', 'delete', 'notblocking', 'save-failure']);
  assert.equal(parsed.values.get('file'), 'x');
});

test('the master key is never printed', async (t) => {
  const { folder, run } = prepare(t);
  const { path } = randomFile(folder, 'file', 10);
  for (const words of [
    ['store', '-f', path],
    ['status'],
    ['status', '--json'],
    ['check', '--json', '-f', path],
  ]) {
    const { output, errors } = await run(...words);
    assert.ok(!(output + errors).includes(KEY));
  }
});
