// Operating-system errors as the rest of the code sees them: a code, an errno, and the thing it happened to.

/** Linux errno numbers by name (include/uapi/asm-generic/errno-base.h and errno.h). */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  ENOEXEC: 8,
  EBADF: 9,
  ECHILD: 10,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  EPIPE: 32,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EPROTO: 71,
  EOVERFLOW: 75,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTUNREACH: 113,
  ESTALE: 116,
  EDQUOT: 122,
} as const;

/** Name of a Linux errno known to QSFS. */
export type ErrnoCode = keyof typeof ERRNO;

const NAMES: ReadonlyMap<number, ErrnoCode> = new Map(
  Object.entries(ERRNO).map(([name, number]) => [number, name as ErrnoCode]),
);

/** The name of an errno number; EIO for one that QSFS does not know. */
export function errnoName(number: number): ErrnoCode {
  return NAMES.get(number) ?? 'EIO';
}

/** An input or output operation failed. `code` is the errno's name, as on the errors Node itself throws. */
export class IoError extends Error {
  override readonly name = 'IoError';
  readonly code: ErrnoCode;

  /**
   * @param code what went wrong, by errno name
   * @param action what was tried and on what, for the message
   */
  constructor(code: ErrnoCode, action: string) {
    super(`${code}: ${action}`);
    this.code = code;
  }
}

/** The errno name of any thrown value that carries one (ours or Node's), else undefined. */
export function errorCode(error: unknown): ErrnoCode | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  const { code } = error;
  return typeof code === 'string' && code in ERRNO ? (code as ErrnoCode) : undefined;
}
