// SIGUSR1, which has Node open a debugger's port to whoever can connect, does nothing to the programs, however they were started.
// (It ends zdb in order: packages/zdb/test/server.test.ts.)
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** The launcher, and the way it goes where the pinned Node is not installed yet. */
const WAYS: [string, (name: string) => [string, string[]]][] = [
  ['bin', (name) => [join(root, 'bin', name), []]],
  ['scripts/run.mjs', (name) => [process.execPath, [join(root, 'scripts/run.mjs'), 'program', name]]],
];

function scratchFor(context: TestContext): string {
  const scratch = mkdtempSync(join(tmpdir(), 'qsfs-signals-'));
  context.after(() => rmSync(scratch, { recursive: true, force: true }));
  return scratch;
}

/** A process and all its children. */
function family(pid: number): number[] {
  const children = readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/stat`, 'latin1').split(') ').at(-1)!.split(' ')[1] === `${pid}`;
    } catch {
      return false;
    }
  });
  return [pid, ...children.flatMap((name) => family(Number(name)))];
}

/** How many TCP sockets a process listens on. */
function listening(pid: number): number {
  const sockets = readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${name}`)];
    } catch {
      return [];
    }
  });
  const LISTEN = '0A';
  const listeners = [`/proc/${pid}/net/tcp`, `/proc/${pid}/net/tcp6`].flatMap((path) =>
    readFileSync(path, 'latin1')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter((words) => words[3] === LISTEN)
      .map((words) => `socket:[${words[9]}]`),
  );
  return sockets.filter((socket) => listeners.includes(socket)).length;
}

function signalAll(pid: number): void {
  for (const member of family(pid)) process.kill(member, 'SIGUSR1');
}

function started(command: string, words: string[]): { child: ChildProcess; said: () => string } {
  const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
  return { child, said: () => text };
}

for (const [way, launch] of WAYS) {
  test(`zstor goes on after SIGUSR1 and opens no debugger: ${way}`, { timeout: 60_000 }, async (context) => {
    const scratch = scratchFor(context);
    const held: Socket[] = [];
    const server: Server = createServer((socket) => void held.push(socket.on('error', () => {})));
    server.listen(join(scratch, 'silent.sock'));
    const hangUp = () => {
      server.close();
      for (const socket of held) socket.destroy();
    };
    context.after(hangUp);
    const config = join(scratch, 'zstor.toml');
    writeFileSync(
      config,
      [
        'minimal_shards = 1\nexpected_shards = 2\nredundant_groups = 0\nredundant_nodes = 1',
        `[encryption]\nalgorithm = "AES"\nkey = "${'ab'.repeat(32)}"`,
        '[meta.config]\nprefix = "test"',
        ...['m0', 'm1'].map(
          (name) =>
            `[[meta.config.backends]]\nname = "${name}"\naddress = "unix:${scratch}/silent.sock"\nnamespace = "${name}"`,
        ),
        '[[groups]]\nname = "a"',
        ...['a0', 'a1'].map(
          (name) =>
            `[[groups.backends]]\nname = "${name}"\naddress = "unix:${scratch}/silent.sock"\nnamespace = "${name}"`,
        ),
      ].join('\n'),
    );
    const connected = once(server, 'connection');
    const [command, words] = launch('zstor');
    const { child, said } = started(command, [...words, '-c', config, 'status']);
    const ended = once(child, 'close');
    await Promise.race([connected, ended]);
    assert.equal(child.exitCode, null, said());
    signalAll(child.pid!);
    hangUp();
    const [code, signal] = (await ended) as [number | null, string | null];
    assert.equal(signal, null);
    assert.ok(code !== null && code < 128, `exit code ${code}`);
    assert.doesNotMatch(said(), /debugger/i);
  });

  test(`zdbfs goes on after SIGUSR1 and opens no debugger: ${way}`, { timeout: 60_000 }, async (context) => {
    const scratch = scratchFor(context);
    const mountPoint = join(scratch, 'mnt');
    mkdirSync(mountPoint);
    const [command, words] = launch('zdbfs');
    const { child, said } = started(command, [...words, '--dir', join(scratch, 'volume'), mountPoint]);
    context.after(() => void spawnSync('umount', ['-l', mountPoint]));
    context.after(() => void child.kill('SIGKILL'));
    const ended = once(child, 'close');
    await Promise.race([once(child.stdout!, 'data'), ended]);
    signalAll(child.pid!);
    const written = spawnSync('sh', ['-c', `echo here > ${mountPoint}/file && cat ${mountPoint}/file`]);
    assert.equal(`${written.stdout}`, 'here\n', said());
    for (const pid of family(child.pid!)) assert.equal(listening(pid), 0);
    child.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null], said());
    assert.doesNotMatch(said(), /debugger/i);
  });
}

test('qsfs up --detach goes on after SIGUSR1 and opens no debugger', {
  timeout: 120_000,
}, async (context) => {
  const scratch = scratchFor(context);
  const mountPoint = join(scratch, 'mnt');
  const run = (...rest: string[]) =>
    spawnSync(join(root, 'bin/qsfs'), [...rest, '--dir', join(scratch, 'state')], {
      encoding: 'utf8',
      timeout: 60_000,
    });
  context.after(() => void spawnSync('umount', ['-l', mountPoint]));
  context.after(() => void run('down'));
  const up = run('up', '--mount', mountPoint, '--detach', '--json');
  assert.equal(up.status, 0, up.stderr);
  const { pid } = JSON.parse(up.stdout) as { pid: number };
  const before = listening(pid);
  process.kill(pid, 'SIGUSR1');
  writeFileSync(join(mountPoint, 'file'), 'here');
  assert.equal(run('status').status, 0);
  assert.equal(listening(pid), before);
  const down = run('down');
  assert.equal(down.status, 0, down.stderr);
});
