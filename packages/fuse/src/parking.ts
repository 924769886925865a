// Requests that wait for something outside (data that is being brought): copies of their bytes, by what they wait for.
//
// Bounds. Parked requests are at most `countMax` and hold at most `bytesMax`. Writes that the kernel makes from its page
// cache are taken beyond that, because refusing one would lose data an application believes written; the kernel itself
// never has more than `backgroundMax` of them under way, so all in all `bytesMax + backgroundMax × 1 MiB` are held.
import type { Request } from './request.ts';

/** What a parked request waits for; compared as a Map compares keys. */
export type Token = unknown;

/** One parked request. */
export interface ParkedRequest {
  readonly message: Uint8Array;
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  /** Until when it waits, monotonic ms; Infinity: as long as it takes. */
  readonly deadlineMs: number;
  /** For how long it may wait from then on, when what it waits for has come, ms. */
  readonly patienceMs: number;
}

/** The bounds. */
export interface ParkingBounds {
  readonly countMax: number;
  readonly bytesMax: number;
}

/** The parked requests of one session. */
export class Parking {
  readonly #bounds: ParkingBounds;
  readonly #waiting = new Map<Token, ParkedRequest[]>();
  #count = 0;
  #bytes = 0;

  constructor(bounds: ParkingBounds) {
    this.#bounds = bounds;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** What requests wait for at present. */
  tokens(): Token[] {
    return [...this.#waiting.keys()];
  }

  /**
   * Copies the present request. False when there is no room and `mustTake` is not set.
   */
  park(
    token: Token,
    request: Request,
    mustTake: boolean,
    { deadlineMs, patienceMs }: Pick<ParkedRequest, 'deadlineMs' | 'patienceMs'>,
  ): boolean {
    const full =
      this.#count >= this.#bounds.countMax || this.#bytes + request.lengthBytes > this.#bounds.bytesMax;
    if (full && !mustTake) return false;
    const parked = {
      message: request.copy(),
      uniqueLow: request.uniqueLow,
      uniqueHigh: request.uniqueHigh,
      deadlineMs,
      patienceMs,
    };
    const row = this.#waiting.get(token);
    if (row) row.push(parked);
    else this.#waiting.set(token, [parked]);
    this.#count++;
    this.#bytes += parked.message.length;
    return true;
  }

  /** Takes out everything that waits for `token`, oldest first. */
  take(token: Token): ParkedRequest[] {
    const row = this.#waiting.get(token) ?? [];
    this.#waiting.delete(token);
    for (const parked of row) this.#forget(parked);
    return row;
  }

  /** Takes out the request with this number (an INTERRUPT names it), or undefined. */
  takeRequest(uniqueLow: number, uniqueHigh: number): ParkedRequest | undefined {
    for (const [token, row] of this.#waiting) {
      const at = row.findIndex(
        (parked) => parked.uniqueLow === uniqueLow && parked.uniqueHigh === uniqueHigh,
      );
      if (at < 0) continue;
      const [parked] = row.splice(at, 1);
      if (row.length === 0) this.#waiting.delete(token);
      this.#forget(parked as ParkedRequest);
      return parked;
    }
    return undefined;
  }

  /** Sets anew for how long whatever waits for `token` may wait, but for what has no limit. */
  giveTime(token: Token, time: Pick<ParkedRequest, 'deadlineMs' | 'patienceMs'>): void {
    const row = this.#waiting.get(token);
    const given = row?.map((parked) => (parked.deadlineMs === Infinity ? parked : { ...parked, ...time }));
    if (given) this.#waiting.set(token, given);
  }

  /** Takes out every request whose time is over, with what it waited for. */
  takeLate(nowMs: number): { readonly token: Token; readonly parked: ParkedRequest }[] {
    const late: { readonly token: Token; readonly parked: ParkedRequest }[] = [];
    for (const [token, row] of this.#waiting) {
      const left = row.filter((parked) => {
        if (parked.deadlineMs > nowMs) return true;
        this.#forget(parked);
        late.push({ token, parked });
        return false;
      });
      if (left.length === 0) this.#waiting.delete(token);
      else if (left.length < row.length) this.#waiting.set(token, left);
    }
    return late;
  }

  #forget(parked: ParkedRequest): void {
    this.#count--;
    this.#bytes -= parked.message.length;
  }
}
