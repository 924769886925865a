// What the backends hold of a namespace, file by file (docs/formats/frontend.md, "Catalog"). Kept by the main thread.
//
// It is a memory, not the truth: the manifest on the backends is. A slot that is lost or damaged reads as "nothing is
// stored", and the file is offered again; an object that is already there is found by its record.
import type { Disk } from '@qsfs/io';
import { SlotTable } from './slot-table.ts';

const SLOT_BYTES = 64;
const HASH_BYTES = 16;

/**
 * How safe a data file is on the backends. `pending`: not there. `degraded`: readable from there, but not all n shards
 * were verified. `complete`: all n were; only then may local stripes be dropped.
 */
export type Safety = 'pending' | 'degraded' | 'complete';

const SAFETIES: readonly Safety[] = ['pending', 'degraded', 'complete'];

/** The stored data file. `epoch` is in the object's name. */
export interface StoredData {
  readonly safety: Safety;
  readonly sizeBytes: number;
  readonly epoch: number;
}

/** The newest stored copy of an index file; `epoch` and `generation` are in the object's name. */
export interface StoredIndex {
  readonly sizeBytes: number;
  readonly epoch: number;
  readonly generation: number;
  /** State of the local file when it was copied: modification time, and the wall clock then. */
  readonly modifiedMs: number;
  readonly copiedMs: number;
  /** First 16 bytes of SHA-256 of the content. */
  readonly hash: Uint8Array;
  /** All n shards verified. */
  readonly complete: boolean;
}

const NOT_STORED: StoredData = { safety: 'pending', sizeBytes: 0, epoch: 0 };

/** The catalog of one namespace. */
export class Catalog {
  readonly #table: SlotTable;

  private constructor(table: SlotTable) {
    this.#table = table;
  }

  static open(disk: Disk, path: string): Catalog {
    return new Catalog(SlotTable.open(disk, path, 'catalog', SLOT_BYTES, 0));
  }

  /** One more than the highest file that may be known. */
  get length(): number {
    return this.#table.length;
  }

  data(file: number): StoredData {
    const view = this.#view(file);
    if (!view) return NOT_STORED;
    return {
      safety: SAFETIES[view.getUint8(0)] ?? 'pending',
      sizeBytes: view.getUint32(4, true),
      epoch: view.getUint32(8, true),
    };
  }

  setData(file: number, data: StoredData): void {
    const view = this.#change(file);
    view.setUint8(0, SAFETIES.indexOf(data.safety));
    view.setUint32(4, data.sizeBytes, true);
    view.setUint32(8, data.epoch, true);
    this.#table.write(file, bytesOf(view));
  }

  index(file: number): StoredIndex | undefined {
    const view = this.#view(file);
    if (!view || view.getUint8(1) === 0) return undefined;
    return {
      complete: view.getUint8(1) === 2,
      sizeBytes: view.getUint32(12, true),
      epoch: view.getUint32(16, true),
      generation: view.getUint32(20, true),
      modifiedMs: view.getFloat64(24, true),
      copiedMs: view.getFloat64(32, true),
      hash: bytesOf(view).slice(40, 40 + HASH_BYTES),
    };
  }

  setIndex(file: number, index: StoredIndex): void {
    const view = this.#change(file);
    view.setUint8(1, index.complete ? 2 : 1);
    view.setUint32(12, index.sizeBytes, true);
    view.setUint32(16, index.epoch, true);
    view.setUint32(20, index.generation, true);
    view.setFloat64(24, index.modifiedMs, true);
    view.setFloat64(32, index.copiedMs, true);
    bytesOf(view).set(index.hash.subarray(0, HASH_BYTES), 40);
    this.#table.write(file, bytesOf(view));
  }

  /** All n shards of a stored copy were made sure of; fine when it is not the newest any more. */
  indexWhole(file: number, { epoch, generation }: Pick<StoredIndex, 'epoch' | 'generation'>): void {
    const now = this.index(file);
    if (now?.epoch === epoch && now.generation === generation)
      this.setIndex(file, { ...now, complete: true });
  }

  /** The stored copy of an index file is no good: the local file will differ from what is known of it, and be stored again. */
  distrustIndex(file: number): void {
    const index = this.index(file);
    if (index) this.setIndex(file, { ...index, sizeBytes: 0, complete: false });
  }

  /** Returns when everything set is on stable storage. */
  flush(): void {
    this.#table.flush();
  }

  close(): void {
    this.#table.close();
  }

  #view(file: number): DataView | undefined {
    if (this.#table.state(file) !== 'valid') return undefined;
    const payload = this.#table.payload(file);
    return new DataView(payload.buffer, payload.byteOffset, payload.length);
  }

  /** A copy of the slot to change and write back. */
  #change(file: number): DataView {
    const payload = new Uint8Array(SLOT_BYTES - 4);
    if (this.#table.state(file) === 'valid') payload.set(this.#table.payload(file));
    return new DataView(payload.buffer);
  }
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
