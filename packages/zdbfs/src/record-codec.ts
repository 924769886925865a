// Bytes of the records of zdbfs-meta: docs/formats/zdbfs.md, sections 2 (header), 4 (inode), 5 (nodes), 6 (attributes).
import { ByteReader, type ByteWriter, CorruptRecord } from './bytes.ts';
import {
  AttributeRecord,
  type DirectoryEntry,
  DirectoryNode,
  type Extent,
  ExtentNode,
  Inode,
  type MetaRecord,
  type Moment,
  Page,
  TYPE_DIRECTORY,
  TYPE_MASK,
} from './record.ts';
import { CHILD_BYTES } from './tree.ts';

/** Record kinds, first byte of every record. */
export const KIND = {
  reserved: 0,
  superblock: 1,
  inode: 2,
  directoryNode: 3,
  extentNode: 4,
  attributes: 5,
} as const;
/** Format version, second byte of every record. */
export const FORMAT_VERSION = 2;
/** Length of the header every record begins with. */
export const HEADER_BYTES = 16;
/** What an id that is set aside but not used yet holds. */
export const RESERVED_RECORD = new Uint8Array([KIND.reserved, FORMAT_VERSION]);

const CONTENT = { none: 0, bytes: 1, directory: 2, extents: 3 } as const;
const LEVEL_MAX = 16;

/** Stored size of a directory entry and its key. */
export function directoryEntryBytes(entry: DirectoryEntry): number {
  return 18 + entry.name.length;
}

/** Stored size of an extent, its key included. */
export const EXTENT_BYTES = 28;

/** Stored size of one extended attribute. */
export function attributeBytes(name: string, value: Uint8Array): number {
  return 5 + name.length + value.length;
}

function header(writer: ByteWriter, kind: number, id: number): void {
  writer.reset();
  writer.u8(kind);
  writer.u8(FORMAT_VERSION);
  writer.u16(0);
  writer.u32(0);
  writer.u64(id);
}

/** Checks kind, version, length and id, and leaves the reader behind the header. @throws CorruptRecord */
export function readHeader(reader: ByteReader, id: number): number {
  const total = reader.remaining;
  const kind = reader.u8();
  const version = reader.u8();
  if (version !== FORMAT_VERSION) throw new CorruptRecord(`record ${id} has version ${version}`);
  if (kind === KIND.reserved) return kind;
  reader.u16();
  const length = reader.u32();
  if (length !== total) throw new CorruptRecord(`record ${id} has ${total} bytes, not ${length}`);
  const own = reader.u64();
  if (own !== id) throw new CorruptRecord(`record ${id} says it is record ${own}`);
  return kind;
}

/** Writes the common header; `finish` fills in the length. */
export const beginRecord = header;

/** Ends a record begun with `beginRecord`; returns a copy of its bytes. */
export function finishRecord(writer: ByteWriter): Uint8Array {
  writer.patch32(4, writer.length);
  return writer.copy();
}

function writePage<E>(writer: ByteWriter, page: Page<E>, entry: (key: number, entry: E) => void): void {
  for (let at = 0; at < page.keys.length; at++) {
    const key = page.keys[at] as number;
    if (page.level === 0) {
      entry(key, page.entries[at] as E);
    } else {
      writer.u64(key);
      writer.u64(page.children[at] as number);
    }
  }
}

function writeDirectoryPage(writer: ByteWriter, page: Page<DirectoryEntry>): void {
  writePage(writer, page, (key, entry) => {
    writer.u64(key);
    writer.u64(entry.inode);
    writer.u8(entry.type);
    writer.u8(entry.name.length);
    writer.latin1(entry.name);
  });
}

function writeExtentPage(writer: ByteWriter, page: Page<Extent>): void {
  writePage(writer, page, (key, extent) => {
    writer.u64(key);
    writer.u32(extent.lengthBytes);
    writer.u64(extent.record);
    writer.u32(extent.recordOffset);
    writer.u32(extent.recordLength);
  });
}

function readPage<E>(
  reader: ByteReader,
  level: number,
  count: number,
  entry: (key: number) => E,
  sizeOf: (entry: E) => number,
): Page<E> {
  if (level > LEVEL_MAX) throw new CorruptRecord(`a tree page is at level ${level}`);
  const page = new Page<E>(level);
  let last = -1;
  for (let at = 0; at < count; at++) {
    const key = reader.u64();
    if (key <= last) throw new CorruptRecord('the keys of a tree page do not ascend');
    last = key;
    page.keys.push(key);
    if (level > 0) {
      page.children.push(reader.u64());
      page.sizeBytes += CHILD_BYTES;
    } else {
      const value = entry(key);
      page.entries.push(value);
      page.sizeBytes += sizeOf(value);
    }
  }
  return page;
}

function readDirectoryPage(reader: ByteReader, level: number, count: number): Page<DirectoryEntry> {
  return readPage(
    reader,
    level,
    count,
    () => {
      const inode = reader.u64();
      const type = reader.u8();
      return { inode, type, name: reader.latin1(reader.u8()) };
    },
    directoryEntryBytes,
  );
}

function readExtentPage(reader: ByteReader, level: number, count: number): Page<Extent> {
  let end = 0;
  return readPage(
    reader,
    level,
    count,
    (offset) => {
      const lengthBytes = reader.u32();
      const record = reader.u64();
      const recordOffset = reader.u32();
      const recordLength = reader.u32();
      if (offset < end || lengthBytes === 0 || recordOffset + lengthBytes > recordLength)
        throw new CorruptRecord(`the extent at ${offset} is impossible`);
      end = offset + lengthBytes;
      return { offset, lengthBytes, record, recordOffset, recordLength };
    },
    () => EXTENT_BYTES,
  );
}

function writeAttributes(writer: ByteWriter, values: ReadonlyMap<string, Uint8Array>): void {
  for (const [name, value] of values) {
    writer.u8(name.length);
    writer.u32(value.length);
    writer.latin1(name);
    writer.bytes(value);
  }
}

function readAttributes(reader: ByteReader, count: number): Map<string, Uint8Array> {
  const values = new Map<string, Uint8Array>();
  for (let at = 0; at < count; at++) {
    const nameLength = reader.u8();
    const valueLength = reader.u32();
    const name = reader.latin1(nameLength);
    values.set(name, reader.bytes(valueLength));
  }
  return values;
}

function readMoment(seconds: number, nanoseconds: number): Moment {
  if (nanoseconds > 999_999_999) throw new CorruptRecord('a time has more than a second of nanoseconds');
  return { seconds, nanoseconds };
}

function encodeInode(writer: ByteWriter, inode: Inode): void {
  header(writer, KIND.inode, inode.id);
  writer.u32(inode.mode);
  writer.u32(inode.userId);
  writer.u32(inode.groupId);
  writer.u32(inode.linkCount);
  writer.u32(inode.generation);
  writer.u32(inode.deviceNumber);
  writer.u64(inode.sizeBytes);
  writer.u64(inode.allocatedBytes);
  for (const moment of [inode.accessed, inode.modified, inode.changed]) writer.u64(moment.seconds);
  for (const moment of [inode.accessed, inode.modified, inode.changed]) writer.u32(moment.nanoseconds);
  writer.u32(0);
  writer.u64(inode.parent);
  writer.u64(inode.attributeRecord);
  writer.u64(inode.entryCount);
  const page = inode.directory ?? inode.extents;
  writer.u8(
    inode.bytes
      ? CONTENT.bytes
      : inode.directory
        ? CONTENT.directory
        : inode.extents
          ? CONTENT.extents
          : CONTENT.none,
  );
  writer.u8(page?.level ?? 0);
  writer.u16(inode.attributes?.size ?? 0);
  writer.u32(page?.keys.length ?? inode.bytes?.length ?? 0);
  if (inode.bytes) writer.bytes(inode.bytes);
  if (inode.directory) writeDirectoryPage(writer, inode.directory);
  if (inode.extents) writeExtentPage(writer, inode.extents);
  if (inode.attributes) writeAttributes(writer, inode.attributes);
}

function decodeInode(reader: ByteReader, id: number): Inode {
  const inode = new Inode(id);
  inode.mode = reader.u32();
  inode.userId = reader.u32();
  inode.groupId = reader.u32();
  inode.linkCount = reader.u32();
  inode.generation = reader.u32();
  inode.deviceNumber = reader.u32();
  inode.sizeBytes = reader.u64();
  inode.allocatedBytes = reader.u64();
  const accessed = reader.i64();
  const modified = reader.i64();
  const changed = reader.i64();
  inode.accessed = readMoment(accessed, reader.u32());
  inode.modified = readMoment(modified, reader.u32());
  inode.changed = readMoment(changed, reader.u32());
  reader.u32();
  inode.parent = reader.u64();
  inode.attributeRecord = reader.u64();
  inode.entryCount = reader.u64();
  const content = reader.u8();
  const level = reader.u8();
  const attributes = reader.u16();
  const count = reader.u32();
  if (content === CONTENT.bytes) inode.bytes = reader.bytes(count);
  else if (content === CONTENT.directory) inode.directory = readDirectoryPage(reader, level, count);
  else if (content === CONTENT.extents) inode.extents = readExtentPage(reader, level, count);
  else if (content !== CONTENT.none) throw new CorruptRecord(`inode ${id} has content of kind ${content}`);
  if (((inode.mode & TYPE_MASK) === TYPE_DIRECTORY) !== (inode.directory !== undefined))
    throw new CorruptRecord(`inode ${id} of mode ${inode.mode.toString(8)} has content of kind ${content}`);
  if (attributes > 0) inode.attributes = readAttributes(reader, attributes);
  return inode;
}

function encodeNode(writer: ByteWriter, node: DirectoryNode | ExtentNode): void {
  header(writer, node.kind === 'directory-node' ? KIND.directoryNode : KIND.extentNode, node.id);
  writer.u64(node.owner);
  writer.u8(node.page.level);
  writer.u8(0);
  writer.u16(0);
  writer.u32(node.page.keys.length);
  if (node.kind === 'directory-node') writeDirectoryPage(writer, node.page);
  else writeExtentPage(writer, node.page);
}

function decodeNode(reader: ByteReader, id: number, kind: number): DirectoryNode | ExtentNode {
  const owner = reader.u64();
  const level = reader.u8();
  reader.u8();
  reader.u16();
  const count = reader.u32();
  return kind === KIND.directoryNode
    ? new DirectoryNode(id, owner, readDirectoryPage(reader, level, count))
    : new ExtentNode(id, owner, readExtentPage(reader, level, count));
}

/** The record's bytes, in a buffer of their own. `writer` is scratch. */
export function encodeRecord(writer: ByteWriter, record: MetaRecord): Uint8Array {
  if (record.kind === 'inode') {
    encodeInode(writer, record);
  } else if (record.kind === 'attributes') {
    header(writer, KIND.attributes, record.id);
    writer.u64(record.owner);
    writer.u32(record.values.size);
    writeAttributes(writer, record.values);
  } else {
    encodeNode(writer, record);
  }
  return finishRecord(writer);
}

/**
 * Parses a record of zdbfs-meta; undefined for an id that is only set aside.
 * @throws CorruptRecord when anything about it is wrong, or it is the superblock
 */
export function decodeRecord(bytes: Uint8Array, id: number): MetaRecord | undefined {
  const reader = new ByteReader(bytes);
  const kind = readHeader(reader, id);
  let record: MetaRecord;
  switch (kind) {
    case KIND.reserved:
      return undefined;
    case KIND.inode:
      record = decodeInode(reader, id);
      break;
    case KIND.directoryNode:
    case KIND.extentNode:
      record = decodeNode(reader, id, kind);
      break;
    case KIND.attributes: {
      const owner = reader.u64();
      record = new AttributeRecord(id, owner, readAttributes(reader, reader.u32()));
      break;
    }
    default:
      throw new CorruptRecord(`record ${id} is of kind ${kind}`);
  }
  reader.end();
  return record;
}
