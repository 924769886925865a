// The errors of zstor: one registry of stable codes, each with its exit code. Errors for the user read like help:
// what happened, and what to do next.

/** Every code with the exit code of the command line. Codes and numbers never change their meaning. */
export const ERROR_CODES = {
  /** The command line was not understood. */
  QSFS_E_USAGE: 2,
  /** The configuration is wrong; the message names the key and the fix. */
  QSFS_E_CONFIG: 3,
  /** There certainly is no such object. */
  QSFS_E_NOT_FOUND: 4,
  /** Too few backends or metadata stores answer right now; the same command works when they are back. */
  QSFS_E_UNAVAILABLE: 5,
  /** The object or its record is damaged beyond what redundancy can give back. */
  QSFS_E_DAMAGED: 6,
  /** A local file could not be read or written. */
  QSFS_E_LOCAL: 7,
  /** The caller passed something no backend could change (name too long, range outside). */
  QSFS_E_INVALID: 8,
  /** Given up because the caller asked for it or the store was closed. */
  QSFS_E_ABORTED: 9,
} as const;

/** A stable error code. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** The only error type that leaves this package on purpose; anything else is a broken invariant. */
export class ZstorError extends Error {
  override readonly name = 'ZstorError';
  readonly code: ErrorCode;
  /** What the operator can do next; empty when the message says it all. */
  readonly hint: string;

  constructor(code: ErrorCode, message: string, hint = '', cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
    this.hint = hint;
  }

  get exitCode(): number {
    return ERROR_CODES[this.code];
  }
}

/**
 * Too few shards of an object can be had, and enough are where the record says: on backends that the configuration does not have.
 * They may have been lost and taken out, or the addresses (which are their names, when they have no others) were changed.
 */
export class AbsentBackends extends ZstorError {
  constructor(where: string, backends: readonly string[]) {
    const names = [...new Set(backends)].join(', ');
    super(
      'QSFS_E_DAMAGED',
      `${where}; the records name ${names}, which this configuration does not have`,
      `put them back under groups.backends, or give the backends that are at new addresses now the names ${names} (key "name")`,
    );
  }
}

/** Backends that answer have lost more shards of an object than it survives. */
export class LostShards extends ZstorError {
  constructor(where: string, emptied: readonly string[]) {
    const named = emptied.length > 0 ? ` (emptied, or replaced by others: ${emptied.join(', ')})` : '';
    super('QSFS_E_DAMAGED', `${where}; the others are lost${named}`);
  }
}

/** True for a ZstorError with this code. */
export function isZstorError(error: unknown, code?: ErrorCode): error is ZstorError {
  return error instanceof ZstorError && (code === undefined || error.code === code);
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
