// What the stripe codec offers to the object store: stripes in, shards out, and back. Implemented by `CodecPool`
// (src/codec/pool.ts); the bytes are described in docs/formats/objects.md.
//
// The codec knows nothing of backends, names or records. It holds one bounded piece of memory (`memoryBytes`) that the
// calling thread and the workers share; every result that carries bytes is a view of it and must be released. Calls that
// read (decode, reserve) wait for memory in the order in which they were made and go before those that write (encode,
// rebuild), which are kept out of a quarter of it: slow backends do not stop reads. A caller that never releases stalls
// the others: never wait for a second call while holding the result of a first. Views are of shared memory: sockets,
// files, ciphers and Buffer copies take them as they are; a few web interfaces (TextDecoder, Blob) want a copy.

/** How a stripe's bytes are stored inside the encryption. `zero`: all bytes are zero, nothing is stored. */
export type Compression = 'plain' | 'zstd' | 'zero';

/** The two keys of one object, 32 bytes each, derived from the master key (`deriveObjectKeys`). */
export interface ObjectKeys {
  /** AES-256-GCM key of the stripes' contents. */
  readonly contents: Uint8Array;
  /** AES-256-GMAC key of the shards' checksums: enough to verify and to rebuild, not to read. */
  readonly shards: Uint8Array;
}

/**
 * One stored version of an object, as coding sees it.
 *
 * The one rule: under one `keys` (one salt) and `generation`, a stripe number is encoded from one content only. Encoding
 * again from a source that may have changed needs a new salt (best) or a new generation; lost shards come from `rebuild`.
 */
export interface CodedObject {
  /** 16 random bytes. */
  readonly id: Uint8Array;
  /** 0 … 2^32 - 1. A shard of another generation is stale. */
  readonly generation: number;
  readonly keys: ObjectKeys;
  /** Shards that give a stripe back; 1 <= k <= n. */
  readonly k: number;
  /** Shards of a stripe; n <= 256. */
  readonly n: number;
}

/** `lengthBytes` bytes of a local file from `offset`. */
export interface FileRange {
  readonly path: string;
  readonly offset: number;
  readonly lengthBytes: number;
}

/** Something that occupies codec memory until it is released. Releasing twice does nothing. */
export interface Releasable {
  /**
   * Gives the memory back. Its views may be overwritten from now on: call it when every connection that was given one
   * has drained or is closed.
   */
  release(): void;
}

/** Codec memory to fill; see `Codec.reserve`. */
export interface Reservation extends Releasable {
  readonly bytes: Uint8Array;
}

/** A stripe ready to be written to n backends. */
export interface EncodedStripe extends Releasable {
  readonly stripe: number;
  /** n views, each a whole shard as stored: 64-byte header and body, all of the same length (`shardBytes`). */
  readonly shards: readonly Uint8Array[];
  readonly shardBytes: number;
  readonly compression: Compression;
  readonly plainBytes: number;
  /** Ciphertext and tag, before padding and coding. */
  readonly storedBytes: number;
}

/** What a backend answered for shard `index` of a stripe: header and body. Any length, any content. */
export interface ShardCandidate {
  readonly index: number;
  readonly bytes: Uint8Array;
}

/**
 * Why a candidate is not the shard it should be. `length`: cut or extended. `format`: not a shard of format version 2.
 * `object`, `stripe`, `misplaced`: a shard of another object, stripe or index. `stale`: of another generation. `shape`:
 * of another k, n or plain length. `checksum`: changed, forged, or made with another key. `disagrees`: it and the
 * other candidates, all authentic, are not of one encoding.
 */
export type ShardDefect =
  | 'length'
  | 'format'
  | 'object'
  | 'stripe'
  | 'misplaced'
  | 'stale'
  | 'shape'
  | 'checksum'
  | 'disagrees';

/** A candidate that counts as missing. */
export interface BadShard {
  readonly index: number;
  readonly defect: ShardDefect;
}

/** A place in an existing local file for a decoded stripe. */
export interface StripeFile {
  readonly path: string;
  readonly offset: number;
  /** The file will be synced: the disk begins to write the stripe at once. */
  readonly willSync?: boolean;
}

/** Where a decoded stripe goes. At least one of the two. */
export interface DecodeTarget {
  /** Written by the worker; not synced. A `zero` stripe becomes a hole where possible. */
  readonly file?: StripeFile;
  /** Also give the bytes to the caller. */
  readonly bytes?: boolean;
}

/** A stripe given back. */
export interface DecodedStripe extends Releasable {
  readonly stripe: number;
  readonly compression: Compression;
  /** The plain bytes; empty when the target did not ask for them. */
  readonly bytes: Uint8Array;
  /** Candidates that were wrong; the stripe is right nevertheless. */
  readonly bad: readonly BadShard[];
}

/** Shards made anew from others. */
export interface RebuiltShards extends Releasable {
  readonly stripe: number;
  /** The wanted shards, in the order in which they were wanted; byte for byte what `encode` made. */
  readonly shards: readonly ShardCandidate[];
  readonly bad: readonly BadShard[];
}

/**
 * Codes stripes. All methods may be called concurrently. They reject with `TooFewShards`, `CodecClosed`, `WorkerCrashed`
 * (src/codec/errors.ts), with the disk's error (errno in `code`), or with RangeError for arguments no caller may pass.
 */
export interface Codec {
  /**
   * Compresses, encrypts and codes one stripe.
   * @param stripe number of the stripe in its object, 0 … 2^32 - 1
   * @param source the plain bytes: a file range, read by the worker (EIO when the file is shorter), or bytes; at most 16 MiB.
   *   Bytes in a `Reservation` are used where they are, others are copied once.
   */
  encode(object: CodedObject, stripe: number, source: FileRange | Uint8Array): Promise<EncodedStripe>;

  /**
   * Gives a stripe back from any k good shards among the candidates (more may be passed: they are tried in order until k
   * are good, data shards first).
   * @param plainBytes length of the stripe, which the caller knows from its record
   * @throws TooFewShards when fewer than k candidates are good; it names the bad ones
   */
  decode(
    object: CodedObject,
    stripe: number,
    plainBytes: number,
    candidates: readonly ShardCandidate[],
    target: DecodeTarget,
  ): Promise<DecodedStripe>;

  /**
   * Makes missing shards from k good ones, without decrypting.
   * @param wanted indices of the shards to make
   * @throws TooFewShards as `decode`
   */
  rebuild(
    object: CodedObject,
    stripe: number,
    plainBytes: number,
    candidates: readonly ShardCandidate[],
    wanted: readonly number[],
  ): Promise<RebuiltShards>;

  /** Codec memory for bytes about to be received (candidates) or encoded (sources), which then are not copied again. */
  reserve(lengthBytes: number): Promise<Reservation>;

  /** Codec memory in use now, and the limit. */
  readonly memory: { readonly usedBytes: number; readonly limitBytes: number };

  /** Rejects what waits and what runs with `CodecClosed`, and ends the threads. Views die with the codec. */
  close(): Promise<void>;
}
