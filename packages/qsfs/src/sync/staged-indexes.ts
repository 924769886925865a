// Copies of index files on their way to the backends. A copy that a newer state overtakes is not sent.
import { join } from 'node:path';
import { type Disk, errorCode } from '@qsfs/io';
import type { Layout } from '../layout.ts';
import type { Housekeeping } from '../local/housekeeper.ts';
import type { Volume } from '../local/volume-files.ts';
import { indexName, type Version } from '../manifest.ts';
import type { OffloadedName, SyncedNamespace } from '../messages.ts';
import { isComplete } from '../offload/degraded-files.ts';
import type { ManifestPages } from './manifest-pages.ts';
import { inParallel } from './parallel.ts';
import type { VolumeObjects } from './volume-objects.ts';

/** Index files on their way at a time. */
const CONCURRENT_MAX = 4;

interface StagedIndex {
  readonly namespace: OffloadedName;
  readonly file: number;
  readonly path: string;
  readonly modifiedMs: number;
  readonly copiedMs: number;
}

/** What they need. */
export interface StagedIndexesParts {
  readonly disk: Disk;
  readonly layout: Pick<Layout, 'staging'>;
  readonly volume: Volume;
  readonly housekeeper: Pick<Housekeeping, 'hash'>;
  readonly objects: VolumeObjects;
  readonly pages: ManifestPages;
}

/** The copies. Owned by SyncPoints. */
export class StagedIndexes {
  readonly #parts: StagedIndexesParts;
  readonly #staged = new Map<string, StagedIndex>();

  /** Removes what an earlier run left: none of it was in a state that is known. */
  constructor(parts: StagedIndexesParts) {
    this.#parts = parts;
    const { disk, layout } = parts;
    disk.removeTree(layout.staging);
    disk.makeDirectory(layout.staging);
  }

  /** A folder for the copies of a state. */
  folder(generation: number): string {
    const { disk, layout } = this.#parts;
    const folder = join(layout.staging, `${generation}`);
    disk.makeDirectory(folder);
    return folder;
  }

  /** Takes over the copies of a state. @param copiedMs wall clock when they were begun */
  take({ namespace, copied }: SyncedNamespace, folder: string, copiedMs: number): void {
    for (const { file, modifiedMs } of copied) {
      const path = join(folder, `${namespace}-i${file}`);
      this.#remove(`${namespace}/${file}`);
      this.#staged.set(`${namespace}/${file}`, { namespace, file, path, modifiedMs, copiedMs });
    }
  }

  /** Sends all of them. @param version of the state they are of */
  async send(version: Version): Promise<void> {
    await inParallel(CONCURRENT_MAX, [...this.#staged.values()], (staged) => this.#send(staged, version));
  }

  /** Everything was sent: the folders are empty. */
  tidy(): void {
    if (this.#staged.size === 0) this.#parts.disk.removeTree(this.#parts.layout.staging);
  }

  async #send(staged: StagedIndex, version: Version): Promise<void> {
    const { housekeeper, volume, objects, pages } = this.#parts;
    const { namespace, file, modifiedMs, copiedMs } = staged;
    const { catalog } = volume[namespace];
    const { hash, sizeBytes } = await housekeeper.hash(staged.path);
    const known = catalog.index(file);
    const state = { sizeBytes, modifiedMs, copiedMs, hash };
    if (known && known.sizeBytes === sizeBytes && Buffer.compare(known.hash, hash) === 0) {
      catalog.setIndex(file, { ...known, ...state });
    } else {
      const source = { path: staged.path, lengthBytes: sizeBytes };
      const record = await objects.put(indexName(namespace, file, version), source, () =>
        volume[namespace].catalog.indexWhole(file, version),
      );
      catalog.setIndex(file, { ...state, ...version, complete: isComplete(record) });
      if (known) objects.supersede(indexName(namespace, file, known));
      pages.changed(namespace, file);
    }
    this.#remove(`${namespace}/${file}`, staged);
  }

  #remove(key: string, only?: StagedIndex): void {
    const staged = this.#staged.get(key);
    if (!staged || (only && staged !== only)) return;
    this.#staged.delete(key);
    try {
      this.#parts.disk.remove(staged.path);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
    }
  }
}
