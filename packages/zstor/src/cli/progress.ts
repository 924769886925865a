// One line on a terminal that says how far a long piece of work is, with rate and time left. Nothing when it is not a terminal.
import type { Clock } from '@qsfs/io';

/** The line is drawn again at most so often. */
const INTERVAL_MS = 100;

/** A progress line. */
export class ProgressLine {
  readonly #label: string;
  readonly #totalBytes: number;
  readonly #clock: Clock;
  readonly #write: ((text: string) => void) | undefined;
  readonly #startMs: number;
  #drawnMs = Number.NEGATIVE_INFINITY;

  /** @param write undefined where there is nobody to look */
  constructor(label: string, totalBytes: number, clock: Clock, write: ((text: string) => void) | undefined) {
    this.#label = label;
    this.#totalBytes = totalBytes;
    this.#clock = clock;
    this.#write = write;
    this.#startMs = clock.monotonicMs();
  }

  update(doneBytes: number): void {
    const nowMs = this.#clock.monotonicMs();
    if (!this.#write || nowMs - this.#drawnMs < INTERVAL_MS) return;
    this.#drawnMs = nowMs;
    const seconds = Math.max(0.001, (nowMs - this.#startMs) / 1000);
    const rate = doneBytes / seconds;
    const left = rate > 0 ? Math.ceil((this.#totalBytes - doneBytes) / rate) : 0;
    const percent = this.#totalBytes === 0 ? 100 : Math.floor((100 * doneBytes) / this.#totalBytes);
    this.#write(`\r${this.#label} ${percent} % ${(rate / 1e6).toFixed(0)} MB/s ${left} s left   `);
  }

  /** Takes the line away. */
  end(): void {
    if (this.#write && this.#drawnMs > 0) this.#write('\r\x1b[K');
  }
}
