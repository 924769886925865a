// The manifest: names exactly the objects of one consistent state of the volume. Formats: docs/formats/manifest.md.
// Written last at every sync point, read first by a restore. Small whatever the volume's size: the files of a namespace
// are listed in pages, objects of their own, and only pages that changed are written anew.
//
// This file reads and writes both formats and knows the objects' names; it does no input or output.
import { crc32 } from 'node:zlib';
import { OFFLOADED, type OffloadedName } from './messages.ts';

const MANIFEST_MAGIC = 'QSFSMANI';
const PAGE_MAGIC = 'QSFSPAGE';
const VERSION = 1;
const PAGE_HEADER_BYTES = 32;
const ENTRY_BYTES = 24;
const FLAG_DATA = 1;
const FLAG_INDEX = 2;

/** Files described by one page. */
export const PAGE_FILES = 1024;
/** Bounds of what a decoder accepts: a wrong length must not make it allocate without limit. */
const NAMESPACES_MAX = 64;
const INLINE_BYTES_MAX = 65536;
const PAGES_MAX = 4_194_304;

/** Which copy of an object: the frontend's epoch and its sync point. */
export interface Version {
  readonly epoch: number;
  readonly generation: number;
}

/** One closed pair of files. A data file without bytes, or given up, has no `data`. */
export interface ManifestFile {
  readonly data: { readonly sizeBytes: number; readonly epoch: number } | undefined;
  readonly index: ({ readonly sizeBytes: number } & Version) | undefined;
}

/** One namespace of the embedded engine. */
export interface ManifestNamespace {
  readonly name: string;
  readonly mode: 'user' | 'seq';
  /** Content of `zdb-namespace`. */
  readonly descriptor: Uint8Array;
  /** Number of the active pair; all below are closed and in the pages. */
  readonly activeFile: number;
  /** Content of the active index file and data file at the sync point: their headers. */
  readonly activeIndex: Uint8Array;
  readonly activeData: Uint8Array;
  /** The newest copy of each page; page p describes files p * PAGE_FILES to (p + 1) * PAGE_FILES - 1. */
  readonly pages: readonly Version[];
}

/** The state of a volume at a sync point. */
export interface Manifest extends Version {
  /** 16 random bytes, chosen when the volume was made. */
  readonly volumeId: Uint8Array;
  readonly createdMs: number;
  readonly stripeBytes: number;
  readonly segmentBytes: number;
  readonly namespaces: readonly ManifestNamespace[];
}

/** Everything of ours among the objects begins with this. */
export const OBJECT_PREFIX = 'volume/';
/** What all manifests' names begin with. */
export const MANIFEST_PREFIX = `${OBJECT_PREFIX}manifest@`;
/** The object that says who may write (docs/formats/lease.md). */
export const LEASE_NAME = `${OBJECT_PREFIX}lease`;

function hex(number: number): string {
  return number.toString(16).padStart(8, '0');
}

export function manifestName(version: Version): string {
  return `${MANIFEST_PREFIX}${hex(version.epoch)}-${hex(version.generation)}`;
}

export function pageName(namespace: string, page: number, version: Version): string {
  return `${OBJECT_PREFIX}${namespace}/p${page}@${hex(version.epoch)}-${hex(version.generation)}`;
}

export function indexName(namespace: string, file: number, version: Version): string {
  return `${OBJECT_PREFIX}${namespace}/i${file}@${hex(version.epoch)}-${hex(version.generation)}`;
}

/** Data files never change, so the epoch alone tells copies of different frontends apart. */
export function dataName(namespace: string, file: number, epoch: number): string {
  return `${OBJECT_PREFIX}${namespace}/d${file}@${hex(epoch)}`;
}

/** The version in a manifest's name, or undefined when it is no name of a manifest. */
export function parseManifestName(name: string): Version | undefined {
  const match = /^([0-9a-f]{8})-([0-9a-f]{8})$/.exec(name.slice(MANIFEST_PREFIX.length));
  if (!name.startsWith(MANIFEST_PREFIX) || !match) return undefined;
  return { epoch: Number.parseInt(match[1] ?? '', 16), generation: Number.parseInt(match[2] ?? '', 16) };
}

/** What a name of a data file (`d`), index file (`i`) or page (`p`) says; undefined when it is the name of something else. */
export function parsePartName(
  name: string,
):
  | { readonly namespace: OffloadedName; readonly kind: 'd' | 'i' | 'p'; readonly number: number }
  | undefined {
  if (!name.startsWith(OBJECT_PREFIX)) return undefined;
  const match = /^([^/]+)\/([dip])(\d+)@/.exec(name.slice(OBJECT_PREFIX.length));
  const namespace = OFFLOADED.find((candidate) => candidate === match?.[1]);
  if (!match || !namespace) return undefined;
  return { namespace, kind: match[2] as 'd' | 'i' | 'p', number: Number(match[3]) };
}

/** Orders versions: negative when `left` is older. */
export function compareVersions(left: Version, right: Version): number {
  return left.epoch - right.epoch || left.generation - right.generation;
}

/** Writes a manifest. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const writer = new Writer();
  writer.bytes(Buffer.from(MANIFEST_MAGIC, 'latin1'));
  writer.u32(VERSION);
  writer.bytes(manifest.volumeId.subarray(0, 16));
  writer.u32(manifest.epoch);
  writer.u32(manifest.generation);
  writer.f64(manifest.createdMs);
  writer.u32(manifest.stripeBytes);
  writer.u32(manifest.segmentBytes);
  writer.u32(PAGE_FILES);
  writer.u32(manifest.namespaces.length);
  for (const namespace of manifest.namespaces) {
    writer.counted(Buffer.from(namespace.name, 'utf8'));
    writer.u32(namespace.mode === 'seq' ? 1 : 0);
    for (const inline of [namespace.descriptor, namespace.activeIndex, namespace.activeData]) {
      // What could not be read back must never be called safe.
      if (inline.length > INLINE_BYTES_MAX) {
        throw new RangeError(`${inline.length} bytes of ${namespace.name} do not fit into a manifest`);
      }
    }
    writer.counted(namespace.descriptor);
    writer.u32(namespace.activeFile);
    writer.counted(namespace.activeIndex);
    writer.counted(namespace.activeData);
    writer.u32(namespace.pages.length);
    for (const page of namespace.pages) {
      writer.u32(page.epoch);
      writer.u32(page.generation);
    }
  }
  return writer.finish();
}

/** Reads a manifest. @throws RangeError that says what is wrong with it */
export function decodeManifest(content: Uint8Array): Manifest {
  const reader = new Reader(content, 'manifest');
  reader.expect(MANIFEST_MAGIC, VERSION);
  const volumeId = reader.bytes(16).slice();
  const epoch = reader.u32();
  const generation = reader.u32();
  const createdMs = reader.f64();
  const stripeBytes = reader.u32();
  const segmentBytes = reader.u32();
  const pageFiles = reader.u32();
  if (pageFiles !== PAGE_FILES) throw new RangeError(`the manifest has pages of ${pageFiles} files`);
  if (stripeBytes === 0 || segmentBytes === 0) throw new RangeError('the manifest has a size of zero');
  const namespaces: ManifestNamespace[] = [];
  const namespaceCount = reader.u32(NAMESPACES_MAX);
  for (let place = 0; place < namespaceCount; place += 1) {
    const name = Buffer.from(reader.counted(255)).toString('utf8');
    const mode = reader.u32(1) === 1 ? 'seq' : 'user';
    const descriptor = reader.counted(INLINE_BYTES_MAX).slice();
    const activeFile = reader.u32();
    const activeIndex = reader.counted(INLINE_BYTES_MAX).slice();
    const activeData = reader.counted(INLINE_BYTES_MAX).slice();
    const pages: Version[] = [];
    const pageCount = reader.u32(PAGES_MAX);
    if (pageCount !== Math.ceil(activeFile / PAGE_FILES)) {
      throw new RangeError(`the manifest has ${pageCount} pages for ${activeFile} files of ${name}`);
    }
    for (let page = 0; page < pageCount; page += 1) {
      pages.push({ epoch: reader.u32(), generation: reader.u32() });
    }
    namespaces.push({ name, mode, descriptor, activeFile, activeIndex, activeData, pages });
  }
  reader.end();
  return { volumeId, epoch, generation, createdMs, stripeBytes, segmentBytes, namespaces };
}

/** Writes a page: the files from `firstFile` on, at most PAGE_FILES of them. */
export function encodePage(firstFile: number, files: readonly ManifestFile[]): Uint8Array {
  if (files.length > PAGE_FILES) throw new RangeError(`${files.length} files in a page`);
  const writer = new Writer();
  writer.bytes(Buffer.from(PAGE_MAGIC, 'latin1'));
  writer.u32(VERSION);
  writer.u32(firstFile);
  writer.u32(files.length);
  writer.bytes(new Uint8Array(PAGE_HEADER_BYTES - 20));
  for (const file of files) {
    writer.u32((file.data ? FLAG_DATA : 0) | (file.index ? FLAG_INDEX : 0));
    writer.u32(file.data?.sizeBytes ?? 0);
    writer.u32(file.data?.epoch ?? 0);
    writer.u32(file.index?.sizeBytes ?? 0);
    writer.u32(file.index?.epoch ?? 0);
    writer.u32(file.index?.generation ?? 0);
  }
  return writer.finish();
}

/** Reads a page. @throws RangeError that says what is wrong with it */
export function decodePage(content: Uint8Array, firstFile: number): ManifestFile[] {
  const reader = new Reader(content, 'manifest page');
  reader.expect(PAGE_MAGIC, VERSION);
  const first = reader.u32();
  if (first !== firstFile) throw new RangeError(`the page begins with file ${first} instead of ${firstFile}`);
  const count = reader.u32(PAGE_FILES);
  reader.bytes(PAGE_HEADER_BYTES - 20);
  const files: ManifestFile[] = [];
  for (let place = 0; place < count; place += 1) {
    const flags = reader.u32(FLAG_DATA | FLAG_INDEX);
    const data = { sizeBytes: reader.u32(), epoch: reader.u32() };
    const index = { sizeBytes: reader.u32(), epoch: reader.u32(), generation: reader.u32() };
    files.push({
      data: flags & FLAG_DATA ? data : undefined,
      index: flags & FLAG_INDEX ? index : undefined,
    });
  }
  reader.end();
  return files;
}

/** Size of an encoded page entry, for sizing (tests, documentation). */
export const PAGE_ENTRY_BYTES = ENTRY_BYTES;

/** Builds a little-endian record that ends with the CRC-32 of what is before. */
class Writer {
  readonly #parts: Uint8Array[] = [];

  bytes(bytes: Uint8Array): void {
    this.#parts.push(bytes);
  }

  counted(bytes: Uint8Array): void {
    this.u32(bytes.length);
    this.#parts.push(bytes);
  }

  u32(number: number): void {
    if (!Number.isInteger(number) || number < 0 || number > 0xffffffff) {
      throw new RangeError(`${number} does not fit into 32 bits`);
    }
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(number);
    this.#parts.push(bytes);
  }

  f64(number: number): void {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleLE(number);
    this.#parts.push(bytes);
  }

  finish(): Uint8Array {
    const body = Buffer.concat(this.#parts);
    const tail = Buffer.alloc(4);
    tail.writeUInt32LE(crc32(body));
    return new Uint8Array(Buffer.concat([body, tail]));
  }
}

/** Reads what `Writer` wrote; every violation is a RangeError that names the record. */
class Reader {
  readonly #view: DataView;
  readonly #content: Uint8Array;
  readonly #what: string;
  #at = 0;
  readonly #endAt: number;

  constructor(content: Uint8Array, what: string) {
    this.#content = content;
    this.#view = new DataView(content.buffer, content.byteOffset, content.length);
    this.#what = what;
    this.#endAt = content.length - 4;
    if (
      this.#endAt < 12 ||
      this.#view.getUint32(this.#endAt, true) !== crc32(content.subarray(0, this.#endAt))
    ) {
      throw new RangeError(`the ${what} is damaged: its checksum does not match`);
    }
  }

  expect(magic: string, version: number): void {
    if (Buffer.from(this.bytes(8)).toString('latin1') !== magic) {
      throw new RangeError(`this is no ${this.#what}`);
    }
    const found = this.u32();
    if (found !== version)
      throw new RangeError(`the ${this.#what} has version ${found}; this qsfs reads ${version}`);
  }

  bytes(length: number): Uint8Array {
    if (this.#at + length > this.#endAt) throw new RangeError(`the ${this.#what} ends early`);
    this.#at += length;
    return this.#content.subarray(this.#at - length, this.#at);
  }

  counted(limit: number): Uint8Array {
    return this.bytes(this.u32(limit));
  }

  u32(limit = 0xffffffff): number {
    const at = this.#at;
    this.bytes(4);
    const number = this.#view.getUint32(at, true);
    if (number > limit)
      throw new RangeError(`the ${this.#what} has ${number} where at most ${limit} is possible`);
    return number;
  }

  f64(): number {
    const at = this.#at;
    this.bytes(8);
    return this.#view.getFloat64(at, true);
  }

  end(): void {
    if (this.#at !== this.#endAt) throw new RangeError(`the ${this.#what} has bytes behind its end`);
  }
}
