// How often the kernel holds each inode (lookup counts of the FUSE protocol). An inode without names lives as long as
// its count is above zero. Only in memory: after a mount the kernel holds nothing but the root.

/** See the module's header. */
export class References {
  readonly #counts = new Map<number, number>();

  /** Inodes the kernel holds. */
  get size(): number {
    return this.#counts.size;
  }

  /** Their numbers. */
  inodes(): Iterable<number> {
    return this.#counts.keys();
  }

  held(inode: number): boolean {
    return this.#counts.has(inode);
  }

  take(inode: number): void {
    this.#counts.set(inode, (this.#counts.get(inode) ?? 0) + 1);
  }

  /** True when the kernel does not hold the inode any more. */
  drop(inode: number, count: number): boolean {
    const rest = (this.#counts.get(inode) ?? 0) - count;
    if (rest > 0) {
      this.#counts.set(inode, rest);
      return false;
    }
    this.#counts.delete(inode);
    return true;
  }
}
