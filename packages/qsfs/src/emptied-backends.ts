// Local backends that began empty although the volume has its part on them: somebody removed their files, or replaced their
// disk. The records still say that the shards are there, so nothing of them is believed until everything was looked at and
// what is missing was written again. The marks (local-backends.ts) outlive us: a kill in the middle begins anew.
import type { Clock, Timer } from '@qsfs/io';
import { messageOf } from './errors.ts';
import type { Frontend } from './frontend.ts';
import type { LocalBackends } from './local-backends.ts';
import type { Log } from './log-file.ts';

const LOOK_MS = 5000;

/** Follows the marks for one running frontend. */
export class EmptiedBackends {
  readonly #clock: Clock;
  readonly #local: LocalBackends;
  readonly #frontend: Frontend;
  readonly #log: Log;
  #doubted = new Set<string>();
  #timer: Timer | undefined;
  #closed = false;

  constructor(clock: Clock, local: LocalBackends, frontend: Frontend, log: Log) {
    this.#clock = clock;
    this.#local = local;
    this.#frontend = frontend;
    this.#log = log;
  }

  /** @param fresh the volume is made now: every backend is empty and lacks nothing */
  begin(fresh: boolean): void {
    if (fresh) this.#local.accept(this.#local.emptied());
    void this.#look();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    try {
      const emptied = this.#local.emptied();
      const news = emptied.filter((name) => !this.#doubted.has(name));
      this.#doubted = new Set(emptied);
      if (news.length > 0) {
        this.#log('warning', `began empty: ${news.join(', ')}; what is missing there is written again`);
        await this.#frontend.backendWiped();
      } else if (emptied.length > 0 && this.#isWhole()) {
        this.#local.accept(emptied);
        this.#log('info', `has its part again: ${emptied.join(', ')}`);
      }
    } catch (error) {
      this.#log('warning', `emptied backends: ${messageOf(error)}`);
    }
    if (!this.#closed) this.#timer = this.#clock.after(LOOK_MS, () => void this.#look(), true);
  }

  #isWhole(): boolean {
    const { offload, syncPoints } = this.#frontend;
    return offload.status.degradedFiles === 0 && syncPoints.degradedObjects === 0;
  }
}
