// Brought stripes become durable: their data files are synced on the housekeeping thread, then recorded as present.
import { errorCode } from '@qsfs/io';
import { OFFLOADED } from '../messages.ts';
import type { Housekeeping } from './housekeeper.ts';
import type { Volume } from './volume-files.ts';

/** Records what came. Owned by the main thread. */
export class PresenceRecord {
  readonly #volume: Volume;
  readonly #housekeeper: Pick<Housekeeping, 'datasync'>;
  #isRunning = false;

  constructor(volume: Volume, housekeeper: Pick<Housekeeping, 'datasync'>) {
    this.#volume = volume;
    this.#housekeeper = housekeeper;
  }

  /** Does nothing while an earlier call goes on. @throws IoError, and then it is tried again with the next call */
  async keep(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      for (const name of OFFLOADED) {
        const { presence } = this.#volume[name];
        const files = presence.unrecorded();
        for (const file of files) {
          const mark = presence.mark(file);
          if (await this.#isSynced(this.#volume[name].dataPath(file))) presence.recordPresent(mark);
        }
        if (files.length > 0) presence.flush();
        this.#volume[name].catalog.flush();
      }
    } finally {
      this.#isRunning = false;
    }
  }

  /** Syncs a data file. @returns false when it was removed meanwhile, as nothing in it was alive */
  async #isSynced(path: string): Promise<boolean> {
    try {
      await this.#housekeeper.datasync(path);
      return true;
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return false;
      throw error;
    }
  }
}
