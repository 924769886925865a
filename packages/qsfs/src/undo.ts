// Undoing what was begun, when it ends or comes to nothing.

/** What has to be undone, in the order it was done. */
export class Undo {
  readonly #steps: { readonly what: string; readonly act: () => void | Promise<void> }[] = [];

  add(what: string, act: () => void | Promise<void>): void {
    this.#steps.push({ what, act });
  }

  /** Undoes everything, last first; a failing step does not keep the others from running. */
  async run(failed: (what: string, error: unknown) => void): Promise<void> {
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        await step.act();
      } catch (error) {
        failed(step.what, error);
      }
    }
  }
}
