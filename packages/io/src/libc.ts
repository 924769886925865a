// The few C library calls Node has no way to make. Loaded lazily through koffi; `loadLibc` answers undefined where
// koffi has no prebuilt binary for the machine, and callers then take their documented detour.
import { createRequire } from 'node:module';

/** Raw calls. Each returns what the C function returns; on -1 the errno is in `errno()`. */
export interface Libc {
  errno(): number;
  read(descriptor: number, target: Uint8Array, lengthBytes: number): number;
  write(descriptor: number, source: Uint8Array, lengthBytes: number): number;
  /** poll(2) over packed `struct pollfd` (int fd, short events, short revents). */
  poll(pollSet: Uint8Array, count: number, timeoutMs: number): number;
  eventfd(initial: number, flags: number): number;
  close(descriptor: number): number;
  flock(descriptor: number, operation: number): number;
  fallocate(descriptor: number, mode: number, position: number, lengthBytes: number): number;
  syncFileRange(descriptor: number, position: number, lengthBytes: number, flags: number): number;
  socketpair(domain: number, type: number, protocol: number, pair: Int32Array): number;
  recvmsg(descriptor: number, header: Uint8Array, flags: number): number;
  fcntl(descriptor: number, command: number, argument: number): number;
  /** close_range(2) from the first to the last descriptor; -1 also where the C library is older than the call. */
  closeRange(first: number, last: number, flags: number): number;
  /** Of this thread; `set` is a sigset_t of 128 bytes. Returns the error itself, not -1. */
  pthreadSignalMask(how: number, set: Uint8Array, previous: null): number;
  socket(domain: number, type: number, protocol: number): number;
  bind(descriptor: number, address: Uint8Array, lengthBytes: number): number;
  listen(descriptor: number, backlog: number): number;
  accept4(descriptor: number, address: null, length: null, flags: number): number;
  setsockopt(
    descriptor: number,
    level: number,
    option: number,
    value: Int32Array,
    lengthBytes: number,
  ): number;
  getsockname(descriptor: number, address: Uint8Array, lengthBytes: Int32Array): number;
  recv(descriptor: number, target: Uint8Array, lengthBytes: number, flags: number): number;
  send(descriptor: number, source: Uint8Array, lengthBytes: number, flags: number): number;
  shutdown(descriptor: number, how: number): number;
  epollCreate(flags: number): number;
  epollControl(epoll: number, operation: number, descriptor: number, event: Uint8Array): number;
  epollWait(epoll: number, events: Uint8Array, count: number, timeoutMs: number): number;
  /** Size of `struct epoll_event`, which is packed on x86-64 only; its data is the last 8 bytes. */
  readonly epollEventBytes: 12 | 16;
  /** Address of a buffer's first byte, for structures that hold pointers. */
  addressOf(buffer: Uint8Array): bigint;
}

let loaded: Libc | undefined | null = null;

/** The C library of this process, or undefined when koffi cannot load here. The first call costs some milliseconds. */
export function loadLibc(): Libc | undefined {
  if (loaded === null) loaded = load();
  return loaded;
}

function load(): Libc | undefined {
  let koffi: typeof import('koffi');
  try {
    koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  } catch {
    return undefined;
  }
  const c = koffi.load(null);
  return {
    errno: () => koffi.errno(),
    read: c.func('long read(int, void *, size_t)'),
    write: c.func('long write(int, void *, size_t)'),
    poll: c.func('int poll(void *, unsigned long, int)'),
    eventfd: c.func('int eventfd(unsigned int, int)'),
    close: c.func('int close(int)'),
    flock: c.func('int flock(int, int)'),
    fallocate: c.func('int fallocate(int, int, int64_t, int64_t)'),
    syncFileRange: c.func('int sync_file_range(int, int64_t, int64_t, unsigned int)'),
    socketpair: c.func('int socketpair(int, int, int, void *)'),
    recvmsg: c.func('long recvmsg(int, void *, int)'),
    fcntl: c.func('int fcntl(int, int, long)'),
    closeRange: optional(() => c.func('int close_range(unsigned int, unsigned int, int)')),
    pthreadSignalMask: c.func('int pthread_sigmask(int, void *, void *)'),
    socket: c.func('int socket(int, int, int)'),
    bind: c.func('int bind(int, void *, unsigned int)'),
    listen: c.func('int listen(int, int)'),
    accept4: c.func('int accept4(int, void *, void *, int)'),
    setsockopt: c.func('int setsockopt(int, int, int, void *, unsigned int)'),
    getsockname: c.func('int getsockname(int, void *, void *)'),
    recv: c.func('long recv(int, void *, size_t, int)'),
    send: c.func('long send(int, void *, size_t, int)'),
    shutdown: c.func('int shutdown(int, int)'),
    epollCreate: c.func('int epoll_create1(int)'),
    epollControl: c.func('int epoll_ctl(int, int, int, void *)'),
    epollWait: c.func('int epoll_wait(int, void *, int, int)'),
    epollEventBytes: process.arch === 'x64' ? 12 : 16,
    addressOf: (buffer) => BigInt(koffi.address(buffer)),
  };
}

/** A call that older C libraries do not have: -1 there. */
function optional(find: () => Libc['closeRange']): Libc['closeRange'] {
  try {
    return find();
  } catch {
    return () => -1;
  }
}
