// One end of a simulated stream connection. Bytes go from the owner's queue, while the window has room, into flight,
// arrive in order, wait where the receiver is paused, and are delivered in segments cut at random.
import type { Clock } from '../clock.ts';
import { IoError } from '../errors.ts';
import type { Connection, ConnectionEvents } from '../network.ts';
import type { SimulatedRandom } from './random.ts';

/** Bytes of one direction that are in flight or wait at the receiver: the socket buffers of both kernels. */
export const WINDOW_BYTES = 256 * 1024;
/** The longest segment that is delivered in one piece. */
const SEGMENT_MAX_BYTES = 64 * 1024;
/** Sums of fractions of milliseconds are not exact. */
const TIME_TOLERANCE_MS = 1e-6;

/** What the network does with the bytes of a connection now. */
export interface Road {
  readonly clock: Clock;
  readonly random: SimulatedRandom;
  /** When so many bytes that leave now arrive, by the monotonic clock. */
  arrivalMs(lengthBytes: number): number;
  /** False while packets vanish. */
  passes(): boolean;
  /** False while the receiving program is stuck. */
  delivers(): boolean;
  /** Called with every piece that arrives: so many bytes of it come through; after fewer than all the connection breaks. */
  allow(lengthBytes: number): number;
}

type Segment =
  | { readonly kind: 'data'; readonly bytes: Uint8Array; readonly arrivesMs: number }
  | { readonly kind: 'end' | 'reset'; readonly arrivesMs: number };

/** See the head of this file. Made in pairs by `connectPair`. */
export class SimulatedConnection implements Connection {
  readonly remote: string;
  /** Of the bytes this end sends. */
  readonly #road: Road;
  #peer!: SimulatedConnection;
  #events: ConnectionEvents | undefined;
  /** Told once, when this end is gone. */
  readonly #gone: () => void;

  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #wantsDrain = false;
  #flight: Segment[] = [];
  #flightBytes = 0;
  #lastArrivalMs = 0;
  #armed = false;
  #arrived: Segment[] = [];
  #arrivedBytes = 0;
  #scheduled = false;

  #paused = false;
  #ending = false;
  #sentEnd = false;
  #gotEnd = false;
  #closed = false;
  #failure: Error | undefined;

  constructor(remote: string, road: Road, gone: () => void) {
    this.remote = remote;
    this.#road = road;
    this.#gone = gone;
  }

  /** Joins two ends. */
  static join(one: SimulatedConnection, other: SimulatedConnection): void {
    one.#peer = other;
    other.#peer = one;
  }

  // ---- Connection -----------------------------------------------------------------------------------------------

  start(events: ConnectionEvents): void {
    if (this.#events) throw new Error(`the connection with ${this.remote} was started twice`);
    this.#events = events;
    if (this.#closed) this.#road.clock.soon(() => events.closed(this.#failure));
    else this.#schedule();
  }

  write(chunks: readonly Uint8Array[]): boolean {
    if (this.#closed || this.#ending) return false;
    for (const chunk of chunks) {
      if (chunk.length === 0) continue;
      this.#queue.push(chunk);
      this.#queuedBytes += chunk.length;
    }
    this.#pump();
    if (this.#queuedBytes > 0) this.#wantsDrain = true;
    return this.#queuedBytes === 0;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  end(): void {
    if (this.#closed || this.#ending) return;
    this.#ending = true;
    this.#pump();
  }

  destroy(): void {
    if (this.#closed) return;
    // As Linux does: who closes with something unread resets the connection, otherwise it looks like an end.
    const unread = this.#arrived.length > 0 || this.#peer.#flightBytes > 0;
    this.#launch({ kind: unread ? 'reset' : 'end', arrivesMs: this.#arrivalMs(0) });
    this.#close(undefined);
  }

  // ---- what the network uses ------------------------------------------------------------------------------------

  get closed(): boolean {
    return this.#closed;
  }

  /** The connection breaks at this end: everything on the way to it and waiting at it is lost. */
  fail(error: Error): void {
    this.#flight = [];
    this.#flightBytes = 0;
    if (!this.#closed) this.#close(error);
  }

  /** Something about the road or the receiver has changed: go on if possible. */
  wake(): void {
    this.#land();
    this.#pump();
    this.#schedule();
  }

  // ---- sending --------------------------------------------------------------------------------------------------

  #room(): number {
    return WINDOW_BYTES - this.#flightBytes - this.#peer.#arrivedBytes;
  }

  /** Moves what fits the window into flight. The bytes are copied now: until now they were borrowed. */
  #pump(): void {
    if (this.#closed || !this.#road.passes()) return;
    while (this.#queue.length > 0 && this.#room() > 0) {
      const first = this.#queue[0]!;
      const drawn = 1 + this.#road.random.below(SEGMENT_MAX_BYTES);
      const length = Math.min(first.length, this.#room(), drawn);
      // Not `slice`: that of a Buffer is a view.
      const bytes = new Uint8Array(first.subarray(0, length));
      if (length === first.length) this.#queue.shift();
      else this.#queue[0] = first.subarray(length);
      this.#queuedBytes -= length;
      this.#launch({ kind: 'data', bytes, arrivesMs: this.#arrivalMs(length) });
    }
    if (this.#queue.length > 0) return;
    if (this.#wantsDrain) {
      this.#wantsDrain = false;
      this.#road.clock.soon(() => {
        if (!this.#closed) this.#events?.drained();
      });
    }
    if (this.#ending && !this.#sentEnd) {
      this.#sentEnd = true;
      this.#launch({ kind: 'end', arrivesMs: this.#arrivalMs(0) });
      this.#closeIfDone();
    }
  }

  /** Segments of one direction never overtake each other. */
  #arrivalMs(lengthBytes: number): number {
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, this.#road.arrivalMs(lengthBytes));
    return this.#lastArrivalMs;
  }

  #launch(segment: Segment): void {
    this.#flight.push(segment);
    if (segment.kind === 'data') this.#flightBytes += segment.bytes.length;
    this.#arm();
  }

  /** Has `#land` called when the next segment arrives. */
  #arm(): void {
    const next = this.#flight[0];
    if (!next || this.#armed || !this.#road.passes()) return;
    this.#armed = true;
    const { clock } = this.#road;
    clock.after(next.arrivesMs - clock.monotonicMs(), () => {
      this.#armed = false;
      this.#land();
    });
  }

  /** Hands over what has arrived, in order, unless packets vanish: then it waits to be sent again. */
  #land(): void {
    const due = this.#road.clock.monotonicMs() + TIME_TOLERANCE_MS;
    while (this.#flight[0] && this.#flight[0].arrivesMs <= due && this.#road.passes()) {
      const segment = this.#flight.shift()!;
      if (segment.kind !== 'data') {
        this.#peer.#receive(segment);
        continue;
      }
      const { bytes } = segment;
      this.#flightBytes -= bytes.length;
      const allowed = this.#road.allow(bytes.length);
      this.#peer.#receive({ ...segment, bytes: bytes.subarray(0, allowed) });
      if (allowed < bytes.length) {
        const reset = new IoError('ECONNRESET', `connection with ${this.remote} (simulated cut)`);
        this.fail(reset);
        this.#peer.fail(reset);
      }
    }
    this.#arm();
  }

  // ---- receiving ------------------------------------------------------------------------------------------------

  #receive(segment: Segment): void {
    if (this.#closed) {
      // Data for a socket that is no more: the kernel answers with a reset.
      if (segment.kind === 'data' && !this.#peer.#closed) {
        this.#launch({ kind: 'reset', arrivesMs: this.#arrivalMs(0) });
      }
      return;
    }
    if (segment.kind === 'reset') {
      this.fail(new IoError('ECONNRESET', `connection with ${this.remote}`));
      return;
    }
    if (segment.kind === 'data') {
      if (segment.bytes.length === 0) return;
      this.#arrivedBytes += segment.bytes.length;
    }
    this.#arrived.push(segment);
    this.#deliver();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#road.clock.soon(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  /** Gives the owner what waits, one segment after the other, for as long as it wants any. */
  #deliver(): void {
    const events = this.#events;
    while (
      events &&
      !this.#paused &&
      !this.#closed &&
      this.#arrived.length > 0 &&
      this.#peer.#road.delivers()
    ) {
      const segment = this.#arrived.shift()!;
      if (segment.kind === 'data') {
        this.#arrivedBytes -= segment.bytes.length;
        events.data(segment.bytes);
        // Lent for the call only: who kept the view gets to know it.
        segment.bytes.fill(0xdd);
        this.#peer.#pump();
      } else {
        this.#gotEnd = true;
        if (events.ended) events.ended();
        else this.end();
        this.#closeIfDone();
      }
    }
  }

  #closeIfDone(): void {
    if (this.#gotEnd && this.#sentEnd && !this.#closed) this.#close(undefined);
  }

  #close(error: Error | undefined): void {
    this.#closed = true;
    this.#failure = error;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#arrived = [];
    this.#arrivedBytes = 0;
    this.#gone();
    const events = this.#events;
    if (events) this.#road.clock.soon(() => events.closed(error));
  }
}
