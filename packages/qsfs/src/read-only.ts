// Why a mount can only be read, and how that is said.

/** Why a mount can only be read. */
export interface ReadOnly {
  /** `no-lease`: the backends do not take it yet; `asked`: `--read-only`; `replaced`: another frontend has the volume. */
  readonly cause: 'no-lease' | 'asked' | 'replaced';
  readonly reason: string;
}

/** Of `asked`. */
export const READ_ONLY_REASON = 'that was asked for with --read-only';

/** One line for the operator. */
export function describeReadOnly({ cause, reason }: ReadOnly): string {
  switch (cause) {
    case 'no-lease':
      return `it can only be read, until the lease of the volume can be taken: ${reason}`;
    case 'asked':
      return `it can only be read: ${reason}`;
    case 'replaced':
      return `it can only be read from now on: ${reason}`;
  }
}

/** Who writes anew what a backend lost: we do, unless our mount can only be read. */
export function describeRewriting(readOnly: ReadOnly | null): string {
  switch (readOnly?.cause) {
    case undefined:
      return 'it is written again from the other backends';
    case 'no-lease':
      return 'it is written again when this frontend has the lease';
    case 'asked':
    case 'replaced':
      return 'it is for the frontend that has the volume to write it again';
  }
}
