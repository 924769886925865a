// What keeps backends from being used, as the user reads it: names with their reasons, and what to do about them.

/**
 * Why a backend is of no use now: it does not answer (`down`), it answers and does not let us in or is not what the configuration
 * means (`refused`), or it has no room (`full`).
 */
export interface Obstacle {
  readonly backend: string;
  readonly kind: 'down' | 'refused' | 'full';
  /** Without the backend's name. */
  readonly reason: string;
}

/** The names, those with the same reason together: `a, b (no room); c (no answer within 1000 ms)`. */
export function describeObstacles(obstacles: readonly Obstacle[]): string {
  const byReason = new Map<string, string[]>();
  for (const { backend, reason } of obstacles) {
    const names = byReason.get(reason) ?? [];
    if (!names.includes(backend)) names.push(backend);
    byReason.set(reason, names);
  }
  const groups = [...byReason].map(([reason, names]) =>
    reason === '' ? names.join(', ') : `${names.join(', ')} (${reason})`,
  );
  return groups.join('; ');
}

/** What is to be done with them, for "… any 2 of: NAMES". */
export function verbFor(obstacles: readonly Obstacle[]): string {
  const kinds = new Set(obstacles.map(({ kind }) => kind));
  const verbs: string[] = [];
  if (kinds.has('down')) verbs.push('bring back');
  if (kinds.has('refused')) verbs.push('put right');
  if (kinds.has('full')) verbs.push('make room on');
  return verbs.join(' or ');
}
