// Index files, pages and manifests on the backends whose shards are not all known to be there, until they are. (Data files: see
// degraded-files.ts.) Nothing of this is written down: after a start everything named by the newest manifest is looked at once.
import { isZstorError, type ObjectRecord, type Zstor } from '@qsfs/zstor';
import { isComplete } from './degraded-files.ts';

/**
 * What is known: `lacking` shards; `unsure`, nobody looked since the start, or since a backend was emptied; `lost`, fewer than k shards
 * are left, so it has to be stored again.
 */
type Standing = 'lacking' | 'unsure' | 'lost';

interface Entry {
  standing: Standing;
  /** Called when all n shards were made sure of. */
  readonly whenWhole: () => void;
}

/** The set of them. Owned by SyncPoints. */
export class SmallObjects {
  readonly #zstor: Zstor;
  readonly #entries = new Map<string, Entry>();

  constructor(zstor: Zstor) {
    this.#zstor = zstor;
  }

  /** How many are not known to be whole. */
  get size(): number {
    return this.#entries.size;
  }

  /** Takes the record of a write into account. */
  written(name: string, record: ObjectRecord, whenWhole: () => void = () => {}): void {
    if (isComplete(record) && !this.#zstor.lacksShards(record)) this.#entries.delete(name);
    else this.#entries.set(name, { standing: 'lacking', whenWhole });
  }

  /** An object that was stored in an earlier run, or before a backend was emptied. */
  question(name: string, whenWhole: () => void = () => {}): void {
    if (!this.#entries.has(name)) this.#entries.set(name, { standing: 'unsure', whenWhole });
  }

  /** One that is questioned was found to lack shards. */
  suspect(name: string): void {
    const entry = this.#entries.get(name);
    if (entry) entry.standing = 'lacking';
  }

  /** Nothing names the object any more. */
  forget(name: string): void {
    this.#entries.delete(name);
  }

  /** Looks at those nobody looked at: cheap, and needs no backend but those of the metadata. */
  async look(): Promise<void> {
    await this.#each('unsure', async (name, entry) => {
      const record = await this.#zstor.head(name);
      if (!record) entry.standing = 'lost';
      else if (isComplete(record) && !this.#zstor.lacksShards(record)) this.#settle(name, entry);
      else entry.standing = 'lacking';
    });
  }

  /** Looks, and makes whole what can be made whole now. */
  async heal(): Promise<void> {
    await this.look();
    await this.#each('lacking', async (name, entry) => {
      const { record } = await this.#zstor.rebuild(name);
      if (isComplete(record) && !this.#zstor.lacksShards(record)) this.#settle(name, entry);
    });
  }

  /** Names of those that have to be stored again. */
  lost(): string[] {
    return [...this.#entries].filter(([, { standing }]) => standing === 'lost').map(([name]) => name);
  }

  async #each(standing: Standing, act: (name: string, entry: Entry) => Promise<void>): Promise<void> {
    for (const [name, entry] of [...this.#entries]) {
      if (entry.standing !== standing || this.#entries.get(name) !== entry) continue;
      try {
        await act(name, entry);
      } catch (error) {
        if (isZstorError(error, 'QSFS_E_DAMAGED') || isZstorError(error, 'QSFS_E_NOT_FOUND')) {
          entry.standing = 'lost';
        } else if (isZstorError(error, 'QSFS_E_UNAVAILABLE')) return;
        else if (!isZstorError(error)) throw error;
      }
    }
  }

  #settle(name: string, entry: Entry): void {
    if (this.#entries.get(name) !== entry) return;
    this.#entries.delete(name);
    entry.whenWhole();
  }
}
