// The records of `zdbfs-meta` as they live in memory: inodes, nodes of directory and extent trees, and attribute
// records. Only apply.ts and what it calls change them; record-codec.ts turns them into bytes and back.

/** Seconds may be negative; nanoseconds are 0 … 999,999,999. */
export interface Moment {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** A name in a directory. The key orders names by their hash (name-hash.ts). `type` is the mode's type, S_IFMT >> 12. */
export interface DirectoryEntry {
  readonly name: string;
  readonly inode: number;
  readonly type: number;
}

/**
 * A range of a file, keyed by its file offset, whose bytes are in a data record from `recordOffset` on. A record never
 * moves: byte r of it belongs at file offset `offset - recordOffset + r`, shadowed or not.
 */
export interface Extent {
  readonly offset: number;
  readonly lengthBytes: number;
  readonly record: number;
  readonly recordOffset: number;
  readonly recordLength: number;
}

/**
 * A page of a tree: level 0 holds entries, higher levels hold children. `keys` is ascending and parallel to `entries`
 * or `children`; a child's key is not above the keys below it, except that the first child also takes smaller ones.
 */
export class Page<E> {
  level: number;
  keys: number[];
  entries: E[];
  children: number[];
  /** Stored size of keys, entries and children. */
  sizeBytes: number;

  constructor(level = 0) {
    this.level = level;
    this.keys = [];
    this.entries = [];
    this.children = [];
    this.sizeBytes = 0;
  }
}

/** What the cache keeps of each record beside its contents. */
abstract class CachedRecord {
  readonly id: number;
  dirty = false;
  /** Touched since the cache's hand came by. */
  used = true;
  /** Bytes of memory the cache counts for it. */
  weightBytes = 0;

  constructor(id: number) {
    this.id = id;
  }
}

/** A page with a record of its own. `owner` is the inode whose tree it belongs to. */
export class DirectoryNode extends CachedRecord {
  readonly kind = 'directory-node';
  readonly owner: number;
  readonly page: Page<DirectoryEntry>;

  constructor(id: number, owner: number, page: Page<DirectoryEntry>) {
    super(id);
    this.owner = owner;
    this.page = page;
  }
}

/** As DirectoryNode, for the extents of a file. */
export class ExtentNode extends CachedRecord {
  readonly kind = 'extent-node';
  readonly owner: number;
  readonly page: Page<Extent>;

  constructor(id: number, owner: number, page: Page<Extent>) {
    super(id);
    this.owner = owner;
    this.page = page;
  }
}

/** Extended attributes that do not fit into the inode's own record. */
export class AttributeRecord extends CachedRecord {
  readonly kind = 'attributes';
  readonly owner: number;
  readonly values: Map<string, Uint8Array>;

  constructor(id: number, owner: number, values: Map<string, Uint8Array>) {
    super(id);
    this.owner = owner;
    this.values = values;
  }
}

/** A file of any type. Exactly one of `bytes`, `directory`, `extents` is set, or none (devices, fifos, sockets). */
export class Inode extends CachedRecord {
  readonly kind = 'inode';
  mode = 0;
  userId = 0;
  groupId = 0;
  linkCount = 0;
  generation = 0;
  deviceNumber = 0;
  /** Files: size. Symlinks: length of the target. Directories: stored size of the entries. */
  sizeBytes = 0;
  /** Bytes of the file that are mapped to data records or inline. */
  allocatedBytes = 0;
  accessed: Moment = EPOCH;
  modified: Moment = EPOCH;
  changed: Moment = EPOCH;
  /** Directories: the inode of `..`; else 0. */
  parent = 0;
  /** Directories: names in it. */
  entryCount = 0;
  /** Contents of a small file (its length may be below `sizeBytes`: the rest is a hole), or a symlink's target. */
  bytes: Uint8Array | undefined = undefined;
  directory: Page<DirectoryEntry> | undefined = undefined;
  extents: Page<Extent> | undefined = undefined;
  /** Extended attributes kept inline; undefined when there are none or they are in `attributeRecord`. */
  attributes: Map<string, Uint8Array> | undefined = undefined;
  /** Record with the extended attributes, 0: none. */
  attributeRecord = 0;
}

/** The zero of time. */
export const EPOCH: Moment = { seconds: 0, nanoseconds: 0 };

/** Any record of zdbfs-meta but the superblock. */
export type MetaRecord = Inode | DirectoryNode | ExtentNode | AttributeRecord;

/** Type bits of a mode (inode(7)). */
export const TYPE_MASK = 0o170000;
export const TYPE_DIRECTORY = 0o040000;
export const TYPE_REGULAR = 0o100000;
export const TYPE_SYMLINK = 0o120000;

/** True for directories. */
export function isDirectory(inode: Inode): boolean {
  return (inode.mode & TYPE_MASK) === TYPE_DIRECTORY;
}

/** True for regular files. */
export function isRegular(inode: Inode): boolean {
  return (inode.mode & TYPE_MASK) === TYPE_REGULAR;
}
