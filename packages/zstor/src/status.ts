// The picture `zstor status` and `qsfs status` draw.
import type { Random } from '@qsfs/io';
import { isBackendError, type SpaceReport } from './backend/backend.ts';
import type { GuardedRecordStore } from './backend/guarded.ts';
import type { Health } from './backend/health.ts';
import { placeOf } from './config/parse.ts';
import type { BackendConfig, ZstorConfig } from './config/types.ts';
import type { MetadataCluster } from './metadata/cluster.ts';
import type { Records } from './metadata/records.ts';
import type { DataBackends } from './object/data-backends.ts';
import { explain, type PlacementRequest, place } from './placement/placement.ts';
import { toleranceOf, weakest } from './placement/tolerance.ts';
import type { BackendStatus, Tolerance, ZstorStatus } from './types.ts';

/** Placements looked at to say what objects survive, where there is a choice of backends. */
const SAMPLES = 16;

/** Asks every backend and sums up. */
export async function reportStatus(
  config: ZstorConfig,
  backends: DataBackends,
  stores: readonly GuardedRecordStore[],
  cluster: MetadataCluster,
  repair: ZstorStatus['repair'],
): Promise<ZstorStatus> {
  const data = config.groups.flatMap((group) =>
    group.backends.map((backend) => ({ group: group.name, backend })),
  );
  // Whoever asks wants to know about now: what is believed to be down is asked again instead of waiting for its next probe.
  const doubtful = [...backends.all.map(({ store }) => store), ...stores].filter(
    ({ health }) => !health.usable,
  );
  await Promise.all(doubtful.map(({ health }) => health.inspect()));
  const dataRows = backends.all.map(async (backend, index) => {
    const space = await backends.space(backend);
    const { group, backend: settings } = data[index]!;
    const obstacle = backends.obstacle(backend)?.reason ?? '';
    return row(settings, 'data', group, backend.store.health, space, obstacle);
  });
  const storeRows = stores.map(async (store, index) => {
    const space = await store.space().catch((error: unknown) => {
      if (!isBackendError(error)) throw error;
      return undefined;
    });
    const blank = cluster.blank.includes(store.name) ? 'new or wiped; it is filled by the next repair' : '';
    return row(config.metadata.backends[index]!, 'metadata', '', store.health, space, blank);
  });
  const rows = await Promise.all([...dataRows, ...storeRows]);
  return {
    backends: rows,
    data: dataStatus(config, backends),
    metadata: metadataStatus(config, cluster),
    repair,
  };
}

/** Looks at the record of every object. */
export async function reportObjects(
  records: Records,
  backends: DataBackends,
): Promise<NonNullable<ZstorStatus['objects']>> {
  const sizes = new Array<number>(backends.groups).fill(0);
  for (const { group } of backends.all) sizes[group]!++;
  let tolerance = toleranceOf(sizes, 0); // of nothing stored
  let [count, sizeBytes, storedBytes, lacking] = [0, 0, 0, 0];
  for await (const record of records.all()) {
    count++;
    sizeBytes += record.sizeBytes;
    storedBytes += record.storedBytes;
    if (backends.lacksShards(record)) lacking++;
    tolerance = weakest([tolerance, backends.tolerance(record)]);
  }
  return { count, sizeBytes, storedBytes, lacking, tolerance };
}

function row(
  config: BackendConfig,
  role: 'data' | 'metadata',
  group: string,
  health: Health,
  space: SpaceReport | undefined,
  obstacle: string,
): BackendStatus {
  return {
    name: config.name,
    role,
    group,
    address: placeOf(config),
    state: health.state,
    reason: health.usable ? obstacle : health.reason,
    usedBytes: space?.usedBytes,
    freeBytes: space?.freeBytes,
    entries: space?.entries,
    latencyMs: health.latencyMs,
  };
}

function dataStatus(config: ZstorConfig, backends: DataBackends): ZstorStatus['data'] {
  const { minimalShards, expectedShards, redundantGroups, redundantNodes, writeQuorum } = config;
  const request: PlacementRequest = {
    // The reasons stand with the backends.
    candidates: backends.candidates(0).map((candidate) => ({
      ...candidate,
      obstacle: candidate.obstacle && { ...candidate.obstacle, reason: '' },
    })),
    groups: backends.groups,
    shards: expectedShards,
    policy: config,
    quorum: writeQuorum,
  };
  const placement = place(request, sequence(1));
  const writable = !('refused' in placement);
  const placeable = writable && placement.missing === 0;
  return {
    minimalShards,
    expectedShards,
    redundantGroups,
    redundantNodes,
    tolerance: sampledTolerance(request, (index) => backends.all[index]!.store.health.usable, minimalShards),
    promised: sampledTolerance(request, () => true, minimalShards),
    writable,
    placeable,
    reason: placeable ? '' : explain(request, writable ? expectedShards : writeQuorum),
  };
}

/** What is survived by objects that were placed while every backend was up, when only these `live` ones are left. */
function sampledTolerance(
  request: PlacementRequest,
  live: (candidate: number) => boolean,
  minimalShards: number,
): Tolerance {
  const candidates = request.candidates.map((candidate) => ({ ...candidate, usable: true, weight: 1 }));
  const tolerances: Tolerance[] = [];
  for (let sample = 1; sample <= SAMPLES; sample++) {
    const placement = place({ ...request, candidates }, sequence(sample));
    const layout = new Array<number>(request.groups).fill(0);
    for (const index of 'refused' in placement ? [] : placement.backends) {
      if (live(index)) layout[candidates[index]!.group]!++;
    }
    tolerances.push(toleranceOf(layout, minimalShards));
  }
  return weakest(tolerances);
}

/** Numbers that are always the same: a status must not change from one look to the next (splitmix32). */
function sequence(seed: number): Random {
  let state = seed;
  const next = () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
  return {
    bytes: (lengthBytes) => Uint8Array.from({ length: lengthBytes }, () => next() & 0xff),
    below: (limit) => Math.floor((next() / 2 ** 32) * limit),
  };
}

function metadataStatus(config: ZstorConfig, cluster: MetadataCluster): ZstorStatus['metadata'] {
  const { metadata } = config;
  const { tolerance, writable } = cluster;
  const readable = tolerance >= 0;
  const reasons: string[] = [];
  if (!readable) reasons.push('too few metadata stores answer to read records; bring some back');
  else if (!writable)
    reasons.push(`${metadata.writeQuorum} metadata stores must answer to store anything; bring some back`);
  return {
    stores: metadata.backends.length,
    minimalStores: metadata.minimalStores,
    writeQuorum: metadata.writeQuorum,
    tolerance,
    readable,
    writable,
    reason: reasons.join('; '),
  };
}
