// Hooks: what is run when, with which arguments; who waits for them and who does not.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { RawConnection } from './support/raw-connection.ts';
import { Scratch, ZdbProcess } from './support/zdb-process.ts';

describe('hooks', () => {
  let scratch: Scratch;
  let hook: string;
  let log: string;
  const running: ZdbProcess[] = [];
  const open: RawConnection[] = [];

  /** The hook writes its arguments to the log, one line a run, then does what the body says. */
  const writeHook = (body: string) => {
    writeFileSync(
      hook,
      `#!/bin/bash\nline=$1; shift 2; for a in "$@"; do line="$line|$a"; done\necho "$line" >> ${log}\n${body}\n`,
    );
    chmodSync(hook, 0o755);
  };
  const logged = () => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []);
  const untilLogged = async (text: string) => {
    while (!logged().some((line) => line.startsWith(text)))
      await new Promise((resolve) => setTimeout(resolve, 5));
  };
  /** Ends a hook that wrote its process id to the log. */
  const endHook = () => {
    const line = logged().find((each) => each.startsWith('pid '));
    process.kill(Number(line!.slice(4)));
  };
  const serve = async (...flags: string[]) => {
    const server = await ZdbProcess.serve(scratch, ['--hook', hook, ...flags]);
    running.push(server);
    return server;
  };
  const connect = async () => {
    const connection = await RawConnection.open({ path: scratch.socket });
    open.push(connection);
    return connection;
  };

  beforeEach(() => {
    scratch = new Scratch();
    hook = `${scratch.path}/hook`;
    log = `${scratch.path}/log`;
  });

  afterEach(async () => {
    for (const connection of open.splice(0)) connection.close();
    for (const server of running.splice(0)) await server.stop('SIGKILL');
    scratch.dispose();
  });

  it('are told of the life of a server and its namespaces, with the reference’s arguments', async () => {
    writeHook('exit 0');
    const server = await serve('--mode', 'user');
    const connection = await connect();
    assert.equal(await connection.request('NSNEW', 'ns'), '+OK\r\n');
    assert.equal(await connection.request('NSSET', 'ns', 'worm', '0'), '+OK\r\n');
    assert.equal(await connection.request('SELECT', 'ns'), '+OK\r\n');
    assert.equal(await connection.request('SET', 'k', '1'), '$1\r\nk\r\n');
    assert.equal(await connection.request('SET', 'k', '2'), '$1\r\nk\r\n');
    assert.equal(await connection.request('NSJUMP'), '+OK\r\n');
    assert.equal(await connection.request('RELOAD', 'ns'), '+OK\r\n');
    assert.equal(await connection.request('NSNEW', 'gone'), '+OK\r\n');
    assert.equal(await connection.request('NSDEL', 'gone'), '+OK\r\n');
    await untilLogged('namespace-deleted');
    const listing = await connection.request('HOOKS');
    assert.match(listing, /jump-index/);
    assert.equal((await server.stop('SIGTERM')).code, 143);
    await untilLogged('namespace-closing|ns');
    const { data, index } = scratch;
    const lines = logged();
    for (const line of [
      `namespaces-init|${index}|${data}`,
      'ready',
      'namespace-created|ns',
      'namespace-updated|ns',
      `jump-index|${index}/ns/i0|${index}/ns/i1|0`,
      `jump-data|${data}/ns/d0|${data}/ns/d1`,
      'namespace-reloaded|ns',
      'namespace-deleted|gone',
      'close',
      `namespace-closing|ns|${index}/ns/i1|${data}/ns/d1|`,
    ]) {
      assert.ok(lines.includes(line), `no "${line}" in\n${lines.join('\n')}`);
    }
    assert.ok(lines.indexOf('ready') > 0 && lines[0]?.startsWith('namespaces-init'));
  });

  it('hold nothing open of what the server inherited itself', async () => {
    writeHook(`ls -l /proc/self/fd >> ${log}`);
    const lock = `${scratch.path}/held`;
    const server = ZdbProcess.run(
      ['--data', scratch.data, '--index', scratch.index, '--socket', scratch.socket, '--hook', hook],
      { inherits: lock },
    );
    running.push(server);
    await server.says('ready on');
    assert.equal(existsSync(lock), true);
    assert.match(logged().join('\n'), / 2 -> /);
    assert.doesNotMatch(logged().join('\n'), / -> .*held/);
  });

  it('hold up only the client whose command needs them: a data file is brought while others are served', async () => {
    writeHook('exit 0');
    await serve('--mode', 'user');
    const first = await connect();
    assert.equal(await first.request('SET', 'old', 'in file 0'), '$3\r\nold\r\n');
    assert.equal(await first.request('NSJUMP'), '+OK\r\n');
    assert.equal(await first.request('SET', 'new', 'in file 1'), '$3\r\nnew\r\n');
    await running.pop()!.stop('SIGKILL');
    const file = `${scratch.data}/default/d0`;
    renameSync(file, `${file}.away`);
    // The hook brings the file only when it is let.
    writeHook(
      `[[ $line == missing-data* ]] && { until [ -e ${scratch.path}/go ]; do sleep 0.01; done; mv "$1.away" "$1"; }; exit 0`,
    );
    await serve('--mode', 'user');
    const slow = await connect();
    const other = await connect();
    await slow.send(
      Buffer.from('*2\r\n$3\r\nGET\r\n$3\r\nold\r\n*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$3\r\nold\r\n'),
    );
    await untilLogged('missing-data');
    for (let i = 0; i < 20; i++) assert.equal(await other.request('GET', 'new'), '$9\r\nin file 1\r\n');
    writeFileSync(`${scratch.path}/go`, '');
    const replies = (await slow.receive(3)).toString();
    assert.equal(replies, '$9\r\nin file 0\r\n+PONG\r\n$9\r\nin file 0\r\n');
    assert.equal(logged().filter((line) => line === `missing-data|${file}`).length, 1);
  });

  it('that bring nothing are not asked for ever: the read fails, CHECK says unreadable, SET takes the value as changed', async () => {
    writeHook('exit 0');
    await serve('--mode', 'user');
    const first = await connect();
    assert.equal(await first.request('SET', 'k', 'v'), '$1\r\nk\r\n');
    assert.equal(await first.request('NSJUMP'), '+OK\r\n');
    await running.pop()!.stop('SIGKILL');
    renameSync(`${scratch.data}/default/d0`, `${scratch.path}/away`);
    await serve('--mode', 'user');
    const connection = await connect();
    assert.equal(await connection.request('GET', 'k'), '-Internal Error\r\n');
    assert.equal(await connection.request('MGET', 'k', 'x'), '*2\r\n-Internal Error\r\n$-1\r\n');
    assert.equal(await connection.request('CHECK', 'k'), ':-1\r\n');
    assert.equal(await connection.request('HISTORY', 'k'), '-Internal Error\r\n');
    assert.equal(await connection.request('EXISTS', 'k'), ':1\r\n');
    assert.equal(await connection.request('SET', 'k', 'v'), '$1\r\nk\r\n');
    assert.equal(await connection.request('GET', 'k'), '$1\r\nv\r\n');
  });

  it('keep an index file dirty when jump-index fails', async () => {
    writeHook('[[ $line == jump-index* ]] && exit 3; exit 0');
    await serve('--mode', 'user');
    const connection = await connect();
    await connection.request('SET', 'k', '1');
    await connection.request('SET', 'k', '2');
    assert.equal(await connection.request('NSJUMP'), '+OK\r\n');
    assert.equal(await connection.request('INDEX', 'DIRTY'), '*1\r\n:0\r\n');
    writeHook('exit 0');
    assert.equal(await connection.request('NSJUMP'), '+OK\r\n');
    assert.equal(await connection.request('INDEX', 'DIRTY'), '*0\r\n');
    assert.ok(logged().includes(`jump-index|${scratch.index}/default/i1|${scratch.index}/default/i2|0`));
  });

  it('answer a SET that rotated when jump-index has ended, and others before', async () => {
    writeHook(`[[ $line == jump-index* ]] && until [ -e ${scratch.path}/go ]; do sleep 0.01; done; exit 0`);
    await serve('--mode', 'user', '--datasize', '524288');
    const writer = await connect();
    const other = await connect();
    assert.equal(await writer.request('SET', 'a', Buffer.alloc(500_000)), '$1\r\na\r\n');
    await writer.send(
      Buffer.concat([
        Buffer.from('*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$500000\r\n'),
        Buffer.alloc(500_000),
        Buffer.from('\r\n'),
      ]),
    );
    await untilLogged('jump-index');
    assert.equal(await other.request('EXISTS', 'b'), ':1\r\n');
    writeFileSync(`${scratch.path}/go`, '');
    assert.equal((await writer.receive(1)).toString(), '$1\r\nb\r\n');
  });

  it('stop the server when ready does not succeed', async () => {
    writeHook('[[ $line == ready ]] && exit 1; exit 0');
    const words = [
      '--data',
      scratch.data,
      '--index',
      scratch.index,
      '--socket',
      scratch.socket,
      '--hook',
      hook,
    ];
    const ending = await ZdbProcess.run(words).ended;
    assert.equal(ending.code, 1);
    assert.match(ending.output, /hook "ready" did not succeed/);
  });

  it('that hang in close are not waited for any longer when the server is told to stop once more', async () => {
    writeHook(
      '[[ $line == close ]] && { echo "pid $$" >> "$(dirname "$0")/log"; exec sleep 600 &> /dev/null; }; exit 0',
    );
    const server = await serve();
    const connection = await connect();
    assert.equal(await connection.request('SET', 'k', 'v'), '$1\r\nk\r\n');
    server.child.kill('SIGTERM');
    await untilLogged('pid ');
    // Whoever is still connected is still served.
    assert.equal(await connection.request('SET', 'l', 'v'), '$1\r\nl\r\n');
    server.child.kill('SIGINT');
    assert.equal((await server.ended).code, 130);
    running.pop();
    endHook();
    await serve();
    assert.equal(await (await connect()).request('DBSIZE'), ':2\r\n');
  });

  it('that cannot be executed stop the server with a message, before it loads anything', async () => {
    writeFileSync(`${scratch.path}/plain`, 'no program');
    writeFileSync(`${scratch.path}/lost`, '#!/nonexistent/interpreter\n', { mode: 0o755 });
    for (const program of [
      '/nonexistent',
      scratch.path,
      `${scratch.path}/plain`,
      `${scratch.path}/lost`,
      '',
    ]) {
      const words = ['--data', scratch.data, '--index', scratch.index, '--socket', scratch.socket];
      const ending = await ZdbProcess.run([...words, '--hook', program]).ended;
      assert.equal(ending.code, 1, program);
      assert.ok(ending.output.includes(`--hook ${program} cannot be executed`), ending.output);
      assert.ok(!existsSync(`${scratch.index}/default`), program);
    }
  });

  it('that cannot be executed any more hold nobody up: each failure is told, the server serves and ends as always', async () => {
    writeHook('exit 0');
    const server = await serve('--mode', 'user');
    const connection = await connect();
    const unexecutable = () => {
      rmSync(hook, { recursive: true });
      writeFileSync(hook, '', { mode: 0o600 });
    };
    for (const [what, change] of [
      ['removed', () => rmSync(hook)],
      ['a directory', () => mkdirSync(hook)],
      ['not executable', unexecutable],
    ] as const) {
      change();
      assert.equal(await connection.request('NSNEW', what), '+OK\r\n');
      assert.equal(await connection.request('SET', 'k', what), '$1\r\nk\r\n');
      assert.equal(await connection.request('NSJUMP'), '+OK\r\n');
      assert.equal(await connection.request('GET', 'k'), `$${what.length}\r\n${what}\r\n`);
    }
    const ending = await server.stop('SIGTERM');
    assert.equal(ending.code, 143);
    for (const name of ['namespace-created', 'jump-index', 'jump-data', 'close'])
      assert.ok(ending.output.includes(`hook ${name}: cannot run ${hook}`), `${name} in ${ending.output}`);
  });

  it('that hang in jump-index do not keep the server from ending when it is told to', async () => {
    writeHook(
      '[[ $line == jump-index* ]] && { echo "pid $$" >> "$(dirname "$0")/log"; exec sleep 600 &> /dev/null; }; exit 0',
    );
    const server = await serve('--mode', 'user');
    const connection = await connect();
    assert.equal(await connection.request('SET', 'k', 'v'), '$1\r\nk\r\n');
    await connection.send(Buffer.from('*1\r\n$6\r\nNSJUMP\r\n'));
    await untilLogged('pid ');
    assert.equal((await server.stop('SIGTERM')).code, 143);
    endHook();
  });

  it('inherit no descriptor: neither sockets nor locks outlive the server in them', async () => {
    writeHook(
      `[[ $line == namespace-created* ]] && { ls -l /proc/$$/fd > ${scratch.path}/fds; sleep 0.2; }; exit 0`,
    );
    const server = await serve();
    const connection = await connect();
    await connection.request('NSNEW', 'ns');
    await untilLogged('namespace-created');
    while (
      !existsSync(`${scratch.path}/fds`) ||
      !readFileSync(`${scratch.path}/fds`, 'utf8').includes('255 ->')
    ) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await server.stop('SIGKILL');
    // The hook still runs; nothing keeps a second server from starting.
    await serve();
    // Only the standard output and error are passed on (and what bash opens itself).
    const held = readFileSync(`${scratch.path}/fds`, 'utf8').split('\n');
    const ours = held.filter(
      (line) => /socket|lockfile|\/d\d|\/i\d|eventpoll/.test(line) && !/ [12] -> /.test(line),
    );
    assert.deepEqual(ours, []);
  });
});
