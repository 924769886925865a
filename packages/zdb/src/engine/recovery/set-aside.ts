// Damaged bytes are never thrown away: they are copied beside the file before it is cut.
import { type Disk, type DiskFile, errorCode } from '@qsfs/io';
import { StoreError } from '../types.ts';

const COPY_BYTES = 1 << 20;
const ZEROS = new Uint8Array(64 << 10);

/**
 * Copies what stands from `end` to the end of a file into `<path>.torn-<seconds>` and cuts the file there. Durable in that order.
 * Where there are only zeros the copy has holes: a file that lost everything may be large.
 * @throws StoreError when there is no room for the copy: then nothing was changed; IoError
 * @returns the name of the copy; undefined when there was nothing to cut
 */
export function cutTail(disk: Disk, path: string, end: number, nowSeconds: number): string | undefined {
  const file = disk.open(path, 'write');
  try {
    const size = file.size();
    if (size <= end) return undefined;
    const name = copyFrom(disk, file, end, freeName(disk, `${path}.torn-${nowSeconds}`), 'cut off');
    file.truncate(end);
    file.datasync();
    return name;
  } finally {
    file.close();
  }
}

/** Copies a file to `<path>.damaged-<seconds>`, durably, before it is written to. @throws as `cutTail` @returns the name of the copy */
export function copyAside(disk: Disk, path: string, nowSeconds: number): string {
  const file = disk.open(path, 'read');
  try {
    return copyFrom(disk, file, 0, freeName(disk, `${path}.damaged-${nowSeconds}`), 'written over');
  } finally {
    file.close();
  }
}

/** Copies what stands from `start` to the end of a file and is about to be `fate`. @throws as `cutTail` @returns the name of the copy */
function copyFrom(disk: Disk, file: DiskFile, start: number, name: string, fate: string): string {
  const { path } = file;
  const size = file.size();
  const copy = disk.open(name, 'create-new');
  try {
    const buffer = new Uint8Array(Math.min(COPY_BYTES, size - start));
    for (let at = start; at < size; ) {
      const got = file.read(buffer.subarray(0, Math.min(buffer.length, size - at)), at);
      if (got === 0) break;
      if (!isZero(buffer, got)) copy.write(buffer.subarray(0, got), at - start);
      at += got;
    }
    copy.truncate(size - start);
    copy.datasync();
  } catch (error) {
    copy.close();
    disk.remove(name);
    if (errorCode(error) !== 'ENOSPC') throw error;
    throw new StoreError(
      'bad-files',
      `${path}: ${size - start} bytes at ${start} have to be ${fate}, and the disk is too full to keep a copy of them; make room and start again`,
    );
  }
  copy.close();
  disk.syncDirectory(directoryOf(path));
  return name;
}

function isZero(bytes: Uint8Array, length: number): boolean {
  for (let at = 0; at < length; at += ZEROS.length) {
    const part = bytes.subarray(at, Math.min(length, at + ZEROS.length));
    if (Buffer.compare(part, ZEROS.subarray(0, part.length)) !== 0) return false;
  }
  return true;
}

/** Renames a file to `<path>.damaged-<seconds>`. @returns the new name */
export function moveAside(disk: Disk, path: string, nowSeconds: number): string {
  const name = freeName(disk, `${path}.damaged-${nowSeconds}`);
  disk.rename(path, name);
  return name;
}

function freeName(disk: Disk, wanted: string): string {
  let name = wanted;
  for (let number = 1; disk.stat(name); number++) name = `${wanted}.${number}`;
  return name;
}

function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '.';
}
