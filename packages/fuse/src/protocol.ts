// Numbers of the kernel's FUSE protocol, version 7.31 to 7.45: operations, flags and sizes of structures. Facts of the
// kernel interface (uapi linux/fuse.h); the byte tables are in docs/formats/fuse.md.

/** The protocol version we speak. The kernel uses the smaller of the two minors. */
export const PROTOCOL = { major: 7, minor: 45, oldestMinor: 31 } as const;

/** Inode number of the root. */
export const ROOT_INODE = 1;

/** What a request asks for (in header, word 1). */
export const OPERATION = {
  lookup: 1,
  forget: 2,
  getAttributes: 3,
  setAttributes: 4,
  readLink: 5,
  symlink: 6,
  makeNode: 8,
  makeDirectory: 9,
  unlink: 10,
  removeDirectory: 11,
  rename: 12,
  link: 13,
  open: 14,
  read: 15,
  write: 16,
  status: 17,
  release: 18,
  sync: 20,
  setExtendedAttribute: 21,
  getExtendedAttribute: 22,
  listExtendedAttributes: 23,
  removeExtendedAttribute: 24,
  flush: 25,
  init: 26,
  openDirectory: 27,
  readDirectory: 28,
  releaseDirectory: 29,
  syncDirectory: 30,
  getLock: 31,
  setLock: 32,
  setLockWait: 33,
  access: 34,
  create: 35,
  interrupt: 36,
  blockMap: 37,
  destroy: 38,
  control: 39,
  poll: 40,
  notifyReply: 41,
  batchForget: 42,
  allocate: 43,
  readDirectoryPlus: 44,
  rename2: 45,
  seek: 46,
  copyRange: 47,
  setupMapping: 48,
  removeMapping: 49,
  syncFilesystem: 50,
  makeTemporary: 51,
  extendedStat: 52,
  copyRange64: 53,
} as const;

/** True for operations the kernel expects no answer to (an INTERRUPT is answered through the request it names). */
export function isSilent(operation: number): boolean {
  return (
    operation === OPERATION.forget ||
    operation === OPERATION.batchForget ||
    operation === OPERATION.interrupt ||
    operation === OPERATION.notifyReply
  );
}

/** Flags of the INIT request and reply, bits 0 to 31. */
export const INIT_FLAG = {
  asyncRead: 1 << 0,
  posixLocks: 1 << 1,
  atomicTruncate: 1 << 3,
  exportSupport: 1 << 4,
  bigWrites: 1 << 5,
  dontMask: 1 << 6,
  flockLocks: 1 << 10,
  readDirectoryPlus: 1 << 13,
  readDirectoryPlusAuto: 1 << 14,
  asyncDirectIo: 1 << 15,
  writebackCache: 1 << 16,
  noOpenSupport: 1 << 17,
  parallelDirectoryOperations: 1 << 18,
  posixAccessControlLists: 1 << 20,
  maxPages: 1 << 22,
  cacheSymlinks: 1 << 23,
  noOpenDirectorySupport: 1 << 24,
  explicitInvalidation: 1 << 25,
  handleKillPrivilegesV2: 1 << 28,
  extendedInit: 1 << 30,
} as const;

/** Flags of the reply to CREATE and OPEN. */
export const OPEN_FLAG = { directIo: 1 << 0, keepCache: 1 << 1, noFlush: 1 << 5 } as const;

/** Which fields a SETATTR request carries. */
export const SET_ATTRIBUTE = {
  mode: 1 << 0,
  userId: 1 << 1,
  groupId: 1 << 2,
  size: 1 << 3,
  accessed: 1 << 4,
  modified: 1 << 5,
  accessedNow: 1 << 7,
  modifiedNow: 1 << 8,
  changed: 1 << 10,
  clearSetId: 1 << 11,
} as const;

/** Flags of a WRITE request. `fromCache`: written back later by the kernel, no caller waits for it. */
export const WRITE_FLAG = { fromCache: 1 << 0, clearSetId: 1 << 2 } as const;

/** Flag of FSYNC and FSYNCDIR: contents only (fdatasync). */
export const SYNC_DATA_ONLY = 1;

/** Flags of renameat2(2) and the values lseek(2) sends us. */
export const RENAME_FLAG = { noReplace: 1, exchange: 2 } as const;
export const SEEK = { data: 3, hole: 4 } as const;

/** Messages we send without being asked (out header's error field). */
export const NOTIFICATION = { invalidateInode: 2, invalidateEntry: 3 } as const;

/** Sizes in bytes. Requests: an in header and a body; replies: an out header and a body. */
export const SIZE = {
  requestHeader: 40,
  replyHeader: 16,
  writeBody: 40,
  entry: 128,
  attributes: 88,
  attributesReply: 104,
  openReply: 16,
  status: 80,
  directoryEntry: 24,
  /** An entry of READDIRPLUS in front of its name: `entry` and `directoryEntry`. */
  directoryEntryPlus: 152,
  initReply: 64,
  /** The kernel refuses to read into less (FUSE_MIN_READ_BUFFER). */
  smallestBuffer: 8192,
} as const;

/** Bits of `mode` that hold the type, and the types. */
export const FILE_TYPE = {
  mask: 0o170000,
  regular: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
} as const;
/** Bits of `mode` that hold permissions. */
export const PERMISSION_MASK = 0o7777;

/** The largest READ and WRITE we negotiate: 256 pages of 4 KiB. */
export const TRANSFER_MAX_BYTES = 1024 * 1024;
