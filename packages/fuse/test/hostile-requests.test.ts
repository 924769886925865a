// Whatever bytes come from the device, the session answers with an error or not at all, and goes on.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRNO } from '@qsfs/io';
import fc from 'fast-check';
import { Session } from '../src/index.ts';
import { OPERATION } from '../src/protocol.ts';
import { MemoryFilesystem } from './memory-filesystem.ts';
import { RecordingFilesystem } from './recording-filesystem.ts';
import { fields, packed, ScriptedDevice, writeRequest } from './scripted-device.ts';

/** Serves the requests and one GETATTR of the root at the end, which must still work. */
function serve(requests: readonly Uint8Array[], filesystem = new MemoryFilesystem()) {
  const last = packed(OPERATION.getAttributes, 999_999, 1, fields(0n, 0n));
  const device = new ScriptedDevice([...requests, last]);
  const logged: string[] = [];
  const session = new Session({
    device,
    mountPoint: '/nowhere',
    filesystem,
    libc: undefined,
    clock: { monotonicMs: () => 0 },
    log: (_, message) => logged.push(message),
  });
  assert.equal(session.run(), 'unmounted');
  assert.equal(device.answer(999_999).errno, 0);
  return { device, session, logged };
}

function errnoOf(request: Uint8Array): number {
  return serve([request]).device.answer(1).errno;
}

const wideInode = packed(OPERATION.getAttributes, 1, 2n ** 53n, fields(0n, 0n));

const CASES: Readonly<Record<string, [Uint8Array, number]>> = {
  'an inode of 2^53': [wideInode, ERRNO.ESTALE],
  'an inode nobody gave out': [packed(OPERATION.getAttributes, 1, 77, fields(0n, 0n)), ERRNO.ESTALE],
  'an unknown operation': [packed(4095, 1, 1), ERRNO.ENOSYS],
  'the largest operation': [packed(0xffffffff, 1, 1), ERRNO.ENOSYS],
  'a name without an end': [packed(OPERATION.lookup, 1, 1, Buffer.from('endless')), ERRNO.EINVAL],
  'an empty name': [packed(OPERATION.lookup, 1, 1, ''), ERRNO.EINVAL],
  'a name with a slash': [packed(OPERATION.unlink, 1, 1, 'a/b'), ERRNO.EINVAL],
  'no name at all': [packed(OPERATION.lookup, 1, 1), ERRNO.EINVAL],
  'a body that is cut short': [packed(OPERATION.read, 1, 1, fields(0n)), ERRNO.EINVAL],
  'one name where two are needed': [packed(OPERATION.rename, 1, 1, fields(1n), 'only'), ERRNO.EINVAL],
  'unknown rename flags': [packed(OPERATION.rename2, 1, 1, fields(1n, 4, 0), 'a', 'b'), ERRNO.EINVAL],
  'a read larger than agreed': [
    packed(OPERATION.read, 1, 1, fields(0n, 0n, 0x7fffffff, 0, 0n, 0, 0)),
    ERRNO.EIO,
  ],
  'a write that says it is longer than it is': [
    packed(OPERATION.write, 1, 1, fields(0n, 0n, 100, 0, 0n, 0, 0), Buffer.from('short')),
    ERRNO.EINVAL,
  ],
  'a write beyond 2^53': [writeRequest(1, 1, 2n ** 53n, Buffer.from('x')), ERRNO.EFBIG],
  'a write that crosses 2^53': [writeRequest(1, 1, 2n ** 53n - 2n, Buffer.from('xyz')), ERRNO.EFBIG],
  'a size beyond 2^53': [
    packed(OPERATION.setAttributes, 1, 1, fields(8, 0, 0n, 2n ** 62n), Buffer.alloc(64)),
    ERRNO.EFBIG,
  ],
  'a time with too many nanoseconds': [
    packed(OPERATION.setAttributes, 1, 1, fields(16, 0), Buffer.alloc(80, 0xff)),
    ERRNO.EINVAL,
  ],
  'an extended attribute longer than the request': [
    packed(OPERATION.setExtendedAttribute, 1, 1, fields(50, 0), 'user.a', Buffer.from('abc')),
    ERRNO.EINVAL,
  ],
  'an extended attribute longer than any': [
    packed(OPERATION.setExtendedAttribute, 1, 1, fields(0x80000000, 0), 'user.a'),
    ERRNO.E2BIG,
  ],
  'a whence the kernel answers itself': [packed(OPERATION.seek, 1, 1, fields(0n, 0n, 0, 0)), ERRNO.EINVAL],
};

for (const [what, [request, errno]] of Object.entries(CASES)) {
  test(`${what} is refused`, () => assert.equal(errnoOf(request), errno));
}

test('a message whose length is a lie is refused, one without a header ignored', () => {
  const lie = packed(OPERATION.lookup, 1, 1, 'x');
  lie.writeUInt32LE(5000, 0);
  const { device, logged } = serve([lie, Buffer.from('too short')]);
  assert.equal(device.answer(1).errno, ERRNO.EINVAL);
  assert.equal(device.answers.length, 2);
  assert.equal(logged.length, 2);
});

test('reads behind every possible end are empty, not errors', () => {
  const { device } = serve([packed(OPERATION.read, 1, 1, fields(0n, -1n, 4096, 0, 0n, 0, 0))]);
  assert.deepEqual([device.answer(1).errno, device.answer(1).body.length], [0, 0]);
});

test('INIT of a kernel that is too old is refused with the reason', () => {
  const init = packed(OPERATION.init, 1, 0, fields(7, 12, 65536, 0x7fffffff));
  const { device, logged } = serve([init]);
  assert.equal(device.answer(1).errno, ERRNO.EPROTO);
  assert.match(logged.join(), /7\.12.*Linux 5\.4/);
});

test('INIT of a kernel with a newer major version is answered with ours, to be asked again', () => {
  const init = packed(OPERATION.init, 1, 0, fields(8, 0, 0, 0));
  const { device, session } = serve([init]);
  assert.equal(device.answer(1).body.readUInt32LE(0), 7);
  assert.equal(session.negotiated, undefined);
});

const anyOperation = fc.oneof(
  fc.constantFrom(...Object.values(OPERATION)),
  fc.integer({ min: 0, max: 0xffffffff }),
);
const anyRequest = fc
  .record({
    operation: anyOperation,
    unique: fc.integer({ min: 1, max: 900_000 }),
    inode: fc.oneof(fc.constantFrom(0n, 1n, 2n), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
    body: fc.uint8Array({ maxLength: 200 }),
  })
  .map(({ operation, unique, inode, body }) => packed(operation, unique, inode, body));

/** Operations without an answer. */
const SILENT = new Set<number>([
  OPERATION.forget,
  OPERATION.batchForget,
  OPERATION.interrupt,
  OPERATION.notifyReply,
]);

test('any operation with any body gets at most one answer, and the session lives on', () => {
  fc.assert(
    fc.property(fc.array(anyRequest, { maxLength: 40 }), (requests) => {
      const { device } = serve(requests, new MemoryFilesystem());
      const expected = requests.filter((request) => !SILENT.has(request.readUInt32LE(4))).length;
      assert.equal(device.answers.length, expected + 1);
    }),
    { numRuns: 400 },
  );
});

test('any bytes at all leave the session alive', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 20 }), (messages) => {
      serve(messages);
    }),
    { numRuns: 300 },
  );
});

test('a recorded request that lost its tail never reaches the filesystem half', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 200 }), anyOperation, (cut, operation) => {
      const whole = packed(operation, 1, 1, Buffer.alloc(200, 0x41));
      const short = Buffer.from(whole.subarray(0, 40 + cut));
      short.writeUInt32LE(short.length, 0);
      const filesystem = new RecordingFilesystem();
      const device = new ScriptedDevice([short]);
      const session = new Session({
        device,
        mountPoint: '/nowhere',
        filesystem,
        libc: undefined,
        clock: { monotonicMs: () => 0 },
        log: () => {},
      });
      session.run();
      // No string ends in such a body, so no call that takes a name may have been made.
      for (const [name] of filesystem.calls) {
        assert.ok(!['lookup', 'unlink', 'makeNode', 'makeDirectory', 'rename', 'link'].includes(`${name}`));
      }
    }),
    { numRuns: 300 },
  );
});
