// Bytes of records: what is written is read back, and no bytes at all make the reader do anything but refuse.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ByteWriter, CorruptRecord } from '../src/bytes.ts';
import { decodeJournalRecord, encodeJournalRecord, type JournalEntry } from '../src/journal-record.ts';
import { AttributeRecord, DirectoryNode, ExtentNode, Inode, type MetaRecord, Page } from '../src/record.ts';
import { decodeRecord, directoryEntryBytes, EXTENT_BYTES, encodeRecord } from '../src/record-codec.ts';
import { decodeSuperblock, encodeSuperblock } from '../src/superblock.ts';

/** Plain objects, as the decoder makes them. */
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record(model, { noNullPrototype: true });

const id = fc.integer({ min: 1, max: 2 ** 53 - 1 });
const size = fc.integer({ min: 0, max: 2 ** 53 - 1 });
/** Ids count accepted writes: differences of two of them stay exact. */
const slot = fc.integer({ min: 0, max: 2 ** 51 });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const time = record({
  seconds: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
  nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
});
const name = fc
  .uint8Array({ minLength: 1, maxLength: 255 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));
const bytes = fc.uint8Array({ maxLength: 300 });
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const mode = fc.integer({ min: 0, max: 0o177777 });

const entries: fc.Arbitrary<JournalEntry> = fc.oneof(
  record({
    kind: fc.constant('reserve'),
    runs: fc.array(record({ first: id, count: fc.integer({ min: 1, max: 1000 }) })),
  }),
  record({
    kind: fc.constant('create'),
    inode: id,
    parent: id,
    name,
    mode,
    userId: u32,
    groupId: u32,
    deviceNumber: u32,
    target: maybe(bytes),
  }),
  record({ kind: fc.constant('remove'), parent: id, name }),
  record({
    kind: fc.constant('rename'),
    sourceParent: id,
    sourceName: name,
    targetParent: id,
    targetName: name,
    exchange: fc.boolean(),
  }),
  record({ kind: fc.constant('link'), inode: id, parent: id, name }),
  record({
    kind: fc.constant('attributes'),
    inode: id,
    mode: maybe(mode),
    userId: maybe(u32),
    groupId: maybe(u32),
    sizeBytes: maybe(size),
    accessed: maybe(time),
    modified: maybe(time),
    changed: maybe(time),
    dropCapability: fc.boolean(),
  }),
  record({
    kind: fc.constant('write'),
    inode: id,
    extents: fc.array(record({ offset: size, lengthBytes: u32, record: id })),
    sizeBytes: size,
    mode: maybe(mode),
    touch: fc.boolean(),
  }),
  record({ kind: fc.constant('write-inline'), inode: id, offset: size, bytes, mode: maybe(mode) }),
  record({ kind: fc.constant('punch'), inode: id, offset: size, lengthBytes: size, sizeBytes: size }),
  record({ kind: fc.constant('extended-attribute'), inode: id, name, value: maybe(bytes) }),
  record({ kind: fc.constant('destroy'), inodes: fc.array(id) }),
  record({ kind: fc.constant('synced'), nextDataId: size }),
  record({ kind: fc.constant('images'), images: fc.array(record({ id, bytes })) }),
  record({ kind: fc.constant('checkpoint'), imageRecords: u32, superblock: bytes }),
) as fc.Arbitrary<JournalEntry>;

const keys = fc.uniqueArray(size, { maxLength: 30 }).map((list) => list.sort((a, b) => a - b));

const directoryPage = fc
  .tuple(
    keys,
    fc.integer({ min: 0, max: 2 }),
    fc.array(fc.tuple(id, fc.nat(15), name), { minLength: 30, maxLength: 30 }),
  )
  .map(([list, level, values]) => {
    const page = new Page<{ inode: number; type: number; name: string }>(level);
    list.forEach((key, at) => {
      const [inode, type, text] = values[at]!;
      page.keys.push(key);
      if (level > 0) page.children.push(inode);
      else page.entries.push({ inode, type, name: text });
      page.sizeBytes += level > 0 ? 16 : directoryEntryBytes({ inode, type, name: text });
    });
    return page;
  });

const extentPage = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 5000 }), fc.nat(5000), id, fc.nat(100)), { maxLength: 30 })
  .map((pieces) => {
    const page = new Page<{
      offset: number;
      lengthBytes: number;
      record: number;
      recordOffset: number;
      recordLength: number;
    }>();
    let offset = 0;
    for (const [lengthBytes, gap, record, recordOffset] of pieces) {
      offset += gap;
      page.keys.push(offset);
      page.entries.push({
        offset,
        lengthBytes,
        record,
        recordOffset,
        recordLength: recordOffset + lengthBytes + 7,
      });
      page.sizeBytes += EXTENT_BYTES;
      offset += lengthBytes;
    }
    return page;
  });

const attributes = fc
  .uniqueArray(fc.tuple(name, bytes), { maxLength: 5, selector: ([key]) => key })
  .map((list) => new Map(list));

const inodes = fc
  .record({
    id,
    numbers: fc.tuple(u32, u32, u32, u32, u32, size, size, id, id, size),
    times: fc.tuple(time, time, time),
    contents: fc.oneof(bytes, directoryPage, extentPage, fc.constant(undefined)),
    attributes: maybe(attributes.filter((map) => map.size > 0)),
  })
  .map((made) => {
    const inode = new Inode(made.id);
    [
      inode.userId,
      inode.groupId,
      inode.linkCount,
      inode.generation,
      inode.deviceNumber,
      inode.sizeBytes,
      inode.allocatedBytes,
      inode.parent,
      inode.attributeRecord,
      inode.entryCount,
    ] = made.numbers;
    [inode.accessed, inode.modified, inode.changed] = made.times;
    inode.mode = 0o100644;
    if (made.contents instanceof Uint8Array) inode.bytes = made.contents;
    else if (made.contents && 'level' in made.contents) {
      const page = made.contents as Page<never>;
      const first = page.entries[0] as { name?: string } | undefined;
      if (page.level > 0 || first?.name !== undefined) {
        inode.directory = page;
        inode.mode = 0o040755;
      } else inode.extents = page;
    }
    inode.attributes = made.attributes;
    return inode;
  });

const records: fc.Arbitrary<MetaRecord> = fc.oneof(
  inodes,
  fc.tuple(id, id, directoryPage).map(([own, owner, page]) => new DirectoryNode(own, owner, page)),
  fc.tuple(id, id, extentPage).map(([own, owner, page]) => new ExtentNode(own, owner, page)),
  fc.tuple(id, id, attributes).map(([own, owner, values]) => new AttributeRecord(own, owner, values)),
);

/** Bytes that were right once: some exchanged, the end cut off or lengthened. */
function spoil(whole: Uint8Array, edits: readonly (readonly [number, number])[], cut: number): Uint8Array {
  const spoiled = new Uint8Array(Math.max(0, whole.length + cut));
  spoiled.set(whole.subarray(0, spoiled.length));
  for (const [at, value] of edits) if (spoiled.length > 0) spoiled[at % spoiled.length] = value;
  return spoiled;
}

const spoiling = fc.tuple(
  fc.array(fc.tuple(fc.nat(1000), fc.nat(255)), { maxLength: 4 }),
  fc.oneof(
    { weight: 3, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: -400, max: 20 }) },
  ),
);

function refusesOrReads(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof CorruptRecord, String(error));
  }
}

describe('records', () => {
  const writer = new ByteWriter(16);

  it('of the journal are read back as they were written', () => {
    fc.assert(
      fc.property(entries, size, u32, time, (entry, checkpoint, sequence, moment) => {
        const stored = new Uint8Array(encodeJournalRecord(writer, checkpoint, sequence, moment, entry));
        assert.deepEqual(decodeJournalRecord(stored), { checkpoint, sequence, time: moment, entry });
      }),
      { numRuns: 500 },
    );
  });

  it('of metadata are read back as they were written', () => {
    fc.assert(
      fc.property(records, (made) => {
        const decoded = decodeRecord(encodeRecord(writer, made), made.id);
        assert.deepEqual(decoded, made);
      }),
      { numRuns: 500 },
    );
  });

  it('of metadata under another id are refused', () => {
    fc.assert(
      fc.property(records, (made) => {
        assert.throws(() => decodeRecord(encodeRecord(writer, made), made.id - 1), CorruptRecord);
      }),
    );
  });

  it('that were spoiled are refused or read, and nothing else happens', () => {
    fc.assert(
      fc.property(records, entries, spoiling, (made, entry, [edits, cut]) => {
        const meta = spoil(encodeRecord(writer, made), edits, cut);
        refusesOrReads(() => decodeRecord(meta, made.id));
        const stored = encodeJournalRecord(writer, 1, 2, { seconds: 3, nanoseconds: 4 }, entry);
        const journal = spoil(new Uint8Array(stored), edits, cut);
        refusesOrReads(() => decodeJournalRecord(journal));
      }),
      { numRuns: 1500 },
    );
  });

  it('the superblock keeps its lists in their order', () => {
    fc.assert(
      fc.property(fc.array(slot), fc.array(slot), spoiling, (freeIds, doomedData, [edits, cut]) => {
        const superblock = {
          volumeId: new Uint8Array(16).fill(9),
          seedLow: 0xffffffff,
          seedHigh: 1,
          createdSeconds: -5,
          checkpoint: 7,
          metaEnd: 8,
          nextDataId: 9,
          generation: 0xfffffffe,
          usedBytes: 2 ** 50,
          inodes: 11,
          freeIds,
          doomedMeta: [],
          doomedData,
          orphans: [5, 3],
        };
        const stored = encodeSuperblock(writer, superblock);
        assert.deepEqual(decodeSuperblock(stored), superblock);
        refusesOrReads(() => decodeSuperblock(spoil(stored, edits, cut)));
      }),
    );
  });
});
