// The configuration after parsing and validation: every default filled in, every path absolute.
import type { Address } from '@qsfs/io';

/** One data backend or metadata store. */
export interface BackendConfig {
  /** Unique among the data backends (or among the metadata stores). Records name data backends by it: keep it for ever. */
  readonly name: string;
  readonly type: 'zdb' | 'dir';
  /** zdb: where it listens. */
  readonly address?: Address;
  /** zdb: namespace; the server's `default` when absent. */
  readonly namespace?: string;
  readonly password?: string;
  /** dir: absolute path of the directory. */
  readonly path?: string;
}

/** Backends that may fail together. */
export interface GroupConfig {
  readonly name: string;
  readonly backends: readonly BackendConfig[];
}

/** Where records are kept. */
export interface MetadataConfig {
  readonly prefix: string;
  readonly backends: readonly BackendConfig[];
  /** Stores needed to read a record (k of the metadata). */
  readonly minimalStores: number;
  /** Stores that must acknowledge a change. */
  readonly writeQuorum: number;
}

/** A valid configuration (spec: `docs/formats/config.md`). Made by `parseConfig` only, which checks all of it. */
export interface ZstorConfig {
  /** k. */
  readonly minimalShards: number;
  /** n. */
  readonly expectedShards: number;
  readonly redundantGroups: number;
  readonly redundantNodes: number;
  readonly groups: readonly GroupConfig[];
  readonly metadata: MetadataConfig;
  /** 32 bytes. Whoever has it and the backends can read everything. */
  readonly masterKey: Uint8Array;
  /** A power of two. */
  readonly stripeSizeBytes: number;
  /** Stripes of large objects grow up to this, unless `stripe_size` is said. */
  readonly largestStripeBytes: number;
  /** Shards of a stripe that must be acknowledged for a `put` to succeed, k+1 … n (k = n: n). */
  readonly writeQuorum: number;
  readonly root?: string;
  readonly socket?: string;
  readonly pidFile?: string;
  readonly zdbDataDirectory?: string;
  readonly zdbDataLimitBytes?: number;
  readonly zdbfsMountpoint?: string;
  readonly prometheusPort?: number;
  /** The `[qsfs]` table as it is, for the program that embeds zstor. */
  readonly qsfs: Readonly<Record<string, unknown>>;
}
