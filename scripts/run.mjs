// The dependency-free entry behind every npm script and every launcher in bin/. It runs on whatever Node the
// machine has (20 or newer), installs what is missing, and hands over to the pinned Node.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stamp = join(root, 'node_modules', '.qsfs-installed');
// What was compiled once is not compiled again, by no process that is started from here.
process.env.NODE_COMPILE_CACHE ??= join(root, 'node_modules', '.cache', 'node');

function fail(message) {
  process.stderr.write(`qsfs: ${message}\n`);
  process.exit(1);
}

/** The pinned Node binary of this machine's architecture, or undefined when it is not installed. */
function pinnedNode() {
  const binary = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
  return existsSync(binary) ? binary : undefined;
}

/** Installs the locked dependencies when node_modules is missing or older than the lock file. */
function install() {
  const lock = readFileSync(join(root, 'package-lock.json'), 'utf8');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock && pinnedNode()) {
    markFresh();
    return;
  }
  process.stderr.write('qsfs: installing what is missing (npm install) …\n');
  // Not `npm ci`: it wants every platform's optional binaries in the lock file, and some registries do not carry them all.
  // With --no-save the locked versions are installed and the lock file stays as it is.
  const npm = spawnSync(
    'npm',
    ['install', '--no-save', '--ignore-scripts', '--no-fund', '--no-audit', '--loglevel=error'],
    {
      cwd: root,
      stdio: ['ignore', 2, 2],
    },
  );
  if (npm.error) fail(`npm cannot be run: ${npm.error.message}. Install npm 10 or newer.`);
  if (npm.status !== 0) fail('npm install failed; see the message above.');
  writeFileSync(stamp, lock);
}

/** The launchers compare times, not contents. Who may not write here starts through this file each time. */
function markFresh() {
  try {
    const now = new Date();
    if (statSync(join(root, 'package-lock.json')).mtimeMs > statSync(stamp).mtimeMs)
      utimesSync(stamp, now, now);
  } catch (error) {
    if (!['EACCES', 'EPERM', 'EROFS'].includes(error.code)) throw error;
  }
}

/** All files below `folder` whose name ends with `suffix`, sorted. */
function filesBelow(folder, suffix, found = []) {
  for (const name of readdirSync(folder).sort()) {
    if (name === 'node_modules' || name === 'fixtures') continue;
    const path = join(folder, name);
    if (statSync(path).isDirectory()) filesBelow(path, suffix, found);
    else if (name.endsWith(suffix)) found.push(path);
  }
  return found;
}

/** The tests that a word of the command line names: a file, or a folder with tests below it. */
function testsOf(path) {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) fail(`there is no ${path}; name a folder or a file, as in: npm test -- packages/zdb`);
  const files = found.isDirectory() ? filesBelow(path, '.test.ts') : [path];
  // Node would look for tests everywhere if it were given none.
  if (files.length === 0) fail(`there are no tests below ${path}`);
  return files;
}

/** Runs a command with the terminal's own streams and ends with its exit code; as shells do, with 128 and the number of the signal that ended it. */
function handOver(command, args) {
  const child = spawn(command, args, { stdio: 'inherit' });
  const forward = (signal) => child.kill(signal);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'])
    process.on(signal, () => forward(signal));
  child.on('error', (error) => fail(`${command} cannot be run: ${error.message}`));
  child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : (code ?? 1)));
}

function must(command, args) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

const [verb = 'help', ...rest] = process.argv.slice(2);
if (process.platform !== 'linux') fail('QSFS runs on Linux only.');
if (process.arch !== 'x64' && process.arch !== 'arm64')
  fail(`no pinned Node for ${process.arch}; use x64 or arm64.`);
install();
const node = pinnedNode();
if (!node) fail(`the pinned Node is not installed; run "npm install" in ${root} and look at its messages.`);
const tool = (name) => join(root, 'node_modules', '.bin', name);

/** Flags of Node for a program, as its launcher in bin/ has them. */
const FLAGS = { zdb: ['--max-semi-space-size=4'] };
const flagsOf = (name) => ['--disable-sigusr1', ...(FLAGS[name] ?? [])];

switch (verb) {
  case 'start':
    handOver(node, [
      ...flagsOf('qsfs'),
      join(root, 'packages/qsfs/src/main.ts'),
      'up',
      '--mount',
      './mnt',
      ...rest,
    ]);
    break;
  case 'program': {
    const [name, ...args] = rest;
    handOver(node, [...flagsOf(name), join(root, `packages/${name}/src/main.ts`), ...args]);
    break;
  }
  case 'test': {
    const chosen = rest.filter((word) => !word.startsWith('-'));
    const flags = rest.filter((word) => word.startsWith('-'));
    const files = chosen.length
      ? chosen.flatMap(testsOf)
      : [...filesBelow(join(root, 'packages'), '.test.ts'), ...filesBelow(join(root, 'test'), '.test.ts')];
    handOver(node, ['--test', '--test-concurrency=2', '--test-timeout=240000', ...flags, ...files]);
    break;
  }
  case 'check':
    must(tool('biome'), ['check', '--error-on-warnings', '.']);
    must(tool('tsc'), ['--project', 'tsconfig.json']);
    must(tool('oxlint'), ['--type-aware', '--deny-warnings', 'packages', 'bench', 'scripts', 'test']);
    process.stdout.write('check: format, lint, types and promises are clean\n');
    break;
  case 'format':
    must(tool('biome'), ['check', '--write', '.']);
    break;
  case 'bench':
    handOver(node, ['--expose-gc', join(root, 'bench/main.ts'), ...rest]);
    break;
  default:
    fail(`unknown verb ${verb}; the verbs are start, program, test, check, format, bench.`);
}
