// Mounting without being root: fusermount3, which is set-user-id root, opens the device, mounts it where the user may,
// and hands the descriptor back over a unix socket (SCM_RIGHTS), named to it by an environment variable.
//
// Structures (64-bit Linux, the same on x86-64 and arm64, glibc and musl as far as little-endian bytes go):
//   msghdr, 56 bytes: 0 name*, 8 namelen, 16 iov*, 24 iovlen, 32 control*, 40 controllen, 48 flags
//   iovec, 16 bytes: 0 base*, 8 length        cmsghdr: 0 length (8), 8 level (4), 12 type (4), 16 data
import { errorCode, type Libc, type Processes } from '@qsfs/io';
import { PLAIN_MESSAGES } from './dead-mount.ts';
import { MountError } from './mount-error.ts';

const UNIX = 1;
const STREAM_CLOSE_ON_EXEC = 1 | 0o2000000;
const MESSAGE_CLOSE_ON_EXEC = 0x40000000;
const MESSAGE_DONT_WAIT = 0x40;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const CONTROL_BYTES = 64;
const DESCRIPTOR_AT = 16;
/** Names of the program, newest first. */
export const PROGRAMS = ['fusermount3', 'fusermount'];

/** What to do when there is none. */
export const MISSING_FUSERMOUNT =
  'mounting without being root needs fusermount3; install the package fuse3 ("apt install fuse3", "dnf install fuse3", "apk add fuse3"), or run as root';
/** What to do when other users may not open the device. */
export const ROOT_ONLY_DEVICE =
  '/dev/fuse may only be used by root here; let everybody use it ("chmod 666 /dev/fuse" as root; who may mount where is checked elsewhere), or run as root';

/**
 * Mounts with fusermount3.
 * @param options mount options, one word each, already escaped
 * @returns the device's descriptor
 * @throws MountError
 */
export function mountWithFusermount(
  processes: Processes,
  libc: Libc,
  path: string,
  options: readonly string[],
): number {
  const pair = new Int32Array(2);
  if (libc.socketpair(UNIX, STREAM_CLOSE_ON_EXEC, 0, pair) !== 0) {
    throw new MountError('refused', `no socket pair for fusermount3: errno ${libc.errno()}`);
  }
  const [ours, theirs] = pair as unknown as [number, number];
  try {
    runFusermount(processes, theirs, ['-o', options.join(','), '--', path]);
    return receiveDescriptor(libc, ours);
  } finally {
    libc.close(ours);
    libc.close(theirs);
  }
}

function runFusermount(processes: Processes, socket: number, parameters: readonly string[]): void {
  for (const program of PROGRAMS) {
    try {
      const result = processes.run(program, parameters, {
        streams: ['ignore', 'pipe', 'pipe', socket],
        environment: { ...PLAIN_MESSAGES, _FUSE_COMMFD: '3' },
      });
      if (result.exitCode === 0) return;
      throw refusal(program, result.errors.trim());
    } catch (error) {
      // EACCES: not found either, in a path with a directory that this user may not search (execvp(3)); or not ours to run.
      if (!['ENOENT', 'EACCES'].includes(errorCode(error) ?? '')) throw error;
    }
  }
  throw new MountError('no-fusermount', MISSING_FUSERMOUNT);
}

function refusal(program: string, said: string): MountError {
  if (said.includes('user_allow_other')) {
    return new MountError(
      'not-permitted',
      'other users may only be let in (allow_other) when /etc/fuse.conf has a line "user_allow_other"; add it as root, or mount without allow_other',
    );
  }
  if (/\/dev\/fuse: Permission denied/.test(said)) {
    return new MountError('not-permitted', ROOT_ONLY_DEVICE);
  }
  if (/\/dev\/fuse|device not found/.test(said)) {
    return new MountError('no-device', `${program} cannot use /dev/fuse (${said}); ${DEVICE_HINT}`);
  }
  if (said.includes('no write access to mountpoint') || said.includes('not owned by user')) {
    return new MountError('not-permitted', `${said}; the mount point must be yours and writable`);
  }
  return new MountError('refused', `${program} refused: ${said || 'without saying why'}`);
}

/** What to do when there is no FUSE device. */
export const DEVICE_HINT =
  'load the kernel module as root ("modprobe fuse"); a container needs --device /dev/fuse and --cap-add SYS_ADMIN';

function receiveDescriptor(libc: Libc, socket: number): number {
  const byte = Buffer.alloc(16);
  const vector = Buffer.alloc(16);
  const control = Buffer.alloc(CONTROL_BYTES);
  const header = Buffer.alloc(56);
  vector.writeBigUInt64LE(libc.addressOf(byte), 0);
  vector.writeBigUInt64LE(1n, 8);
  header.writeBigUInt64LE(libc.addressOf(vector), 16);
  header.writeBigUInt64LE(1n, 24);
  header.writeBigUInt64LE(libc.addressOf(control), 32);
  header.writeBigUInt64LE(BigInt(CONTROL_BYTES), 40);
  // The program has ended, so its message is there or will never be.
  const got = libc.recvmsg(socket, header, MESSAGE_CLOSE_ON_EXEC | MESSAGE_DONT_WAIT);
  const rights =
    got >= 0 &&
    control.readUInt32LE(0) >= DESCRIPTOR_AT + 4 &&
    control.readInt32LE(8) === SOL_SOCKET &&
    control.readInt32LE(12) === SCM_RIGHTS;
  if (!rights) throw new MountError('refused', 'fusermount3 mounted but handed over no descriptor');
  return control.readInt32LE(DESCRIPTOR_AT);
}
