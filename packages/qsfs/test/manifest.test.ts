import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  compareVersions,
  dataName,
  decodeManifest,
  decodePage,
  encodeManifest,
  encodePage,
  indexName,
  type Manifest,
  type ManifestFile,
  manifestName,
  PAGE_FILES,
  pageName,
  parseManifestName,
} from '../src/manifest.ts';

/** Plain objects, as the decoders make them. */
function record<Shape>(shape: { [Key in keyof Shape]: fc.Arbitrary<Shape[Key]> }): fc.Arbitrary<Shape> {
  return fc.record(shape, { noNullPrototype: true });
}

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const bytes = fc.uint8Array({ maxLength: 80 });
const version = record({ epoch: u32, generation: u32 });
const namespace = fc.nat({ max: 3000 }).chain((activeFile) =>
  record({
    name: fc.string({ minLength: 1, maxLength: 20 }),
    mode: fc.constantFrom('seq' as const, 'user' as const),
    descriptor: bytes,
    activeFile: fc.constant(activeFile),
    activeIndex: bytes,
    activeData: bytes,
    pages: fc.array(version, {
      minLength: Math.ceil(activeFile / PAGE_FILES),
      maxLength: Math.ceil(activeFile / PAGE_FILES),
    }),
  }),
);
const manifest: fc.Arbitrary<Manifest> = record({
  epoch: u32,
  generation: u32,
  volumeId: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  createdMs: fc.nat(),
  stripeBytes: fc.integer({ min: 1, max: 0xffffffff }),
  segmentBytes: fc.integer({ min: 1, max: 0xffffffff }),
  namespaces: fc.array(namespace, { maxLength: 3 }),
});
const file: fc.Arbitrary<ManifestFile> = record({
  data: fc.option(record({ sizeBytes: u32, epoch: u32 }), { nil: undefined }),
  index: fc.option(record({ sizeBytes: u32, epoch: u32, generation: u32 }), { nil: undefined }),
});

test('a manifest reads back as it was written', () => {
  fc.assert(fc.property(manifest, (value) => assert.deepEqual(decodeManifest(encodeManifest(value)), value)));
});

test('a page reads back as it was written, and only as the page it is', () => {
  fc.assert(
    fc.property(fc.array(file, { maxLength: 40 }), fc.nat({ max: 100 }), (files, page) => {
      const encoded = encodePage(page * PAGE_FILES, files);
      assert.deepEqual(decodePage(encoded, page * PAGE_FILES), files);
      assert.throws(() => decodePage(encoded, (page + 1) * PAGE_FILES), RangeError);
    }),
  );
});

test('any changed, missing or added byte is noticed', () => {
  const whole = encodeManifest({
    epoch: 1,
    generation: 2,
    volumeId: new Uint8Array(16),
    createdMs: 5,
    stripeBytes: 4096,
    segmentBytes: 65536,
    namespaces: [
      {
        name: 'x',
        mode: 'seq',
        descriptor: Uint8Array.of(1),
        activeFile: 1,
        activeIndex: Uint8Array.of(2),
        activeData: Uint8Array.of(3),
        pages: [{ epoch: 1, generation: 2 }],
      },
    ],
  });
  for (let at = 0; at < whole.length; at += 1) {
    const changed = whole.slice();
    changed[at] = (changed[at] as number) ^ 0x10;
    assert.throws(() => decodeManifest(changed), RangeError);
    assert.throws(() => decodeManifest(whole.subarray(0, at)), RangeError);
  }
  assert.throws(() => decodeManifest(Buffer.concat([whole, Buffer.alloc(4)])), RangeError);
});

test('random bytes are never a manifest or a page, and never take long', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (content) => {
      assert.throws(() => decodeManifest(content), RangeError);
      assert.throws(() => decodePage(content, 0), RangeError);
    }),
  );
});

test('names sort by version and are read back', () => {
  const older = { epoch: 1, generation: 0xff };
  const newer = { epoch: 1, generation: 0x100 };
  assert.ok(manifestName(older) < manifestName(newer));
  assert.deepEqual(parseManifestName(manifestName(newer)), newer);
  assert.equal(parseManifestName('volume/lease'), undefined);
  assert.equal(parseManifestName('volume/manifest@1-2'), undefined);
  assert.ok(compareVersions(older, newer) < 0);
  assert.ok(compareVersions({ epoch: 2, generation: 0 }, newer) > 0);
  assert.equal(dataName('zdbfs-data', 17, 1), 'volume/zdbfs-data/d17@00000001');
  assert.equal(indexName('zdbfs-data', 17, newer), 'volume/zdbfs-data/i17@00000001-00000100');
  assert.equal(pageName('zdbfs-meta', 0, newer), 'volume/zdbfs-meta/p0@00000001-00000100');
});

test('a page of a thousand files is small', () => {
  const full: ManifestFile = {
    data: { sizeBytes: 1, epoch: 1 },
    index: { sizeBytes: 1, epoch: 1, generation: 1 },
  };
  const page = encodePage(0, new Array<ManifestFile>(PAGE_FILES).fill(full));
  assert.ok(page.length < 32 * 1024);
});

test('a manifest that could not be read back is not written', () => {
  const namespace = {
    name: 'zdbfs-data',
    mode: 'seq' as const,
    descriptor: new Uint8Array(1),
    activeFile: 0,
    activeIndex: new Uint8Array(1),
    activeData: new Uint8Array(65_537),
    pages: [],
  };
  const manifest: Manifest = {
    epoch: 1,
    generation: 1,
    volumeId: new Uint8Array(16),
    createdMs: 0,
    stripeBytes: 4096,
    segmentBytes: 65_536,
    namespaces: [namespace],
  };
  assert.throws(() => encodeManifest(manifest), /65537 bytes of zdbfs-data/);
  const fits = { ...manifest, namespaces: [{ ...namespace, activeData: new Uint8Array(65_536) }] };
  assert.equal(decodeManifest(encodeManifest(fits)).namespaces[0]?.activeData.length, 65_536);
});
