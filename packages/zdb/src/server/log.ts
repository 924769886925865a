// Lines for the operator, in the reference's shape: seconds since start, a sign, a message.
import type { Clock } from '@qsfs/io';

/** How much a line matters. */
export type LogLevel = 'debug' | 'info' | 'warning' | 'error';

const SIGNS: Record<LogLevel, string> = { debug: '[*]', info: '[+]', warning: '[!]', error: '[-]' };

/** Writes log lines; `debug` ones only when verbose. */
export class Log {
  readonly #clock: Clock;
  readonly #startMs: number;
  readonly #write: (line: string) => void;
  readonly #verbose: boolean;

  /** @param write receives each line, its end included */
  constructor(clock: Clock, write: (line: string) => void, verbose: boolean) {
    this.#clock = clock;
    this.#startMs = clock.monotonicMs();
    this.#write = write;
    this.#verbose = verbose;
  }

  line(level: LogLevel, message: string): void {
    if (level === 'debug' && !this.#verbose) return;
    const seconds = ((this.#clock.monotonicMs() - this.#startMs) / 1000).toFixed(6).padStart(15);
    // Names and messages of clients must not forge lines.
    const text = message.replace(
      /[\p{Cc}]/gu,
      (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
    );
    this.#write(`[${seconds}] ${SIGNS[level]} ${text}\n`);
  }
}
