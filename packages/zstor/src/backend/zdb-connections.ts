// The connections to one namespace of a zdb, and what is asked of the namespace itself.
//
// Three of them, each made when first needed and selected into its namespace once (defects D18, D37): *write* for SET, DEL and CHECK,
// *read* for GET and SCAN, so that a read never waits behind megabytes going out, and *control* for PING and NSINFO. A lost connection
// fails what was under way on it; the next call makes a new one.
import { type Address, type Clock, formatAddress, type Network } from '@qsfs/io';
import { ConnectionError, ProtocolError, RespError, ZdbClient } from '@qsfs/resp';
import { BackendError, type BackendFailure, type SpaceReport } from './backend.ts';
import { MeteredNetwork } from './metered-network.ts';

/** Where a namespace is. */
export interface ZdbLocation {
  readonly name: string;
  readonly address: Address;
  readonly namespace: string | undefined;
  readonly password: string | undefined;
}

/** Time for connecting and selecting: the second a silent backend may cost, once. */
const CONNECT_TIMEOUT_MS = 1000;
/**
 * A connection on which nothing moves for this long is given up. The guard (guard.ts) is far quicker for a backend that is silent
 * altogether; what is sent on a slow line may sit in the kernel's buffers for long.
 */
const COMMAND_TIMEOUT_MS: Readonly<Record<Lane, number>> = { write: 60_000, read: 10_000, control: 10_000 };
/** Commands on the way per connection, so that small ones are not limited by the round trip. */
const MOST_IN_FLIGHT = 256;

/** What a connection is for. */
export type Lane = 'write' | 'read' | 'control';

/** The connections to one namespace. */
export class ZdbConnections {
  readonly location: ZdbLocation;
  readonly #networks: Readonly<Record<Lane, MeteredNetwork>>;
  readonly #clock: Clock;
  readonly #lanes = new Map<Lane, Promise<ZdbClient>>();
  #resetReason = '';
  #closed = false;

  constructor(network: Network, clock: Clock, location: ZdbLocation) {
    this.#networks = {
      write: new MeteredNetwork(network),
      read: new MeteredNetwork(network),
      control: new MeteredNetwork(network),
    };
    this.#clock = clock;
    this.location = location;
  }

  /** Bytes received so far on a lane, or on all. */
  arrivedBytes(lane?: Lane): number {
    const { write, read, control } = this.#networks;
    if (lane) return this.#networks[lane].arrivedBytes;
    return write.arrivedBytes + read.arrivedBytes + control.arrivedBytes;
  }

  /** Runs a command on a lane. Every error comes out as BackendError. */
  async run<T>(lane: Lane, call: (client: ZdbClient) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { name } = this.location;
    try {
      return await call(await this.#client(lane));
    } catch (error) {
      if (signal?.aborted) throw new BackendError(name, 'aborted', 'given up', error);
      // The connections of a namespace that was removed are of no use any more, even if there is one of that name again.
      if (error instanceof RespError && /not available anymore/.test(error.message))
        this.reset('its namespace was removed');
      throw this.#translate(error);
    }
  }

  reset(reason: string): void {
    this.#resetReason = reason;
    for (const client of this.#lanes.values()) {
      client.then(
        (connected) => connected.close(),
        () => {},
      );
    }
    this.#lanes.clear();
  }

  close(): void {
    this.#closed = true;
    this.reset('closed');
  }

  #client(lane: Lane): Promise<ZdbClient> {
    const { name } = this.location;
    if (this.#closed) return Promise.reject(new BackendError(name, 'unreachable', 'closed'));
    const existing = this.#lanes.get(lane);
    if (existing) return existing;
    const { address, namespace, password } = this.location;
    const connecting = ZdbClient.connect(this.#networks[lane], this.#clock, {
      address,
      ...(namespace === undefined
        ? {}
        : {
            login: {
              namespace,
              // The challenge keeps the password off the wire (defect D35).
              ...(password === undefined ? {} : { namespacePassword: password, secure: true }),
            },
          }),
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      commandTimeoutMs: COMMAND_TIMEOUT_MS[lane],
      maxInFlight: MOST_IN_FLIGHT,
    });
    this.#lanes.set(lane, connecting);
    const forget = () => {
      if (this.#lanes.get(lane) === connecting) this.#lanes.delete(lane);
    };
    connecting.then(({ client }) => client.closed.then(forget, forget), forget);
    return connecting;
  }

  /** An error of the connection, with the address once at most: in the name of the store, or else behind it. */
  #brief(message: string): string {
    const address = formatAddress(this.location.address);
    // "cannot connect to ADDRESS: …" first: it holds the "ADDRESS: " of the other messages as well.
    const brief = message.replaceAll(` to ${address}`, '').replace(`${address}: `, '');
    return this.location.name.includes(address) ? brief : `${brief} (${address})`;
  }

  #translate(error: unknown): BackendError {
    const { name } = this.location;
    if (error instanceof BackendError) return error;
    if (error instanceof ConnectionError) {
      const reason =
        error.code === 'ECANCELED' && this.#resetReason ? this.#resetReason : this.#brief(error.message);
      return new BackendError(name, 'unreachable', reason, error);
    }
    if (error instanceof ProtocolError) return new BackendError(name, 'foreign', error.message, error);
    if (error instanceof RespError) {
      return new BackendError(name, failureOf(error.message), hintFor(error.message, this.location), error);
    }
    throw error;
  }
}

/** What a zdb's error line means for us (spec/zdb.md, 2.6 and 3). */
function failureOf(message: string): BackendFailure {
  if (/No space left/.test(message)) return 'full';
  if (/Cannot write/.test(message)) return 'unwritable';
  if (/not available anymore/.test(message)) return 'unreachable';
  if (/Namespace not found|not supported/.test(message)) return 'foreign';
  return 'refused';
}

function hintFor(message: string, location: ZdbLocation): string {
  const { namespace = 'default', password } = location;
  if (/^(Access denied|Namespace protected and private)$/.test(message)) {
    const defect = password === undefined ? 'it needs a password' : 'the password given is wrong';
    return `answered "${message}": ${defect} (key "password")`;
  }
  if (/not available anymore/.test(message)) return `its namespace "${namespace}" was removed`;
  if (message !== 'Namespace not found') return `answered "${message}"`;
  return `there is no namespace "${namespace}" (key "namespace"); create it with: NSNEW ${namespace}`;
}

/** NSINFO of the namespace, refused when its mode is not the one we need. @throws BackendError */
export async function inspect(
  connections: ZdbConnections,
  mode: 'sequential' | 'userkey',
  signal: AbortSignal | undefined,
): Promise<Map<string, string>> {
  const { name, namespace = 'default' } = connections.location;
  const info = await connections.run(
    'control',
    (client) => client.namespaceInfo(namespace, signal ? { signal } : {}),
    signal,
  );
  if (!info) {
    throw new BackendError(name, 'foreign', hintFor('Namespace not found', connections.location));
  }
  if (info.get('mode') !== mode) {
    const wanted = mode === 'sequential' ? 'seq' : 'user';
    throw new BackendError(
      name,
      'foreign',
      `namespace "${namespace}" is in ${info.get('mode')} mode, ${mode} is needed; set it while it is empty with: NSSET ${namespace} mode ${wanted}`,
    );
  }
  return info;
}

/** What NSINFO tells of the room. @throws BackendError */
export async function spaceOf(
  connections: ZdbConnections,
  mode: 'sequential' | 'userkey',
  signal: AbortSignal | undefined,
): Promise<SpaceReport> {
  const info = await inspect(connections, mode, signal);
  const number = (key: string): number | undefined => {
    const value = Number(info.get(key) ?? Number.NaN);
    return Number.isFinite(value) && value >= 0 ? value : undefined;
  };
  const usedBytes = number('data_size_bytes') ?? 0;
  const limitBytes = number('data_limits_bytes') ?? 0;
  const diskBytes = number('data_disk_freespace_bytes');
  const leftBytes = limitBytes > 0 ? Math.max(0, limitBytes - usedBytes) : undefined;
  // What is left of the limit, not the limit itself (defect D10), and never more than the disk has.
  const freeBytes =
    leftBytes === undefined ? diskBytes : Math.min(leftBytes, diskBytes ?? Number.POSITIVE_INFINITY);
  const spareBytes = leftBytes === undefined ? number('data_disk_spare_bytes') : undefined;
  return {
    usedBytes,
    freeBytes,
    entries: number('entries') ?? 0,
    ...(spareBytes === undefined ? {} : { spareBytes }),
  };
}
