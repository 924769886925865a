// TCP and unix sockets through node:net.
import * as fs from 'node:fs';
import * as net from 'node:net';
import { basename, dirname } from 'node:path';
import { errorCode, IoError } from '../errors.ts';
import { loadLibc } from '../libc.ts';
import {
  type Address,
  type Connection,
  type ConnectionEvents,
  formatAddress,
  type Listener,
  type Network,
} from '../network.ts';
import { realClock } from './clock.ts';

/** A peer that vanished without a word is noticed some minutes after this long a silence. */
const KEEP_ALIVE_AFTER_MS = 60_000;
/** Whether somebody listens on a unix socket is known at once, or he is there and busy. */
const PROBE_TIMEOUT_MS = 1000;

/**
 * Where all connections we made receive: what arrives is handed on before the next read. A buffer for each read would be
 * most of the garbage of a process that reads from many backends.
 */
const RECEIVED = new Uint8Array(256 * 1024);

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
/**
 * A unix socket takes a large value whole: a peer that is woken for each piece of 150 KiB spends more on waking than on the bytes.
 * The kernel counts overhead, and gives less where net.core.wmem_max is smaller. Over TCP it finds the right size by itself.
 */
const UNIX_SEND_BYTES = 2 * 1024 * 1024;

/** Widens the send buffer of a connected unix socket, where Node tells its descriptor and the C library can be called. */
function widenSendBuffer(socket: net.Socket): void {
  // Node documents no way to the descriptor of a socket.
  const { _handle: handle } = socket as { _handle?: { fd?: unknown } };
  if (typeof handle?.fd !== 'number' || handle.fd < 0) return;
  loadLibc()?.setsockopt(handle.fd, SOL_SOCKET, SO_SNDBUF, new Int32Array([UNIX_SEND_BYTES]), 4);
}

/** Takes what a socket reads into `RECEIVED`, once its connection is started. */
interface Inlet {
  take: (chunk: Uint8Array) => void;
}

class RealConnection implements Connection {
  readonly remote: string;
  readonly #socket: net.Socket;
  readonly #inlet: Inlet | undefined;
  #events: ConnectionEvents | undefined;
  #failure: Error | undefined;
  #ended = false;

  /** @param inlet of a socket that reads into `RECEIVED` and is paused; without one it emits `data` */
  constructor(socket: net.Socket, remote: string, inlet?: Inlet) {
    this.#socket = socket;
    this.remote = remote;
    this.#inlet = inlet;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_AFTER_MS);
    // All three can come before `start`: they are remembered, and an error must not end the process.
    socket.on('error', (error) => {
      this.#failure = error;
    });
    socket.on('end', () => {
      this.#ended = true;
      if (this.#events) this.#finish(this.#events);
    });
    socket.on('close', () => this.#events?.closed(this.#failure));
  }

  start(events: ConnectionEvents): void {
    if (this.#events) throw new Error(`the connection with ${this.remote} was started twice`);
    this.#events = events;
    const socket = this.#socket;
    if (socket.closed) {
      queueMicrotask(() => events.closed(this.#failure));
      return;
    }
    socket.on('drain', () => events.drained());
    if (this.#inlet) {
      this.#inlet.take = (chunk) => events.data(chunk);
      socket.resume();
    } else {
      socket.on('data', (chunk: Buffer) => events.data(chunk));
    }
    if (this.#ended) queueMicrotask(() => this.#finish(events));
  }

  write(chunks: readonly Uint8Array[]): boolean {
    const socket = this.#socket;
    if (!socket.writable) return false;
    if (chunks.length === 1) return socket.write(chunks[0]!);
    socket.cork();
    let taken = true;
    for (const chunk of chunks) taken = socket.write(chunk);
    socket.uncork();
    return taken;
  }

  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    // Before `start` there is nobody to take the data.
    if (this.#events) this.#socket.resume();
  }

  end(): void {
    if (this.#socket.writable) this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #finish(events: ConnectionEvents): void {
    if (this.#socket.destroyed) return;
    if (events.ended) events.ended();
    else this.end();
  }
}

/** `sun_path` of struct sockaddr_un holds 107 bytes and the ending NUL (unix(7)). */
const SOCKET_PATH_MAX_BYTES = 107;

/** A path the kernel takes for a unix socket; `release` when it is not needed any more. */
interface SocketPath {
  readonly path: string;
  /** A second call does nothing. */
  release(): void;
}

/** A longer path is reached through an open descriptor of its folder. @throws ENOENT, or ENAMETOOLONG for a long name */
function socketPath(path: string): SocketPath {
  if (path === '' || path.includes('\0')) throw new IoError('EINVAL', `unix socket ${JSON.stringify(path)}`);
  if (Buffer.byteLength(path) <= SOCKET_PATH_MAX_BYTES) return { path, release: () => {} };
  const descriptor = fs.openSync(dirname(path), fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  const short = `/proc/self/fd/${descriptor}/${basename(path)}`;
  if (Buffer.byteLength(short) > SOCKET_PATH_MAX_BYTES) {
    fs.closeSync(descriptor);
    throw new IoError(
      'ENAMETOOLONG',
      `the name of the unix socket ${path} is too long; use one below 80 bytes`,
    );
  }
  let open = true;
  return {
    path: short,
    release: () => {
      if (open) fs.closeSync(descriptor);
      open = false;
    },
  };
}

/** An error of node:net with an errno name as its code. Names that do not resolve have no errno. */
function namedError(error: Error, action: string): Error {
  const code = errorCode(error);
  if (code) return new IoError(code, action);
  const text = 'code' in error ? String(error.code) : '';
  if (text === 'ENOTFOUND' || text.startsWith('EAI_')) {
    return new IoError('EHOSTUNREACH', `${action}: the name does not resolve (${text})`);
  }
  return error;
}

async function connect(address: Address, timeoutMs: number): Promise<Connection> {
  const action = `connect to ${formatAddress(address)}`;
  const reached = 'path' in address ? socketPath(address.path) : undefined;
  try {
    return await new Promise<Connection>((resolve, reject) => {
      const target = 'path' in address ? { path: reached!.path } : { host: address.host, port: address.port };
      const inlet: Inlet = { take: () => {} };
      const socket = net.connect({
        ...target,
        allowHalfOpen: true,
        onread: {
          buffer: RECEIVED,
          callback: (lengthBytes) => {
            inlet.take(RECEIVED.subarray(0, lengthBytes));
            return true;
          },
        },
      });
      // Nothing is read before the connection is started.
      socket.pause();
      const timer = realClock.after(timeoutMs, () => {
        socket.destroy();
        reject(new IoError('ETIMEDOUT', `${action} within ${timeoutMs} ms`));
      });
      const refuse = (error: Error): void => {
        timer.cancel();
        reject(namedError(error, action));
      };
      socket.once('error', refuse);
      socket.once('connect', () => {
        timer.cancel();
        if ('path' in address) widenSendBuffer(socket);
        const connection = new RealConnection(socket, formatAddress(address), inlet);
        socket.off('error', refuse);
        resolve(connection);
      });
    });
  } finally {
    reached?.release();
  }
}

/** Removes a unix socket that nobody listens on. False when somebody does, or when it is something else. */
async function removeStale(path: string): Promise<boolean> {
  if (!fs.lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return false;
  try {
    (await connect({ path }, PROBE_TIMEOUT_MS)).destroy();
    return false;
  } catch (error) {
    if (errorCode(error) !== 'ECONNREFUSED') return false;
  }
  fs.rmSync(path, { force: true });
  return true;
}

async function listen(address: Address, accepted: (connection: Connection) => void): Promise<Listener> {
  try {
    return await listenOnce(address, accepted);
  } catch (error) {
    const mayBeStale = 'path' in address && errorCode(error) === 'EADDRINUSE';
    if (!mayBeStale || !(await removeStale(address.path))) throw error;
    return await listenOnce(address, accepted);
  }
}

function listenOnce(address: Address, accepted: (connection: Connection) => void): Promise<Listener> {
  return new Promise((resolve, reject) => {
    // Held until the listener is closed: Node then removes the socket by the path it was given.
    const reached = 'path' in address ? socketPath(address.path) : undefined;
    const open = new Set<net.Socket>();
    const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
      open.add(socket);
      socket.once('close', () => open.delete(socket));
      const { remoteAddress: host, remotePort: port } = socket;
      const remote = formatAddress(host !== undefined && port !== undefined ? { host, port } : address);
      accepted(new RealConnection(socket, remote));
    });
    const refuse = (error: Error): void => {
      reached?.release();
      reject(namedError(error, `listen on ${formatAddress(address)}`));
    };
    server.once('error', refuse);
    server.listen(
      'path' in address ? { path: reached!.path } : { host: address.host, port: address.port },
      () => {
        server.off('error', refuse);
        // Running out of descriptors, for instance: whoever could not be accepted tries again.
        server.on('error', () => {});
        const bound = server.address();
        resolve({
          address: typeof bound === 'object' && bound ? { host: bound.address, port: bound.port } : address,
          close: () =>
            new Promise((done) => {
              for (const socket of open) socket.destroy();
              server.close(() => {
                reached?.release();
                done();
              });
            }),
        });
      },
    );
  });
}

/** The machine's own network. */
export const realNetwork: Network = { connect, listen };
