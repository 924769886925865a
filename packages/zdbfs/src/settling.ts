// Times in which a volume takes no changes because something is brought to stable storage by another thread: the volume can be read
// all the while. Without such a thread (`Settler`) everything is synced at once, where it is asked for.
import { type SyncSteps, syncAtOnce } from '@qsfs/io';

/** Thrown by a call, before it changed anything, that has to wait until the volume is settled. */
export class Settling extends Error {
  override readonly name = 'Settling';
  /** The call only wanted what is done now to be on stable storage: when the volume is settled without an error, it is done. */
  readonly covered: boolean;

  constructor(covered: boolean) {
    super('the volume takes no changes until it is on stable storage');
    this.covered = covered;
  }
}

/** Thrown over and over: they carry no state. */
const LATER = new Settling(false);
const COVERED = new Settling(true);

/** Carries steps out while the thread of the volume goes on. */
export interface Settler {
  /**
   * Begins.
   * @param sizeBytes what has to reach the disk, about; so little may be waited for at once, while the disk is quick
   * @param ended called once, maybe before the return
   */
  start(steps: SyncSteps, sizeBytes: number, ended: (error: unknown) => void): void;
}

/** What is under way, of one volume. */
export class Settlement {
  readonly #settler: Settler | undefined;
  /** `all`: when it ends, everything done before is on stable storage. */
  #active: 'all' | 'part' | undefined;

  constructor(settler: Settler | undefined) {
    this.#settler = settler;
  }

  /** Whether somebody else waits for the disk. */
  get isShared(): boolean {
    return this.#settler !== undefined;
  }

  get active(): boolean {
    return this.#active !== undefined;
  }

  /** @throws Settling when the caller may not change anything now */
  assertSettled(): void {
    if (this.#active) throw LATER;
  }

  /**
   * Brings all to stable storage, or joins who does.
   * @throws Settling when that is under way, or begun now; what the steps throw when they ended at once
   */
  join(steps: SyncSteps, sizeBytes: number): void {
    if (this.#active) throw this.#active === 'all' ? COVERED : LATER;
    this.#begin(steps, sizeBytes, 'all', () => {});
    if (this.#active) throw COVERED;
  }

  /**
   * Carries out steps after which not everything is on stable storage.
   * @param ended called with the error, or undefined; may be after the return
   * @throws what the steps throw, when they ended before the return
   */
  run(steps: SyncSteps, ended: (error: unknown) => void = () => {}): void {
    this.#begin(steps, Number.POSITIVE_INFINITY, 'part', ended);
  }

  #begin(steps: SyncSteps, sizeBytes: number, covers: 'all' | 'part', ended: (error: unknown) => void): void {
    if (!this.#settler) {
      syncAtOnce(steps);
      ended(undefined);
      return;
    }
    let failure: { readonly error: unknown } | undefined;
    let over = false;
    let returned = false;
    this.#settler.start(steps, sizeBytes, (error) => {
      over = true;
      this.#active = undefined;
      if (!returned && error !== undefined) failure = { error };
      else ended(error);
    });
    returned = true;
    if (failure) throw failure.error;
    if (!over) this.#active = covers;
  }
}
