// A set of sequential ids, one bit each: recovery may have to remember many millions of them, more than a Set can hold.

/** Ids of a page; a page is 8 KiB. */
const PAGE_IDS = 65_536;

/** Ids, whole numbers from 0. */
export class IdSet {
  readonly #pages = new Map<number, Uint8Array>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(id: number): boolean {
    const page = this.#pages.get(Math.floor(id / PAGE_IDS));
    return page !== undefined && (page[(id % PAGE_IDS) >>> 3]! & (1 << (id & 7))) !== 0;
  }

  add(id: number): void {
    const number = Math.floor(id / PAGE_IDS);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = new Uint8Array(PAGE_IDS / 8);
      this.#pages.set(number, page);
    }
    const at = (id % PAGE_IDS) >>> 3;
    const bit = 1 << (id & 7);
    if ((page[at]! & bit) !== 0) return;
    page[at] = page[at]! | bit;
    this.#size++;
  }

  delete(id: number): void {
    const page = this.#pages.get(Math.floor(id / PAGE_IDS));
    const at = (id % PAGE_IDS) >>> 3;
    const bit = 1 << (id & 7);
    if (page === undefined || (page[at]! & bit) === 0) return;
    page[at] = page[at]! & ~bit;
    this.#size--;
  }

  /** The ids in ascending order; the set must not change meanwhile. */
  *[Symbol.iterator](): Generator<number> {
    for (const number of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const page = this.#pages.get(number)!;
      for (let at = 0; at < page.length; at++) {
        for (let bits = page[at]!; bits !== 0; bits &= bits - 1)
          yield number * PAGE_IDS + at * 8 + (31 - Math.clz32(bits & -bits));
      }
    }
  }
}
