// A network that counts what arrives, so that a slow answer can be told from none.
import type { Address, Connection, ConnectionEvents, Listener, Network } from '@qsfs/io';

/** Passes everything on and counts. */
export class MeteredNetwork implements Network {
  /** Bytes received on all connections made through this network. */
  arrivedBytes = 0;
  readonly #network: Network;

  constructor(network: Network) {
    this.#network = network;
  }

  async connect(address: Address, timeoutMs: number): Promise<Connection> {
    const connection = await this.#network.connect(address, timeoutMs);
    // Being accepted is no arrival: the kernel of a frozen server still accepts.
    const start = connection.start.bind(connection);
    connection.start = (events: ConnectionEvents) =>
      start({
        data: (chunk) => {
          this.arrivedBytes += chunk.length;
          events.data(chunk);
        },
        drained: () => events.drained(),
        closed: (error) => events.closed(error),
      });
    return connection;
  }

  listen(address: Address, accepted: (connection: Connection) => void): Promise<Listener> {
    return this.#network.listen(address, accepted);
  }
}
