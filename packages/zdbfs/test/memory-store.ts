// A store in memory for tests: keeps apart what is waiting, committed and stable, fails when told to, and shows what a
// crash leaves. Stricter than the engine where its contract allows it: every update takes an id, as in zdb.
import { IoError, type SyncSteps } from '@qsfs/io';
import { NotLocal, type Payload, StoreError } from '@qsfs/zdb';
import type { RecordSpace, Store, StoreSpace } from '../src/store.ts';

type Change =
  | { readonly kind: 'put'; readonly id: number; readonly bytes: Uint8Array; readonly slots: number }
  | { readonly kind: 'remove'; readonly id: number }
  | { readonly kind: 'flush' };

interface Content {
  records: Map<number, Uint8Array>;
  nextId: number;
}

function change(content: Content, step: Change): void {
  if (step.kind === 'flush') {
    content.records = new Map();
    content.nextId = 0;
  } else if (step.kind === 'remove') {
    content.records.delete(step.id);
  } else {
    content.records.set(step.id, step.bytes);
    content.nextId += step.slots;
  }
}

function copyOf(content: Content): Content {
  return { records: new Map(content.records), nextId: content.nextId };
}

function joined(payload: Payload): Uint8Array {
  return payload instanceof Uint8Array
    ? new Uint8Array(payload)
    : new Uint8Array(Buffer.concat([...payload]));
}

class MemorySpace implements RecordSpace {
  readonly name: string;
  readonly #store: MemoryStore;
  #stable: Content;
  #present: Content;
  /** Committed, not stable. */
  #committed: Change[] = [];
  /** Neither, and how to undo it. */
  #waiting: Change[] = [];
  #undo: (() => void)[] = [];
  /** Appended since the file was closed. */
  #activeBytes = 0;

  constructor(store: MemoryStore, name: string, content: Content) {
    this.#store = store;
    this.name = name;
    this.#stable = copyOf(content);
    this.#present = copyOf(content);
  }

  get nextId(): number {
    return this.#present.nextId;
  }

  get size(): number {
    return this.#present.records.size;
  }

  insert(payload: Payload): number {
    const id = this.#present.nextId;
    this.#do({ kind: 'put', id, bytes: joined(payload), slots: 1 });
    return id;
  }

  update(id: number, payload: Payload): void {
    if (!this.#present.records.has(id)) throw new StoreError('update-only', `${this.name}: no record ${id}`);
    this.#do({ kind: 'put', id, bytes: joined(payload), slots: 1 });
  }

  read(id: number): Uint8Array | undefined {
    this.#store.beforeRead(this.name, id);
    const bytes = this.#present.records.get(id);
    return bytes && new Uint8Array(bytes);
  }

  readInto(id: number, offset: number, target: Uint8Array): number {
    this.#store.beforeRead(this.name, id);
    const bytes = this.#present.records.get(id);
    if (!bytes) throw new StoreError('not-found', `${this.name}: no record ${id}`);
    const part = bytes.subarray(offset, offset + target.length);
    target.set(part);
    return part.length;
  }

  length(id: number): number | undefined {
    return this.#present.records.get(id)?.length;
  }

  remove(id: number): boolean {
    if (!this.#present.records.has(id)) return false;
    this.#do({ kind: 'remove', id });
    return true;
  }

  *syncSteps(): SyncSteps {
    this.#store.commit();
    yield {
      path: this.name,
      kind: 'file',
      sync: () => {
        this.#store.beforeChange();
        for (const step of this.#committed) change(this.#stable, step);
        this.#committed = [];
      },
    };
  }

  *flushSteps(): SyncSteps {
    this.#store.commit();
    yield {
      path: this.name,
      kind: 'directory',
      sync: () => {
        this.#store.beforeChange();
        this.#do({ kind: 'flush' });
        this.takeWaiting();
        for (const step of this.#committed) change(this.#stable, step);
        this.#committed = [];
      },
    };
  }

  closing(lengthBytes: number): boolean {
    return this.#activeBytes > 0 && this.#activeBytes + lengthBytes > this.#store.fileBytes;
  }

  *closeSteps(): SyncSteps {
    yield* this.syncSteps();
    this.#activeBytes = 0;
  }

  /** Overwrites a stored record with garbage, as a failing disk would. */
  damage(id: number, bytes: Uint8Array): void {
    for (const content of [this.#present, this.#stable]) content.records.set(id, bytes);
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  takeWaiting(): void {
    this.#committed.push(...this.#waiting);
    this.#waiting = [];
    this.#undo = [];
  }

  dropWaiting(): void {
    for (const undo of this.#undo.reverse()) undo();
    this.#waiting = [];
    this.#undo = [];
  }

  /** What is there after the process died: everything committed. */
  afterKill(): Content {
    const content = copyOf(this.#stable);
    for (const step of this.#committed) change(content, step);
    return content;
  }

  /** What is there after the machine died: the stable part, the first so many of the later changes, and any later update. */
  afterCrash(keep: (count: number) => number): Content {
    const content = copyOf(this.#stable);
    const kept = keep(this.#committed.length);
    this.#committed.forEach((step, at) => {
      const updates = step.kind === 'put' && content.records.has(step.id);
      if (at < kept || (updates && keep(1) === 1)) change(content, step);
    });
    return content;
  }

  #do(step: Change): void {
    const content = this.#present;
    if (step.kind === 'flush') {
      const { records, nextId } = content;
      this.#undo.push(() => {
        content.records = records;
        content.nextId = nextId;
      });
    } else {
      const { id } = step;
      const old = content.records.get(id);
      const { nextId } = content;
      this.#undo.push(() => {
        if (old) content.records.set(id, old);
        else content.records.delete(id);
        content.nextId = nextId;
      });
    }
    if (step.kind === 'put') this.#activeBytes += step.bytes.length;
    this.#waiting.push(step);
    change(content, step);
  }
}

/** Thrown where a test wants the process to die. */
export class Killed extends Error {
  override readonly name = 'Killed';
}

export class MemoryStore implements Store {
  readonly meta: MemorySpace;
  readonly data: MemorySpace;
  readonly journal: MemorySpace;
  availableBytes = 2 ** 40;
  /** A file is closed when it would grow beyond this. */
  fileBytes = Number.POSITIVE_INFINITY;
  /** Commits, syncs and flushes so far: the points where a process can die or a disk be full. */
  changes = 0;
  /** Dies before the change of this number. */
  killAt = Number.POSITIVE_INFINITY;
  /** Changes for which this is true fail with ENOSPC. */
  failWhen: (change: number) => boolean = () => false;
  reads = 0;
  /** Reads for which this is true throw NotLocal. */
  absentWhen: (space: string, id: number, read: number) => boolean = () => false;
  closed = false;

  constructor(contents?: readonly [Content, Content, Content]) {
    const empty = (): Content => ({ records: new Map(), nextId: 0 });
    const [meta, data, journal] = contents ?? [empty(), empty(), empty()];
    this.meta = new MemorySpace(this, 'zdbfs-meta', meta);
    this.data = new MemorySpace(this, 'zdbfs-data', data);
    this.journal = new MemorySpace(this, 'zdbfs-journal', journal);
  }

  commit(): void {
    const spaces = [this.data, this.meta, this.journal];
    if (!spaces.some((space) => space.hasWaiting)) return;
    try {
      this.beforeChange();
    } catch (error) {
      for (const space of spaces) space.dropWaiting();
      throw error;
    }
    for (const space of spaces) space.takeWaiting();
  }

  space(): StoreSpace {
    return { totalBytes: 2 ** 41, availableBytes: this.availableBytes };
  }

  tend(): void {}

  close(): void {
    this.commit();
    this.closed = true;
  }

  beforeChange(): void {
    const number = this.changes++;
    if (number >= this.killAt) throw new Killed(`killed at change ${number}`);
    if (this.failWhen(number)) throw new IoError('ENOSPC', `change ${number}`);
  }

  beforeRead(space: string, id: number): void {
    const read = this.reads++;
    if (this.absentWhen(space, id, read)) throw new NotLocal(space, 0, id, 1);
  }

  /** The store as the next process finds it. */
  afterKill(): MemoryStore {
    return new MemoryStore([this.meta.afterKill(), this.data.afterKill(), this.journal.afterKill()]);
  }

  /** The store as found after a power loss. `keep` decides how many of `count` unsynced changes of a space survive. */
  afterCrash(keep: (count: number) => number): MemoryStore {
    return new MemoryStore([
      this.meta.afterCrash(keep),
      this.data.afterCrash(keep),
      this.journal.afterCrash(keep),
    ]);
  }
}
