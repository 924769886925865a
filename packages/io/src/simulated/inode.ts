// Files and directories of a simulated disk: what a program sees now, and what of it is on stable storage.
import type { SpaceBudget, SparseContent } from './content.ts';
import {
  applyContent,
  applyContentSurvivors,
  type ContentChange,
  type EntryStep,
  type Survival,
} from './crash.ts';

/** A file with so much unsynced is written back without being asked. */
const UNSYNCED_MAX_BYTES = 256 * 2 ** 20;
/** Reckoned for a change besides its bytes. */
const CHANGE_BYTES = 100;

/** A regular file. `unsynced` leads from the stable content to the present one. */
export class FileInode {
  readonly kind = 'file';
  readonly id: number;
  readonly content: SparseContent;
  readonly stable: SparseContent;
  readonly unsynced: ContentChange[] = [];
  /** What the unsynced changes hold in memory, roughly. */
  unsyncedBytes = 0;
  /** Sequence numbers of changes a failed sync gave up: only a later write of the same sectors brings them to the disk. */
  readonly #doomed = new Set<number>();
  modifiedMs: number;
  /** Changes of the contents in this run. */
  changes = 0;
  /** False once the last name is gone. */
  linked = true;
  /** Open files on it; at zero, and without a name, its space is given back. */
  openCount = 0;
  /** The open file that holds the lock. */
  lockHolder: object | undefined;

  constructor(id: number, content: SparseContent, stable: SparseContent, modifiedMs: number) {
    this.id = id;
    this.content = content;
    this.stable = stable;
    this.modifiedMs = modifiedMs;
  }

  /** Notes a change of the contents. */
  changed(nowMs: number): void {
    this.modifiedMs = nowMs;
    this.changes++;
  }

  /** Remembers a change that waits for a sync; far too many of them become stable, as the kernel would have it. */
  note(change: ContentChange): void {
    this.unsynced.push(change);
    this.unsyncedBytes += CHANGE_BYTES + (change.kind === 'write' ? change.bytes.length : 0);
    if (this.unsyncedBytes > UNSYNCED_MAX_BYTES) this.makeStable();
  }

  /** A sync failed: Linux marks the pages clean, so that the next sync succeeds and does not write them. */
  giveUp(): void {
    for (const change of this.unsynced) this.#doomed.add(change.sequence);
  }

  /** The present content becomes the stable one, but for what a failed sync has already given up. */
  makeStable(): void {
    if (this.#doomed.size > 0) {
      const survivals = this.unsynced.map((change) => !this.#doomed.has(change.sequence));
      const lost = applyContentSurvivors(this.stable, this.unsynced, survivals);
      this.unsynced.splice(0, this.unsynced.length, ...lost);
    } else {
      for (const change of this.unsynced) applyContent(this.stable, change);
      this.unsynced.length = 0;
    }
    this.unsyncedBytes = 0;
  }

  /** As the same process finds it after a restart: nothing lost, nothing gained. */
  afterKill(budget: SpaceBudget): FileInode {
    const copy = new FileInode(this.id, this.content.copy(budget), this.stable.copy(), this.modifiedMs);
    for (const change of this.unsynced) copy.unsynced.push(change);
    for (const sequence of this.#doomed) copy.#doomed.add(sequence);
    copy.unsyncedBytes = this.unsyncedBytes;
    return copy;
  }

  /** As it is after a power loss of which `survivals` of the unsynced changes came through. */
  afterCrash(survivals: readonly Survival[], budget: SpaceBudget): FileInode {
    const stable = this.stable.copy();
    applyContentSurvivors(
      stable,
      this.unsynced,
      this.unsynced.map((change, index) => (this.#doomed.has(change.sequence) ? false : survivals[index]!)),
    );
    return new FileInode(this.id, stable.copy(budget), stable, this.modifiedMs);
  }
}

/** A directory: names and the inodes they lead to. */
export class DirectoryInode {
  readonly kind = 'directory';
  readonly id: number;
  readonly entries: Map<string, number>;
  readonly stableEntries: Map<string, number>;
  modifiedMs: number;

  constructor(
    id: number,
    modifiedMs: number,
    entries: ReadonlyMap<string, number> = new Map(),
    stableEntries: ReadonlyMap<string, number> = entries,
  ) {
    this.id = id;
    this.modifiedMs = modifiedMs;
    this.entries = new Map(entries);
    this.stableEntries = new Map(stableEntries);
  }
}

export type Inode = FileInode | DirectoryInode;

/** Carries out one step on one set of entries. */
export function applyStep(entries: Map<string, number>, step: EntryStep): void {
  if (step.inode === undefined) entries.delete(step.name);
  else entries.set(step.name, step.inode);
}
