// Data files on the backends whose objects are not known to have all their shards, until they have. (Small objects: small-objects.ts.)
// The catalog says which they are, so a kill loses nothing of this.
import { isZstorError, type ObjectRecord, type Zstor } from '@qsfs/zstor';
import { messageOf } from '../errors.ts';
import type { Volume } from '../local/volume-files.ts';
import type { Log } from '../log-file.ts';
import { dataName } from '../manifest.ts';
import { OFFLOADED, type OffloadedName } from '../messages.ts';

/** Degraded objects looked at in one round of healing. */
export const HEAL_ROUND_MAX = 256;

/** A closed data file. */
export interface DataFile {
  readonly namespace: OffloadedName;
  readonly file: number;
}

/** What they need. */
export interface DegradedParts {
  readonly zstor: Zstor;
  readonly volume: Volume;
  /** Nothing more is looked at. */
  readonly isOver: () => boolean;
  /** A file was found to be whole. */
  readonly whole: (file: DataFile, record: ObjectRecord) => void;
  /** A file that is lost on the backends and wholly here is pending again. */
  readonly storeAgain: (file: DataFile) => void;
  readonly log: Log;
}

/** See the module's header. Owned by Offload. */
export class DegradedFiles {
  readonly #parts: DegradedParts;
  readonly #files = new Map<string, DataFile>();
  /** Of which too few good shards are left: parts of them cannot be read, nor made whole from here. */
  readonly #damaged = new Set<string>();
  /** What could not be read although its record says that it is whole: its shards have to be read to know. */
  readonly #suspects = new Set<string>();

  constructor(parts: DegradedParts) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#files.size;
  }

  get damagedFiles(): number {
    return this.#damaged.size;
  }

  /** Names of their objects, at most so many. */
  names(most: number): string[] {
    return [...this.#files.values()].slice(0, most).map((file) => this.#nameOf(file));
  }

  add(file: DataFile): void {
    this.#files.set(keyOf(file), file);
  }

  /** It is removed, or pending again. */
  forget(file: DataFile): void {
    const key = keyOf(file);
    this.#files.delete(key);
    this.#damaged.delete(key);
    this.#suspects.delete(key);
  }

  /** Somebody could not read it, because the backends lost too much of it or give it wrong: it counts as damaged until `heal` finds it whole. */
  suspect(file: DataFile): void {
    const key = keyOf(file);
    const files = this.#parts.volume[file.namespace];
    const data = files.data(file.file);
    if (data.safety === 'pending' || this.#suspects.has(key)) return;
    files.catalog.setData(file.file, { ...data, safety: 'degraded' });
    this.add(file);
    this.#suspects.add(key);
    this.#damaged.add(key);
  }

  /** Takes back what is believed of every object: a backend was emptied. `heal` finds out what is left. */
  doubt(): void {
    for (const namespace of OFFLOADED) {
      const files = this.#parts.volume[namespace];
      for (const file of files.files()) {
        const data = files.data(file);
        if (data.safety === 'pending') continue;
        files.catalog.setData(file, { ...data, safety: 'degraded' });
        this.add({ namespace, file });
      }
      files.catalog.flush();
    }
  }

  /**
   * Looks at them again: repairs what can be repaired now.
   * @param rebuild write missing shards now, instead of only looking whether somebody did
   * @returns how many are still degraded
   */
  async heal(rebuild: boolean): Promise<number> {
    const { zstor, isOver, whole } = this.#parts;
    let rest = rebuild ? this.#files.size : Math.min(HEAL_ROUND_MAX, this.#files.size);
    for (const [key, file] of this.#files) {
      if (isOver() || rest === 0) break;
      const isSuspect = this.#suspects.has(key);
      if (isSuspect && !rebuild) continue;
      rest -= 1;
      // To the end of the row, so that the next round looks at others first.
      this.#files.delete(key);
      this.#files.set(key, file);
      const name = this.#nameOf(file);
      try {
        let record = await zstor.head(name);
        if (rebuild && (isSuspect || !(record && this.isWhole(record))))
          record = (await zstor.rebuild(name, { deep: isSuspect })).record;
        if (rebuild) {
          this.#damaged.delete(key);
          this.#suspects.delete(key);
        }
        // Removed meanwhile, as nothing in it was alive.
        if (!this.#files.has(key)) continue;
        if (record && this.isWhole(record)) {
          this.#files.delete(key);
          this.#damaged.delete(key);
          whole(file, record);
        }
      } catch (error) {
        if (!isZstorError(error)) throw error;
        if (isZstorError(error, 'QSFS_E_UNAVAILABLE')) break;
        if (!this.#files.has(key)) continue;
        if (isZstorError(error, 'QSFS_E_DAMAGED') || isZstorError(error, 'QSFS_E_NOT_FOUND'))
          this.#again(file, messageOf(error));
      }
    }
    return this.#files.size;
  }

  /** All n shards were made sure of, and no backend that has one was emptied since. */
  isWhole(record: ObjectRecord): boolean {
    return isComplete(record) && !this.#parts.zstor.lacksShards(record);
  }

  /** The backends have lost too much of an object: it is stored anew when all of the file is still here, else it is counted as damaged. */
  #again(lost: DataFile, reason: string): void {
    const { volume, log, storeAgain } = this.#parts;
    const { namespace, file } = lost;
    const key = keyOf(lost);
    const files = volume[namespace];
    if (!files.presence.absent.isEmpty(file)) {
      if (!this.#damaged.has(key)) log('error', `${namespace}/d${file}: ${reason}`);
      this.#damaged.add(key);
      return;
    }
    log('warning', `${namespace}/d${file} was lost on the backends and is stored again from the local copy`);
    this.forget(lost);
    files.catalog.setData(file, { safety: 'pending', sizeBytes: 0, epoch: 0 });
    storeAgain(lost);
  }

  #nameOf({ namespace, file }: DataFile): string {
    return dataName(namespace, file, this.#parts.volume[namespace].data(file).epoch);
  }
}

/** All n backends were asked for their shards after the write and have them. */
export function isComplete(record: ObjectRecord): boolean {
  return record.missingShards === 0 && record.verification !== 'acknowledged';
}

/** Names a data file in tables. */
export function keyOf({ namespace, file }: DataFile): string {
  return `${namespace}/${file}`;
}
