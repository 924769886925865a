// An ordered tree of bounded pages whose root page is part of an inode: directories (keyed by name hash) and extent
// maps (keyed by file offset). Small trees are one page in the inode and cost no record of their own.
//
// Invariants: keys are unique and ascending; a page grows at most to PAGE_MAX_BYTES (ROOT_MAX_BYTES in the inode) before
// it is split; pages without content do not exist below the root; every page of a level is `level` steps above the
// leaves. What a change does depends on the tree's contents alone, never on what happens to be in memory, because the
// journal repeats changes at recovery. A change touches the pages on the way from the root to its key and new ones, so a
// caller who has visited the key before has everything a change needs in memory.
import { CorruptRecord } from './bytes.ts';
import type { Inode } from './record.ts';
import { Page } from './record.ts';

/** A page in a record of its own grows to this before it is split. */
export const PAGE_MAX_BYTES = 4096;
/** The root page inside an inode grows to this before it moves into a record. */
export const ROOT_MAX_BYTES = 2048;
/** A single remaining page moves back into the inode when it is at most this large. */
const ROOT_REJOIN_BYTES = 1024;
/** Key and child id of an interior page. */
export const CHILD_BYTES = 16;

/** Where the pages come from. */
export interface TreeHost<E> {
  /** The page in record `id`, which must belong to `owner`. @throws NotLocal, FilesystemError(EIO) */
  page(owner: Inode, id: number): Page<E>;
  /** Makes a record for a page and returns its id. */
  allocate(owner: Inode, page: Page<E>): number;
  free(owner: Inode, id: number): void;
  /** The page in record `id`, or with 0 the root in the inode, was changed. */
  changed(owner: Inode, id: number): void;
  /** Stored size of a leaf entry with its key. */
  entryBytes(entry: E): number;
}

/** Index of the first key that is not below `key`. */
function lowerBound(keys: readonly number[], key: number): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] as number) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Index of the child whose range has `key`. */
function childIndex(page: Page<unknown>, key: number): number {
  const at = lowerBound(page.keys, key);
  if (page.keys[at] === key) return at;
  return at === 0 ? 0 : at - 1;
}

/** What a split hands to the page above. */
interface Split {
  readonly key: number;
  readonly id: number;
}

/** Operations on the trees of one kind. Stateless beside its host. */
export class Tree<E> {
  readonly #host: TreeHost<E>;

  constructor(host: TreeHost<E>) {
    this.#host = host;
  }

  /** The entry with exactly this key. */
  find(owner: Inode, root: Page<E>, key: number): E | undefined {
    let page = root;
    while (page.level > 0) page = this.#child(owner, page, childIndex(page, key));
    const at = lowerBound(page.keys, key);
    return page.keys[at] === key ? page.entries[at] : undefined;
  }

  /** The entry with the largest key that is not above `key`. */
  floor(owner: Inode, root: Page<E>, key: number): E | undefined {
    if (root.level === 0) {
      const at = lowerBound(root.keys, key);
      return root.keys[at] === key ? root.entries[at] : root.entries[at - 1];
    }
    for (let at = childIndex(root, key); at >= 0; at--) {
      const found = this.floor(owner, this.#child(owner, root, at), key);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Shows the entries from `key` on, ascending, until `visit` answers false. True when it never did. */
  visit(owner: Inode, root: Page<E>, key: number, visit: (entry: E, key: number) => boolean): boolean {
    if (root.level === 0) {
      for (let at = lowerBound(root.keys, key); at < root.keys.length; at++) {
        if (!visit(root.entries[at] as E, root.keys[at] as number)) return false;
      }
      return true;
    }
    for (let at = childIndex(root, key); at < root.keys.length; at++) {
      if (!this.visit(owner, this.#child(owner, root, at), key, visit)) return false;
    }
    return true;
  }

  /** The smallest key of the last leaf page: what lies behind it can be cut off by looking at one leaf. */
  lastLeafKey(owner: Inode, root: Page<E>): number {
    let page = root;
    while (page.level > 0) page = this.#child(owner, page, page.keys.length - 1);
    return page.keys[0] ?? 0;
  }

  /** Adds an entry under a key that is not there yet. */
  insert(owner: Inode, root: Page<E>, key: number, entry: E): void {
    this.#insertInto(owner, root, 0, key, entry);
    if (root.sizeBytes <= ROOT_MAX_BYTES) return;
    const moved = new Page<E>(root.level);
    moved.keys = root.keys;
    moved.entries = root.entries;
    moved.children = root.children;
    moved.sizeBytes = root.sizeBytes;
    const id = this.#host.allocate(owner, moved);
    root.level++;
    root.keys = [0];
    root.entries = [];
    root.children = [id];
    root.sizeBytes = CHILD_BYTES;
  }

  /** Exchanges the entry of a key that is there. */
  replace(owner: Inode, root: Page<E>, key: number, entry: E): void {
    let page = root;
    let id = 0;
    while (page.level > 0) {
      const at = childIndex(page, key);
      id = page.children[at] as number;
      page = this.#child(owner, page, at);
    }
    const at = lowerBound(page.keys, key);
    if (page.keys[at] !== key) throw new CorruptRecord(`key ${key} is not in the tree of inode ${owner.id}`);
    page.sizeBytes += this.#host.entryBytes(entry) - this.#host.entryBytes(page.entries[at] as E);
    page.entries[at] = entry;
    this.#host.changed(owner, id);
  }

  /** Removes the entry of a key that is there. */
  remove(owner: Inode, root: Page<E>, key: number): void {
    const only = root.level > 0 && root.children.length === 1 ? root.children[0] : undefined;
    this.#removeFrom(owner, root, 0, key);
    if (root.level > 0 && root.children.length === 0) root.level = 0;
    if (only === undefined || root.level === 0) return;
    const page = this.#host.page(owner, only);
    if (page.sizeBytes > ROOT_REJOIN_BYTES) return;
    root.level = page.level;
    root.keys = page.keys;
    root.entries = page.entries;
    root.children = page.children;
    root.sizeBytes = page.sizeBytes;
    this.#host.free(owner, only);
    this.#host.changed(owner, 0);
  }

  /** Ids of all records below the root, parents before children. Loads interior pages only. */
  visitRecords(owner: Inode, root: Page<E>, visit: (id: number, level: number) => void): void {
    if (root.level === 0) return;
    for (const id of root.children) {
      visit(id, root.level - 1);
      if (root.level > 1) this.visitRecords(owner, this.#host.page(owner, id), visit);
    }
  }

  #child(owner: Inode, page: Page<E>, at: number): Page<E> {
    const id = page.children[at];
    if (id === undefined) throw new CorruptRecord(`a tree page of inode ${owner.id} has no children`);
    const child = this.#host.page(owner, id);
    if (child.level !== page.level - 1)
      throw new CorruptRecord(`tree page ${id} of inode ${owner.id} is at level ${child.level}`);
    return child;
  }

  #insertInto(owner: Inode, page: Page<E>, id: number, key: number, entry: E): Split | undefined {
    let appended: boolean;
    if (page.level === 0) {
      const at = lowerBound(page.keys, key);
      appended = at === page.keys.length;
      if (page.keys[at] === key)
        throw new CorruptRecord(`key ${key} is twice in the tree of inode ${owner.id}`);
      if (at === page.keys.length) {
        page.keys.push(key);
        page.entries.push(entry);
      } else {
        page.keys.splice(at, 0, key);
        page.entries.splice(at, 0, entry);
      }
      page.sizeBytes += this.#host.entryBytes(entry);
    } else {
      const at = childIndex(page, key);
      const child = this.#child(owner, page, at);
      const split = this.#insertInto(owner, child, page.children[at] as number, key, entry);
      if (split === undefined) return undefined;
      appended = at + 1 === page.keys.length;
      page.keys.splice(at + 1, 0, split.key);
      page.children.splice(at + 1, 0, split.id);
      page.sizeBytes += CHILD_BYTES;
    }
    this.#host.changed(owner, id);
    return id !== 0 && page.sizeBytes > PAGE_MAX_BYTES ? this.#split(owner, page, appended) : undefined;
  }

  /** Moves the upper half of a page into a new one, or only the last entry if it came last: a file that grows leaves full pages. */
  #split(owner: Inode, page: Page<E>, appended: boolean): Split | undefined {
    const count = page.keys.length;
    if (count < 2) return undefined;
    const from = appended ? count - 1 : this.#splitIndex(page);
    const upper = new Page<E>(page.level);
    upper.keys = page.keys.splice(from);
    if (page.level === 0) {
      upper.entries = page.entries.splice(from);
      for (const entry of upper.entries) upper.sizeBytes += this.#host.entryBytes(entry);
    } else {
      upper.children = page.children.splice(from);
      upper.sizeBytes = upper.children.length * CHILD_BYTES;
    }
    page.sizeBytes -= upper.sizeBytes;
    return { key: upper.keys[0] as number, id: this.#host.allocate(owner, upper) };
  }

  #splitIndex(page: Page<E>): number {
    const half = page.sizeBytes / 2;
    if (page.level > 0) return page.keys.length >>> 1;
    let sum = 0;
    for (let at = 0; at < page.entries.length - 1; at++) {
      sum += this.#host.entryBytes(page.entries[at] as E);
      if (sum >= half) return at + 1;
    }
    return page.entries.length - 1;
  }

  #removeFrom(owner: Inode, page: Page<E>, id: number, key: number): void {
    if (page.level === 0) {
      const at = lowerBound(page.keys, key);
      if (page.keys[at] !== key)
        throw new CorruptRecord(`key ${key} is not in the tree of inode ${owner.id}`);
      page.sizeBytes -= this.#host.entryBytes(page.entries[at] as E);
      page.keys.splice(at, 1);
      page.entries.splice(at, 1);
    } else {
      const at = childIndex(page, key);
      const childId = page.children[at] as number;
      const child = this.#child(owner, page, at);
      this.#removeFrom(owner, child, childId, key);
      if (child.keys.length > 0) return;
      this.#host.free(owner, childId);
      page.keys.splice(at, 1);
      page.children.splice(at, 1);
      page.sizeBytes -= CHILD_BYTES;
    }
    this.#host.changed(owner, id);
  }
}
