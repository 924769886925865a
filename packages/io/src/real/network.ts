// TCP and unix sockets through node:net.
import * as fs from 'node:fs';
import * as net from 'node:net';
import { basename, dirname } from 'node:path';
import { IoError } from '../errors.ts';
import {
  type Address,
  type Connection,
  type ConnectionEvents,
  formatAddress,
  type Listener,
  type Network,
} from '../network.ts';

class RealConnection implements Connection {
  readonly remote: string;
  readonly #socket: net.Socket;

  constructor(socket: net.Socket, remote: string) {
    this.#socket = socket;
    this.remote = remote;
    socket.setNoDelay(true);
    // An error before `start` must not end the process; `closed` reports it later.
    socket.on('error', () => {});
  }

  start(events: ConnectionEvents): void {
    const socket = this.#socket;
    let failure: Error | undefined;
    socket.on('data', (chunk: Buffer) => events.data(chunk));
    socket.on('drain', () => events.drained());
    socket.on('error', (error) => {
      failure = error;
    });
    socket.on('end', () => socket.end());
    socket.once('close', () => events.closed(failure));
    if (socket.destroyed) queueMicrotask(() => events.closed(socket.errored ?? undefined));
  }

  write(chunks: readonly Uint8Array[]): boolean {
    const socket = this.#socket;
    if (chunks.length === 1) return socket.write(chunks[0] as Uint8Array);
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
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
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
  if (Buffer.byteLength(path) <= SOCKET_PATH_MAX_BYTES) return { path, release: () => {} };
  const descriptor = fs.openSync(dirname(path), fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  const short = `/proc/self/fd/${descriptor}/${basename(path)}`;
  if (Buffer.byteLength(short) > SOCKET_PATH_MAX_BYTES) {
    fs.closeSync(descriptor);
    throw new IoError('ENAMETOOLONG', `the name of the unix socket ${path} is too long`);
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

/** The machine's own network. */
export const realNetwork: Network = {
  connect(address: Address, timeoutMs: number): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const reached = 'path' in address ? socketPath(address.path) : undefined;
      const socket = net.connect(
        'path' in address ? { path: reached!.path } : { host: address.host, port: address.port },
      );
      const timer = setTimeout(() => {
        socket.destroy();
        reached?.release();
        reject(new IoError('ETIMEDOUT', `connect to ${formatAddress(address)} within ${timeoutMs} ms`));
      }, timeoutMs);
      const settle = () => {
        clearTimeout(timer);
        reached?.release();
      };
      socket.once('error', (error) => {
        settle();
        reject(error);
      });
      socket.once('connect', () => {
        settle();
        socket.removeAllListeners('error');
        resolve(new RealConnection(socket, formatAddress(address)));
      });
    });
  },

  listen(address: Address, accepted: (connection: Connection) => void): Promise<Listener> {
    return new Promise((resolve, reject) => {
      // Held until the listener is closed: Node then removes the socket by the path it was given.
      const reached = 'path' in address ? socketPath(address.path) : undefined;
      const open = new Set<net.Socket>();
      const server = net.createServer({ noDelay: true }, (socket) => {
        open.add(socket);
        socket.once('close', () => open.delete(socket));
        accepted(new RealConnection(socket, `${socket.remoteAddress ?? 'unix'}:${socket.remotePort ?? ''}`));
      });
      server.once('error', (error) => {
        reached?.release();
        reject(error);
      });
      server.listen(
        'path' in address ? { path: reached!.path } : { host: address.host, port: address.port },
        () => {
          server.removeAllListeners('error');
          server.on('error', () => {});
          const bound = server.address();
          const real: Address =
            typeof bound === 'object' && bound ? { host: bound.address, port: bound.port } : address;
          resolve({
            address: real,
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
  },
};
