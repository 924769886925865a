// The command line: what the reference accepts is accepted, impossible flags get their message.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseCommandLine, parseDataSize, UsageError } from '@qsfs/zdb/server';

describe('command line', () => {
  it('has the reference’s defaults', () => {
    const line = parseCommandLine([]);
    assert.equal(line.dataDirectory, './zdb-data');
    assert.equal(line.indexDirectory, './zdb-index');
    assert.equal(line.mode, undefined);
    assert.equal(line.dataSizeBytes, 268_435_456);
    assert.equal(line.port, '9900');
    assert.equal(line.sync, 'none');
  });

  it('takes one or two dashes, values behind a blank or an equals sign, unambiguous prefixes, and ignores other words', () => {
    const line = parseCommandLine([
      '-port',
      '9901',
      'junk',
      '--mo=user',
      '--sock',
      '/s',
      '--prot',
      '--adm=x=y',
      '-',
    ]);
    assert.equal(line.port, '9901');
    assert.equal(line.mode, 'user');
    assert.equal(line.socket, '/s');
    assert.equal(line.protect, true);
    assert.equal(line.admin, 'x=y');
  });

  it('lets prefixes of the reference’s options mean what they mean there', () => {
    assert.equal(parseCommandLine(['--ma', '5']).maxSizeBytes, 5);
    assert.equal(parseCommandLine(['--lo', 'f']).logFile, 'f');
    assert.equal(parseCommandLine(['--r', '7']).rotateSeconds, 7);
  });

  it('takes the exact name before longer ones', () => {
    assert.equal(parseCommandLine(['--sync']).sync, 'always');
    assert.deepEqual(parseCommandLine(['--synctime', '3']).sync, { everySeconds: 3 });
    assert.equal(parseCommandLine(['--data', 'd']).dataDirectory, 'd');
  });

  it('reads junk numbers as 0, like the reference, and says so', () => {
    const line = parseCommandLine(['--maxsize', 'junk', '--rotate', '1h', '--synctime', 'x']);
    assert.equal(line.maxSizeBytes, 0);
    assert.equal(line.rotateSeconds, 1);
    assert.equal(line.sync, 'none');
    assert.deepEqual(line.notices, [
      "--synctime 'x' is no whole number: taken as 0",
      "--maxsize 'junk' is no whole number: taken as 0",
      "--rotate '1h' is no whole number: taken as 1",
    ]);
    assert.equal(parseCommandLine(['--rotate', '-1']).rotateSeconds, 0);
    assert.deepEqual(parseCommandLine(['--rotate', '0', '--maxsize', '4096']).notices, []);
  });

  it('takes a first word that is no option for a command there is not', () => {
    assert.throws(() => parseCommandLine(['chek', '--data', 'd']), /no command 'chek': check, /);
    assert.equal(parseCommandLine(['--sync', 'yes', '--mode', 'user']).sync, 'always');
    assert.equal(parseCommandLine(['', '--mode', 'user']).mode, 'user', 'a script’s empty variable');
  });

  it('looks at nothing behind --version and --help', () => {
    for (const action of ['version', 'help'])
      assert.equal(parseCommandLine([`--${action}`, '--nosuch', '--mode', 'x']).action, action);
    assert.equal(parseCommandLine(['--version', '--help']).action, 'version');
  });

  it('takes direct for seq and says that it is an old name', () => {
    const line = parseCommandLine(['--mode', 'direct']);
    assert.equal(line.mode, 'seq');
    assert.equal(line.notices.length, 1);
  });

  const refused: [string[], RegExp][] = [
    [['-p', '9900'], /ambiguous; possibilities: '--port' '--protect'/],
    [['--nosuch'], /unrecognized option '--nosuch'/],
    [['--port'], /'--port' requires an argument/],
    [['--sync=1'], /'--sync' doesn't allow an argument/],
    [['--mode', 'both'], /invalid mode 'both'/],
    [['--protect'], /--admin/],
    [['--dump', '--protect'], /--admin/],
    [['--socket', ''], /--socket must not be empty/],
    [['--listen='], /--listen must not be empty/],
    [['--data', '', '--dump'], /--data must not be empty/],
    [['--mode', 'x', '--version'], /invalid mode/],
    [['--loop', 'select'], /epoll or node/],
    [['--maxclients', '0'], /whole number/],
    [['--report', 'x'], /unrecognized/],
  ];
  for (const [words, message] of refused) {
    it(`refuses ${words.join(' ')}`, () => {
      assert.throws(
        () => parseCommandLine(words),
        (error) => error instanceof UsageError && message.test(error.message),
      );
    });
  }
});

describe('data size', () => {
  const accepted: [string, number][] = [
    ['600k', 614_400],
    ['1.5M', 1_572_864],
    ['1e6', 1_000_000],
    ['0x80000', 524_288],
    ['512kB', 524_288],
    ['3G', 3_221_225_472],
    ['4294967294', 4_294_967_294],
    ['0x1p20', 1_048_576],
    ['0x1.8p20', 1_572_864],
    ['0x.8p1M', 1_048_576],
    [' +1M', 1_048_576],
    ['.5M', 524_288],
  ];
  for (const [text, size] of accepted) {
    it(`${text} is ${size} bytes`, () => assert.equal(parseDataSize(text), size));
  }

  const refused: [string, string][] = [
    ['', 'datasize invalid'],
    ['x', 'datasize invalid'],
    ['1m', 'datasize invalid'],
    ['512x', 'datasize invalid'],
    ['4G', 'datasize cannot be larger than 4294967295 bytes (4096 MB)'],
    ['1T', 'datasize cannot be larger than 4294967295 bytes (4096 MB)'],
    ['-1', 'datasize cannot be smaller than 524288 bytes (0.5 MB)'],
    ['500k', 'datasize cannot be smaller than 524288 bytes (0.5 MB)'],
  ];
  for (const [text, message] of refused) {
    it(`"${text}" is refused`, () => {
      assert.throws(
        () => parseDataSize(text),
        (error) => error instanceof UsageError && error.message === message,
      );
    });
  }
});
