// What a command makes in a state folder before it has succeeded: taken away again when it does not.
import { join } from 'node:path';
import type { Disk } from '@qsfs/io';

/** Files and folders that were not there. */
export class Beginnings {
  readonly #disk: Disk;
  readonly #missing: readonly string[];
  /** Folders that were there with nothing in them: somebody made them (a mount point, maybe), and they stay. */
  readonly #empty: readonly string[];

  /** @param paths where something will be made; what is there already is none of ours */
  constructor(disk: Disk, paths: readonly string[]) {
    this.#disk = disk;
    this.#missing = paths.filter((path) => !disk.stat(path));
    this.#empty = paths.filter(
      (path) => disk.stat(path)?.kind === 'directory' && disk.list(path).length === 0,
    );
  }

  /** Removes what was made at those places. @throws IoError */
  remove(): void {
    for (const path of this.#missing) this.#disk.removeTree(path);
    for (const path of this.#empty)
      for (const name of this.#disk.list(path)) this.#disk.removeTree(join(path, name));
  }
}
