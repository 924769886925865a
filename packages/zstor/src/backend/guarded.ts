// The two kinds of store with a guard around every call.

import type { Clock } from '@qsfs/io';
import {
  type CallOptions,
  type GetOptions,
  isBackendError,
  type RecordStore,
  type ShardLocation,
  type ShardStore,
  type SpaceReport,
} from './backend.ts';
import { Guard } from './guard.ts';
import { Health } from './health.ts';

/** A store that refused a write is not written to for this long. */
const UNWRITABLE_MS = 30_000;
/** One that was full may have room again as soon as something was removed: its space report tells. */
const FULL_MS = 3000;

/** Why a store that is up takes nothing. */
export interface Unwritable {
  readonly kind: 'full' | 'unwritable' | 'refused';
  /** Without the store's name. */
  readonly reason: string;
}

/** A shard store whose calls fail at once while it is down. */
export class GuardedShardStore implements ShardStore {
  readonly name: string;
  readonly health: Health;
  readonly #store: ShardStore;
  readonly #guard: Guard;
  /** Called when the store is found to be another one than before: what it held is lost. */
  emptied: () => void = () => {};
  #incarnation: string | undefined;
  readonly #clock: Clock;
  #unwritable: Unwritable & { readonly untilMs: number } = {
    kind: 'full',
    reason: '',
    untilMs: Number.NEGATIVE_INFINITY,
  };

  constructor(store: ShardStore, clock: Clock) {
    this.name = store.name;
    this.#clock = clock;
    this.#store = store;
    this.health = new Health(store, clock, async () => {
      // A store that comes back may be another one: wiped, or replaced under the same address.
      this.#identified(await store.identify());
    });
    this.#guard = new Guard(store, this.health, clock);
  }

  get load(): number {
    return this.#guard.load;
  }

  /** The incarnation last seen; '' when the store has none; undefined before it was asked. */
  get incarnation(): string | undefined {
    return this.#incarnation;
  }

  get nextKey(): number | undefined {
    return this.#store.nextKey;
  }

  #identified(incarnation: string): void {
    const before = this.#incarnation;
    this.#incarnation = incarnation;
    if (before && before !== incarnation) this.emptied();
  }

  async identify(options?: CallOptions): Promise<string> {
    const incarnation = await this.#guard.run(() => this.#store.identify(options));
    this.#identified(incarnation);
    return incarnation;
  }

  async put(content: Uint8Array, options?: CallOptions): Promise<ShardLocation> {
    try {
      const location = await this.#guard.run(() => this.#store.put(content, options), {
        sentBytes: content.length,
      });
      this.#identified(location.incarnation);
      return location;
    } catch (error) {
      if (isBackendError(error)) {
        const { failure, reason } = error;
        if (failure === 'full' || failure === 'unwritable' || failure === 'refused')
          this.distrust(reason, failure);
      }
      throw error;
    }
  }

  /** Nothing is written there for a while: it did not take, or did not keep, what it was given. */
  distrust(reason: string, kind: Unwritable['kind'] = 'refused'): void {
    const forMs = kind === 'refused' ? UNWRITABLE_MS : FULL_MS;
    this.#unwritable = { kind, reason, untilMs: this.#clock.monotonicMs() + forMs };
  }

  /** Why nothing can be written there just now, although it is up; undefined when it can. */
  get unwritable(): Unwritable | undefined {
    const { kind, reason, untilMs } = this.#unwritable;
    return this.#clock.monotonicMs() < untilMs ? { kind, reason } : undefined;
  }

  get(location: ShardLocation, options?: GetOptions): Promise<Uint8Array | undefined> {
    return this.#guard.run(() => this.#store.get(location, options), { isMeasured: true });
  }

  length(location: ShardLocation, options?: CallOptions): Promise<number | undefined> {
    return this.#guard.run(() => this.#store.length(location, options));
  }

  check(location: ShardLocation, options?: CallOptions): Promise<'good' | 'bad' | 'missing'> {
    return this.#guard.run(() => this.#store.check(location, options));
  }

  delete(location: ShardLocation, options?: CallOptions): Promise<void> {
    return this.#guard.run(() => this.#store.delete(location, options));
  }

  /** Also makes sure that it still is what it was: it can be emptied while we are connected. */
  async space(options?: CallOptions): Promise<SpaceReport> {
    await this.identify(options);
    return this.#guard.run(() => this.#store.space(options));
  }

  ping(options?: CallOptions): Promise<void> {
    return this.#guard.run(() => this.#store.ping(options), { isMeasured: true });
  }

  get arrivedBytes(): number {
    return this.#store.arrivedBytes;
  }

  get gotBytes(): number {
    return this.#store.gotBytes;
  }

  reset(reason: string): void {
    this.#store.reset(reason);
  }

  async close(): Promise<void> {
    this.health.close();
    await this.#store.close();
  }
}

/** A record store whose calls fail at once while it is down. */
export class GuardedRecordStore implements RecordStore {
  readonly name: string;
  readonly health: Health;
  readonly #store: RecordStore;
  readonly #guard: Guard;

  constructor(store: RecordStore, clock: Clock) {
    this.name = store.name;
    this.#store = store;
    this.health = new Health(store, clock, () => store.probe());
    this.#guard = new Guard(store, this.health, clock);
  }

  probe(options?: CallOptions): Promise<void> {
    return this.#guard.run(() => this.#store.probe(options));
  }

  get(key: string, options?: CallOptions): Promise<Uint8Array | undefined> {
    return this.#guard.run(() => this.#store.get(key, options), { isMeasured: true });
  }

  set(key: string, content: Uint8Array, options?: CallOptions): Promise<void> {
    return this.#guard.run(() => this.#store.set(key, content, options), { sentBytes: content.length });
  }

  delete(key: string, options?: CallOptions): Promise<void> {
    return this.#guard.run(() => this.#store.delete(key, options));
  }

  async *keys(prefix: string, options?: CallOptions): AsyncIterable<readonly string[]> {
    const pages = this.#store.keys(prefix, options)[Symbol.asyncIterator]();
    for (;;) {
      const page = await this.#guard.run(() => pages.next());
      if (page.done) return;
      yield page.value;
    }
  }

  space(options?: CallOptions): Promise<SpaceReport> {
    return this.#guard.run(() => this.#store.space(options));
  }

  ping(options?: CallOptions): Promise<void> {
    return this.#guard.run(() => this.#store.ping(options), { isMeasured: true });
  }

  get arrivedBytes(): number {
    return this.#store.arrivedBytes;
  }

  reset(reason: string): void {
    this.#store.reset(reason);
  }

  async close(): Promise<void> {
    this.health.close();
    await this.#store.close();
  }
}
