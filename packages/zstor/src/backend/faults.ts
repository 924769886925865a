// Stores that misbehave on demand, for tests and drills: every failure a real backend has shown, switched by hand.
import {
  type Backend,
  BackendError,
  type CallOptions,
  type GetOptions,
  type RecordStore,
  type ShardLocation,
  type ShardStore,
  type SpaceReport,
} from './backend.ts';

/** How a store misbehaves now. */
export interface Faults {
  /** `refuse`: every call fails at once. `freeze`: nothing answers until thawed or reset. */
  mode: 'healthy' | 'refuse' | 'freeze';
  /** Writes fail: no room. */
  full: boolean;
  /** Values read are changed: gets the bytes, answers others. */
  corrupt: ((content: Uint8Array) => Uint8Array) | undefined;
  /** Calls that were made, by operation. */
  readonly calls: Map<string, number>;
  /** Called before each operation; throw or wait here to fail or order things exactly. */
  before: ((operation: string) => Promise<void> | void) | undefined;
  /** What is told of arrivals instead of the truth (`ShardStore.gotBytes`). */
  gotBytes: (() => number) | undefined;
}

/** A healthy store's faults. */
export function noFaults(): Faults {
  return {
    mode: 'healthy',
    full: false,
    corrupt: undefined,
    calls: new Map(),
    before: undefined,
    gotBytes: undefined,
  };
}

class FaultyBackend<Store extends Backend> implements Backend {
  readonly name: string;
  readonly faults: Faults;
  protected readonly store: Store;
  readonly #frozen = new Set<(error: BackendError) => void>();

  constructor(store: Store, faults: Faults) {
    this.name = store.name;
    this.store = store;
    this.faults = faults;
  }

  protected async run<T>(operation: string, call: () => Promise<T>): Promise<T> {
    const { faults } = this;
    faults.calls.set(operation, (faults.calls.get(operation) ?? 0) + 1);
    await faults.before?.(operation);
    if (faults.mode === 'refuse') throw new BackendError(this.name, 'unreachable', 'refused (injected)');
    if (faults.mode === 'freeze') {
      await new Promise<never>((_, reject) => this.#frozen.add(reject));
    }
    if (faults.full && (operation === 'put' || operation === 'set')) {
      throw new BackendError(this.name, 'full', 'no room (injected)');
    }
    return call();
  }

  protected corrupted(content: Uint8Array | undefined): Uint8Array | undefined {
    return content && this.faults.corrupt ? this.faults.corrupt(content) : content;
  }

  ping(options?: CallOptions): Promise<void> {
    return this.run('ping', () => this.store.ping(options));
  }

  space(options?: CallOptions): Promise<SpaceReport> {
    return this.run('space', () => this.store.space(options));
  }

  get arrivedBytes(): number {
    return this.store.arrivedBytes;
  }

  reset(reason: string): void {
    for (const reject of this.#frozen) reject(new BackendError(this.name, 'unreachable', reason));
    this.#frozen.clear();
    this.store.reset(reason);
  }

  async close(): Promise<void> {
    this.reset('closed');
    await this.store.close();
  }
}

/** A shard store with faults. */
export class FaultyShardStore extends FaultyBackend<ShardStore> implements ShardStore {
  get gotBytes(): number {
    return this.faults.gotBytes?.() ?? this.store.gotBytes;
  }

  identify(options?: CallOptions): Promise<string> {
    return this.run('identify', () => this.store.identify(options));
  }

  get nextKey(): number | undefined {
    return this.store.nextKey;
  }

  put(content: Uint8Array, options?: CallOptions): Promise<ShardLocation> {
    return this.run('put', () => this.store.put(content, options));
  }

  get(location: ShardLocation, options?: GetOptions): Promise<Uint8Array | undefined> {
    return this.run('get', async () => this.corrupted(await this.store.get(location, options)));
  }

  length(location: ShardLocation, options?: CallOptions): Promise<number | undefined> {
    return this.run('length', () => this.store.length(location, options));
  }

  check(location: ShardLocation, options?: CallOptions): Promise<'good' | 'bad' | 'missing'> {
    return this.run('check', () => this.store.check(location, options));
  }

  delete(location: ShardLocation, options?: CallOptions): Promise<void> {
    return this.run('delete', () => this.store.delete(location, options));
  }
}

/** A record store with faults. */
export class FaultyRecordStore extends FaultyBackend<RecordStore> implements RecordStore {
  probe(options?: CallOptions): Promise<void> {
    return this.run('probe', () => this.store.probe(options));
  }

  get(key: string, options?: CallOptions): Promise<Uint8Array | undefined> {
    return this.run('get', async () => this.corrupted(await this.store.get(key, options)));
  }

  set(key: string, content: Uint8Array, options?: CallOptions): Promise<void> {
    return this.run('set', () => this.store.set(key, content, options));
  }

  delete(key: string, options?: CallOptions): Promise<void> {
    return this.run('delete', () => this.store.delete(key, options));
  }

  async *keys(prefix: string, options?: CallOptions): AsyncIterable<readonly string[]> {
    const pages = this.store.keys(prefix, options)[Symbol.asyncIterator]();
    for (;;) {
      const page = await this.run('keys', () => pages.next());
      if (page.done) return;
      yield page.value;
    }
  }
}
