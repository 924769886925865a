// Statements of the reference's behaviour that the recorded transcripts do not show, as tables by subject. The replies were taken from the
// release build with the same requests; where ours differs on purpose (docs/zdb-differences.md) the line says so.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SimulatedDisk } from '@qsfs/io/simulated';
import { type LocalConnection, LocalServer } from './support/local-server.ts';

/** Words of a request, and the reply. */
type Step = readonly [words: readonly (string | Uint8Array)[], reply: string];

/** Executes the steps on one connection. */
async function follow(local: LocalServer, client: LocalConnection, steps: readonly Step[]): Promise<void> {
  for (const [i, [words, reply]] of steps.entries())
    assert.equal(await local.request(client, ...words), reply, `step ${i}: ${words.join(' ').slice(0, 80)}`);
}

const words = (text: string, reply: string): Step => [text.split(' '), reply];

describe('requests', () => {
  const PONG = '+PONG\r\n';
  const inputs: [string, string, 'closed'?][] = [
    ['*1xx\r\n$4\r\nPINGzz', PONG],
    ['*\t1\r\n$\t4\r\nPING\r\n', PONG],
    ['*+1\r\n$+4\r\nPING\r\n', PONG],
    ['*1.9\r\n$4\r\nPING\r\n', PONG],
    ['*4294967297\r\n$4294967300\r\nPING\r\n', PONG],
    [`*${'0'.repeat(8189)}1\r\n$4\r\nPING\r\n`, PONG],
    ['*2147483648\r\n', '-Internal memory error\r\n', 'closed'],
    ['*99999999999999999999\r\n', '-Internal memory error\r\n', 'closed'],
    ['*1\r\n$2147483648\r\n', '-Internal memory error\r\n', 'closed'],
    ['*2\r\n$3\r\nGET\r\n$-1\r\n', '-Internal memory error\r\n', 'closed'], // there: memory of the process
    ['*2\r\n$3\r\nGET\r\n$-0\r\n\r\n', '-Invalid argument\r\n'],
    [' *1\r\n$4\r\nPING\r\n', '-Malformed request, array expected\r\n', 'closed'],
    ['*1\n\r$4\r\nPING\r\n', '-Malformed query string\r\n', 'closed'], // there: stuck
    ['*0x1\r\n', '-Missing arguments\r\n', 'closed'], // there: stuck
    [`*${'0'.repeat(9000)}`, '', 'closed'],
  ];
  it('are read as laxly as there', async () => {
    const local = await LocalServer.start();
    for (const [input, reply, end] of inputs) {
      const client = await local.connect();
      client.send(Buffer.from(input, 'latin1'));
      await local.settle();
      const about = JSON.stringify(input.slice(0, 60));
      assert.equal(client.take().toString('latin1'), reply, about);
      assert.equal(client.closed, end === 'closed', about);
      client.close();
    }
    await local.close();
  });
});

describe('keys', () => {
  it('take timestamps that are no numbers, or none of 32 bits', async () => {
    const local = await LocalServer.start();
    const client = await local.connect();
    const times: [string, number][] = [
      ['12', 12],
      [' 7', 7],
      ['+3', 3],
      ['0x10', 0],
      ['1.5', 1],
      ['7\x008', 7],
      ['4294967296', 0],
      ['99999999999999999999', 4_294_967_295],
    ];
    for (const [i, [given, stored]] of times.entries()) {
      await local.request(client, 'SET', `k${i}`, 'v', given);
      assert.equal(await local.request(client, 'KEYTIME', `k${i}`), `:${stored}\r\n`, given);
    }
    await local.close();
  });

  it('have room below a limit that was lowered when what is there becomes less', async () => {
    const local = await LocalServer.start();
    const full = '-No space left on this namespace\r\n';
    await follow(local, await local.connect(), [
      words('NSNEW n', '+OK\r\n'),
      words('SELECT n', '+OK\r\n'),
      [['SET', 'a', 'x'.repeat(98)], '$1\r\na\r\n'],
      words('NSSET n maxsize 50', '+OK\r\n'),
      words('SET b v', full),
      [['SET', 'b', ''], '$1\r\nb\r\n'], // there: refused
      [['SET', 'a', 'x'.repeat(98)], full],
      [['SET', 'a', 'x'.repeat(40)], '$1\r\na\r\n'],
      words('SET b 1234567890', '$1\r\nb\r\n'),
      words('SET b 12345678901', full),
      words('NSSET n maxsize -1', '+OK\r\n'),
      words('SET b 12345678901', '$1\r\nb\r\n'), // there: the sum overflows
    ]);
    await local.close();
  });
});

describe('cursors', () => {
  /** HISTORY cursor: index file and offset. */
  const at = (offset: number, file = 0) => {
    const cursor = Buffer.alloc(8);
    cursor.writeUInt32LE(file, 0);
    cursor.writeUInt32LE(offset, 4);
    return cursor;
  };

  it('of HISTORY that were made by hand tell nothing of other keys', async () => {
    const local = await LocalServer.start();
    const query = '-Invalid arguments (index query)\r\n';
    const key = '-Invalid arguments (invalid key)\r\n';
    await follow(local, await local.connect(), [
      words('SET a 1 1', '$1\r\na\r\n'),
      words('SET a 2 2', '$1\r\na\r\n'),
      words('SET bb x 3', '$2\r\nbb\r\n'),
      [['HISTORY', 'a', at(29)], '*3\r\n$-1\r\n$1\r\n1\r\n$1\r\n1\r\n'],
      [['HISTORY', 'bb', at(29)], key],
      [['HISTORY', 'a', at(99)], key],
      [['HISTORY', 'a', at(5000)], query],
      [['HISTORY', 'a', at(29, 7)], query],
      [['HISTORY', 'a', at(0)], '-No more history\r\n'],
      // There: the entries of others.
      [['HISTORY', '', at(29)], key],
      [['HISTORY', 'b', at(99)], key],
      [['HISTORY', 'a', at(30)], key],
    ]);
    await local.close();
  });

  it('of SCAN with any bit changed are none', async () => {
    const local = await LocalServer.start();
    const client = await local.connect();
    for (const name of ['a', 'b', 'c']) await local.request(client, 'SET', name, name, '1');
    const cursor = Buffer.from((await local.request(client, 'KEYCUR', 'b')).slice(5, 22), 'latin1');
    assert.match(await local.request(client, 'SCAN', cursor), /\r\nc\r\n:1\r\n:1\r\n$/);
    for (let bit = 0; bit < 17 * 8; bit++) {
      const other = Buffer.from(cursor);
      other[bit >> 3]! ^= 1 << (bit & 7);
      assert.equal(await local.request(client, 'SCAN', other), '-Invalid key format\r\n', `bit ${bit}`);
    }
    await local.close();
  });
});

describe('waiting', () => {
  it('ends by others on the same namespace only, as it is after their command', async () => {
    const local = await LocalServer.start();
    const [a, b, c] = [await local.connect(), await local.connect(), await local.connect()];
    const wakes = async (reply: string): Promise<void> => {
      await local.settle();
      assert.equal(a.take().toString(), reply);
    };
    await follow(local, b, [words('NSNEW n', '+OK\r\n')]);
    await follow(local, a, [words('WAIT SELECT 3000', '')]);
    await follow(local, b, [words('SELECT n', '+OK\r\n')]);
    await wakes('');
    await follow(local, b, [words('SELECT default', '+OK\r\n')]);
    await wakes('+SELECT\r\n');
    // Own commands do not count, a second WAIT replaces the first, the waiting one may move.
    await follow(local, a, [
      words('WAIT GET 3000', ''),
      words('WAIT PING 3000', ''),
      words('PING', '+PONG\r\n'),
    ]);
    await follow(local, b, [words('GET k', '$-1\r\n')]);
    await wakes('');
    await follow(local, a, [words('SELECT n', '+OK\r\n')]);
    await follow(local, b, [words('PING', '+PONG\r\n')]);
    await wakes('');
    await follow(local, c, [words('SELECT n', '+OK\r\n'), words('PING', '+PONG\r\n')]);
    await wakes('+PING\r\n');
    // What is refused wakes too.
    await follow(local, a, [words('WAIT NSNEW 3000', '')]);
    await follow(local, c, [words('NSNEW', '-Unexpected arguments\r\n')]);
    await wakes('+NSNEW\r\n');
    for (const given of ['99', '1800001', '', 'junk', '-100', '00000000000000100', '99999999999999999999'])
      assert.equal(await local.request(a, 'WAIT', 'SET', given), '-Invalid timeout\r\n', given);
    await follow(local, a, [[['WAIT', '', '100'], '']]);
    await local.clock.run(101);
    await wakes('-Timeout\r\n');
    await local.close();
  });
});

describe('masters and mirrors', () => {
  it('know owner ids as unsigned numbers, and NSINFO tells masters the password', async () => {
    const local = await LocalServer.start();
    const [master, mirror] = [await local.connect(), await local.connect()];
    await follow(local, master, [
      words('MASTER', '+Hello, master\r\n'),
      words('NSNEW p 0', '+OK\r\n'),
      words('NSSET p password pw 0', '+OK\r\n'),
      [['GET', 'k', 'x'.repeat(33)], ''],
      words('NOPE 1', '-Command not supported\r\n'),
    ]);
    assert.match(await local.request(master, 'NSINFO', 'p', '0'), /\npassword_raw: pw\n/);
    await follow(local, mirror, [words('MIRROR', '+Starting mirroring\r\n')]);
    await local.request(master, 'DEL', 'zz', '-7');
    await local.settle();
    assert.match(mirror.take().toString(), /\r\n:4294967289\r\n\$3\r\nDEL\r\n\$2\r\nzz\r\n$/);
    await local.close();
  });
});

describe('a store at its start', () => {
  const descriptor = '/index/n/zdb-namespace';
  const head = '/index/default/i0';
  const write = (disk: SimulatedDisk, path: string, change: (bytes: Buffer) => Uint8Array): void => {
    const file = disk.open(path, 'create');
    const bytes = Buffer.alloc(file.size());
    file.read(bytes, 0);
    const changed = change(bytes);
    file.truncate(0);
    file.write(changed, 0);
    file.close();
  };
  /** Damage, and the namespaces and the value of `k` then; a text: why the start is refused. */
  const cases: [string, (disk: SimulatedDisk) => void, string, string?][] = [
    ['descriptor of another version', (d) => write(d, descriptor, (b) => b.fill(2, 0, 1)), '*1 default'],
    ['descriptor too short', (d) => write(d, descriptor, (b) => b.subarray(0, 9)), '*2 default n'],
    ['no descriptor', (d) => d.remove(descriptor), '*2 default n'],
    ['a directory', (d) => d.makeDirectory('/index/other'), '*3 default n other'],
    ['a name with a line break', (d) => d.makeDirectory('/index/a\nb'), '*2 default n'], // there: served
    ['a file among the namespaces', (d) => write(d, '/index/file', () => Buffer.from('x')), '*2 default n'],
    ['no data directory', (d) => d.removeTree('/data/n'), '*2 default n'],
    // There: exit code 1, or the key is gone.
    ['index header cut', (d) => write(d, head, (b) => b.subarray(0, 10)), '*2 default n'],
    ['index magic', (d) => write(d, head, (b) => b.fill(88, 0, 4)), '*2 default n'],
    ['index empty', (d) => write(d, head, (b) => b.subarray(0, 0)), '*2 default n'],
    ['index missing', (d) => d.remove(head), '*2 default n'],
    ['data header', (d) => write(d, '/data/default/d0', (b) => b.fill(88, 0, 4)), '*2 default n'],
    ['index version', (d) => write(d, head, (b) => b.fill(5, 4, 5)), '', 'version 5'],
    [
      'version of default',
      (d) => write(d, '/index/default/zdb-namespace', (b) => b.fill(2, 0, 1)),
      '',
      'version 2',
    ],
    [
      'files of version 1',
      (d) => write(d, '/index/default/zdb-index-00000', () => Buffer.alloc(0)),
      '',
      'version 1',
    ],
  ];
  for (const [name, damage, list, refusal] of cases) {
    it(`${name}: ${refusal === undefined ? list : 'refused'}`, async () => {
      const disk = new SimulatedDisk();
      const first = await LocalServer.start(disk);
      const client = await first.connect();
      await follow(first, client, [words('NSNEW n', '+OK\r\n'), words('SET k v', '$1\r\nk\r\n')]);
      await first.close();
      damage(disk);
      if (refusal !== undefined) {
        await assert.rejects(LocalServer.start(disk), new RegExp(refusal));
        return;
      }
      const second = await LocalServer.start(disk);
      const again = await second.connect();
      const names = (await second.request(again, 'NSLIST'))
        .split('\r\n')
        .filter((line) => !/^(\$\d+)?$/.test(line));
      assert.equal(names.join(' '), list);
      assert.equal(await second.request(again, 'GET', 'k'), '$1\r\nv\r\n');
      await second.close();
    });
  }
});
