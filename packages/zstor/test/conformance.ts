// What every backend promises (src/backend/backend.ts), as tests that run against any implementation.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import {
  isBackendError,
  LARGEST_VALUE_BYTES,
  type RecordStore,
  type ShardLocation,
  type ShardStore,
} from '../src/backend/backend.ts';

/** A place that stores can be opened on, again and again. */
export interface Place<Store> {
  open(): Store;
}

/** A place of shards. */
export interface ShardPlace extends Place<ShardStore> {
  /** Takes everything away, as a new disk would. */
  wipe(): Promise<void>;
  /** Changes the stored bytes of every value behind the store's back. */
  damage(): Promise<void>;
}

/** A place that can be made unreachable and reachable again. */
export interface MovablePlace<Store> extends Place<Store> {
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** @param make a fresh, empty place for each test */
export function shardStoreConformance(
  kind: string,
  make: (context: TestContext) => Promise<ShardPlace>,
): void {
  const prepare = async (t: TestContext) => {
    const place = await make(t);
    const open = () => {
      const store = place.open();
      t.after(() => store.close());
      return store;
    };
    return { place, open, store: open() };
  };

  test(`${kind}: values of every size come back as they were`, async (t) => {
    const { store } = await prepare(t);
    const values = [1, 100, 65_536, 262_208, LARGEST_VALUE_BYTES].map((length) => randomBytes(length));
    const locations = await Promise.all(values.map((value) => store.put(value)));
    assert.equal(new Set(locations.map(({ key }) => key)).size, values.length);
    for (const [index, location] of locations.entries()) {
      assert.ok(Number.isSafeInteger(location.key) && location.key >= 0);
      assert.ok(values[index]!.equals((await store.get(location))!));
      const into = new Uint8Array(values[index]!.length);
      const placed = await store.get(location, { into });
      assert.equal(placed?.buffer, into.buffer, 'the memory that was offered is used');
      assert.ok(values[index]!.equals(into));
      const short = await store.get(location, { into: new Uint8Array(values[index]!.length - 1) });
      assert.ok(values[index]!.equals(short!), 'memory that is too short is not');
      assert.equal(await store.check(location), 'good');
      assert.equal(await store.length(location), values[index]!.length);
    }
  });

  test(`${kind}: many calls at the same time do not mix`, async (t) => {
    const { store } = await prepare(t);
    const values = Array.from({ length: 200 }, (_, index) => Buffer.alloc(1 + index * 17, index));
    const locations = await Promise.all(values.map((value) => store.put(value)));
    const back = await Promise.all(locations.map((location) => store.get(location)));
    for (const [index, value] of values.entries()) assert.ok(value.equals(back[index]!));
  });

  test(`${kind}: what one opening stored another one finds, and the incarnation stays`, async (t) => {
    const { store, open } = await prepare(t);
    const location = await store.put(Buffer.from('value'));
    assert.match(location.incarnation, /^[0-9a-f]{16}$/);
    assert.equal(await store.identify(), location.incarnation);
    await store.close();
    const other = open();
    assert.equal(await other.identify(), location.incarnation);
    assert.equal(Buffer.from((await other.get(location))!).toString(), 'value');
    assert.equal((await other.put(Buffer.from('more'))).incarnation, location.incarnation);
  });

  test(`${kind}: two that start on an empty store agree on its incarnation`, async (t) => {
    const { store, open } = await prepare(t);
    assert.equal(await store.identify(), '', 'an empty store has none, and looking does not make one');
    const other = open();
    const [one, two] = await Promise.all([store.put(Buffer.from('1')), other.put(Buffer.from('2'))]);
    assert.equal(one.incarnation, two.incarnation);
    assert.equal(Buffer.from((await store.get(two))!).toString(), '2');
  });

  test(`${kind}: missing and deleted values are missing, and deleting twice is fine`, async (t) => {
    const { store } = await prepare(t);
    const location = await store.put(Buffer.from('value'));
    const never = { incarnation: location.incarnation, key: location.key + 1000 };
    assert.equal(await store.get(never), undefined);
    assert.equal(await store.check(never), 'missing');
    assert.equal(await store.length(never), undefined);
    await store.delete(never);
    await store.delete(location);
    await store.delete(location);
    assert.equal(await store.get(location), undefined);
    assert.equal(await store.check(location), 'missing');
  });

  test(`${kind}: a location of another incarnation is missing, and deleting it deletes nothing`, async (t) => {
    const { store } = await prepare(t);
    const location = await store.put(Buffer.from('value'));
    const other = { ...location, incarnation: '0123456789abcdef' };
    assert.equal(await store.get(other), undefined);
    assert.equal(await store.check(other), 'missing');
    await store.delete(other);
    assert.equal(Buffer.from((await store.get(location))!).toString(), 'value');
  });

  test(`${kind}: space and ping answer`, async (t) => {
    const { store } = await prepare(t);
    await store.ping();
    await store.put(new Uint8Array(10_000));
    const { usedBytes, freeBytes, entries } = await store.space();
    assert.ok(usedBytes! >= 10_000 && usedBytes! < 11_000, `${usedBytes}`);
    assert.ok(freeBytes! > 0);
    assert.ok(entries! >= 1 && entries! <= 2);
  });

  test(`${kind}: calls that were given up and calls after close end with an error`, async (t) => {
    const { store, open } = await prepare(t);
    const location = await store.put(Buffer.from('value'));
    const signal = AbortSignal.abort();
    await assert.rejects(store.get(location, { signal }), (error) => isBackendError(error, 'aborted'));
    assert.ok(await store.get(location), 'and the store goes on');
    store.reset('test');
    assert.ok(await store.get(location), 'also after a reset');
    await store.close();
    await assert.rejects(store.get(location), (error) => isBackendError(error, 'unreachable'));
    await assert.rejects(store.put(new Uint8Array(1)), (error) => isBackendError(error, 'unreachable'));
    assert.ok(await open().get(location));
  });

  test(`${kind}: a store that was wiped is another incarnation`, async (t) => {
    const { place, store } = await prepare(t);
    const old = await store.put(Buffer.from('old'));
    await place.wipe();
    store.reset('wiped');
    assert.equal(await store.get(old), undefined);
    const fresh = await store.put(Buffer.from('new'));
    assert.notEqual(fresh.incarnation, old.incarnation);
    await store.delete({ ...fresh, incarnation: old.incarnation });
    assert.equal(Buffer.from((await store.get(fresh))!).toString(), 'new');
  });

  test(`${kind}: a store that is wiped while it is used is another incarnation, at the latest at the second call`, async (t) => {
    const { place, store } = await prepare(t);
    const old: ShardLocation[] = [];
    for (const value of ['a', 'b', 'c']) old.push(await store.put(Buffer.from(value)));
    const [first] = old as [ShardLocation];
    assert.equal(await store.check(first), 'good');
    await place.wipe();
    const twice = <T>(call: () => Promise<T>): Promise<T> =>
      call().catch((error: unknown) => {
        assert.ok(isBackendError(error, 'unreachable'), String(error));
        return call();
      });
    const fresh = await twice(() => store.put(Buffer.from('new')));
    assert.notEqual(fresh.incarnation, first.incarnation);
    assert.equal(await store.identify(), fresh.incarnation);
    for (const location of old) {
      assert.equal(await store.get(location), undefined);
      assert.equal(await store.check(location), 'missing');
      await store.delete(location);
    }
    await store.put(Buffer.from('more'));
    assert.equal(Buffer.from((await store.get(fresh))!).toString(), 'new');
  });

  test(`${kind}: a wiped store that is not written to is noticed when it is asked what it is`, async (t) => {
    const { place, store } = await prepare(t);
    const old = await store.put(Buffer.from('old'));
    assert.equal(await store.identify(), old.incarnation);
    await place.wipe();
    const found = await store.identify().catch(() => store.identify());
    assert.equal(found, '');
    assert.equal(await store.check(old), 'missing');
  });

  test(`${kind}: changed bytes are found by check`, async (t) => {
    const { place, store } = await prepare(t);
    const location = await store.put(randomBytes(10_000));
    await place.damage();
    assert.notEqual(await store.check(location), 'good');
  });
}

/** For stores that do not remember that their place was gone. */
export function outageConformance(
  kind: string,
  make: (
    context: TestContext,
  ) => Promise<{ shards: MovablePlace<ShardStore>; records: MovablePlace<RecordStore> }>,
): void {
  test(`${kind}: while the place is gone calls are unreachable, afterwards everything is there`, async (t) => {
    const { shards, records } = await make(t);
    const shardStore = shards.open();
    t.after(() => shardStore.close());
    const recordStore = records.open();
    t.after(() => recordStore.close());
    const unreachable = (error: unknown) => isBackendError(error, 'unreachable');
    const location = await shardStore.put(Buffer.from('value'));
    await recordStore.set('v2/a', Buffer.from('record'));
    await Promise.all([shards.stop(), records.stop()]);
    await assert.rejects(shardStore.get(location), unreachable);
    await assert.rejects(shardStore.ping(), unreachable);
    await assert.rejects(recordStore.get('v2/a'), unreachable);
    await assert.rejects(recordStore.set('v2/a', Buffer.from('x')), unreachable);
    await Promise.all([shards.start(), records.start()]);
    assert.equal(Buffer.from((await shardStore.get(location))!).toString(), 'value');
    assert.equal((await shardStore.put(Buffer.from('more'))).incarnation, location.incarnation);
    assert.equal(Buffer.from((await recordStore.get('v2/a'))!).toString(), 'record');
  });
}

/** @param make a fresh, empty place for each test */
export function recordStoreConformance(
  kind: string,
  make: (context: TestContext) => Promise<Place<RecordStore>>,
): void {
  const prepare = async (t: TestContext) => {
    const place = await make(t);
    const open = () => {
      const store = place.open();
      t.after(() => store.close());
      return store;
    };
    return { place, open, store: open() };
  };
  const keysOf = async (store: RecordStore, prefix: string) => {
    const found = new Set<string>();
    for await (const page of store.keys(prefix)) for (const key of page) found.add(key);
    return [...found].sort();
  };

  test(`${kind}: records are set, replaced, read and deleted`, async (t) => {
    const { store, open } = await prepare(t);
    await store.probe();
    assert.equal(await store.get('v2/ab/key'), undefined);
    await store.set('v2/ab/key', Buffer.from('one'));
    await store.set('v2/ab/key', Buffer.from('two'));
    await store.set('v2/ab/key', Buffer.from('two'));
    assert.equal(Buffer.from((await store.get('v2/ab/key'))!).toString(), 'two');
    assert.equal(Buffer.from((await open().get('v2/ab/key'))!).toString(), 'two');
    const large = randomBytes(LARGEST_VALUE_BYTES);
    await store.set('v2/ab/large', large);
    assert.ok(large.equals((await store.get('v2/ab/large'))!));
    await store.delete('v2/ab/key');
    await store.delete('v2/ab/key');
    assert.equal(await store.get('v2/ab/key'), undefined);
    await store.set('v2/ab/key', Buffer.from('three'));
    assert.equal(Buffer.from((await store.get('v2/ab/key'))!).toString(), 'three');
  });

  test(`${kind}: every key is listed, and only those with the prefix`, async (t) => {
    const { store } = await prepare(t);
    assert.deepEqual(await keysOf(store, 'v2/'), []);
    const keys = Array.from({ length: 3000 }, (_, index) => `v2/aa/${index}`);
    await Promise.all(keys.map((key) => store.set(key, Buffer.from(key))));
    await store.set('v2/bb/other', Buffer.from('x'));
    await store.delete('v2/aa/7');
    await store.set('v2/aa/8', Buffer.from('again'));
    assert.deepEqual(await keysOf(store, 'v2/aa/'), keys.filter((key) => key !== 'v2/aa/7').sort());
    assert.deepEqual(await keysOf(store, 'v2/bb/'), ['v2/bb/other']);
  });

  test(`${kind}: space and ping answer; after close nothing does`, async (t) => {
    const { store } = await prepare(t);
    await store.ping();
    await store.set('v2/a', new Uint8Array(1000));
    const { usedBytes, freeBytes, entries } = await store.space();
    assert.ok(usedBytes! >= 1000 && freeBytes! > 0 && entries === 1);
    await store.close();
    await assert.rejects(store.get('v2/a'), (error) => isBackendError(error, 'unreachable'));
  });
}
