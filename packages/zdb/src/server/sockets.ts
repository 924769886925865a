// What the server needs of the network: sockets that deliver in turns. In one turn everything that is ready is received and
// executed; then one commit covers all of it, and only then replies leave. Two implementations: epoll.ts (the fast one) and
// stream-sockets.ts (plain node:net). Commands know neither.
import type { Address } from '@qsfs/io';

/** One accepted connection. */
export interface ServerSocket {
  /** Who is at the other end, for the log. */
  readonly remote: string;
  /** Bytes taken by `send` that the kernel has not taken yet. */
  readonly queuedBytes: number;
  /**
   * Sends segments in order. Segments that live in `scratch` are borrowed for the call only; the others are given away and must
   * not change any more. After the other side went away bytes are dropped silently.
   */
  send(segments: readonly Uint8Array[], scratch: ArrayBufferLike): void;
  /** Stops and resumes receiving. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then closes. */
  end(): void;
  /** Closes at once. */
  destroy(): void;
}

/** What a socket tells its session. After `closed` nothing comes any more. */
export interface SocketEvents {
  /** Bytes arrived: `bytes` up to `lengthBytes`, borrowed until the end of the turn. */
  received(bytes: Uint8Array, lengthBytes: number): void;
  /** True when a large value is likely to come next: little should be received before `space` is asked again. */
  readonly expectsLarge: boolean;
  /** Memory the next bytes should be received into, if there is a preference. */
  space(): Uint8Array | undefined;
  /** Bytes were received into `space()`. */
  filled(lengthBytes: number): void;
  /** The other side sends no more; it may still read. */
  inputEnded(): void;
  /** Everything taken by `send` was taken by the kernel, after some had to wait. */
  drained(): void;
  closed(): void;
}

/** Accepts connections and drives the turns. */
export interface SocketLoop {
  readonly kind: 'epoll' | 'node';
  /**
   * Listens. A host must be an address, not a name.
   * @returns the address really bound
   * @throws an error with code EADDRINUSE, EACCES, EADDRNOTAVAIL, …
   */
  listen(address: Address, accepted: (socket: ServerSocket) => SocketEvents): Promise<Address>;
  /**
   * Starts delivering. `turnEnded` is called after each turn in which something was delivered, and after `wantTurn`.
   * @param gathering answers whether a turn gets cheaper the more it holds: it may then be kept open while more arrives
   */
  start(turnEnded: () => void, gathering: () => boolean): void;
  /** Asks for a turn soon although nothing may arrive. */
  wantTurn(): void;
  /** Stops listening and delivering, closes every socket. */
  close(): Promise<void>;
}
