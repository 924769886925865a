// The log of a running frontend: DIR/frontend/log, one line an event, the previous one kept as log.1. Writing to it never
// fails anything: what cannot be written is lost.
import type { Clock, Disk, DiskFile } from '@qsfs/io';

const LOG_BYTES_MAX = 4 * 2 ** 20;

/** How much a line matters. */
export type LogLevel = 'info' | 'warning' | 'error';

/** Takes lines for the operator. */
export type Log = (level: LogLevel, message: string) => void;

/** An open log file. */
export class LogFile {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #path: string;
  #file: DiskFile | undefined;
  #position = 0;

  constructor(disk: Disk, clock: Clock, path: string) {
    this.#disk = disk;
    this.#clock = clock;
    this.#path = path;
  }

  write(level: LogLevel, message: string): void {
    const line = Buffer.from(`${new Date(this.#clock.nowMs()).toISOString()} ${level} ${message}\n`);
    try {
      // Opened with the first line, and again with each until that works.
      if (this.#position + line.length > LOG_BYTES_MAX) {
        this.close();
        this.#disk.rename(this.#path, `${this.#path}.1`);
      }
      const file = this.#file ?? this.#open();
      file.write(line, this.#position);
      this.#position += line.length;
    } catch {
      // A full disk must not become a second failure.
    }
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
    this.#position = 0;
  }

  #open(): DiskFile {
    this.#file = this.#disk.open(this.#path, 'create');
    this.#position = this.#file.size();
    return this.#file;
  }
}
