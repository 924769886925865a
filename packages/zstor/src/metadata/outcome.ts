// What reading and writing the metadata stores comes to.
import { ZstorError } from '../errors.ts';
import type { Answer } from './decision.ts';
import type { Part, WriteStamp } from './part.ts';

/** A value and the write it came from. A tombstone has no content. */
export interface Found {
  readonly stamp: WriteStamp;
  readonly content: Uint8Array | undefined;
}

/** A value, and what a next write needs to know. */
export interface Seen {
  readonly found: Found | undefined;
  /** The newest write of the key that any store knows of: the next one must be above it. */
  readonly newest: WriteStamp | undefined;
  /** Enough parts of what was found. */
  readonly parts: readonly Part[];
  /** What every store said, by position; undefined where nobody waited for it. */
  readonly answers: readonly (Answer | undefined)[];
}

/** What a write achieved. */
export interface Written {
  readonly stamp: WriteStamp;
  /** Every configured store has it. */
  readonly everywhere: boolean;
}

/**
 * A write that too few stores acknowledged, after it was sent: it may come to count later (when the stores that have it are
 * heard) or never. What it refers to must be kept.
 */
export class UncertainWrite extends ZstorError {}

/** What bringing the stores up to date achieved. */
export interface Reconciled {
  /** Keys for which at least one store was given something. */
  readonly refreshed: number;
  readonly failures: readonly string[];
}

/** What cannot be known or done before more stores answer. */
export function unavailable(reason: string): ZstorError {
  return new ZstorError(
    'QSFS_E_UNAVAILABLE',
    reason,
    'bring metadata stores back (zstor status names them), or correct meta.config.backends, and try again',
  );
}
