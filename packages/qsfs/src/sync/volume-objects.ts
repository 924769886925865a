// The objects of a volume that are written anew with its states (index files, pages, manifests): stored with patience, looked after until
// all their shards are there, and deleted when nothing names them any more.
import type { Clock } from '@qsfs/io';
import {
  isZstorError,
  type ObjectRecord,
  type ObjectSource,
  type Verification,
  type Zstor,
} from '@qsfs/zstor';
import { SmallObjects } from '../offload/small-objects.ts';

/** How long an object is tried again while the backends do not take it, and how often. */
export const PATIENCE_MS = 10_000;
export const RETRY_MS = 500;

/** What they need. */
export interface VolumeObjectsParts {
  readonly zstor: Zstor;
  /** How to make sure of what was stored. */
  readonly verification: Verification;
  readonly clock: Clock;
}

/** See the module's header. Owned by SyncPoints. */
export class VolumeObjects {
  /** Those that are not known to be whole. */
  readonly small: SmallObjects;
  readonly #parts: VolumeObjectsParts;
  /** Names of those that are of no use any more. */
  readonly #superseded = new Set<string>();

  constructor(parts: VolumeObjectsParts) {
    this.#parts = parts;
    this.small = new SmallObjects(parts.zstor);
  }

  /** Stores a file. @param whenWhole called when all n shards are made sure of, if that is later */
  async put(name: string, source: ObjectSource, whenWhole: () => void): Promise<ObjectRecord> {
    const { zstor, verification } = this.#parts;
    const record = await this.#stubbornly(() => zstor.put(name, source, { verification }));
    this.small.written(name, record, whenWhole);
    return record;
  }

  /** Stores bytes. */
  async putSmall(name: string, content: Uint8Array): Promise<void> {
    const { zstor, verification } = this.#parts;
    this.small.written(name, await this.#stubbornly(() => zstor.putSmall(name, content, { verification })));
  }

  /** The next manifest does not name it. */
  supersede(name: string): void {
    this.#superseded.add(name);
    this.small.forget(name);
  }

  /** No manifest names it. */
  discard(name: string): void {
    this.#superseded.add(name);
  }

  /** The manifest that names none of them is there. @throws ZstorError; the rest is deleted with the next call */
  async deleteSuperseded(): Promise<void> {
    for (const name of this.#superseded) {
      await this.#parts.zstor.delete(name);
      this.#superseded.delete(name);
    }
  }

  /** Does it again for a while when the backends do not take it. */
  async #stubbornly<Result>(act: () => Promise<Result>): Promise<Result> {
    const { clock } = this.#parts;
    const end = clock.monotonicMs() + PATIENCE_MS;
    for (;;) {
      try {
        return await act();
      } catch (error) {
        if (!isZstorError(error, 'QSFS_E_UNAVAILABLE') || clock.monotonicMs() > end) throw error;
      }
      await clock.sleep(RETRY_MS);
    }
  }
}
