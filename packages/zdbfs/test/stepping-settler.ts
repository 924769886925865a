// A settler that does one step when it is told to, so that a test can look at what happens in between.
import type { SyncSteps, Unstable } from '@qsfs/io';
import { type Settler, Settling } from '../src/settling.ts';
import type { Volume } from '../src/volume.ts';
import { ROOT } from './volume-fixture.ts';

interface Work {
  readonly steps: SyncSteps;
  readonly ended: (error: unknown) => void;
  asked: Unstable | undefined;
}

export class SteppingSettler implements Settler {
  #work: Work | undefined;
  /** What the last piece of work ended with. */
  failure: unknown;
  /** Steps done so far. */
  count = 0;

  start(steps: SyncSteps, _sizeBytes: number, ended: (error: unknown) => void): void {
    this.#work = { steps, ended, asked: undefined };
    this.failure = undefined;
    this.#advance(() => steps.next());
  }

  get busy(): boolean {
    return this.#work !== undefined;
  }

  /** Syncs what the work asked for and goes on with it. */
  step(): void {
    const { steps, asked } = this.#work as Work;
    this.count += 1;
    try {
      asked?.sync();
    } catch (error) {
      this.#advance(() => steps.throw(error));
      return;
    }
    this.#advance(() => steps.next());
  }

  /** Makes a call as a session would: waits where it has to, and reads all the while. @throws what the call, or the work it waits for, ends with */
  call(volume: Volume, call: (volume: Volume) => void): void {
    for (;;) {
      let covered: boolean;
      try {
        call(volume);
        return;
      } catch (error) {
        if (!(error instanceof Settling)) throw error;
        covered = error.covered;
      }
      while (this.busy) {
        this.step();
        volume.getAttributes(ROOT);
        volume.lookup(ROOT, 'large');
      }
      if (!covered) continue;
      if (this.failure) throw this.failure;
      return;
    }
  }

  #advance(resume: () => IteratorResult<Unstable | undefined, void>): void {
    const work = this.#work as Work;
    try {
      const step = resume();
      if (!step.done) {
        work.asked = step.value;
        return;
      }
    } catch (error) {
      this.failure = error;
    }
    this.#work = undefined;
    work.ended(this.failure);
  }
}
