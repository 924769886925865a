// What the main thread and the filesystem thread tell each other. Both directions keep their order.
// The main thread wakes the filesystem thread after sending (it sleeps in poll on /dev/fuse).
import type { WakeHandle } from '@qsfs/fuse';

/** Namespaces of the embedded engine whose data files are offloaded. */
export const OFFLOADED = ['zdbfs-meta', 'zdbfs-data'] as const;
/** One of them. */
export type OffloadedName = (typeof OFFLOADED)[number];
/** Local only: empty after every checkpoint. */
export const JOURNAL = 'zdbfs-journal';

/** Stripes of one data file. */
export interface Stripes {
  readonly namespace: OffloadedName;
  readonly file: number;
  readonly first: number;
  readonly count: number;
}

/** The frontend's disk, as far as its backends are on it, too. */
export interface SharedDisk {
  /** Bytes on this disk that the shards of one byte of contents take, about; 0: the backends are elsewhere. */
  readonly shardFactor: number;
  /** Size of the data files that are written. */
  readonly fileBytes: number;
}

/** What the filesystem thread is started with. */
export interface FilesystemInput {
  readonly dataDirectory: string;
  readonly indexDirectory: string;
  readonly segmentBytes: number;
  /** Size at which a data file is closed, at most `segmentBytes`. */
  readonly fileBytes: number;
  readonly stripeBytes: number;
  /** Absent stripes at the start, by namespace (StripeMap snapshots). */
  readonly absent: Readonly<Record<OffloadedName, Uint32Array<ArrayBuffer>>>;
  readonly gauges: SharedArrayBuffer;
  readonly shared: SharedDisk;
  /** One more than the number of the highest data file that is on the backends. */
  readonly storedFiles: Readonly<Record<OffloadedName, number>>;
  /** Make the volume when there is none; otherwise a missing one is an error. */
  readonly create: boolean;
  /** Owner of the root directory of a new volume. */
  readonly userId: number;
  readonly groupId: number;
}

/** Data files of `zdbfs-data` from which a state may give back what is dead. Nobody reads them for the backends meanwhile. */
export interface GiveBack {
  /** On no backend, wholly here: their dead records may become holes. */
  readonly hollow: readonly number[];
  /** To be removed where nothing in them is alive. */
  readonly discard: readonly number[];
}

/** Main thread to filesystem thread. */
export type ToFilesystem =
  /** Serve this mount until it is gone. */
  | { readonly kind: 'serve'; readonly descriptor: number; readonly mountPoint: string }
  /** The bytes of these stripes are in the local file now. */
  | ({ readonly kind: 'brought'; readonly ahead: boolean } & Stripes)
  /** Here are the bytes of these stripes (shared memory): the local disk does not take them. */
  | ({ readonly kind: 'lent'; readonly bytes: Uint8Array } & Stripes)
  /** The local disk takes stripes again: what is lent is to be asked for again, but for what a request needs that is under way. */
  | { readonly kind: 'recall' }
  /** They are on their way, however slowly: whoever waits for them has waited from now on. */
  | ({ readonly kind: 'awaited' } & Stripes)
  /** They cannot be had; whoever waits for them gets EIO. */
  | ({ readonly kind: 'failed' } & Stripes)
  /** Backends came back: what could not be had may be there again. */
  | { readonly kind: 'returned' }
  /** These stripes may be dropped; those read lately are kept when `keepTouched`. */
  | {
      readonly kind: 'drop';
      readonly id: number;
      readonly stripes: readonly Stripes[];
      readonly keepTouched: boolean;
    }
  /** Checkpoint, rotate, copy aside the changed index files. `suspects`: index files to copy in any case. */
  | {
      readonly kind: 'sync-point';
      readonly id: number;
      readonly stagingDirectory: string;
      readonly suspects: Readonly<Record<OffloadedName, readonly number[]>>;
      readonly giveBack: GiveBack;
    }
  /** How much is dead in the data files; answered by `surveyed`. */
  | { readonly kind: 'survey'; readonly id: number }
  /** Write what is alive in this closed data file of `zdbfs-data` again at the end of the log; answered by `relocated`. */
  | { readonly kind: 'relocate'; readonly id: number; readonly file: number }
  /** The inodes whose contents the kernel may have cached. */
  | { readonly kind: 'list-cached'; readonly id: number }
  /** Look whether writes, and changes that wait for a look at the lease, may go on. */
  | { readonly kind: 'go-on' }
  /** The thread that syncs files has ended, and why. */
  | { readonly kind: 'sync-thread-ended'; readonly reason: string }
  /** End the session, although somebody may still use the mount; answered by `unmounted`. */
  | { readonly kind: 'leave' }
  /** Checkpoint, close, end the thread. */
  | { readonly kind: 'stop' };

/** One namespace right after a sync point. */
export interface SyncedNamespace {
  readonly namespace: OffloadedName;
  readonly activeFile: number;
  readonly descriptor: Uint8Array;
  readonly activeIndex: Uint8Array;
  readonly activeData: Uint8Array;
  /** Data files closed since the last sync point. */
  readonly closed: readonly { readonly file: number; readonly sizeBytes: number }[];
  /** Index files copied to the staging folder as `<namespace>-i<file>`; times are of the original. */
  readonly copied: readonly CopiedIndex[];
  /** Data files that are gone, of those that might be discarded. */
  readonly removed: readonly number[];
}

/** What is dead in the data files of `zdbfs-data`. */
export interface Survey {
  /** Numbers of the closed files, and what in each is dead and not known to be given back. */
  readonly files: Float64Array;
  readonly deadBytes: Float64Array;
  /** What is alive in each. */
  readonly liveBytes: Float64Array;
  /** Numbers of those that would be removed. */
  readonly discardable: Float64Array;
  /** The same of the file that is written. */
  readonly activeDeadBytes: number;
}

/** One copied index file. */
export interface CopiedIndex {
  readonly file: number;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

/** The data files of a namespace at the start. */
export interface OpenedNamespace {
  readonly namespace: OffloadedName;
  readonly activeFile: number;
  /** Closed data files, ascending, and their sizes. */
  readonly files: Float64Array;
  readonly sizes: Float64Array;
}

/** Filesystem thread to main thread. */
export type FromFilesystem =
  /** Engine and volume are open. */
  | { readonly kind: 'opened'; readonly namespaces: readonly OpenedNamespace[] }
  /** The session runs; from now on it sleeps in poll and has to be woken. */
  | { readonly kind: 'serving'; readonly wake: WakeHandle }
  /** The mount is gone; the thread still takes messages, from its event loop. */
  | { readonly kind: 'unmounted' }
  /** The volume cannot be opened. */
  | { readonly kind: 'fatal'; readonly message: string }
  | { readonly kind: 'log'; readonly level: 'info' | 'warning' | 'error'; readonly message: string }
  /** A data file was closed because it was full. */
  | {
      readonly kind: 'rotated';
      readonly namespace: OffloadedName;
      readonly file: number;
      readonly sizeBytes: number;
    }
  /** Somebody waits for these stripes. */
  | ({ readonly kind: 'need' } & Stripes)
  /** The first read of a stripe that was brought ahead of need. */
  | {
      readonly kind: 'reached';
      readonly namespace: OffloadedName;
      readonly file: number;
      readonly stripe: number;
    }
  /** Somebody wants to change something and the lease was not looked at lately; answered by `go-on`. */
  | { readonly kind: 'look' }
  | { readonly kind: 'dropped'; readonly id: number; readonly stripes: readonly Stripes[] }
  | { readonly kind: 'synced'; readonly id: number; readonly namespaces: readonly SyncedNamespace[] }
  | { readonly kind: 'surveyed'; readonly id: number; readonly survey: Survey }
  | { readonly kind: 'relocated'; readonly id: number; readonly movedBytes: number }
  /** The request could not be done (disk full, data not to be had, …). */
  | { readonly kind: 'refused'; readonly id: number; readonly message: string }
  | { readonly kind: 'cached'; readonly id: number; readonly inodes: Float64Array }
  /** Everything is closed; `clean` when the journal is empty and all is synced. */
  | { readonly kind: 'ended'; readonly clean: boolean; readonly message: string };

/** Numbers both threads see without a message: Float64 slots of a shared array. Each has one writer. */
export const GAUGES = {
  /** Bytes in the active data files of the offloaded namespaces. (filesystem) */
  activeBytes: 0,
  /** 1 while the volume has changes since the last sync point. (filesystem) */
  dirty: 1,
  /** Bytes written by applications since the start. (filesystem) */
  writtenBytes: 2,
  /** Requests that wait for data. (filesystem) */
  parked: 3,
  /** Bytes a second that writers are slowed down to when they have written `freeUntilBytes`; 0: not at all. (main) */
  paceBytesPerSecond: 4,
  /** Bytes of file contents the backends still take with all shards, those that are not stored yet included; -1: not known, the local disk decides. (main) */
  capacityBytes: 5,
  /** Bytes of all files, as the volume counts them. (filesystem) */
  volumeBytes: 6,
  /** 1 when another frontend has taken over: nothing may be changed here any more. (main) */
  fenced: 7,
  /** Requests of programs since the mount was made. (filesystem) */
  requests: 8,
  /** Value of `writtenBytes` up to which writers go as fast as they like. (main) */
  freeUntilBytes: 9,
  /** When the lease was looked at last, by the monotonic clock and by the wall clock. (main) */
  lookedMonotonicMs: 10,
  lookedWallMs: 11,
  /** 1 while this frontend has not got the lease: nothing may be changed yet. (main) */
  withoutLease: 12,
  /** Bytes of closed data files that are on no backend. (main) */
  pendingBytes: 13,
  /** Bytes of the data files the main thread has heard of being closed since the start; they are in `pendingBytes` first. (main) */
  heardBytes: 14,
  /** Bytes of local copies that are dropped when room is wanted. (main) */
  evictableBytes: 15,
  /** 1 when programs may have changed something since the newest state: what is written since is not only the volume's own rewriting. (filesystem) */
  changedByPrograms: 16,
  /** As `capacityBytes`, with as many shards as storing needs. (main) */
  storableBytes: 17,
} as const;

/** Bytes of the shared array behind GAUGES. */
export const GAUGES_BYTES = 8 * 18;
