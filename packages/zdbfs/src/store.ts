// What zdbfs needs of whatever keeps its records: three sequential record spaces. Synchronous, called from one thread.
// The embedded engine is one implementation (engine-store.ts); a remote zdb behind an input/output thread can be another.
//
// Promises: reads see what was written before, committed or not. `commit` makes everything since the last one outlive
// this process, or forgets all of it and throws. `syncSteps` makes what was committed in its space outlive the machine. Steps are work in
// pieces (io, sync-steps.ts): the space is not changed between them.
// Ids count up and are never given out twice while their record is durable. Any read may throw NotLocal.
import type { SyncSteps } from '@qsfs/io';
import type { Payload } from '@qsfs/zdb';

/** One sequential namespace. Ids and lengths are integers below 2^53. */
export interface RecordSpace {
  /** The next insert gets this id or a larger one. */
  readonly nextId: number;
  /** Appends a record and returns its id. The payload is borrowed until the next commit. */
  insert(payload: Payload): number;
  /** Replaces a live record without reading it. The payload is borrowed until the next commit. */
  update(id: number, payload: Payload): void;
  /** The whole record, verified; undefined when there is none. */
  read(id: number): Uint8Array | undefined;
  /** Fills `target` from `offset` of the record; returns the bytes read. @throws when the record does not exist */
  readInto(id: number, offset: number, target: Uint8Array): number;
  /** Payload bytes; undefined when there is no such record. Never throws NotLocal. */
  length(id: number): number | undefined;
  /** False when there is no such record. Takes part in the next commit. */
  remove(id: number): boolean;
  /** Commits, and brings everything in this space to stable storage. */
  syncSteps(): SyncSteps;
  /** Removes all records; a crash inside leaves all or none. Between the steps the space is not read either. */
  flushSteps(): SyncSteps;
  /** Whether so many bytes more would close the file that is written, which has to be synced then. */
  closing(lengthBytes: number): boolean;
  /** Closes that file, and has the next one begun. */
  closeSteps(): SyncSteps;
}

/** Room for records, in bytes. `availableBytes` is what can still be written. */
export interface StoreSpace {
  readonly totalBytes: number;
  readonly availableBytes: number;
}

/** Everything a volume stands on. */
export interface Store {
  /** Superblock, inodes, directory and extent nodes (docs/formats/zdbfs.md, section 2). */
  readonly meta: RecordSpace;
  /** File contents: immutable, raw. */
  readonly data: RecordSpace;
  /** Redo journal; emptied by every checkpoint. */
  readonly journal: RecordSpace;
  /** Writes what was inserted, updated and removed since the last commit, of all three spaces. */
  commit(): void;
  space(): StoreSpace;
  /**
   * Housekeeping, called about once a second when nothing else is to do. May give back the space of files of which at most
   * `liveShare` (0 … 1) is in use, and move up to `budgetBytes` for that. Everything was committed before.
   */
  tend(liveShare: number, budgetBytes: number): void;
  close(): void;
}
