// One bit for every stripe of every data file of a namespace, in memory. Used for "is absent" (both threads keep a
// copy), "was read lately" and "was brought ahead of need" (filesystem thread).
//
// Bits are dense, file by file, because file numbers are: a petabyte in files of 64 MiB is 16 million files, 64 MB here.
// Files beyond the array have no bit set. `any` is called on every read of a record and allocates nothing.

const WORD_BITS = 32;

/** A growing set of (file, stripe) pairs. */
export class StripeMap {
  readonly stripeBytes: number;
  /** Stripes a file can have. */
  readonly stripes: number;
  readonly #words: number;
  #bits: Uint32Array<ArrayBuffer> = new Uint32Array(0);

  /**
   * @param stripeBytes size of a stripe
   * @param fileBytesMax largest possible data file
   */
  constructor(stripeBytes: number, fileBytesMax: number) {
    this.stripeBytes = stripeBytes;
    this.stripes = Math.ceil(fileBytesMax / stripeBytes);
    this.#words = Math.ceil(this.stripes / WORD_BITS);
  }

  /** Bytes of one file's bits in `encode` and `decode`. */
  get encodedBytes(): number {
    return Math.ceil(this.stripes / 8);
  }

  /** True when any stripe that holds a byte of the range is in the set. */
  any(file: number, offset: number, lengthBytes: number): boolean {
    const base = file * this.#words;
    if (base >= this.#bits.length || lengthBytes <= 0) return false;
    const first = Math.floor(offset / this.stripeBytes);
    const last = Math.floor((offset + lengthBytes - 1) / this.stripeBytes);
    for (let stripe = first; stripe <= last; stripe += 1) {
      if (((this.#bits[base + (stripe >>> 5)] as number) >>> (stripe & 31)) & 1) return true;
    }
    return false;
  }

  has(file: number, stripe: number): boolean {
    const place = file * this.#words + (stripe >>> 5);
    if (stripe >= this.stripes || place >= this.#bits.length) return false;
    return (((this.#bits[place] as number) >>> (stripe & 31)) & 1) === 1;
  }

  /** True when the file has no stripe in the set. */
  isEmpty(file: number): boolean {
    const base = file * this.#words;
    for (let word = 0; word < this.#words; word += 1) if (this.#bits[base + word]) return false;
    return true;
  }

  /** How many stripes of the file are in the set. */
  size(file: number): number {
    let size = 0;
    for (let stripe = 0; stripe < this.stripes; stripe += 1) if (this.has(file, stripe)) size += 1;
    return size;
  }

  add(file: number, first: number, count = 1): void {
    this.#check(first, count);
    this.#grow(file);
    for (let stripe = first; stripe < first + count; stripe += 1) {
      const place = file * this.#words + (stripe >>> 5);
      this.#bits[place] = (this.#bits[place] as number) | (1 << (stripe & 31));
    }
  }

  /** Marks the stripes of a byte range, without growing: bits of files not yet known are not worth memory. */
  touch(file: number, offset: number, lengthBytes: number): void {
    const base = file * this.#words;
    if (base >= this.#bits.length) return;
    const last = Math.floor((offset + lengthBytes - 1) / this.stripeBytes);
    for (let stripe = Math.floor(offset / this.stripeBytes); stripe <= last; stripe += 1) {
      const place = base + (stripe >>> 5);
      this.#bits[place] = (this.#bits[place] as number) | (1 << (stripe & 31));
    }
  }

  delete(file: number, first: number, count = 1): void {
    this.#check(first, count);
    if (file * this.#words >= this.#bits.length) return;
    for (let stripe = first; stripe < first + count; stripe += 1) {
      const place = file * this.#words + (stripe >>> 5);
      this.#bits[place] = (this.#bits[place] as number) & ~(1 << (stripe & 31));
    }
  }

  /** Makes room for files up to this number, so that `touch` notes them. */
  reach(file: number): void {
    this.#grow(file);
  }

  /** The bits of one file, stripe s in bit s mod 8 of byte s / 8. */
  encode(file: number): Uint8Array {
    const bytes = new Uint8Array(this.encodedBytes);
    for (let stripe = 0; stripe < this.stripes; stripe += 1) {
      if (this.has(file, stripe)) bytes[stripe >>> 3] = (bytes[stripe >>> 3] as number) | (1 << (stripe & 7));
    }
    return bytes;
  }

  /** Replaces the bits of one file. */
  decode(file: number, bytes: Uint8Array): void {
    this.delete(file, 0, this.stripes);
    for (let stripe = 0; stripe < this.stripes; stripe += 1) {
      if (((bytes[stripe >>> 3] ?? 0) >>> (stripe & 7)) & 1) this.add(file, stripe);
    }
  }

  /** All bits, to be given to another thread and loaded there with `restore`. */
  snapshot(): Uint32Array<ArrayBuffer> {
    return this.#bits.slice();
  }

  restore(bits: Uint32Array<ArrayBuffer>): void {
    this.#bits = bits;
  }

  #check(first: number, count: number): void {
    if (first < 0 || count < 0 || first + count > this.stripes) {
      throw new RangeError(`stripes ${first} to ${first + count} of a file of ${this.stripes}`);
    }
  }

  #grow(file: number): void {
    const needed = (file + 1) * this.#words;
    if (needed <= this.#bits.length) return;
    const larger = new Uint32Array(Math.max(needed, this.#bits.length * 2, 1024));
    larger.set(this.#bits);
    this.#bits = larger;
  }
}

/** Runs of consecutive stripes that a test accepts, as first and count. */
export function stripeRuns(
  stripes: number,
  accept: (stripe: number) => boolean,
): { readonly first: number; readonly count: number }[] {
  const runs: { first: number; count: number }[] = [];
  for (let stripe = 0; stripe < stripes; stripe += 1) {
    if (!accept(stripe)) continue;
    const last = runs.at(-1);
    if (last && last.first + last.count === stripe) last.count += 1;
    else runs.push({ first: stripe, count: 1 });
  }
  return runs;
}
