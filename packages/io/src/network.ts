// Stream connections. Asynchronous, with callbacks on the hot path: no promise per chunk.

/** A TCP endpoint or a unix socket. */
export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

/** What a connection tells its owner. At most one `closed`, after which nothing else is called. */
export interface ConnectionEvents {
  /** Bytes arrived. The view is the receiver's to keep. */
  data(chunk: Uint8Array): void;
  /** Everything queued by `write` has been handed to the kernel. */
  drained(): void;
  /** The connection is gone; `error` is set unless the other side ended it in order. */
  closed(error?: Error): void;
}

/** One established stream connection. */
export interface Connection {
  readonly remote: string;
  /** Must be called once, before any data is delivered. */
  start(events: ConnectionEvents): void;
  /** Queues chunks in order as one gathered write. False when more than the kernel takes is queued: wait for `drained`. */
  write(chunks: readonly Uint8Array[]): boolean;
  /** Bytes queued here and not yet handed to the kernel. */
  readonly queuedBytes: number;
  /** Stops and resumes delivery of data (back-pressure on the sender). */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then closes. */
  end(): void;
  /** Closes at once; what is queued is dropped. */
  destroy(): void;
}

/** A listening socket. */
export interface Listener {
  /** The address really bound (the port chosen when 0 was asked for). */
  readonly address: Address;
  close(): Promise<void>;
}

/** Makes and accepts connections. */
export interface Network {
  /** @throws an error with code ECONNREFUSED, ETIMEDOUT, ENOENT, … within `timeoutMs` */
  connect(address: Address, timeoutMs: number): Promise<Connection>;
  /** @throws EADDRINUSE, EACCES, … */
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
