// Records of zdbfs-meta in memory. Changed ones stay until a checkpoint wrote them; clean ones give way when the cache is
// over its budget, the ones not used lately first (one hand going round, as in the CLOCK algorithm). Nothing is evicted
// while an operation runs: only `trim` evicts, and it is called between operations.
import type { MetaRecord } from './record.ts';

/** Records looked at per call of `trim`. */
const TRIM_STEPS = 512;
/** Memory of a record beside its contents, estimated. */
const RECORD_OVERHEAD_BYTES = 400;
/** Bytes of memory per stored byte of a page, estimated. */
const PAGE_MEMORY_FACTOR = 4;

function weigh(record: MetaRecord): number {
  switch (record.kind) {
    case 'inode': {
      const page = record.directory ?? record.extents;
      let weight = RECORD_OVERHEAD_BYTES + (record.bytes?.length ?? 0);
      if (page) weight += page.sizeBytes * PAGE_MEMORY_FACTOR;
      if (record.attributes) for (const value of record.attributes.values()) weight += value.length + 200;
      return weight;
    }
    case 'attributes': {
      let weight = RECORD_OVERHEAD_BYTES;
      for (const value of record.values.values()) weight += value.length + 200;
      return weight;
    }
    default:
      return RECORD_OVERHEAD_BYTES + record.page.sizeBytes * PAGE_MEMORY_FACTOR;
  }
}

/** The records in memory, by id. */
export class RecordCache {
  readonly #records = new Map<number, MetaRecord>();
  readonly #dirty = new Map<number, MetaRecord>();
  readonly #limitBytes: number;
  #hand: Iterator<MetaRecord> | undefined;
  /** Memory of all records, estimated. */
  weightBytes = 0;
  /** Memory of the changed ones, estimated. */
  dirtyBytes = 0;
  hits = 0;
  misses = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get size(): number {
    return this.#records.size;
  }

  get dirtyCount(): number {
    return this.#dirty.size;
  }

  get(id: number): MetaRecord | undefined {
    const record = this.#records.get(id);
    if (record === undefined) {
      this.misses++;
      return undefined;
    }
    this.hits++;
    record.used = true;
    return record;
  }

  /** Takes in a record that is not in memory. */
  add(record: MetaRecord): void {
    record.weightBytes = weigh(record);
    this.weightBytes += record.weightBytes;
    this.#records.set(record.id, record);
  }

  /** Notes that the record was changed (again). */
  changed(record: MetaRecord): void {
    const weight = weigh(record);
    this.weightBytes += weight - record.weightBytes;
    if (record.dirty) {
      this.dirtyBytes += weight - record.weightBytes;
    } else {
      record.dirty = true;
      this.dirtyBytes += weight;
      this.#dirty.set(record.id, record);
    }
    record.weightBytes = weight;
  }

  /** Forgets a record, changed or not. */
  delete(id: number): void {
    const record = this.#records.get(id);
    if (record === undefined) return;
    this.#records.delete(id);
    this.weightBytes -= record.weightBytes;
    if (record.dirty) this.#clean(record);
  }

  /** The changed records. */
  dirtyRecords(): Iterable<MetaRecord> {
    return this.#dirty.values();
  }

  /** All changed records are stored. */
  cleanAll(): void {
    for (const record of this.#dirty.values()) record.dirty = false;
    this.#dirty.clear();
    this.dirtyBytes = 0;
  }

  /** Evicts clean records until the cache is within its budget, or a bounded number was looked at. */
  trim(): void {
    if (this.weightBytes <= this.#limitBytes) return;
    for (let step = 0; step < TRIM_STEPS && this.weightBytes > this.#limitBytes; step++) {
      this.#hand ??= this.#records.values();
      const next = this.#hand.next();
      if (next.done) {
        this.#hand = undefined;
        continue;
      }
      const record = next.value;
      if (record.dirty) continue;
      if (record.used) record.used = false;
      else this.delete(record.id);
    }
  }

  /** Evicts everything clean. */
  dropClean(): void {
    for (const record of this.#records.values()) if (!record.dirty) this.delete(record.id);
  }

  #clean(record: MetaRecord): void {
    record.dirty = false;
    this.dirtyBytes -= record.weightBytes;
    this.#dirty.delete(record.id);
  }
}
