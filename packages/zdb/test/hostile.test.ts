// Hostile input: a corpus of requests that broke the reference or might break us, mutated at random. Whatever comes in, the answer is
// well-formed, the connection lives or is closed with an error, everybody else is served, and no byte of the process leaks.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { SimulatedRandom } from '@qsfs/io/simulated';
import { LocalServer } from './support/local-server.ts';

const corpus = (
  JSON.parse(readFileSync(new URL('fixtures/hostile/corpus.json', import.meta.url), 'utf8')) as string[]
).map((text) => Buffer.from(text, 'latin1'));

const INPUTS = 3000;
/** Another seed, to search or to repeat: ZDB_FUZZ_SEED=… */
const SEED = Number(process.env['ZDB_FUZZ_SEED'] ?? 1);
const TOKENS = [
  '*',
  '$',
  '\r\n',
  '-1',
  '0',
  '1',
  '2',
  '8',
  '17',
  '255',
  '256',
  '1024',
  '4294967296',
  '\0',
  'x',
  'SET',
  'NSNEW',
  'SELECT',
  'k',
  'n',
];

/** A few changes to something of the corpus: bytes flipped, cut out, doubled, replaced by a token; pieces joined. */
function mutate(random: SimulatedRandom): Buffer {
  let bytes: Buffer = corpus[random.below(corpus.length)]!;
  for (let i = random.below(5); i > 0; i--) {
    const at = random.below(bytes.length + 1);
    const to = Math.min(bytes.length, at + random.below(6));
    const token = Buffer.from(TOKENS[random.below(TOKENS.length)]!, 'latin1');
    switch (random.below(5)) {
      case 0:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)]);
        break;
      case 1:
        bytes = Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]);
        break;
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, at), token, bytes.subarray(to)]);
        break;
      case 3:
        bytes = Buffer.concat([bytes, corpus[random.below(corpus.length)]!]);
        break;
      default:
        if (at < bytes.length) {
          bytes = Buffer.from(bytes);
          bytes[at] = random.below(256);
        }
    }
  }
  return bytes;
}

/** Position behind the reply at `at`, of either version of the protocol; throws when it is none, or not whole. */
function passReply(bytes: Buffer, at: number): number {
  const end = bytes.indexOf('\r\n', at);
  assert.ok(end > at, 'half a reply');
  const line = bytes.toString('latin1', at, end);
  const next = end + 2;
  if (/^[+-]/.test(line) || /^:-?\d+$/.test(line) || line === '_' || line === '$-1') return next;
  const [, type, digits] = /^([$*%])(\d+)$/.exec(line) ?? assert.fail(`no reply begins with ${line}`);
  const length = Number(digits);
  if (type === '$') {
    assert.equal(bytes.toString('latin1', next + length, next + length + 2), '\r\n', 'half a value');
    return next + length + 2;
  }
  let position = next;
  for (let i = type === '%' ? 2 * length : length; i > 0; i--) position = passReply(bytes, position);
  return position;
}

/** Throws unless the bytes are whole, well-formed replies. */
function assertReplies(bytes: Buffer, about: string): void {
  try {
    for (let at = 0; at < bytes.length; ) at = passReply(bytes, at);
  } catch (error) {
    assert.fail(`${about}: ${(error as Error).message}: ${JSON.stringify(bytes.toString('latin1'))}`);
  }
}

/** Replies without what differs from run to run: counters, the time, and the lengths of replies that have them. */
function withoutClock(replies: string): string {
  return replies
    .replace(/(_bytes|_mb|_offset|executed|instance_id|uptime|boot_time): .*|^\+[0-9a-f]{16}\r$/gm, '')
    .replace(/^\*2\r\n\$10\r\n\d{10}\r\n\$\d\r\n\d{1,6}\r$/gm, '')
    .replace(/^\$\d+\r\n(?=# )/gm, '');
}

describe('hostile input', () => {
  it(`is answered with well-formed replies and hurts nobody (seed ${SEED})`, async () => {
    const random = new SimulatedRandom(SEED);
    const local = await LocalServer.start();
    const witness = await local.connect();
    await local.request(witness, 'NSNEW', 'witness');
    await local.request(witness, 'SELECT', 'witness');
    assert.equal(await local.request(witness, 'SET', 'kept', 'safe'), '$4\r\nkept\r\n');
    for (let i = 0; i < INPUTS; i++) {
      const input = mutate(random);
      const about = `seed ${SEED}, input ${i}, ${JSON.stringify(input.toString('latin1'))}`;
      const connection = await local.connect();
      connection.send(input);
      await local.settle();
      assertReplies(connection.take(), about);
      connection.close();
      if (i % 20 === 0 && local.server.slot('witness') !== undefined) {
        assert.equal(await local.request(witness, 'GET', 'kept'), '$4\r\nsafe\r\n', about);
      }
    }
    // What was asked of it may be wrong, but never surprised it.
    assert.deepEqual(
      local.lines.filter((line) => /TypeError|RangeError|Error: |at .*\.ts:/.test(line)),
      [],
    );
    await local.close();
  });

  it('of the corpus itself gets the same answer however it is split', async () => {
    for (const [i, input] of corpus.entries()) {
      const answers: string[] = [];
      for (const size of [input.length, 1, 7]) {
        const local = await LocalServer.start();
        const connection = await local.connect();
        for (let at = 0; at < input.length && !connection.closed; at += size) {
          connection.send(input.subarray(at, at + size));
          await local.settle();
        }
        answers.push(withoutClock(connection.take().toString('latin1')));
        connection.close();
        await local.close();
      }
      assert.equal(answers[1], answers[0], `corpus ${i}, byte by byte`);
      assert.equal(answers[2], answers[0], `corpus ${i}, seven bytes at a time`);
    }
  });
});
