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
