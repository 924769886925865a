// What is said on machines that cannot mount. The machine is made up; nothing is mounted.
import assert from 'node:assert/strict';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  type ChildResult,
  type Disk,
  IoError,
  type Libc,
  loadLibc,
  openRealDevice,
  type Processes,
  realDisk,
  realProcesses,
} from '@qsfs/io';
import { MountError, type Mounting, mount } from '../src/index.ts';

let mountPoint: string;

before(() => {
  mountPoint = mkdtempSync(join(tmpdir(), 'qsfs-fuse-'));
});

after(() => rmdirSync(mountPoint));

interface Machine {
  readonly userId: number;
  readonly libc?: Libc | undefined;
  readonly run?: (command: string, parameters: readonly string[]) => ChildResult;
  readonly device?: () => never;
}

/** Tries to mount; answers the refusal and the commands that were run. */
function refusal(machine: Machine): { error: MountError; commands: string[][] } {
  const commands: string[][] = [];
  const processes: Processes = {
    ...realProcesses,
    userId: machine.userId,
    run(command, parameters) {
      commands.push([command, ...parameters]);
      if (machine.run) return machine.run(command, parameters);
      throw new IoError('ENOENT', `run ${command}`);
    },
  };
  const disk: Disk = {
    ...realDisk,
    open(path, mode, permissions) {
      if (path === '/dev/fuse' && machine.device) machine.device();
      return realDisk.open(path === '/dev/fuse' ? '/dev/null' : path, mode, permissions);
    },
  };
  const libc = 'libc' in machine ? machine.libc : loadLibc();
  const io: Mounting = { disk, processes, libc, openDevice: openRealDevice };
  try {
    mount(io, { mountPoint, source: 's', subtype: 'test' });
  } catch (error) {
    assert.ok(error instanceof MountError, `${error}`);
    return { error, commands };
  }
  assert.fail('it claims to have mounted');
}

for (const code of ['ENOENT', 'EACCES'] as const) {
  test(`no fusermount3 (${code}): the message names the package`, () => {
    const { error, commands } = refusal({
      userId: 1000,
      run: (command) => {
        throw new IoError(code, `run ${command}`);
      },
    });
    assert.equal(error.reason, 'no-fusermount');
    assert.match(error.message, /apt install fuse3/);
    assert.deepEqual(
      commands.map(([command]) => command),
      ['fusermount3', 'fusermount'],
    );
  });
}

test('no device: the message names the module and the container options', () => {
  const { error } = refusal({
    userId: 0,
    device: () => {
      throw new IoError('ENOENT', 'open /dev/fuse');
    },
  });
  assert.equal(error.reason, 'no-device');
  assert.match(error.message, /modprobe fuse.*--device \/dev\/fuse/);
});

test('root who may not mount is told what is missing', () => {
  const { error } = refusal({
    userId: 0,
    run: () => ({ exitCode: 32, output: '', errors: 'mount: /x: permission denied.\n' }),
  });
  assert.equal(error.reason, 'not-permitted');
  assert.match(error.message, /SYS_ADMIN/);
});

test('a device only root may open is said to be that', () => {
  const { error } = refusal({
    userId: 1000,
    run: () => ({
      exitCode: 1,
      output: '',
      errors: 'fusermount3: failed to open /dev/fuse: Permission denied\n',
    }),
  });
  assert.equal(error.reason, 'not-permitted');
  assert.match(error.message, /chmod 666 \/dev\/fuse/);
});

test('a program that says it mounted and hands over nothing is not believed', () => {
  const done = () => ({ exitCode: 0, output: '', errors: '' });
  assert.equal(refusal({ userId: 1000, run: done }).error.reason, 'refused');
  assert.equal(refusal({ userId: 0, run: done }).error.reason, 'refused');
});

test('the options that reach mount(8) are the ones that were meant', () => {
  const { commands } = refusal({ userId: 0, run: () => ({ exitCode: 1, output: '', errors: 'no' }) });
  const words = commands[0] ?? [];
  assert.deepEqual(words.slice(0, 5), ['mount', '-i', '-c', '-t', 'fuse.test']);
  assert.equal(
    words[6],
    'fd=3,rootmode=40000,user_id=0,group_id=' +
      `${realProcesses.groupId},default_permissions,max_read=1048576,rw,nosuid,nodev,allow_other`,
  );
});

test('a type with blanks is a mistake of the program', () => {
  const io: Mounting = {
    disk: realDisk,
    processes: realProcesses,
    libc: undefined,
    openDevice: openRealDevice,
  };
  assert.throws(() => mount(io, { mountPoint, source: 's', subtype: 'a b' }), RangeError);
});
