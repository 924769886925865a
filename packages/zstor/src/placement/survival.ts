// The arithmetic of failure domains. A *layout* is the number of shards in each group. It *survives* (G, R) when, after
// losing the G groups and R backends in every other group that hurt most, at least k shards are left.
//
// With y_g = max(0, x_g - R) the adversary takes the G largest y, so what is left is the sum of the smallest
// (groups - G) values of y. The same number written as a maximum,
//     left(x) = max over t >= 0 of  ( sum over g of min(y_g, t) ) - G * t            (linear programming duality)
// is what makes completing a layout easy: for a fixed t every group is independent of the others.

/** What must be survived: whole groups, and backends in each of the others; k shards must be left. */
export interface Policy {
  readonly minimalShards: number;
  readonly redundantGroups: number;
  readonly redundantNodes: number;
}

/**
 * Shards left after the worst loss of `groups` groups and `nodesPerGroup` backends in every other group.
 * @param layout shards per group, each on a backend of its own
 */
export function shardsLeft(layout: readonly number[], groups: number, nodesPerGroup: number): number {
  const kept = layout.map((shards) => Math.max(0, shards - nodesPerGroup)).sort((a, b) => b - a);
  return kept.slice(groups).reduce((sum, shards) => sum + shards, 0);
}

/** True when the layout keeps the policy's promise. */
export function survives(layout: readonly number[], policy: Policy): boolean {
  return shardsLeft(layout, policy.redundantGroups, policy.redundantNodes) >= policy.minimalShards;
}

/**
 * The fewest shards that must be added to `layout` so that it survives the policy, or undefined when no number helps.
 * Polynomial: for each threshold t a knapsack over the groups (O(n * groups * n)).
 * @param layout shards already placed, per group
 * @param capacity backends per group, at least `layout`
 */
export function shardsToSurvive(
  layout: readonly number[],
  capacity: readonly number[],
  policy: Policy,
): number | undefined {
  if (survives(layout, policy)) return 0;
  const reserve = policy.redundantNodes;
  const highest = Math.max(0, ...capacity.map((backends) => backends - reserve));
  let best: number | undefined;
  for (let threshold = 1; threshold <= highest; threshold++) {
    const cost = costAtThreshold(layout, capacity, policy, threshold);
    if (cost !== undefined && (best === undefined || cost < best)) best = cost;
  }
  return best;
}

/**
 * Every shard above the first `redundantNodes` of a group counts one, up to `threshold` a group; k + G * threshold must
 * be counted. Groups that already hold the uncounted ones cost one shard per count; the others cost their missing
 * uncounted shards first. As each count costs one shard anywhere, only those entry prices are to be minimised.
 */
function costAtThreshold(
  layout: readonly number[],
  capacity: readonly number[],
  policy: Policy,
  threshold: number,
): number | undefined {
  const reserve = policy.redundantNodes;
  let deficit = policy.minimalShards + policy.redundantGroups * threshold;
  const priced: { entry: number; room: number }[] = [];
  let freeRoom = 0;
  for (const [group, shards] of layout.entries()) {
    const room = Math.min(threshold, capacity[group]! - reserve);
    if (room <= 0) continue;
    const counted = Math.min(threshold, Math.max(0, shards - reserve));
    deficit -= counted;
    if (shards >= reserve) freeRoom += room - counted;
    else priced.push({ entry: reserve - shards, room });
  }
  if (deficit <= 0) return 0;
  const rest = deficit - freeRoom;
  if (rest <= 0) return deficit;
  // cheapest[c]: the lowest sum of entry prices of groups that together offer at least c counts.
  const cheapest = new Float64Array(rest + 1).fill(Number.POSITIVE_INFINITY);
  cheapest[0] = 0;
  for (const { entry, room } of priced) {
    for (let counts = rest; counts > 0; counts--) {
      const offer = cheapest[Math.max(0, counts - room)]! + entry;
      if (offer < cheapest[counts]!) cheapest[counts] = offer;
    }
  }
  const entries = cheapest[rest]!;
  return Number.isFinite(entries) ? deficit + entries : undefined;
}

/**
 * True when exactly `add` more shards can be placed so that the layout survives.
 * Adding a shard never makes a layout worse, so what is left over may go anywhere there is room.
 */
export function completable(
  layout: readonly number[],
  capacity: readonly number[],
  add: number,
  policy: Policy,
): boolean {
  const room = capacity.reduce((sum, backends, group) => sum + backends - layout[group]!, 0);
  if (add > room) return false;
  const needed = shardsToSurvive(layout, capacity, policy);
  return needed !== undefined && needed <= add;
}
