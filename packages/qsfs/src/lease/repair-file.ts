// Names of objects that need repair, kept across restarts in DIR/frontend/repairs: a log of `+name` and `-name` lines (names
// as JSON strings), rewritten with the first change of a run; before that nothing is written. It is a hint: what records say survives
// anyway, so a file that cannot be written or read costs nothing but time, and nothing is synced.
import { type Disk, type DiskFile, readWhole, replaceWhole } from '@qsfs/io';
import type { RepairList } from '@qsfs/zstor';

/** More names than this are not kept: then most of the volume needs repair, and a scrub finds it. */
const NAMES_MAX = 100_000;

/** A durable set of names. */
export class RepairFile implements RepairList {
  readonly #names = new Set<string>();
  readonly #disk: Disk;
  readonly #path: string;
  #file: DiskFile | undefined;
  #position = 0;

  constructor(disk: Disk, path: string) {
    this.#disk = disk;
    this.#path = path;
    try {
      for (const line of linesOf(disk, path)) {
        const name: unknown = JSON.parse(line.slice(1));
        if (typeof name !== 'string') continue;
        if (line.startsWith('+')) this.#names.add(name);
        else this.#names.delete(name);
      }
    } catch {
      // A damaged tail: what was read before it counts.
    }
  }

  add(name: string): void {
    if (this.#names.has(name) || this.#names.size >= NAMES_MAX) return;
    this.#names.add(name);
    this.#append('+', name);
  }

  remove(name: string): void {
    if (this.#names.delete(name)) this.#append('-', name);
  }

  names(): Iterable<string> {
    return [...this.#names];
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  #append(sign: '+' | '-', name: string): void {
    try {
      if (!this.#file) {
        this.#rewrite();
        return;
      }
      const line = Buffer.from(`${sign}${JSON.stringify(name)}\n`);
      this.#file.write(line, this.#position);
      this.#position += line.length;
    } catch {
      // Only a hint; see above.
    }
  }

  /** Writes all names there are, and goes on behind them. */
  #rewrite(): void {
    const text = [...this.#names].map((name) => `+${JSON.stringify(name)}\n`).join('');
    replaceWhole(this.#disk, this.#path, Buffer.from(text));
    this.#file = this.#disk.open(this.#path, 'write');
    this.#position = this.#file.size();
  }
}

function linesOf(disk: Disk, path: string): string[] {
  const content = readWhole(disk, path) ?? new Uint8Array(0);
  return Buffer.from(content)
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
}
