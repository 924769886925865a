// Inodes that lost their last name and that the kernel does not hold any more: freed in batches, large files cut down first.
// Owned by the Volume.
import { FilesystemError } from '@qsfs/fuse';
import { cutDown } from './attribute-calls.ts';
import { isDirectory } from './record.ts';
import type { References } from './references.ts';
import type { Transactions } from './transactions.ts';

/** Nameless inodes are freed in batches of this many. */
const REAP_BATCH = 64;
/** Pages taken off large nameless files in one step. */
const REAP_PAGES = 16;

/** Frees nameless inodes. */
export class Reaper {
  readonly #transactions: Transactions;
  readonly #references: References;
  readonly #freed: (inode: number) => void;
  /** May hold inodes that the kernel has taken again: they are looked at before they are freed. */
  readonly #reapable: Set<number>;

  /** @param freed told of every inode that is freed */
  constructor(transactions: Transactions, references: References, freed: (inode: number) => void) {
    this.#transactions = transactions;
    this.#references = references;
    this.#freed = freed;
    this.#reapable = new Set(transactions.state.orphans);
  }

  /** Inodes to be freed. */
  get size(): number {
    return this.#reapable.size;
  }

  /** There is a whole batch. */
  get isDue(): boolean {
    return this.#reapable.size >= REAP_BATCH;
  }

  /** Nobody knows the inode any more. */
  add(inode: number): void {
    this.#reapable.add(inode);
  }

  /** Frees a batch; large files are cut down first, so many pages at most. */
  reap(pages = REAP_PAGES): void {
    const { state } = this.#transactions;
    const batch: number[] = [];
    for (const id of this.#reapable) {
      if (!state.orphans.has(id) || this.#references.held(id)) {
        this.#reapable.delete(id);
        continue;
      }
      const ready = this.#readyToFree(id, pages);
      if (ready === 'more') break;
      if (ready === 'damaged') continue;
      batch.push(id);
      if (batch.length >= REAP_BATCH) break;
    }
    if (batch.length === 0) return;
    this.#transactions.reserveIds();
    this.#transactions.run({ kind: 'destroy', inodes: batch });
    for (const id of batch) {
      this.#reapable.delete(id);
      this.#freed(id);
    }
  }

  /** Frees all of them. */
  reapAll(): void {
    while (this.#reapable.size > 0) {
      const before = this.#reapable.size;
      this.reap(Number.POSITIVE_INFINITY);
      if (this.#reapable.size >= before) return;
    }
  }

  /** Brings an orphan to where one operation can free it. A damaged one stays as it is. */
  #readyToFree(id: number, pages: number): 'ready' | 'more' | 'damaged' {
    const { state } = this.#transactions;
    try {
      const inode = state.inode(id);
      if (inode.attributeRecord !== 0) state.attributes(inode);
      return isDirectory(inode) || cutDown(this.#transactions, inode, 0, pages) ? 'ready' : 'more';
    } catch (error) {
      if (!(error instanceof FilesystemError) || error.code !== 'EIO') throw error;
      this.#reapable.delete(id);
      return 'damaged';
    }
  }
}
