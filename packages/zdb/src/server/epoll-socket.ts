// One connection of the epoll loop: its send queue, and its end. Closing with unread bytes would reset the connection, and the client
// might lose our last words; so our side ends first, and what still comes is thrown away for a while (`lingering`).
import type { ServerSocket, SocketEvents } from './sockets.ts';

/** Most bytes thrown away after our side has ended. */
const LINGER_BYTES = 64 * 1024 * 1024;

/** What a socket asks of its loop. */
export interface SocketHost {
  /** Changes what the descriptor is watched for. */
  watch(descriptor: number, reading: boolean, writing: boolean): void;
  /** Watches again after `unwatch`. */
  rewatch(descriptor: number, reading: boolean, writing: boolean): void;
  /** Stops watching: a hang-up would be reported again and again while nobody reads. */
  unwatch(descriptor: number): void;
  /** Forgets and closes a descriptor. */
  release(descriptor: number): void;
  /** Hands bytes to the kernel. @returns how many it took; -1 when the other side is gone */
  transmit(descriptor: number, bytes: Uint8Array, more: boolean): number;
  /** Says that no more comes, and destroys the socket when the other side does not do the same in time. */
  shutdown(socket: EpollSocket): void;
  /** Small segments as one piece, in memory that is valid until the next call; undefined when they are not small. */
  gathered(segments: readonly Uint8Array[]): Uint8Array | undefined;
}

/** One connection of the epoll loop. */
export class EpollSocket implements ServerSocket {
  readonly remote: string;
  readonly descriptor: number;
  events: SocketEvents | undefined;
  queuedBytes = 0;
  open = true;
  readonly #loop: SocketHost;
  #queue: Uint8Array[] = [];
  #reading = true;
  #writing = false;
  #inputOver = false;
  /** The other side does not take bytes any more; what it sent before is still read. */
  #broken = false;
  #ending = false;
  /** False after a hang-up while nobody was reading. */
  #watched = true;
  /** Our side has ended; what still comes is thrown away. */
  lingering = false;
  #discardedBytes = 0;

  constructor(loop: SocketHost, descriptor: number, remote: string) {
    this.#loop = loop;
    this.descriptor = descriptor;
    this.remote = remote;
  }

  send(segments: readonly Uint8Array[], scratch: ArrayBufferLike): void {
    if (!this.open || this.#broken) return;
    let rest = segments;
    if (this.#queue.length === 0) {
      if (segments.length > 1) {
        const one = this.#loop.gathered(segments);
        if (one !== undefined) {
          const sent = this.#loop.transmit(this.descriptor, one, false);
          if (sent === one.length) return;
          if (sent < 0) {
            this.#break();
            return;
          }
          this.#enqueue(new Uint8Array(one.subarray(sent)));
          return;
        }
      }
      for (let i = 0; i < segments.length; i++) {
        const segment = segments[i]!;
        const sent = this.#loop.transmit(this.descriptor, segment, i + 1 < segments.length);
        if (sent < 0) {
          this.#break();
          return;
        }
        if (sent < segment.length) {
          rest = [segment.subarray(sent), ...segments.slice(i + 1)];
          break;
        }
        if (i + 1 === segments.length) return;
      }
    }
    for (const segment of rest) this.#enqueue(segment.buffer === scratch ? new Uint8Array(segment) : segment);
  }

  #enqueue(bytes: Uint8Array): void {
    this.#queue.push(bytes);
    this.queuedBytes += bytes.length;
    if (!this.#writing) {
      this.#writing = true;
      this.#watch();
    }
  }

  #break(): void {
    this.#broken = true;
    this.#queue = [];
    this.queuedBytes = 0;
    if (this.#writing) {
      this.#writing = false;
      this.#watch();
    }
    if (this.#ending || this.#inputOver) this.destroy();
  }

  writable(): void {
    while (this.#queue.length > 0) {
      const first = this.#queue[0]!;
      const sent = this.#loop.transmit(this.descriptor, first, this.#queue.length > 1);
      if (sent < 0) {
        this.#break();
        return;
      }
      this.queuedBytes -= sent;
      if (sent < first.length) {
        this.#queue[0] = first.subarray(sent);
        return;
      }
      this.#queue.shift();
    }
    this.#writing = false;
    this.#watch();
    if (this.#ending) this.#linger();
    else this.events?.drained();
  }

  inputEnded(): void {
    if (this.#inputOver) return;
    this.#inputOver = true;
    this.#watch();
    if (this.#broken) this.destroy();
    else this.events?.inputEnded();
  }

  pause(): void {
    if (!this.#reading) return;
    this.#reading = false;
    this.#watch();
  }

  resume(): void {
    if (this.#reading) return;
    this.#reading = true;
    this.#watch();
  }

  end(): void {
    if (!this.open || this.#ending) return;
    this.#ending = true;
    if (this.#queue.length === 0) this.#linger();
    else this.#watch();
  }

  #linger(): void {
    if (this.#inputOver || this.#broken) {
      this.destroy();
      return;
    }
    this.lingering = true;
    this.#loop.shutdown(this);
    this.#watch();
  }

  discarded(lengthBytes: number): void {
    this.#discardedBytes += lengthBytes;
    if (this.#discardedBytes > LINGER_BYTES) this.destroy();
  }

  destroy(): void {
    if (!this.open) return;
    this.open = false;
    this.#queue = [];
    this.queuedBytes = 0;
    this.#loop.release(this.descriptor);
    this.events?.closed();
  }

  get receiving(): boolean {
    return this.open && this.#reading && !this.#inputOver && !this.#ending;
  }

  /** The other side is gone altogether while we were not reading. */
  hungUp(): void {
    if (!this.open) return;
    if (this.#inputOver || this.#ending || this.#broken) {
      this.destroy();
      return;
    }
    // Paused: what it sent before is read when we resume.
    this.#watched = false;
    this.#loop.unwatch(this.descriptor);
  }

  #watch(): void {
    if (!this.open) return;
    const reading = this.receiving || this.lingering;
    if (this.#watched) {
      this.#loop.watch(this.descriptor, reading, this.#writing);
    } else if (reading) {
      this.#watched = true;
      this.#loop.rewatch(this.descriptor, reading, this.#writing);
    }
  }
}
