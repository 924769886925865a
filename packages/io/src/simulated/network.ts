// A network in memory: hosts are names, and rules say how the way between them behaves. Time is that of the given clock,
// everything drawn at random comes from the given generator, so the same calls give the same deliveries.
//
// Bytes of one connection stay in order, as TCP keeps them; those of different connections overtake each other when there
// is jitter. Deliveries are cut into segments at random places. Names that mean "this host" (localhost, 127.0.0.1, ::1,
// 0.0.0.0, ::) all mean the host that uses them; a plain SimulatedNetwork is the host "localhost" and may listen on every name.
import type { Clock } from '../clock.ts';
import { IoError } from '../errors.ts';
import { type Address, type Connection, formatAddress, type Listener, type Network } from '../network.ts';
import { type Road, SimulatedConnection } from './connection.ts';
import { SimulatedRandom } from './random.ts';

const OWN_NAMES: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '::1', '0.0.0.0', '::', '']);
const FIRST_EPHEMERAL_PORT = 49_152;
/** A request for a connection that was lost is sent again after this time. */
const CONNECT_RETRY_MS = 1000;

/**
 * What a way does with connections. `answer`: works. `refuse`: new ones get ECONNREFUSED. `ignore`: a black hole: they are
 * established, take bytes up to the socket buffers and never answer. `vanish`: packets are lost, new ones time out and
 * existing ones stall. What stalls goes on when the way answers again.
 */
export type Behaviour = 'answer' | 'refuse' | 'ignore' | 'vanish';

/** How a way between two hosts is. */
export interface Conditions {
  readonly behaviour: Behaviour;
  /** One way. */
  readonly delayMs: number;
  /** Up to so much more, drawn for every segment. */
  readonly jitterMs: number;
  /** Of one listening address, per direction, shared by its connections. */
  readonly bytesPerSecond: number;
}

/** Which connections: from a host, to a host or an address (`host:port`, `unix:path`); left out means all. */
export interface Way {
  readonly from?: string;
  readonly to?: string;
}

const PERFECT: Conditions = {
  behaviour: 'answer',
  delayMs: 0,
  jitterMs: 0,
  bytesPerSecond: Number.POSITIVE_INFINITY,
};

/** Where a connection leads: what the rules look at. */
interface Route {
  readonly from: string;
  readonly toHost: string;
  readonly toAddress: string;
}

interface Link {
  readonly route: Route;
  readonly client: SimulatedConnection;
  readonly server: SimulatedConnection;
}

interface OpenListener {
  readonly key: string;
  readonly accepted: (connection: Connection) => void;
  readonly links: Set<Link>;
  /** Established, but not taken by the program: it is stuck. */
  readonly backlog: SimulatedConnection[];
}

interface Cut {
  readonly way: Way;
  leftBytes: number;
}

/** See the head of this file. */
export class SimulatedNetwork implements Network {
  readonly #clock: Clock;
  readonly #random: SimulatedRandom;
  readonly #rules: { readonly way: Way; readonly conditions: Partial<Conditions> }[] = [];
  readonly #cuts: Cut[] = [];
  readonly #listeners = new Map<string, OpenListener>();
  readonly #links = new Set<Link>();
  /** When the last byte sent to or from a listening address has left, by direction and address. */
  readonly #busyUntilMs = new Map<string, number>();
  #nextPort = FIRST_EPHEMERAL_PORT;

  constructor(clock: Clock, random: SimulatedRandom = new SimulatedRandom(0)) {
    this.#clock = clock;
    this.#random = random;
  }

  connect(address: Address, timeoutMs: number): Promise<Connection> {
    return this.#connect('localhost', address, timeoutMs);
  }

  listen(address: Address, accepted: (connection: Connection) => void): Promise<Listener> {
    return this.#listen('localhost', address, accepted);
  }

  // ---- what tests use -------------------------------------------------------------------------------------------

  /** The network as the programs of one host see it. */
  host(name: string): Network {
    return {
      connect: (address, timeoutMs) => this.#connect(name, address, timeoutMs),
      listen: async (address, accepted) => {
        if ('host' in address && canonical(name, address.host) !== name) {
          throw new IoError('EADDRNOTAVAIL', `listen on ${formatAddress(address)} at ${name}`);
        }
        return await this.#listen(name, address, accepted);
      },
    };
  }

  /** Sets conditions, from now on, of all ways or of those named; later rules win over earlier ones. */
  shape(conditions: Partial<Conditions>, way: Way = {}): void {
    this.#rules.push({ way, conditions });
    for (const link of [...this.#links]) {
      link.client.wake();
      link.server.wake();
    }
    for (const listener of this.#listeners.values()) this.#takeBacklog(listener);
  }

  /** Forgets all conditions: every way is perfect again. */
  restore(): void {
    this.#rules.length = 0;
    this.shape({});
    this.#rules.length = 0;
  }

  /** Resets the connections of a way now, at both ends. @returns how many */
  cut(way: Way = {}): number {
    const chosen = [...this.#links].filter((link) => covers(way, link.route));
    for (const { client, server, route } of chosen) {
      const error = new IoError('ECONNRESET', `connection to ${route.toAddress} (simulated cut)`);
      client.fail(error);
      server.fail(error);
    }
    return chosen.length;
  }

  /** Lets so many more bytes of a way arrive, whatever the direction, and resets the connection that carries the next one. */
  cutAfter(lengthBytes: number, way: Way = {}): void {
    this.#cuts.push({ way, leftBytes: lengthBytes });
  }

  /** Connections of which at least one end is open. */
  get connections(): number {
    return this.#links.size;
  }

  // ---- inside ---------------------------------------------------------------------------------------------------

  #conditions(route: Route): Conditions {
    let result = PERFECT;
    for (const { way, conditions } of this.#rules) {
      if (covers(way, route)) result = { ...result, ...conditions };
    }
    return result;
  }

  #connect(from: string, address: Address, timeoutMs: number): Promise<Connection> {
    const route = routeOf(from, address);
    const action = `connect to ${formatAddress(address)}`;
    return new Promise((resolve, reject) => {
      let over = false;
      let made: SimulatedConnection | undefined;
      const timer = this.#clock.after(timeoutMs, () => {
        over = true;
        made?.destroy();
        reject(new IoError('ETIMEDOUT', `${action} within ${timeoutMs} ms`));
      });
      const attempt = (): void => {
        if (over) return;
        if (this.#conditions(route).behaviour === 'vanish') {
          this.#clock.after(CONNECT_RETRY_MS, attempt);
          return;
        }
        this.#clock.after(this.#travelMs(route), arrive);
      };
      const arrive = (): void => {
        if (over) return;
        const listener = this.#listeners.get(route.toAddress);
        const refused = !listener || this.#conditions(route).behaviour === 'refuse';
        if (!refused) made = this.#establish(route, listener, address);
        const code = 'path' in address && !listener ? 'ENOENT' : 'ECONNREFUSED';
        this.#clock.after(this.#travelMs(route), () => {
          if (over) return;
          timer.cancel();
          if (made) resolve(made);
          else reject(new IoError(code, action));
        });
      };
      attempt();
    });
  }

  #establish(route: Route, listener: OpenListener, address: Address): SimulatedConnection {
    let open = 2;
    const gone = (): void => {
      if (--open > 0) return;
      this.#links.delete(link);
      listener.links.delete(link);
    };
    const clientName = 'path' in address ? formatAddress(address) : `${route.from}:${this.#nextPort++}`;
    const client = new SimulatedConnection(formatAddress(address), this.#road(route, 'out'), gone);
    const server = new SimulatedConnection(clientName, this.#road(route, 'back'), gone);
    SimulatedConnection.join(client, server);
    const link: Link = { route, client, server };
    this.#links.add(link);
    listener.links.add(link);
    listener.backlog.push(server);
    if (this.#conditions(route).behaviour !== 'ignore') this.#takeBacklog(listener);
    return client;
  }

  /** Gives the program the connections that wait for it, unless it is stuck. */
  #takeBacklog(listener: OpenListener): void {
    for (const link of listener.links) {
      const index = listener.backlog.indexOf(link.server);
      if (index < 0 || this.#conditions(link.route).behaviour === 'ignore') continue;
      listener.backlog.splice(index, 1);
      if (!link.server.closed) listener.accepted(link.server);
    }
  }

  #road(route: Route, direction: 'out' | 'back'): Road {
    return {
      clock: this.#clock,
      random: this.#random,
      arrivalMs: (lengthBytes) => {
        const now = this.#clock.monotonicMs();
        const key = `${direction} ${route.toAddress}`;
        const { bytesPerSecond } = this.#conditions(route);
        const leaves = Math.max(now, this.#busyUntilMs.get(key) ?? 0) + (lengthBytes / bytesPerSecond) * 1000;
        this.#busyUntilMs.set(key, leaves);
        return leaves + this.#travelMs(route);
      },
      passes: () => this.#conditions(route).behaviour !== 'vanish',
      // The program that listens is stuck; the one that connected is not.
      delivers: () => direction === 'back' || this.#conditions(route).behaviour !== 'ignore',
      allow: (lengthBytes) => this.#allow(route, lengthBytes),
    };
  }

  #travelMs(route: Route): number {
    const { delayMs, jitterMs } = this.#conditions(route);
    return delayMs + (jitterMs > 0 ? (this.#random.next() / 2 ** 32) * jitterMs : 0);
  }

  #allow(route: Route, lengthBytes: number): number {
    for (const [index, cut] of this.#cuts.entries()) {
      if (!covers(cut.way, route)) continue;
      if (lengthBytes <= cut.leftBytes) {
        cut.leftBytes -= lengthBytes;
        continue;
      }
      this.#cuts.splice(index, 1);
      return cut.leftBytes;
    }
    return lengthBytes;
  }

  async #listen(
    host: string,
    address: Address,
    accepted: (connection: Connection) => void,
  ): Promise<Listener> {
    const bound: Address =
      'host' in address && address.port === 0 ? { host: address.host, port: this.#freePort(host) } : address;
    const { toAddress: key } = routeOf(host, bound);
    if (this.#listeners.has(key)) throw new IoError('EADDRINUSE', `listen on ${formatAddress(address)}`);
    const listener: OpenListener = { key, accepted, links: new Set(), backlog: [] };
    this.#listeners.set(key, listener);
    return {
      address: bound,
      close: async () => {
        if (this.#listeners.get(key) === listener) this.#listeners.delete(key);
        for (const link of [...listener.links]) link.server.destroy();
      },
    };
  }

  #freePort(host: string): number {
    for (;;) {
      const port = this.#nextPort++;
      if (!this.#listeners.has(routeOf(host, { host, port }).toAddress)) return port;
    }
  }
}

/** The host a name means when used at `own`. */
function canonical(own: string, name: string): string {
  return OWN_NAMES.has(name) ? own : name;
}

function routeOf(from: string, address: Address): Route {
  // A unix socket exists on its host only; the plain network's paths carry no host.
  if ('path' in address) {
    const toAddress = from === 'localhost' ? `unix:${address.path}` : `${from} unix:${address.path}`;
    return { from, toHost: from, toAddress };
  }
  const toHost = canonical(from, address.host);
  return { from, toHost, toAddress: formatAddress({ host: toHost, port: address.port }) };
}

function covers(way: Way, route: Route): boolean {
  if (way.from !== undefined && way.from !== route.from) return false;
  if (way.to === undefined) return true;
  const to = way.to.replace(/^(?:127\.0\.0\.1|\[::1\]|0\.0\.0\.0)(?=:|$)/, 'localhost');
  return to === route.toHost || to === route.toAddress;
}
