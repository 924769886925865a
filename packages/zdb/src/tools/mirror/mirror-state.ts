// What `zdb mirror` keeps between runs: how far it has come, and by what it knows the source again.
import { readWhole, replaceWhole } from '@qsfs/io';
import { DATA_HEADER_BYTES } from '../../engine/format/data-format.ts';
import type { Machine } from '../../server/machine.ts';
import { ToolError } from '../tool.ts';

/** A place in the data files of a namespace. */
export interface Position {
  file: number;
  offset: number;
}

/** The first entry of a data file of the source. Files never change, so another one there means another store. */
export interface Mark {
  readonly file: number;
  readonly print: string;
}

/** The state of one mirror. */
export interface MirrorState extends Position {
  readonly source: string;
  readonly target: string;
  readonly namespace: string;
  /** The target may have keys that the source has not. */
  compare: boolean;
  marks: Mark[];
  /**
   * Sequential: ids below it were settled, apart from what the log tells behind the position; a target that gives out a smaller one
   * has lost something. undefined: the state is of a version that did not keep it.
   */
  next: number | undefined;
  /** Sequential: all ids of the target have to be compared. User: all keys of the source, as the log was damaged. */
  all: boolean;
  /** Where the target's log ended: one that ends before it has lost something. */
  reached: Position | undefined;
}

/** Where a mirror begins. */
export function freshState(source: string, target: string, namespace: string): MirrorState {
  return {
    source,
    target,
    namespace,
    file: 0,
    offset: DATA_HEADER_BYTES,
    compare: false,
    marks: [],
    next: 0,
    all: false,
    reached: undefined,
  };
}

/** The state in a file; `fresh` when there is none. @throws ToolError when it is of another mirror, or none */
export function loadState(machine: Machine, path: string, fresh: MirrorState): MirrorState {
  const bytes = readWhole(machine.disk, path);
  if (bytes === undefined) return fresh;
  const stored = parse(path, Buffer.from(bytes).toString('utf8'));
  const isOther = (['source', 'target', 'namespace'] as const).some((name) => stored[name] !== fresh[name]);
  if (isOther) {
    throw new ToolError(
      `${path} is the state of another mirror: give --state FILE, or remove it to start anew`,
    );
  }
  return {
    ...fresh,
    file: stored.file,
    offset: stored.offset,
    compare: stored.compare === true,
    marks: Array.isArray(stored.marks) ? stored.marks.filter(isMark) : [],
    next: isId(stored.next) ? stored.next : undefined,
    all: stored.all === true,
    reached: isPosition(stored.reached) ? stored.reached : undefined,
  };
}

/** Writes it, whole or not at all. */
export function saveState(machine: Machine, path: string, state: MirrorState): void {
  replaceWhole(machine.disk, path, Buffer.from(`${JSON.stringify(state)}\n`), 0o644);
}

function parse(path: string, text: string): MirrorState {
  let state: Partial<MirrorState> | null;
  try {
    state = JSON.parse(text) as Partial<MirrorState> | null;
  } catch {
    state = null;
  }
  if (!isPosition(state))
    throw new ToolError(`${path} is no state of a mirror: give --state FILE, or remove it to start anew`);
  return state as MirrorState;
}

function isId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isPosition(value: unknown): value is Position {
  const { file, offset } = (value ?? {}) as Partial<Position>;
  return isId(file) && isId(offset) && offset >= DATA_HEADER_BYTES;
}

function isMark(mark: unknown): mark is Mark {
  const { file, print } = (mark ?? {}) as Partial<Mark>;
  return isId(file) && typeof print === 'string';
}
