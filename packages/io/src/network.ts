// Stream connections. Asynchronous, with callbacks on the hot path: no promise per chunk.

/** A TCP endpoint or a unix socket. */
export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

/** What a connection tells its owner; never while the owner is calling the connection. */
export interface ConnectionEvents {
  /** Bytes arrived. The view is the receiver's during the call only: copy what is to be kept. */
  data(chunk: Uint8Array): void;
  /** Everything queued by `write` has been handed to the kernel. Called when a `write` answered false before. */
  drained(): void;
  /**
   * The other side sends no more, but can still receive: answer what is to be answered, then `end`. Without this callback
   * the connection ends by itself behind what is queued.
   */
  ended?(): void;
  /**
   * The connection is gone; `error` is set unless it ended in order or by our own `destroy`. Called once for every
   * started connection, and nothing is called afterwards.
   */
  closed(error?: Error): void;
}

/** One established stream connection. */
export interface Connection {
  readonly remote: string;
  /** Must be called once, before any data is delivered. @throws Error the second time */
  start(events: ConnectionEvents): void;
  /**
   * Queues chunks in order as one gathered write; they are borrowed until `queuedBytes` is 0. False when more than the
   * kernel takes is queued: wait for `drained`. On a connection that is ended, destroyed or gone nothing happens, and the
   * answer is false.
   */
  write(chunks: readonly Uint8Array[]): boolean;
  /** Bytes queued here and not yet handed to the kernel. */
  readonly queuedBytes: number;
  /** Stops and resumes delivery of data (back-pressure on the sender). The end of a paused connection may wait, too. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then says that no more comes; data still arrives until the other side ends as well. */
  end(): void;
  /** Closes at once; what is queued is dropped. */
  destroy(): void;
}

/** A listening socket. */
export interface Listener {
  /** The address really bound (the port chosen when 0 was asked for). */
  readonly address: Address;
  /** Stops listening and destroys the connections that were accepted; resolves when they are gone. */
  close(): Promise<void>;
}

/** Makes and accepts connections. */
export interface Network {
  /** @throws an error with code ECONNREFUSED, ETIMEDOUT, ENOENT, EHOSTUNREACH (also: unknown name), … within `timeoutMs` */
  connect(address: Address, timeoutMs: number): Promise<Connection>;
  /**
   * Listens. A unix socket that nobody listens on any more is replaced.
   * @throws EADDRINUSE, EACCES, EADDRNOTAVAIL, …
   */
  listen(address: Address, accepted: (connection: Connection) => void): Promise<Listener>;
}

/** `host:port`, `[v6]:port` or `unix:path`, for messages. */
export function formatAddress(address: Address): string {
  if ('path' in address) return `unix:${address.path}`;
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/**
 * Parses `host:port`, `[v6]:port` and `unix:path`.
 * @throws RangeError with a sentence that says what is wrong
 */
export function parseAddress(text: string): Address {
  if (text.startsWith('unix:')) {
    if (text.length === 5) throw new RangeError('an address "unix:" needs a path behind it');
    return { path: text.slice(5) };
  }
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (!host || port > 65535) {
    throw new RangeError(`"${text}" is no address; write host:port, [ipv6]:port or unix:path`);
  }
  return { host, port };
}
