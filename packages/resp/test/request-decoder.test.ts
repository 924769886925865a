// The server side of the protocol: any split of the bytes decodes to the same requests, hostile bytes are refused.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { LargeBuffers, laxNumber, ProtocolError, RequestDecoder } from '../src/index.ts';

/** Everything decoded from pieces, with the error text at the end if there was one. */
function decode(pieces: readonly Uint8Array[]): { requests: string[][]; error: string | undefined | null } {
  const decoder = new RequestDecoder(new LargeBuffers());
  const requests: string[][] = [];
  const positions = new Int32Array(8);
  const drain = () => {
    const count = decoder.lookAhead(positions);
    const ahead = Array.from({ length: count }, (_, i) => {
      const start = positions[2 * i]!;
      return Buffer.from(decoder.input.slice(start, start + positions[2 * i + 1]!)).toString('latin1');
    });
    while (decoder.next()) {
      const words: string[] = [];
      for (let i = 0; i < decoder.count; i++) {
        const bytes = decoder.argument(i);
        assert.equal(bytes.length, decoder.lengthOf(i));
        assert.deepEqual(Buffer.from(decoder.shortArgument(i)), Buffer.from(bytes));
        if (bytes.length > 0) assert.equal(decoder.byteOf(i, bytes.length - 1), bytes[bytes.length - 1]);
        words.push(Buffer.from(bytes).toString('latin1'));
      }
      requests.push(words);
      if (ahead.length > 0) assert.equal(words[1], ahead.shift(), 'what was looked at before is decoded');
      decoder.takeLent();
    }
  };
  try {
    for (const piece of pieces) {
      // As a socket loop does it: straight into the decoder's memory where it asks for that.
      let rest = piece;
      for (let space = decoder.space(); space !== undefined && rest.length > 0; space = decoder.space()) {
        const taken = Math.min(space.length, rest.length);
        space.set(rest.subarray(0, taken));
        rest = rest.subarray(taken);
        decoder.received(taken);
        drain();
      }
      // The pushed memory is used again afterwards: what is still needed of it must have been copied.
      const borrowed = Buffer.from(rest);
      decoder.push(borrowed, 0, borrowed.length);
      drain();
      decoder.hold();
      borrowed.fill(0xee);
    }
  } catch (error) {
    assert.ok(error instanceof ProtocolError);
    return { requests, error: error.text };
  }
  return { requests, error: null };
}

function encode(words: readonly Uint8Array[]): Buffer {
  return Buffer.concat([
    Buffer.from(`*${words.length}\r\n`),
    ...words.flatMap((word) => [Buffer.from(`$${word.length}\r\n`), word, Buffer.from('\r\n')]),
  ]);
}

function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const sorted = [...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  let from = 0;
  return sorted.map((to) => bytes.subarray(from, (from = to)));
}

const word = fc.oneof(
  { weight: 8, arbitrary: fc.uint8Array({ maxLength: 40 }) },
  // Above the size from which an argument is received into its own memory.
  {
    weight: 1,
    arbitrary: fc.integer({ min: 16_000, max: 70_000 }).map((n) => new Uint8Array(n).fill(n & 255)),
  },
);
const pipeline = fc.array(fc.array(word, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 8 });

describe('request decoder', () => {
  it('decodes the same requests however the bytes are split', () => {
    fc.assert(
      fc.property(pipeline, fc.array(fc.nat(), { maxLength: 12 }), (requests, places) => {
        const bytes = Buffer.concat(requests.map(encode));
        const wanted = requests.map((words) => words.map((one) => Buffer.from(one).toString('latin1')));
        assert.deepEqual(decode(cut(bytes, places)), { requests: wanted, error: null });
      }),
      { numRuns: 300 },
    );
  });

  it('decodes byte by byte', () => {
    const bytes = Buffer.concat([
      encode([Buffer.from('SET'), Buffer.from('k\r\n'), Buffer.alloc(0)]),
      encode([Buffer.from('PING')]),
    ]);
    const pieces = [...bytes].map((byte) => Uint8Array.of(byte));
    assert.deepEqual(decode(pieces), { requests: [['SET', 'k\r\n', ''], ['PING']], error: null });
  });

  it('answers the same to garbage however it is split, and never more than an error', () => {
    const token = fc.constantFrom(
      '*',
      '$',
      '\r\n',
      '\n',
      '1',
      '2',
      '-1',
      '0',
      '9999999999',
      'PING',
      ' ',
      '\0',
      '+',
      ':',
      'x',
    );
    fc.assert(
      fc.property(
        fc.array(token, { maxLength: 30 }),
        fc.array(fc.nat(), { maxLength: 6 }),
        (tokens, places) => {
          const bytes = Buffer.from(tokens.join(''), 'latin1');
          assert.deepEqual(decode(cut(bytes, places)), decode([bytes]));
        },
      ),
      { numRuns: 2000 },
    );
  });

  const refused: [string, string, string | undefined][] = [
    ['a request that is no array', 'PING\r\n', 'Malformed request, array expected'],
    ['a blank line', '\r\n', 'Malformed request, array expected'],
    ['no arguments', '*0\r\n', 'Missing arguments'],
    ['an array without a number', '*\r\n', 'Missing arguments'],
    ['an array of a word', '*abc\r\n', 'Missing arguments'],
    ['a negative array', '*-1\r\n', 'Internal memory error'],
    ['1025 arguments', '*1025\r\n', 'Too many arguments'],
    ['a nested array', '*1\r\n*1\r\n', 'Malformed query string'],
    ['an integer argument', '*1\r\n:4\r\n', 'Malformed query string'],
    ['an argument of 8 MiB and a byte', '*1\r\n$8388609\r\n', 'Payload too big'],
    ['nil as argument (D1)', '*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$-1\r\n', 'Internal memory error'],
    ['length -2 (D1)', '*1\r\n$-2\r\n', 'Internal memory error'],
    ['length -3', '*1\r\n$-3\r\n', 'Internal memory error'],
    ['an endless header line', `*1\r\n$${'1'.repeat(9000)}`, undefined],
  ];
  for (const [what, bytes, text] of refused) {
    it(`refuses ${what}`, () => {
      assert.deepEqual(decode([Buffer.from(bytes)]), { requests: [], error: text });
    });
  }

  it('refuses a request whose arguments together are longer than any command needs', () => {
    const header = Buffer.from('*3\r\n$1\r\nx\r\n$8388608\r\n');
    const pieces = [header, Buffer.alloc(8_388_608, 1), Buffer.from('\r\n$8388608\r\n')];
    assert.equal(decode(pieces).error, 'Payload too big');
  });

  const lax: [string, string, string[]][] = [
    ['lines that end with LF alone', '*1\n$4\nPING\r\n', ['PING']],
    ['any two bytes behind a payload', '*1\r\n$4\r\nPINGxx', ['PING']],
    ['blanks before numbers', '* 1\r\n$ 4\r\nPING\r\n', ['PING']],
    ['junk behind numbers', '*1x\r\n$4y\r\nPING\r\n', ['PING']],
    ['a length that is no number as 0', '*1\r\n$abc\r\n\r\n', ['']],
  ];
  for (const [what, bytes, words] of lax) {
    it(`accepts ${what}, like the reference`, () => {
      assert.deepEqual(decode([Buffer.from(bytes)]), { requests: [words], error: null });
    });
  }

  it('receives an 8 MiB value straight into its final memory and gives the memory back', () => {
    const pool = new LargeBuffers();
    const decoder = new RequestDecoder(pool);
    const value = Buffer.alloc(8_388_608, 7);
    const head = Buffer.from('*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388608\r\n');
    decoder.push(head);
    assert.equal(decoder.next(), false);
    for (let at = 0; ; ) {
      const space = decoder.space();
      if (space === undefined) break;
      const taken = Math.min(100_000, space.length, value.length - at);
      if (taken === 0) break;
      value.copy(space, 0, at, at + taken);
      at += taken;
      decoder.received(taken);
      assert.equal(decoder.next(), false);
    }
    decoder.push(Buffer.from('\r\n'));
    assert.equal(decoder.next(), true);
    assert.equal(Buffer.compare(decoder.argument(2), value), 0);
    const lent = decoder.takeLent();
    assert.equal(lent?.length, 1);
    for (const buffer of lent ?? []) pool.give(buffer);
    assert.ok(pool.keptBytes >= 8_388_608);
  });

  it('refuses large arguments when all connections together receive too much, and takes them again later', () => {
    const pool = new LargeBuffers(0, 300_000);
    const head = Buffer.from('*1\r\n$100000\r\nx');
    const [one, two, three] = [1, 2, 3].map(() => new RequestDecoder(pool));
    for (const decoder of [one!, two!]) {
      decoder.push(head);
      assert.equal(decoder.next(), false);
    }
    three!.push(head);
    assert.throws(() => three!.next(), /Too much data is being received/);
    three!.dispose();
    one!.dispose();
    const four = new RequestDecoder(pool);
    four.push(head);
    assert.equal(four.next(), false);
    two!.dispose();
    four.dispose();
    assert.equal(pool.takenBytes, 0);
  });

  it('keeps a parked request and what was received behind it', () => {
    const decoder = new RequestDecoder();
    const bytes = Buffer.concat([
      encode([Buffer.from('GET'), Buffer.from('key')]),
      encode([Buffer.from('PING')]),
    ]);
    decoder.push(bytes);
    assert.equal(decoder.next(), true);
    decoder.detach();
    decoder.hold();
    bytes.fill(0);
    decoder.push(encode([Buffer.from('TIME')]));
    assert.equal(Buffer.from(decoder.argument(1)).toString(), 'key');
    assert.equal(decoder.next(), true);
    assert.equal(Buffer.from(decoder.argument(0)).toString(), 'PING');
    assert.equal(decoder.next(), true);
    assert.equal(Buffer.from(decoder.argument(0)).toString(), 'TIME');
    assert.equal(decoder.next(), false);
  });
});

describe('lax numbers', () => {
  const cases: [string, number][] = [
    ['', 0],
    ['12', 12],
    [' \t12', 12],
    ['+7x', 7],
    ['-5', -5],
    ['x1', 0],
    ['4294967295', -1],
    ['4294967297', 1],
    ['- 5', 0],
    ['9223372036854775809', -1],
    ['99999999999999999999', -1],
    ['-99999999999999999999', 0],
    [`${'0'.repeat(30)}7`, 7],
  ];
  for (const [text, value] of cases) {
    it(`reads "${text}" as ${value}`, () => {
      const bytes = Buffer.from(text);
      assert.equal(laxNumber(bytes, 0, bytes.length), value);
    });
  }
});
