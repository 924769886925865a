// From request to filesystem call to reply body: one case per operation of the protocol. Knows nothing of descriptors,
// parking or loops. Called by the session for new and for retried requests alike. Errors leave as exceptions, except those
// that are asked for with every file (no such attribute, an operation that is declined): these are results, because a throw
// costs as much as the rest of the request.
//
// Every field that comes from the kernel is checked before it is used: a body that is too short or a string that does not
// end is EINVAL, a number the filesystem cannot have given out is ESTALE.
import { ERRNO, type ErrnoCode } from '@qsfs/io';
import {
  type AttributeChange,
  type Attributes,
  type Caller,
  type Filesystem,
  FilesystemError,
  type Timestamp,
} from './filesystem.ts';
import {
  FILE_TYPE,
  isSilent,
  OPEN_FLAG,
  OPERATION,
  PERMISSION_MASK,
  RENAME_FLAG,
  SEEK,
  SET_ATTRIBUTE,
  SIZE,
  SYNC_DATA_ONLY,
  TRANSFER_MAX_BYTES,
  WRITE_FLAG,
} from './protocol.ts';
import { padded, REPLY_BODY, type Reply } from './reply.ts';
import { BODY, type Request, WIDE } from './request.ts';

/** `execute` answers this when the operation has no reply. */
export const NO_REPLY = -1;
/** Byte where the body begins. */
const BODY_BYTE = SIZE.requestHeader;
/** READ and the like never answer more than this. */
const REPLY_MAX_BYTES = TRANSFER_MAX_BYTES;
/** Extended attributes are at most this long (XATTR_SIZE_MAX), and so are lists of them. */
const EXTENDED_MAX_BYTES = 65536;
/** Paths in symlinks are shorter than a page. */
const TARGET_MAX_BYTES = 4095;
const NANOSECONDS = 1_000_000_000;

/** How operations are answered where there is a choice. */
export interface AnswerOptions {
  /** Tell the kernel that it may remember names that do not exist. */
  readonly negativeEntries: boolean;
  /** Answer CREATE; else the kernel uses MKNOD and opens the file itself (see `SessionOptions.answerCreate`). */
  readonly answerCreate: boolean;
  /** Answer LSEEK; else the kernel does, for which whole files are data (see `SessionOptions.writebackCache`). */
  readonly answerSeek: boolean;
}

/** The operations over one filesystem. */
export class Operations {
  readonly #filesystem: Filesystem;
  readonly #request: Request;
  readonly #reply: Reply;
  readonly #options: AnswerOptions;
  /** References given out by the present reply, to be taken back when the kernel does not take it. */
  #referenced: 'none' | 'entry' | 'listing' = 'none';
  /** What the reply of the last `execute` says; 0: no error. */
  errno = 0;

  constructor(filesystem: Filesystem, request: Request, reply: Reply, options: AnswerOptions) {
    this.#filesystem = filesystem;
    this.#request = request;
    this.#reply = reply;
    this.#options = options;
  }

  /**
   * Runs the request in the buffer, and sets `errno`.
   * @returns length of the reply's body in bytes, or NO_REPLY
   * @throws FilesystemError, and whatever the filesystem throws
   */
  execute(): number {
    const request = this.#request;
    const inode = request.inode;
    this.#referenced = 'none';
    this.errno = 0;
    if (inode === WIDE) return this.#unknownInode();
    switch (request.operation) {
      case OPERATION.lookup:
        return this.#lookup(inode);
      case OPERATION.getAttributes:
        return this.#reply.attributes(this.#filesystem.getAttributes(inode));
      case OPERATION.read:
        return this.#read(inode);
      case OPERATION.write:
        return this.#write(inode);
      case OPERATION.forget:
        return this.#forget(inode);
      case OPERATION.batchForget:
        return this.#batchForget();
      case OPERATION.setAttributes:
        return this.#setAttributes(inode);
      case OPERATION.create:
        return this.#options.answerCreate ? this.#create(inode, false) : this.#refuse(ERRNO.ENOSYS);
      case OPERATION.makeTemporary:
        return this.#create(inode, true);
      case OPERATION.makeNode:
        return this.#makeNode(inode);
      case OPERATION.makeDirectory:
        return this.#makeDirectory(inode);
      case OPERATION.symlink:
        return this.#symlink(inode);
      case OPERATION.link:
        return this.#link(inode);
      case OPERATION.readLink: {
        const target = this.#filesystem.readLink(inode);
        if (target.length > TARGET_MAX_BYTES) fail('EIO', 'a symlink is too long');
        return this.#reply.copy(target);
      }
      case OPERATION.unlink:
        this.#filesystem.unlink(inode, this.#name(BODY_BYTE), this.#caller());
        return 0;
      case OPERATION.removeDirectory:
        this.#filesystem.removeDirectory(inode, this.#name(BODY_BYTE), this.#caller());
        return 0;
      case OPERATION.rename:
        return this.#rename(inode, 8);
      case OPERATION.rename2:
        return this.#rename(inode, 16);
      case OPERATION.readDirectory:
        return this.#list(inode, false);
      case OPERATION.readDirectoryPlus:
        return this.#list(inode, true);
      case OPERATION.status:
        return this.#reply.status(this.#filesystem.status());
      case OPERATION.sync:
      case OPERATION.syncDirectory:
        this.#need(16);
        this.#filesystem.sync(inode, (request.word(BODY + 2) & SYNC_DATA_ONLY) !== 0);
        return 0;
      case OPERATION.syncFilesystem:
        this.#filesystem.syncAll();
        return 0;
      case OPERATION.getExtendedAttribute:
        return this.#getExtended(inode);
      case OPERATION.setExtendedAttribute:
        return this.#setExtended(inode);
      case OPERATION.listExtendedAttributes:
        return this.#listExtended(inode);
      case OPERATION.removeExtendedAttribute:
        this.#filesystem.removeExtendedAttribute(inode, this.#name(BODY_BYTE), this.#caller());
        return 0;
      case OPERATION.allocate:
        return this.#allocate(inode);
      case OPERATION.seek:
        return this.#options.answerSeek ? this.#seek(inode) : this.#refuse(ERRNO.ENOSYS);
      case OPERATION.copyRange:
      case OPERATION.copyRange64:
        return this.#copyRange(inode);
      case OPERATION.release:
      case OPERATION.releaseDirectory:
      case OPERATION.destroy:
        return 0;
      case OPERATION.notifyReply:
        return NO_REPLY;
      case OPERATION.control:
        return this.#refuse(ERRNO.ENOTTY);
      default:
        // OPEN, OPENDIR, FLUSH and ACCESS are declined on purpose: the kernel then answers them itself, for good.
        return this.#refuse(ERRNO.ENOSYS);
    }
  }

  /** An error as a result. */
  #refuse(errno: number): number {
    this.errno = errno;
    return 0;
  }

  /** Gives back the references of a reply that the kernel did not take. `bodyBytes` is what `execute` answered. */
  takeBack(bodyBytes: number): void {
    const start = SIZE.replyHeader;
    if (this.#referenced === 'entry') this.#returnReference(start);
    if (this.#referenced !== 'listing') return;
    for (let at: number = start; at < start + bodyBytes; ) at = this.#returnReference(at);
  }

  #returnReference(at: number): number {
    const { inode, end } = this.#reply.listedEntry(at);
    if (inode !== 0) this.#filesystem.forget(inode, 1);
    return end;
  }

  #unknownInode(): number {
    const operation = this.#request.operation;
    // BATCH_FORGET names its inodes elsewhere.
    if (operation === OPERATION.batchForget) return this.#batchForget();
    return isSilent(operation) ? NO_REPLY : fail('ESTALE');
  }

  #caller(): Caller {
    const request = this.#request;
    return { userId: request.userId, groupId: request.groupId, processId: request.processId };
  }

  #need(bodyBytes: number): void {
    if (!this.#request.has(bodyBytes)) fail('EINVAL', 'a request is cut short');
  }

  /** The name at a byte of the request: never empty, never with a slash. */
  #name(from: number): string {
    const name = this.#request.string(from, this.#stringEnd(from));
    if (name.length === 0 || name.includes('/')) fail('EINVAL', 'a name is empty or has a slash');
    return name;
  }

  #stringEnd(from: number): number {
    const end = this.#request.stringEnd(from);
    return end === 0 ? fail('EINVAL', 'a string does not end') : end;
  }

  #wide(word: number, beyond: ErrnoCode): number {
    const value = this.#request.wide(word);
    return value === WIDE ? fail(beyond) : value;
  }

  #entry(attributes: Attributes): number {
    this.#reply.entry(REPLY_BODY, attributes);
    this.#referenced = 'entry';
    return SIZE.entry;
  }

  #lookup(parent: number): number {
    const found = this.#filesystem.lookup(parent, this.#name(BODY_BYTE));
    if (found) return this.#entry(found);
    if (!this.#options.negativeEntries) return this.#refuse(ERRNO.ENOENT);
    this.#reply.negativeEntry();
    return SIZE.entry;
  }

  #forget(inode: number): number {
    const count = this.#request.has(8) ? this.#request.wide(BODY) : 0;
    if (count > 0) this.#filesystem.forget(inode, count);
    return NO_REPLY;
  }

  #batchForget(): number {
    const request = this.#request;
    const fits = Math.floor((request.lengthBytes - BODY_BYTE - 8) / 16);
    const count = request.has(8) ? Math.min(request.word(BODY), fits) : 0;
    for (let index = 0; index < count; index++) {
      const word = BODY + 2 + index * 4;
      const inode = request.wide(word);
      const references = request.wide(word + 2);
      if (inode !== WIDE && references > 0) this.#filesystem.forget(inode, references);
    }
    return NO_REPLY;
  }

  #read(inode: number): number {
    this.#need(40);
    const request = this.#request;
    const offset = request.wide(BODY + 2);
    const wanted = request.word(BODY + 4);
    if (wanted > REPLY_MAX_BYTES) fail('EIO', `a read of ${wanted} bytes was never agreed`);
    // No file is that long.
    if (offset === WIDE || wanted === 0) return 0;
    const got = this.#filesystem.read(inode, offset, this.#reply.body(wanted));
    return checked(got, wanted, 'read');
  }

  #write(inode: number): number {
    this.#need(SIZE.writeBody);
    const request = this.#request;
    const offset = this.#wide(BODY + 2, 'EFBIG');
    const length = request.word(BODY + 4);
    this.#need(SIZE.writeBody + length);
    if (offset + length > Number.MAX_SAFE_INTEGER) fail('EFBIG');
    const clearSetId = (request.word(BODY + 5) & WRITE_FLAG.clearSetId) !== 0;
    this.#filesystem.write(inode, offset, request.payload(length), this.#caller(), clearSetId);
    this.#reply.word(REPLY_BODY, length);
    this.#reply.word(REPLY_BODY + 1, 0);
    return 8;
  }

  #setAttributes(inode: number): number {
    this.#need(88);
    const request = this.#request;
    const valid = request.word(BODY);
    const change: { -readonly [Key in keyof AttributeChange]: AttributeChange[Key] } = {};
    if (valid & SET_ATTRIBUTE.mode) change.mode = request.word(BODY + 17) & PERMISSION_MASK;
    if (valid & SET_ATTRIBUTE.userId) change.userId = request.word(BODY + 19);
    if (valid & SET_ATTRIBUTE.groupId) change.groupId = request.word(BODY + 20);
    if (valid & SET_ATTRIBUTE.size) change.sizeBytes = this.#wide(BODY + 4, 'EFBIG');
    if (valid & SET_ATTRIBUTE.accessedNow) change.accessed = 'now';
    else if (valid & SET_ATTRIBUTE.accessed) change.accessed = this.#timestamp(BODY + 8, BODY + 14);
    if (valid & SET_ATTRIBUTE.modifiedNow) change.modified = 'now';
    else if (valid & SET_ATTRIBUTE.modified) change.modified = this.#timestamp(BODY + 10, BODY + 15);
    if (valid & SET_ATTRIBUTE.changed) change.changed = this.#timestamp(BODY + 12, BODY + 16);
    if (valid & SET_ATTRIBUTE.clearSetId) change.clearSetId = true;
    return this.#reply.attributes(this.#filesystem.setAttributes(inode, change, this.#caller()));
  }

  #timestamp(secondsWord: number, nanosecondsWord: number): Timestamp {
    const seconds = this.#request.signed(secondsWord);
    const nanoseconds = this.#request.word(nanosecondsWord);
    if (seconds === undefined || nanoseconds >= NANOSECONDS) return fail('EINVAL', 'a time is out of range');
    return { seconds, nanoseconds };
  }

  #create(parent: number, temporary: boolean): number {
    this.#need(16);
    const request = this.#request;
    const mode = withType(request.word(BODY + 1));
    const made = temporary
      ? this.#filesystem.makeTemporary(parent, mode, this.#caller())
      : this.#filesystem.makeNode(parent, this.#name(BODY_BYTE + 16), mode, 0, this.#caller());
    const length = this.#entry(made);
    this.#reply.opened(REPLY_BODY + length / 4, OPEN_FLAG.keepCache | OPEN_FLAG.noFlush);
    return length + SIZE.openReply;
  }

  #makeNode(parent: number): number {
    this.#need(16);
    const request = this.#request;
    const name = this.#name(BODY_BYTE + 16);
    const mode = withType(request.word(BODY));
    return this.#entry(this.#filesystem.makeNode(parent, name, mode, request.word(BODY + 1), this.#caller()));
  }

  #makeDirectory(parent: number): number {
    this.#need(8);
    const mode = this.#request.word(BODY) & PERMISSION_MASK;
    return this.#entry(
      this.#filesystem.makeDirectory(parent, this.#name(BODY_BYTE + 8), mode, this.#caller()),
    );
  }

  #symlink(parent: number): number {
    const name = this.#name(BODY_BYTE);
    const from = this.#stringEnd(BODY_BYTE);
    const target = this.#request.bytes.slice(from, this.#stringEnd(from) - 1);
    if (target.length > TARGET_MAX_BYTES) fail('ENAMETOOLONG');
    return this.#entry(this.#filesystem.makeSymlink(parent, name, target, this.#caller()));
  }

  #link(parent: number): number {
    this.#need(8);
    const inode = this.#wide(BODY, 'ESTALE');
    return this.#entry(this.#filesystem.link(inode, parent, this.#name(BODY_BYTE + 8), this.#caller()));
  }

  #rename(sourceParent: number, fixedBytes: number): number {
    this.#need(fixedBytes);
    const targetParent = this.#wide(BODY, 'ESTALE');
    const flags = fixedBytes === 8 ? 0 : this.#request.word(BODY + 2);
    if (flags !== 0 && flags !== RENAME_FLAG.noReplace && flags !== RENAME_FLAG.exchange) fail('EINVAL');
    const from = BODY_BYTE + fixedBytes;
    const sourceName = this.#name(from);
    const targetName = this.#name(this.#stringEnd(from));
    this.#filesystem.rename(sourceParent, sourceName, targetParent, targetName, flags, this.#caller());
    return 0;
  }

  #list(inode: number, plus: boolean): number {
    this.#need(40);
    const reply = this.#reply;
    const cookie = this.#wide(BODY + 2, 'EINVAL');
    const limit = SIZE.replyHeader + Math.min(this.#request.word(BODY + 4), REPLY_MAX_BYTES);
    let at: number = SIZE.replyHeader;
    const emit = (
      name: string,
      entry: number,
      mode: number,
      nextCookie: number,
      attributes: Attributes | undefined,
    ): boolean => {
      const fixed = plus ? SIZE.directoryEntryPlus : SIZE.directoryEntry;
      if (at + fixed + padded(name.length) > limit) return false;
      if (plus) {
        // The kernel takes no reference on `.` and `..`.
        if (attributes && name !== '.' && name !== '..') reply.entry(at / 4, attributes);
        else reply.noEntry(at / 4);
        at += SIZE.entry;
      }
      at = reply.directoryEntry(at, name, entry, mode, nextCookie);
      return true;
    };
    if (plus) this.#referenced = 'listing';
    try {
      this.#filesystem.listDirectory(inode, cookie, emit, plus);
    } catch (error) {
      // What was emitted so far is a valid listing; the rest is asked for again, and fails then if it must.
      if (at === SIZE.replyHeader) throw error;
    }
    return at - SIZE.replyHeader;
  }

  #getExtended(inode: number): number {
    this.#need(8);
    const value = this.#filesystem.getExtendedAttribute(inode, this.#name(BODY_BYTE + 8));
    return value ? this.#sized(value) : this.#refuse(ERRNO.ENODATA);
  }

  #listExtended(inode: number): number {
    this.#need(8);
    const names = this.#filesystem.listExtendedAttributes(inode);
    return this.#sized(Buffer.from(names.map((name) => `${name}\0`).join(''), 'latin1'));
  }

  /** The bytes, or only their number when the request has no room for any. */
  #sized(value: Uint8Array): number {
    const room = this.#request.word(BODY);
    if (value.length > EXTENDED_MAX_BYTES) fail('E2BIG');
    if (room === 0) {
      this.#reply.word(REPLY_BODY, value.length);
      this.#reply.word(REPLY_BODY + 1, 0);
      return 8;
    }
    return value.length > room ? fail('ERANGE') : this.#reply.copy(value);
  }

  #setExtended(inode: number): number {
    this.#need(8);
    const request = this.#request;
    const length = request.word(BODY);
    const name = this.#name(BODY_BYTE + 8);
    const from = this.#stringEnd(BODY_BYTE + 8);
    if (length > EXTENDED_MAX_BYTES) fail('E2BIG');
    if (from + length > request.lengthBytes) fail('EINVAL', 'a request is cut short');
    const value = request.bytes.slice(from, from + length);
    this.#filesystem.setExtendedAttribute(inode, name, value, request.word(BODY + 1), this.#caller());
    return 0;
  }

  #allocate(inode: number): number {
    this.#need(32);
    const offset = this.#wide(BODY + 2, 'EFBIG');
    const length = this.#wide(BODY + 4, 'EFBIG');
    if (offset + length > Number.MAX_SAFE_INTEGER) fail('EFBIG');
    this.#filesystem.allocate(inode, this.#request.word(BODY + 6), offset, length);
    return 0;
  }

  #seek(inode: number): number {
    this.#need(24);
    const whence = this.#request.word(BODY + 4);
    if (whence !== SEEK.data && whence !== SEEK.hole) fail('EINVAL');
    this.#reply.wide(REPLY_BODY, this.#filesystem.seek(inode, this.#wide(BODY + 2, 'ENXIO'), whence));
    return 8;
  }

  #copyRange(source: number): number {
    this.#need(56);
    const sourceOffset = this.#wide(BODY + 2, 'EFBIG');
    const target = this.#wide(BODY + 4, 'ESTALE');
    const targetOffset = this.#wide(BODY + 8, 'EFBIG');
    const length = this.#wide(BODY + 10, 'EFBIG');
    if (Math.max(sourceOffset, targetOffset) + length > Number.MAX_SAFE_INTEGER) fail('EFBIG');
    const copied = this.#filesystem.copyRange(source, sourceOffset, target, targetOffset, length);
    // COPY_FILE_RANGE answers 32 bits and zeros, COPY_FILE_RANGE_64 64 bits: the same bytes, for what the first may ask.
    this.#reply.wide(REPLY_BODY, checked(copied, length, 'copy'));
    return 8;
  }
}

function fail(code: ErrnoCode, message?: string): never {
  throw new FilesystemError(code, message);
}

/** CREATE and MKNOD without type bits mean a regular file. */
function withType(mode: number): number {
  return (mode & FILE_TYPE.mask) === 0 ? mode | FILE_TYPE.regular : mode;
}

/** A filesystem that claims more than it was asked for has a bug; the kernel must not see the result. */
function checked(done: number, asked: number, action: string): number {
  if (!(done >= 0 && done <= asked)) throw new RangeError(`${action} answered ${done} of ${asked} bytes`);
  return done;
}
