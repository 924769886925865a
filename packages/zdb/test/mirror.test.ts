// `zdb mirror` against what can go wrong between two servers: killed half way, a source that deletes, overwrites, compacts and starts
// anew while nobody looks, a target that is not empty.
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { realClock, realNetwork } from '@qsfs/io';
import { SimulatedRandom } from '@qsfs/io/simulated';
import { ZdbClient } from '@qsfs/resp';
import { Scratch, ZdbProcess } from './support/zdb-process.ts';

interface Side {
  readonly scratch: Scratch;
  readonly server: ZdbProcess;
  readonly client: ZdbClient;
}

/** Key, value and time of everything in the current namespace. */
async function content(client: ZdbClient): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (let page = await client.scan(); page; page = await client.scan(page.cursor)) {
    for (const { key, timestamp } of page.entries) {
      const value = Buffer.from((await client.get(key))!).toString();
      found.set(Buffer.from(key).toString('hex'), `${value}@${timestamp}`);
    }
  }
  return new Map([...found].sort());
}

/** Where the log of namespace `ns` ends. */
async function lastOf(client: ZdbClient): Promise<{ activeFile: number; offset: number }> {
  const info = (await client.namespaceInfo('ns'))!;
  return {
    activeFile: Number(info.get('data_current_id')),
    offset: Number(info.get('data_current_offset')),
  };
}

describe('zdb mirror', () => {
  const sides: Side[] = [];
  let source: Side;
  let target: Side;

  const start = async (): Promise<Side> => {
    const scratch = new Scratch();
    const server = await ZdbProcess.serve(scratch, ['--datasize', '512k']);
    const client = await ZdbClient.connect(realNetwork, realClock, { address: { path: scratch.socket } });
    const side = { scratch, server, client };
    sides.push(side);
    return side;
  };

  const words = (): string[] => [
    ...['mirror', '--source', `unix:${source.scratch.socket}`, '--target', `unix:${target.scratch.socket}`],
    ...['--namespace', 'ns', '--state', `${source.scratch.path}/state`],
  ];

  const mirror = async (): Promise<void> => {
    const ending = await ZdbProcess.run(words()).ended;
    assert.equal(ending.code, 0, ending.output + ending.errors);
    await target.client.select('ns');
    assert.deepEqual(await content(target.client), await content(source.client));
  };

  beforeEach(async () => {
    [source, target] = await Promise.all([start(), start()]);
    await source.client.createNamespace('ns');
    await source.client.select('ns');
  });

  afterEach(async () => {
    for (const { scratch, server, client } of sides.splice(0)) {
      client.close();
      await server.stop('SIGKILL');
      scratch.dispose();
    }
  });

  for (const mode of ['user', 'seq'] as const) {
    it(`follows deletions, overwrites and compaction that it did not see, ids included: ${mode}`, async () => {
      const random = new SimulatedRandom(5);
      const { client } = source;
      await client.configureNamespace('ns', { mode });
      const keys: Uint8Array[] = [];
      const change = async (count: number): Promise<void> => {
        for (let i = 0; i < count; i++) {
          const value = `${i} ${'v'.repeat(random.below(12000))}`;
          const at = random.below(keys.length + 1);
          const time = 1_700_000_000 + i;
          if (keys.length > 5 && random.below(3) === 0)
            await client.delete(keys.splice(at, 1)[0] ?? keys.pop()!, time);
          else if (keys.length > 5 && random.below(2) === 0)
            await client.set(keys[at] ?? keys[0]!, value, time);
          else if (mode === 'seq') keys.push(await client.insert(value, time));
          else {
            const key = Buffer.from(`key ${random.below(60)}`);
            await client.set(key, value, time);
            if (!keys.some((known) => Buffer.compare(known, key) === 0)) keys.push(key);
          }
        }
      };
      const compact = async () => void (await client.client.command(['COMPACT', '95']));
      await change(120);
      await compact();
      await change(100);
      await mirror(); // from the beginning, of a source whose first files are gone
      await change(100);
      await mirror();
      await change(100);
      await client.rotate();
      await compact();
      await compact();
      await change(20);
      await mirror(); // the place reached before is gone
    });

    it(`goes on after kill -9, and repeats nothing that would go back: ${mode}`, async () => {
      const { client } = source;
      await client.configureNamespace('ns', { mode });
      const named = (i: number) => Buffer.from(`k${i % 50}`);
      const ids: Uint8Array[] = [];
      for (let i = 0; i < 1200; i++) {
        if (mode === 'user') await client.set(named(i), `version ${i}`, 1000 + i);
        else if (i % 3 > 0 && ids.length > 0)
          await client.set(ids[i % ids.length]!, `version ${i}`, 1000 + i);
        else ids.push(await client.insert(`version ${i}`, 1000 + i));
        if (i % 7 === 0) await client.delete(mode === 'user' ? named(i) : ids.pop()!, 1000 + i);
      }
      // As a mirror leaves it that was killed before it had set the mode.
      await target.client.createNamespace('ns');
      for (const bytes of [10_000, 20_000]) {
        // Killed when the target has got so much more.
        const size = async () =>
          Number((await target.client.namespaceInfo('ns'))!.get('data_current_offset'));
        const enough = (await size()) + bytes;
        const tool = ZdbProcess.run(words());
        let ended = false;
        void tool.ended.then(() => (ended = true));
        while (!ended && (await size()) < enough);
        await tool.stop('SIGKILL');
      }
      await mirror();
      if (mode === 'user') return;
      const id = await client.insert('the next', 5000);
      await mirror();
      assert.deepEqual(Buffer.from((await target.client.get(id))!).toString(), 'the next');
    });
  }

  it('goes on when it was killed and the source has moved what was repeated', async () => {
    const { client } = source;
    await client.configureNamespace('ns', { mode: 'seq' });
    for (let i = 0; i < 10; i++) await client.insert(`kept ${i}`);
    await mirror();
    const reached = readFileSync(`${source.scratch.path}/state`, 'utf8');
    const id = await client.insert('first');
    await client.rotate();
    await client.set(id, 'second');
    const filling = [];
    for (let i = 0; i < 10; i++) filling.push(await client.insert('x'.repeat(1000)));
    await client.rotate();
    await mirror();
    // Killed before it noted how far it had come.
    writeFileSync(`${source.scratch.path}/state`, reached);
    for (const each of filling) await client.delete(each);
    await Promise.all(Array.from({ length: 1100 }, (_, i) => client.insert(`more ${i}`)));
    await client.client.command(['COMPACT', '50']);
    await client.insert('the last');
    await mirror();
  });

  for (const mode of ['user', 'seq'] as const) {
    it(`notices that the source was replaced by one that is longer: ${mode}`, async () => {
      const { client } = source;
      const fill = async (count: number, value: string): Promise<void> => {
        await client.configureNamespace('ns', { mode });
        for (let i = 0; i < count; i++) {
          if (mode === 'seq') await client.insert(`${value} ${i}`);
          else await client.set(`${value} ${i % 100}`, `${i}`);
        }
      };
      await fill(100, 'old');
      await mirror();
      await client.select('default');
      await client.removeNamespace('ns');
      await client.createNamespace('ns');
      await client.select('ns');
      await fill(200, 'new');
      if (mode === 'user') {
        await mirror();
        return;
      }
      const before = await content(target.client);
      const ending = await ZdbProcess.run(words()).ended;
      assert.equal(ending.code, 1);
      assert.match(ending.errors, /has started anew: d0 begins with another entry/);
      assert.deepEqual(await content(target.client), before);
      await target.client.select('default');
      await target.client.removeNamespace('ns');
      await mirror(); // into an empty one, with the state of before
    });
  }

  it('starts anew when the source was flushed, and removes what is gone', async () => {
    const { client } = source;
    await client.configureNamespace('ns', { password: 'secret', public: false });
    for (let i = 0; i < 20; i++) await client.set(`k${i}`, 'value');
    const run = async () => await ZdbProcess.run([...words(), '--password', 'secret']).ended;
    assert.equal((await run()).code, 0);
    await client.client.command(['FLUSH']);
    await client.set('k3', 'new');
    const again = await run();
    assert.match(again.output, /19 keys that the source does not have removed/);
    await target.client.select('ns', 'secret');
    assert.deepEqual(await content(target.client), await content(client));
  });

  it('refuses a sequential target with records of its own, and a state file that is none', async () => {
    for (const { client } of [source, target]) {
      await client.createNamespace('ns');
      await client.configureNamespace('ns', { mode: 'seq' });
      await client.select('ns');
      await client.insert('mine');
    }
    const foreign = await ZdbProcess.run(words()).ended;
    assert.equal(foreign.code, 1);
    assert.match(foreign.errors, /gives out other ids/);
    assert.equal(Buffer.from((await target.client.get(Buffer.alloc(8)))!).toString(), 'mine');
    for (const text of ['', 'null', '{"file":-1,"offset":28}', '{']) {
      writeFileSync(`${source.scratch.path}/state`, text);
      const broken = await ZdbProcess.run(words()).ended;
      assert.equal(broken.code, 1);
      assert.match(broken.errors, /is no state of a mirror/);
    }
  });

  for (const part of ['payload', 'header']) {
    it(`goes past a damaged ${part} of a user namespace: brings what it can, tells of what it cannot`, async () => {
      const { client } = source;
      const value = (i: number) => Buffer.alloc(9000, `${i} `);
      const time = 1_700_000_000;
      for (let i = 0; i < 100; i++) await client.set(`k${i}`, value(i), time + i);
      for (let i = 0; i < 100; i += 3) await client.delete(`k${i}`, time + 200);
      await client.set('k1', 'newer', time + 300);
      const damage = async (entry: number) => {
        const file = openSync(`${source.scratch.data}/ns/d0`, 'r+');
        // Each record has a header of 18 bytes and a key of two: k0 to k9.
        writeSync(
          file,
          Buffer.alloc(4, 0xff),
          0,
          4,
          28 + entry * (18 + 2 + 9000) + (part === 'header' ? 1 : 500),
        );
        closeSync(file);
      };
      await damage(1); // of no use any more
      await damage(5);
      const ending = await ZdbProcess.run(words()).ended;
      assert.equal(ending.code, 3, ending.output + ending.errors);
      assert.match(ending.errors, /ns: "k5" is damaged on the source/);
      assert.doesNotMatch(ending.errors, /"k1"/);
      await target.client.select('ns');
      assert.equal(await target.client.size(), (await client.size()) - 1);
      await client.set('k5', 'written anew', time + 400);
      await client.set('k7', 'later', time + 400);
      await mirror();
      // In the file that is written to, too.
      await client.set('k8', value(80), time + 500);
      const { activeFile, offset } = await lastOf(client);
      const file = openSync(`${source.scratch.data}/ns/d${activeFile}`, 'r+');
      writeSync(file, Buffer.alloc(4, 0xff), 0, 4, offset - 200);
      closeSync(file);
      const refused = await ZdbProcess.run(words()).ended;
      assert.equal(refused.code, 1, refused.output);
      assert.match(refused.errors, /NSJUMP/);
      await client.rotate();
      assert.equal((await ZdbProcess.run(words()).ended).code, 3);
      await client.set('k8', 'once more', time + 600);
      await mirror();
    });
  }

  it('says which side refuses, and what it wants', async () => {
    const scratch = new Scratch();
    const locked = await ZdbProcess.serve(scratch, ['--admin', 'secret']);
    try {
      const line = [
        ...['mirror', '--source', `unix:${source.scratch.socket}`, '--target', `unix:${scratch.socket}`],
        ...['--namespace', 'ns', '--state', `${source.scratch.path}/state`],
      ];
      const refused = await ZdbProcess.run(line).ended;
      assert.equal(refused.code, 1);
      assert.match(refused.errors, /the target answers "Permission denied": give --target-admin PASSWORD/);
      const taken = await ZdbProcess.run([...line, '--target-admin', 'secret']).ended;
      assert.equal(taken.code, 0, taken.errors);
    } finally {
      await locked.stop('SIGKILL');
      scratch.dispose();
    }
  });
});
