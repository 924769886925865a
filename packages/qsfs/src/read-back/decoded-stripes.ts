// Whether the local disk takes stripes that come back, and while it does not, the last few that were decoded into memory instead: whoever
// reads one record of a stripe often reads the next one too. The filesystem thread takes what it needs from the same memory.
import { type Clock, type Disk, errorCode } from '@qsfs/io';
import type { ZstorError } from '@qsfs/zstor';
import type { Log } from '../log-file.ts';
import type { ToFilesystem } from '../messages.ts';

/** So much is kept, or the last stripe. */
const BYTES_MAX = 16 * 2 ** 20;
/** After the disk refused a stripe none is offered to it for so long. */
const PAUSE_MS = 2000;

/** What it needs. */
export interface DecodedParts {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly disk: Pick<Disk, 'space'>;
  readonly dataDirectory: string;
  readonly stripeBytes: number;
  /** To the filesystem thread. */
  readonly send: (message: ToFilesystem) => void;
  readonly log: Log;
}

/** Owned by the main thread. */
export class DecodedStripes {
  readonly #parts: DecodedParts;
  /** The newest is the last. */
  readonly #stripes = new Map<string, Uint8Array>();
  #sizeBytes = 0;
  /** Monotonic time until which nothing is offered to the disk; undefined while it takes stripes. */
  #pausedUntilMs: number | undefined;
  /** It refused for want of room. */
  #isFull = false;

  constructor(parts: DecodedParts) {
    this.#parts = parts;
  }

  /** The disk is not to be tried now. */
  get isPaused(): boolean {
    return this.#pausedUntilMs !== undefined && this.#parts.clock.monotonicMs() < this.#pausedUntilMs;
  }

  /** The disk did not take a stripe. */
  refused({ message, cause }: ZstorError): void {
    const { clock, log } = this.#parts;
    if (this.#pausedUntilMs === undefined)
      log(
        'warning',
        `what comes back from the backends cannot be kept here, and comes anew for each reader: ${message}`,
      );
    this.#pausedUntilMs = clock.monotonicMs() + PAUSE_MS;
    this.#isFull = errorCode(cause) === 'ENOSPC';
  }

  /** The disk took a stripe. */
  accepted(): void {
    if (this.#pausedUntilMs === undefined) return;
    this.#pausedUntilMs = undefined;
    this.#isFull = false;
    this.#stripes.clear();
    this.#sizeBytes = 0;
    this.#parts.log('info', 'what comes back from the backends is kept here again');
  }

  /** Looks whether the disk has room again. Called several times a second. */
  tend(): void {
    const { disk, dataDirectory, stripeBytes, send } = this.#parts;
    if (!this.#isFull || this.isPaused) return;
    if (disk.space(dataDirectory).availableBytes < 2 * stripeBytes) return;
    this.accepted();
    send({ kind: 'recall' });
  }

  /** Keeps a copy in memory that both threads see. @returns the copy */
  keep(key: string, bytes: Uint8Array): Uint8Array {
    this.#forget(key);
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    shared.set(bytes);
    this.#stripes.set(key, shared);
    this.#sizeBytes += shared.length;
    for (const oldest of this.#stripes.keys()) {
      if (this.#sizeBytes <= BYTES_MAX || oldest === key) break;
      this.#forget(oldest);
    }
    return shared;
  }

  /** A stripe that is in memory while the disk is not to be tried. */
  find(key: string): Uint8Array | undefined {
    return this.isPaused ? this.#stripes.get(key) : undefined;
  }

  #forget(key: string): void {
    this.#sizeBytes -= this.#stripes.get(key)?.length ?? 0;
    this.#stripes.delete(key);
  }
}
