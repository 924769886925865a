// What the kernel really sends, byte for byte, becomes the right calls.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERRNO, type ErrnoCode } from '@qsfs/io';
import { Operations } from '../src/operations.ts';
import { Reply } from '../src/reply.ts';
import { Request } from '../src/request.ts';
import { RecordingFilesystem } from './recording-filesystem.ts';

interface Recorded {
  readonly requests: readonly { readonly name: string; readonly request: string }[];
}

const recorded = JSON.parse(
  readFileSync(new URL('./fixtures/requests-7.45.json', import.meta.url), 'utf8'),
) as Recorded;

const ROOT_CALLER = { userId: 0, groupId: 0 };
/** By name: the filesystem calls a request leads to, or the errno that declines it. */
const EXPECTED: Readonly<Record<string, readonly unknown[] | string>> = {
  GETATTR: ['getAttributes', 1],
  LOOKUP: ['lookup', 1, 'one'],
  'LOOKUP 2': ['lookup', 1, 'missing'],
  CREATE: ['makeNode', 1, 'one', 0o100640, 0, ROOT_CALLER],
  GETXATTR: ['getExtendedAttribute', 2, 'security.capability'],
  WRITE: ['write', 2, 0, 'hello', ROOT_CALLER, false],
  FSYNC: ['sync', 2, false],
  RELEASE: [],
  MKNOD: ['makeNode', 1, 'one', 0o100640, 0, ROOT_CALLER],
  OPEN: 'ENOSYS',
  FLUSH: 'ENOSYS',
  OPENDIR: 'ENOSYS',
  IOCTL: 'ENOTTY',
  MKDIR: ['makeDirectory', 1, 'dir', 0o750, ROOT_CALLER],
  SYMLINK: ['makeSymlink', 1, 'sym', 'one', ROOT_CALLER],
  READLINK: ['readLink', 4],
  LINK: ['link', 2, 1, 'two', ROOT_CALLER],
  'MKNOD 2': ['makeNode', 1, 'pipe', 0o010644, 0, ROOT_CALLER],
  'MKNOD 3': ['makeNode', 1, 'null', 0o020644, 0x103, ROOT_CALLER],
  RENAME: ['rename', 1, 'two', 1, 'three', 0, ROOT_CALLER],
  RENAME2: ['rename', 1, 'one', 1, 'four', 1, ROOT_CALLER],
  SETATTR: [
    'setAttributes',
    2,
    {
      accessed: { seconds: -2, nanoseconds: 500_000_000 },
      modified: { seconds: 4294967296, nanoseconds: 7 },
    },
    ROOT_CALLER,
  ],
  'SETATTR 2': ['setAttributes', 2, { accessed: 'now', modified: 'now' }, ROOT_CALLER],
  'SETATTR 3': ['setAttributes', 2, { mode: 0o4755 }, ROOT_CALLER],
  'SETATTR 4': ['setAttributes', 2, { userId: 70000, groupId: 4294967294, clearSetId: true }, ROOT_CALLER],
  'SETATTR 5': ['setAttributes', 2, { sizeBytes: 3 }, ROOT_CALLER],
  SETXATTR: ['setExtendedAttribute', 2, 'user.k', 'value', 0, ROOT_CALLER],
  LISTXATTR: ['listExtendedAttributes', 2],
  REMOVEXATTR: ['removeExtendedAttribute', 2, 'user.k', ROOT_CALLER],
  READDIRPLUS: ['listDirectory', 1, 0, true],
  READDIR: ['listDirectory', 1, 10, false],
  STATFS: ['status'],
  FALLOCATE: ['allocate', 2, 0, 0, 4096],
  LSEEK: ['seek', 2, 0, 4],
  READ: ['read', 2, 0, 4096],
  COPY_FILE_RANGE_64: ['copyRange', 2, 0, 7, 0, 4096],
  FSYNCDIR: ['sync', 3, false],
  TMPFILE: ['makeTemporary', 1, 0o100600, ROOT_CALLER],
  FORGET: ['forget', 8, 1],
  UNLINK: ['unlink', 1, 'three', ROOT_CALLER],
  RMDIR: ['removeDirectory', 1, 'dir', ROOT_CALLER],
};

for (const { name, request: hex } of recorded.requests) {
  if (name === 'INIT') continue;
  test(`a recorded ${name} becomes the call it asks for`, () => {
    const filesystem = new RecordingFilesystem();
    const request = new Request();
    const reply = new Reply({ entrySeconds: 1, attributeSeconds: 1, negativeSeconds: 1 }, 4096);
    const operations = new Operations(filesystem, request, reply, {
      negativeEntries: true,
      answerCreate: true,
      answerSeek: true,
    });
    request.load(Buffer.from(hex, 'hex'));
    assert.ok(request.whole);
    const expected = EXPECTED[name];
    assert.ok(expected !== undefined, `no expectation for ${name}`);
    if (typeof expected === 'string') {
      assert.equal(operations.execute(), 0);
      assert.equal(operations.errno, ERRNO[expected as ErrnoCode]);
      assert.deepEqual(filesystem.calls, []);
    } else {
      operations.execute();
      assert.deepEqual(filesystem.calls, expected.length === 0 ? [] : [expected]);
    }
  });
}
