// Which backend gets which shard. Proven, not counted: every choice is made only if the layout can still be completed
// to one that survives the policy (survival.ts). The same input and random numbers give the same placement.
//
// Called for every stripe of a `put` and for what a repair has to write. One backend holds at most one shard of a stripe.
import type { Random } from '@qsfs/io';
import { describeObstacles, type Obstacle, verbFor } from './obstacles.ts';
import { completable, type Policy, shardsToSurvive } from './survival.ts';

/** A backend as placement sees it. */
export interface Candidate {
  readonly name: string;
  /** Index of its group. */
  readonly group: number;
  /** Up and with room for a shard: may be written now. */
  readonly usable: boolean;
  /** Weight of the choice, for instance free bytes; only ratios matter. */
  readonly weight: number;
  /** Why it is not usable, when that is known. */
  readonly obstacle?: Obstacle | undefined;
}

/** What to place. */
export interface PlacementRequest {
  readonly candidates: readonly Candidate[];
  /** Number of groups. */
  readonly groups: number;
  /** n. */
  readonly shards: number;
  readonly policy: Policy;
  /** Names of backends that already hold a good shard of the stripe. */
  readonly holders?: readonly string[];
  /** Fewest shards (holders included) worth writing. */
  readonly quorum: number;
}

/** A placement. `backends` are indexes into `candidates`, for the shards that are not held yet. */
export interface Placement {
  readonly backends: readonly number[];
  /** Shards left without a backend: 0 means the policy is kept in full. */
  readonly missing: number;
}

/** Why there is no placement. */
export interface Refusal {
  readonly refused: string;
}

/**
 * Chooses backends for the shards of one stripe that are not held yet.
 * When the usable backends cannot keep the policy, as many shards as possible are placed such that the rest can be
 * added on the configured backends when they return. When that makes fewer than `quorum`, the policy gives way up to
 * the quorum; only when there are not even that many usable backends is it a refusal.
 */
export function place(request: PlacementRequest, random: Random): Placement | Refusal {
  const { candidates, groups, shards, policy } = request;
  const holders = new Set(request.holders);
  const held = candidates.filter((candidate) => holders.has(candidate.name));
  const open = shuffle(
    candidates.flatMap((candidate, index) =>
      candidate.usable && !holders.has(candidate.name) ? [{ candidate, index }] : [],
    ),
    random,
  );
  const layout = countByGroup(held, groups);
  const wanted = Math.max(0, shards - holders.size);
  const live = add(
    layout,
    countByGroup(
      open.map(({ candidate }) => candidate),
      groups,
    ),
  );
  const configured = countByGroup(candidates, groups);
  // Holders that are not configured any more (a backend taken out of the configuration) protect nothing: they are
  // in `holders` but in no group.
  const capacity = completable(layout, live, wanted, policy) ? live : configured;
  const provable = completable(layout, capacity, wanted, policy);

  const chosen: number[] = [];
  const passedOver: number[] = [];
  for (const { candidate, index } of open) {
    if (chosen.length === wanted) break;
    layout[candidate.group]!++;
    // When not even all configured backends keep the promise (a foreign holder, a changed policy), spread by
    // chance rather than not at all: more shards are never worse.
    if (provable && !completable(layout, capacity, wanted - chosen.length - 1, policy)) {
      layout[candidate.group]!--;
      passedOver.push(index);
      continue;
    }
    chosen.push(index);
  }
  // Rather stored outside the policy than not stored: below the quorum the rest is taken where there is room.
  const short = Math.min(request.quorum, shards) - holders.size - chosen.length;
  if (short > 0) chosen.push(...passedOver.slice(0, short));
  if (short > passedOver.length) return { refused: explain(request) };
  return { backends: chosen, missing: wanted - chosen.length };
}

/**
 * Orders by weighted chance without replacement: the key -ln(u)/w of Efraimidis and Spirakis (2006), smallest first.
 */
function shuffle<T extends { candidate: Candidate }>(open: readonly T[], random: Random): T[] {
  const keyed = open.map((item) => {
    const uniform = (random.below(2 ** 32) + 1) / (2 ** 32 + 1);
    return { item, key: -Math.log(uniform) / Math.max(item.candidate.weight, 1e-9) };
  });
  return keyed.sort((a, b) => a.key - b.key).map(({ item }) => item);
}

function countByGroup(candidates: readonly Candidate[], groups: number): number[] {
  const counts = new Array<number>(groups).fill(0);
  for (const { group } of candidates) counts[group]!++;
  return counts;
}

function add(a: readonly number[], b: readonly number[]): number[] {
  return a.map((value, index) => value + b[index]!);
}

/**
 * Why the usable backends are not enough for `wanted` shards of a stripe (default: the quorum), and which returning backends
 * would change that.
 */
export function explain(request: PlacementRequest, wanted = request.quorum): string {
  const holders = new Set(request.holders);
  const usable = request.candidates.filter((each) => each.usable || holders.has(each.name));
  const out = request.candidates.filter((each) => !each.usable && !holders.has(each.name));
  const obstacles = out.map(
    ({ name, obstacle }): Obstacle => obstacle ?? { backend: name, kind: 'down', reason: '' },
  );
  const names = describeObstacles(obstacles);
  const short = wanted - usable.length;
  const need =
    wanted === request.shards
      ? `${wanted} are placed`
      : `at least ${wanted} of ${request.shards} must be written`;
  const begin = `${usable.length} of ${request.candidates.length} backends can take a shard, ${need}`;
  if (short > out.length)
    return `${begin}; add ${short - out.length} more backend${short - out.length > 1 ? 's' : ''}`;
  if (short > 0)
    return `${begin}; ${verbFor(obstacles)} ${short === out.length ? '' : `any ${short} of: `}${names}`;
  return out.length > 0 ? `${begin} within the redundancy policy; ${verbFor(obstacles)} ${names}` : begin;
}

/**
 * The change of the configuration that makes a policy possible, as a sentence; undefined when it is possible.
 * @param sizes backends per group
 */
export function infeasible(
  sizes: readonly number[],
  names: readonly string[],
  shards: number,
  policy: Policy,
): string | undefined {
  const empty = sizes.map(() => 0);
  if (completable(empty, sizes, shards, policy)) return undefined;
  const fixes: string[] = [];
  const needed = shardsToSurvive(empty, sizes, policy);
  if (needed !== undefined) fixes.push(`raise expected_shards to at least ${needed}`);
  const grown = smallestGrowth(sizes, shards, policy);
  if (grown)
    fixes.push(
      `add ${grown.backends} backend${grown.backends > 1 ? 's' : ''} to ${grown.group < 0 ? 'a new group' : `group "${names[grown.group]}"`}`,
    );
  for (let minimal = policy.minimalShards - 1; minimal >= 1; minimal--) {
    if (completable(empty, sizes, shards, { ...policy, minimalShards: minimal })) {
      fixes.push(`lower minimal_shards to ${minimal}`);
      break;
    }
  }
  for (let lost = policy.redundantGroups - 1; lost >= 0; lost--) {
    if (completable(empty, sizes, shards, { ...policy, redundantGroups: lost })) {
      fixes.push(`lower redundant_groups to ${lost}`);
      break;
    }
  }
  for (let lost = policy.redundantNodes - 1; lost >= 0; lost--) {
    if (completable(empty, sizes, shards, { ...policy, redundantNodes: lost })) {
      fixes.push(`lower redundant_nodes to ${lost}`);
      break;
    }
  }
  return fixes.length > 0 ? fixes.join(', or ') : 'lower redundant_groups and redundant_nodes';
}

/** The fewest backends which, added to one group (or as a new one, -1), make the policy possible. */
function smallestGrowth(
  sizes: readonly number[],
  shards: number,
  policy: Policy,
): { group: number; backends: number } | undefined {
  for (let backends = 1; backends <= shards; backends++) {
    for (let group = sizes.length - 1; group >= -1; group--) {
      const grown =
        group < 0
          ? [...sizes, backends]
          : sizes.map((size, index) => (index === group ? size + backends : size));
      if (
        completable(
          grown.map(() => 0),
          grown,
          shards,
          policy,
        )
      )
        return { group, backends };
    }
  }
  return undefined;
}
