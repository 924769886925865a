// The calls that are about the contents of regular files: read, write, fallocate, seek, copy_file_range.
import { FilesystemError } from '@qsfs/fuse';
import { NotLocal, StoreError } from '@qsfs/zdb';
import { modeWithoutSetId, prepareAttributes } from './attribute-calls.ts';
import { extentsIn, FILE_SIZE_MAX, prepareRange, visitExtents } from './extent-map.ts';
import type { WrittenExtent } from './operation.ts';
import { type Inode, isDirectory, isRegular } from './record.ts';
import { storageError } from './storage-error.ts';
import type { Transactions } from './transactions.ts';

/** Longest data record; longer writes become several. */
export const RECORD_MAX_BYTES = 1024 * 1024;
/** Files up to this size live in their inode (docs/adr/zdbfs-inline-data.md). */
export const INLINE_MAX_BYTES = 512;
/** Extents unmapped by one operation. */
const UNMAP_EXTENTS_MAX = 1024;
/** Bytes one copy_file_range call copies at most; the caller asks again. */
const COPY_MAX_BYTES = 16 * 1024 * 1024;
/** Missing records a read names beside the first. */
const FURTHER_MAX = 11;
const SEEK_DATA = 3;
const KEEP_SIZE = 1;
const PUNCH_HOLE = 2;
const ZERO_RANGE = 0x10;

function regular(transactions: Transactions, id: number): Inode {
  const inode = transactions.state.inode(id);
  if (isDirectory(inode)) throw new FilesystemError('EISDIR');
  if (!isRegular(inode)) throw new FilesystemError('EINVAL');
  return inode;
}

/** READ. Holes are zeros. */
export function readFile(transactions: Transactions, id: number, offset: number, target: Uint8Array): number {
  const file = regular(transactions, id);
  if (offset >= file.sizeBytes) return 0;
  const length = Math.min(target.length, file.sizeBytes - offset);
  readMapped(transactions, file, offset, length === target.length ? target : target.subarray(0, length));
  return length;
}

/** Fills all of `target` from the file's contents; what is not mapped becomes zeros. */
export function readMapped(
  transactions: Transactions,
  file: Inode,
  offset: number,
  target: Uint8Array,
): void {
  if (file.bytes) {
    const part = file.bytes.subarray(Math.min(offset, file.bytes.length), offset + target.length);
    target.set(part);
    target.fill(0, part.length);
    return;
  }
  const { state } = transactions;
  const end = offset + target.length;
  let filled = offset;
  let missing: NotLocal | undefined;
  visitExtents(state, file, offset, (extent) => {
    if (extent.offset >= end) return false;
    const from = Math.max(offset, extent.offset);
    const to = Math.min(end, extent.offset + extent.lengthBytes);
    if (from > filled) target.fill(0, filled - offset, from - offset);
    const part = target.subarray(from - offset, to - offset);
    try {
      readRecord(transactions, file, extent.record, extent.recordOffset + from - extent.offset, part);
    } catch (error) {
      if (!(error instanceof NotLocal)) throw error;
      // Brought one after the other, the many small parts of a file that grew slowly would take for ever.
      if (missing) missing.further.push(error);
      else missing = error;
      if (missing.further.length >= FURTHER_MAX) return false;
    }
    filled = to;
    return filled < end;
  });
  if (missing) throw missing;
  target.fill(0, filled - offset);
}

function readRecord(
  transactions: Transactions,
  file: Inode,
  record: number,
  offset: number,
  target: Uint8Array,
): void {
  const { state } = transactions;
  let length = 0;
  try {
    length = state.store.data.readInto(record, offset, target);
  } catch (error) {
    if (error instanceof StoreError)
      state.log('error', `zdbfs-data: record ${record} of inode ${file.id}: ${error.message}`);
    throw storageError(error);
  }
  if (length === target.length) return;
  state.log('error', `zdbfs-data: record ${record} of inode ${file.id} is shorter than its extent`);
  throw new FilesystemError('EIO', `record ${record} is shorter than its extent`);
}

/** Contents one operation maps at most: what the kernel sends at once is atomic. */
const WRITE_MAX_BYTES = 4 * RECORD_MAX_BYTES;

/** WRITE: one record in zdbfs-data, borrowed from the request, and one in the journal. */
export function writeFile(
  transactions: Transactions,
  id: number,
  offset: number,
  source: Uint8Array,
  clearSetId: boolean,
): void {
  const file = regular(transactions, id);
  const end = offset + source.length;
  if (end > FILE_SIZE_MAX) throw new FilesystemError('EFBIG');
  if (source.length === 0) return;
  prepareAttributes(transactions, file);
  const mode = clearSetId ? modeWithoutSetId(file) : undefined;
  if (file.bytes && end <= INLINE_MAX_BYTES) {
    transactions.assertRoom(Math.max(0, end - file.bytes.length));
    transactions.reserveIds();
    transactions.run({ kind: 'write-inline', inode: id, offset, bytes: source, mode });
    return;
  }
  for (let from = 0; from < source.length; from += WRITE_MAX_BYTES) {
    const part = source.length <= WRITE_MAX_BYTES ? source : source.subarray(from, from + WRITE_MAX_BYTES);
    writePart(transactions, file, offset + from, part, mode);
  }
}

function writePart(
  transactions: Transactions,
  file: Inode,
  offset: number,
  source: Uint8Array,
  mode: number | undefined,
): void {
  const { state } = transactions;
  const end = offset + source.length;
  prepareRange(state, file, offset, end);
  transactions.assertRoom(growthOf(transactions, file, offset, source.length));
  transactions.reserveIds();
  const extents: WrittenExtent[] = [];
  insertAll(transactions, extents, () => {
    const { data } = state.store;
    let inline = file.bytes ?? new Uint8Array(0);
    if (inline.length > offset) inline = inline.subarray(0, offset);
    // What was inline becomes part of the first record where it can; what is overwritten is left out.
    if (inline.length > 0 && inline.length < offset)
      extents.push({ offset: 0, lengthBytes: inline.length, record: data.insert(inline) });
    for (let from = 0; from < source.length; from += RECORD_MAX_BYTES) {
      const part = source.subarray(from, from + RECORD_MAX_BYTES);
      const joins = from === 0 && inline.length > 0 && inline.length === offset;
      extents.push({
        offset: joins ? 0 : offset + from,
        lengthBytes: joins ? inline.length + part.length : part.length,
        record: data.insert(joins ? [inline, part] : part),
      });
    }
    const tail = file.bytes && file.bytes.length > end ? file.bytes.subarray(end) : undefined;
    if (tail) extents.push({ offset: end, lengthBytes: tail.length, record: data.insert(tail) });
    transactions.run({ kind: 'write', inode: file.id, extents, sizeBytes: end, mode, touch: true });
  });
}

/** Runs `action`, which inserts records and notes them; when it fails none of them stays behind. */
export function insertAll(
  transactions: Transactions,
  inserted: readonly WrittenExtent[],
  action: () => void,
): void {
  try {
    action();
  } catch (error) {
    transactions.discardData(inserted.map((extent) => extent.record));
    throw storageError(error);
  }
}

/** Bytes the volume grows by when the range is written; only counted exactly when a volume size has to be kept. */
function growthOf(transactions: Transactions, file: Inode, offset: number, lengthBytes: number): number {
  const { sizeBytes } = transactions.limits;
  if (sizeBytes === 0 || transactions.state.usedBytes + lengthBytes <= sizeBytes) return lengthBytes;
  const end = offset + lengthBytes;
  let mapped = file.bytes ? Math.max(0, Math.min(end, file.bytes.length) - offset) : 0;
  for (const extent of extentsIn(transactions.state, file, offset, end))
    mapped += Math.min(end, extent.offset + extent.lengthBytes) - Math.max(offset, extent.offset);
  return lengthBytes - mapped;
}

/** FALLOCATE. Room cannot be reserved in a log: without a mode it only sees whether there is room now, and sets the size. */
export function allocateRange(
  transactions: Transactions,
  id: number,
  mode: number,
  offset: number,
  lengthBytes: number,
): void {
  const file = regular(transactions, id);
  const end = offset + lengthBytes;
  if (lengthBytes <= 0 || offset < 0) throw new FilesystemError('EINVAL');
  if (end > FILE_SIZE_MAX) throw new FilesystemError('EFBIG');
  const keepsSize = (mode & KEEP_SIZE) !== 0;
  const sizeBytes = keepsSize ? file.sizeBytes : Math.max(file.sizeBytes, end);
  if (mode === (PUNCH_HOLE | KEEP_SIZE) || mode === ZERO_RANGE || mode === (ZERO_RANGE | KEEP_SIZE)) {
    unmapRange(transactions, file, offset, end, sizeBytes);
    return;
  }
  if (mode & ~KEEP_SIZE) throw new FilesystemError('EOPNOTSUPP');
  transactions.assertRoom(growthOf(transactions, file, offset, lengthBytes));
  if (sizeBytes === file.sizeBytes) return;
  prepareAttributes(transactions, file);
  transactions.reserveIds();
  const time = transactions.now();
  transactions.run(
    {
      kind: 'attributes',
      inode: id,
      mode: undefined,
      userId: undefined,
      groupId: undefined,
      sizeBytes,
      accessed: undefined,
      modified: time,
      changed: time,
      dropCapability: true,
    },
    time,
  );
}

/** Makes a hole of `start` … `end`, a bounded number of extents an operation. */
function unmapRange(
  transactions: Transactions,
  file: Inode,
  start: number,
  end: number,
  sizeBytes: number,
): void {
  const { state } = transactions;
  prepareAttributes(transactions, file);
  for (let from = start; from < end; ) {
    let to = end;
    let count = 0;
    visitExtents(state, file, from, (extent) => {
      if (extent.offset >= end) return false;
      if (++count <= UNMAP_EXTENTS_MAX) return true;
      to = extent.offset;
      return false;
    });
    prepareRange(state, file, from, to);
    transactions.reserveIds();
    transactions.run({
      kind: 'punch',
      inode: file.id,
      offset: from,
      lengthBytes: to - from,
      sizeBytes: to === end ? sizeBytes : file.sizeBytes,
    });
    from = to;
  }
}

/** LSEEK with SEEK_DATA and SEEK_HOLE. @throws FilesystemError(ENXIO) behind the end, or when no data follows */
export function seekFile(transactions: Transactions, id: number, offset: number, whence: number): number {
  const file = regular(transactions, id);
  if (offset >= file.sizeBytes || offset < 0) throw new FilesystemError('ENXIO');
  if (file.bytes) {
    const inData = offset < file.bytes.length;
    if (whence === SEEK_DATA) {
      if (!inData) throw new FilesystemError('ENXIO');
      return offset;
    }
    return inData ? file.bytes.length : offset;
  }
  let found = -1;
  let covered = offset;
  visitExtents(transactions.state, file, offset, (extent) => {
    if (whence === SEEK_DATA) {
      found = Math.max(offset, extent.offset);
      return false;
    }
    if (extent.offset > covered) return false;
    covered = extent.offset + extent.lengthBytes;
    return true;
  });
  if (whence !== SEEK_DATA) return Math.min(covered, file.sizeBytes);
  if (found < 0) throw new FilesystemError('ENXIO');
  return found;
}

/** COPY_FILE_RANGE: copies, holes as holes, a bounded number of bytes; returns how many. */
export function copyFileRange(
  transactions: Transactions,
  sourceId: number,
  sourceOffset: number,
  targetId: number,
  targetOffset: number,
  lengthBytes: number,
): number {
  const source = regular(transactions, sourceId);
  const target = regular(transactions, targetId);
  const wanted = Math.min(lengthBytes, COPY_MAX_BYTES, source.sizeBytes - sourceOffset);
  if (wanted <= 0) return 0;
  if (targetOffset + wanted > FILE_SIZE_MAX) throw new FilesystemError('EFBIG');
  if (sourceId === targetId && Math.abs(sourceOffset - targetOffset) < wanted)
    throw new FilesystemError('EINVAL');
  const buffer = new Uint8Array(Math.min(wanted, RECORD_MAX_BYTES));
  let done = 0;
  while (done < wanted) {
    const part = buffer.subarray(0, Math.min(buffer.length, wanted - done));
    try {
      copyPart(transactions, source, sourceOffset + done, target, targetOffset + done, part);
    } catch (error) {
      // What is copied is copied; the caller asks for the rest and gets the error then.
      if (done > 0 && (error instanceof NotLocal || error instanceof FilesystemError)) return done;
      throw error;
    }
    done += part.length;
  }
  return done;
}

function copyPart(
  transactions: Transactions,
  source: Inode,
  sourceOffset: number,
  target: Inode,
  targetOffset: number,
  buffer: Uint8Array,
): void {
  const end = targetOffset + buffer.length;
  const isHole =
    !source.bytes &&
    extentsIn(transactions.state, source, sourceOffset, sourceOffset + buffer.length).length === 0;
  if (isHole) {
    unmapRange(transactions, target, targetOffset, end, Math.max(target.sizeBytes, end));
    return;
  }
  readMapped(transactions, source, sourceOffset, buffer);
  // Set-id bits are the kernel's: it clears them before it asks for a copy.
  writeFile(transactions, target.id, targetOffset, buffer, false);
}
