// Bytes of evicted stripes that are in memory because the local disk does not take them, or has no room for all that a request needs at
// once: what requests asked for, and only that, until it was not used for a while. Owned by the filesystem thread.
import type { Loans } from '@qsfs/zdb';
import type { StripeMap } from '../local/stripe-map.ts';

/** Longer than a stripe is waited for: a request that needs several in turn finds the first ones again. */
const IDLE_MS = 10_000;
/** One request can need no more than this: 256 pages, each the rest of a record of 1 MiB. */
const BYTES_MAX = 256 * 2 ** 20;

/** Bytes of a data file. */
interface Piece {
  readonly from: number;
  readonly bytes: Uint8Array;
}

interface LentStripe {
  readonly pieces: Piece[];
  sizeBytes: number;
  usedAtMs: number;
}

/** What is lent of all namespaces. */
export class StripeLoans implements Loans {
  readonly #absent: (namespace: string) => StripeMap;
  readonly #nowMs: () => number;
  /** By namespace, file and stripe; the one that was used last is the last. */
  readonly #stripes = new Map<string, LentStripe>();
  #sizeBytes = 0;

  /** @param absent the stripes that are not in the local files */
  constructor(absent: (namespace: string) => StripeMap, nowMs: () => number) {
    this.#absent = absent;
    this.#nowMs = nowMs;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Keeps bytes of one stripe; they stay when it comes here, because it may not stay. */
  add(namespace: string, file: number, from: number, bytes: Uint8Array): void {
    const { stripeBytes } = this.#absent(namespace);
    const key = keyOf(namespace, file, Math.floor(from / stripeBytes));
    const lent = this.#stripes.get(key) ?? { pieces: [], sizeBytes: 0, usedAtMs: 0 };
    if (!pieceOf(lent, from, from + bytes.length)) {
      lent.pieces.push({ from, bytes });
      lent.sizeBytes += bytes.length;
      this.#sizeBytes += bytes.length;
    }
    this.#use(key, lent);
    for (const oldest of this.#stripes.keys()) {
      if (this.#sizeBytes <= BYTES_MAX || oldest === key) break;
      this.#drop(oldest);
    }
  }

  clear(): void {
    this.#stripes.clear();
    this.#sizeBytes = 0;
  }

  /** Gives up what was not used for a while. Called now and then. */
  tend(): void {
    const sinceMs = this.#nowMs() - IDLE_MS;
    for (const [key, { usedAtMs }] of this.#stripes) {
      if (usedAtMs >= sinceMs) return;
      this.#drop(key);
    }
  }

  cover(namespace: string, file: number, offset: number, lengthBytes: number): boolean {
    return this.#stripes.size > 0 && this.#each(namespace, file, offset, lengthBytes, () => {});
  }

  patch(namespace: string, file: number, offset: number, target: Uint8Array, lengthBytes: number): void {
    this.#each(namespace, file, offset, lengthBytes, (piece, from, to) =>
      target.set(piece.bytes.subarray(from - piece.from, to - piece.from), from - offset),
    );
  }

  /** Calls with the piece that holds the part of a range in each absent stripe. @returns false when there is none for one of them */
  #each(
    namespace: string,
    file: number,
    offset: number,
    lengthBytes: number,
    take: (piece: Piece, from: number, to: number) => void,
  ): boolean {
    const absent = this.#absent(namespace);
    const { stripeBytes } = absent;
    const end = offset + lengthBytes;
    for (let from = offset, to = 0; from < end; from = to) {
      const stripe = Math.floor(from / stripeBytes);
      to = Math.min(end, (stripe + 1) * stripeBytes);
      if (!absent.has(file, stripe)) continue;
      const key = keyOf(namespace, file, stripe);
      const lent = this.#stripes.get(key);
      const piece = lent && pieceOf(lent, from, to);
      if (!lent || !piece) return false;
      this.#use(key, lent);
      take(piece, from, to);
    }
    return true;
  }

  #use(key: string, lent: LentStripe): void {
    lent.usedAtMs = this.#nowMs();
    this.#stripes.delete(key);
    this.#stripes.set(key, lent);
  }

  #drop(key: string): void {
    this.#sizeBytes -= this.#stripes.get(key)?.sizeBytes ?? 0;
    this.#stripes.delete(key);
  }
}

/** A piece that holds all of a range. */
function pieceOf({ pieces }: LentStripe, from: number, to: number): Piece | undefined {
  return pieces.find((piece) => piece.from <= from && piece.from + piece.bytes.length >= to);
}

function keyOf(namespace: string, file: number, stripe: number): string {
  return `${namespace}/${file}/${stripe}`;
}
