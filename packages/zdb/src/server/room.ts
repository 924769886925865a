// Room on the disk below a server: what is kept for small values (--spare), and giving back what removed values took (--punch).
import { type Disk, errorCode, syncAtOnce } from '@qsfs/io';
import type { DataFileInfo, Engine, Namespace } from '../engine/types.ts';
import type { Log } from './log.ts';

/** Values up to this size, and deletions, may use what `--spare` keeps: on a disk that is full of data, records can still be written. */
export const SMALL_VALUE_BYTES = 64 * 1024;
/** Dead bytes that make a pass over a closed data file worth it; a pass reads the headers of its entries. */
const WORTH_BYTES = 1024 * 1024;
/** Dead bytes in the file that is written that make it worth closing. */
const WORTH_CLOSING_BYTES = 8 * 1024 * 1024;

/** What the room is on. */
export interface RoomParts {
  readonly engine: Engine;
  readonly disk: Disk;
  readonly log: Log;
  /** Commits. @returns false when that failed */
  readonly commit: () => boolean;
}

/** Room of one server. */
export class Room {
  readonly #parts: RoomParts;
  readonly #spareBytes: number;
  #isUnsupported = false;

  /** @param spareBytes of the disk kept for small values, 0: none */
  constructor(parts: RoomParts, spareBytes: number) {
    this.#parts = parts;
    this.#spareBytes = spareBytes;
  }

  /** Whether a value of this size may be written. A disk that cannot be asked tells when it is written to. */
  takes(namespace: Namespace, lengthBytes: number): boolean {
    if (this.#spareBytes === 0 || lengthBytes <= SMALL_VALUE_BYTES) return true;
    const { disk, engine } = this.#parts;
    try {
      const { availableBytes } = disk.space(namespace.dataDirectory);
      return availableBytes - engine.pendingBytes - lengthBytes >= this.#spareBytes;
    } catch {
      return true;
    }
  }

  /** Bytes that values of any size may still take on the disk of a directory. */
  freeBytes(directory: string): number {
    try {
      return Math.max(0, this.#parts.disk.space(directory).availableBytes - this.#spareBytes);
    } catch {
      return 0;
    }
  }

  /** Bytes that are there for small values only. */
  spareBytes(directory: string): number {
    try {
      return Math.min(this.#spareBytes, this.#parts.disk.space(directory).availableBytes);
    } catch {
      return 0;
    }
  }

  /** Gives back what removed values of sequential namespaces took: of one data file each, so that clients do not wait long. */
  giveBack(): void {
    if (this.#isUnsupported) return;
    for (const namespace of this.#parts.engine.namespaces()) {
      if (namespace.mode !== 'seq') continue;
      try {
        this.#giveBackOf(namespace);
      } catch (error) {
        const code = errorCode(error);
        if (code === undefined) throw error;
        this.#isUnsupported = code === 'EOPNOTSUPP';
        this.#parts.log.line(
          'error',
          `cannot give room of ${namespace.name} back: ${(error as Error).message}`,
        );
      }
    }
  }

  #giveBackOf(namespace: Namespace): void {
    const files = namespace.dataFiles();
    const active = files.find(({ closed }) => !closed);
    const dead = files.filter(({ discardable }) => discardable).slice(0, 1);
    const hollow = most(files);
    const isClosing = active !== undefined && active.unseenDeadBytes >= WORTH_CLOSING_BYTES;
    if ((dead.length === 0 && !hollow && !isClosing) || !this.#parts.commit()) return;
    if (dead.length > 0) syncAtOnce(namespace.discardSteps(dead.map(({ file }) => file)));
    else if (hollow) syncAtOnce(namespace.hollowSteps([hollow.file]));
    else namespace.rotate();
  }
}

/** The file with most to give back; undefined: none is worth it. */
function most(files: readonly DataFileInfo[]): DataFileInfo | undefined {
  let best: DataFileInfo | undefined;
  for (const info of files) {
    if (info.closed && info.unseenDeadBytes > (best?.unseenDeadBytes ?? WORTH_BYTES)) best = info;
  }
  return best;
}
