// Random operations against a plain map: reads, walks, history and accounting agree with it at every step, over commits, rotations,
// reopening, failing writes, flushes and compaction.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedClock, SimulatedDisk } from '@qsfs/io/simulated';
import fc from 'fast-check';
import type { Engine, Namespace, NamespaceMode, SyncPolicy } from '../src/index.ts';
import { idKey, openSimulated } from './scratch.ts';

interface Version {
  readonly value: string;
  readonly timestamp: number;
}

/** Live keys in hex, in the order of their last write, with all versions of their present life, newest first. */
type Model = Map<string, Version[]>;

type Operation =
  | { readonly kind: 'set'; readonly key: number; readonly size: number; readonly salt: number }
  | { readonly kind: 'remove'; readonly key: number }
  | { readonly kind: 'commit' | 'sync' | 'rotate' | 'reopen' | 'reload' | 'kill' | 'flush' | 'compact' }
  | {
      readonly kind: 'fail';
      readonly skip: number;
      readonly code: 'ENOSPC' | 'EIO';
      readonly partial: number;
    };

const operations: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('set' as const),
      key: fc.nat(9),
      size: fc.oneof({ weight: 8, arbitrary: fc.nat(30) }, { weight: 1, arbitrary: fc.nat(300_000) }),
      salt: fc.nat(2),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('remove' as const), key: fc.nat(9) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('commit' as const) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom('sync', 'rotate', 'reopen', 'reload', 'kill', 'compact' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('flush' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('fail' as const),
      skip: fc.nat(6),
      code: fc.constantFrom('ENOSPC', 'EIO' as const),
      partial: fc.nat(40),
    }),
  },
);

class Harness {
  disk = new SimulatedDisk();
  readonly clock = new SimulatedClock();
  readonly mode: NamespaceMode;
  readonly sync: SyncPolicy;
  readonly indexTailBytes: number;
  engine: Engine;
  model: Model = new Map();
  /** The model at the last commit: what a failed commit goes back to. */
  #committed: Model = new Map();
  /** Keys whose history compaction may have cut. */
  readonly cut = new Set<string>();
  /** Not from 0 on: at that time the first record of a namespace, an empty one, is all zeros, as if it were torn (data-scanner.ts). */
  #next = 1;

  constructor(mode: NamespaceMode, sync: SyncPolicy, indexTailBytes: number) {
    this.mode = mode;
    this.sync = sync;
    this.indexTailBytes = indexTailBytes;
    this.engine = this.#open();
  }

  get namespace(): Namespace {
    return this.engine.namespace('default')!;
  }

  run(operation: Operation): void {
    switch (operation.kind) {
      case 'set':
        this.#set(operation.key, operation.size, operation.salt);
        return;
      case 'remove':
        this.#remove(operation.key);
        return;
      case 'commit':
        this.engine.commit();
        break;
      case 'sync':
        this.namespace.sync();
        break;
      case 'rotate':
        this.namespace.rotate();
        break;
      case 'reload':
        this.engine.reload('default');
        break;
      case 'reopen':
        this.engine.close();
        this.engine = this.#open();
        break;
      case 'kill':
        // Uncommitted operations are lost with the process.
        this.disk = this.disk.kill();
        this.engine = this.#open();
        this.model = copy(this.#committed);
        return;
      case 'flush':
        this.namespace.flush();
        this.model = new Map();
        break;
      case 'compact':
        this.namespace.compact(0.7, 1 << 30);
        for (const key of this.model.keys()) this.cut.add(key);
        break;
      case 'fail':
        this.#failCommit(operation.skip, operation.code, operation.partial);
        return;
    }
    this.#committed = copy(this.model);
  }

  check(): void {
    const { namespace, model } = this;
    assert.equal(namespace.entries, model.size);
    let dataBytes = 0;
    let keyBytes = 0;
    for (const [hex, versions] of model) {
      const key = Buffer.from(hex, 'hex');
      const [newest] = versions;
      assert.equal(Buffer.from(namespace.get(key)!).toString(), newest!.value);
      this.#checkCopies(key, newest!.value);
      assert.equal(namespace.check(key), 'intact');
      assert.equal(namespace.info(key)!.timestamp, newest!.timestamp);
      dataBytes += newest!.value.length;
      keyBytes += key.length;
      if (this.mode === 'seq') {
        const id = key.readUIntLE(0, 6);
        assert.equal(Buffer.from(namespace.readId(id)!).toString(), newest!.value);
        const part = Buffer.alloc(7);
        const got = namespace.readIdInto(id, 2, part);
        assert.equal(part.subarray(0, got).toString(), newest!.value.slice(2, 9));
        assert.equal(namespace.lengthOfId(id), newest!.value.length);
      }
      this.#checkHistory(key, versions);
    }
    assert.equal(namespace.dataSizeBytes, dataBytes);
    assert.equal(namespace.indexSizeBytes, model.size * 64 + keyBytes);
    const live = namespace.dataFiles().reduce((sum, file) => sum + file.liveBytes, 0);
    assert.equal(live, dataBytes + keyBytes + 18 * model.size);
    this.#checkWalks();
  }

  /** Read as a server does, often enough to come out of the data cache. */
  #checkCopies(key: Buffer, value: string): void {
    const { namespace } = this;
    const target = Buffer.alloc(64);
    for (let reads = 0; reads < 3; reads++) {
      assert.equal(namespace.find(key), value.length);
      if (value.length > 60) {
        assert.equal(Buffer.from(namespace.readFound(key)).toString(), value);
        continue;
      }
      namespace.copyFound(key, target, 3);
      assert.equal(target.subarray(3, 3 + value.length).toString(), value);
    }
  }

  #checkHistory(key: Buffer, versions: Version[]): void {
    let cursor: Uint8Array | undefined;
    for (const [number, version] of versions.entries()) {
      const entry = this.namespace.history(key, cursor);
      assert.equal(Buffer.from(entry.payload).toString(), version.value);
      assert.equal(entry.timestamp, version.timestamp);
      cursor = entry.older;
      if (cursor === undefined) {
        if (!this.cut.has(key.toString('hex'))) assert.equal(number, versions.length - 1);
        return;
      }
      if (number < versions.length - 1 && this.cut.has(key.toString('hex'))) return;
    }
    assert.equal(cursor, undefined);
  }

  #checkWalks(): void {
    const forward = walk(this.namespace, 'forward');
    assert.deepEqual(walk(this.namespace, 'backward').reverse(), forward);
    const expected = [...this.model.keys()];
    if (this.mode === 'seq') expected.sort((a, b) => idOf(a) - idOf(b));
    if (this.mode === 'seq' || this.cut.size === 0) assert.deepEqual(forward, expected);
    else assert.deepEqual([...forward].sort(), [...expected].sort());
  }

  #set(keyNumber: number, size: number, salt: number): void {
    const timestamp = this.#next++;
    const value = String.fromCharCode(97 + salt).repeat(size);
    const { namespace, model } = this;
    if (this.mode === 'user') {
      const key = Buffer.from(`key ${keyNumber}`);
      const hex = key.toString('hex');
      const versions = model.get(hex);
      const given = namespace.set(key, Buffer.from(value), timestamp);
      if (versions?.[0]?.value === value) {
        assert.equal(given, undefined);
        return;
      }
      model.delete(hex);
      model.set(hex, [{ value, timestamp }, ...(versions ?? [])]);
      return;
    }
    const live = [...model.keys()];
    const hex = keyNumber < 5 ? undefined : live[keyNumber % Math.max(1, live.length)];
    if (hex === undefined) {
      const id = namespace.nextId;
      const key = namespace.set(
        new Uint8Array(0),
        [Buffer.from(value.slice(0, 3)), Buffer.from(value.slice(3))],
        timestamp,
      )!;
      assert.deepEqual(Buffer.from(key), Buffer.from(idKey(id)));
      model.set(Buffer.from(key).toString('hex'), [{ value, timestamp }]);
      return;
    }
    const versions = model.get(hex)!;
    const given = namespace.set(Buffer.from(hex, 'hex'), Buffer.from(value), timestamp);
    if (versions[0]!.value === value) {
      assert.equal(given, undefined);
      return;
    }
    model.set(hex, [{ value, timestamp }, ...versions]);
  }

  #remove(keyNumber: number): void {
    const live = [...this.model.keys()];
    const hex = live[keyNumber % Math.max(1, live.length)];
    if (hex === undefined) {
      assert.equal(this.namespace.remove(Buffer.from('nothing')), false);
      return;
    }
    assert.equal(this.namespace.remove(Buffer.from(hex, 'hex')), true);
    assert.equal(this.namespace.remove(Buffer.from(hex, 'hex')), false);
    this.model.delete(hex);
    this.cut.delete(hex);
  }

  /** A commit during which a write fails takes everything back; the next one works. */
  #failCommit(skip: number, code: 'ENOSPC' | 'EIO', partialBytes: number): void {
    const stop = this.disk.fail({ code, kinds: ['write', 'datasync', 'create'], skip, partialBytes });
    try {
      this.engine.commit();
      this.#committed = copy(this.model);
    } catch (error) {
      assert.equal((error as { code?: string }).code, code);
      this.model = copy(this.#committed);
      assert.equal(this.engine.pendingBytes, 0);
    } finally {
      stop();
    }
  }

  #open(): Engine {
    return openSimulated(this.disk, {
      clock: this.clock,
      mode: this.mode,
      sync: this.sync,
      indexCacheBytes: 1,
      indexTailBytes: this.indexTailBytes,
      dataCacheBytes: 16_384,
    });
  }
}

function copy(model: Model): Model {
  return new Map([...model].map(([key, versions]) => [key, [...versions]]));
}

function idOf(hex: string): number {
  return Buffer.from(hex, 'hex').readUIntLE(0, 6);
}

function walk(namespace: Namespace, direction: 'forward' | 'backward'): string[] {
  const keys: string[] = [];
  for (let cursor: Uint8Array | undefined; ; ) {
    const batch = namespace.scan(direction, cursor, { entries: 3 });
    if (!batch) return keys;
    for (const { key } of batch.entries) keys.push(Buffer.from(key).toString('hex'));
    cursor = batch.cursor;
  }
}

for (const mode of ['user', 'seq'] as const) {
  for (const [name, sync, indexTailBytes] of [
    ['never synced', 'none', 0],
    ['never synced, index entries wait', 'none', 200],
    ['always synced', 'always', 0],
    ['synced now and then', { everySeconds: 0 }, 0],
  ] as [string, SyncPolicy, number][]) {
    test(`random operations agree with a map: ${mode} mode, ${name}`, () => {
      fc.assert(
        fc.property(fc.array(operations, { minLength: 1, maxLength: 60 }), (list) => {
          const harness = new Harness(mode, sync, indexTailBytes);
          for (const operation of list) {
            harness.run(operation);
            harness.check();
          }
          harness.run({ kind: 'reopen' });
          harness.check();
        }),
        { numRuns: Number(process.env['ZDB_MODEL_RUNS'] ?? 60) },
      );
    });
  }
}
