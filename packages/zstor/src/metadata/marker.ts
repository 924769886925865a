// The marker a metadata store carries when it holds everything it was ever given (docs/formats/records.md, "Marker"). A store
// without one is new or was wiped: its "nothing here" proves nothing until it has been filled from the others (defects D2, D8).
//
// A new cluster is marked in two steps, `starting` on all stores, then `complete`, so that a crash in between is neither
// taken for a cluster that lost its stores nor for one that is filled.
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { MetadataKeys } from './part.ts';

const MAGIC = Buffer.from('QSMK');
const FORMAT_VERSION = 1;
const FIELDS_BYTES = 16;
const MAC_BYTES = 16;

/** Contents of a marker. */
export interface Marker {
  readonly state: 'starting' | 'complete';
  /** Write quorum under which everything in the cluster was written, at least. */
  readonly writeQuorum: number;
}

export function markerKey(keys: MetadataKeys): string {
  return `${keys.keyPrefix}cluster`;
}

export function encodeMarker(keys: MetadataKeys, marker: Marker): Uint8Array {
  const bytes = Buffer.alloc(FIELDS_BYTES + MAC_BYTES);
  MAGIC.copy(bytes);
  bytes[4] = FORMAT_VERSION;
  bytes[5] = marker.state === 'complete' ? 2 : 1;
  bytes[6] = marker.writeQuorum;
  mac(keys, bytes).copy(bytes, FIELDS_BYTES);
  return bytes;
}

/** undefined when it is no marker of this cluster. */
export function decodeMarker(keys: MetadataKeys, bytes: Uint8Array): Marker | undefined {
  if (bytes.length !== FIELDS_BYTES + MAC_BYTES || !MAGIC.equals(bytes.subarray(0, 4))) return undefined;
  if (bytes[4] !== FORMAT_VERSION || !timingSafeEqual(mac(keys, bytes), bytes.subarray(FIELDS_BYTES))) {
    return undefined;
  }
  return { state: bytes[5] === 2 ? 'complete' : 'starting', writeQuorum: bytes[6]! };
}

function mac(keys: MetadataKeys, bytes: Uint8Array): Buffer {
  const digest = createHmac('sha256', keys.mac)
    .update('marker\0')
    .update(bytes.subarray(0, FIELDS_BYTES))
    .digest();
  return digest.subarray(0, MAC_BYTES);
}
