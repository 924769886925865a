// Bytes of the records of zdbfs-journal: docs/formats/zdbfs.md, section 7. A record is an operation, or one of the
// marks that belong to synchronization and checkpoints.
import { ByteReader, type ByteWriter, CorruptRecord } from './bytes.ts';
import type { AttributesOperation, Operation, WrittenExtent } from './operation.ts';
import type { Moment } from './record.ts';
import { FORMAT_VERSION } from './record-codec.ts';

const KINDS = [
  'reserve',
  'create',
  'remove',
  'rename',
  'link',
  'attributes',
  'write',
  'write-inline',
  'punch',
  'extended-attribute',
  'destroy',
  'synced',
  'images',
  'checkpoint',
] as const;

/** Everything below this id is on stable storage in zdbfs-data. */
export interface SyncedMark {
  readonly kind: 'synced';
  readonly nextDataId: number;
}

/** Records of zdbfs-meta as they are at the checkpoint about to be made. */
export interface ImagesRecord {
  readonly kind: 'images';
  readonly images: readonly { readonly id: number; readonly bytes: Uint8Array }[];
}

/** Ends the images of a checkpoint: from here on they count. `images` is the number of `images` records before it. */
export interface CheckpointMark {
  readonly kind: 'checkpoint';
  readonly imageRecords: number;
  readonly superblock: Uint8Array;
}

/** What a journal record can hold. */
export type JournalEntry = Operation | SyncedMark | ImagesRecord | CheckpointMark;

/** A journal record: its place (on which checkpoint it builds, its number since then) and its time. */
export interface JournalRecord {
  readonly checkpoint: number;
  readonly sequence: number;
  readonly time: Moment;
  readonly entry: JournalEntry;
}

/** Length of the header of a journal record. */
export const JOURNAL_HEADER_BYTES = 32;

function writeName(writer: ByteWriter, name: string): void {
  writer.u8(name.length);
  writer.latin1(name);
}

function readName(reader: ByteReader): string {
  return reader.latin1(reader.u8());
}

function writeBytes(writer: ByteWriter, bytes: Uint8Array): void {
  writer.u32(bytes.length);
  writer.bytes(bytes);
}

function readBytes(reader: ByteReader): Uint8Array {
  return reader.bytes(reader.u32());
}

function readMoment(reader: ByteReader): Moment {
  const seconds = reader.i64();
  const nanoseconds = reader.u32();
  if (nanoseconds > 999_999_999) throw new CorruptRecord('a time has more than a second of nanoseconds');
  return { seconds, nanoseconds };
}

function writeAttributes(writer: ByteWriter, entry: AttributesOperation): void {
  const numbers = [entry.mode, entry.userId, entry.groupId, entry.sizeBytes];
  const moments = [entry.accessed, entry.modified, entry.changed];
  let mask = entry.dropCapability ? 128 : 0;
  numbers.forEach((value, bit) => {
    if (value !== undefined) mask |= 1 << bit;
  });
  moments.forEach((value, bit) => {
    if (value !== undefined) mask |= 16 << bit;
  });
  writer.u64(entry.inode);
  writer.u8(mask);
  for (const value of numbers) if (value !== undefined) writer.u64(value);
  for (const moment of moments) {
    if (moment === undefined) continue;
    writer.u64(moment.seconds);
    writer.u32(moment.nanoseconds);
  }
}

function readAttributes(reader: ByteReader): AttributesOperation {
  const inode = reader.u64();
  const mask = reader.u8();
  const number = (bit: number) => (mask & bit ? reader.u64() : undefined);
  const mode = number(1);
  const userId = number(2);
  const groupId = number(4);
  const sizeBytes = number(8);
  const moment = (bit: number) => (mask & bit ? readMoment(reader) : undefined);
  const accessed = moment(16);
  const modified = moment(32);
  const changed = moment(64);
  const dropCapability = (mask & 128) !== 0;
  return {
    kind: 'attributes',
    inode,
    mode,
    userId,
    groupId,
    sizeBytes,
    accessed,
    modified,
    changed,
    dropCapability,
  };
}

/** A mode, or all ones for none. */
const NO_MODE = 0xffffffff;

function readMode(reader: ByteReader): number | undefined {
  const mode = reader.u32();
  return mode === NO_MODE ? undefined : mode;
}

function writeBody(writer: ByteWriter, entry: JournalEntry): void {
  switch (entry.kind) {
    case 'reserve':
      writer.u32(entry.runs.length);
      for (const run of entry.runs) {
        writer.u64(run.first);
        writer.u32(run.count);
      }
      return;
    case 'create':
      writer.u64(entry.inode);
      writer.u64(entry.parent);
      writeName(writer, entry.name);
      writer.u32(entry.mode);
      writer.u32(entry.userId);
      writer.u32(entry.groupId);
      writer.u32(entry.deviceNumber);
      writer.u8(entry.target ? 1 : 0);
      if (entry.target) writeBytes(writer, entry.target);
      return;
    case 'remove':
      writer.u64(entry.parent);
      writeName(writer, entry.name);
      return;
    case 'rename':
      writer.u64(entry.sourceParent);
      writer.u64(entry.targetParent);
      writer.u8(entry.exchange ? 1 : 0);
      writeName(writer, entry.sourceName);
      writeName(writer, entry.targetName);
      return;
    case 'link':
      writer.u64(entry.inode);
      writer.u64(entry.parent);
      writeName(writer, entry.name);
      return;
    case 'attributes':
      writeAttributes(writer, entry);
      return;
    case 'write':
      writer.u64(entry.inode);
      writer.u64(entry.sizeBytes);
      writer.u32(entry.mode ?? NO_MODE);
      writer.u8(entry.touch ? 1 : 0);
      writer.u32(entry.extents.length);
      for (const extent of entry.extents) {
        writer.u64(extent.offset);
        writer.u32(extent.lengthBytes);
        writer.u64(extent.record);
      }
      return;
    case 'write-inline':
      writer.u64(entry.inode);
      writer.u64(entry.offset);
      writer.u32(entry.mode ?? NO_MODE);
      writeBytes(writer, entry.bytes);
      return;
    case 'punch':
      writer.u64(entry.inode);
      writer.u64(entry.offset);
      writer.u64(entry.lengthBytes);
      writer.u64(entry.sizeBytes);
      return;
    case 'extended-attribute':
      writer.u64(entry.inode);
      writeName(writer, entry.name);
      writer.u8(entry.value ? 1 : 0);
      if (entry.value) writeBytes(writer, entry.value);
      return;
    case 'destroy':
      writer.u32(entry.inodes.length);
      for (const inode of entry.inodes) writer.u64(inode);
      return;
    case 'synced':
      writer.u64(entry.nextDataId);
      return;
    case 'images':
      writer.u32(entry.images.length);
      for (const image of entry.images) {
        writer.u64(image.id);
        writeBytes(writer, image.bytes);
      }
      return;
    case 'checkpoint':
      writer.u32(entry.imageRecords);
      writeBytes(writer, entry.superblock);
      return;
  }
}

function list<T>(reader: ByteReader, read: () => T): T[] {
  const count = reader.u32();
  if (count > reader.remaining) throw new CorruptRecord('a list is longer than its record');
  return Array.from({ length: count }, read);
}

function readBody(reader: ByteReader, kind: (typeof KINDS)[number]): JournalEntry {
  switch (kind) {
    case 'reserve':
      return { kind, runs: list(reader, () => ({ first: reader.u64(), count: reader.u32() })) };
    case 'create':
      return {
        kind,
        inode: reader.u64(),
        parent: reader.u64(),
        name: readName(reader),
        mode: reader.u32(),
        userId: reader.u32(),
        groupId: reader.u32(),
        deviceNumber: reader.u32(),
        target: reader.u8() === 1 ? readBytes(reader) : undefined,
      };
    case 'remove':
      return { kind, parent: reader.u64(), name: readName(reader) };
    case 'rename': {
      const sourceParent = reader.u64();
      const targetParent = reader.u64();
      const exchange = reader.u8() === 1;
      const sourceName = readName(reader);
      return { kind, sourceParent, sourceName, targetParent, targetName: readName(reader), exchange };
    }
    case 'link':
      return { kind, inode: reader.u64(), parent: reader.u64(), name: readName(reader) };
    case 'attributes':
      return readAttributes(reader);
    case 'write':
      return {
        kind,
        inode: reader.u64(),
        sizeBytes: reader.u64(),
        mode: readMode(reader),
        touch: reader.u8() === 1,
        extents: list(
          reader,
          (): WrittenExtent => ({ offset: reader.u64(), lengthBytes: reader.u32(), record: reader.u64() }),
        ),
      };
    case 'write-inline':
      return {
        kind,
        inode: reader.u64(),
        offset: reader.u64(),
        mode: readMode(reader),
        bytes: readBytes(reader),
      };
    case 'punch':
      return {
        kind,
        inode: reader.u64(),
        offset: reader.u64(),
        lengthBytes: reader.u64(),
        sizeBytes: reader.u64(),
      };
    case 'extended-attribute':
      return {
        kind,
        inode: reader.u64(),
        name: readName(reader),
        value: reader.u8() === 1 ? readBytes(reader) : undefined,
      };
    case 'destroy':
      return { kind, inodes: list(reader, () => reader.u64()) };
    case 'synced':
      return { kind, nextDataId: reader.u64() };
    case 'images':
      return { kind, images: list(reader, () => ({ id: reader.u64(), bytes: readBytes(reader) })) };
    case 'checkpoint':
      return { kind, imageRecords: reader.u32(), superblock: readBytes(reader) };
  }
}

/** Writes the record into `writer` (from its beginning) and returns a view of the bytes, valid until its next use. */
export function encodeJournalRecord(
  writer: ByteWriter,
  checkpoint: number,
  sequence: number,
  time: Moment,
  entry: JournalEntry,
): Uint8Array {
  writer.reset();
  writer.u8(KINDS.indexOf(entry.kind) + 1);
  writer.u8(FORMAT_VERSION);
  writer.u16(0);
  writer.u32(0);
  writer.u64(checkpoint);
  writer.u32(sequence);
  writer.u32(time.nanoseconds);
  writer.u64(time.seconds);
  writeBody(writer, entry);
  writer.patch32(4, writer.length);
  return writer.view();
}

/** @throws CorruptRecord when anything about the record is wrong */
export function decodeJournalRecord(bytes: Uint8Array): JournalRecord {
  const reader = new ByteReader(bytes);
  const kind = KINDS[reader.u8() - 1];
  const version = reader.u8();
  if (kind === undefined || version !== FORMAT_VERSION) throw new CorruptRecord('no journal record');
  reader.u16();
  if (reader.u32() !== bytes.length) throw new CorruptRecord('the journal record has another length');
  const checkpoint = reader.u64();
  const sequence = reader.u32();
  const nanoseconds = reader.u32();
  const time = { seconds: reader.i64(), nanoseconds };
  const entry = readBody(reader, kind);
  reader.end();
  return { checkpoint, sequence, time, entry };
}
