// Metadata writes that are cut off, one after the other, on whatever stores: what was acknowledged is never lost.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { realRandom } from '@qsfs/io';
import { SimulatedClock } from '@qsfs/io/simulated';
import fc from 'fast-check';
import { BackendError, type RecordStore } from '../src/backend/backend.ts';
import { GuardedRecordStore } from '../src/backend/guarded.ts';
import { lowestWriteQuorum } from '../src/config/parse.ts';
import { ZstorError } from '../src/errors.ts';
import { MetadataCluster } from '../src/metadata/cluster.ts';
import { deriveMetadataKeys, recordKey } from '../src/metadata/part.ts';

const keys = deriveMetadataKeys(new Uint8Array(32).fill(5), 'test');
const KEY = recordKey(keys, 'name');

/** A crash of the writer: no error of a backend. */
class Crash extends Error {}

/** Stores in memory, and a process that works with them and may be cut off. */
class Stores {
  readonly count: number;
  readonly contents: Map<string, Uint8Array>[];
  readonly #minimalStores: number;
  /** Stores that do not answer. */
  silent: ReadonlySet<number> = new Set();
  /** Stores a dying writer still reaches, and how many writes of it arrive at all. */
  reached: ReadonlySet<number> | undefined;
  budget = Number.POSITIVE_INFINITY;
  readonly #clock = new SimulatedClock();

  constructor(count: number, minimalStores: number) {
    this.count = count;
    this.#minimalStores = minimalStores;
    this.contents = Array.from({ length: count }, () => new Map<string, Uint8Array>());
  }

  /** A new process. */
  async session<T>(call: (cluster: MetadataCluster) => Promise<T>): Promise<T> {
    const minimalStores = this.#minimalStores;
    await this.#clock.run(20_000);
    const cluster = new MetadataCluster({
      stores: this.contents.map((_, index) => new GuardedRecordStore(this.#store(index), this.#clock)),
      keys,
      minimalStores,
      writeQuorum: lowestWriteQuorum(this.count, minimalStores),
      clock: this.#clock,
      random: realRandom,
    });
    try {
      return await call(cluster);
    } finally {
      await cluster.close();
    }
  }

  #store(index: number): RecordStore {
    const contents = this.contents[index]!;
    const answer = <T>(call: () => T): Promise<T> =>
      this.silent.has(index)
        ? Promise.reject(new BackendError(`m${index}`, 'unreachable', 'silent'))
        : Promise.resolve(call());
    return {
      name: `m${index}`,
      arrivedBytes: 0,
      ping: () => answer(() => undefined),
      probe: () => answer(() => undefined),
      space: () => answer(() => ({ usedBytes: 0, freeBytes: 0, entries: 0 })),
      get: (key) => answer(() => contents.get(key)),
      set: async (key, content) => {
        await answer(() => undefined);
        if (this.reached && (!this.reached.has(index) || this.budget-- <= 0)) throw new Crash();
        contents.set(key, content);
      },
      delete: (key) => answer(() => void contents.delete(key)),
      keys: async function* () {
        yield await answer(() => [...contents.keys()]);
      },
      reset: () => {},
      close: () => Promise.resolve(),
    };
  }

  /** Writes `text`; a writer that dies reaches only some stores. @returns whether it was acknowledged */
  async write(
    text: string,
    reached?: ReadonlySet<number>,
    budget = Number.POSITIVE_INFINITY,
  ): Promise<boolean> {
    return this.session((cluster) =>
      cluster.locked(KEY, async () => {
        const seen = await cluster.look(KEY, true);
        this.reached = reached;
        this.budget = budget;
        try {
          await cluster.write(KEY, Buffer.from(text), seen);
          return true;
        } finally {
          this.reached = undefined;
        }
      }),
    ).catch((error: unknown) => {
      if (error instanceof Crash || error instanceof ZstorError) return false;
      throw error;
    });
  }

  /** What a reader finds; 'unavailable' when it cannot be known. */
  async read(): Promise<string | undefined> {
    return this.session(async (cluster) => {
      try {
        const found = await cluster.read(KEY);
        return found?.content && Buffer.from(found.content).toString();
      } catch (error) {
        if (error instanceof ZstorError && error.code === 'QSFS_E_UNAVAILABLE') return 'unavailable';
        throw error;
      }
    });
  }
}

function subset(count: number, bits: number): Set<number> {
  return new Set(Array.from({ length: count }, (_, index) => index).filter((index) => bits & (1 << index)));
}

for (const [minimalStores, stale] of [
  [2, 3],
  [2, -1],
  [3, -1],
] as const) {
  const code = `${minimalStores} of 4, ${stale < 0 ? 'none' : 'one'} of them stale`;
  test(`two writes in a row cut off on any stores of four (${code}): nothing is lost, nothing is mixed`, async () => {
    const count = 4;
    for (let first = 0; first < 2 ** count - 1; first++) {
      for (let second = 0; second < 2 ** count - 1; second++) {
        const stores = new Stores(count, minimalStores);
        const where = `reached ${first.toString(2)} and ${second.toString(2)}`;
        assert.ok(await stores.write('0'));
        stores.silent = new Set(stale < 0 ? [] : [stale]);
        assert.ok(await stores.write('1'));
        await stores.write('2', subset(count, first));
        await stores.write('3', subset(count, second));
        stores.silent = new Set();
        assert.match((await stores.read()) ?? 'nothing', /^[123]$/, where);
        stores.silent = new Set([2]);
        assert.match((await stores.read()) ?? 'nothing', /^([123]|unavailable)$/, `${where}, one silent`);
        stores.silent = new Set();
        assert.ok(await stores.write('4'), where);
        stores.silent = new Set([0]);
        assert.equal(await stores.read(), '4', where);
      }
    }
  });
}

test('any history of acknowledged and interrupted writes and repairs: readers find the last acknowledged value or a later one', async () => {
  const history = fc.integer({ min: 1, max: 8 }).chain((count) =>
    fc.record({
      count: fc.constant(count),
      minimalStores: fc.integer({ min: 1, max: count }),
      steps: fc.array(
        fc.record({
          kind: fc.constantFrom('write', 'cut', 'cut', 'cut', 'read', 'reconcile'),
          silent: fc.nat({ max: 2 ** count - 1 }),
          fewer: fc.nat({ max: 2 ** count - 1 }),
          reached: fc.nat({ max: 2 ** count - 1 }),
          budget: fc.nat({ max: 2 * count }),
        }),
        { maxLength: 10 },
      ),
    }),
  );
  await fc.assert(
    fc.asyncProperty(history, async ({ count, minimalStores, steps }) => {
      const stores = new Stores(count, minimalStores);
      let acknowledged = (await stores.write('0')) ? 0 : -1;
      const inspect = async (): Promise<void> => {
        const found = await stores.read();
        if (found === 'unavailable') return assert.notEqual(stores.silent.size, 0, 'all answer');
        assert.ok(Number(found) >= acknowledged, `found ${found}, acknowledged ${acknowledged}`);
      };
      for (const [index, { kind, silent, fewer, reached, budget }] of steps.entries()) {
        stores.silent = subset(count, silent & fewer);
        if (kind === 'write' && (await stores.write(`${index + 1}`))) acknowledged = index + 1;
        if (kind === 'cut' && (await stores.write(`${index + 1}`, subset(count, reached), budget)))
          acknowledged = index + 1;
        if (kind === 'reconcile')
          await stores
            .session((cluster) => cluster.reconcile())
            .catch((error: unknown) => {
              if (!(error instanceof ZstorError)) throw error;
            });
        await inspect();
      }
      stores.silent = new Set();
      await inspect();
      assert.ok(await stores.write('99'), 'and writing goes on');
      assert.equal(await stores.read(), '99');
    }),
    { numRuns: 100 },
  );
});
