// Reads one index file from front to back, of either mode and either origin, without trusting it.
import type { Disk } from '@qsfs/io';
import {
  decodeIndexHeader,
  ID_BYTES,
  INDEX_DELETED,
  INDEX_ENTRY_BYTES,
  INDEX_HEADER_BYTES,
  type IndexHeader,
  indexEntry,
} from '../engine/format/index-format.ts';

const WINDOW_BYTES = 1024 * 1024;
const ENTRY_MAX_BYTES = INDEX_ENTRY_BYTES + 255;

/** One entry; all numbers as stored. */
export interface IndexFileEntry {
  readonly offset: number;
  readonly key: Uint8Array;
  readonly dataOffset: number;
  readonly payloadBytes: number;
  readonly previous: number;
  readonly deleted: boolean;
  readonly dataFile: number;
  readonly timestamp: number;
  readonly crc: number;
  readonly parentFile: number;
  readonly parentOffset: number;
}

/** An index file and what can be read of it. */
export interface IndexFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly header: IndexHeader;
  /** Offset of the first byte that is no entry, after the entries were walked. */
  endOffset: number;
  entries(): Generator<IndexFileEntry>;
}

/** Opens an index file; `entries` may be walked once, `close` ends it. @throws IoError */
export function openIndexFile(disk: Disk, path: string): IndexFile & { close(): void } {
  const file = disk.open(path, 'read');
  const head = new Uint8Array(INDEX_HEADER_BYTES);
  const header = decodeIndexHeader(head.subarray(0, file.read(head, 0)));
  const sizeBytes = file.size();
  const opened = {
    path,
    sizeBytes,
    header,
    endOffset: INDEX_HEADER_BYTES,
    close: () => file.close(),
    *entries(): Generator<IndexFileEntry> {
      if (header.kind !== 'good') return;
      const window = new Uint8Array(WINDOW_BYTES);
      let start = 0;
      let end = 0;
      for (let offset = INDEX_HEADER_BYTES; offset + INDEX_ENTRY_BYTES <= sizeBytes; ) {
        if (Math.min(offset + ENTRY_MAX_BYTES, sizeBytes) > end) {
          start = offset;
          end = start + file.read(window, start);
        }
        const at = offset - start;
        const keyBytes = indexEntry.keyBytes(window, at);
        const next = offset + INDEX_ENTRY_BYTES + keyBytes;
        if (keyBytes === 0 || next > sizeBytes || (header.mode === 'seq' && keyBytes !== ID_BYTES)) return;
        yield {
          offset,
          key: window.slice(at + INDEX_ENTRY_BYTES, at + INDEX_ENTRY_BYTES + keyBytes),
          dataOffset: indexEntry.dataOffset(window, at),
          payloadBytes: indexEntry.payloadBytes(window, at),
          previous: indexEntry.previous(window, at),
          deleted: (indexEntry.flags(window, at) & INDEX_DELETED) !== 0,
          dataFile: indexEntry.dataFile(window, at),
          timestamp: indexEntry.timestamp(window, at),
          crc: indexEntry.crc(window, at),
          parentFile: indexEntry.parentFile(window, at),
          parentOffset: indexEntry.parentOffset(window, at),
        };
        offset = next;
        opened.endOffset = offset;
      }
    },
  };
  return opened;
}

/** Numbers of the files `i0`, `i1`, … or `d0`, `d1`, … in a directory, ascending. */
export function numberedFiles(disk: Disk, directory: string, letter: 'i' | 'd'): number[] {
  if (disk.stat(directory)?.kind !== 'directory') return [];
  return disk
    .list(directory)
    .filter((name) => name.startsWith(letter) && /^.(0|[1-9]\d*)$/.test(name))
    .map((name) => Number(name.slice(1)))
    .sort((a, b) => a - b);
}
