// The redo journal: appends records to zdbfs-journal and knows where it stands. Records of one checkpoint are numbered
// from 0 without gaps; reading them back and what a gap means is in recovery.ts. Id 0 is nobody's (docs/formats/zdbfs.md,
// section 1).
import type { SyncSteps } from '@qsfs/io';
import { ByteWriter } from './bytes.ts';
import { encodeJournalRecord, type JournalEntry } from './journal-record.ts';
import type { Moment } from './record.ts';
import { RESERVED_RECORD } from './record-codec.ts';
import type { Store } from './store.ts';

/** What the store adds to each record, roughly: header in the data file, slot in the index. */
const STORE_OVERHEAD_BYTES = 68;

/** See the module's header. */
export class Journal {
  readonly #store: Store;
  readonly #writer = new ByteWriter(64 * 1024);
  #checkpoint: number;
  #sequence: number;
  /** Bytes in the journal since it was last emptied. */
  sizeBytes: number;

  /** @param sequence number of the next record that builds on `checkpoint` */
  constructor(store: Store, checkpoint: number, sequence: number, sizeBytes: number) {
    this.#store = store;
    this.#checkpoint = checkpoint;
    this.#sequence = sequence;
    this.sizeBytes = sizeBytes;
  }

  /**
   * Appends a record and commits it together with everything else that waits in the store.
   * @throws what the store throws; then nothing was appended
   */
  append(time: Moment, entry: JournalEntry): void {
    if (this.#store.journal.nextId === 0) this.#store.journal.insert(RESERVED_RECORD);
    const bytes = encodeJournalRecord(this.#writer, this.#checkpoint, this.#sequence, time, entry);
    this.#store.journal.insert(bytes);
    this.#store.commit();
    this.#sequence++;
    this.sizeBytes += bytes.length + STORE_OVERHEAD_BYTES;
  }

  /** A checkpoint mark was appended: what follows builds on it. */
  advance(checkpoint: number): void {
    this.#checkpoint = checkpoint;
    this.#sequence = 0;
  }

  /** The checkpoint is in place: nothing in the journal is needed any more. */
  *flushSteps(): SyncSteps {
    yield* this.#store.journal.flushSteps();
    this.sizeBytes = 0;
  }
}
