// The one reply buffer and how it is filled. An operation writes its body behind the 16-byte header and says how long it
// is; the session adds the header and sends.
//
// Byte tables: docs/formats/fuse.md. Words are 32 bits, counted from the beginning of the reply; every body begins at
// word 4.
import type { Attributes, FilesystemStatus } from './filesystem.ts';
import { FILE_TYPE, SIZE, TRANSFER_MAX_BYTES } from './protocol.ts';

/** First word of the body. */
export const REPLY_BODY = SIZE.replyHeader / 4;
const PAGE = 4096;
const TWO_32 = 4294967296;

/** How long the kernel may believe what it was told, in seconds. */
export interface CacheTimes {
  readonly entrySeconds: number;
  readonly attributeSeconds: number;
  /** For names that do not exist; 0 does not cache them. */
  readonly negativeSeconds: number;
}

/** The reply buffer. */
export class Reply {
  readonly bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #text: Buffer;
  readonly #times: CacheTimes;
  readonly #blockSizeBytes: number;
  /** Views of bodies of whole pages, made once per size. */
  readonly #bodies: (Uint8Array | undefined)[] = [];

  /** @param blockSizeBytes the transfer size programs are told to prefer (st_blksize) */
  constructor(times: CacheTimes, blockSizeBytes: number) {
    // The body lies on a page boundary, so that the kernel copies whole pages of a READ.
    const start = PAGE - SIZE.replyHeader;
    const size = SIZE.replyHeader + TRANSFER_MAX_BYTES;
    const memory = new ArrayBuffer(start + size);
    this.bytes = new Uint8Array(memory, start, size);
    this.#words = new Uint32Array(memory, start, size / 4);
    this.#text = Buffer.from(memory, start, size);
    this.#times = times;
    this.#blockSizeBytes = blockSizeBytes;
  }

  /** Writes the header; returns the length of the whole message. */
  seal(errno: number, bodyBytes: number, uniqueLow: number, uniqueHigh: number): number {
    const words = this.#words;
    const length = SIZE.replyHeader + bodyBytes;
    words[0] = length;
    words[1] = -errno;
    words[2] = uniqueLow;
    words[3] = uniqueHigh;
    return length;
  }

  /** The first `lengthBytes` of the body, for READ to fill. */
  body(lengthBytes: number): Uint8Array {
    const end = SIZE.replyHeader + lengthBytes;
    if (lengthBytes % PAGE !== 0) return this.bytes.subarray(SIZE.replyHeader, end);
    return (this.#bodies[lengthBytes / PAGE] ??= this.bytes.subarray(SIZE.replyHeader, end));
  }

  word(index: number, value: number): void {
    this.#words[index] = value;
  }

  /** A 64-bit field: integers within ±2^53, negative ones as two's complement. */
  wide(index: number, value: number): void {
    this.#words[index] = value;
    this.#words[index + 1] = Math.floor(value / TWO_32);
  }

  /** Copies bytes to the beginning of the body; returns their number. */
  copy(source: Uint8Array): number {
    this.bytes.set(source, SIZE.replyHeader);
    return source.length;
  }

  /** fuse_entry_out at `word`. */
  entry(word: number, attributes: Attributes): void {
    const words = this.#words;
    this.wide(word, attributes.inode);
    this.wide(word + 2, attributes.generation);
    this.wide(word + 4, this.#times.entrySeconds);
    this.wide(word + 6, this.#times.attributeSeconds);
    words[word + 8] = 0;
    words[word + 9] = 0;
    this.#attributes(word + 10, attributes);
  }

  /** A negative fuse_entry_out as the body: the name does not exist, and the kernel may remember that. */
  negativeEntry(): void {
    this.#words.fill(0, REPLY_BODY, REPLY_BODY + SIZE.entry / 4);
    this.wide(REPLY_BODY + 4, this.#times.negativeSeconds);
  }

  /** fuse_attr_out as the body; returns its length. */
  attributes(attributes: Attributes): number {
    const words = this.#words;
    this.wide(REPLY_BODY, this.#times.attributeSeconds);
    words[REPLY_BODY + 2] = 0;
    words[REPLY_BODY + 3] = 0;
    this.#attributes(REPLY_BODY + 4, attributes);
    return SIZE.attributesReply;
  }

  /** fuse_open_out at `word`: handle 0 and the flags. */
  opened(word: number, flags: number): void {
    const words = this.#words;
    words[word] = 0;
    words[word + 1] = 0;
    words[word + 2] = flags;
    words[word + 3] = 0;
  }

  /** fuse_statfs_out as the body; returns its length. */
  status(status: FilesystemStatus): number {
    const words = this.#words;
    words.fill(0, REPLY_BODY, REPLY_BODY + SIZE.status / 4);
    this.wide(REPLY_BODY, status.blocks);
    this.wide(REPLY_BODY + 2, status.blocksFree);
    this.wide(REPLY_BODY + 4, status.blocksAvailable);
    this.wide(REPLY_BODY + 6, status.inodes);
    this.wide(REPLY_BODY + 8, status.inodesFree);
    words[REPLY_BODY + 10] = status.blockSizeBytes;
    words[REPLY_BODY + 11] = status.nameMax;
    words[REPLY_BODY + 12] = status.blockSizeBytes;
    return SIZE.status;
  }

  /**
   * fuse_dirent at byte `at` of the reply, its name padded with zeros to 8 bytes.
   * @returns the byte behind it
   */
  directoryEntry(at: number, name: string, inode: number, mode: number, nextCookie: number): number {
    const word = at / 4;
    this.wide(word, inode);
    this.wide(word + 2, nextCookie);
    this.#words[word + 4] = name.length;
    this.#words[word + 5] = (mode & FILE_TYPE.mask) >>> 12;
    const nameStart = at + SIZE.directoryEntry;
    this.#text.write(name, nameStart, 'latin1');
    const end = nameStart + padded(name.length);
    this.bytes.fill(0, nameStart + name.length, end);
    return end;
  }

  /** A fuse_entry_out at `word` that names no inode: the kernel takes only the dirent behind it. */
  noEntry(word: number): void {
    this.#words.fill(0, word, word + SIZE.entry / 4);
  }

  /** The inode of the fuse_entry_out at byte `at`, and the byte behind that whole READDIRPLUS entry. */
  listedEntry(at: number): { readonly inode: number; readonly end: number } {
    const word = at / 4;
    const nameBytes = this.#words[word + SIZE.entry / 4 + 4] as number;
    return {
      inode: (this.#words[word + 1] as number) * TWO_32 + (this.#words[word] as number),
      end: at + SIZE.directoryEntryPlus + padded(nameBytes),
    };
  }

  #attributes(word: number, attributes: Attributes): void {
    const words = this.#words;
    this.wide(word, attributes.inode);
    this.wide(word + 2, attributes.sizeBytes);
    this.wide(word + 4, attributes.blocks);
    this.wide(word + 6, attributes.accessed.seconds);
    this.wide(word + 8, attributes.modified.seconds);
    this.wide(word + 10, attributes.changed.seconds);
    words[word + 12] = attributes.accessed.nanoseconds;
    words[word + 13] = attributes.modified.nanoseconds;
    words[word + 14] = attributes.changed.nanoseconds;
    words[word + 15] = attributes.mode;
    words[word + 16] = attributes.linkCount;
    words[word + 17] = attributes.userId;
    words[word + 18] = attributes.groupId;
    words[word + 19] = attributes.deviceNumber;
    words[word + 20] = this.#blockSizeBytes;
    words[word + 21] = 0;
  }
}

/** Names in listings take whole 8-byte units. */
export function padded(lengthBytes: number): number {
  return (lengthBytes + 7) & ~7;
}
