// The kernel's FUSE protocol without libfuse: what a filesystem implements, the session that serves it, and mounting.
export { deadMounts, detach, isDeadMount, type MountIo } from './dead-mount.ts';
export * from './filesystem.ts';
export { type MountedDevice, type Mounting, type MountOptions, mount } from './mount.ts';
export { checkMounting } from './mount-check.ts';
export { MountError, type MountErrorReason } from './mount-error.ts';
export { isFuse, type MountEntry, mountedAt, mountTable } from './mount-table.ts';
export type { Negotiated } from './negotiation.ts';
export { Notifier } from './notifier.ts';
export type { Token } from './parking.ts';
export { FILE_TYPE, PERMISSION_MASK, RENAME_FLAG, ROOT_INODE, SEEK } from './protocol.ts';
export type { CacheTimes } from './reply.ts';
export { Session, type SessionEnd, type SessionOptions, type SessionStatistics } from './session.ts';
export { type WakeHandle, type WakeIo, wake } from './wake.ts';
