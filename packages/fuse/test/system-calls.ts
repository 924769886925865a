// System calls that Node does not offer, for the tests.
import { createRequire } from 'node:module';

const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
const c = koffi.load(null);
const calls = {
  setxattr: c.func('int setxattr(const char *, const char *, const void *, size_t, int)'),
  getxattr: c.func('long getxattr(const char *, const char *, void *, size_t)'),
  listxattr: c.func('long listxattr(const char *, void *, size_t)'),
  removexattr: c.func('int removexattr(const char *, const char *)'),
  renameat2: c.func('int renameat2(int, const char *, int, const char *, unsigned int)'),
  fallocate: c.func('int fallocate(int, int, int64_t, int64_t)'),
  lseek: c.func('int64_t lseek(int, int64_t, int)'),
  copyFileRange: c.func('long copy_file_range(int, void *, int, void *, size_t, unsigned int)'),
  mknod: c.func('int mknod(const char *, unsigned int, uint64_t)'),
  linkat: c.func('int linkat(int, const char *, int, const char *, int)'),
};
const HERE = -100;

/** Result of the call, or minus the errno. */
function result(value: number): number {
  return value >= 0 ? value : -koffi.errno();
}

export const system = {
  setExtended: (path: string, name: string, value: string, flags = 0): number =>
    result(calls.setxattr(path, name, Buffer.from(value), value.length, flags)),
  getExtended(path: string, name: string): string | number {
    const room = Buffer.alloc(65536);
    const got = result(calls.getxattr(path, name, room, room.length));
    return got >= 0 ? room.toString('latin1', 0, got) : got;
  },
  listExtended(path: string): string[] {
    const room = Buffer.alloc(65536);
    const got = result(calls.listxattr(path, room, room.length));
    return room.toString('latin1', 0, Math.max(0, got)).split('\0').filter(Boolean);
  },
  removeExtended: (path: string, name: string): number => result(calls.removexattr(path, name)),
  rename: (source: string, target: string, flags: number): number =>
    result(calls.renameat2(HERE, source, HERE, target, flags)),
  allocate: (descriptor: number, mode: number, offset: number, length: number): number =>
    result(calls.fallocate(descriptor, mode, offset, length)),
  seek: (descriptor: number, offset: number, whence: number): number =>
    result(calls.lseek(descriptor, offset, whence)),
  copyRange: (source: number, target: number, length: number): number =>
    result(calls.copyFileRange(source, null, target, null, length, 0)),
  makeNode: (path: string, mode: number, device: number): number => result(calls.mknod(path, mode, device)),
  /** Gives an open file without a name one. */
  linkOpen: (descriptor: number, path: string): number =>
    result(calls.linkat(HERE, `/proc/self/fd/${descriptor}`, HERE, path, 0x400)),
};
