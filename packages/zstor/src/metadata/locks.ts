// One at a time per key: changes of one record must not overlap within this process.

/** Locks by key; a key that nobody holds costs nothing. */
export class KeyedLocks {
  readonly #tails = new Map<string, Promise<void>>();

  /** Runs `call` when everyone who asked for the key before is done. */
  async run<T>(key: string, call: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const result = before.then(call);
    const tail = result.then(
      () => {},
      () => {},
    );
    this.#tails.set(key, tail);
    try {
      return await result;
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }
}
