// What differs between user and sequential namespaces: finding a key, and what the index gets on a write. The namespace does
// everything else. Both implementations change memory and the log's batch only; `undo` takes a batch back.
import type { Place, Tally } from './place.ts';
import type { Payload } from './types.ts';

/** Bookkeeping of a live key beside the key itself (NSINFO index_size_bytes). */
export const INDEX_KEY_OVERHEAD_BYTES = 64;

/** Records of one namespace by key. */
export interface Records {
  readonly tally: Tally;
  /** Fills `place` when the key is live. */
  locate(key: Uint8Array, place: Place): boolean;
  /** Appends a record for `key`, the one `locate` was asked for last; `place` is what it answered, undefined when the key is new. */
  write(
    key: Uint8Array,
    place: Place | undefined,
    payload: Payload,
    payloadBytes: number,
    crc: number,
    timestamp: number,
  ): void;
  /** Appends a deletion marker for the live key at `place`. */
  remove(key: Uint8Array, place: Place, timestamp: number): void;
  /** The batch is written. */
  accept(): void;
  /** The batch is taken back; the log was already. */
  undo(): void;
}
