// What a server is told when it is made, and what it counts.

/** What the server is told. */
export interface ServerOptions {
  readonly adminPassword?: Uint8Array;
  /** The `default` namespace needs the admin password for writing. */
  readonly protect: boolean;
  /** Limit of the `default` namespace for this run, 0: none. */
  readonly maxSizeBytes: number;
  /** Rotate a namespace that got entries when its files are older than this, 0: never. */
  readonly rotateSeconds: number;
  /** Each commit waits for the disk. */
  readonly syncsCommits: boolean;
  /** Sync what a time-based sync policy left over after so long, 0: never. */
  readonly syncSeconds: number;
  /** KSCAN and STOP as in the reference's debug build. */
  readonly debug: boolean;
  /** A single mode is configured: NSSET mode is refused. */
  readonly singleMode: boolean;
  readonly maxClients: number;
  /** Data files of which at most this part is alive are given back from time to time; 0: never. */
  readonly compactRatio: number;
  /** Of a disk that fills up, so much is left to small values and deletions. */
  readonly spareBytes: number;
  /** The room of removed values of sequential namespaces is given back. */
  readonly givesBack: boolean;
}

/** Counted for INFO. */
export interface Counters {
  clients: number;
  commandsExecuted: number;
  commandsFailed: number;
  commandsUnauthorized: number;
  networkReceivedBytes: number;
  networkSentBytes: number;
}
