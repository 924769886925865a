// Looks at every shard of an object: asks the backends to check theirs, or reads and verifies each one here.
import { isBackendError } from '../backend/backend.ts';
import type { GuardedShardStore } from '../backend/guarded.ts';
import { shardDefect } from '../codec/index.ts';
import type { StoredRecord } from '../metadata/record.ts';
import type { ShardPlace } from '../metadata/stripe-table.ts';
import type { CheckOptions, CheckReport } from '../types.ts';
import type { DataBackends } from './data-backends.ts';
import { codedObject } from './reader.ts';
import { forEachConcurrently, stripesAtATime } from './window.ts';

/** Stripes looked at at a time: few when their shards are read, for memory's sake. */
const CHECK_WINDOW = 16;
const DEEP_WINDOW = 2;

/** What a shard is worth. */
export type ShardState = 'good' | 'bad' | 'unreachable';

/** The state of each shard of a stripe, by index; a shard the record knows to be missing is bad. */
export async function inspectStripe(
  record: StoredRecord,
  stripe: number,
  backends: DataBackends,
  masterKey: Uint8Array,
  deep: boolean,
  signal: AbortSignal,
): Promise<ShardState[]> {
  const object = codedObject(record, masterKey);
  const states = new Array<ShardState>(record.expectedShards).fill('bad');
  const isGood = async ({ index, location }: ShardPlace, store: GuardedShardStore): Promise<boolean> => {
    if (!deep) return (await store.check(location, { signal })) === 'good';
    const bytes = await store.get(location, { signal });
    if (!bytes) return false;
    return shardDefect(object, stripe, record.plainBytes(stripe), { index, bytes }) === undefined;
  };
  await Promise.all(
    record.stripes.places(stripe).map(async (place) => {
      states[place.index] = await stateOf(place, backends, (store) => isGood(place, store));
    }),
  );
  return states;
}

/** The state of a shard by what is asked of its backend, if that can have it at all. */
export async function stateOf(
  place: ShardPlace,
  backends: DataBackends,
  ask: (store: GuardedShardStore) => Promise<boolean>,
): Promise<ShardState> {
  const standing = backends.standing(place);
  if (standing !== 'there') return standing === 'lost' ? 'bad' : 'unreachable';
  try {
    return (await ask(backends.find(place.backend)!.store)) ? 'good' : 'bad';
  } catch (error) {
    if (!isBackendError(error)) throw error;
    return 'unreachable';
  }
}

/** Checks a whole object. */
export async function inspectObject(
  record: StoredRecord,
  backends: DataBackends,
  masterKey: Uint8Array,
  options: CheckOptions,
): Promise<CheckReport> {
  const deep = options.deep ?? false;
  const count = { good: 0, bad: 0, unreachable: 0 };
  let unreadableStripes = 0;
  let doneStripes = 0;
  const window = deep ? stripesAtATime(DEEP_WINDOW, record.stripeSizeBytes) : CHECK_WINDOW;
  await forEachConcurrently(record.stripeCount, window, options.signal, async (stripe, signal) => {
    const states = await inspectStripe(record, stripe, backends, masterKey, deep, signal);
    let good = 0;
    for (const state of states) {
      count[state]++;
      if (state === 'good') good++;
    }
    if (good < record.minimalShards) unreadableStripes++;
    options.progress?.(++doneStripes);
  });
  return {
    name: record.name,
    record,
    goodShards: count.good,
    badShards: count.bad,
    unreachableShards: count.unreachable,
    unreadableStripes,
    verdict:
      unreadableStripes > 0 ? 'unreadable' : count.bad + count.unreachable > 0 ? 'degraded' : 'complete',
    method: deep ? 'read' : 'backend-check',
  };
}
