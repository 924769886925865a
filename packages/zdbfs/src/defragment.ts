// Joins the fragments that small writes leave behind: where a stretch of a file consists of many short extents and nobody
// has written to the file for a moment, the stretch is read and written again as one record. Contents and times stay.
// What is worth looking at is only remembered in memory and only up to a bound; forgetting it costs speed, nothing else.

import { FilesystemError } from '@qsfs/fuse';
import type { Clock } from '@qsfs/io';
import { NotLocal } from '@qsfs/zdb';
import { extentsIn, prepareRange } from './extent-map.ts';
import { insertAll, RECORD_MAX_BYTES, readMapped } from './file-calls.ts';
import type { WrittenExtent } from './operation.ts';
import type { Extent, Inode } from './record.ts';
import type { Transactions } from './transactions.ts';

/** Writes of this size and more do not fragment a file. */
const SMALL_WRITE_BYTES = 128 * 1024;
/** Windows of a file that are remembered, over all files. */
const WINDOWS_MAX = 16_384;
/** A file is left alone until nobody has written to it for so long. */
const QUIET_MS = 3000;
/** A stretch is worth joining when it has so many extents … */
const FRAGMENTS_MIN = 4;
/** … which on average are shorter than this. */
const FRAGMENT_BYTES = 64 * 1024;

interface Candidate {
  readonly windows: Set<number>;
  lastWriteMs: number;
}

/** See the module's header. */
export class Defragmenter {
  readonly #transactions: Transactions;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #candidates = new Map<number, Candidate>();
  #windows = 0;
  /** Stretches joined so far. */
  joined = 0;

  constructor(transactions: Transactions, clock: Pick<Clock, 'monotonicMs'>) {
    this.#transactions = transactions;
    this.#clock = clock;
  }

  /** A range of a file was written. */
  written(inode: number, offset: number, lengthBytes: number): void {
    if (lengthBytes >= SMALL_WRITE_BYTES) return;
    let candidate = this.#candidates.get(inode);
    if (!candidate) {
      if (this.#windows >= WINDOWS_MAX) return;
      candidate = { windows: new Set(), lastWriteMs: 0 };
      this.#candidates.set(inode, candidate);
    }
    candidate.lastWriteMs = this.#clock.monotonicMs();
    const window = Math.floor(offset / RECORD_MAX_BYTES);
    if (candidate.windows.has(window) || this.#windows >= WINDOWS_MAX) return;
    candidate.windows.add(window);
    this.#windows++;
  }

  /** The inode is gone. */
  forget(inode: number): void {
    const candidate = this.#candidates.get(inode);
    if (!candidate) return;
    this.#windows -= candidate.windows.size;
    this.#candidates.delete(inode);
  }

  /** Looks at one window. False when there is nothing to look at now. */
  step(): boolean {
    const now = this.#clock.monotonicMs();
    for (const [inode, candidate] of this.#candidates) {
      if (now - candidate.lastWriteMs < QUIET_MS) continue;
      const window = candidate.windows.values().next().value;
      if (window === undefined) {
        this.#candidates.delete(inode);
        continue;
      }
      candidate.windows.delete(window);
      this.#windows--;
      this.#joinWindow(inode, window);
      return true;
    }
    return false;
  }

  #joinWindow(id: number, window: number): void {
    const { state } = this.#transactions;
    const start = window * RECORD_MAX_BYTES;
    const end = start + RECORD_MAX_BYTES;
    try {
      const file = state.inode(id);
      for (const run of runsOf(extentsIn(state, file, start, end))) {
        if (run.length < FRAGMENTS_MIN) continue;
        const first = run[0] as Extent;
        const last = run.at(-1) as Extent;
        const from = Math.max(start, first.offset);
        const to = Math.min(end, last.offset + last.lengthBytes);
        if ((to - from) / run.length < FRAGMENT_BYTES) this.#join(file, from, to);
      }
    } catch (error) {
      // Not worth bringing data back for, nor an error to anyone: it stays as it is.
      if (error instanceof NotLocal || error instanceof FilesystemError) return;
      throw error;
    }
  }

  #join(file: Inode, from: number, to: number): void {
    const { state } = this.#transactions;
    const bytes = new Uint8Array(to - from);
    readMapped(this.#transactions, file, from, bytes);
    prepareRange(state, file, from, to);
    this.#transactions.assertRoom(bytes.length);
    this.#transactions.reserveIds();
    const extents: WrittenExtent[] = [];
    insertAll(this.#transactions, extents, () => {
      extents.push({ offset: from, lengthBytes: bytes.length, record: state.store.data.insert(bytes) });
      const { sizeBytes } = file;
      this.#transactions.run({
        kind: 'write',
        inode: file.id,
        extents,
        sizeBytes,
        mode: undefined,
        touch: false,
      });
    });
    this.joined++;
  }
}

/** Splits ascending extents where there is a hole between them. */
function runsOf(extents: readonly Extent[]): Extent[][] {
  const runs: Extent[][] = [];
  let end = -1;
  for (const extent of extents) {
    const run = runs.at(-1);
    if (run && extent.offset === end) run.push(extent);
    else runs.push([extent]);
    end = extent.offset + extent.lengthBytes;
  }
  return runs;
}
