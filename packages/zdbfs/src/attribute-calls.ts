// The calls that are about an inode's attributes: stat, chmod, chown, utimens, truncate, extended attributes.
import { type AttributeChange, type Attributes, FilesystemError } from '@qsfs/fuse';
import { attributesOf } from './apply.ts';
import { FILE_SIZE_MAX, prepareRange } from './extent-map.ts';
import type { AttributesOperation } from './operation.ts';
import { type Inode, isDirectory, isRegular, type Moment } from './record.ts';
import { attributeBytes } from './record-codec.ts';
import type { Transactions } from './transactions.ts';

const SET_USER_ID = 0o4000;
const SET_GROUP_ID = 0o2000;
const GROUP_EXECUTE = 0o0010;
/** All extended attributes of one inode together. */
const ATTRIBUTES_MAX_BYTES = 128 * 1024;
/** One value (XATTR_SIZE_MAX of the kernel). */
const ATTRIBUTE_VALUE_MAX_BYTES = 65_536;
const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;
/** Access control lists would have to be enforced by the kernel, which it does only when asked to at mounting. */
const ACCESS_LISTS = 'system.posix_acl_';

/** What stat(2) shows. */
export function statInode(inode: Inode): Attributes {
  return {
    inode: inode.id,
    generation: inode.generation,
    mode: inode.mode,
    linkCount: inode.linkCount,
    userId: inode.userId,
    groupId: inode.groupId,
    deviceNumber: inode.deviceNumber,
    sizeBytes: inode.sizeBytes,
    blocks: Math.ceil(inode.allocatedBytes / 512),
    accessed: inode.accessed,
    modified: inode.modified,
    changed: inode.changed,
  };
}

/** The mode after set-id bits are cleared as chown(2) and write(2) do; undefined when it stays. */
export function modeWithoutSetId(inode: Inode): number | undefined {
  if (isDirectory(inode)) return undefined;
  let mode = inode.mode & ~SET_USER_ID;
  if (mode & GROUP_EXECUTE) mode &= ~SET_GROUP_ID;
  return mode === inode.mode ? undefined : mode;
}

/** Loads the record of the extended attributes if there is one, so that an operation may drop the capability. */
export function prepareAttributes(transactions: Transactions, inode: Inode): void {
  if (inode.attributeRecord !== 0) transactions.state.attributes(inode);
}

/** SETATTR. */
export function changeAttributes(transactions: Transactions, id: number, change: AttributeChange): Inode {
  const { state } = transactions;
  const inode = state.inode(id);
  const { sizeBytes } = change;
  if (sizeBytes !== undefined) {
    if (isDirectory(inode)) throw new FilesystemError('EISDIR');
    if (!isRegular(inode)) throw new FilesystemError('EINVAL');
    if (sizeBytes > FILE_SIZE_MAX || sizeBytes < 0) throw new FilesystemError('EFBIG');
  }
  prepareAttributes(transactions, inode);
  const time = transactions.now();
  const chosen = (moment: Moment | 'now' | undefined) => (moment === 'now' ? time : moment);
  const owned = change.userId !== undefined || change.groupId !== undefined;
  let { mode } = change;
  if (mode === undefined && (owned || change.clearSetId)) mode = modeWithoutSetId(inode);
  const operation: AttributesOperation = {
    kind: 'attributes',
    inode: id,
    mode: mode === undefined ? undefined : mode & 0o7777,
    userId: change.userId,
    groupId: change.groupId,
    sizeBytes,
    accessed: chosen(change.accessed),
    modified: chosen(change.modified),
    changed: change.changed,
    dropCapability: !isDirectory(inode) && (owned || sizeBytes !== undefined),
  };
  transactions.reserveIds();
  if (sizeBytes !== undefined && sizeBytes < inode.sizeBytes) cutDown(transactions, inode, sizeBytes);
  transactions.run(operation, time);
  return inode;
}

/**
 * Takes the extents behind `sizeBytes` off a large file, one tree page an operation, from the end, so that no operation is
 * large; the last page is left to the caller's own operation. Running it again after it was interrupted goes on.
 * @param pages stop after so many
 * @returns false when there is more to take off
 */
export function cutDown(
  transactions: Transactions,
  file: Inode,
  sizeBytes: number,
  pages = Number.POSITIVE_INFINITY,
): boolean {
  const { state } = transactions;
  for (let page = 0; file.extents && file.extents.level > 0; page++) {
    const cut = state.files.lastLeafKey(file, file.extents);
    if (cut <= sizeBytes) break;
    if (page >= pages) return false;
    prepareRange(state, file, cut, Number.MAX_SAFE_INTEGER);
    transactions.reserveIds();
    transactions.run({
      kind: 'attributes',
      inode: file.id,
      mode: undefined,
      userId: undefined,
      groupId: undefined,
      sizeBytes: cut,
      accessed: undefined,
      modified: undefined,
      changed: undefined,
      dropCapability: false,
    });
  }
  prepareRange(state, file, sizeBytes, Number.MAX_SAFE_INTEGER);
  return true;
}

function assertAttributeName(name: string): void {
  if (name.startsWith(ACCESS_LISTS)) throw new FilesystemError('EOPNOTSUPP');
  if (name.length === 0 || name.length > 255) throw new FilesystemError('ERANGE');
}

/** GETXATTR; undefined: there is none. */
export function getAttribute(transactions: Transactions, id: number, name: string): Uint8Array | undefined {
  assertAttributeName(name);
  const { state } = transactions;
  return attributesOf(state, state.inode(id))?.get(name);
}

/** LISTXATTR. */
export function listAttributes(transactions: Transactions, id: number): string[] {
  const { state } = transactions;
  return [...(attributesOf(state, state.inode(id))?.keys() ?? [])];
}

/** SETXATTR. */
export function setAttribute(
  transactions: Transactions,
  id: number,
  name: string,
  value: Uint8Array,
  flags: number,
): void {
  assertAttributeName(name);
  if (flags & ~(XATTR_CREATE | XATTR_REPLACE)) throw new FilesystemError('EINVAL');
  if (value.length > ATTRIBUTE_VALUE_MAX_BYTES) throw new FilesystemError('E2BIG');
  const { state } = transactions;
  const present = attributesOf(state, state.inode(id));
  const old = present?.get(name);
  if (flags & XATTR_CREATE && old) throw new FilesystemError('EEXIST');
  if (flags & XATTR_REPLACE && !old) throw new FilesystemError('ENODATA');
  let size = attributeBytes(name, value);
  for (const [other, bytes] of present ?? []) if (other !== name) size += attributeBytes(other, bytes);
  if (size > ATTRIBUTES_MAX_BYTES)
    throw new FilesystemError('ENOSPC', 'the extended attributes of one file are too large');
  transactions.assertRoom(value.length);
  transactions.reserveIds();
  transactions.run({ kind: 'extended-attribute', inode: id, name, value: new Uint8Array(value) });
}

/** REMOVEXATTR. */
export function removeAttribute(transactions: Transactions, id: number, name: string): void {
  assertAttributeName(name);
  const { state } = transactions;
  if (!attributesOf(state, state.inode(id))?.has(name)) throw new FilesystemError('ENODATA');
  transactions.reserveIds();
  transactions.run({ kind: 'extended-attribute', inode: id, name, value: undefined });
}
