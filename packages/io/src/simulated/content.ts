// The bytes of one simulated file: pages that exist or are holes. Pages are shared between copies and copied when
// written, so that an image of a disk costs a map, not its contents. Used by inode.ts for a file's present content
// and for what of it is on stable storage.

/** Unit of allocation, in bytes: what a real filesystem usually takes. */
export const PAGE_BYTES = 4096;
const ZERO_PAGE = new Uint8Array(PAGE_BYTES);

/** Space shared by the files of one disk. */
export interface SpaceBudget {
  usedBytes: number;
  capacityBytes: number;
}

/** A sparse, growing byte sequence. Bytes never written, and bytes of holes, are zero. */
export class SparseContent {
  #pages = new Map<number, Uint8Array>();
  /** Pages nobody else sees; the others are copied before they are written. */
  readonly #owned = new Set<number>();
  readonly #budget: SpaceBudget | undefined;
  #sizeBytes = 0;

  /** @param budget what new pages are taken from; without one there is always room */
  constructor(budget?: SpaceBudget) {
    this.#budget = budget;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get allocatedBytes(): number {
    return this.#pages.size * PAGE_BYTES;
  }

  /** The same content under another budget; neither side sees later writes of the other. */
  copy(budget?: SpaceBudget): SparseContent {
    const copy = new SparseContent(budget);
    this.#owned.clear();
    copy.#pages = new Map(this.#pages);
    copy.#sizeBytes = this.#sizeBytes;
    if (budget) budget.usedBytes += copy.allocatedBytes;
    return copy;
  }

  /** Fills `target` from `position`; returns the bytes before the end of the file. */
  read(target: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(target.length, this.#sizeBytes - position));
    let done = 0;
    while (done < length) {
      const at = position + done;
      const offset = at % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - offset, length - done);
      const page = this.#pages.get((at - offset) / PAGE_BYTES);
      if (page) target.set(page.subarray(offset, offset + count), done);
      else target.fill(0, done, done + count);
      done += count;
    }
    return length;
  }

  /** Writes at `position`; returns the bytes written, fewer than given when the budget ran out. */
  write(source: Uint8Array, position: number): number {
    let done = 0;
    while (done < source.length) {
      const at = position + done;
      const offset = at % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - offset, source.length - done);
      const page = this.#writable((at - offset) / PAGE_BYTES);
      if (!page) break;
      page.set(source.subarray(done, done + count), offset);
      done += count;
    }
    if (done > 0) this.#sizeBytes = Math.max(this.#sizeBytes, position + done);
    return done;
  }

  /** Cuts, or extends with a hole. */
  truncate(sizeBytes: number): void {
    if (sizeBytes < this.#sizeBytes) {
      const firstGone = Math.ceil(sizeBytes / PAGE_BYTES);
      for (const index of this.#pages.keys()) if (index >= firstGone) this.#drop(index);
      this.#zero(sizeBytes, firstGone * PAGE_BYTES);
    }
    this.#sizeBytes = sizeBytes;
  }

  /** Makes the file at least so long without storing anything. */
  growTo(sizeBytes: number): void {
    this.#sizeBytes = Math.max(this.#sizeBytes, sizeBytes);
  }

  /** Zeroes the range and frees the pages that lie wholly inside it. The size stays. */
  punch(position: number, lengthBytes: number): void {
    const end = position + lengthBytes;
    const first = Math.ceil(position / PAGE_BYTES);
    const behind = Math.floor(end / PAGE_BYTES);
    if (first > behind) {
      this.#zero(position, end);
      return;
    }
    this.#zero(position, first * PAGE_BYTES);
    this.#zero(behind * PAGE_BYTES, end);
    if (behind - first > this.#pages.size) {
      for (const index of this.#pages.keys()) if (index >= first && index < behind) this.#drop(index);
    } else {
      for (let index = first; index < behind; index++) this.#drop(index);
    }
  }

  /** Takes pages for the whole range, which then reads as before; false, and nothing taken, when there is no room. */
  reserve(position: number, lengthBytes: number): boolean {
    const wanted: number[] = [];
    const behind = Math.ceil((position + lengthBytes) / PAGE_BYTES);
    for (let index = Math.floor(position / PAGE_BYTES); index < behind; index++) {
      if (!this.#pages.has(index)) wanted.push(index);
    }
    if (!this.#take(wanted.length)) return false;
    for (const index of wanted) this.#pages.set(index, ZERO_PAGE);
    return true;
  }

  /** Gives all space back. */
  clear(): void {
    for (const index of this.#pages.keys()) this.#drop(index);
    this.#sizeBytes = 0;
  }

  #take(pages: number): boolean {
    const budget = this.#budget;
    if (!budget) return true;
    if (pages > 0 && budget.usedBytes + pages * PAGE_BYTES > budget.capacityBytes) return false;
    budget.usedBytes += pages * PAGE_BYTES;
    return true;
  }

  #drop(index: number): void {
    if (!this.#pages.delete(index)) return;
    this.#owned.delete(index);
    if (this.#budget) this.#budget.usedBytes -= PAGE_BYTES;
  }

  /** The page to write into, made or copied as needed; undefined when there is no room. */
  #writable(index: number): Uint8Array | undefined {
    const present = this.#pages.get(index);
    if (present && this.#owned.has(index)) return present;
    if (!present && !this.#take(1)) return undefined;
    const page = present ? present.slice() : new Uint8Array(PAGE_BYTES);
    this.#pages.set(index, page);
    this.#owned.add(index);
    return page;
  }

  /** Zeroes a range inside one page; a hole stays one. */
  #zero(from: number, to: number): void {
    const index = Math.floor(from / PAGE_BYTES);
    if (from >= to || !this.#pages.has(index)) return;
    this.#writable(index)?.fill(0, from - index * PAGE_BYTES, to - index * PAGE_BYTES);
  }
}
