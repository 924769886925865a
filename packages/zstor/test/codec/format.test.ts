// The format itself: golden stripes are read for ever and written the same, and a decoder written from
// docs/formats/objects.md alone, sharing no code with the codec, reads what the codec wrote.
import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { CodecPool, deriveObjectKeys } from '../../src/codec/index.ts';
import { codedObject, noise, prose, stored } from './material.ts';

interface GoldenStripe {
  readonly what: string;
  readonly masterKey: string;
  readonly salt: string;
  readonly objectId: string;
  readonly generation: number;
  readonly stripe: number;
  readonly k: number;
  readonly n: number;
  readonly plain: string;
  readonly shards: readonly string[];
}

const golden = JSON.parse(
  readFileSync(new URL('./fixtures/stripes.json', import.meta.url), 'utf8'),
) as readonly GoldenStripe[];

const codec = new CodecPool({ threads: 0 });
after(() => codec.close());
const fromHex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

for (const { what, masterKey, salt, objectId, generation, stripe, k, n, plain, shards } of golden) {
  const object = {
    id: fromHex(objectId),
    generation,
    keys: deriveObjectKeys(fromHex(masterKey), fromHex(salt)),
    k,
    n,
  };
  const bytes = fromHex(plain);
  const candidates = shards.map((text, index) => ({ index, bytes: fromHex(text) }));

  test(`golden stripe, ${what}: read from the first k and from the last k shards`, async () => {
    for (const some of [candidates.slice(0, k), candidates.slice(n - k)]) {
      const decoded = await codec.decode(object, stripe, bytes.length, some, { bytes: true });
      assert.equal(toHex(decoded.bytes), plain);
      assert.deepEqual(decoded.bad, []);
      decoded.release();
    }
  });

  test(`golden stripe, ${what}: lost shards are rebuilt the same`, async () => {
    const lost = candidates.slice(0, n - k).map(({ index }) => index);
    const rebuilt = await codec.rebuild(object, stripe, bytes.length, candidates.slice(n - k), lost);
    assert.deepEqual(
      rebuilt.shards.map((shard) => toHex(shard.bytes)),
      shards.slice(0, n - k),
    );
    rebuilt.release();
  });

  // The frames of another version of zstd may differ; everything else may not.
  if (what !== 'zstd') {
    test(`golden stripe, ${what}: written the same`, async () => {
      const encoded = await codec.encode(object, stripe, bytes);
      assert.deepEqual(encoded.shards.map(toHex), shards);
      encoded.release();
    });
  }
}

test('there is a golden stripe of each kind', () => {
  assert.deepEqual(golden.map(({ what }) => what).sort(), ['empty', 'plain', 'zero', 'zstd']);
});

/** docs/formats/objects.md, "Stripes and shards", read backwards with the data shards only. */
function decodeByTheBook(
  masterKey: Uint8Array,
  salt: Uint8Array,
  shards: readonly Uint8Array[],
  k: number,
): Buffer {
  const key = (info: string): Uint8Array => new Uint8Array(hkdfSync('sha256', masterKey, salt, info, 32));
  const headers = shards.map((shard) => Buffer.from(shard.subarray(0, 64)));
  const first = headers[0]!;
  const nonce = (...words: number[]): Buffer => {
    const bytes = Buffer.alloc(12);
    for (const [i, word] of words.entries()) bytes.writeUInt32LE(word, 4 * i);
    return bytes;
  };
  const generation = first.readUInt32LE(24);
  const stripe = first.readUInt32LE(28);
  for (const [index, shard] of shards.entries()) {
    const header = headers[index]!;
    assert.equal(header.toString('latin1', 0, 4), 'QSHD');
    assert.equal(header[4], 2);
    assert.equal(header.readUInt16LE(6), index);
    assert.equal(header.readUInt16LE(32), k);
    assert.equal(header.readUInt16LE(34), shards.length);
    const mac = createCipheriv('aes-256-gcm', key('qsfs v2 shard'), nonce(generation, stripe, index));
    mac.setAAD(Buffer.concat([header.subarray(0, 48), shard.subarray(64)]));
    mac.final();
    assert.deepEqual(mac.getAuthTag(), header.subarray(48, 64));
  }
  const storedBytes = first.readUInt32LE(40);
  const body = 16 * Math.ceil(Math.ceil(storedBytes / k) / 16);
  for (const shard of shards) assert.equal(shard.length, 64 + body);
  const joined = Buffer.concat(shards.slice(0, k).map((shard) => shard.subarray(64)));
  assert.ok(
    joined.subarray(storedBytes).every((byte) => byte === 0),
    'the padding is not zero',
  );
  const additional = Buffer.from(first.subarray(0, 48));
  additional.writeUInt16LE(0, 6);
  const decipher = createDecipheriv('aes-256-gcm', key('qsfs v2 stripe'), nonce(generation, stripe, 0));
  decipher.setAAD(additional);
  decipher.setAuthTag(joined.subarray(storedBytes - 16, storedBytes));
  const contents = Buffer.concat([decipher.update(joined.subarray(0, storedBytes - 16)), decipher.final()]);
  const plainBytes = first.readUInt32LE(36);
  if (first[5] === 2) return Buffer.alloc(plainBytes);
  const plain = first[5] === 1 ? zstdDecompressSync(contents) : contents;
  assert.equal(plain.length, plainBytes);
  return plain;
}

test('a decoder written from the document alone reads what the codec writes', async () => {
  const secrets = noise(96, 3);
  const object = codedObject(3, 5, 3, 0xfedcba98);
  for (const plain of [
    noise(100_001),
    prose(100_001),
    new Uint8Array(100_001),
    noise(1),
    new Uint8Array(0),
  ]) {
    const encoded = await codec.encode(object, 0xffffffff, plain);
    const shards = stored(encoded).map(({ bytes }) => bytes);
    encoded.release();
    const decoded = decodeByTheBook(secrets.subarray(0, 32), secrets.subarray(32, 64), shards, 3);
    assert.equal(Buffer.compare(decoded, plain), 0);
  }
});
