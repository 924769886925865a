// Which pages of the manifest are older than what they describe, and writing those anew.

import type { Volume } from '../local/volume-files.ts';
import {
  compareVersions,
  encodePage,
  type Manifest,
  type ManifestFile,
  PAGE_FILES,
  pageName,
  type Version,
} from '../manifest.ts';
import { OFFLOADED, type OffloadedName } from '../messages.ts';
import { inParallel } from './parallel.ts';
import type { VolumeObjects } from './volume-objects.ts';

/** Pages on their way at a time. */
const CONCURRENT_MAX = 4;

/** The pages of both offloaded namespaces. Owned by SyncPoints. */
export class ManifestPages {
  readonly #volume: Volume;
  readonly #objects: VolumeObjects;
  readonly #dirty: Record<OffloadedName, Set<number>> = { 'zdbfs-meta': new Set(), 'zdbfs-data': new Set() };

  /** @param manifest the newest one that is known to be on the backends */
  constructor(volume: Volume, objects: VolumeObjects, manifest: Manifest | undefined) {
    this.#volume = volume;
    this.#objects = objects;
    this.stored(manifest);
  }

  /** Something of a file changed: its page has to be written anew. */
  changed(namespace: OffloadedName, file: number): void {
    this.#dirty[namespace].add(Math.floor(file / PAGE_FILES));
  }

  /** A page is lost on the backends. */
  lost(namespace: OffloadedName, page: number): void {
    this.#dirty[namespace].add(page);
  }

  hasChanged(namespace: OffloadedName): boolean {
    return this.#dirty[namespace].size > 0;
  }

  /** A manifest with pages is on the backends: only what changed since is to be written. */
  stored(manifest: Manifest | undefined): void {
    for (const name of OFFLOADED) this.#dirty[name] = new Set(this.#stillDirty(name, manifest));
  }

  /**
   * Stores the pages that changed.
   * @param before those of the newest manifest
   * @returns the newest copy of each page
   */
  async send(
    namespace: OffloadedName,
    activeFile: number,
    version: Version,
    before: readonly Version[],
  ): Promise<Version[]> {
    const pages: Version[] = [];
    const changed: number[] = [];
    for (let page = 0; page < Math.ceil(activeFile / PAGE_FILES); page += 1) {
      const old = before[page];
      if (old && !this.#dirty[namespace].has(page)) pages.push(old);
      else {
        pages.push(version);
        changed.push(page);
      }
    }
    await inParallel(CONCURRENT_MAX, changed, async (page) => {
      const first = page * PAGE_FILES;
      const files: ManifestFile[] = [];
      for (let file = first; file < Math.min(activeFile, first + PAGE_FILES); file += 1)
        files.push(this.#entry(namespace, file));
      await this.#objects.putSmall(pageName(namespace, page, version), encodePage(first, files));
      const old = before[page];
      if (old) this.#objects.supersede(pageName(namespace, page, old));
    });
    return pages;
  }

  #entry(namespace: OffloadedName, file: number): ManifestFile {
    const files = this.#volume[namespace];
    const data = files.data(file);
    const index = files.catalog.index(file);
    const isHere = files.sizeOf(file) > 0;
    // What was stored stays named, even if the local file was lost.
    const exists = isHere || data.safety !== 'pending';
    if (isHere && (data.safety === 'pending' || !index)) {
      throw new Error(`${namespace}/${file} is in the sync point but not on the backends`);
    }
    return {
      data: exists ? { sizeBytes: data.sizeBytes, epoch: data.epoch } : undefined,
      index: index && {
        sizeBytes: index.sizeBytes,
        epoch: index.epoch,
        generation: index.generation,
      },
    };
  }

  /** Pages that are older than something they describe. */
  *#stillDirty(name: OffloadedName, manifest: Manifest | undefined): Iterable<number> {
    const pages = manifest?.namespaces.find((candidate) => candidate.name === name)?.pages ?? [];
    const { catalog } = this.#volume[name];
    for (let file = 0; file < catalog.length; file += 1) {
      const page = pages[Math.floor(file / PAGE_FILES)];
      const index = catalog.index(file);
      if (!page || (index && compareVersions(index, page) > 0)) yield Math.floor(file / PAGE_FILES);
    }
  }
}
