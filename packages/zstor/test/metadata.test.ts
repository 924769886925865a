import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { realClock, realDisk, realRandom } from '@qsfs/io';
import fc from 'fast-check';
import { DirectoryRecordStore } from '../src/backend/directory.ts';
import { type Faults, FaultyRecordStore, noFaults } from '../src/backend/faults.ts';
import { GuardedRecordStore } from '../src/backend/guarded.ts';
import { defaultMinimalStores, lowestWriteQuorum } from '../src/config/parse.ts';
import { isZstorError } from '../src/errors.ts';
import { MetadataCluster } from '../src/metadata/cluster.ts';
import { type Answer, decide } from '../src/metadata/decision.ts';
import { UncertainWrite } from '../src/metadata/outcome.ts';
import {
  decodePart,
  deriveMetadataKeys,
  encodeParts,
  joinParts,
  recordKey,
  seal,
  unseal,
} from '../src/metadata/part.ts';
import { StoredRecord } from '../src/metadata/record.ts';
import { MalformedRecord, RecordReader, RecordWriter } from '../src/metadata/record-bytes.ts';
import { Records } from '../src/metadata/records.ts';
import { StripeTable } from '../src/metadata/stripe-table.ts';
import { temporaryFolder } from './support.ts';

const keys = deriveMetadataKeys(new Uint8Array(32).fill(5), 'test');

function answer(
  version: number,
  index: number,
  minimalParts: number,
  parts: number,
  writeId = 'aa'.repeat(8),
): Answer {
  const stamp = { version: BigInt(version), writeId, tombstone: false, minimalParts, parts, sealedBytes: 0 };
  return {
    kind: 'part',
    part: { stamp, index, body: new Uint8Array(0) },
    base: undefined,
    knowsBase: false,
  };
}

test('numbers and texts of any size survive being written', () => {
  const half = fc.maxSafeInteger().map((number) => Math.trunc(number / 2) + 0);
  fc.assert(
    fc.property(fc.array(half), fc.string(), (numbers, text) => {
      const writer = new RecordWriter();
      for (const number of numbers) writer.signed(number);
      writer.text(text.toWellFormed());
      const reader = new RecordReader(writer.bytes);
      for (const number of numbers) assert.equal(reader.signed(), number);
      assert.equal(reader.text(10_000), text.toWellFormed());
      reader.end();
    }),
  );
});

test('a stripe table survives being written, and damaged bytes are refused', () => {
  const place = fc.option(
    fc.record({ backend: fc.integer({ min: 0, max: 5 }), key: fc.integer({ min: 0, max: 2 ** 48 }) }),
    { nil: undefined },
  );
  fc.assert(
    fc.property(
      fc.array(fc.array(place, { minLength: 4, maxLength: 4 }), { maxLength: 20 }),
      fc.nat(),
      (stripes, cut) => {
        const table = new StripeTable(stripes.length, 4);
        for (const [stripe, places] of stripes.entries()) {
          table.setShardBytes(stripe, 1000 + stripe);
          for (const [index, found] of places.entries()) {
            if (!found) continue;
            const incarnation = found.backend === 0 ? '' : `${found.backend}`.repeat(16);
            table.set(stripe, index, `backend ${found.backend}`, { incarnation, key: found.key });
          }
        }
        const bytes = table.encode();
        const back = StripeTable.decode(bytes, stripes.length, 4);
        for (let stripe = 0; stripe < stripes.length; stripe++) {
          assert.deepEqual(back.places(stripe), table.places(stripe));
          assert.equal(back.shardBytes(stripe), 1000 + stripe);
        }
        assert.equal(back.missing, table.missing);
        assert.deepEqual(back.encode(), bytes);
        if (bytes.length > 1) {
          const short = bytes.slice(0, cut % bytes.length);
          assert.throws(() => StripeTable.decode(short, stripes.length, 4), MalformedRecord);
        }
      },
    ),
  );
});

test('the record of a 10 GiB file on twenty backends stays small', () => {
  const table = new StripeTable(2560, 20);
  for (let stripe = 0; stripe < 2560; stripe++) {
    table.setShardBytes(stripe, 262_224);
    for (let index = 0; index < 20; index++) {
      table.set(stripe, index, `backend${(index + stripe) % 20}`, {
        incarnation: '0123456789abcdef',
        key: stripe * 3 + index,
      });
    }
  }
  assert.ok(table.encode().length < 200_000, `${table.encode().length} bytes`);
  assert.equal(table.patterns().length, 1);
});

test('any k parts give a sealed record back, and no changed or foreign part is accepted', () => {
  const shape = fc
    .integer({ min: 1, max: 9 })
    .chain((parts) => fc.tuple(fc.constant(parts), fc.integer({ min: 1, max: parts })));
  fc.assert(
    fc.property(shape, fc.uint8Array({ maxLength: 300 }), fc.nat(), ([parts, k], content, seed) => {
      const identity = { version: 7n, writeId: '0123456789abcdef' };
      const sealed = seal(keys, realRandom, 'key', identity, content);
      const stamp = { ...identity, tombstone: false, minimalParts: k, parts, sealedBytes: sealed.length };
      const values = encodeParts(keys, 'key', stamp, sealed);
      const chosen = values
        .map((value, index) => ({ value, rank: (seed * (index + 7)) % 11 }))
        .sort((a, b) => a.rank - b.rank)
        .slice(0, k)
        .map(({ value }) => decodePart(keys, 'key', value)!);
      assert.deepEqual(chosen[0]!.stamp, stamp);
      assert.deepEqual(
        Buffer.from(unseal(keys, 'key', stamp, joinParts(stamp, chosen))!),
        Buffer.from(content),
      );
      const changed = Uint8Array.from(values[0]!);
      changed[seed % changed.length]! ^= 1;
      assert.equal(decodePart(keys, 'key', changed), undefined);
      assert.equal(decodePart(keys, 'other', values[0]!), undefined, 'the part of another key');
      assert.equal(decodePart(keys, 'key', values[0]!.subarray(0, 40)), undefined);
    }),
    { numRuns: 200 },
  );
});

test('keys on stores say nothing about names', () => {
  const key = recordKey(keys, 'secret/name');
  assert.match(key, /^v2\/[0-9a-f]{16}\/[0-9a-f]{48}$/);
  assert.notEqual(key, recordKey(keys, 'secret/namf'));
  assert.notEqual(recordKey(deriveMetadataKeys(new Uint8Array(32), 'test'), 'x'), recordKey(keys, 'x'));
  assert.notEqual(
    recordKey(deriveMetadataKeys(new Uint8Array(32).fill(5), 'tset'), 'x'),
    recordKey(keys, 'x'),
  );
});

test('decisions are never older than an acknowledged write, whatever is silent and whatever was cut off', () => {
  // A history of writes over M stores; each reaches some stores. Then some stores are silent.
  const scenario = fc.integer({ min: 1, max: 8 }).chain((stores) =>
    fc.record({
      stores: fc.constant(stores),
      writes: fc.array(fc.array(fc.boolean(), { minLength: stores, maxLength: stores }), { maxLength: 5 }),
      silent: fc.array(fc.boolean(), { minLength: stores, maxLength: stores }),
      order: fc.array(fc.nat(), { minLength: stores, maxLength: stores }),
    }),
  );
  fc.assert(
    fc.property(scenario, ({ stores, writes, silent, order }) => {
      const k = defaultMinimalStores(stores);
      const quorum = lowestWriteQuorum(stores, k);
      const held: Answer[] = new Array<Answer>(stores).fill({ kind: 'nothing' });
      let acknowledged = 0;
      for (const [version, reached] of writes.entries()) {
        for (let store = 0; store < stores; store++)
          if (reached[store]) held[store] = answer(version + 1, store, k, stores);
        if (reached.filter(Boolean).length >= quorum) acknowledged = version + 1;
      }
      const answers: (Answer | undefined)[] = new Array<undefined>(stores).fill(undefined);
      const arrivals = order.map((rank, store) => ({ rank, store })).sort((a, b) => a.rank - b.rank);
      let final = decide(answers, quorum);
      for (const { store } of arrivals) {
        answers[store] = silent[store] ? { kind: 'silent', reason: 'test' } : held[store]!;
        final = decide(answers, quorum);
        if (final.kind !== 'wait') break;
      }
      assert.notEqual(final.kind, 'wait', 'when all have answered there is a decision');
      if (final.kind === 'found') {
        assert.ok(final.stamp.version >= BigInt(acknowledged));
        assert.ok(final.parts.length >= k);
      }
      if (final.kind === 'absent') assert.equal(acknowledged, 0);
      const silentCount = silent.filter(Boolean).length;
      const isClean = writes.every((reached) => reached.every(Boolean));
      if (isClean && silentCount <= stores - k)
        assert.notEqual(final.kind, 'unavailable', 'k stores are enough');
    }),
    { numRuns: 5000 },
  );
});

test('parts of two writers of the same version are not mixed', () => {
  const one = [0, 1].map((index) => answer(3, index, 2, 4, '11'.repeat(8)));
  const two = [2, 3].map((index) => answer(3, index, 2, 4, '22'.repeat(8)));
  const decision = decide([...one, ...two], 3);
  assert.ok(decision.kind === 'found');
  assert.equal(decision.stamp.writeId, '22'.repeat(8));
  assert.deepEqual(
    decision.parts.map(({ index }) => index),
    [2, 3],
  );
});

/** A cluster over directories with faults. */
function cluster(t: TestContext, stores = 4, settleMs = 0) {
  const folder = temporaryFolder(t);
  const faults: Faults[] = [];
  const open = (count = stores): MetadataCluster => {
    const guarded = Array.from({ length: count }, (_, index) => {
      const path = join(folder, `${index}`);
      mkdirSync(path, { recursive: true });
      faults[index] ??= noFaults();
      const store = new FaultyRecordStore(
        new DirectoryRecordStore(realDisk, realRandom, `m${index}`, path),
        faults[index],
      );
      return new GuardedRecordStore(store, realClock);
    });
    const minimalStores = defaultMinimalStores(count);
    const made = new MetadataCluster({
      stores: guarded,
      keys,
      minimalStores,
      writeQuorum: lowestWriteQuorum(count, minimalStores),
      clock: realClock,
      random: realRandom,
      settleMs,
    });
    t.after(() => made.close());
    return made;
  };
  return { folder, faults, open };
}

const KEY = recordKey(keys, 'name');
const bytes = (text: string) => Buffer.from(text);
const textOf = (content: Uint8Array | undefined) => content && Buffer.from(content).toString();

test('a value written while a store was away is read rightly by whoever hears that store', async (t) => {
  const { faults, open } = cluster(t);
  const first = open();
  await first.write(KEY, bytes('one'), undefined);
  faults[0]!.mode = 'refuse';
  const two = await first.write(KEY, bytes('two'), await first.look(KEY, true));
  assert.equal(two.everywhere, false);
  faults[0]!.mode = 'healthy';
  faults[3]!.mode = 'refuse';
  const second = open();
  assert.equal(textOf((await second.read(KEY))?.content), 'two');
  // Store 0 has "one" and stores 1 and 2 have "two": with both of these silent nobody can know.
  faults[1]!.mode = 'refuse';
  await assert.rejects(open().read(KEY), (error) => isZstorError(error, 'QSFS_E_UNAVAILABLE'));
});

test('reading gives a store that lags its part', async (t) => {
  const { faults, open } = cluster(t);
  const first = open();
  await first.write(KEY, bytes('one'), undefined);
  faults[0]!.mode = 'refuse';
  await first.write(KEY, bytes('two'), await first.look(KEY, true));
  faults[0]!.mode = 'healthy';
  const second = open();
  await second.read(KEY);
  await second.close(); // waits for what reading started
  faults[1]!.mode = 'refuse';
  faults[2]!.mode = 'refuse';
  assert.equal(textOf((await open().read(KEY))?.content), 'two');
});

test('too few stores for the quorum: nothing is written, and said so at once', async (t) => {
  const { faults, open } = cluster(t);
  const made = open();
  await made.write(KEY, bytes('one'), undefined);
  faults[0]!.mode = 'refuse';
  faults[1]!.mode = 'refuse';
  await assert.rejects(made.write(KEY, bytes('two'), undefined), UncertainWrite);
  // Now that it is known who is down nothing is sent at all.
  await assert.rejects(made.write(KEY, bytes('three'), undefined), (error) => {
    return isZstorError(error, 'QSFS_E_UNAVAILABLE') && !(error instanceof UncertainWrite);
  });
});

test('a write that was cut off is either taken as a whole or never seen again', async (t) => {
  for (let reached = 0; reached <= 4; reached++) {
    const { faults, open } = cluster(t);
    const first = open();
    await first.write(KEY, bytes('one'), undefined);
    let sets = 0;
    for (const fault of faults) {
      fault.before = (operation) => {
        if (operation === 'set' && sets++ >= reached) throw new Error('crash');
      };
    }
    await first
      .look(KEY, true)
      .then((seen) => first.write(KEY, bytes('two'), seen))
      .catch(() => {});
    for (const fault of faults) fault.before = undefined;
    const second = open();
    const seen = textOf((await second.read(KEY))?.content);
    assert.equal(seen, reached < 2 ? 'one' : 'two');
    assert.deepEqual((await second.reconcile()).failures, []);
    for (const [a, b] of [
      [0, 1],
      [2, 3],
      [0, 3],
    ] as const) {
      faults[a]!.mode = 'refuse';
      faults[b]!.mode = 'refuse';
      assert.equal(textOf((await open().read(KEY))?.content), seen, `without ${a} and ${b}`);
      faults[a]!.mode = 'healthy';
      faults[b]!.mode = 'healthy';
    }
  }
});

test('a write goes above the debris of one that was cut off, also when that came from a clock far ahead', async (t) => {
  const { faults, open } = cluster(t);
  const one = await open().write(KEY, bytes('one'), undefined);
  const seen = await open().look(KEY, true);
  const ahead = { ...seen, newest: { ...one.stamp, version: one.stamp.version + 10n ** 15n } };
  for (const fault of faults.slice(1)) fault.mode = 'refuse';
  await assert.rejects(open().write(KEY, bytes('debris'), ahead), /UNAVAILABLE|needed/);
  for (const fault of faults) fault.mode = 'healthy';
  const third = open();
  const { found, newest } = await third.look(KEY);
  assert.equal(textOf(found?.content), 'one');
  assert.equal(newest?.version, found?.stamp.version, 'the answers that were enough to decide');
  await third.reconcile();
  const four = await third.write(KEY, bytes('four'), await third.look(KEY, true));
  assert.equal(four.everywhere, true);
  assert.equal(textOf((await open().read(KEY))?.content), 'four');
});

test('a deletion is not undone by a store that missed it', async (t) => {
  const { faults, open } = cluster(t);
  const first = open();
  await first.write(KEY, bytes('one'), undefined);
  faults[2]!.mode = 'refuse';
  const gone = await first.write(KEY, undefined, await first.look(KEY, true));
  assert.equal(gone.everywhere, false);
  faults[2]!.mode = 'healthy';
  const second = open();
  assert.equal((await second.read(KEY))?.content, undefined);
  await second.reconcile();
  await second.reconcile();
  assert.equal(await open().read(KEY), undefined, 'the tombstone goes when every store has had it');
});

test('a wiped store is not believed until it has been filled', async (t) => {
  const { folder, faults, open } = cluster(t);
  const first = open();
  await first.write(KEY, bytes('one'), undefined);
  for (const index of [0, 1]) rmSync(join(folder, `${index}`, 'records'), { recursive: true });
  faults[2]!.mode = 'refuse';
  const second = open();
  await assert.rejects(
    second.read(KEY),
    (error) => isZstorError(error, 'QSFS_E_UNAVAILABLE') && /wiped/.test((error as Error).message),
  );
  faults[2]!.mode = 'healthy';
  const third = open();
  assert.equal(textOf((await third.read(KEY))?.content), 'one');
  assert.deepEqual(third.blank, ['m0', 'm1']);
  const { refreshed, failures } = await third.reconcile();
  assert.deepEqual([refreshed, failures], [1, []]);
  assert.deepEqual(third.blank, []);
  for (const index of [2, 3]) faults[index]!.mode = 'refuse';
  assert.equal(textOf((await open().read(KEY))?.content), 'one', 'now they hold it alone');
});

test('a store that is wiped behind a living connection is not believed when it says it has nothing', async (t) => {
  const { folder, faults, open } = cluster(t);
  const one = open();
  faults[3]!.mode = 'refuse';
  await one.write(KEY, bytes('one'), undefined);
  faults[3]!.mode = 'healthy';
  const asked = open();
  await asked.start();
  // No call fails meanwhile, so nothing tells that these two hold nothing any more.
  for (const index of [0, 1]) rmSync(join(folder, `${index}`, 'records'), { recursive: true });
  await assert.rejects(asked.read(KEY), (error) => isZstorError(error, 'QSFS_E_UNAVAILABLE'));
});

test('a store that fails while it is filled is not marked as full', async (t) => {
  const { folder, faults, open } = cluster(t);
  await open().write(KEY, bytes('one'), undefined);
  rmSync(join(folder, '0', 'records'), { recursive: true });
  const filling = open();
  await filling.start();
  faults[0]!.full = true;
  await filling.reconcile();
  faults[0]!.full = false;
  assert.deepEqual(filling.blank, ['m0']);
  await filling.reconcile();
  assert.deepEqual(filling.blank, []);
});

test('a record that another process is just writing is not taken for debris and removed', async (t) => {
  const { faults, open } = cluster(t, 4, 60_000);
  const writer = open();
  await writer.write(recordKey(keys, 'other'), bytes('other'), undefined);
  const cleaner = open();
  // The writer's part reaches one store, then the other process looks, then the rest arrives.
  let release: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  for (const index of [1, 2, 3]) {
    faults[index]!.before = async (operation) => {
      if (operation === 'set') await gate;
    };
  }
  const written = writer.write(KEY, bytes('one'), undefined);
  const arrived = () => (faults[0]!.calls.get('set') ?? 0) >= 4; // two markers, the other record, this one
  while (!arrived()) await new Promise((resolve) => setImmediate(resolve));
  const { failures } = await cleaner.reconcile();
  assert.match(failures[0] ?? '', /is being written/);
  release();
  await written;
  assert.equal(textOf((await open().read(KEY))?.content), 'one');
});

test('a record that a store cannot read any more is not taken for none', async (t) => {
  const { folder, faults, open } = cluster(t);
  const writer = open();
  faults[3]!.mode = 'refuse';
  await writer.write(KEY, bytes('one'), undefined);
  faults[3]!.mode = 'healthy';
  writeFileSync(join(folder, '0/records', KEY.slice(-2), KEY.replaceAll('/', '_')), '');
  faults[1]!.mode = 'refuse';
  await assert.rejects(open().read(KEY), (error) => isZstorError(error, 'QSFS_E_UNAVAILABLE'));
});

test('a store that changes or swaps records is treated as silent', async (t) => {
  const { folder, faults, open } = cluster(t);
  const first = open();
  const other = recordKey(keys, 'other');
  await first.write(KEY, bytes('one'), undefined);
  await first.write(other, bytes('two'), undefined);
  const fileOf = (key: string) => join(folder, '0/records', key.slice(-2), key.replaceAll('/', '_'));
  writeFileSync(fileOf(KEY), readFileSync(fileOf(other)));
  faults[1]!.corrupt = (content) => Buffer.from(content).fill(0xff, 8, 16); // a version above all
  const second = open();
  assert.equal(textOf((await second.read(KEY))?.content), 'one');
  assert.equal(textOf((await second.read(other))?.content), 'two');
});

test('stores that were added are filled, and records get the new shape', async (t) => {
  const { faults, open } = cluster(t, 4);
  await open().write(KEY, bytes('one'), undefined);
  const bigger = open(6);
  assert.equal(textOf((await bigger.read(KEY))?.content), 'one');
  assert.deepEqual(bigger.blank, ['m4', 'm5']);
  assert.deepEqual((await bigger.reconcile()).failures, []);
  assert.deepEqual(bigger.blank, []);
  for (const index of [0, 1, 2, 3]) faults[index]!.mode = 'refuse';
  assert.equal(textOf((await open(6).read(KEY))?.content), 'one', 'two of six are enough now');
});

test('large records are cut into pages, replaced as a whole, and leave no page behind', async (t) => {
  const { folder, open } = cluster(t);
  const made = open();
  const records = new Records(made, keys, realRandom, 1000);
  const record = (stripes: number) => {
    const table = new StripeTable(stripes, 4);
    for (let stripe = 0; stripe < stripes; stripe++) {
      table.setShardBytes(stripe, 100);
      for (let index = 0; index < 4; index++) {
        table.set(stripe, index, `b${index}`, { incarnation: '', key: realRandom.below(2 ** 31) });
      }
    }
    const fields = {
      name: 'large',
      objectId: new Uint8Array(16),
      salt: new Uint8Array(32),
      generation: 0,
      sizeBytes: stripes * 65_536,
      stripeSizeBytes: 65_536,
      minimalShards: 2,
      expectedShards: 4,
      storedMs: 1,
      verification: 'checked' as const,
    };
    return new StoredRecord(fields, table, 0n);
  };
  const files = () =>
    readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).length;
  const large = record(500);
  await records.save(large, await records.predecessor('large'));
  const back = await records.head('large');
  assert.deepEqual(back?.stripes.encode(), large.stripes.encode());
  assert.ok(files() > 4 * 5);
  await records.save(record(10), await records.predecessor('large'));
  assert.equal(files(), 8, 'a marker and a record on each store');
  const listed = [];
  for await (const summary of records.list('')) listed.push(summary.name);
  assert.deepEqual(listed, ['large']);
  await records.erase('large', await records.predecessor('large'));
  assert.equal(files(), 4);
});
