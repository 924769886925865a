// What a layout still survives, for `status`: any x backends, any x groups, and x groups with y backends in each other.
import type { Tolerance } from '../types.ts';
import { shardsLeft } from './survival.ts';

/**
 * Failures survived by one stripe.
 * @param layout live shards per group
 * @param minimalShards k
 */
export function toleranceOf(layout: readonly number[], minimalShards: number): Tolerance {
  const live = layout.reduce((sum, shards) => sum + shards, 0);
  const groups = largest((lost) => shardsLeft(layout, lost, 0) >= minimalShards, layout.length);
  const combinations = [];
  for (let lost = 0; lost <= groups; lost++) {
    const most = Math.max(0, ...layout);
    const nodesPerGroup = largest((nodes) => shardsLeft(layout, lost, nodes) >= minimalShards, most);
    combinations.push({ groups: lost, nodesPerGroup });
  }
  return { backends: Math.max(-1, live - minimalShards), groups, combinations };
}

/** The tolerance of something made of several stripes: what all of them survive. */
export function weakest(tolerances: readonly Tolerance[]): Tolerance {
  const [first, ...others] = tolerances;
  if (!first) throw new RangeError('the tolerance of nothing is not defined');
  let backends = first.backends;
  let combinations = first.combinations;
  for (const other of others) {
    backends = Math.min(backends, other.backends);
    combinations = combinations
      .slice(0, other.combinations.length)
      .map(({ groups, nodesPerGroup }, index) => ({
        groups,
        nodesPerGroup: Math.min(nodesPerGroup, other.combinations[index]!.nodesPerGroup),
      }));
  }
  return { backends, groups: combinations.length - 1, combinations };
}

/** The largest value in 0 … limit for which `holds`, which is true up to some value and false beyond; -1 when never. */
function largest(holds: (value: number) => boolean, limit: number): number {
  let value = -1;
  while (value < limit && holds(value + 1)) value++;
  return value;
}

/** `any 4 backends, or 1 group plus 1 backend in each other group`. */
export function describeTolerance(tolerance: Tolerance): string {
  if (tolerance.backends < 0) return 'nothing: too few are left to read';
  const words = [
    tolerance.backends === 0 ? 'no further backend' : `any ${count(tolerance.backends, 'backend')}`,
  ];
  for (const { groups, nodesPerGroup } of tolerance.combinations) {
    if (groups === 0 && nodesPerGroup > 0) words.push(`${count(nodesPerGroup, 'backend')} in every group`);
    else if (groups > 0 && nodesPerGroup > 0)
      words.push(`any ${count(groups, 'group')} plus ${count(nodesPerGroup, 'backend')} in each other group`);
    else if (groups > 0) words.push(`any ${count(groups, 'group')}`);
  }
  return words.join(', or ');
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
