// A table of small fixed-size records on disk, one for each data file of a namespace, changed in place
// (docs/formats/frontend.md, "Slot tables"). Presence and catalog are such tables.
//
// Invariants: a slot never crosses a 512-byte sector, so the disk writes it whole or not at all; a slot whose checksum
// does not match reads as `damaged`, never as something else; nothing is durable before `flush` returned.
import { crc32 } from 'node:zlib';
import type { Disk, DiskFile } from '@qsfs/io';

const MAGIC = 'QSFSSLOT';
const VERSION = 1;
const HEADER_BYTES = 512;
const CHECKSUM_BYTES = 4;
/** Room is reserved in pieces of this size, one ahead: recording an eviction must not fail because the disk is full. */
const GROWTH_BYTES = 65536;
/** Zero slots this close together are written with their neighbours in one call. */
const GATHER_SLOTS = 16;

/** What kind of table a file is; stored in its header. */
export type SlotKind = 'presence' | 'catalog';

const KIND_NUMBERS: Record<SlotKind, number> = { presence: 1, catalog: 2 };

/** State of a slot: never written, written and whole, or written and not readable any more. */
export type SlotState = 'empty' | 'valid' | 'damaged';

/** An open table. Owned by one thread. */
export class SlotTable {
  readonly slotBytes: number;
  /** A number kept in the header for the owner of the table (presence: bytes of a stripe). */
  readonly parameter: number;
  readonly #file: DiskFile;
  #content: Uint8Array<ArrayBuffer>;
  #count: number;
  #reserved: number;
  readonly #dirty = new Set<number>();

  private constructor(
    file: DiskFile,
    slotBytes: number,
    parameter: number,
    content: Uint8Array<ArrayBuffer>,
  ) {
    this.#file = file;
    this.slotBytes = slotBytes;
    this.parameter = parameter;
    this.#content = content;
    this.#count = Math.floor(content.length / slotBytes);
    this.#reserved = 0;
    this.#reserveAhead(false);
  }

  /**
   * Opens a table, or makes an empty one.
   * @param slotBytes size of a slot with its checksum: a power of two from 8 to 512
   * @throws RangeError when the file is a table of another kind, size or parameter, or no table at all
   */
  static open(disk: Disk, path: string, kind: SlotKind, slotBytes: number, parameter: number): SlotTable {
    if (!isSlotSize(slotBytes)) throw new RangeError(`a slot cannot have ${slotBytes} bytes`);
    const file = disk.open(path, 'create');
    try {
      const sizeBytes = file.size();
      if (sizeBytes < HEADER_BYTES) {
        // A header is written once, before any slot; a shorter file is a creation that did not finish.
        file.truncate(0);
        file.write(encodeHeader(kind, slotBytes, parameter), 0);
        file.datasync();
        const cut = path.lastIndexOf('/');
        disk.syncDirectory(cut <= 0 ? (cut === 0 ? '/' : '.') : path.slice(0, cut));
        return new SlotTable(file, slotBytes, parameter, new Uint8Array(0));
      }
      checkHeader(file, path, kind, slotBytes, parameter);
      const whole = Math.floor((sizeBytes - HEADER_BYTES) / slotBytes) * slotBytes;
      const content = new Uint8Array(whole);
      file.read(content, HEADER_BYTES);
      return new SlotTable(file, slotBytes, parameter, content);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** One more than the highest slot that may be in use. */
  get length(): number {
    return this.#count;
  }

  /** Whether the slot was written and is whole. */
  state(index: number): SlotState {
    if (index >= this.#count) return 'empty';
    const slot = this.#slot(index);
    if (slot.every((byte) => byte === 0)) return 'empty';
    return checksum(index, slot.subarray(0, -CHECKSUM_BYTES)) === readChecksum(slot) ? 'valid' : 'damaged';
  }

  /** The payload of a valid slot: `slotBytes` - 4 bytes, a view that the next `write` may change. */
  payload(index: number): Uint8Array {
    return this.#slot(index).subarray(0, -CHECKSUM_BYTES);
  }

  /** Replaces a slot in memory; durable with the next `flush`. */
  write(index: number, payload: Uint8Array): void {
    if (payload.length !== this.slotBytes - CHECKSUM_BYTES) throw new RangeError('wrong size of a slot');
    this.#grow(index + 1);
    const slot = this.#slot(index);
    slot.set(payload, 0);
    const view = new DataView(slot.buffer, slot.byteOffset + payload.length, CHECKSUM_BYTES);
    view.setUint32(0, checksum(index, payload), true);
    this.#dirty.add(index);
  }

  /** Makes a slot empty again. */
  clear(index: number): void {
    if (index >= this.#count) return;
    this.#slot(index).fill(0);
    this.#dirty.add(index);
  }

  /** True when something was written and not flushed. */
  get unflushed(): boolean {
    return this.#dirty.size > 0;
  }

  /** Returns when everything written is on stable storage. On an error the table stays unflushed; call it again. */
  flush(): void {
    if (this.#dirty.size === 0) return;
    this.#reserveAhead(HEADER_BYTES + this.#count * this.slotBytes > this.#reserved);
    const indexes = [...this.#dirty].sort((left, right) => left - right);
    for (let first = 0; first < indexes.length; ) {
      let last = first;
      while (last + 1 < indexes.length && at(indexes, last + 1) - at(indexes, last) <= GATHER_SLOTS)
        last += 1;
      const begin = at(indexes, first) * this.slotBytes;
      const end = (at(indexes, last) + 1) * this.slotBytes;
      this.#file.write(this.#content.subarray(begin, end), HEADER_BYTES + begin);
      first = last + 1;
    }
    this.#file.datasync();
    this.#dirty.clear();
  }

  close(): void {
    this.#file.close();
  }

  /** Keeps room for what there is and some more. Only when it is `needed` now a full disk is an error. */
  #reserveAhead(needed: boolean): void {
    const used = HEADER_BYTES + this.#count * this.slotBytes;
    if (this.#reserved - used >= (needed ? 0 : GROWTH_BYTES / 2)) return;
    const wanted = (Math.floor(used / GROWTH_BYTES) + 2) * GROWTH_BYTES;
    try {
      this.#file.reserve(0, wanted);
      this.#reserved = wanted;
    } catch (error) {
      if (needed) throw error;
    }
  }

  #slot(index: number): Uint8Array {
    return this.#content.subarray(index * this.slotBytes, (index + 1) * this.slotBytes);
  }

  #grow(count: number): void {
    if (count <= this.#count) return;
    const needed = count * this.slotBytes;
    if (needed > this.#content.length) {
      const larger = new Uint8Array(Math.max(needed, this.#content.length * 2, 4096));
      larger.set(this.#content);
      this.#content = larger;
    }
    this.#count = count;
  }
}

function at(numbers: readonly number[], index: number): number {
  return numbers[index] as number;
}

function isSlotSize(bytes: number): boolean {
  return Number.isInteger(Math.log2(bytes)) && bytes >= 8 && bytes <= 512;
}

/** The smallest possible slot for a payload. @throws RangeError above 508 bytes */
export function slotBytesFor(payloadBytes: number): number {
  let slotBytes = 8;
  while (slotBytes - CHECKSUM_BYTES < payloadBytes) slotBytes *= 2;
  if (slotBytes > 512) throw new RangeError(`a slot cannot hold ${payloadBytes} bytes`);
  return slotBytes;
}

function checksum(index: number, payload: Uint8Array): number {
  const place = new Uint8Array(4);
  new DataView(place.buffer).setUint32(0, index, true);
  return crc32(payload, crc32(place));
}

function readChecksum(slot: Uint8Array): number {
  return new DataView(slot.buffer, slot.byteOffset + slot.length - CHECKSUM_BYTES, 4).getUint32(0, true);
}

function encodeHeader(kind: SlotKind, slotBytes: number, parameter: number): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  const view = new DataView(header.buffer);
  header.set(Buffer.from(MAGIC, 'latin1'), 0);
  view.setUint32(8, VERSION, true);
  view.setUint32(12, KIND_NUMBERS[kind], true);
  view.setUint32(16, slotBytes, true);
  view.setUint32(20, parameter, true);
  view.setUint32(24, crc32(header.subarray(0, 24)), true);
  return header;
}

function checkHeader(
  file: DiskFile,
  path: string,
  kind: SlotKind,
  slotBytes: number,
  parameter: number,
): void {
  const header = new Uint8Array(HEADER_BYTES);
  file.read(header, 0);
  const view = new DataView(header.buffer);
  if (
    Buffer.from(header.subarray(0, 8)).toString('latin1') !== MAGIC ||
    view.getUint32(24, true) !== crc32(header.subarray(0, 24))
  ) {
    throw new RangeError(`${path} is not a table of qsfs`);
  }
  if (view.getUint32(8, true) !== VERSION) {
    throw new RangeError(`${path} was written by a newer qsfs (version ${view.getUint32(8, true)})`);
  }
  const found = [view.getUint32(12, true), view.getUint32(16, true), view.getUint32(20, true)];
  const wanted = [KIND_NUMBERS[kind], slotBytes, parameter];
  if (found.some((number, place) => number !== wanted[place])) {
    throw new RangeError(
      `${path} is a table of another kind: ${found.join('/')}, expected ${wanted.join('/')}`,
    );
  }
}
