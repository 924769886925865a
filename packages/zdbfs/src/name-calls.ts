// The calls that are about names: create, link, unlink, rename, and listing a directory.
import { type Attributes, type Caller, type DirectoryEmitter, FilesystemError } from '@qsfs/fuse';
import { NotLocal } from '@qsfs/zdb';
import { statInode } from './attribute-calls.ts';
import { findName, NAME_MAX, prepareName, visitNames } from './directory.ts';
import {
  type DirectoryEntry,
  type Inode,
  isDirectory,
  TYPE_DIRECTORY,
  TYPE_MASK,
  TYPE_REGULAR,
} from './record.ts';
import { ROOT_INODE } from './recovery.ts';
import type { Transactions } from './transactions.ts';

/** Names one inode can have. */
const LINK_MAX = 0x7fffffff;
const SET_GROUP_ID = 0o2000;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
/** Longest symlink target (PATH_MAX less its zero byte). */
const TARGET_MAX = 4095;
/** Cookies 1 and 2 stand behind `.` and `..`; the entry with key k is followed by cookie k + 3. */
const COOKIE_BASE = 2;
/** Inodes loaded ahead of being listed. */
const LIST_BATCH = 64;

function directory(transactions: Transactions, id: number): Inode {
  const inode = transactions.state.inode(id);
  if (!isDirectory(inode)) throw new FilesystemError('ENOTDIR');
  return inode;
}

/** A directory something can be put into: one that still has a name. */
function livingDirectory(transactions: Transactions, id: number): Inode {
  const inode = directory(transactions, id);
  if (inode.linkCount === 0) throw new FilesystemError('ENOENT');
  return inode;
}

function assertNewName(name: string): void {
  if (name.length > NAME_MAX) throw new FilesystemError('ENAMETOOLONG');
  if (name === '.' || name === '..') throw new FilesystemError('EEXIST');
  if (name === '' || name.includes('/') || name.includes('\0')) throw new FilesystemError('EINVAL');
}

/** The inode behind a name, or undefined. */
export function findInode(transactions: Transactions, parentId: number, name: string): Inode | undefined {
  if (name.length > NAME_MAX) throw new FilesystemError('ENAMETOOLONG');
  const parent = directory(transactions, parentId);
  if (name === '.') return parent;
  if (name === '..') return transactions.state.inode(parent.parent);
  const entry = findName(transactions.state, parent, name);
  return entry && transactions.state.inode(entry.inode);
}

/** What a new inode is made of; without a name it has none (O_TMPFILE). */
export interface NewInode {
  readonly parent: number;
  readonly name: string | undefined;
  readonly mode: number;
  readonly deviceNumber: number;
  readonly target?: Uint8Array;
}

/** MKNOD, CREATE, MKDIR, SYMLINK, TMPFILE. */
export function createInode(transactions: Transactions, caller: Caller, wanted: NewInode): Inode {
  const { state } = transactions;
  const parent = livingDirectory(transactions, wanted.parent);
  if (wanted.name !== undefined) {
    assertNewName(wanted.name);
    if (findName(state, parent, wanted.name)) throw new FilesystemError('EEXIST');
    prepareName(state, parent, wanted.name);
  }
  if (wanted.target && (wanted.target.length === 0 || wanted.target.length > TARGET_MAX))
    throw new FilesystemError(wanted.target.length === 0 ? 'ENOENT' : 'ENAMETOOLONG');
  const isNewDirectory = (wanted.mode & TYPE_MASK) === TYPE_DIRECTORY;
  if (isNewDirectory && parent.linkCount >= LINK_MAX) throw new FilesystemError('EMLINK');
  // A set-group-id directory hands its group down, and to directories the bit itself (inode(7), System V semantics).
  const inherits = (parent.mode & SET_GROUP_ID) !== 0;
  transactions.assertRoom(0);
  transactions.reserveIds();
  const inode = state.freeIds.at(-1) as number;
  transactions.run({
    kind: 'create',
    inode,
    parent: parent.id,
    name: wanted.name ?? '',
    mode: inherits && isNewDirectory ? wanted.mode | SET_GROUP_ID : wanted.mode,
    userId: caller.userId,
    groupId: inherits ? parent.groupId : caller.groupId,
    deviceNumber: wanted.deviceNumber,
    // Not slice(), which shares memory when it is a Buffer's.
    target: wanted.target && new Uint8Array(wanted.target),
  });
  return state.inode(inode);
}

/** The type bits a node is made with: none means a regular file. */
export function nodeMode(mode: number): number {
  return mode & TYPE_MASK ? mode : mode | TYPE_REGULAR;
}

/** LINK. */
export function linkInode(transactions: Transactions, id: number, parentId: number, name: string): Inode {
  const { state } = transactions;
  assertNewName(name);
  const inode = state.inode(id);
  if (isDirectory(inode)) throw new FilesystemError('EPERM');
  const parent = livingDirectory(transactions, parentId);
  if (findName(state, parent, name)) throw new FilesystemError('EEXIST');
  if (inode.linkCount >= LINK_MAX) throw new FilesystemError('EMLINK');
  prepareName(state, parent, name);
  transactions.assertRoom(0);
  transactions.reserveIds();
  transactions.run({ kind: 'link', inode: id, parent: parentId, name });
  return inode;
}

function existing(
  transactions: Transactions,
  parent: Inode,
  name: string,
): { entry: DirectoryEntry; inode: Inode } {
  if (name.length > NAME_MAX) throw new FilesystemError('ENAMETOOLONG');
  const entry = findName(transactions.state, parent, name);
  if (!entry) throw new FilesystemError('ENOENT');
  return { entry, inode: transactions.state.inode(entry.inode) };
}

/** UNLINK and RMDIR. Returns the inode that lost its name. */
export function removeEntry(
  transactions: Transactions,
  parentId: number,
  name: string,
  wantDirectory: boolean,
): Inode {
  if (name === '.') throw new FilesystemError('EINVAL');
  if (name === '..') throw new FilesystemError('ENOTEMPTY');
  const parent = directory(transactions, parentId);
  const { inode } = existing(transactions, parent, name);
  if (wantDirectory && !isDirectory(inode)) throw new FilesystemError('ENOTDIR');
  if (!wantDirectory && isDirectory(inode)) throw new FilesystemError('EISDIR');
  if (inode.entryCount > 0) throw new FilesystemError('ENOTEMPTY');
  transactions.reserveIds();
  transactions.run({ kind: 'remove', parent: parentId, name });
  return inode;
}

/** True when `id` is `ancestor` or below it. */
function isWithin(transactions: Transactions, id: number, ancestor: number): boolean {
  for (let at = id; ; ) {
    if (at === ancestor) return true;
    if (at === ROOT_INODE) return false;
    const { parent } = transactions.state.inode(at);
    if (parent === at || parent === 0) return false;
    at = parent;
  }
}

function assertReplaceable(source: Inode, target: Inode): void {
  if (isDirectory(source) && !isDirectory(target)) throw new FilesystemError('ENOTDIR');
  if (!isDirectory(source) && isDirectory(target)) throw new FilesystemError('EISDIR');
  if (target.entryCount > 0) throw new FilesystemError('ENOTEMPTY');
}

/** RENAME2. Returns the inode whose name was replaced, if there was one. */
export function renameEntry(
  transactions: Transactions,
  sourceParentId: number,
  sourceName: string,
  targetParentId: number,
  targetName: string,
  flags: number,
): Inode | undefined {
  const { state } = transactions;
  if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) || flags === (RENAME_NOREPLACE | RENAME_EXCHANGE))
    throw new FilesystemError('EINVAL');
  for (const name of [sourceName, targetName])
    if (name === '.' || name === '..') throw new FilesystemError('EBUSY');
  const sourceParent = directory(transactions, sourceParentId);
  const targetParent = livingDirectory(transactions, targetParentId);
  const source = existing(transactions, sourceParent, sourceName).inode;
  assertNewName(targetName);
  const entry = findName(state, targetParent, targetName);
  const target = entry && state.inode(entry.inode);
  const exchange = flags === RENAME_EXCHANGE;
  if (exchange && !target) throw new FilesystemError('ENOENT');
  if (target && flags === RENAME_NOREPLACE) throw new FilesystemError('EEXIST');
  if (isDirectory(source) && isWithin(transactions, targetParentId, source.id))
    throw new FilesystemError('EINVAL');
  if (exchange && target && isDirectory(target) && isWithin(transactions, sourceParentId, target.id))
    throw new FilesystemError('EINVAL');
  // Two names of one inode: nothing happens (rename(2)).
  if (target && target === source) return undefined;
  if (target && !exchange) assertReplaceable(source, target);
  if (!target) prepareName(state, targetParent, targetName);
  transactions.reserveIds();
  transactions.run({
    kind: 'rename',
    sourceParent: sourceParentId,
    sourceName,
    targetParent: targetParentId,
    targetName,
    exchange,
  });
  return exchange ? undefined : target;
}

/** One entry on its way into a listing. */
interface Listed {
  readonly name: string;
  readonly inode: number;
  readonly mode: number;
  readonly cookie: number;
  readonly attributes: Attributes | undefined;
}

/**
 * READDIR and READDIRPLUS. Entries come in the order of their keys, which do not change while others come and go; so a
 * cookie stays valid, nothing is listed twice, and what was there all the time is listed.
 * @param taken called for each entry the reply took with attributes
 */
export function listEntries(
  transactions: Transactions,
  id: number,
  cookie: number,
  emit: DirectoryEmitter,
  withAttributes: boolean,
  taken: (inode: number) => void,
): void {
  const inode = directory(transactions, id);
  if (cookie < 1 && !emit('.', id, inode.mode, 1, undefined)) return;
  if (cookie < 2 && !emit('..', inode.parent, inode.mode, 2, undefined)) return;
  let from = Math.max(0, cookie - COOKIE_BASE);
  for (;;) {
    const batch = nextEntries(transactions, inode, from, withAttributes);
    for (const entry of batch) {
      if (!emit(entry.name, entry.inode, entry.mode, entry.cookie, entry.attributes)) return;
      if (entry.attributes) taken(entry.inode);
    }
    const last = batch.at(-1);
    if (!last) return;
    from = last.cookie - COOKIE_BASE;
  }
}

function nextEntries(
  transactions: Transactions,
  parent: Inode,
  from: number,
  withAttributes: boolean,
): Listed[] {
  const { state } = transactions;
  const found: { entry: DirectoryEntry; key: number }[] = [];
  visitNames(state, parent, from, (entry, key) => {
    found.push({ entry, key });
    return found.length < LIST_BATCH;
  });
  return found.map(({ entry, key }) => ({
    name: entry.name,
    inode: entry.inode,
    mode: entry.type << 12,
    cookie: key + COOKIE_BASE + 1,
    attributes: withAttributes ? attributesIfReadable(transactions, entry.inode) : undefined,
  }));
}

/** A damaged inode does not hide its neighbours: it is listed by its name alone. */
function attributesIfReadable(transactions: Transactions, id: number): Attributes | undefined {
  try {
    return statInode(transactions.state.inode(id));
  } catch (error) {
    if (error instanceof NotLocal || !(error instanceof FilesystemError)) throw error;
    return undefined;
  }
}
