// All recorded transcripts of the reference server (fixtures/wire.jsonl) replayed against ours, with both socket loops. Lines that record
// a defect are listed with the defect's number and with what ours does instead.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { RawConnection } from './support/raw-connection.ts';
import { Scratch, ZdbProcess } from './support/zdb-process.ts';

interface Line {
  readonly number: number;
  readonly session: string;
  readonly flags: readonly string[];
  readonly build: string;
  readonly conn: string;
  readonly reopen?: boolean;
  readonly case: string;
  readonly send_hex: string;
  readonly expect_hex: string;
  readonly replies: number;
  readonly closed?: boolean;
  readonly match: 'exact' | 'prefix';
}

/** What ours does instead of a recorded defect. */
interface Deviation {
  readonly defect: string;
  readonly expect: string;
  readonly closed?: boolean;
}

const lines: Line[] = readFileSync(new URL('fixtures/wire.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((text, i) => ({ number: i + 1, ...(JSON.parse(text) as Omit<Line, 'number'>) }));

/** The recorded reply to another line, to build ours from. */
const recorded = (number: number) => Buffer.from(lines[number - 1]!.expect_hex, 'hex').toString('latin1');

/** The reverse of a recorded SCAN, as RSCAN must answer; its cursor is that of the oldest entry. */
function reversed(scan: number, cursor: number): string {
  const text = recorded(scan);
  const start = '*2\r\n$17\r\n'.length;
  const body = start + 17 + 2;
  const [count, ...entries] = text.slice(body).split(/(?<=\r\n)(?=\*3\r\n)/);
  const oldest = recorded(cursor).slice(0, body);
  return `${oldest}${count}${entries.reverse().join('')}`;
}

const stuck = { defect: '2.2 (stuck connection)', expect: '', closed: true } as const;

const deviations = new Map<string, Deviation>([
  ['scan-user: rscan with empty active file (upstream defect)', { defect: 'D5', expect: reversed(138, 131) }],
  ['scan-user: rscan stops at empty file (upstream defect)', { defect: 'D5', expect: reversed(146, 131) }],
  ['scan-seq: rscan with empty active file (upstream defect)', { defect: 'D5', expect: reversed(203, 196) }],
  ['scan-seq: rscan stops at empty file (upstream defect)', { defect: 'D5', expect: reversed(211, 196) }],
  ['namespaces: read ok', { defect: 'D2', expect: '$-1\r\n' }],
  [
    'data-raw: raw empty value',
    { defect: 'D7', expect: '*6\r\n$1\r\ne\r\n:62\r\n$10\r\n0x00000000\r\n:0\r\n:1700000002\r\n$0\r\n\r\n' },
  ],
  [
    'data-raw: raw deletion (upstream defect)',
    { defect: 'D7', expect: '*6\r\n$1\r\nb\r\n:84\r\n$10\r\n0x00000000\r\n:1\r\n:1700000003\r\n$-1\r\n' },
  ],
  ['protocol: zero arguments', { defect: '2.2', expect: '-Missing arguments\r\n', closed: true }],
  ['protocol: connection is stuck on it: every further chunk repeats the error', stuck],
  ['protocol: 1025 arguments', { defect: '2.2', expect: '-Too many arguments\r\n', closed: true }],
  ['protocol: stuck', stuck],
  ['protocol: nested array', { defect: '2.2', expect: '-Malformed query string\r\n', closed: true }],
  ['protocol: integer argument', { defect: '2.2', expect: '-Malformed query string\r\n', closed: true }],
  ['protocol: array without number', { defect: '2.2', expect: '-Missing arguments\r\n', closed: true }],
]);

async function replay(session: readonly Line[], loop: string): Promise<void> {
  const scratch = new Scratch();
  const first = session[0]!;
  const debug = first.build === 'debug' ? ['--debug'] : [];
  const server = await ZdbProcess.serve(scratch, [...first.flags, ...debug, '--loop', loop]);
  const connections = new Map<string, RawConnection>();
  try {
    for (const line of session) {
      const about = `line ${line.number}, ${line.session}, ${line.case}`;
      let connection = connections.get(line.conn);
      if (connection === undefined || line.reopen) {
        connection = await RawConnection.open({ path: scratch.socket });
        connections.set(line.conn, connection);
      }
      await connection.send(Buffer.from(line.send_hex, 'hex'));
      const deviation = deviations.get(`${line.session}: ${line.case}`);
      const wanted = deviation?.expect ?? Buffer.from(line.expect_hex, 'hex').toString('latin1');
      if (line.replies === 0 && wanted === '' && line.session === 'wait') {
        // The server has seen the WAIT when it has answered what came behind it; own commands do not wake.
        await connection.send(Buffer.from('*1\r\n$4\r\nPING\r\n'));
        assert.equal((await connection.receive(1)).toString(), '+PONG\r\n', about);
      }
      // Nothing may come where no reply is recorded: whatever came is met by the next line of the connection.
      if (line.replies > 0) {
        const got = (await connection.receive(line.replies)).toString('latin1');
        if (line.match === 'prefix') assert.equal(got.slice(0, wanted.length), wanted, about);
        else assert.equal(got, wanted, about);
      }
      if (line.closed || deviation?.closed) await connection.end();
      else assert.equal(connection.closed, false, `${about}: closed`);
    }
  } finally {
    for (const connection of connections.values()) connection.close();
    await server.stop();
    scratch.dispose();
  }
}

describe('transcripts of the reference server', () => {
  it('are all there', () => {
    assert.equal(lines.length, 625);
    for (const key of deviations.keys()) {
      assert.ok(
        lines.some((line) => `${line.session}: ${line.case}` === key),
        `no line "${key}"`,
      );
    }
  });

  for (const loop of ['epoll', 'node']) {
    for (const name of new Set(lines.map((line) => line.session))) {
      it(`${name}, ${loop} loop`, async () => {
        await replay(
          lines.filter((line) => line.session === name),
          loop,
        );
      });
    }
  }
});
