// The tools, run as an operator runs them, on files a server wrote and on files of the reference.
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { realClock, realNetwork } from '@qsfs/io';
import { ZdbClient } from '@qsfs/resp';
import { type Ending, Scratch, ZdbProcess } from './support/zdb-process.ts';

describe('tools', () => {
  let scratch: Scratch;
  const running: ZdbProcess[] = [];

  const tool = (...words: string[]): Promise<Ending> => ZdbProcess.run(words).ended;
  const roots = () => ['--data', scratch.data, '--index', scratch.index];

  /** Serves, lets the caller work, stops. */
  const filled = async (work: (zdb: ZdbClient) => Promise<void>, ...flags: string[]) => {
    const server = await ZdbProcess.serve(scratch, flags);
    running.push(server);
    const zdb = await ZdbClient.connect(realNetwork, realClock, { address: { path: scratch.socket } });
    await work(zdb);
    zdb.close();
    await server.stop();
  };

  beforeEach(() => {
    scratch = new Scratch();
  });

  afterEach(async () => {
    for (const server of running.splice(0)) await server.stop('SIGKILL');
    scratch.dispose();
  });

  it('check finds nothing wrong in what a server wrote, and a flipped byte when there is one', async () => {
    await filled(async (zdb) => {
      for (let i = 0; i < 50; i++) await zdb.set(`k${i % 20}`, `value ${i}`);
      await zdb.delete('k3');
      await zdb.rotate();
      await zdb.set('last', 'x');
      await zdb.createNamespace('s');
      await zdb.configureNamespace('s', { mode: 'seq' });
      await zdb.select('s');
      const key = await zdb.insert('one');
      await zdb.insert('two');
      await zdb.set(key, 'uno');
    });
    const good = await tool('check', ...roots(), '--json');
    assert.equal(good.code, 0, good.output + good.errors);
    const report = JSON.parse(good.output) as { name: string; liveEntries: number; dataEntries: number }[];
    assert.deepEqual(
      report.map(({ name, liveEntries, dataEntries }) => [name, liveEntries, dataEntries]),
      [
        ['default', 20, 52],
        ['s', 2, 3],
      ],
    );
    const path = `${scratch.data}/default/d0`;
    const bytes = readFileSync(path);
    bytes[bytes.indexOf('value 7')]! ^= 1;
    writeFileSync(path, bytes);
    const bad = await tool('check', ...roots());
    assert.equal(bad.code, 3);
    assert.match(bad.output, /d0 at \d+: checksum of k7 is wrong/);
    const single = await tool('check', path);
    assert.equal(single.code, 3);
    assert.match(single.output, /checksum of k7 is wrong/);
  });

  it('check counts a lost step of history as no damage: the id has a newer record', async () => {
    const change = async (zdb: ZdbClient) => {
      const key = await zdb.insert('one');
      await zdb.rotate();
      await zdb.set(key, 'two');
      await zdb.insert('other');
    };
    await filled(change, '--mode', 'seq');
    // The copy of the first slot stood in it: opening makes a dead one.
    truncateSync(`${scratch.index}/default/i1`, 29);
    await filled(async () => {}, '--mode', 'seq');
    const checked = await tool('check', ...roots());
    assert.equal(checked.code, 0, checked.output);
  });

  it('say all they have to say to a reader that is slow', async () => {
    const keys = Array.from({ length: 4000 }, (_, i) => `key-${i}-${'k'.repeat(40)}`);
    await filled(async (zdb) => void (await Promise.all(keys.map(async (key) => await zdb.set(key, 'v')))));
    for (const words of [
      ['--dump', ...roots()],
      ['index-dump', `${scratch.index}/default`],
    ]) {
      const slow = ZdbProcess.run(words);
      slow.child.stdout!.pause();
      await realClock.sleep(700);
      slow.child.stdout!.resume();
      const ending = await slow.ended;
      assert.equal(ending.code, 0, ending.errors);
      const missing = keys.filter((key) => !ending.output.includes(key));
      assert.equal(missing.length, 0, `${words[0]}: ${missing.length} keys are missing`);
    }
  });

  it('index-dump prints what the reference’s files hold', async () => {
    await filled(async (zdb) => {
      await zdb.set('hello', 'world', 1_700_000_000);
      await zdb.set('hello', 'again', 1_700_000_001);
    });
    const ending = await tool('index-dump', `${scratch.index}/default`);
    assert.equal(ending.code, 0);
    assert.match(
      ending.output,
      /0: at 29, deleted, key hello, 5 bytes at 28 of d0, crc [0-9a-f]{8}, 2023-11-14 22:13:20 UTC/,
    );
    assert.match(ending.output, /1: at 68, live, key hello, .* parent 0:29/);
    assert.match(ending.output, /2 entries, 1 live, 1 files/);
  });

  for (const mode of ['user', 'seq'] as const) {
    it(`index-rebuild makes a lost index anew (${mode})`, async () => {
      const keys: Uint8Array[] = [];
      await filled(
        async (zdb) => {
          for (let i = 0; i < 30; i++) {
            if (mode === 'seq') keys.push(await zdb.insert(`value ${i}`));
            else {
              keys.push(Buffer.from(`k${i}`));
              await zdb.set(`k${i}`, `value ${i}`);
            }
            if (i % 10 === 9) await zdb.rotate();
          }
          await zdb.set(keys[4]!, 'changed');
          await zdb.delete(keys[5]!);
        },
        ...['--mode', mode],
      );
      for (const name of readdirSync(`${scratch.index}/default`)) {
        if (/^i\d+$/.test(name)) rmSync(`${scratch.index}/default/${name}`);
      }
      const unknown = await tool('index-rebuild', ...roots(), '--namespace', 'default');
      assert.equal(unknown.code, 1);
      assert.match(unknown.errors, /give --mode user or --mode seq/);
      const ending = await tool('index-rebuild', ...roots(), '--namespace', 'default', '--mode', mode);
      assert.equal(ending.code, 0, ending.output + ending.errors);
      assert.match(ending.output, /29 live keys/);
      await filled(async (zdb) => {
        assert.equal(await zdb.size(), 29);
        for (const [i, key] of keys.entries()) {
          const value = await zdb.get(key);
          const text = value && Buffer.from(value).toString();
          assert.equal(text, i === 5 ? undefined : i === 4 ? 'changed' : `value ${i}`);
        }
      });
    });
  }

  it('index-rebuild goes back to a moment, into new directories', async () => {
    await filled(async (zdb) => {
      await zdb.set('a', 'first', 1000);
      await zdb.set('b', 'first', 1001);
      await zdb.set('a', 'second', 2000);
      await zdb.delete('b', 2001);
    });
    const into = `${scratch.path}/then`;
    const words = [...roots(), '--namespace', 'default', '--time', '1500', '--into', into];
    assert.equal((await tool('index-rebuild', ...words)).code, 0);
    const again = await tool('index-rebuild', ...words);
    assert.equal(again.code, 1);
    assert.match(again.errors, /is not empty/);
    rmSync(scratch.data, { recursive: true });
    rmSync(scratch.index, { recursive: true });
    cpSync(`${into}/data`, scratch.data, { recursive: true });
    cpSync(`${into}/index`, scratch.index, { recursive: true });
    await filled(async (zdb) => {
      assert.equal(Buffer.from((await zdb.get('a'))!).toString(), 'first');
      assert.equal(await zdb.keyTime('b'), 1001);
    });
  });

  it('dump and edit-namespace show and change settings, and keep what is not given', async () => {
    await filled(async (zdb) => {
      await zdb.createNamespace('ns');
      await zdb.configureNamespace('ns', { password: 'secret', maxsize: 1000 });
    });
    const edit = (...words: string[]) =>
      tool('edit-namespace', '--index', scratch.index, '--namespace', 'ns', ...words);
    assert.equal((await edit('--worm', 'yes', '--public', 'no')).code, 0);
    const shown = await tool('dump', scratch.index, 'ns', '--json', '--password');
    assert.deepEqual(JSON.parse(shown.output), {
      name: 'ns',
      password: 'secret',
      public: false,
      worm: true,
      maxsize: 1000,
    });
    assert.equal((await edit('--reset', '--maxsize', '5')).code, 0);
    const hidden = await tool('dump', scratch.index, 'ns', '--json');
    assert.deepEqual(JSON.parse(hidden.output), {
      name: 'ns',
      protected: false,
      public: true,
      worm: false,
      maxsize: 5,
    });
    for (const [words, message] of [
      [['--worm', 'maybe'], /--worm is yes or no/],
      [['--maxsize', '-1'], /whole number/],
      [['--colour', 'red'], /no option --colour/],
    ] as const) {
      const ending = await edit(...words);
      assert.equal(ending.code, 1);
      assert.match(ending.errors, message);
    }
    const nobody = await tool('dump', scratch.index, 'nobody');
    assert.equal(nobody.code, 1);
    assert.match(nobody.errors, /there is no namespace nobody/);
  });

  it('that change files refuse while a server runs', async () => {
    const server = await ZdbProcess.serve(scratch);
    running.push(server);
    for (const words of [
      ['edit-namespace', '--index', scratch.index, '--namespace', 'default', '--worm', 'no'],
      ['index-rebuild', ...roots(), '--namespace', 'default'],
      ['compact', ...roots()],
    ]) {
      const ending = await tool(...words);
      assert.equal(ending.code, 1, words[0]);
      assert.match(ending.errors, /in use|another/);
    }
  });

  it('compact gives dead files back', async () => {
    await filled(
      async (zdb) => {
        for (let i = 0; i < 300; i++) await zdb.set(`k${i % 50}`, Buffer.alloc(10_000, i % 250));
      },
      ...['--datasize', '524288'],
    );
    const before = readdirSync(`${scratch.data}/default`).length;
    const ending = await tool('compact', ...roots(), '--share', '60', '--json');
    assert.equal(ending.code, 0, ending.errors);
    assert.ok((JSON.parse(ending.output) as { freedBytes: number }[])[0]!.freedBytes > 1_000_000);
    assert.ok(readdirSync(`${scratch.data}/default`).length < before);
    await filled(async (zdb) => {
      for (let i = 0; i < 50; i++) assert.equal((await zdb.get(`k${i}`))![0], i);
    });
  });

  it('make nothing where a path is wrong, and no sequential namespace of one with other keys', async () => {
    await filled(async (zdb) => void (await zdb.set('a key', 'value')));
    const away = `${scratch.path}/away`;
    const lost = await tool('compact', '--data', away, '--index', `${away}2`);
    assert.equal(lost.code, 1);
    assert.match(lost.errors, /away is no directory/);
    assert.ok(!existsSync(away) && !existsSync(`${away}2`));
    const outside = await tool('dump', scratch.index, '../index');
    assert.equal(outside.code, 1);
    const data = readFileSync(`${scratch.data}/default/d0`);
    const rebuilt = await tool('index-rebuild', ...roots(), '--namespace', 'default', '--mode', 'seq');
    assert.equal(rebuilt.code, 1);
    assert.match(rebuilt.errors, /keys of 5 bytes/);
    assert.deepEqual(readFileSync(`${scratch.data}/default/d0`), data);
  });

  it('explain themselves', async () => {
    for (const name of [
      'check',
      'index-dump',
      'index-rebuild',
      'dump',
      'edit-namespace',
      'compact',
      'mirror',
    ]) {
      const help = await tool(name, '--help');
      assert.equal(help.code, 0);
      assert.match(help.output, new RegExp(`^zdb ${name}: .*\\n\\nUsage: zdb ${name} `));
    }
    assert.deepEqual(await tool('help', 'check'), await tool('check', '--help'));
    assert.deepEqual(await tool('help'), await tool('--help'));
  });
});

describe('zdb mirror', () => {
  it('copies a namespace with deletions and times, goes on from where it stopped, and follows', async () => {
    const source = new Scratch();
    const target = new Scratch();
    const servers = [await ZdbProcess.serve(source), await ZdbProcess.serve(target)];
    const [from, to] = await Promise.all(
      [source, target].map(({ socket }) =>
        ZdbClient.connect(realNetwork, realClock, { address: { path: socket } }),
      ),
    );
    let follower: ZdbProcess | undefined;
    try {
      const words = [
        ...['mirror', '--source', `unix:${source.socket}`, '--target', `unix:${target.socket}`],
        ...['--namespace', 'ns', '--state', `${source.path}/state`],
      ];
      await from!.createNamespace('ns');
      await from!.select('ns');
      for (let i = 0; i < 300; i++) await from!.set(`k${i}`, `value ${i}`, 1_700_000_000 + i);
      await from!.rotate();
      await from!.delete('k7', 1_700_001_000);
      await from!.set('k8', 'changed', 1_700_001_001);
      const first = await ZdbProcess.run(words).ended;
      assert.equal(first.code, 0, first.output + first.errors);
      assert.match(first.output, /302 entries copied/);
      await to!.select('ns');
      assert.equal(await to!.size(), 299);
      assert.equal(await to!.get('k7'), undefined);
      assert.equal(await to!.keyTime('k8'), 1_700_001_001);
      await from!.set('k9', 'more', 1_700_001_002);
      assert.match((await ZdbProcess.run(words).ended).output, /1 entries copied/);
      follower = ZdbProcess.run([...words, '--follow']);
      await from!.set('k10', 'followed', 1_700_001_003);
      while ((await to!.keyTime('k10')) !== 1_700_001_003)
        await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal((await follower.stop()).code, 0);
    } finally {
      from!.close();
      to!.close();
      follower?.child.kill('SIGKILL');
      for (const server of servers) await server.stop('SIGKILL');
      assert.ok(existsSync(`${source.path}/state`));
      source.dispose();
      target.dispose();
    }
  });
});
