// A server in this process, on a simulated disk and network, for tests with faults and many inputs.
import type { Address, Connection, Disk } from '@qsfs/io';
import { SimulatedClock, SimulatedDisk, SimulatedNetwork, SimulatedRandom } from '@qsfs/io/simulated';
import { type Engine, openEngine } from '@qsfs/zdb';
import {
  Server,
  type ServerOptions,
  type ServerSocket,
  type SocketEvents,
  type SocketLoop,
} from '@qsfs/zdb/server';
import { Log } from '../../src/server/log.ts';
import { StreamLoop } from '../../src/server/stream-sockets.ts';

const ADDRESS = { host: 'localhost', port: 9900 };

/** A client's end: sends bytes, collects what comes. */
export class LocalConnection {
  received = Buffer.alloc(0);
  closed = false;
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
    connection.start({
      data: (chunk) => {
        this.received = Buffer.concat([this.received, chunk]);
      },
      drained: () => {},
      closed: () => {
        this.closed = true;
      },
    });
  }

  send(bytes: Uint8Array): void {
    this.#connection.write([bytes]);
  }

  close(): void {
    this.#connection.destroy();
  }

  /** What came since the last call. */
  take(): Buffer {
    const bytes = this.received;
    this.received = Buffer.alloc(0);
    return bytes;
  }
}

/** One server; time passes only in `settle`. */
export class LocalServer {
  readonly clock = new SimulatedClock();
  readonly disk: Disk;
  readonly lines: string[] = [];
  readonly engine: Engine;
  readonly server: Server;
  readonly #network: SimulatedNetwork;

  private constructor(disk: Disk, seed: number, options: Partial<ServerOptions>, loop?: SocketLoop) {
    this.disk = disk;
    const random = new SimulatedRandom(seed);
    this.#network = new SimulatedNetwork(this.clock, random);
    this.engine = openEngine({
      disk,
      clock: this.clock,
      random,
      dataDirectory: '/data',
      indexDirectory: '/index',
      dataSizeBytes: 268_435_456,
      sync: 'none',
    });
    this.server = new Server(
      {
        engine: this.engine,
        loop: loop ?? new StreamLoop(this.#network, this.clock),
        disk,
        clock: this.clock,
        random,
        log: new Log(this.clock, (line) => void this.lines.push(line), true),
        hooks: undefined,
      },
      {
        protect: false,
        syncsCommits: false,
        maxSizeBytes: 0,
        rotateSeconds: 0,
        syncSeconds: 0,
        debug: false,
        singleMode: false,
        maxClients: 1000,
        compactRatio: 0,
        spareBytes: 0,
        givesBack: false,
        ...options,
      },
    );
  }

  static async start(
    disk: Disk = new SimulatedDisk(),
    seed = 1,
    options: Partial<ServerOptions> = {},
    loop?: SocketLoop,
  ): Promise<LocalServer> {
    const local = new LocalServer(disk, seed, options, loop);
    await local.clock.until(local.server.listen(ADDRESS));
    local.server.start();
    return local;
  }

  async connect(): Promise<LocalConnection> {
    return new LocalConnection(await this.clock.until(this.#network.connect(ADDRESS, 1000)));
  }

  /** Lets everything happen that can happen now. */
  async settle(): Promise<void> {
    await this.clock.run(1);
  }

  /** Sends one request and answers what comes back. */
  async request(connection: LocalConnection, ...words: (string | Uint8Array)[]): Promise<string> {
    connection.send(encode(words));
    await this.settle();
    return connection.take().toString('latin1');
  }

  async close(): Promise<void> {
    await this.clock.until(this.server.close());
    this.engine.close();
  }
}

/** One request as bytes. */
export function encode(words: readonly (string | Uint8Array)[]): Buffer {
  const parts: Uint8Array[] = [Buffer.from(`*${words.length}\r\n`)];
  for (const word of words) {
    const bytes = Buffer.from(word as string);
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}

/** A socket loop whose turns a test makes: what is delivered between two `turn` calls belongs to one batch. */
export class ManualLoop implements SocketLoop {
  readonly kind = 'node';
  #accepted: ((socket: ServerSocket) => SocketEvents) | undefined;
  #turnEnded: () => void = () => {};

  async listen(address: Address, accepted: (socket: ServerSocket) => SocketEvents): Promise<Address> {
    this.#accepted = accepted;
    return address;
  }

  start(turnEnded: () => void): void {
    this.#turnEnded = turnEnded;
  }

  wantTurn(): void {}

  async close(): Promise<void> {}

  /** A client: what is sent is executed at once, what comes back is there after the turn. */
  connect(): { send(bytes: Uint8Array): void; take(): Buffer; drained(): void } {
    let received = Buffer.alloc(0);
    const events = this.#accepted!({
      remote: 'test',
      queuedBytes: 0,
      send: (segments) => {
        received = Buffer.concat([received, ...segments]);
      },
      pause: () => {},
      resume: () => {},
      end: () => {},
      destroy: () => {},
    });
    return {
      send: (bytes) => events.received(bytes, bytes.length),
      drained: () => events.drained(),
      take: () => {
        const bytes = received;
        received = Buffer.alloc(0);
        return bytes;
      },
    };
  }

  turn(): void {
    this.#turnEnded();
  }
}
