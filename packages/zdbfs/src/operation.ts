// The changes a volume knows. Every change is one operation: the filesystem call checks everything and loads what is
// needed, then the operation is appended to the journal, then apply.ts carries it out in memory. Recovery applies the
// journal's operations to the last checkpoint with the same code. So an operation holds everything that is not state:
// times, ids of data records, who owns the new file; and applying it never fails and never decides by anything else.
import type { Moment } from './record.ts';

/** Data of a file that was stored in record `record` for file offset `offset`. */
export interface WrittenExtent {
  readonly offset: number;
  readonly lengthBytes: number;
  readonly record: number;
}

/** Sets ids of zdbfs-meta aside for new records: `count` from `first` on, per run. */
export interface ReserveOperation {
  readonly kind: 'reserve';
  readonly runs: readonly { readonly first: number; readonly count: number }[];
}

/** Makes an inode; without a name (O_TMPFILE) when `name` is empty. `target`: of a symlink. */
export interface CreateOperation {
  readonly kind: 'create';
  readonly inode: number;
  readonly parent: number;
  readonly name: string;
  readonly mode: number;
  readonly userId: number;
  readonly groupId: number;
  readonly deviceNumber: number;
  readonly target: Uint8Array | undefined;
}

/** Removes a name. */
export interface RemoveOperation {
  readonly kind: 'remove';
  readonly parent: number;
  readonly name: string;
}

/** Moves a name, replacing its target, or exchanges two names. */
export interface RenameOperation {
  readonly kind: 'rename';
  readonly sourceParent: number;
  readonly sourceName: string;
  readonly targetParent: number;
  readonly targetName: string;
  readonly exchange: boolean;
}

/** Gives an inode one more name. */
export interface LinkOperation {
  readonly kind: 'link';
  readonly inode: number;
  readonly parent: number;
  readonly name: string;
}

/** Changes attributes; absent ones stay. `sizeBytes` also cuts off what is mapped behind it. */
export interface AttributesOperation {
  readonly kind: 'attributes';
  readonly inode: number;
  readonly mode: number | undefined;
  readonly userId: number | undefined;
  readonly groupId: number | undefined;
  readonly sizeBytes: number | undefined;
  readonly accessed: Moment | undefined;
  readonly modified: Moment | undefined;
  readonly changed: Moment | undefined;
  /** Removes `security.capability`, as changes of owner and contents do. */
  readonly dropCapability: boolean;
}

/** Maps data records into a file. */
export interface WriteOperation {
  readonly kind: 'write';
  readonly inode: number;
  readonly extents: readonly WrittenExtent[];
  /** The file is at least this large afterwards. */
  readonly sizeBytes: number;
  /** The new mode, when set-id bits are to be cleared. */
  readonly mode: number | undefined;
  /** False for data that was only moved: times stay. */
  readonly touch: boolean;
}

/** Writes into a small file whose contents are in its inode. */
export interface WriteInlineOperation {
  readonly kind: 'write-inline';
  readonly inode: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly mode: number | undefined;
}

/** Unmaps a range, which then reads as zeros; `sizeBytes` is the size afterwards. */
export interface PunchOperation {
  readonly kind: 'punch';
  readonly inode: number;
  readonly offset: number;
  readonly lengthBytes: number;
  readonly sizeBytes: number;
}

/** Sets (`value` given) or removes an extended attribute. */
export interface ExtendedAttributeOperation {
  readonly kind: 'extended-attribute';
  readonly inode: number;
  readonly name: string;
  readonly value: Uint8Array | undefined;
}

/** Frees inodes without names and everything they hold. */
export interface DestroyOperation {
  readonly kind: 'destroy';
  readonly inodes: readonly number[];
}

/** A change of the volume. */
export type Operation =
  | ReserveOperation
  | CreateOperation
  | RemoveOperation
  | RenameOperation
  | LinkOperation
  | AttributesOperation
  | WriteOperation
  | WriteInlineOperation
  | PunchOperation
  | ExtendedAttributeOperation
  | DestroyOperation;
