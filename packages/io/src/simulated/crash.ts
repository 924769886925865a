// What a power loss leaves. A disk keeps, in order, every change that is not yet on stable storage; a crash policy
// decides which of them survive; the rules here then make the decision one that a real disk could come out with:
//
// - A sector (512 bytes) holds what it held at some moment: when a write of it survives, so do the earlier ones.
// - A cut of a file is one step; whatever was written afterwards behind the cut needs it.
// - A change of directory entries (create, remove, rename) is one step; a later change of the same name needs it.
//   Moving a directory needs every earlier change of entries, so that no tree is cut loose.
import type { SparseContent } from './content.ts';
import { SimulatedRandom } from './random.ts';

/** A write to a device is atomic in pieces of this size. */
export const SECTOR_BYTES = 512;

/** A change of a file's content. `sequence` orders all changes of a disk. */
export type ContentChange = { readonly sequence: number; readonly inode: number; readonly path: string } & (
  | { readonly kind: 'write'; readonly position: number; readonly bytes: Uint8Array }
  | { readonly kind: 'truncate'; readonly sizeBytes: number; readonly fromBytes: number }
  | { readonly kind: 'punch-hole' | 'reserve'; readonly position: number; readonly lengthBytes: number }
);

/** One name in one directory gets another inode, or none. */
export interface EntryStep {
  readonly directory: number;
  readonly name: string;
  readonly inode: number | undefined;
}

/** A change of directory entries; all its steps survive or none. */
export interface EntryChange {
  readonly sequence: number;
  readonly kind: 'create' | 'make-directory' | 'remove' | 'rename';
  readonly path: string;
  readonly steps: readonly EntryStep[];
  readonly movesDirectory: boolean;
}

/** A change that a power loss may undo. */
export type UnsyncedChange = ContentChange | EntryChange;

/**
 * What is left of a change: all, nothing, of a write only that the file has grown (its bytes are zeros), or those
 * sectors of a write for which the function says so (by sector number within the file).
 */
export type Survival = boolean | 'size-only' | ((sector: number) => boolean);

/** Decides what survives, one answer for each change; both lists are in the order in which the changes were made. */
export interface CrashPolicy {
  readonly name: string;
  survivors(changes: readonly UnsyncedChange[]): readonly Survival[];
}

/** Only what was synced is there. */
export const loseUnsynced: CrashPolicy = {
  name: 'lose-unsynced',
  survivors: (changes) => changes.map(() => false),
};

/** Everything is there, as if it had been synced. */
export const keepUnsynced: CrashPolicy = {
  name: 'keep-unsynced',
  survivors: (changes) => changes.map(() => true),
};

/** The first changes are there, in order, up to a point chosen at random; the one at that point is torn. */
export function loseSuffix(random: SimulatedRandom): CrashPolicy {
  return {
    name: `lose-suffix, seed ${random.seed}`,
    survivors(changes) {
      const cut = random.below(changes.length + 1);
      return changes.map((change, index) => {
        if (index !== cut || !('position' in change)) return index < cut;
        const length = change.kind === 'write' ? change.bytes.length : change.lengthBytes;
        const lastSector =
          Math.floor(change.position / SECTOR_BYTES) + random.below(length / SECTOR_BYTES + 2);
        return (sector) => sector < lastSector;
      });
    },
  };
}

/** The first `count` changes are there, whole, and nothing of the others. */
export function keepFirst(count: number): CrashPolicy {
  return { name: `keep-first ${count}`, survivors: (changes) => changes.map((_, index) => index < count) };
}

/** Each change is there or not, independently; half of them. */
export function loseSubset(random: SimulatedRandom): CrashPolicy {
  return {
    name: `lose-subset, seed ${random.seed}`,
    survivors: (changes) => changes.map(() => random.chance(0.5)),
  };
}

/** Each change is there, or not, or torn anywhere at sector borders, or has grown the file and left zeros. */
export function tearWrites(random: SimulatedRandom): CrashPolicy {
  return {
    name: `tear-writes, seed ${random.seed}`,
    survivors: (changes) =>
      changes.map((change) => {
        if (!('position' in change)) return random.chance(0.5);
        const draw = random.below(8);
        if (draw < 2) return draw === 0;
        if (change.kind === 'write' && draw === 2) return 'size-only';
        // A hash of the sector, not a draw for it: the answer is the same however often it is asked.
        const salt = random.next();
        const odds = random.next();
        return (sector) => Math.imul(sector ^ salt, 0x9e3779b1) >>> 0 < odds;
      }),
  };
}

/** One policy of each sort, from one seed: what a crash test runs at every crash point. */
export function crashPolicies(seed: number): CrashPolicy[] {
  const random = new SimulatedRandom(seed);
  return [
    loseUnsynced,
    keepUnsynced,
    loseSuffix(random.fork()),
    loseSubset(random.fork()),
    tearWrites(random.fork()),
  ];
}

/** Applies the whole of a change. */
export function applyContent(content: SparseContent, change: ContentChange): void {
  switch (change.kind) {
    case 'write':
      content.write(change.bytes, change.position);
      break;
    case 'truncate':
      content.truncate(change.sizeBytes);
      break;
    case 'punch-hole':
      content.punch(change.position, change.lengthBytes);
      break;
    case 'reserve':
      content.reserve(change.position, change.lengthBytes);
      break;
  }
}

/**
 * Applies to one file's stable content what survives of its changes.
 * @returns the changes of which nothing was applied
 */
export function applyContentSurvivors(
  content: SparseContent,
  changes: readonly ContentChange[],
  survivals: readonly Survival[],
): ContentChange[] {
  const settled = settleContent(changes, survivals);
  const lost: ContentChange[] = [];
  changes.forEach((change, index) => {
    const survival = settled[index]!;
    if (survival === false) lost.push(change);
    else if (survival === true) applyContent(content, change);
    else if (survival === 'size-only' && change.kind === 'write')
      content.growTo(change.position + change.bytes.length);
    else if (typeof survival === 'function' && 'position' in change) applySectors(content, change, survival);
  });
  return lost;
}

/** Extends the answers backwards by what they need (the rules at the head of this file). */
function settleContent(changes: readonly ContentChange[], survivals: readonly Survival[]): Survival[] {
  const settled: Survival[] = [...survivals];
  const needed = new Set<number>();
  /** Every sector from here on is needed: a later cut survives. */
  let neededFrom = Number.POSITIVE_INFINITY;
  let cutSurvives = false;
  for (let index = changes.length - 1; index >= 0; index--) {
    const change = changes[index]!;
    const survival = settled[index]!;
    if (change.kind === 'truncate') {
      const first = Math.floor(Math.min(change.sizeBytes, change.fromBytes) / SECTOR_BYTES);
      const keeps = survival !== false || cutSurvives || someAtLeast(needed, first);
      settled[index] = keeps;
      if (!keeps) continue;
      cutSurvives = true;
      neededFrom = Math.min(neededFrom, first);
      continue;
    }
    const length = change.kind === 'write' ? change.bytes.length : change.lengthBytes;
    const first = Math.floor(change.position / SECTOR_BYTES);
    const behind = Math.ceil((change.position + length) / SECTOR_BYTES);
    const kept = new Set<number>();
    for (let sector = first; sector < behind; sector++) {
      const chosen = typeof survival === 'function' ? survival(sector) : survival === true;
      if (chosen || sector >= neededFrom || needed.has(sector)) kept.add(sector);
    }
    for (const sector of kept) needed.add(sector);
    if (kept.size === behind - first) settled[index] = true;
    else if (kept.size > 0) settled[index] = (sector) => kept.has(sector);
    else if (survival !== 'size-only') settled[index] = false;
  }
  return settled;
}

function someAtLeast(sectors: ReadonlySet<number>, first: number): boolean {
  for (const sector of sectors) if (sector >= first) return true;
  return false;
}

function applySectors(
  content: SparseContent,
  change: Extract<ContentChange, { readonly position: number }>,
  survives: (sector: number) => boolean,
): void {
  const length = change.kind === 'write' ? change.bytes.length : change.lengthBytes;
  const end = change.position + length;
  for (let from = change.position; from < end; ) {
    const sector = Math.floor(from / SECTOR_BYTES);
    const to = Math.min(end, (sector + 1) * SECTOR_BYTES);
    if (survives(sector)) {
      if (change.kind === 'write') {
        content.write(change.bytes.subarray(from - change.position, to - change.position), from);
      } else if (change.kind === 'punch-hole') {
        content.punch(from, to - from);
      } else {
        content.reserve(from, to - from);
      }
    }
    from = to;
  }
}

/**
 * Splits changes of entries into those that survive, extended by what they need, and the others. Both keep their order.
 * A lost change shares no name with a later survivor, so the survivors may be applied first.
 */
export function settleEntries(
  changes: readonly EntryChange[],
  survives: (change: EntryChange) => boolean,
): { kept: EntryChange[]; lost: EntryChange[] } {
  const kept: EntryChange[] = [];
  const lost: EntryChange[] = [];
  const needed = new Set<string>();
  let everything = false;
  for (let index = changes.length - 1; index >= 0; index--) {
    const change = changes[index]!;
    const names = change.steps.map((step) => `${step.directory}/${step.name}`);
    if (!everything && !survives(change) && !names.some((name) => needed.has(name))) {
      lost.push(change);
      continue;
    }
    kept.push(change);
    for (const name of names) needed.add(name);
    everything ||= change.movesDirectory;
  }
  return { kept: kept.reverse(), lost: lost.reverse() };
}
