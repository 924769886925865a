// Answers byte by byte, against the structures of the kernel's header written out by hand.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRNO } from '@qsfs/io';
import type { Attributes } from '../src/index.ts';
import { Operations } from '../src/operations.ts';
import { OPERATION } from '../src/protocol.ts';
import { Reply } from '../src/reply.ts';
import { Request } from '../src/request.ts';
import { RecordingFilesystem, someAttributes } from './recording-filesystem.ts';
import { fields, packed } from './scripted-device.ts';

function answering(options: { negativeSeconds?: number; answerCreate?: boolean } = {}) {
  const { negativeSeconds = 33, answerCreate = false } = options;
  const filesystem = new RecordingFilesystem();
  const request = new Request();
  const reply = new Reply({ entrySeconds: 11, attributeSeconds: 22, negativeSeconds }, 4096);
  const operations = new Operations(filesystem, request, reply, {
    negativeEntries: negativeSeconds > 0,
    answerCreate,
    answerSeek: true,
  });
  const ask = (operation: number, inode: number, ...body: (Uint8Array | string)[]): Buffer => {
    request.load(packed(operation, 1, inode, ...body));
    const length = operations.execute();
    return Buffer.from(reply.bytes.slice(16, 16 + length));
  };
  /** The errno of the request asked last; 0: none. */
  const errno = () => operations.errno;
  return { filesystem, ask, errno };
}

const ODD: Attributes = {
  inode: 2 ** 40 + 3,
  generation: 9,
  mode: 0o120777,
  linkCount: 3,
  userId: 70000,
  groupId: 4294967294,
  deviceNumber: 0x103,
  sizeBytes: 2 ** 52 + 1,
  blocks: 2 ** 43 + 1,
  accessed: { seconds: -2, nanoseconds: 500_000_000 },
  modified: { seconds: 2 ** 33, nanoseconds: 1 },
  changed: { seconds: 0, nanoseconds: 999_999_999 },
};

/** struct fuse_attr of ODD. */
const ODD_ATTRIBUTES = fields(
  BigInt(2 ** 40 + 3),
  BigInt(2 ** 52 + 1),
  BigInt(2 ** 43 + 1),
  -2n,
  BigInt(2 ** 33),
  0n,
  500_000_000,
  1,
  999_999_999,
  0o120777,
  3,
  70000,
  4294967294,
  0x103,
  4096,
  0,
);

test('LOOKUP answers fuse_entry_out, with wide and negative numbers intact', () => {
  const { filesystem, ask } = answering();
  filesystem.found = ODD;
  const expected = Buffer.concat([fields(BigInt(2 ** 40 + 3), 9n, 11n, 22n, 0, 0), ODD_ATTRIBUTES]);
  assert.deepEqual(ask(OPERATION.lookup, 1, 'x'), expected);
});

test('a name that does not exist is an entry without inode that may be remembered', () => {
  const { filesystem, ask } = answering();
  filesystem.found = undefined;
  const body = ask(OPERATION.lookup, 1, 'x');
  assert.deepEqual(body, Buffer.concat([fields(0n, 0n, 33n), Buffer.alloc(128 - 24)]));
});

test('without negative caching a missing name is ENOENT', () => {
  const { filesystem, ask, errno } = answering({ negativeSeconds: 0 });
  filesystem.found = undefined;
  assert.equal(ask(OPERATION.lookup, 1, 'x').length, 0);
  assert.equal(errno(), ERRNO.ENOENT);
});

test('a missing extended attribute is ENODATA, and the next answer is none', () => {
  const { filesystem, ask, errno } = answering();
  filesystem.getExtendedAttribute = () => undefined;
  assert.equal(ask(OPERATION.getExtendedAttribute, 2, fields(0, 0), 'security.capability').length, 0);
  assert.equal(errno(), ERRNO.ENODATA);
  ask(OPERATION.getAttributes, 2, fields(0n, 0n));
  assert.equal(errno(), 0);
});

test('GETATTR answers fuse_attr_out', () => {
  const { filesystem, ask } = answering();
  filesystem.getAttributes = () => ODD;
  const body = ask(OPERATION.getAttributes, 5, fields(0n, 0n));
  assert.deepEqual(body, Buffer.concat([fields(22n, 0, 0), ODD_ATTRIBUTES]));
});

test('CREATE is declined unless asked for, and then answers an entry and an open file', () => {
  const request = [fields(0o102, 0o100644, 0o22, 0), 'new'] as const;
  const declining = answering();
  assert.equal(declining.ask(OPERATION.create, 1, ...request).length, 0);
  assert.equal(declining.errno(), ERRNO.ENOSYS);
  const body = answering({ answerCreate: true }).ask(OPERATION.create, 1, ...request);
  assert.equal(body.length, 128 + 16);
  assert.equal(body.readBigUInt64LE(0), 100n);
  // Handle 0; FOPEN_KEEP_CACHE | FOPEN_NOFLUSH.
  assert.deepEqual(body.subarray(128), fields(0n, 2 | 32, 0));
});

test('STATFS answers fuse_statfs_out', () => {
  const body = answering().ask(OPERATION.status, 1);
  assert.deepEqual(
    body,
    Buffer.concat([fields(BigInt(2 ** 40), 3n, 2n, 5n, 4n, 4096, 255, 4096, 0), Buffer.alloc(24)]),
  );
});

test('LSEEK answers 64 bits, WRITE the number of bytes', () => {
  const { ask } = answering();
  assert.deepEqual(ask(OPERATION.seek, 5, fields(0n, 0n, 3, 0)), fields(BigInt(2 ** 40 + 5)));
  const written = ask(OPERATION.write, 5, fields(0n, 0n, 3, 0, 0n, 0, 0), Buffer.from('abc'));
  assert.deepEqual(written, fields(3, 0));
});

test('extended attributes answer their size, their bytes, or ERANGE', () => {
  const { ask } = answering();
  const get = (size: number) => ask(OPERATION.getExtendedAttribute, 5, fields(size, 0), 'user.a');
  assert.deepEqual(get(0), fields(5, 0));
  assert.equal(get(5).toString(), 'value');
  assert.throws(() => get(4), { code: 'ERANGE' });
  const list = (size: number) => ask(OPERATION.listExtendedAttributes, 5, fields(size, 0));
  assert.deepEqual(list(0), fields(15, 0));
  assert.equal(list(15).toString(), 'user.a\0user.bc\0');
});

test('READDIR packs entries on 8-byte boundaries and stops where the next does not fit', () => {
  const { filesystem, ask } = answering();
  filesystem.names = ['.', 'sevenby', 'eightbyt', 'niNebytes'];
  const list = (cookie: bigint, size: number) =>
    ask(OPERATION.readDirectory, 1, fields(0n, cookie, size, 0, 0n, 0, 0));
  const row = (index: number, name: string, pad: number) => [
    fields(BigInt(100 + index), BigInt(index + 1), name.length, 8),
    Buffer.from(name),
    Buffer.alloc(pad),
  ];
  const whole = Buffer.concat([
    ...row(0, '.', 7),
    ...row(1, 'sevenby', 1),
    ...row(2, 'eightbyt', 0),
    ...row(3, 'niNebytes', 7),
  ]);
  assert.deepEqual(list(0n, 4096), whole);
  assert.deepEqual(list(0n, whole.length - 1), whole.subarray(0, 96));
  assert.deepEqual(list(3n, 4096), whole.subarray(96));
  assert.equal(list(4n, 4096).length, 0);
});

test('READDIRPLUS puts an entry before each name, empty for the names the kernel takes no reference on', () => {
  const { filesystem, ask } = answering();
  filesystem.names = ['.', 'file'];
  const body = ask(OPERATION.readDirectoryPlus, 1, fields(0n, 0n, 4096, 0, 0n, 0, 0));
  assert.deepEqual(body.subarray(0, 128), Buffer.alloc(128));
  assert.equal(body.readBigUInt64LE(128), 100n);
  assert.equal(body.readBigUInt64LE(160), BigInt(someAttributes(101).inode));
  assert.equal(body.readUInt32LE(160 + 128 + 16), 4);
  assert.equal(body.toString('latin1', 160 + 152, 160 + 156), 'file');
  assert.equal(body.length, 2 * 160);
});

test('names keep every byte but zero and slash', () => {
  const { filesystem, ask } = answering();
  const name = Array.from({ length: 255 }, (_, index) => String.fromCharCode(index + 1))
    .filter((letter) => letter !== '/')
    .join('');
  ask(OPERATION.lookup, 1, name);
  assert.deepEqual(filesystem.calls, [['lookup', 1, name]]);
});
