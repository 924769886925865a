// Where a record is and what the index knows of it. One mutable object per namespace, filled by lookups, so that a lookup allocates
// nothing.

/** All numbers unsigned 32 bit. `keyBytes` 8 in sequential namespaces. */
export interface Place {
  indexFile: number;
  indexOffset: number;
  dataFile: number;
  dataOffset: number;
  keyBytes: number;
  payloadBytes: number;
  crc: number;
  timestamp: number;
}

/** A place with nothing in it. */
export function emptyPlace(): Place {
  return {
    indexFile: 0,
    indexOffset: 0,
    dataFile: 0,
    dataOffset: 0,
    keyBytes: 0,
    payloadBytes: 0,
    crc: 0,
    timestamp: 0,
  };
}

/** What a namespace counts; kept by the records, taken back with a batch. */
export interface Tally {
  /** Live keys. */
  entries: number;
  /** Payload bytes of live keys. */
  dataBytes: number;
  /** 64 bytes and the key, for each live key. */
  indexBytes: number;
  /** Index entries ever written, superseded ones included (seq); those read at opening and keys inserted since (user). */
  written: number;
}
