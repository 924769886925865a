// The socket loop over epoll: one wait, all reads, one commit, all sends. Measured against node:net in docs/adr/ (zdb socket loop).
//
// All received bytes of a turn lie in one arena, which is used again when the turn has ended; large values are received straight
// into their own memory. Sending happens in `ServerSocket.send`; what the kernel does not take is copied and waits for EPOLLOUT.
// Level-triggered, so nothing is lost by reading once per wake-up, and no connection starves another.
//
// The process has one thread and Node needs its own loop (timers, child processes, signals). While there is traffic turns run back
// to back for at most TURN_MS, waiting up to SPIN_MS for more, and then let Node run once. Without traffic Node's loop sleeps
// until the epoll set is readable (`watchDescriptor`), so an idle server uses no processor time.
import type { Address, Clock, DescriptorSleep, Libc, Timer } from '@qsfs/io';
import { ERRNO, type ErrnoCode, IoError, watchDescriptor } from '@qsfs/io';
import { EpollSocket, type SocketHost } from './epoll-socket.ts';
import { encodeSocketAddress, portOf } from './socket-address.ts';
import type { ServerSocket, SocketEvents, SocketLoop } from './sockets.ts';

const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const EPOLLIN = 1;
const EPOLLOUT = 4;
const EPOLLERR = 8;
const EPOLLHUP = 16;
const CLOEXEC = 0x80000;
const NONBLOCK = 0x800;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_SNDBUF = 7;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_USER_TIMEOUT = 18;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const MSG_NOSIGNAL = 0x4000;
const MSG_MORE = 0x8000;

/** Events taken per wait. */
const MAX_EVENTS = 256;
/** Most bytes of one receive into the arena. */
const RECEIVE_BYTES = 64 * 1024;
/** Receives start at multiples of this in the arena, so that their views can be made once. */
const RECEIVE_STEP_BYTES = 1024;
const ARENA_BYTES = 1024 * 1024;
/** Received first where a large value is expected: its beginning comes along and has to be copied. */
const HEADER_BYTES = 1024;
/** Receives for one socket in a row, at most. */
const RECEIVES = 16;
/** Replies up to this size together are copied into one send. */
const GATHER_BYTES = 64 * 1024;
/** Longest run of turns before Node's loop gets its turn. */
const TURN_MS = 2;
/** Looks for more requests before the writes of a turn are synced: one sync for more of them is worth the wait. */
const GATHER_ROUNDS = 4;
/** Longest blocking wait while there was traffic just now. */
const SPIN_MS = 1;
/** Bytes a unix socket takes before the client reads, half of what the kernel counts: room for a few large values with their overhead. */
const UNIX_SEND_BYTES = 256 * 1024;
/** Before it sleeps while there is traffic, the loop looks for so long: waking a processor costs more. After looks in vain, so many waits go
 * without (2 to this power at most). */
const LOOK_MS = 0.04;
const MAX_VAIN_LOOKS = 8;
/** Longest blocking wait where the event loop cannot sleep on the epoll set. */
const BLOCK_MS = 20;
/** Connections waiting to be accepted, at most. */
const BACKLOG = 4096;
/** Connections accepted per turn, at most. */
const ACCEPTS = 64;
/** Pause in accepting when descriptors run out. */
const ACCEPT_PAUSE_MS = 100;
/** A peer that acknowledges nothing for so long is gone. */
const USER_TIMEOUT_MS = 120_000;
const KEEPALIVE_IDLE_SECONDS = 300;
const SHUT_WR = 1;
/** A client that does not end its side after we ended ours is cut off after so long. */
const LINGER_MS = 5000;

interface Accepting {
  readonly descriptor: number;
  readonly tcp: boolean;
  readonly accepted: (socket: ServerSocket) => SocketEvents;
}

/** Opens the epoll loop. */
export class EpollLoop implements SocketLoop, SocketHost {
  readonly kind = 'epoll';
  readonly #libc: Libc;
  readonly #clock: Clock;
  readonly #log: (message: string) => void;
  readonly #epoll: number;
  readonly #sleep: DescriptorSleep | undefined;

  readonly #events: Int32Array;
  readonly #eventBytes: Uint8Array;
  readonly #eventWords: number;
  readonly #change: Int32Array;
  readonly #changeBytes: Uint8Array;

  readonly #arena: Uint8Array[] = [];
  #arenaAt = 0;
  readonly #gather = Buffer.allocUnsafeSlow(GATHER_BYTES);

  readonly #sockets: (EpollSocket | undefined)[] = [];
  readonly #accepting: (Accepting | undefined)[] = [];
  #turnEnded: () => void = () => {};
  #gathering: () => boolean = () => false;
  #wanted = false;
  #inTurn = false;
  #soonScheduled = false;
  #closed = false;
  /** Looks in vain one after the other; how many more waits go without. */
  #vainLooks = 0;
  #looksSkipped = 0;
  #acceptTimer: Timer | undefined;

  /** @param log one line for the operator */
  constructor(libc: Libc, clock: Clock, log: (message: string) => void) {
    this.#libc = libc;
    this.#clock = clock;
    this.#log = log;
    this.#epoll = libc.epollCreate(CLOEXEC);
    if (this.#epoll < 0) throw systemError(libc, 'create an epoll set');
    this.#sleep = watchDescriptor(this.#epoll);
    this.#eventWords = libc.epollEventBytes / 4;
    this.#events = new Int32Array(this.#eventWords * MAX_EVENTS);
    this.#eventBytes = new Uint8Array(this.#events.buffer);
    this.#change = new Int32Array(this.#eventWords);
    this.#changeBytes = new Uint8Array(this.#change.buffer);
    const arena = new ArrayBuffer(ARENA_BYTES);
    for (let at = 0; at + RECEIVE_BYTES <= ARENA_BYTES; at += RECEIVE_STEP_BYTES) {
      this.#arena.push(new Uint8Array(arena, at, RECEIVE_BYTES));
    }
  }

  async listen(address: Address, accepted: (socket: ServerSocket) => SocketEvents): Promise<Address> {
    const libc = this.#libc;
    const { family, bytes, v6only } = encodeSocketAddress(address);
    const descriptor = libc.socket(family, SOCK_STREAM | CLOEXEC | NONBLOCK, 0);
    if (descriptor < 0) throw systemError(libc, 'create a socket');
    const tcp = !('path' in address);
    if (tcp) this.#option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1);
    if (v6only !== undefined) this.#option(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, v6only ? 1 : 0);
    const where = 'path' in address ? address.path : `${address.host} port ${address.port}`;
    if (
      libc.bind(descriptor, bytes, bytes.length) < 0 ||
      libc.listen(descriptor, BACKLOG) < 0 ||
      !this.#control(EPOLL_CTL_ADD, descriptor, EPOLLIN)
    ) {
      const error = systemError(libc, `listen on ${where}`);
      libc.close(descriptor);
      throw error;
    }
    this.#accepting[descriptor] = { descriptor, tcp, accepted };
    if ('path' in address) return address;
    const bound = new Uint8Array(128);
    libc.getsockname(descriptor, bound, new Int32Array([bound.length]));
    return { host: address.host, port: portOf(bound) };
  }

  start(turnEnded: () => void, gathering: () => boolean): void {
    this.#turnEnded = turnEnded;
    this.#gathering = gathering;
    this.#clock.soon(() => this.#run());
  }

  wantTurn(): void {
    this.#wanted = true;
    if (this.#inTurn || this.#soonScheduled) return;
    this.#soonScheduled = true;
    this.#clock.soon(() => {
      this.#soonScheduled = false;
      if (this.#wanted && !this.#closed) this.#endTurn();
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#acceptTimer?.cancel();
    for (const listening of this.#accepting) {
      if (listening !== undefined) this.#libc.close(listening.descriptor);
    }
    for (const socket of this.#sockets) socket?.destroy();
    this.#sleep?.close();
    this.#libc.close(this.#epoll);
  }

  /** Turns until there is nothing to do or Node has to run. */
  #run(): void {
    const untilMs = this.#clock.monotonicMs() + TURN_MS;
    let spin = 0;
    while (!this.#closed) {
      const count = this.#wait(this.#wanted ? 0 : spin);
      if (count > 0) {
        this.#deliver(count);
        for (let i = 0; i < GATHER_ROUNDS && this.#gathering(); i++) {
          const more = this.#libc.epollWait(this.#epoll, this.#eventBytes, MAX_EVENTS, 0);
          if (more <= 0) break;
          this.#deliver(more);
        }
      } else if (!this.#wanted) {
        this.#idle();
        return;
      }
      this.#endTurn();
      spin = SPIN_MS;
      if (this.#clock.monotonicMs() >= untilMs) {
        this.#clock.soon(() => this.#run());
        return;
      }
    }
  }

  /** Waits for events; looks for a moment before it really sleeps, unless that was in vain lately. */
  #wait(timeoutMs: number): number {
    const libc = this.#libc;
    if (timeoutMs > 0 && this.#looksSkipped > 0) this.#looksSkipped--;
    else if (timeoutMs > 0) {
      const untilMs = this.#clock.monotonicMs() + LOOK_MS;
      do {
        const count = libc.epollWait(this.#epoll, this.#eventBytes, MAX_EVENTS, 0);
        if (count > 0) {
          this.#vainLooks = 0;
          return count;
        }
      } while (this.#clock.monotonicMs() < untilMs);
      this.#looksSkipped = 2 ** this.#vainLooks;
      if (this.#vainLooks < MAX_VAIN_LOOKS) this.#vainLooks++;
    }
    return libc.epollWait(this.#epoll, this.#eventBytes, MAX_EVENTS, timeoutMs);
  }

  #idle(): void {
    if (this.#sleep !== undefined) {
      this.#sleep.until(() => this.#run());
      return;
    }
    // No way to sleep in Node's loop: block here for a short time, then let it run.
    this.#clock.soon(() => {
      if (this.#closed) return;
      const count = this.#libc.epollWait(this.#epoll, this.#eventBytes, MAX_EVENTS, BLOCK_MS);
      if (count > 0) {
        this.#deliver(count);
        this.#endTurn();
      }
      this.#run();
    });
  }

  #endTurn(): void {
    this.#wanted = false;
    this.#inTurn = true;
    this.#turnEnded();
    this.#inTurn = false;
    this.#arenaAt = 0;
  }

  #deliver(count: number): void {
    const events = this.#events;
    const words = this.#eventWords;
    this.#inTurn = true;
    for (let i = 0; i < count; i++) {
      const at = i * words;
      const what = events[at]!;
      const descriptor = events[at + words - 2]!;
      const socket = this.#sockets[descriptor];
      if (socket !== undefined) {
        if ((what & EPOLLOUT) !== 0) socket.writable();
        if ((what & (EPOLLIN | EPOLLHUP | EPOLLERR)) !== 0) {
          if (socket.receiving) this.#receive(socket);
          else if (socket.lingering) this.#discard(socket);
          else if ((what & (EPOLLHUP | EPOLLERR)) !== 0) socket.hungUp();
        }
      } else {
        const listening = this.#accepting[descriptor];
        if (listening !== undefined) this.#accept(listening);
      }
    }
    this.#inTurn = false;
  }

  /**
   * Receives once, and goes on while a large argument comes in and the kernel has more of it: then it is executed while it is in the
   * processor's cache (a third of the time of a 128 KiB SET).
   */
  #receive(socket: EpollSocket): void {
    const events = socket.events!;
    for (let i = 0; i < RECEIVES; i++) {
      const space = events.space();
      if (i > 0 && space === undefined) return;
      let target = space;
      if (target === undefined) {
        if (this.#arenaAt >= this.#arena.length) {
          this.#endTurn();
          this.#inTurn = true;
          if (!socket.receiving) return;
        }
        target = this.#arena[this.#arenaAt]!;
        if (events.expectsLarge) target = target.subarray(0, HEADER_BYTES);
      }
      const count = this.#libc.recv(socket.descriptor, target, target.length, 0);
      if (count <= 0) {
        this.#receivedNothing(socket, count);
        return;
      }
      if (space !== undefined) {
        events.filled(count);
      } else {
        this.#arenaAt += Math.ceil(count / RECEIVE_STEP_BYTES);
        events.received(target, count);
      }
      if (count < target.length || !socket.receiving) return;
    }
  }

  #receivedNothing(socket: EpollSocket, count: number): void {
    if (count === 0) {
      socket.inputEnded();
      return;
    }
    const errno = this.#libc.errno();
    if (errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR) socket.destroy();
  }

  /** Closing with unread bytes would reset the connection, and the client might not see our last words. */
  #discard(socket: EpollSocket): void {
    const count = this.#libc.recv(socket.descriptor, this.#gather, GATHER_BYTES, 0);
    const errno = count < 0 ? this.#libc.errno() : 0;
    if (count > 0) socket.discarded(count);
    else if (errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR) socket.destroy();
  }

  #accept(listening: Accepting): void {
    for (let i = 0; i < ACCEPTS; i++) {
      const descriptor = this.#libc.accept4(listening.descriptor, null, null, CLOEXEC | NONBLOCK);
      if (descriptor < 0) {
        const errno = this.#libc.errno();
        if (errno !== ERRNO.EAGAIN && errno !== ERRNO.EINTR && errno !== ERRNO.ECONNABORTED) {
          this.#pauseAccepting(errno);
        }
        return;
      }
      if (listening.tcp) {
        this.#option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
        this.#option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1);
        this.#option(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS);
        this.#option(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
      } else {
        // Over TCP the kernel finds the right size by itself.
        this.#option(descriptor, SOL_SOCKET, SO_SNDBUF, UNIX_SEND_BYTES);
      }
      if (!this.#control(EPOLL_CTL_ADD, descriptor, EPOLLIN)) {
        this.#libc.close(descriptor);
        continue;
      }
      const socket = new EpollSocket(this, descriptor, listening.tcp ? 'tcp' : 'unix');
      this.#sockets[descriptor] = socket;
      socket.events = listening.accepted(socket);
    }
  }

  /** Out of descriptors or memory: waiting connections stay in the backlog for a while instead of being asked for again and again. */
  #pauseAccepting(errno: number): void {
    if (this.#acceptTimer !== undefined) return;
    this.#log(`cannot accept connections (errno ${errno}), trying again every ${ACCEPT_PAUSE_MS} ms`);
    for (const listening of this.#accepting) {
      if (listening !== undefined) this.#control(EPOLL_CTL_MOD, listening.descriptor, 0);
    }
    this.#acceptTimer = this.#clock.after(ACCEPT_PAUSE_MS, () => {
      this.#acceptTimer = undefined;
      if (this.#closed) return;
      for (const listening of this.#accepting) {
        if (listening !== undefined) this.#control(EPOLL_CTL_MOD, listening.descriptor, EPOLLIN);
      }
    });
  }

  #option(descriptor: number, level: number, option: number, value: number): void {
    this.#libc.setsockopt(descriptor, level, option, new Int32Array([value]), 4);
  }

  #control(operation: number, descriptor: number, what: number): boolean {
    const change = this.#change;
    change.fill(0);
    change[0] = what;
    change[change.length - 2] = descriptor;
    return this.#libc.epollControl(this.#epoll, operation, descriptor, this.#changeBytes) === 0;
  }

  // What its sockets ask of the loop (SocketHost).

  watch(descriptor: number, reading: boolean, writing: boolean): void {
    this.#control(EPOLL_CTL_MOD, descriptor, (reading ? EPOLLIN : 0) | (writing ? EPOLLOUT : 0));
  }

  rewatch(descriptor: number, reading: boolean, writing: boolean): void {
    this.#control(EPOLL_CTL_ADD, descriptor, (reading ? EPOLLIN : 0) | (writing ? EPOLLOUT : 0));
  }

  unwatch(descriptor: number): void {
    this.#control(EPOLL_CTL_DEL, descriptor, 0);
  }

  release(descriptor: number): void {
    this.#control(EPOLL_CTL_DEL, descriptor, 0);
    this.#sockets[descriptor] = undefined;
    this.#libc.close(descriptor);
  }

  transmit(descriptor: number, bytes: Uint8Array, more: boolean): number {
    const count = this.#libc.send(descriptor, bytes, bytes.length, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    if (count >= 0) return count;
    const errno = this.#libc.errno();
    return errno === ERRNO.EAGAIN || errno === ERRNO.EINTR ? 0 : -1;
  }

  shutdown(socket: EpollSocket): void {
    this.#libc.shutdown(socket.descriptor, SHUT_WR);
    this.#clock.after(LINGER_MS, () => socket.destroy(), true);
  }

  gathered(segments: readonly Uint8Array[]): Uint8Array | undefined {
    let total = 0;
    for (const segment of segments) total += segment.length;
    if (total > GATHER_BYTES) return undefined;
    let at = 0;
    for (const segment of segments) {
      this.#gather.set(segment, at);
      at += segment.length;
    }
    return this.#gather.subarray(0, total);
  }
}

function systemError(libc: Libc, action: string): IoError {
  const errno = libc.errno();
  const code = (Object.keys(ERRNO) as ErrnoCode[]).find((name) => ERRNO[name] === errno);
  return new IoError(code ?? 'EIO', code === undefined ? `${action} (errno ${errno})` : action);
}
