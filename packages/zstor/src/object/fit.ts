// Whether an object fits on nearly full backends, found out before any of it is written: what does not fit would only fill them with
// shards that nobody names, and a backend that appends does not give their room back at once.
import type { Random } from '@qsfs/io';
import { type EncodedStripe, newObjectIdentity } from '../codec/index.ts';
import type { ZstorConfig } from '../config/types.ts';
import { ZstorError } from '../errors.ts';
import { StoredRecord } from '../metadata/record.ts';
import { place } from '../placement/placement.ts';
import type { DataBackends } from './data-backends.ts';

/** Codes a stripe of an object; the result has to be released. */
export type StripeEncoder = (stripe: number) => Promise<EncodedStripe>;

/** What finding out takes. */
export interface FitParts {
  readonly config: ZstorConfig;
  readonly backends: DataBackends;
  readonly random: Random;
}

/**
 * Takes an object as if nothing of it could be compressed; when it does not fit so, its stripes are coded, and let go, one after the other
 * until it is known. Others may fill the backends all the same before it is written.
 * @param draft the record to be
 * @param takenBytes of the source on its disk: holes take nothing
 * @param encoderOf codes the stripes as they would be stored for a record of this salt
 * @throws ZstorError QSFS_E_UNAVAILABLE when it does not fit; what encoding throws
 */
export async function assertFits(
  draft: StoredRecord,
  takenBytes: number,
  encoderOf: (draft: StoredRecord) => StripeEncoder,
  parts: FitParts,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { minimalShards, stripeCount } = draft;
  const refusalOf = (shardBytes: number) => refusal(draft, shardBytes, parts);
  if (refusalOf(takenBytes / minimalShards) === undefined) return;
  // A source that changes must not be coded twice under the same keys.
  const { id, salt } = newObjectIdentity(parts.random);
  const encode = encoderOf(new StoredRecord({ ...draft, objectId: id, salt }, draft.stripes.copy(), 0n));
  let shardBytes = 0;
  let leftBytes = draft.sizeBytes;
  for (let stripe = 0; stripe < stripeCount; stripe++) {
    if (signal?.aborted) throw new ZstorError('QSFS_E_ABORTED', 'the write was given up');
    const encoded = await encode(stripe);
    encoded.release();
    shardBytes += encoded.shardBytes;
    leftBytes -= encoded.plainBytes;
    const refused = refusalOf(shardBytes);
    if (refused !== undefined) throw new ZstorError('QSFS_E_UNAVAILABLE', `cannot store: ${refused}`);
    if (refusalOf(shardBytes + Math.min(leftBytes, takenBytes) / minimalShards) === undefined) return;
  }
}

/** Why backends do not take so many bytes of each shard, spread evenly; undefined when they do. */
function refusal(
  { stripeSizeBytes, minimalShards, expectedShards }: StoredRecord,
  shardBytes: number,
  { config, backends, random }: FitParts,
): string | undefined {
  const shareBytes = shardBytes * (expectedShards / backends.all.length);
  const request = {
    candidates: backends.candidates(stripeSizeBytes / minimalShards, undefined, shareBytes),
    groups: backends.groups,
    shards: expectedShards,
    policy: config,
    quorum: config.writeQuorum,
  };
  const placement = place(request, random);
  return 'refused' in placement ? placement.refused : undefined;
}
