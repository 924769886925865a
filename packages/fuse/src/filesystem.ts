// What a filesystem offers to the session. All calls are synchronous and come from one thread.
//
// Names are byte strings: one JavaScript character per byte (latin1), as the kernel sent them. Inode numbers are
// integers below 2^53; 1 is the root. Offsets and sizes are bytes and integers below 2^53.
//
// A failing operation throws `FilesystemError`. Any other thrown value the session was told about (`deferral`) parks
// the request, to be run again from its beginning; so no operation may have changed anything when it throws. What is
// left is a bug: the request ends with EIO and the error is logged.
import { ERRNO, type ErrnoCode } from '@qsfs/io';

/** An operation ends with this errno. Cheap to make: it carries no stack. */
export class FilesystemError extends Error {
  override readonly name = 'FilesystemError';
  readonly code: ErrnoCode;
  readonly errno: number;

  constructor(code: ErrnoCode, message: string = code) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(message);
    Error.stackTraceLimit = limit;
    this.code = code;
    this.errno = ERRNO[code];
  }
}

/** Seconds and nanoseconds since 1970; seconds may be negative. */
export interface Timestamp {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** What stat(2) shows of an inode. `blocks` counts 512-byte units really used. */
export interface Attributes {
  readonly inode: number;
  readonly generation: number;
  /** Type and permission bits, S_IFMT | 07777. */
  readonly mode: number;
  readonly linkCount: number;
  readonly userId: number;
  readonly groupId: number;
  readonly deviceNumber: number;
  readonly sizeBytes: number;
  readonly blocks: number;
  readonly accessed: Timestamp;
  readonly modified: Timestamp;
  readonly changed: Timestamp;
}

/** Who asks. `umask` was already applied by the kernel to modes it sends. */
export interface Caller {
  readonly userId: number;
  readonly groupId: number;
  readonly processId: number;
}

/** What SETATTR changes; absent fields stay. `now` stands for the present time of the filesystem's clock. */
export interface AttributeChange {
  /** Permission bits only, 07777. */
  readonly mode?: number;
  readonly userId?: number;
  readonly groupId?: number;
  readonly sizeBytes?: number;
  readonly accessed?: Timestamp | 'now';
  readonly modified?: Timestamp | 'now';
  readonly changed?: Timestamp;
  /** The kernel asks to clear set-user-id and set-group-id bits (FUSE_HANDLE_KILLPRIV_V2). */
  readonly clearSetId?: boolean;
}

/** statfs(2). Blocks are of `blockSizeBytes`. */
export interface FilesystemStatus {
  readonly blockSizeBytes: number;
  readonly blocks: number;
  readonly blocksFree: number;
  readonly blocksAvailable: number;
  readonly inodes: number;
  readonly inodesFree: number;
  readonly nameMax: number;
}

/**
 * Takes one directory entry; false when the reply is full and the entry was not taken. `nextCookie` is where the
 * listing goes on behind this entry. `attributes` may be undefined for `.` and `..`.
 */
export type DirectoryEmitter = (
  name: string,
  inode: number,
  mode: number,
  nextCookie: number,
  attributes: Attributes | undefined,
) => boolean;

/**
 * A filesystem. Every lookup-like answer (lookup, create, mkdir, link, …, entries of readdirplus) counts one reference.
 * When the kernel did not take an answer (the request was aborted meanwhile), the session gives the reference back with
 * `forget`. Permission checks are the kernel's (`default_permissions`).
 */
export interface Filesystem {
  /** undefined: no such entry (answered as a cacheable negative entry). */
  lookup(parent: number, name: string): Attributes | undefined;
  /** The kernel dropped `count` references; at zero references and zero links the inode is gone. */
  forget(inode: number, count: number): void;
  getAttributes(inode: number): Attributes;
  setAttributes(inode: number, change: AttributeChange, caller: Caller): Attributes;
  readLink(inode: number): Uint8Array;
  makeSymlink(parent: number, name: string, target: Uint8Array, caller: Caller): Attributes;
  /** Regular files, devices, fifos and sockets; `mode` has the type bits. Also serves CREATE. */
  makeNode(parent: number, name: string, mode: number, deviceNumber: number, caller: Caller): Attributes;
  /** `mode`: permission bits only, 07777. */
  makeDirectory(parent: number, name: string, mode: number, caller: Caller): Attributes;
  /** O_TMPFILE: a regular file without a name; `mode` has the type bits. */
  makeTemporary(parent: number, mode: number, caller: Caller): Attributes;
  unlink(parent: number, name: string, caller: Caller): void;
  removeDirectory(parent: number, name: string, caller: Caller): void;
  /** `flags`: 0, RENAME_NOREPLACE (1) or RENAME_EXCHANGE (2). */
  rename(
    sourceParent: number,
    sourceName: string,
    targetParent: number,
    targetName: string,
    flags: number,
    caller: Caller,
  ): void;
  link(inode: number, parent: number, name: string, caller: Caller): Attributes;
  /** Fills `target` from `offset`; returns bytes read, fewer than asked only at the end of the file. */
  read(inode: number, offset: number, target: Uint8Array): number;
  /** Writes all of `source` or throws. `source` is only valid during the call. `clearSetId`: see AttributeChange. */
  write(inode: number, offset: number, source: Uint8Array, caller: Caller, clearSetId: boolean): void;
  /** Returns when what was written to the inode is on stable storage. */
  sync(inode: number, dataOnly: boolean): void;
  /** Everything, as syncfs(2). */
  syncAll(): void;
  /**
   * Lists from `cookie` (0: the beginning, `.` and `..` included) until `emit` answers false. With `withAttributes`
   * (READDIRPLUS) entries are emitted with their attributes, and each one taken with attributes, `.` and `..` excepted,
   * counts one reference. Without it (READDIR) attributes are not wanted, not sent, and nothing is counted.
   */
  listDirectory(inode: number, cookie: number, emit: DirectoryEmitter, withAttributes: boolean): void;
  status(): FilesystemStatus;
  /** undefined: no such attribute. */
  getExtendedAttribute(inode: number, name: string): Uint8Array | undefined;
  /** `flags`: XATTR_CREATE (1), XATTR_REPLACE (2). */
  setExtendedAttribute(inode: number, name: string, value: Uint8Array, flags: number, caller: Caller): void;
  listExtendedAttributes(inode: number): readonly string[];
  removeExtendedAttribute(inode: number, name: string, caller: Caller): void;
  /** fallocate(2) with its `mode` bits. */
  allocate(inode: number, mode: number, offset: number, lengthBytes: number): void;
  /** SEEK_DATA (3) and SEEK_HOLE (4); returns the new offset or throws ENXIO. */
  seek(inode: number, offset: number, whence: number): number;
  /** copy_file_range(2); returns the bytes copied. */
  copyRange(
    source: number,
    sourceOffset: number,
    target: number,
    targetOffset: number,
    lengthBytes: number,
  ): number;
  /** Called when no request waits, at most every so often: background work in small steps. */
  idle(): void;
}
