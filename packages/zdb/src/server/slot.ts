// A namespace as the server knows it: the engine's object, which changes when it is loaded again, and who is on it.
import type { Namespace } from '../engine/types.ts';
import type { Session } from './session.ts';

/** One namespace being served. */
export class Slot {
  readonly name: string;
  namespace: Namespace;
  /** Its sessions; after removal each is told at its next command and closed. */
  readonly sessions = new Set<Session>();
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
