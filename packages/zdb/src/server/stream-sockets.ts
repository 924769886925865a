// The socket loop over a Network (node:net, or a simulated one): the fallback where FFI is not available, and for tests. A turn is
// everything Node delivers before its immediates run.
import type { Address, Clock, Connection, Listener, Network } from '@qsfs/io';
import type { ServerSocket, SocketEvents, SocketLoop } from './sockets.ts';

/** A client that does not end its side after we ended ours is cut off. */
const LINGER_MS = 5000;

/** Sockets over a Network. */
export class StreamLoop implements SocketLoop {
  readonly kind = 'node';
  readonly #network: Network;
  readonly #clock: Clock;
  readonly #listeners: Listener[] = [];
  readonly #sockets = new Set<StreamSocket>();
  #turnEnded: (() => void) | undefined;
  #scheduled = false;
  #closed = false;

  constructor(network: Network, clock: Clock) {
    this.#network = network;
    this.#clock = clock;
  }

  async listen(address: Address, accepted: (socket: ServerSocket) => SocketEvents): Promise<Address> {
    const listener = await this.#network.listen(address, (connection) => {
      const socket = new StreamSocket(connection, this.#clock);
      this.#sockets.add(socket);
      const events = accepted(socket);
      connection.start({
        data: (chunk) => {
          if (socket.ending) return;
          // A large value goes into its own memory piece by piece, as with epoll.
          let at = 0;
          for (let space = events.space(); space !== undefined && at < chunk.length; space = events.space()) {
            const taken = Math.min(space.length, chunk.length - at);
            space.set(chunk.subarray(at, at + taken));
            at += taken;
            events.filled(taken);
          }
          // The chunk is ours during this call only, and values in it are written when the turn ends.
          const rest = Buffer.from(chunk.subarray(at));
          if (rest.length > 0) events.received(rest, rest.length);
          this.wantTurn();
        },
        drained: () => {
          events.drained();
          this.wantTurn();
        },
        ended: () => {
          if (!socket.ending) events.inputEnded();
          else socket.destroy();
          this.wantTurn();
        },
        closed: () => {
          this.#sockets.delete(socket);
          socket.gone = true;
          events.closed();
          this.wantTurn();
        },
      });
    });
    this.#listeners.push(listener);
    return listener.address;
  }

  start(turnEnded: () => void): void {
    this.#turnEnded = turnEnded;
    this.wantTurn();
  }

  wantTurn(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.soon(() => {
      this.#scheduled = false;
      if (!this.#closed) this.#turnEnded?.();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    for (const socket of this.#sockets) socket.destroy();
  }
}

class StreamSocket implements ServerSocket {
  gone = false;
  ending = false;
  readonly #connection: Connection;
  readonly #clock: Clock;

  constructor(connection: Connection, clock: Clock) {
    this.#connection = connection;
    this.#clock = clock;
  }

  get remote(): string {
    return this.#connection.remote;
  }

  get queuedBytes(): number {
    return this.gone ? 0 : this.#connection.queuedBytes;
  }

  send(segments: readonly Uint8Array[], scratch: ArrayBufferLike): void {
    if (this.gone) return;
    this.#connection.write(
      segments.map((segment) => (segment.buffer === scratch ? new Uint8Array(segment) : segment)),
    );
  }

  pause(): void {
    if (!this.gone) this.#connection.pause();
  }

  resume(): void {
    if (!this.gone) this.#connection.resume();
  }

  end(): void {
    if (this.gone || this.ending) return;
    this.ending = true;
    this.#connection.resume(); // what still comes is thrown away, until the other side ends
    this.#connection.end();
    this.#clock.after(LINGER_MS, () => this.destroy(), true);
  }

  destroy(): void {
    if (!this.gone) this.#connection.destroy();
  }
}
