// The superblock, records 0 and 2 of zdbfs-meta: docs/formats/zdbfs.md, section 3. It is the state of the whole volume at its
// last checkpoint, as far as that is not in other records.
import { ByteReader, type ByteWriter, CorruptRecord } from './bytes.ts';
import { beginRecord, finishRecord, KIND, readHeader } from './record-codec.ts';

/** Where it is stored: the same bytes twice, because without one nothing can be found. */
export const SUPERBLOCK_IDS = [0, 2] as const;

/** Of the header every record has. */
const OWN_ID_OFFSET = 8;
/** `ZDBFSV2` and a zero byte. */
const MAGIC = 'ZDBFSV2\0';

/** Contents of the superblock. Lists keep their order: recovery repeats allocations from them. */
export interface Superblock {
  readonly volumeId: Uint8Array;
  readonly seedLow: number;
  readonly seedHigh: number;
  readonly createdSeconds: number;
  /** Counts checkpoints; the journal's records say on which one they build. */
  readonly checkpoint: number;
  /** One more than the largest id of zdbfs-meta that was ever set aside. */
  readonly metaEnd: number;
  /** `nextId` of zdbfs-data at the checkpoint. */
  readonly nextDataId: number;
  /** The next inode's generation. */
  readonly generation: number;
  /** Bytes mapped or inline in all files. */
  readonly usedBytes: number;
  readonly inodes: number;
  /** Ids in zdbfs-meta that are set aside for new records, taken from the end. */
  readonly freeIds: readonly number[];
  /** Records no longer needed, to be removed from zdbfs-meta and zdbfs-data. */
  readonly doomedMeta: readonly number[];
  readonly doomedData: readonly number[];
  /** Inodes without a name. */
  readonly orphans: readonly number[];
}

function writeList(writer: ByteWriter, list: readonly number[]): void {
  writer.u32(list.length);
  let last = 0;
  for (const value of list) {
    writer.varint(value - last);
    last = value;
  }
}

function readList(reader: ByteReader): number[] {
  const count = reader.u32();
  if (count > reader.remaining) throw new CorruptRecord('a list of the superblock is longer than its record');
  const list: number[] = [];
  let last = 0;
  for (let at = 0; at < count; at++) {
    last += reader.varint();
    if (last < 0) throw new CorruptRecord('a list of the superblock has a negative id');
    list.push(last);
  }
  return list;
}

/** The superblock's bytes, in a buffer of their own. */
export function encodeSuperblock(writer: ByteWriter, superblock: Superblock): Uint8Array {
  beginRecord(writer, KIND.superblock, 0);
  writer.latin1(MAGIC);
  writer.bytes(superblock.volumeId);
  writer.u32(superblock.seedLow);
  writer.u32(superblock.seedHigh);
  writer.u64(superblock.createdSeconds);
  writer.u64(superblock.checkpoint);
  writer.u64(superblock.metaEnd);
  writer.u64(superblock.nextDataId);
  writer.u32(superblock.generation);
  writer.u32(0);
  writer.u64(superblock.usedBytes);
  writer.u64(superblock.inodes);
  writeList(writer, superblock.freeIds);
  writeList(writer, superblock.doomedMeta);
  writeList(writer, superblock.doomedData);
  writeList(writer, superblock.orphans);
  return finishRecord(writer);
}

/** The bytes to store under another of its ids. */
export function superblockFor(bytes: Uint8Array, id: number): Uint8Array {
  const copy = new Uint8Array(bytes);
  copy[OWN_ID_OFFSET] = id;
  return copy;
}

/** @throws CorruptRecord when it is no intact superblock of this format version */
export function decodeSuperblock(bytes: Uint8Array, id = 0): Superblock {
  const reader = new ByteReader(bytes);
  if (readHeader(reader, id) !== KIND.superblock) throw new CorruptRecord(`record ${id} is no superblock`);
  if (reader.latin1(8) !== MAGIC) throw new CorruptRecord('the superblock has another magic');
  const volumeId = reader.bytes(16);
  const seedLow = reader.u32();
  const seedHigh = reader.u32();
  const createdSeconds = reader.i64();
  const checkpoint = reader.u64();
  const metaEnd = reader.u64();
  const nextDataId = reader.u64();
  const generation = reader.u32();
  reader.u32();
  const usedBytes = reader.u64();
  const inodes = reader.u64();
  const superblock = {
    volumeId,
    seedLow,
    seedHigh,
    createdSeconds,
    checkpoint,
    metaEnd,
    nextDataId,
    generation,
    usedBytes,
    inodes,
    freeIds: readList(reader),
    doomedMeta: readList(reader),
    doomedData: readList(reader),
    orphans: readList(reader),
  };
  reader.end();
  return superblock;
}

/** True for the 24-byte header of format version 1 (magic `ZDBFSM`). */
export function isVersion1(bytes: Uint8Array): boolean {
  return (
    bytes.length === 24 && Buffer.from(bytes.buffer, bytes.byteOffset, 6).toString('latin1') === 'ZDBFSM'
  );
}
