import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isZstorError } from '../src/errors.ts';
import { openRig, randomFile } from './support.ts';

test('what was stored comes back: whole, in part, and into a sparse file', async (t) => {
  const { zstor, folder } = await openRig(t);
  const { path, content } = randomFile(folder, 'source', 300_000);
  const record = await zstor.put('a name', { path, lengthBytes: content.length });
  assert.equal(record.sizeBytes, 300_000);
  assert.equal(record.stripeCount, 5);
  assert.equal(record.missingShards, 0);
  assert.equal(record.verification, 'present');

  const copy = join(folder, 'deep/er/copy');
  await zstor.retrieve('a name', copy);
  assert.ok(readFileSync(copy).equals(content));
  assert.deepEqual(readdirSync(join(folder, 'deep/er')), ['copy'], 'no temporary file is left');

  for (const [offset, length] of [
    [0, 10],
    [65_530, 20],
    [299_990, 100],
    [0, 300_000],
    [131_072, 65_536],
    [300_000, 5],
  ] as const) {
    const bytes = await zstor.read('a name', offset, length);
    assert.ok(content.subarray(offset, offset + length).equals(bytes), `${offset}+${length}`);
  }
  const sparse = join(folder, 'sparse');
  await zstor.fetch(record, { first: 3, count: 2 }, { path: sparse });
  const bytes = readFileSync(sparse);
  assert.ok(bytes.subarray(3 * 65_536).equals(content.subarray(3 * 65_536)));
  assert.ok(bytes.subarray(0, 3 * 65_536).every((byte) => byte === 0));
});

test('a part of a file is stored under its own name, and an empty one too', async (t) => {
  const { zstor, folder } = await openRig(t);
  const { path, content } = randomFile(folder, 'source', 200_000);
  await zstor.put('part', { path, offset: 1000, lengthBytes: 150_000 });
  assert.ok(content.subarray(1000, 151_000).equals(await zstor.getSmall('part')));
  const empty = await zstor.put('empty', { path, lengthBytes: 0 });
  assert.equal(empty.stripeCount, 0);
  assert.equal((await zstor.getSmall('empty')).length, 0);
  await zstor.retrieve('empty', join(folder, 'empty'));
  assert.equal(readFileSync(join(folder, 'empty')).length, 0);
  assert.equal((await zstor.check('empty')).verdict, 'complete');
});

test('names may be anything of 1 to 4096 bytes, and are told apart', async (t) => {
  const { zstor } = await openRig(t);
  const names = ['a', 'a/', '\0', ' ', 'ü', 'u\u0308', '/'.repeat(4096), 'line\nbreak', '../..', '🦆'];
  for (const [index, name] of names.entries()) await zstor.putSmall(name, Buffer.from([index]));
  for (const [index, name] of names.entries()) assert.deepEqual([...(await zstor.getSmall(name))], [index]);
  const listed: string[] = [];
  for await (const { name } of zstor.list()) listed.push(name);
  assert.deepEqual(listed.sort(), [...names].sort());
  for (const name of ['', '/'.repeat(4097), '\ud800']) {
    await assert.rejects(zstor.putSmall(name, new Uint8Array(1)), (error) =>
      isZstorError(error, 'QSFS_E_INVALID'),
    );
  }
});

test('a name that was never stored, and one that was deleted, are not found', async (t) => {
  const { zstor, folder } = await openRig(t);
  const missing = (error: unknown) =>
    isZstorError(error, 'QSFS_E_NOT_FOUND') && /entity not found/.test(error.message);
  assert.equal(await zstor.head('nothing'), undefined);
  await assert.rejects(zstor.getSmall('nothing'), missing);
  await assert.rejects(zstor.retrieve('nothing', join(folder, 'x')), missing);
  await assert.rejects(zstor.rebuild('nothing'), missing);
  await assert.rejects(zstor.check('nothing'), missing);
  assert.equal(await zstor.delete('nothing'), false);
  await zstor.putSmall('something', Buffer.from('x'));
  assert.equal(await zstor.delete('something'), true);
  assert.equal(await zstor.head('something'), undefined);
  assert.equal(await zstor.delete('something'), false);
});

test('replacing an object deletes the shards of the old one, deleting all of them', async (t) => {
  const { zstor, folder } = await openRig(t);
  const shards = () =>
    readdirSync(join(folder, 'data'), { recursive: true, withFileTypes: true }).filter(
      (entry) => entry.isFile() && entry.parentPath.includes('/shards/'),
    ).length;
  const { path, content } = randomFile(folder, 'source', 200_000);
  const first = await zstor.put('name', { path, lengthBytes: content.length });
  assert.equal(shards(), 4 * 8);
  writeFileSync(path, content.subarray(0, 100_000));
  const second = await zstor.put('name', { path, lengthBytes: 100_000 });
  assert.notDeepEqual(first.objectId, second.objectId);
  assert.ok(second.version > first.version);
  assert.equal(shards(), 2 * 8);
  await zstor.delete('name');
  assert.equal(shards(), 0);
  const records = readdirSync(join(folder, 'meta'), { recursive: true, withFileTypes: true }).filter((e) =>
    e.isFile(),
  );
  assert.equal(records.length, 4, 'only the markers are left');
});

test('the listing tells names by their beginning, with sizes', async (t) => {
  const { zstor } = await openRig(t);
  for (let index = 0; index < 40; index++)
    await zstor.putSmall(`${index % 2 ? 'odd' : 'even'}/${index}`, new Uint8Array(index));
  const found = new Map<string, number>();
  for await (const { name, sizeBytes } of zstor.list('odd/')) found.set(name, sizeBytes);
  assert.equal(found.size, 20);
  assert.equal(found.get('odd/7'), 7);
});

test('compressible data takes less room, zeros take almost none', async (t) => {
  const { zstor } = await openRig(t);
  const plain = await zstor.putSmall(
    'text',
    Buffer.from('all work and no play makes jack a dull boy. '.repeat(10_000)),
  );
  assert.ok(plain.storedBytes < plain.sizeBytes / 2);
  const zeros = await zstor.putSmall('zeros', new Uint8Array(1_000_000));
  assert.ok(zeros.storedBytes < 30_000, `${zeros.storedBytes} bytes`);
  assert.ok((await zstor.getSmall('zeros')).every((byte) => byte === 0));
});

test('a source that is missing or too short is an error that names it, and nothing is stored', async (t) => {
  const { zstor, folder } = await openRig(t);
  const { path } = randomFile(folder, 'short', 100_000);
  await assert.rejects(zstor.put('x', { path: join(folder, 'none'), lengthBytes: 10 }), (error) => {
    return isZstorError(error, 'QSFS_E_LOCAL') && error.message.includes(join(folder, 'none'));
  });
  await assert.rejects(zstor.put('x', { path, lengthBytes: 200_000 }), (error) =>
    isZstorError(error, 'QSFS_E_LOCAL'),
  );
  assert.equal(await zstor.head('x'), undefined);
  const left = readdirSync(join(folder, 'data'), { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && entry.parentPath.includes('/shards/'),
  );
  assert.equal(left.length, 0, 'shards written before the failure are removed');
});

test('another process sees what was stored, with nothing but the configuration', async (t) => {
  const { zstor, reopen } = await openRig(t);
  await zstor.putSmall('name', Buffer.from('content'));
  await zstor.close();
  const other = await reopen();
  assert.equal(Buffer.from(await other.getSmall('name')).toString(), 'content');
});

test('calls after close, and calls under way at close, end with an error', async (t) => {
  const { zstor, fault } = await openRig(t);
  for (const name of ['a0', 'a1', 'b0', 'b1', 'c0', 'c1']) fault(name).mode = 'freeze';
  const running = assert.rejects(zstor.putSmall('x', new Uint8Array(100)));
  await zstor.close();
  await running;
  await assert.rejects(zstor.getSmall('x'), (error) => isZstorError(error, 'QSFS_E_ABORTED'));
});
