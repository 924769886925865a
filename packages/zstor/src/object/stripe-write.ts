// Puts the shards of one stripe on backends: chooses places, writes in parallel, has each checked, and replaces a backend that
// fails by another one that fits the policy. What finds no place is left missing, above the quorum.
import type { Random } from '@qsfs/io';
import { BackendError, isBackendError, type ShardLocation } from '../backend/backend.ts';
import type { GuardedShardStore } from '../backend/guarded.ts';
import { ZstorError } from '../errors.ts';
import type { StripeTable } from '../metadata/stripe-table.ts';
import { explain, type PlacementRequest, place } from '../placement/placement.ts';
import type { Policy } from '../placement/survival.ts';
import type { Verification } from '../types.ts';
import type { DataBackends } from './data-backends.ts';
import type { ReadBack } from './read-back.ts';

/** A shard to be written. */
export interface ShardToWrite {
  readonly index: number;
  readonly bytes: Uint8Array;
}

/** What to write, and under which rules. */
export interface StripeWrite {
  readonly stripe: number;
  /** Those that matter most first: the last ones go without when places are few. */
  readonly shards: readonly ShardToWrite[];
  /** n of the object. */
  readonly expectedShards: number;
  readonly policy: Policy;
  /** Backends that hold good shards of this stripe already. */
  readonly holders: readonly string[];
  /** Shards, holders included, below which the write has failed. */
  readonly quorum: number;
  readonly verification: Verification;
  readonly signal: AbortSignal;
}

/** What writing works with. */
export interface WriteParts {
  readonly backends: DataBackends;
  readonly readBack: ReadBack;
  readonly random: Random;
}

/**
 * Writes shards and enters their places into the table.
 * @returns the shards that found no place
 * @throws ZstorError QSFS_E_UNAVAILABLE when fewer than the quorum could be written; what was written is in the table
 */
export async function writeShards(
  write: StripeWrite,
  table: StripeTable,
  parts: WriteParts,
): Promise<ShardToWrite[]> {
  const { backends, random } = parts;
  const holders = new Set(write.holders);
  const failed = new Set<string>();
  const failures: BackendError[] = [];
  let open = [...write.shards];
  const shardBytes = Math.max(0, ...open.map(({ bytes }) => bytes.length));
  for (;;) {
    const request: PlacementRequest = {
      candidates: backends.candidates(shardBytes, failed),
      groups: backends.groups,
      shards: write.expectedShards,
      policy: write.policy,
      holders: [...holders],
      quorum: write.quorum,
    };
    const placement = open.length > 0 ? place(request, random) : { backends: [], missing: 0 };
    if ('refused' in placement) {
      if (holders.size >= write.quorum) return open;
      throw belowQuorum(explain(request), failures);
    }
    // In the order given: of an object being stored the data shards first, as reading them takes no decoding.
    const chosen = placement.backends.slice(0, open.length);
    if (chosen.length === 0) {
      if (holders.size >= write.quorum) return open;
      throw belowQuorum(explain(request), failures);
    }
    const unplaced = open.slice(chosen.length);
    let defect: { readonly error: unknown } | undefined;
    // All must have ended before anything is thrown: the caller takes the shards' memory back then.
    const outcomes = await Promise.all(
      chosen.map(async (candidate, position) => {
        const backend = backends.all[candidate]!;
        const shard = open[position]!;
        let location: ShardLocation | undefined;
        try {
          location = await backend.store.put(shard.bytes, { signal: write.signal });
          backends.wrote(backend.name, shard.bytes.length);
          table.set(write.stripe, shard.index, backend.name, location);
          await confirm(backend.store, location, shard, write, parts.readBack);
          holders.add(backend.name);
          return undefined;
        } catch (error) {
          if (!isBackendError(error)) {
            defect ??= { error };
            return shard;
          }
          table.clear(write.stripe, shard.index);
          if (location) await backend.store.delete(location).catch(ignoreFailure);
          failed.add(backend.name);
          failures.push(error);
          return shard;
        }
      }),
    );
    if (defect) throw defect.error;
    if (write.signal.aborted) throw new ZstorError('QSFS_E_ABORTED', 'the write was given up');
    const lost = outcomes.filter((shard) => shard !== undefined);
    open = write.shards.filter((shard) => lost.includes(shard) || unplaced.includes(shard));
    if (lost.length === 0) {
      // Everything that had a place was written; for the rest there is none.
      if (holders.size < write.quorum) throw belowQuorum(explain(request), failures);
      return open;
    }
  }
}

/** What could not be deleted is garbage, which costs room and nothing else. */
function ignoreFailure(error: unknown): void {
  if (!isBackendError(error)) throw error;
}

/** Makes sure of a shard that was written, as far as the write asks for. @throws BackendError when it is not as it should be */
async function confirm(
  store: GuardedShardStore,
  location: ShardLocation,
  shard: ShardToWrite,
  { verification, signal }: StripeWrite,
  readBack: ReadBack,
): Promise<void> {
  if (verification === 'acknowledged') return;
  let defect: string;
  if (verification === 'present') {
    const length = await store.length(location, { signal });
    defect = length === shard.bytes.length ? '' : length === undefined ? 'missing' : `${length} bytes long`;
  } else {
    defect = await readBack.defect(store, location, shard.bytes, signal);
  }
  if (defect === '') return;
  const error = new BackendError(store.name, 'refused', `a shard is ${defect} right after writing it`);
  store.distrust(error.reason);
  throw error;
}

function belowQuorum(why: string, failures: readonly BackendError[]): ZstorError {
  // What is known of a backend as a whole stands in `why` already.
  const others = failures.filter(({ reason }) => !why.includes(`(${reason}`));
  const details = [...new Set(others.map(({ message }) => message))].slice(0, 5).join('; ');
  return new ZstorError('QSFS_E_UNAVAILABLE', `cannot store: ${why}${details ? ` (${details})` : ''}`);
}
