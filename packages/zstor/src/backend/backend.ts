// What a place to keep bytes must offer, with its promises. Two kinds: a *shard store* gives out its own keys, a *record
// store* keeps small records under keys we choose. Implementations: zdb.ts and directory.ts; decorators: guard.ts
// (health, patience, limits, measure) and faults.ts (tests). All of them pass the same suite, test/conformance.ts.
//
// Promises of every implementation:
// - All methods may be called concurrently. Each call settles, at the latest after `reset`.
// - They reject with BackendError only; anything else is a defect of the program.
// - A `put` or `set` that has resolved is seen by every later call, also from other processes, and survives a crash of the
//   process that holds it. Whether it survives a loss of power is the backend's own business (a zdb with --sync does).
// - A `put` or `set` that has rejected may have happened or not. Nobody is ever told of half a value: all or nothing.
// - Bytes handed in are not changed or kept after the call settled.
// - Nothing here verifies contents: a store may lie. Shards and records carry their own authentic checksums.

/** What went wrong, which decides what the caller does next. */
export type BackendFailure =
  /** It does not answer, or the connection broke. Try again when it is back. */
  | 'unreachable'
  /** It has no room. Write elsewhere. */
  | 'full'
  /** It cannot write now, and does not say whether it has no room or its disk fails. Write elsewhere. */
  | 'unwritable'
  /** It answers, but does not let us do this (password, read-only, locked). Somebody must change something. */
  | 'refused'
  /** It answers, but is not what the configuration means: no such namespace, wrong mode, not a zdb. */
  | 'foreign'
  /** The caller gave up. */
  | 'aborted';

/** Every failure of a backend. */
export class BackendError extends Error {
  override readonly name = 'BackendError';
  readonly backend: string;
  readonly failure: BackendFailure;
  /** The message without the backend's name. */
  readonly reason: string;

  constructor(backend: string, failure: BackendFailure, reason: string, cause?: unknown) {
    super(`${backend}: ${reason}`, cause === undefined ? {} : { cause });
    this.backend = backend;
    this.failure = failure;
    this.reason = reason;
  }
}

/** Settings every call takes. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Settings of a read. */
export interface GetOptions extends CallOptions {
  /** Memory for the value; the result is then a view of its beginning, when it is long enough. */
  readonly into?: Uint8Array | undefined;
}

/** What a store says about its room. */
export interface SpaceReport {
  /** Bytes of live values. Each undefined when nobody knows. */
  readonly usedBytes: number | undefined;
  readonly freeBytes: number | undefined;
  readonly entries: number | undefined;
  /** Kept beside that for values of at most SMALL_VALUE_BYTES; undefined: nothing is. */
  readonly spareBytes?: number;
}

/** Values up to this size may use what a store keeps as spare room (zdb, `--spare`). */
export const SMALL_VALUE_BYTES = 64 * 1024;

/** What both kinds have. */
export interface Backend {
  readonly name: string;
  /** Resolves when it answers. Does not wait behind other calls. */
  ping(options?: CallOptions): Promise<void>;
  space(options?: CallOptions): Promise<SpaceReport>;
  /** Grows with everything that arrives from it: while it does, the backend lives. */
  readonly arrivedBytes: number;
  /** Gives up everything under way: those calls reject as unreachable, with this reason. Later calls start afresh. */
  reset(reason: string): void;
  /** `reset`, and nothing afterwards. */
  close(): Promise<void>;
}

/**
 * Where a shard store keeps a value. Keys mean something only within one *incarnation* of the store, 16 hex digits made when the
 * first value is stored and gone with its contents: a store that was wiped gives out the same keys again. '' is a store that
 * has no incarnation, because it held other things before.
 */
export interface ShardLocation {
  readonly incarnation: string;
  /** A safe integer. */
  readonly key: number;
}

/** Keeps values of up to 8 MiB under keys of its own. Locations of another incarnation are missing values. */
export interface ShardStore extends Backend {
  /**
   * The present incarnation; '' when the store has none (yet).
   * @throws BackendError 'foreign' when the store cannot hold shards
   */
  identify(options?: CallOptions): Promise<string>;
  /** Of a store that gives out growing keys the one it gives out next, as far as known; what is not below was never there, or is gone. */
  readonly nextKey: number | undefined;
  put(content: Uint8Array, options?: CallOptions): Promise<ShardLocation>;
  /** undefined when the value is missing or cannot be read. */
  get(location: ShardLocation, options?: GetOptions): Promise<Uint8Array | undefined>;
  /**
   * Grows with everything that arrives where the answers of `get` do, the answer to what was asked first before the next: while it
   * does, a `get` that is under way is getting on. Stays 0 where nothing can be told.
   */
  readonly gotBytes: number;
  /** Length of the value; undefined when it is missing. Cheap: the store looks at its index only. */
  length(location: ShardLocation, options?: CallOptions): Promise<number | undefined>;
  /** Asks the store to read the value and compare it with its own checksum, without sending it. */
  check(location: ShardLocation, options?: CallOptions): Promise<'good' | 'bad' | 'missing'>;
  /** Fine when the value is missing. */
  delete(location: ShardLocation, options?: CallOptions): Promise<void>;
}

/** Keeps records of up to 8 MiB under keys of 1 to 255 characters from [a-z0-9/-] chosen by us. */
export interface RecordStore extends Backend {
  /** @throws BackendError 'foreign' when the store cannot hold records */
  probe(options?: CallOptions): Promise<void>;
  /** undefined: there is no such key. A value that is there and cannot be read any more is given as one of no bytes. */
  get(key: string, options?: CallOptions): Promise<Uint8Array | undefined>;
  /** Replaces at once. */
  set(key: string, content: Uint8Array, options?: CallOptions): Promise<void>;
  /** Fine when there is no such key. */
  delete(key: string, options?: CallOptions): Promise<void>;
  /** Keys with this beginning, in pages, each key that was there all the time at least once. */
  keys(prefix: string, options?: CallOptions): AsyncIterable<readonly string[]>;
}

/** Largest value of any store (zdb: 8 MiB, exactly). */
export const LARGEST_VALUE_BYTES = 8 * 1024 * 1024;

/** True for a BackendError of this kind. */
export function isBackendError(error: unknown, failure?: BackendFailure): error is BackendError {
  return error instanceof BackendError && (failure === undefined || error.failure === failure);
}
