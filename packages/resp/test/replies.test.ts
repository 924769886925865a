// The client side of the protocol: what the writer writes the decoder reads, however it is split; hostile replies are refused.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  encodeRequest,
  ProtocolError,
  type Reply,
  ReplyDecoder,
  ReplyWriter,
  RespError,
} from '../src/index.ts';

function decode(pieces: readonly Uint8Array[], limits = {}): Reply[] {
  const replies: Reply[] = [];
  const decoder = new ReplyDecoder({ reply: (reply) => void replies.push(reply) }, limits);
  for (const piece of pieces) {
    const borrowed = Buffer.from(piece);
    decoder.push(borrowed);
    borrowed.fill(0xee);
  }
  return replies;
}

function write(writer: ReplyWriter, reply: Reply): void {
  if (reply === null) writer.nil();
  else if (typeof reply === 'string') writer.simple(reply);
  else if (typeof reply === 'number') writer.integer(reply);
  else if (reply instanceof RespError) writer.error(reply.message);
  else if (reply instanceof Uint8Array) writer.bulk(reply);
  else {
    writer.array(reply.length);
    for (const element of reply) write(writer, element);
  }
}

/** Bytes compare by content, whatever class holds them. */
function plain(reply: Reply): unknown {
  if (reply instanceof RespError) return { error: reply.message };
  if (reply instanceof Uint8Array) return `bulk ${Buffer.from(reply).toString('latin1')}`;
  return Array.isArray(reply) ? reply.map(plain) : reply;
}

const line = fc.string({ unit: fc.constantFrom(...'abcXYZ 0189-_'), maxLength: 20 });
const leaf: fc.Arbitrary<Reply> = fc.oneof(
  line,
  line.map((text) => new RespError(text)),
  fc.maxSafeInteger(),
  fc.uint8Array({ maxLength: 60 }),
  fc.integer({ min: 15_000, max: 70_000 }).map((length) => new Uint8Array(length).fill(length & 255)),
  fc.constant(null),
);
const { reply } = fc.letrec<{ reply: Reply }>((tie) => ({
  reply: fc.oneof({ maxDepth: 3 }, leaf, fc.array(tie('reply'), { maxLength: 5 })),
}));

describe('replies', () => {
  it('are read as they were written, however they are split', () => {
    fc.assert(
      fc.property(
        fc.array(reply, { maxLength: 6 }),
        fc.array(fc.nat(), { maxLength: 10 }),
        (replies, places) => {
          const writer = new ReplyWriter();
          writer.begin();
          for (const one of replies) write(writer, one);
          const bytes = Buffer.concat(writer.finish());
          const sorted = [...places.map((place) => place % (bytes.length + 1)), bytes.length].sort(
            (a, b) => a - b,
          );
          let from = 0;
          const pieces = sorted.map((to) => bytes.subarray(from, (from = to)));
          assert.deepEqual(decode(pieces).map(plain), replies.map(plain));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('are taken back to the checkpoint, also when memory ran out in between', () => {
    const writer = new ReplyWriter();
    writer.begin();
    writer.simple('first');
    writer.checkpoint();
    for (let i = 0; i < 100; i++) writer.bulk(new Uint8Array(15_000));
    writer.rollback();
    writer.simple('second');
    assert.equal(Buffer.concat(writer.finish()).toString(), '+first\r\n+second\r\n');
  });

  it('are withdrawn to be sent later, leaving what was before them', () => {
    const writer = new ReplyWriter();
    writer.begin();
    writer.simple('first');
    writer.checkpoint();
    writer.bulk(new Uint8Array(20_000).fill(65));
    const held = Buffer.concat(writer.withdraw());
    assert.equal(Buffer.concat(writer.finish()).toString(), '+first\r\n');
    assert.equal(held.toString(), `$20000\r\n${'A'.repeat(20_000)}\r\n`);
  });

  it('fill the caller’s memory when it is long enough', () => {
    const into = new Uint8Array(new SharedArrayBuffer(10));
    const replies: Reply[] = [];
    const decoder = new ReplyDecoder({ reply: (one) => void replies.push(one), bulkTarget: () => into });
    decoder.push(Buffer.from('$5\r\nhel'));
    decoder.push(Buffer.from('lo\r\n$11\r\nhello world\r\n'));
    assert.equal((replies[0] as Uint8Array).buffer, into.buffer);
    assert.equal(Buffer.from(replies[0] as Uint8Array).toString(), 'hello');
    assert.equal(Buffer.from(replies[1] as Uint8Array).toString(), 'hello world');
  });

  const hostile: [string, string][] = [
    ['an unknown type', '!x\r\n'],
    ['a bulk that is too long', '$99999999999\r\n'],
    ['a negative length', '$-2\r\n'],
    ['an array that is too long', '*99999999\r\n'],
    ['a number that is none', ':12x\r\n'],
    ['a bulk without its end', '$1\r\nabc'],
    ['a line without CR', '+OK\n'],
    ['deep nesting', '*1\r\n'.repeat(40)],
    ['an endless line', `+${'x'.repeat(70_000)}`],
  ];
  for (const [what, bytes] of hostile) {
    it(`refuse ${what}`, () => {
      assert.throws(() => decode([Buffer.from(bytes, 'latin1')]), ProtocolError);
      assert.throws(
        () => decode([...Buffer.from(bytes, 'latin1')].map((byte) => Uint8Array.of(byte))),
        ProtocolError,
      );
    });
  }
});

describe('request encoder', () => {
  it('passes large parts on without copying them and says so', () => {
    const part = new Uint8Array(new SharedArrayBuffer(8192)).fill(66);
    const { chunks, sizeBytes, borrows } = encodeRequest(['SET', 'k', [new Uint8Array(64), part], 5]);
    assert.ok(chunks.includes(part));
    assert.equal(borrows, true);
    const bytes = Buffer.concat(chunks);
    assert.equal(bytes.length, sizeBytes);
    assert.ok(bytes.toString('latin1').startsWith('*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$8256\r\n'));
    assert.ok(bytes.toString('latin1').endsWith('\r\n$1\r\n5\r\n'));
  });

  it('counts bytes, not characters', () => {
    const { chunks } = encodeRequest(['GET', 'ä']);
    assert.equal(Buffer.concat(chunks).toString(), '*2\r\n$3\r\nGET\r\n$2\r\nä\r\n');
  });
});
