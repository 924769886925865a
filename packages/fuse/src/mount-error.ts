// Why something could not be mounted, in words for the person who tried.

/** The kinds of failure, for programs. */
export type MountErrorReason =
  | 'no-mount-point'
  | 'not-a-directory'
  | 'already-mounted'
  | 'no-device'
  | 'not-permitted'
  | 'no-fusermount'
  | 'no-ffi'
  | 'refused'
  | 'busy';

/** Mounting or unmounting failed; the message says what to do. */
export class MountError extends Error {
  override readonly name = 'MountError';
  readonly reason: MountErrorReason;

  constructor(reason: MountErrorReason, message: string) {
    super(message);
    this.reason = reason;
  }
}
