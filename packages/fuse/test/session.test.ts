// The loop, with a scripted kernel: answers, errors, parking, interrupts, the end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRNO, type Libc, loadLibc } from '@qsfs/io';
import { FilesystemError, Session, type SessionOptions } from '../src/index.ts';
import { OPERATION, WRITE_FLAG } from '../src/protocol.ts';
import { RecordingFilesystem } from './recording-filesystem.ts';
import {
  fields,
  interruptRequest,
  packed,
  readRequest,
  ScriptedDevice,
  type ScriptItem,
  writeRequest,
} from './scripted-device.ts';

class Later extends Error {
  readonly token: string;

  constructor(token: string) {
    super(token);
    this.token = token;
  }
}

/** A message that means nothing: the session goes once round its loop. */
const ROUND = interruptRequest(1000);

function serving(script: ScriptItem[], options: Partial<SessionOptions> = {}) {
  const device = new ScriptedDevice(script);
  const filesystem = new RecordingFilesystem();
  const logged: string[] = [];
  let now = 0;
  const session = new Session({
    device,
    mountPoint: '/nowhere',
    filesystem,
    libc: undefined,
    clock: { monotonicMs: () => (now += 0.1) },
    log: (_, message) => logged.push(message),
    deferral: (error) => (error instanceof Later ? error.token : undefined),
    ...options,
  });
  return { device, filesystem, session, logged };
}

test('a request is answered with its own number and the session ends with the mount', () => {
  const { device, session } = serving([packed(OPERATION.getAttributes, 7, 5, fields(0n, 0n))]);
  assert.equal(session.run(), 'unmounted');
  assert.equal(device.answer(7).errno, 0);
  assert.equal(device.answer(7).body.readBigUInt64LE(16), 5n);
  assert.deepEqual(session.statistics.byOperation, { getAttributes: 1 });
});

test('request numbers above 2^53 come back unchanged', () => {
  const request = packed(OPERATION.getAttributes, 0, 5, fields(0n, 0n));
  request.writeBigUInt64LE(0xfedcba9876543210n, 8);
  let seen = 0n;
  const { device, session } = serving([request]);
  const send = device.send.bind(device);
  device.send = (source, length) => {
    seen = Buffer.from(source).readBigUInt64LE(8);
    return send(source, length);
  };
  session.run();
  assert.equal(seen, 0xfedcba9876543210n);
});

test('a FilesystemError ends the request with its errno and is nobody else’s business', () => {
  const { device, filesystem, session, logged } = serving([packed(OPERATION.unlink, 1, 1, 'x')]);
  filesystem.thrown = new FilesystemError('ENOTEMPTY');
  session.run();
  assert.equal(device.answer(1).errno, ERRNO.ENOTEMPTY);
  assert.deepEqual(logged, []);
});

test('any other error is EIO for the process and a line for the operator', () => {
  const { device, filesystem, session, logged } = serving([packed(OPERATION.unlink, 1, 1, 'x')]);
  filesystem.thrown = new TypeError('a bug');
  session.run();
  assert.equal(device.answer(1).errno, ERRNO.EIO);
  assert.match(logged.join(), /a bug/);
  assert.equal(session.statistics.failures, 1);
});

test('a request that waits for what is known not to come ends with the error the deferral throws', () => {
  const { device, filesystem, session, logged } = serving([readRequest(1, 5, 0n, 4096)], {
    deferral: () => {
      throw new FilesystemError('EIO', 'could not be had a moment ago');
    },
  });
  filesystem.thrown = new Later('stripe');
  session.run();
  assert.equal(device.answer(1).errno, ERRNO.EIO);
  assert.deepEqual(logged, []);
  assert.equal(session.parkedCount, 0);
});

test('FORGET is never answered, not even when the filesystem fails', () => {
  const one = packed(OPERATION.forget, 1, 9, fields(2n));
  const many = packed(OPERATION.batchForget, 2, 0, fields(2, 0, 5n, 1n, 6n, 3n));
  const { device, filesystem, session } = serving([one, many]);
  session.run();
  assert.deepEqual(filesystem.calls, [
    ['forget', 9, 2],
    ['forget', 5, 1],
    ['forget', 6, 3],
  ]);
  assert.deepEqual(device.answers, []);
});

test('BATCH_FORGET that claims more than it holds forgets only what it holds', () => {
  const { filesystem, session } = serving([
    packed(OPERATION.batchForget, 2, 0, fields(1_000_000, 0, 5n, 1n)),
  ]);
  session.run();
  assert.deepEqual(filesystem.calls, [['forget', 5, 1]]);
});

test('a parked request waits while others are served, and is answered once when it is retried', () => {
  const { device, filesystem, session } = serving([
    () => (filesystem.thrown = new Later('stripe')),
    readRequest(1, 5, 100n, 4096),
    () => (filesystem.thrown = undefined),
    packed(OPERATION.getAttributes, 2, 5, fields(0n, 0n)),
    () => assert.ok(device.answered(2) && !device.answered(1)),
    () => assert.deepEqual(session.parkedTokens(), ['stripe']),
    () => session.retry('stripe'),
    () => {},
  ]);
  session.run();
  assert.equal(device.answer(1).errno, 0);
  assert.equal(device.answer(1).body.toString(), 'aaaaaaaaaa');
  assert.deepEqual(filesystem.calls.at(-1), ['read', 5, 100, 4096]);
  assert.equal(session.statistics.parkedCount, 0);
  assert.equal(session.statistics.parkedBytes, 0);
});

test('the payload of a parked write is kept although the buffer is used again', () => {
  const { device, filesystem, session } = serving([
    () => (filesystem.thrown = new Later('t')),
    writeRequest(1, 5, 0n, Buffer.from('precious')),
    () => (filesystem.thrown = undefined),
    writeRequest(2, 6, 0n, Buffer.from('XXXXXXXX')),
    () => session.retryAll(),
    () => {},
  ]);
  session.run();
  assert.equal(device.answer(1).body.readUInt32LE(0), 8);
  assert.equal(filesystem.calls.at(-1)?.[3], 'precious');
});

test('a retried request may be parked again', () => {
  const { device, filesystem, session } = serving([
    () => (filesystem.thrown = new Later('first')),
    readRequest(1, 5, 0n, 10),
    () => (filesystem.thrown = new Later('second')),
    () => session.retry('first'),
    () => assert.deepEqual(session.parkedTokens(), ['second']),
    () => (filesystem.thrown = undefined),
    () => session.retry('second'),
    () => {},
  ]);
  session.run();
  assert.equal(device.answer(1).errno, 0);
  assert.equal(session.statistics.parkedEver, 2);
});

test('failParked answers everything that waits for the token', () => {
  const { device, filesystem, session } = serving([
    () => (filesystem.thrown = new Later('t')),
    readRequest(1, 5, 0n, 10),
    readRequest(2, 5, 0n, 10),
    () => (filesystem.thrown = new Later('u')),
    readRequest(3, 5, 0n, 10),
    () => session.failParked('t', 'EIO'),
    () => assert.ok(!device.answered(3)),
  ]);
  session.run();
  assert.equal(device.answer(1).errno, ERRNO.EIO);
  assert.equal(device.answer(2).errno, ERRNO.EIO);
});

test('endParked answers everything that waits for the token with success, without running it again', () => {
  const { device, filesystem, session } = serving([
    () => (filesystem.thrown = new Later('t')),
    readRequest(1, 5, 0n, 10),
    readRequest(2, 5, 0n, 10),
    () => session.endParked('t'),
    () => assert.deepEqual(session.parkedTokens(), []),
  ]);
  session.run();
  for (const request of [1, 2]) assert.equal(device.answer(request).errno, 0);
  assert.equal(session.statistics.requests, 2);
});

test('a request that waits for one thing after the other ends when its time is over, and others than it do not', () => {
  let now = 0;
  const gaveUp: unknown[] = [];
  const later = (token: string) => () => (filesystem.thrown = new Later(token));
  const { device, filesystem, session } = serving(
    [
      later('data 1'),
      readRequest(10, 5, 0n, 10),
      () => (now += 6000),
      // One that comes later has its own time; a write and what waits for something else have all the time there is.
      readRequest(12, 5, 0n, 10),
      writeRequest(14, 5, 0n, Buffer.from('x')),
      later('data 2'),
      () => session.retry('data 1'),
      () => assert.deepEqual(session.parkedTokens(), ['data 2']),
      () => (now += 2000),
      later('room'),
      readRequest(16, 5, 0n, 10),
      () => assert.ok(!device.answered(10)),
      () => (now += 2100),
      ROUND,
      () => assert.ok(device.answered(10)),
      () => assert.deepEqual(gaveUp, ['data 2']),
      // What gets on is not ended, however long it takes.
      ...Array.from({ length: 30 }, (_, step) => [
        later(`data ${step + 3}`),
        () => session.retry(step === 0 ? 'room' : `data ${step + 2}`),
        () => (now += 400),
        ROUND,
      ]).flat(),
      () => (now += 1000),
      ROUND,
      () => assert.ok(device.answered(12) && !device.answered(14) && !device.answered(16)),
      () => (now += 8500),
      ROUND,
      () => assert.ok(device.answered(16) && !device.answered(14)),
      () => (filesystem.thrown = undefined),
      () => session.retryAll(),
      ROUND,
    ],
    {
      patienceMs: (token) => (token === 'room' ? Infinity : 9000),
      gaveUp: (token) => void gaveUp.push(token),
      clock: { monotonicMs: () => (now += 0.001) },
    },
  );
  session.run();
  for (const number of [10, 12, 16]) assert.equal(device.answer(number).errno, ERRNO.EIO);
  assert.equal(device.answer(14).errno, 0);
});

test('a request that waits for what is on its way waits as long as that is told', () => {
  let now = 0;
  const { device, filesystem, session } = serving(
    [
      () => (filesystem.thrown = new Later('data')),
      readRequest(10, 5, 0n, 10),
      ...Array.from({ length: 5 }, () => [() => (now += 8000), () => session.giveTime('data'), ROUND]).flat(),
      () => assert.ok(!device.answered(10)),
      () => (now += 10_000),
      ROUND,
      () => assert.ok(device.answered(10)),
      () => session.giveTime('data'),
    ],
    { patienceMs: () => 9000, clock: { monotonicMs: () => (now += 0.001) } },
  );
  session.run();
  assert.equal(device.answer(10).errno, ERRNO.EIO);
});

test('an interrupt ends a parked request with EINTR, and it is not run again', () => {
  const { device, filesystem, session } = serving([
    () => (filesystem.thrown = new Later('t')),
    readRequest(10, 5, 0n, 10),
    readRequest(12, 5, 0n, 10),
    interruptRequest(10),
    () => (filesystem.thrown = undefined),
    () => session.retry('t'),
    () => {},
  ]);
  session.run();
  assert.equal(device.answer(10).errno, ERRNO.EINTR);
  assert.equal(device.answer(12).errno, 0);
  assert.equal(filesystem.calls.length, 3);
});

test('a polled session ends an interrupted request only when it waits long: programs get signals without expecting EINTR', () => {
  let now = 0;
  const { device, filesystem, session } = serving(
    [
      () => (filesystem.thrown = new Later('t')),
      readRequest(10, 5, 0n, 10),
      interruptRequest(10),
      () => (now += 900),
      ROUND,
      () => assert.equal(session.statistics.parkedCount, 1),
      () => (filesystem.thrown = undefined),
      () => session.retry('t'),
      ROUND,
      ROUND,
      () => (filesystem.thrown = new Later('u')),
      readRequest(12, 5, 0n, 10),
      interruptRequest(12),
      () => (now += 1001),
      ROUND,
      () => assert.ok(device.answered(12)),
    ],
    { libc: loadLibc(), idleIntervalMs: 1, clock: { monotonicMs: () => (now += 0.001) } },
  );
  session.run();
  assert.equal(device.answer(10).errno, 0);
  assert.equal(device.answer(12).errno, ERRNO.EINTR);
});

test('an interrupt also finds a request that is about to be run again', () => {
  let now = 0;
  const { device, filesystem, session } = serving(
    [
      () => (filesystem.thrown = new Later('t')),
      readRequest(10, 5, 0n, 10),
      readRequest(12, 5, 0n, 10),
      interruptRequest(12),
      () => (filesystem.thrown = undefined),
      // A polled session runs one request again, then looks for new ones, then runs the next again.
      () => session.retry('t'),
      () => (now += 1001),
      ROUND,
      ROUND,
      ROUND,
    ],
    { libc: loadLibc(), idleIntervalMs: 1, clock: { monotonicMs: () => (now += 0.001) } },
  );
  session.run();
  assert.equal(device.answer(10).errno, 0);
  assert.equal(device.answer(12).errno, ERRNO.EINTR);
  assert.equal(filesystem.calls.filter(([name]) => name === 'read').length, 3);
});

test('an interrupt of a request that was answered long ago does nothing', () => {
  const { device, session } = serving([readRequest(10, 5, 0n, 10), interruptRequest(10)]);
  session.run();
  assert.equal(device.answers.length, 1);
});

test('beyond the bound a request ends with ENOMEM, but what the page cache writes back is kept', () => {
  const { device, filesystem, session } = serving(
    [
      () => (filesystem.thrown = new Later('t')),
      readRequest(1, 5, 0n, 10),
      readRequest(2, 5, 0n, 10),
      writeRequest(3, 5, 0n, Buffer.from('application')),
      writeRequest(4, 5, 0n, Buffer.from('page cache'), WRITE_FLAG.fromCache),
      () => assert.equal(session.statistics.parkedCount, 2),
      () => (filesystem.thrown = undefined),
      () => session.retryAll(),
      () => {},
      () => {},
    ],
    { parkedCountMax: 1 },
  );
  session.run();
  assert.equal(device.answer(1).errno, 0);
  assert.equal(device.answer(2).errno, ERRNO.ENOMEM);
  assert.equal(device.answer(3).errno, ERRNO.ENOMEM);
  assert.equal(device.answer(4).errno, 0);
  assert.equal(session.statistics.parkedRefused, 2);
});

test('parked bytes are bounded as well', () => {
  const { device, filesystem, session } = serving(
    [
      () => (filesystem.thrown = new Later('t')),
      writeRequest(1, 5, 0n, Buffer.alloc(600)),
      writeRequest(2, 5, 0n, Buffer.alloc(600)),
    ],
    { parkedMaxBytes: 1000 },
  );
  session.run();
  assert.equal(device.answer(2).errno, ERRNO.ENOMEM);
});

test('stop leaves the loop and answers what is parked', () => {
  const { device, filesystem, session } = serving([
    () => (filesystem.thrown = new Later('t')),
    readRequest(1, 5, 0n, 10),
    () => session.stop(),
    readRequest(2, 5, 0n, 10),
  ]);
  assert.equal(session.run(), 'stopped');
  assert.equal(device.answer(1).errno, ERRNO.EIO);
  assert.ok(!device.answered(2));
});

test('references of an answer nobody took are given back', () => {
  const { device, filesystem, session } = serving([
    () => (device.refuseWith = [ERRNO.ENOENT]),
    packed(OPERATION.lookup, 1, 1, 'one'),
    () => (device.refuseWith = [ERRNO.ENOENT]),
    () => (filesystem.names = ['.', '..', 'a', 'a name of some length']),
    packed(OPERATION.readDirectoryPlus, 2, 1, fields(0n, 0n, 4096, 0, 0n, 0, 0)),
    () => (device.refuseWith = [ERRNO.ENOENT]),
    packed(OPERATION.getAttributes, 3, 1, fields(0n, 0n)),
  ]);
  session.run();
  assert.deepEqual(
    filesystem.calls.filter(([name]) => name === 'forget'),
    [
      ['forget', 2, 1],
      ['forget', 102, 1],
      ['forget', 103, 1],
    ],
  );
});

test('an error thrown in the middle of a listing does not lose what was listed', () => {
  const { device, filesystem, session, logged } = serving([
    packed(OPERATION.readDirectory, 1, 1, fields(0n, 0n, 4096, 0, 0n, 0, 0)),
  ]);
  filesystem.listDirectory = (_inode, cookie, emit) => {
    if (cookie === 0) emit('first', 2, 0o100644, 1, undefined);
    throw new Later('next node');
  };
  session.run();
  assert.equal(device.answer(1).errno, 0);
  assert.equal(device.answer(1).body.toString('latin1', 24, 29), 'first');
  assert.deepEqual(logged, []);
});

test('what an idle hook finds to do is done before the thread sleeps', () => {
  const real = loadLibc();
  assert.ok(real);
  let slept = 0;
  const libc: Libc = {
    ...real,
    poll: (_set, _count, timeoutMs) => {
      if (timeoutMs > 0) slept++;
      return 0;
    },
  };
  const { device, filesystem, session } = serving(
    [
      () => (filesystem.thrown = new Later('t')),
      readRequest(1, 5, 0n, 10),
      () => {
        filesystem.thrown = undefined;
        slept = 0;
      },
      () => assert.deepEqual([device.answered(1), slept], [true, 0]),
    ],
    { libc, onIdle: () => (filesystem.thrown ? undefined : session.retryAll()) },
  );
  session.run();
  assert.equal(device.answer(1).errno, 0);
});

test('idle work that fails is logged and does not end the session', () => {
  const { filesystem, session, logged } = serving(
    [() => (filesystem.thrown = new Error('idle bug')), () => {}],
    {
      idleIntervalMs: 0,
    },
  );
  assert.equal(session.run(), 'unmounted');
  assert.match(logged.join(), /idle bug/);
});

test('a filesystem that claims to have read more than was asked for is not believed', () => {
  const { device, filesystem, session } = serving([readRequest(1, 5, 0n, 4)]);
  filesystem.read = () => 5;
  session.run();
  assert.equal(device.answer(1).errno, ERRNO.EIO);
});
