// What zstor offers to the programs built on it (the qsfs package, the command line) and what it needs from them.
// Everything here is implemented behind `openZstor` (src/index.ts).
//
// The model: an *object* is a name and bytes. Its bytes are cut into *stripes* of `stripeSizeBytes`; each stripe is
// compressed, encrypted and coded into n *shards*, any k of which give it back. A *record* says where the shards are.
// Records are coded over the metadata stores and are the only truth: what no record names does not exist.
import type { Clock, Disk, Network, Random } from '@qsfs/io';
import type { ZstorConfig } from './config/types.ts';

/** Where the machine comes in, and what the embedding program adds. */
export interface Capabilities {
  readonly disk: Disk;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  /** One line for the operator. */
  readonly log?: (level: 'info' | 'warning' | 'error', message: string) => void;
  /** Codec threads; default one per processor, at most four. */
  readonly codecThreads?: number;
  /** Names of objects that need repair, kept by the embedding program across restarts (what records say survives anyway). */
  readonly repairList?: RepairList;
  /**
   * Catching up of metadata stores and repair in the background; default false (the command line). A function is asked before every round
   * whether there may be one now.
   */
  readonly maintenance?: boolean | (() => boolean);
}

/** A durable set of object names that somebody noticed to be damaged. */
export interface RepairList {
  add(name: string): void;
  remove(name: string): void;
  names(): Iterable<string>;
}

/** The bytes to store: `lengthBytes` bytes of a local file from `offset` (default 0). They must not change meanwhile. */
export interface ObjectSource {
  readonly path: string;
  readonly offset?: number;
  readonly lengthBytes: number;
}

/** Consecutive stripes of an object. */
export interface StripeRange {
  readonly first: number;
  readonly count: number;
}

/** Where `fetch` puts stripe s: at `offset` (default 0) + s * stripeSizeBytes of this file, which is created when missing. */
export interface FetchTarget {
  readonly path: string;
  readonly offset?: number;
  /** The caller will sync the file: the disk begins to write every stripe at once, beside the decoding of the next. */
  readonly willSync?: boolean;
}

/**
 * How hard `put` makes sure of a shard before the record names it. Whatever was made sure of then may be lost later: `check` looks again.
 */
export type Verification =
  /** The backend has said that it has the shard. It may be wrong, or lie. */
  | 'acknowledged'
  /**
   * And the backend, asked afterwards, says that it has a value of the right length under the shard's key (zdb: LENGTH). Finds a
   * backend that is honest and broken; proves nothing against one that lies. No byte was read back.
   */
  | 'present'
  /**
   * And the shard was read back and compared here, byte for byte, with what was written. Proves that the backend could give the shard
   * at that moment; whether its disk has it (or only its memory), and for how long, only a later `check` can tell. Every shard travels
   * twice: see docs/adr/zstor-shard-verification.md for what it costs.
   */
  | 'checked';

/** Settings of one `put`. */
export interface PutOptions {
  /** Default `present`. */
  readonly verification?: Verification;
  /** Fail, and leave the object as it was, when the source file's size or time of change is another one at the end. */
  readonly watchSource?: boolean;
  /** A power of two from 64 KiB to 16 MiB. Default: what the configuration says, which may depend on the object's size. */
  readonly stripeSizeBytes?: number;
  /** Called after each stripe with the source bytes done so far. */
  readonly progress?: (doneBytes: number) => void;
  readonly signal?: AbortSignal;
}

/** Settings of one read. */
export interface ReadOptions {
  readonly progress?: (doneBytes: number) => void;
  /**
   * Called when the read begins to wait for shards, once for each stripe and attempt, with what tells how many bytes have arrived since on
   * the connections it waits for: its own and those of others before it. Tells a slow line from backends that give nothing.
   */
  readonly waiting?: (arrivedBytes: () => number) => void;
  readonly signal?: AbortSignal;
}

/** An object as its record describes it; immutable. Hand it back to `fetch`, `read`, `check` to save a look-up. */
export interface ObjectRecord {
  readonly name: string;
  /** Grows with every change of the record (also when repair moves shards). */
  readonly version: bigint;
  /** 16 random bytes, new with every `put`: equal ids mean equal bytes. */
  readonly objectId: Uint8Array;
  readonly sizeBytes: number;
  readonly stripeSizeBytes: number;
  readonly stripeCount: number;
  /** k: shards needed to read a stripe. */
  readonly minimalShards: number;
  /** n: shards written. */
  readonly expectedShards: number;
  /** Wall clock of the `put`, milliseconds. */
  readonly storedMs: number;
  /** Shards the record knows to be missing, over all stripes. 0: all n shards of every stripe were made sure of (see `verification`). */
  readonly missingShards: number;
  /** How sure `put` or the last repair made of the shards that are not missing. */
  readonly verification: Verification;
  /** Bytes of all shards on the backends. */
  readonly storedBytes: number;
}

/** What `list` tells of each object. */
export interface ObjectSummary {
  readonly name: string;
  readonly sizeBytes: number;
  readonly storedMs: number;
  readonly missingShards: number;
}

/** How deep `check` looks. */
export interface CheckOptions {
  /** Read every shard and verify it here, instead of asking the backends to check theirs. */
  readonly deep?: boolean;
  readonly progress?: (doneStripes: number) => void;
  readonly signal?: AbortSignal;
}

/** What `check` found. Shards on backends that did not answer are `unreachableShards`, not `badShards`. */
export interface CheckReport {
  readonly name: string;
  readonly record: ObjectRecord;
  readonly goodShards: number;
  /** Missing by the record, refused by the backend, or wrong. They were queued for repair. */
  readonly badShards: number;
  readonly unreachableShards: number;
  /** Stripes with fewer than k good shards right now. */
  readonly unreadableStripes: number;
  /** `complete`: all n of every stripe are good. `degraded`: readable. `unreadable`: not now. */
  readonly verdict: 'complete' | 'degraded' | 'unreadable';
  /** What the verdict rests on: the backends' own check, or every byte read and verified here. */
  readonly method: 'backend-check' | 'read';
}

/** What `rebuild` did to one object. */
export interface RebuildReport {
  readonly name: string;
  readonly rewrittenShards: number;
  /** Shards that still have no place. */
  readonly missingShards: number;
  /**
   * Shards that keep their places on backends that do not answer, as no other backend was free for them. They are neither lost nor made
   * sure of: when their backends return, they count again.
   */
  readonly unreachableShards: number;
  /** Why the two above are not 0; empty when they are. */
  readonly reason: string;
  readonly record: ObjectRecord;
}

/** What `repairPending` did. */
export interface RepairReport {
  readonly repairedObjects: number;
  readonly rewrittenShards: number;
  /** Records copied to metadata stores that lacked them. */
  readonly refreshedRecords: number;
  readonly failures: readonly { readonly name: string; readonly reason: string }[];
}

/** Which failures are survived: `backends` of any kind at once, or whole groups together with nodes in every other group. */
export interface Tolerance {
  /** Any this many backends may be lost. -1: already too many are. */
  readonly backends: number;
  /** Any this many whole groups may be lost (with no further backend). -1 as above. */
  readonly groups: number;
  /** For each number of lost groups the number of further backends that may be lost in every remaining group. */
  readonly combinations: readonly { readonly groups: number; readonly nodesPerGroup: number }[];
}

/** Who was emptied, or replaced by an empty one. */
export interface Inspection {
  /**
   * Data backends that answer, by name, with what they are. Another value than earlier means that what was stored there is lost, but for
   * '', while nothing was ever stored, and for a larger number: one that held other things before its first shard is known by `+` and the
   * number of keys it has given out.
   */
  readonly incarnations: ReadonlyMap<string, string>;
  /** Metadata stores that answer and lack what they were given; `repairPending` fills them. */
  readonly blankStores: readonly string[];
  /** Data backends that were away, or are known since the start only; `repairPending` asks them whether they still have what they were given. */
  readonly unseenBackends: readonly string[];
  /** Objects that were found to have lost more shards than they survive, when they were last looked at. */
  readonly lostObjects: readonly string[];
}

/** State of a backend as seen from here. `foreign`: answers, but is not what the configuration means (mode, cluster). */
export type BackendState = 'up' | 'down' | 'unknown' | 'foreign';

/** One backend in `status`. */
export interface BackendStatus {
  readonly name: string;
  readonly role: 'data' | 'metadata';
  /** Name of the group; empty for metadata stores. */
  readonly group: string;
  /** `host:port`, `unix:path` or `dir:path`, with `/namespace`. */
  readonly address: string;
  readonly state: BackendState;
  /** Why it is not up; empty when it is. */
  readonly reason: string;
  readonly usedBytes: number | undefined;
  /** undefined when not known. */
  readonly freeBytes: number | undefined;
  readonly entries: number | undefined;
  /** Median of the last answers, milliseconds. */
  readonly latencyMs: number | undefined;
}

/** The whole picture, asked from the backends when called (each has one second to answer). */
export interface ZstorStatus {
  readonly backends: readonly BackendStatus[];
  readonly data: {
    readonly minimalShards: number;
    readonly expectedShards: number;
    readonly redundantGroups: number;
    readonly redundantNodes: number;
    /** Failures still survived by an object stored now, given which backends are up now. */
    readonly tolerance: Tolerance;
    /** The same were every backend up: what the configuration promises. */
    readonly promised: Tolerance;
    readonly writable: boolean;
    /** The promise (all n shards placed within the policy) can be kept now. */
    readonly placeable: boolean;
    /** What to do when not writable or not placeable; empty otherwise. */
    readonly reason: string;
  };
  readonly metadata: {
    readonly stores: number;
    readonly minimalStores: number;
    readonly writeQuorum: number;
    /** Further stores that may be lost before records cannot be read. -1: they cannot now. */
    readonly tolerance: number;
    readonly readable: boolean;
    readonly writable: boolean;
    readonly reason: string;
  };
  readonly repair: {
    readonly pendingObjects: number;
    /** While `repairPending` looks at all objects: how far it is. */
    readonly looked?: { readonly done: number; readonly of: number };
  };
  /** Only when asked for, and readable: what is stored, by the records. */
  readonly objects?: {
    readonly count: number;
    readonly sizeBytes: number;
    readonly storedBytes: number;
    /** Objects that lack shards (`lacksShards`). */
    readonly lacking: number;
    /** Failures every one of them survives from now on. */
    readonly tolerance: Tolerance;
  };
}

/** An open set of backends. All methods may be called concurrently; errors are `ZstorError`s (src/errors.ts). */
export interface Zstor {
  readonly config: ZstorConfig;
  /**
   * Stores a file's bytes under a name, replacing what was there: new shards are written and verified, then the record is
   * switched, then the old shards are deleted. A crash at any point leaves the old object or the new one, whole.
   * @param name up to 4096 bytes of UTF-8, any characters
   */
  put(name: string, source: ObjectSource, options?: PutOptions): Promise<ObjectRecord>;
  /** Stores bytes from memory (up to 64 MiB), the same way. */
  putSmall(name: string, content: Uint8Array, options?: PutOptions): Promise<ObjectRecord>;
  /** The record, or undefined when there certainly is none. Throws `unavailable` when that cannot be known now. */
  head(name: string): Promise<ObjectRecord | undefined>;
  /** Every object whose name begins with `prefix`, in no particular order. */
  list(prefix?: string): AsyncIterable<ObjectSummary>;
  /** Bytes of an object; the range is clipped to its size. */
  read(
    object: string | ObjectRecord,
    offset: number,
    lengthBytes: number,
    options?: ReadOptions,
  ): Promise<Uint8Array>;
  /** The whole object (up to 64 MiB) in memory. */
  getSmall(object: string | ObjectRecord): Promise<Uint8Array>;
  /** Decodes these stripes into a local (sparse) file. Returns when they are written, not synced. */
  fetch(
    record: ObjectRecord,
    stripes: StripeRange,
    target: FetchTarget,
    options?: ReadOptions,
  ): Promise<void>;
  /** The whole object into a new file: temporary file, every stripe verified, synced, renamed. */
  retrieve(object: string | ObjectRecord, path: string, options?: ReadOptions): Promise<ObjectRecord>;
  /** Removes the object; its shards are deleted afterwards. False when there was none. */
  delete(name: string): Promise<boolean>;
  check(object: string | ObjectRecord, options?: CheckOptions): Promise<CheckReport>;
  /** Writes missing and bad shards anew, with the object's own k and n. `deep` reads every shard to find bad ones. */
  rebuild(name: string, options?: CheckOptions): Promise<RebuildReport>;
  /** Brings metadata stores up to date, asks backends that were away for what they held, and rebuilds every object known to need it. */
  repairPending(): Promise<RepairReport>;
  /**
   * Shards of it are missing by its record, or were on a backend that was emptied or taken out of the configuration since, as
   * far as that is known without asking. Backends that are only down count as holding theirs.
   */
  lacksShards(record: ObjectRecord): boolean;
  /** Asks every backend and metadata store whether it still has what it was given; takes at most some seconds. */
  inspect(): Promise<Inspection>;
  /** Data backends that `repairPending` has still to ask (see `Inspection`), as far as is known now: nobody is asked for it. */
  readonly unseenBackends: readonly string[];
  /** Called whenever a data backend is found to answer that did not, and as many as reads need do. */
  whenReadable(listener: () => void): void;
  /** Failures this object survives from now on, given which backends are up. */
  tolerance(record: ObjectRecord): Tolerance;
  /** @param options `objects`: also look at the record of every object; takes its time when there are many */
  status(options?: { readonly objects?: boolean }): Promise<ZstorStatus>;
  /** Waits for nothing new, ends what is running with an error, closes connections and threads. */
  close(): Promise<void>;
}
