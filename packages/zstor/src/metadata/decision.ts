// What the answers of the metadata stores mean. Pure, so that every combination can be tested.
//
// A write is acknowledged when `writeQuorum` (W) of M stores have its part. A reader that has not heard of u stores can
// therefore be sure that it knows of every acknowledged write only while u < W. Each store keeps the part of the last
// acknowledged write beneath that of the one under way, so a cut-off write hides nothing; only values of earlier versions of
// this program did, and count as unheard for what was before. What cannot be known is said to be unavailable: never an older
// record, never "not found" (docs/adr/zstor-metadata-quorum.md).
import { compareStamps, type Part, type StoredValue, type WriteStamp } from './part.ts';

/** What a store said about one key. */
export type Answer =
  /** An authentic part, and perhaps the one it replaced. */
  | ({ readonly kind: 'part' } & StoredValue)
  /** It has nothing, and would have it if it had ever been given something. */
  | { readonly kind: 'nothing' }
  /** It did not answer, its answer was no authentic part, or it lost its contents: it may have had anything. */
  | { readonly kind: 'silent'; readonly reason: string };

/** What to make of it. */
export type Decision =
  | { readonly kind: 'wait' }
  /** This write is the newest that can have been acknowledged, and its parts are enough. */
  | { readonly kind: 'found'; readonly stamp: WriteStamp; readonly parts: readonly Part[] }
  /** No acknowledged write exists. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'unavailable'; readonly reason: string };

interface Group {
  readonly stamp: WriteStamp;
  readonly parts: Map<number, Part>;
  /** Stores that showed a part of it. */
  readonly holders: Set<Answer>;
}

/**
 * Decides what the newest acknowledged record is, as soon as that is certain.
 * @param answers one per store; undefined while it is awaited
 */
export function decide(answers: readonly (Answer | undefined)[], writeQuorum: number): Decision {
  const pending = answers.filter((answer) => answer === undefined).length;
  const silent = answers.filter((answer) => answer?.kind === 'silent').length;
  const unheard = pending + silent;
  const settle = (hidden: number, reason: string): Decision => {
    return hidden - pending < writeQuorum ? { kind: 'wait' } : unavailable(answers, reason);
  };
  for (const group of groupsOf(answers)) {
    const covered = coveredStores(answers, group);
    const held = group.holders.size;
    if (group.parts.size >= group.stamp.minimalParts) {
      if (unheard + covered < writeQuorum) {
        return { kind: 'found', stamp: group.stamp, parts: [...group.parts.values()] };
      }
      return settle(
        unheard + covered,
        `${silent} of ${answers.length} metadata stores are of no use now, a newer record may be there`,
      );
    }
    const mayGrow = group.parts.size + pending >= group.stamp.minimalParts;
    const mayBeAcknowledged = held + unheard + covered >= writeQuorum;
    if (pending > 0 && (mayGrow || mayBeAcknowledged)) return { kind: 'wait' };
    if (mayBeAcknowledged) {
      return unavailable(
        answers,
        `the newest record needs ${group.stamp.minimalParts} metadata stores and ${group.parts.size} have it; ${silent} are of no use now`,
      );
    }
    // Never acknowledged and not readable: a write that was cut off. What it replaced still counts.
  }
  const covered = coveredStores(answers, undefined);
  if (unheard + covered < writeQuorum) return { kind: 'absent' };
  return settle(
    unheard + covered,
    `${silent} of ${answers.length} metadata stores are of no use now, one of them may have the record`,
  );
}

/** Stores that hold a newer write than this one, and not what that replaced: they may have held this one before. */
function coveredStores(answers: readonly (Answer | undefined)[], group: Group | undefined): number {
  let count = 0;
  for (const answer of answers) {
    if (answer?.kind !== 'part' || answer.knowsBase) continue;
    if (!group || compareStamps(answer.part.stamp, group.stamp) < 0) count++;
  }
  return count;
}

/** Stores that showed a part of a write. */
export function holdersOf(answers: readonly (Answer | undefined)[], stamp: WriteStamp): number {
  return answers.filter((answer) => answer && partOf(answer, stamp)).length;
}

/** The part of a write that a store showed. */
export function partOf(answer: Answer, stamp: WriteStamp): Part | undefined {
  if (answer.kind !== 'part') return undefined;
  return [answer.part, answer.base].find((part) => part && compareStamps(part.stamp, stamp) === 0);
}

function unavailable(answers: readonly (Answer | undefined)[], summary: string): Decision {
  const reasons = answers.flatMap((answer) => (answer?.kind === 'silent' ? [answer.reason] : []));
  return { kind: 'unavailable', reason: `${summary} (${[...new Set(reasons)].join('; ')})` };
}

/** The writes that were seen, newest first. */
function groupsOf(answers: readonly (Answer | undefined)[]): Group[] {
  const groups = new Map<string, Group>();
  for (const answer of answers) {
    if (answer?.kind !== 'part') continue;
    for (const part of [answer.part, answer.base]) {
      if (!part) continue;
      const { stamp, index } = part;
      const key = `${stamp.version}/${stamp.writeId}`;
      const group = groups.get(key) ?? { stamp, parts: new Map<number, Part>(), holders: new Set<Answer>() };
      group.holders.add(answer);
      group.parts.set(index, part);
      groups.set(key, group);
    }
  }
  return [...groups.values()].sort((a, b) => compareStamps(a.stamp, b.stamp));
}

/** The newest write any store knows of, acknowledged or not. */
export function newestStamp(answers: readonly (Answer | undefined)[]): WriteStamp | undefined {
  return groupsOf(answers)[0]?.stamp;
}
