// A whole filesystem in memory, for the tests and the benchmark of the session. Files whose names begin with "slow" cannot
// be read until `release` is called: their reads throw NotHere, which the session parks.
import type { ERRNO } from '@qsfs/io';
import {
  type AttributeChange,
  type Attributes,
  type Caller,
  type DirectoryEmitter,
  FILE_TYPE,
  type Filesystem,
  FilesystemError,
  type FilesystemStatus,
  ROOT_INODE,
  SEEK,
  type Timestamp,
} from '../src/index.ts';

/** What a read of a slow file throws; the token is the inode. */
export class NotHere extends Error {
  readonly inode: number;

  constructor(inode: number) {
    super(`inode ${inode} is not here`);
    this.inode = inode;
  }
}

/** Contents are pieces of this size; the first one is shorter while the file is. */
const CHUNK = 128 * 1024;
const CHUNK_MIN = 1024;
const NAME_MAX = 255;

/** A directory's entries in order of creation, with holes where names were removed. */
class Entries {
  readonly #byName = new Map<string, number>();
  /** [cookie, name, inode]; cookies ascend, removed ones have inode 0. */
  readonly #rows: { cookie: number; name: string; inode: number }[] = [];
  #nextCookie = 3;

  get size(): number {
    return this.#byName.size;
  }

  get(name: string): number | undefined {
    const cookie = this.#byName.get(name);
    return cookie === undefined ? undefined : this.#rows[this.#find(cookie)]?.inode;
  }

  set(name: string, inode: number): void {
    const cookie = this.#byName.get(name);
    if (cookie !== undefined) {
      const row = this.#rows[this.#find(cookie)];
      if (row) row.inode = inode;
      return;
    }
    this.#byName.set(name, this.#nextCookie);
    this.#rows.push({ cookie: this.#nextCookie++, name, inode });
  }

  remove(name: string): void {
    const cookie = this.#byName.get(name);
    if (cookie === undefined) return;
    this.#byName.delete(name);
    const row = this.#rows[this.#find(cookie)];
    if (row) row.inode = 0;
    while (this.#rows.length > 0 && this.#rows.at(-1)?.inode === 0) this.#rows.pop();
  }

  /** Entries behind `cookie`. */
  *after(cookie: number): Generator<{ cookie: number; name: string; inode: number }> {
    for (let at = this.#find(cookie + 1); at < this.#rows.length; at++) {
      const row = this.#rows[at];
      if (row && row.inode !== 0) yield row;
    }
  }

  /** Index of the first row with at least this cookie. */
  #find(cookie: number): number {
    let low = 0;
    let high = this.#rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#rows[middle]?.cookie ?? 0) < cookie) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

interface Node {
  readonly inode: number;
  mode: number;
  links: number;
  userId: number;
  groupId: number;
  readonly deviceNumber: number;
  size: number;
  accessed: Timestamp;
  modified: Timestamp;
  changed: Timestamp;
  references: number;
  parent: number;
  slow: boolean;
  readonly entries: Entries | undefined;
  readonly chunks: (Uint8Array | undefined)[];
  target: Uint8Array | undefined;
  readonly extended: Map<string, Uint8Array>;
}

/** The filesystem. `now` gives the time that is stamped on things. */
export class MemoryFilesystem implements Filesystem {
  readonly #nodes = new Map<number, Node>();
  readonly #now: () => number;
  #next = ROOT_INODE;
  /** Slow files that may be read now. */
  readonly #released = new Set<number>();
  /** Calls of interest to tests. */
  idleCalls = 0;
  syncs = 0;

  constructor(now: () => number = () => 1_700_000_000_000) {
    this.#now = now;
    const caller = { userId: 0, groupId: 0, processId: 0 };
    const root = this.#make(FILE_TYPE.directory | 0o755, caller, 0);
    root.parent = ROOT_INODE;
    root.references = Number.MAX_SAFE_INTEGER / 2;
  }

  /** Inodes alive, the root included. */
  get inodes(): number {
    return this.#nodes.size;
  }

  /** References the kernel holds, the root's excluded. */
  get references(): number {
    let sum = 0;
    for (const node of this.#nodes.values()) if (node.inode !== ROOT_INODE) sum += node.references;
    return sum;
  }

  /** The slow file may be read from now on. */
  release(inode: number): void {
    this.#released.add(inode);
  }

  lookup(parent: number, name: string): Attributes | undefined {
    checkName(name);
    const inode = this.#directory(parent).get(name);
    return inode === undefined ? undefined : this.#referenced(this.#node(inode));
  }

  forget(inode: number, count: number): void {
    const node = this.#nodes.get(inode);
    if (!node || inode === ROOT_INODE) return;
    node.references -= count;
    if (node.references < 0)
      throw new RangeError(`inode ${inode} was forgotten more often than it was given out`);
    this.#collect(node);
  }

  getAttributes(inode: number): Attributes {
    return attributesOf(this.#node(inode));
  }

  setAttributes(inode: number, change: AttributeChange): Attributes {
    const node = this.#node(inode);
    const now = this.#stamp();
    if (change.sizeBytes !== undefined) {
      this.#resize(node, change.sizeBytes);
      node.modified = now;
    }
    if (change.mode !== undefined) node.mode = (node.mode & FILE_TYPE.mask) | change.mode;
    if (change.userId !== undefined) node.userId = change.userId;
    if (change.groupId !== undefined) node.groupId = change.groupId;
    if (change.accessed) node.accessed = change.accessed === 'now' ? now : change.accessed;
    if (change.modified) node.modified = change.modified === 'now' ? now : change.modified;
    if (change.clearSetId) clearSetId(node);
    node.changed = change.changed ?? now;
    return attributesOf(node);
  }

  readLink(inode: number): Uint8Array {
    return this.#node(inode).target ?? fail('EINVAL');
  }

  makeSymlink(parent: number, name: string, target: Uint8Array, caller: Caller): Attributes {
    return this.#create(parent, name, FILE_TYPE.symlink | 0o777, caller, 0, (node) => {
      node.target = target;
      node.size = target.length;
    });
  }

  makeNode(parent: number, name: string, mode: number, deviceNumber: number, caller: Caller): Attributes {
    return this.#create(parent, name, mode, caller, deviceNumber, (node) => {
      node.slow = name.startsWith('slow');
    });
  }

  makeDirectory(parent: number, name: string, mode: number, caller: Caller): Attributes {
    const made = this.#create(parent, name, FILE_TYPE.directory | mode, caller, 0, (node) => {
      node.parent = parent;
    });
    this.#node(parent).links++;
    return made;
  }

  makeTemporary(parent: number, mode: number, caller: Caller): Attributes {
    this.#directory(parent);
    const node = this.#make(mode, caller, 0);
    node.links = 0;
    return this.#referenced(node);
  }

  unlink(parent: number, name: string): void {
    const entries = this.#directory(parent);
    const node = this.#node(entries.get(name) ?? fail('ENOENT'));
    if (node.entries) fail('EISDIR');
    entries.remove(name);
    node.links--;
    node.changed = this.#stamp();
    this.#touch(parent);
    this.#collect(node);
  }

  removeDirectory(parent: number, name: string): void {
    const entries = this.#directory(parent);
    const node = this.#node(entries.get(name) ?? fail('ENOENT'));
    if (this.#directory(node.inode).size > 0) fail('ENOTEMPTY');
    entries.remove(name);
    node.links = 0;
    this.#node(parent).links--;
    this.#touch(parent);
    this.#collect(node);
  }

  rename(
    sourceParent: number,
    sourceName: string,
    targetParent: number,
    targetName: string,
    flags: number,
  ): void {
    checkName(targetName);
    const from = this.#directory(sourceParent);
    const to = this.#directory(targetParent);
    const moved = this.#node(from.get(sourceName) ?? fail('ENOENT'));
    const replacedInode = to.get(targetName);
    if (flags === 2) {
      const other = this.#node(replacedInode ?? fail('ENOENT'));
      to.set(targetName, moved.inode);
      from.set(sourceName, other.inode);
      this.#moveDirectory(moved, sourceParent, targetParent);
      this.#moveDirectory(other, targetParent, sourceParent);
    } else {
      if (replacedInode === moved.inode) return;
      if (replacedInode !== undefined) {
        if (flags === 1) fail('EEXIST');
        this.#replace(this.#node(replacedInode), moved, targetParent);
      }
      from.remove(sourceName);
      to.set(targetName, moved.inode);
      this.#moveDirectory(moved, sourceParent, targetParent);
    }
    this.#touch(sourceParent);
    this.#touch(targetParent);
  }

  link(inode: number, parent: number, name: string): Attributes {
    checkName(name);
    const node = this.#node(inode);
    const entries = this.#directory(parent);
    if (entries.get(name) !== undefined) fail('EEXIST');
    entries.set(name, inode);
    node.links++;
    node.changed = this.#stamp();
    this.#touch(parent);
    return this.#referenced(node);
  }

  read(inode: number, offset: number, target: Uint8Array): number {
    const node = this.#node(inode);
    if (node.slow && !this.#released.has(inode)) throw new NotHere(inode);
    const length = Math.max(0, Math.min(target.length, node.size - offset));
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const inside = at % CHUNK;
      const part = Math.min(length - done, CHUNK - inside);
      const chunk = node.chunks[Math.floor(at / CHUNK)];
      const held = chunk ? Math.max(0, Math.min(part, chunk.length - inside)) : 0;
      if (chunk && held > 0) target.set(held === CHUNK ? chunk : chunk.subarray(inside, inside + held), done);
      if (held < part) target.fill(0, done + held, done + part);
      done += part;
    }
    return length;
  }

  write(inode: number, offset: number, source: Uint8Array, _caller: Caller, killSetId: boolean): void {
    const node = this.#node(inode);
    for (let done = 0; done < source.length; ) {
      const at = offset + done;
      const inside = at % CHUNK;
      const part = Math.min(source.length - done, CHUNK - inside);
      const chunk = room(node, Math.floor(at / CHUNK), inside + part);
      chunk.set(part === source.length ? source : source.subarray(done, done + part), inside);
      done += part;
    }
    if (offset + source.length > node.size) node.size = offset + source.length;
    if (killSetId) clearSetId(node);
    node.modified = node.changed = this.#stamp();
  }

  sync(inode: number): void {
    this.#node(inode);
    this.syncs++;
  }

  syncAll(): void {
    this.syncs++;
  }

  listDirectory(inode: number, cookie: number, emit: DirectoryEmitter, withAttributes: boolean): void {
    const entries = this.#directory(inode);
    const directory = this.#node(inode);
    if (cookie < 1 && !emit('.', inode, directory.mode, 1, undefined)) return;
    if (cookie < 2 && !emit('..', directory.parent, FILE_TYPE.directory, 2, undefined)) return;
    for (const row of entries.after(Math.max(2, cookie))) {
      const node = this.#node(row.inode);
      const taken = emit(
        row.name,
        row.inode,
        node.mode,
        row.cookie,
        withAttributes ? attributesOf(node) : undefined,
      );
      if (!taken) return;
      if (withAttributes) node.references++;
    }
  }

  status(): FilesystemStatus {
    return {
      blockSizeBytes: 4096,
      blocks: 1_000_000,
      blocksFree: 900_000,
      blocksAvailable: 800_000,
      inodes: 5_000_000_000,
      inodesFree: 5_000_000_000 - this.#nodes.size,
      nameMax: NAME_MAX,
    };
  }

  getExtendedAttribute(inode: number, name: string): Uint8Array | undefined {
    return this.#node(inode).extended.get(name);
  }

  setExtendedAttribute(inode: number, name: string, value: Uint8Array, flags: number): void {
    const { extended } = this.#node(inode);
    if (flags === 1 && extended.has(name)) fail('EEXIST');
    if (flags === 2 && !extended.has(name)) fail('ENODATA');
    extended.set(name, value);
  }

  listExtendedAttributes(inode: number): readonly string[] {
    return [...this.#node(inode).extended.keys()];
  }

  removeExtendedAttribute(inode: number, name: string): void {
    if (!this.#node(inode).extended.delete(name)) fail('ENODATA');
  }

  allocate(inode: number, mode: number, offset: number, lengthBytes: number): void {
    const node = this.#node(inode);
    const end = offset + lengthBytes;
    if (mode === 0 && end > node.size) this.#resize(node, end);
    // FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
    if (mode === 3) this.#zero(node, offset, Math.min(end, node.size));
    if (mode !== 0 && mode !== 1 && mode !== 3) fail('EOPNOTSUPP');
  }

  seek(inode: number, offset: number, whence: number): number {
    const node = this.#node(inode);
    if (offset >= node.size) fail('ENXIO');
    const last = Math.ceil(node.size / CHUNK);
    for (let chunk = Math.floor(offset / CHUNK); chunk < last; chunk++) {
      const isData = node.chunks[chunk] !== undefined;
      if (isData === (whence === SEEK.data)) return Math.max(offset, chunk * CHUNK);
    }
    return whence === SEEK.hole ? node.size : fail('ENXIO');
  }

  copyRange(
    source: number,
    sourceOffset: number,
    target: number,
    targetOffset: number,
    lengthBytes: number,
  ): number {
    const buffer = new Uint8Array(Math.min(lengthBytes, CHUNK));
    const got = this.read(source, sourceOffset, buffer);
    this.write(target, targetOffset, buffer.subarray(0, got), { userId: 0, groupId: 0, processId: 0 }, false);
    return got;
  }

  idle(): void {
    this.idleCalls++;
  }

  #stamp(): Timestamp {
    const ms = this.#now();
    return { seconds: Math.floor(ms / 1000), nanoseconds: Math.floor((ms % 1000) * 1e6) };
  }

  #node(inode: number): Node {
    return this.#nodes.get(inode) ?? fail('ESTALE');
  }

  #directory(inode: number): Entries {
    return this.#node(inode).entries ?? fail('ENOTDIR');
  }

  #touch(inode: number): void {
    const node = this.#node(inode);
    node.modified = node.changed = this.#stamp();
  }

  #referenced(node: Node): Attributes {
    node.references++;
    return attributesOf(node);
  }

  #create(
    parent: number,
    name: string,
    mode: number,
    caller: Caller,
    deviceNumber: number,
    fill: (node: Node) => void,
  ): Attributes {
    checkName(name);
    const entries = this.#directory(parent);
    if (entries.get(name) !== undefined) fail('EEXIST');
    const node = this.#make(mode, caller, deviceNumber);
    fill(node);
    entries.set(name, node.inode);
    this.#touch(parent);
    return this.#referenced(node);
  }

  #make(mode: number, caller: Caller, deviceNumber: number): Node {
    const now = this.#stamp();
    const directory = (mode & FILE_TYPE.mask) === FILE_TYPE.directory;
    const node: Node = {
      inode: this.#next++,
      mode,
      links: directory ? 2 : 1,
      userId: caller.userId,
      groupId: caller.groupId,
      deviceNumber,
      size: 0,
      accessed: now,
      modified: now,
      changed: now,
      references: 0,
      parent: 0,
      slow: false,
      entries: directory ? new Entries() : undefined,
      chunks: [],
      target: undefined,
      extended: new Map(),
    };
    this.#nodes.set(node.inode, node);
    return node;
  }

  #replace(victim: Node, moved: Node, targetParent: number): void {
    if (victim.entries) {
      if (!moved.entries) fail('EISDIR');
      if (victim.entries.size > 0) fail('ENOTEMPTY');
      victim.links = 0;
      this.#node(targetParent).links--;
    } else {
      if (moved.entries) fail('ENOTDIR');
      victim.links--;
    }
    this.#collect(victim);
  }

  #moveDirectory(node: Node, from: number, to: number): void {
    node.changed = this.#stamp();
    if (!node.entries || from === to) return;
    node.parent = to;
    this.#node(from).links--;
    this.#node(to).links++;
  }

  #collect(node: Node): void {
    if (node.links === 0 && node.references === 0) this.#nodes.delete(node.inode);
  }

  #resize(node: Node, size: number): void {
    if (node.entries) fail('EISDIR');
    if (size < node.size) {
      this.#zero(node, size, Math.min(node.size, Math.ceil(size / CHUNK) * CHUNK));
      node.chunks.length = Math.min(node.chunks.length, Math.ceil(size / CHUNK));
    }
    node.size = size;
  }

  /** Whole chunks become holes, parts zeros. */
  #zero(node: Node, from: number, to: number): void {
    for (let at = from; at < to; ) {
      const inside = at % CHUNK;
      const part = Math.min(to - at, CHUNK - inside);
      const index = Math.floor(at / CHUNK);
      if (part === CHUNK) delete node.chunks[index];
      else node.chunks[index]?.fill(0, inside, inside + part);
      at += part;
    }
  }
}

function attributesOf(node: Node): Attributes {
  let blocks = 0;
  for (const chunk of node.chunks) if (chunk) blocks += chunk.length / 512;
  return {
    inode: node.inode,
    generation: 1,
    mode: node.mode,
    linkCount: node.links,
    userId: node.userId,
    groupId: node.groupId,
    deviceNumber: node.deviceNumber,
    sizeBytes: node.size,
    blocks,
    accessed: node.accessed,
    modified: node.modified,
    changed: node.changed,
  };
}

/** The chunk, long enough for `lengthBytes`. */
function room(node: Node, index: number, lengthBytes: number): Uint8Array {
  const old = node.chunks[index];
  if (old && old.length >= lengthBytes) return old;
  let size = index === 0 ? CHUNK_MIN : CHUNK;
  while (size < lengthBytes) size *= 2;
  const chunk = new Uint8Array(size);
  if (old) chunk.set(old);
  node.chunks[index] = chunk;
  return chunk;
}

function clearSetId(node: Node): void {
  node.mode &= ~0o4000;
  if ((node.mode & 0o010) !== 0) node.mode &= ~0o2000;
}

function checkName(name: string): void {
  if (name.length > NAME_MAX) fail('ENAMETOOLONG');
}

function fail(code: keyof typeof ERRNO): never {
  throw new FilesystemError(code);
}
