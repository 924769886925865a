// The map of a file: which of its ranges are in which data records. New data shadows older data; a record none of whose
// bytes is mapped any more is doomed, and removed from the store after the next checkpoint.
import type { Extent, Inode, Page } from './record.ts';
import type { VolumeState } from './volume-state.ts';

/** No file is larger than this. */
export const FILE_SIZE_MAX = 2 ** 53 - 1;

/** A data record and the file offsets it was written for. */
interface RecordSpan {
  readonly record: number;
  readonly start: number;
  readonly end: number;
}

function root(file: Inode): Page<Extent> {
  if (!file.extents) throw new Error(`inode ${file.id} has no extent map`);
  return file.extents;
}

/** The extents that overlap `start` … `end`, ascending. */
export function extentsIn(state: VolumeState, file: Inode, start: number, end: number): Extent[] {
  const found: Extent[] = [];
  if (!file.extents || start >= end) return found;
  const before = state.files.floor(file, file.extents, start);
  if (before && before.offset < start && before.offset + before.lengthBytes > start) found.push(before);
  state.files.visit(file, file.extents, start, (extent) => {
    if (extent.offset >= end) return false;
    found.push(extent);
    return true;
  });
  return found;
}

/** Shows the extents from the one that covers `offset`, or the next, until `visit` answers false. */
export function visitExtents(
  state: VolumeState,
  file: Inode,
  offset: number,
  visit: (extent: Extent) => boolean,
): void {
  if (!file.extents) return;
  const before = state.files.floor(file, file.extents, offset);
  if (before && before.offset < offset && before.offset + before.lengthBytes > offset && !visit(before))
    return;
  state.files.visit(file, file.extents, offset, visit);
}

function spansOf(extents: readonly Extent[]): RecordSpan[] {
  const spans = new Map<number, RecordSpan>();
  for (const extent of extents) {
    if (spans.has(extent.record)) continue;
    const start = extent.offset - extent.recordOffset;
    spans.set(extent.record, { record: extent.record, start, end: start + extent.recordLength });
  }
  return [...spans.values()];
}

function isMapped(state: VolumeState, file: Inode, span: RecordSpan): boolean {
  let mapped = false;
  state.files.visit(file, root(file), span.start, (extent) => {
    if (extent.offset >= span.end) return false;
    mapped = extent.record === span.record;
    return !mapped;
  });
  return mapped;
}

/** Loads what `mapRange` of this range needs. */
export function prepareRange(state: VolumeState, file: Inode, start: number, end: number): void {
  if (!file.extents) return;
  const old = extentsIn(state, file, start, end);
  // When whole pages in the range go away, what is inserted lands in the neighbour on either side.
  if (start > 0) state.files.floor(file, file.extents, start - 1);
  state.files.find(file, file.extents, end);
  state.files.visit(file, file.extents, end, () => false);
  for (const span of spansOf(old)) {
    state.files.visit(file, file.extents, span.start, (extent) => extent.offset < span.end);
  }
}

/**
 * Unmaps `start` … `end` and maps `fresh` there: extents inside the range, ascending, not overlapping. Keeps the counts of
 * the file and the volume, and dooms records that are not mapped any more.
 */
export function mapRange(
  state: VolumeState,
  file: Inode,
  start: number,
  end: number,
  fresh: readonly Extent[],
): void {
  const page = root(file);
  const old = extentsIn(state, file, start, end);
  const kept = new Set<number>();
  let change = 0;
  for (const extent of old) {
    const extentEnd = extent.offset + extent.lengthBytes;
    change -= Math.min(end, extentEnd) - Math.max(start, extent.offset);
    if (extent.offset < start) {
      state.files.replace(file, page, extent.offset, { ...extent, lengthBytes: start - extent.offset });
      kept.add(extent.record);
    } else {
      state.files.remove(file, page, extent.offset);
    }
    if (extentEnd > end) {
      const cut = end - extent.offset;
      state.files.insert(file, page, end, {
        ...extent,
        offset: end,
        lengthBytes: extentEnd - end,
        recordOffset: extent.recordOffset + cut,
      });
      kept.add(extent.record);
    }
  }
  for (const extent of fresh) {
    state.files.insert(file, page, extent.offset, extent);
    change += extent.lengthBytes;
  }
  for (const span of spansOf(old)) {
    if (!kept.has(span.record) && !isMapped(state, file, span)) state.doomedData.push(span.record);
  }
  file.allocatedBytes += change;
  state.usedBytes += change;
  state.cache.changed(file);
}
