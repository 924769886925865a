// Every error a user of qsfs can meet: one stable code, one exit code, one hint. Nothing else ends a command.

/** What belongs to a code. */
interface ErrorKind {
  /** Exit status of the command. */
  readonly exitCode: number;
  /** When that is, for the help and the README. */
  readonly when: string;
  /** What to type next when the message itself does not say. */
  readonly hint: string;
}

/** The registry. Codes and exit codes are stable: scripts rely on them (README, "Exit codes"). */
export const ERROR_KINDS = {
  QSFS_E_INTERNAL: {
    exitCode: 1,
    when: 'a defect',
    hint: 'This is a defect of qsfs; please report it with the log DIR/frontend/log.',
  },
  QSFS_E_USAGE: {
    exitCode: 2,
    when: 'the command line was not understood',
    hint: 'Type "qsfs help" for the commands.',
  },
  QSFS_E_NOT_RUNNING: {
    exitCode: 3,
    when: 'no qsfs runs on the folder',
    hint: 'Start it with "qsfs up --dir DIR --mount M".',
  },
  QSFS_E_CONFIG: {
    exitCode: 4,
    when: 'the configuration is wrong; the message names the key',
    hint: 'Correct the configuration and run the command again.',
  },
  QSFS_E_BACKENDS: {
    exitCode: 5,
    when: 'too few backends or metadata stores answer',
    hint: 'Look at "qsfs status", do for the named backends what it says, then run the command again.',
  },
  QSFS_E_DEGRADED: {
    exitCode: 6,
    when: 'sync: all is stored and readable, but some backends are away or lack their part',
    hint: 'Everything is readable. Bring the named backends back; what is missing is repaired in the background.',
  },
  QSFS_E_MOUNT: {
    exitCode: 7,
    when: 'it cannot be mounted there',
    hint: 'Choose another folder with --mount.',
  },
  QSFS_E_FENCED: {
    exitCode: 8,
    when: 'the backends belong to another frontend',
    hint: 'Only one frontend may use a set of backends: stop the other one with "qsfs down" there, or look at the volume with "qsfs restore --read-only".',
  },
  QSFS_E_EXISTS: {
    exitCode: 9,
    when: 'something is there that would be overwritten or hidden',
    hint: 'Choose another folder with --dir.',
  },
  QSFS_E_NO_VOLUME: {
    exitCode: 10,
    when: 'the backends hold no volume that this configuration can read',
    hint: 'Check that the configuration and its key are the right ones.',
  },
  QSFS_E_DISK: {
    exitCode: 11,
    when: 'the local disk or its files',
    hint: 'Check the free space and the permissions of the folder given with --dir.',
  },
  QSFS_E_LOCAL_BACKEND: {
    exitCode: 12,
    when: 'a local backend does not start or stop, or there is none of that name',
    hint: 'Look at the file "log" in the folder of the backend.',
  },
  QSFS_E_RUNNING: {
    exitCode: 13,
    when: 'a qsfs runs on the folder already, or is starting there',
    hint: 'Stop it first with "qsfs down --dir DIR".',
  },
  QSFS_E_INCOMPLETE: {
    exitCode: 14,
    when: 'it could not be finished, the message says why (down: stopped, but not all is on the backends)',
    hint: 'Run the command again when the reason named above is gone.',
  },
  QSFS_E_LOST: {
    exitCode: 15,
    when: 'the backends lost more of what is needed than is tolerated',
    hint: 'Bring back backends with what they held, then run the command again.',
  },
} as const satisfies Record<string, ErrorKind>;

/** A code of the registry. */
export type QsfsErrorCode = keyof typeof ERROR_KINDS;

/** A command cannot do its work. The message says what is wrong and of what; the hint what to do next. */
export class QsfsError extends Error {
  override readonly name = 'QsfsError';
  readonly code: QsfsErrorCode;
  readonly hint: string;

  /**
   * @param code entry of the registry
   * @param message one line without a full stop at its end
   * @param hint replaces the registry's hint when the place knows better
   */
  constructor(code: QsfsErrorCode, message: string, hint: string = ERROR_KINDS[code].hint) {
    super(message);
    this.code = code;
    this.hint = hint;
  }

  get exitCode(): number {
    return ERROR_KINDS[this.code].exitCode;
  }
}

/** True for a text that is a code of the registry (errors that crossed the control socket). */
export function isErrorCode(text: unknown): text is QsfsErrorCode {
  return typeof text === 'string' && text in ERROR_KINDS;
}

/** The message of anything thrown, on one line. */
export function messageOf(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return text.split('\n', 1)[0] ?? '';
}
