// A namespace as the server knows it: the engine's object changes when it is loaded again, this one stays.
import type { Namespace } from '../engine/types.ts';

/** One namespace being served. */
export class Slot {
  readonly name: string;
  namespace: Namespace;
  /** Each session that is still on it is told at its next command, and closed. */
  removed = false;
  /** Index files reported to a `jump-index` hook that failed: still dirty for the next one. */
  readonly undelivered = new Set<number>();

  constructor(namespace: Namespace) {
    this.name = namespace.name;
    this.namespace = namespace;
  }

  /** Ids of index files changed in place since the list was last cleared, ascending. */
  dirtyIndexFiles(): number[] {
    if (this.undelivered.size === 0) return this.namespace.dirtyIndexFiles();
    return [...new Set([...this.undelivered, ...this.namespace.dirtyIndexFiles()])].sort((a, b) => a - b);
  }

  clearDirty(): void {
    this.undelivered.clear();
    this.namespace.clearDirty();
  }
}
