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

/** The records in memory, by id. A record is in one of two maps, so that eviction looks at clean ones only. */
export class RecordCache {
  readonly #clean = new Map<number, MetaRecord>();
  readonly #dirty = new Map<number, MetaRecord>();
  readonly #limitBytes: number;
  #hand: Iterator<MetaRecord> | undefined;
  /** Memory of the clean and of the changed records, estimated. */
  cleanBytes = 0;
  dirtyBytes = 0;
  hits = 0;
  misses = 0;

  /** @param limitBytes memory for clean records */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get size(): number {
    return this.#clean.size + this.#dirty.size;
  }

  get dirtyCount(): number {
    return this.#dirty.size;
  }

  get(id: number): MetaRecord | undefined {
    const record = this.#dirty.get(id) ?? this.#clean.get(id);
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
    this.cleanBytes += record.weightBytes;
    this.#clean.set(record.id, record);
  }

  /** Notes that the record was changed (again). */
  changed(record: MetaRecord): void {
    const weight = weigh(record);
    if (record.dirty) {
      this.dirtyBytes -= record.weightBytes;
    } else {
      record.dirty = true;
      this.cleanBytes -= record.weightBytes;
      this.#clean.delete(record.id);
      this.#dirty.set(record.id, record);
    }
    record.weightBytes = weight;
    this.dirtyBytes += weight;
  }

  /** Forgets a record, changed or not. */
  delete(id: number): void {
    const clean = this.#clean.get(id);
    if (clean) {
      this.#clean.delete(id);
      this.cleanBytes -= clean.weightBytes;
      return;
    }
    const dirty = this.#dirty.get(id);
    if (!dirty) return;
    this.#dirty.delete(id);
    this.dirtyBytes -= dirty.weightBytes;
    dirty.dirty = false;
  }

  /** The changed records. */
  dirtyRecords(): Iterable<MetaRecord> {
    return this.#dirty.values();
  }

  /** All changed records are stored. */
  cleanAll(): void {
    for (const record of this.#dirty.values()) {
      record.dirty = false;
      this.#clean.set(record.id, record);
    }
    this.#dirty.clear();
    this.cleanBytes += this.dirtyBytes;
    this.dirtyBytes = 0;
  }

  /** Evicts clean records until they are within their budget, or a bounded number was looked at. */
  trim(): void {
    for (let step = 0; step < TRIM_STEPS && this.cleanBytes > this.#limitBytes; step++) {
      this.#hand ??= this.#clean.values();
      const next = this.#hand.next();
      if (next.done) this.#hand = undefined;
      else if (next.value.used) next.value.used = false;
      else this.delete(next.value.id);
    }
  }
}
