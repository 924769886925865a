// Replies that the recorded transcripts do not have: found by asking the reference and this server the same 270,000 things.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LocalServer } from './support/local-server.ts';

describe('replies', () => {
  it('take NUL in the words SECURE and CHALLENGE for a byte that does not fit', async () => {
    const local = await LocalServer.start();
    const client = await local.connect();
    const refused = '-Only SECURE extra method supported\r\n';
    for (const word of ['\0', '\0SECURE', 'SE\0', 'SECURE\0'])
      assert.equal(await local.request(client, 'AUTH', word, 'CHALLENGE'), refused);
    assert.match(await local.request(client, 'AUTH', 'se', 'chall'), /^\+[0-9a-f]{16}\r\n$/);
    assert.equal(await local.request(client, 'AUTH', 'se', '\0'), '-Authentication disabled\r\n');
    await local.request(client, 'NSNEW', 'ns');
    await local.request(client, 'NSSET', 'ns', 'password', 'p');
    assert.equal(await local.request(client, 'SELECT', 'ns', '\0', 'x'), refused);
    await local.close();
  });

  it('take a command word with NUL in it for a whole name up to there', async () => {
    const local = await LocalServer.start();
    const client = await local.connect();
    for (const word of ['ping\0', 'Ping\0garbage'])
      assert.equal(await local.request(client, word), '+PONG\r\n');
    for (const word of ['\0', 'p\0', 'pin\0g'])
      assert.equal(await local.request(client, word), '-Command not supported\r\n');
    await local.close();
  });

  it('give no prefix of a word of the reference’s another meaning: commands of our own count only when written out', async () => {
    const local = await LocalServer.start();
    const client = await local.connect();
    for (const word of ['HE', 'HELL', 'CL', 'CLIEN', 'Q', 'QUI', 'CO', 'COMPAC'])
      assert.equal(await local.request(client, word), '-Command not supported\r\n', word);
    assert.equal(await local.request(client, 'compact'), '*3\r\n:0\r\n:0\r\n:0\r\n');
    await local.close();
  });

  it('give runs of entries where a reference knows no such word, and refuse what DATA RAW refuses', async () => {
    const local = await LocalServer.start();
    const client = await local.connect();
    const ask = (...words: string[]): Promise<string> => local.request(client, 'DATA', ...words);
    assert.equal(await ask('ENTRIES', '0'), '-Missing arguments\r\n');
    assert.equal(await ask('ENTRIES', '0', '28'), '-EOF\r\n');
    assert.equal(await ask('ENTRIES', '7', '28'), '-Invalid Request\r\n');
    assert.equal(await ask('ENTRIE', '0', '28'), '-Unknown DATA subcommand\r\n');
    for (const [file, reply] of [
      ['0', 'Unexpected Internal Error'],
      ['7', 'Invalid Request'],
      ['-1', 'Invalid Request'],
    ] as const)
      for (const word of ['RAW', 'ENTRIES']) assert.equal(await ask(word, file, '-1'), `-${reply}\r\n`);
    const offsets = [28];
    for (const [word, key, value] of [
      ['SET', 'a', '1'],
      ['SET', 'b', ''],
      ['DEL', 'a'],
      ['SET', 'c', 'v'.repeat(200_000)],
      ['SET', 'd', 'v'.repeat(200_000)],
      ['SET', 'e', '5'],
    ] as const) {
      await local.request(client, word, key, ...(value === undefined ? [] : [value]));
      offsets.push(offsets.at(-1)! + 18 + 1 + (value?.length ?? 0));
    }
    const single: string[] = [];
    for (const offset of offsets) single.push(await ask('RAW', '0', String(offset)));
    // Of 256 KiB the last one may be longer.
    for (const [from, to] of [
      [0, 5],
      [3, 5],
      [4, 6],
      [5, 6],
    ] as const)
      assert.ok(
        (await ask('entries', '0', String(offsets[from]))) ===
          `*${to - from}\r\n${single.slice(from, to).join('')}`,
        `from ${from} to ${to}`,
      );
    assert.equal(await ask('ENTRIES', '0', String(offsets[2]! + 1)), '-Unexpected Internal Error\r\n');
    for (let i = 0; i < 300; i++) await local.request(client, 'SET', 'f', String(i));
    assert.match(await ask('ENTRIES', '0', String(offsets[5])), /^\*256\r\n/);
    await local.close();
  });

  it('print sizes as C does: halves to the even neighbour', async () => {
    const local = await LocalServer.start();
    const client = await local.connect();
    // 16 keys of 8 bytes: 16 × (64 + 8) = 1152 = 1.125 KiB.
    for (let i = 0; i < 16; i++) await local.request(client, 'SET', Buffer.alloc(8, 65 + i), 'v');
    assert.match(
      await local.request(client, 'NSINFO', 'default'),
      /\nindex_size_bytes: 1152\nindex_size_kb: 1.12\n/,
    );
    await local.close();
  });

  it('read a limit as a 64-bit number with a sign', async () => {
    const local = await LocalServer.start();
    const client = await local.connect();
    await local.request(client, 'NSNEW', 'ns');
    for (const [given, limit] of [
      ['junk', '0'],
      [' 80', '80'],
      ['+5x', '5'],
      ['100k', '100'],
      ['-1', '18446744073709551615'],
      ['18446744073709551615', '9223372036854775808'], // 2^63 - 1 in the reference: numbers have 53 bits
    ]) {
      assert.equal(await local.request(client, 'NSSET', 'ns', 'maxsize', given!), '+OK\r\n');
      const text = await local.request(client, 'NSINFO', 'ns');
      assert.ok(text.includes(`\ndata_limits_bytes: ${limit}\n`), `${given}: ${text}`);
    }
    await local.close();
  });

  it('tell the room below the largest limit to the byte', async () => {
    const local = await LocalServer.start();
    const client = await local.connect();
    await local.request(client, 'NSNEW', 'ns');
    await local.request(client, 'NSSET', 'ns', 'maxsize', '-1');
    await local.request(client, 'SELECT', 'ns');
    await local.request(client, 'SET', 'k', 'four');
    assert.match(await local.request(client, 'NSINFO', 'ns'), /\nspace_available: 18446744073709551611\n/);
    await local.close();
  });

  it('count keys, not versions, in next_internal_id of a user namespace', async () => {
    const local = await LocalServer.start();
    const client = await local.connect();
    for (const [key, value] of ['a1', 'a2', 'b1', 'a3']) await local.request(client, 'SET', key!, value!);
    assert.match(await local.request(client, 'NSINFO', 'default'), /\nnext_internal_id: 0x200000000000000\n/);
    // Loading reads four index entries.
    assert.equal(await local.request(client, 'RELOAD', 'default'), '+OK\r\n');
    assert.match(await local.request(client, 'NSINFO', 'default'), /\nnext_internal_id: 0x400000000000000\n/);
    await local.close();
  });
});
