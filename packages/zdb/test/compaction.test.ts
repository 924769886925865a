// COMPACT while serving: gives back what is dead, ends whatever is alive, and is not stopped by damage.
import assert from 'node:assert/strict';
import { closeSync, openSync, writeSync } from 'node:fs';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { realClock, realNetwork } from '@qsfs/io';
import { ZdbClient } from '@qsfs/resp';
import { Scratch, ZdbProcess } from './support/zdb-process.ts';

describe('COMPACT', () => {
  let scratch: Scratch;
  let server: ZdbProcess;
  const open: ZdbClient[] = [];

  const client = async () => {
    const one = await ZdbClient.connect(realNetwork, realClock, { address: { path: scratch.socket } });
    open.push(one);
    return one;
  };
  const compact = async (one: ZdbClient, percent: number) =>
    (await one.client.command(['COMPACT', `${percent}`])) as number[];

  beforeEach(async () => {
    scratch = new Scratch();
    server = await ZdbProcess.serve(scratch, ['--datasize', '524288']);
  });

  afterEach(async () => {
    for (const one of open.splice(0)) one.close();
    await server.stop('SIGKILL');
    scratch.dispose();
  });

  it('gives the space of dead files back while others are served', async () => {
    const [admin, other] = await Promise.all([client(), client()]);
    const value = (i: number) => Buffer.alloc(10_000, i % 251);
    for (let i = 0; i < 400; i++) await admin.set(`k${i % 100}`, value(i));
    const compacting = compact(admin, 60);
    assert.equal(Buffer.compare((await other.get('k7'))!, value(307)), 0);
    const [files, , freed] = await compacting;
    assert.ok(files! >= 4 && freed! > 2_000_000, `${files} files, ${freed} bytes`);
    for (let i = 0; i < 100; i++)
      assert.equal(Buffer.compare((await other.get(`k${i}`))!, value(300 + i)), 0);
    assert.deepEqual(await compact(admin, 0), [0, 0, 0]);
    for (const junk of ['101', '-1', 'x', '', 'nan', '5%', '0x10'])
      await assert.rejects(admin.client.command(['COMPACT', junk]), /Invalid argument/, junk);
  });

  it('ends, and leaves alone what has nothing dead in it, whatever share is asked for', {
    timeout: 60_000,
  }, async () => {
    const one = await client();
    await one.set('first', 'alive as long as the deletions of others have to be kept');
    for (let i = 0; i < 25_000; i += 1000) {
      const keys = Array.from({ length: 1000 }, (_, at) => `k${i + at}`);
      await Promise.all([...keys.map((key) => one.set(key, 'v')), ...keys.map((key) => one.delete(key))]);
    }
    for (let i = 0; i < 150; i++) await one.set(`big${i}`, Buffer.alloc(10_000, i));
    const [files] = await compact(one, 100);
    assert.ok(files! >= 3, `${files} files`);
    assert.equal(await one.size(), 151);
    // The files that it wrote, with records and with deletions, are full of what is of use.
    for (const percent of [50, 100]) assert.ok((await compact(one, percent))[0]! <= 1, `${percent}`);
    assert.deepEqual(await compact(one, 100), [0, 0, 0]);
  });

  it('goes on behind a file that has to stay because a record in it is damaged', {
    timeout: 60_000,
  }, async () => {
    const one = await client();
    const value = (i: number) => Buffer.alloc(10_000, i);
    for (let i = 0; i < 250; i++) await one.set(`k${i}`, value(i));
    // The first file is the emptiest, and what is alive in it is damaged.
    for (let i = 0; i < 150; i++) if (i % 3 !== 0 || (i < 51 && i > 0)) await one.delete(`k${i}`);
    const file = openSync(`${scratch.data}/default/d0`, 'r+');
    writeSync(file, Buffer.from('?'), 0, 1, 5000);
    closeSync(file);
    const [files] = await compact(one, 60);
    assert.equal(files, 2);
    for (let i = 51; i < 150; i += 3) assert.equal(Buffer.compare((await one.get(`k${i}`))!, value(i)), 0);
    await assert.rejects(one.get('k0'), /Internal Error/);
  });

  it('writes the deletions of a file that stays not again each time', async () => {
    const one = await client();
    await one.set('big', 'v'.repeat(100_000));
    for (let i = 0; i < 50; i++) await one.set(`k${i}`, 'v');
    await one.rotate();
    await one.set('damaged', 'v'.repeat(1000));
    for (let i = 1; i < 50; i++) await one.delete(`k${i}`);
    for (const value of ['dead', 'alive']) await one.set('k0', value);
    await one.rotate();
    const file = openSync(`${scratch.data}/default/d1`, 'r+');
    writeSync(file, Buffer.from('?'), 0, 1, 500);
    closeSync(file);
    const end = async () => (await one.namespaceInfo('default'))!.get('data_current_offset');
    // The older file stays, too: nearly all of it is alive.
    assert.deepEqual(await compact(one, 60), [0, 1, 0]);
    const before = await end();
    assert.deepEqual(await compact(one, 60), [0, 0, 0]);
    assert.equal(await end(), before);
  });
});
