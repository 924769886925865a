// What a simulated disk was asked to do: numbering, the log, observers, injected failures, and the moment of a crash.
import { type ErrnoCode, IoError } from '../errors.ts';

/** Kinds of operations that change what is on the disk: the crash points. */
const CHANGES = [
  'create',
  'write',
  'truncate',
  'datasync',
  'reserve',
  'punch-hole',
  'make-directory',
  'remove',
  'rename',
  'sync-directory',
] as const;

/** What an operation does. Opening a file that has to be made is `create`; copying is made of several operations. */
export type DiskOperationKind =
  | (typeof CHANGES)[number]
  | 'open'
  | 'read'
  | 'size'
  | 'lock'
  | 'stat'
  | 'list'
  | 'space'
  | 'resolve';

const CHANGE_KINDS: ReadonlySet<DiskOperationKind> = new Set(CHANGES);

/** One call to the disk. Positions and lengths are bytes, where the kind has them. */
export interface DiskOperation {
  readonly kind: DiskOperationKind;
  readonly path: string;
  /** The new path of a rename. */
  readonly target?: string;
  readonly position?: number;
  readonly lengthBytes?: number;
}

/** Makes operations fail. All conditions given must hold. */
export interface DiskFault {
  readonly code: ErrnoCode;
  readonly kinds?: readonly DiskOperationKind[];
  readonly matches?: (operation: DiskOperation) => boolean;
  /** So many matching operations succeed first; default 0. */
  readonly skip?: number;
  /** So many then fail, one after the other; default 1. */
  readonly times?: number;
  /** Of a failing write, so many bytes are written nevertheless; default 0. */
  readonly partialBytes?: number;
}

/** The simulated machine lost its power, or the process its life. Everything the disk is asked from then on throws it. */
export class SimulatedCrash extends Error {
  override readonly name = 'SimulatedCrash';

  constructor(operation: DiskOperation) {
    super(`simulated crash at ${operation.kind} ${operation.path}`);
  }
}

/** Why an operation cannot finish, and how much of it is done nevertheless. */
export interface Interruption {
  readonly error: Error;
  /** Bytes of a write that are carried out; other changes are carried out when it is more than 0. */
  readonly appliedBytes: number;
}

/** The log keeps at least so many of the last operations. */
const LOG_MAX = 10_000;

/** Every operation of a disk enters here first. */
export class OperationGate {
  /** Operations so far. */
  total = 0;
  /** Operations so far that change what is on the disk. */
  changes = 0;
  readonly log: DiskOperation[] = [];
  readonly #faults: { fault: DiskFault; skip: number; times: number }[] = [];
  readonly #observers = new Set<(operation: DiskOperation) => void>();
  #crashAt = Number.POSITIVE_INFINITY;
  #crashBytes = 0;
  #crash: SimulatedCrash | undefined;

  get crashed(): boolean {
    return this.#crash !== undefined;
  }

  /** Lets `count` more changes pass; the next one throws, with its first `appliedBytes` done. */
  crashAfter(count: number, appliedBytes: number): void {
    this.#crashAt = this.changes + count;
    this.#crashBytes = appliedBytes;
  }

  fail(fault: DiskFault): () => void {
    const entry = { fault, skip: fault.skip ?? 0, times: fault.times ?? 1 };
    this.#faults.push(entry);
    return () => {
      const index = this.#faults.indexOf(entry);
      if (index >= 0) this.#faults.splice(index, 1);
    };
  }

  observe(call: (operation: DiskOperation) => void): () => void {
    this.#observers.add(call);
    return () => void this.#observers.delete(call);
  }

  /**
   * Counts an operation and says what stops it, if anything.
   * @throws SimulatedCrash when the crash is already past; whatever an observer throws
   */
  enter(operation: DiskOperation): Interruption | undefined {
    if (this.#crash) throw this.#crash;
    for (const observer of this.#observers) observer(operation);
    this.total++;
    this.log.push(operation);
    if (this.log.length > 2 * LOG_MAX) this.log.splice(0, LOG_MAX);
    if (CHANGE_KINDS.has(operation.kind) && this.changes++ === this.#crashAt) {
      this.#crash = new SimulatedCrash(operation);
      return { error: this.#crash, appliedBytes: this.#crashBytes };
    }
    return this.#failure(operation);
  }

  /** As `enter`, for operations of which nothing can be done in part. */
  pass(operation: DiskOperation): void {
    const stop = this.enter(operation);
    if (stop) throw stop.error;
  }

  #failure(operation: DiskOperation): Interruption | undefined {
    for (const entry of this.#faults) {
      const { fault } = entry;
      if (entry.times <= 0) continue;
      if (fault.kinds && !fault.kinds.includes(operation.kind)) continue;
      if (fault.matches && !fault.matches(operation)) continue;
      if (entry.skip-- > 0) continue;
      entry.times--;
      const error = new IoError(fault.code, `${operation.kind} ${operation.path} (injected)`);
      return { error, appliedBytes: fault.partialBytes ?? 0 };
    }
    return undefined;
  }
}
