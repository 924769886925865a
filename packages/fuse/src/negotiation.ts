// INIT, the first exchange on a new mount: what the kernel can do, what of it we want. Called by the session.
import { FilesystemError } from './filesystem.ts';
import { INIT_FLAG, PROTOCOL, SIZE, TRANSFER_MAX_BYTES } from './protocol.ts';
import { REPLY_BODY, type Reply } from './reply.ts';
import { BODY, type Request } from './request.ts';

/** What the filesystem may choose. */
export interface NegotiationOptions {
  /** The kernel gathers writes in its page cache and sends them later; it then keeps size and mtime itself. */
  readonly writebackCache: boolean;
  /** Mounts can be exported by NFS and opened by handle; the filesystem must answer lookups of `.` and `..`. */
  readonly exportSupport: boolean;
  /** Requests nobody waits for (readahead, writeback) the kernel may have under way at a time. */
  readonly backgroundMax: number;
  /** Longest readahead, bytes. */
  readonly readaheadMaxBytes: number;
}

/** What was agreed. */
export interface Negotiated {
  readonly minor: number;
  /** INIT_FLAG bits in force. */
  readonly flags: number;
  /** The largest WRITE the kernel will send. */
  readonly writeMaxBytes: number;
}

/**
 * Always wanted where the kernel has it. Not wanted: ASYNC_DIO, with which a process that waits for a direct read cannot be
 * killed (the kernel waits for such requests uninterruptibly), and reads can wait long here.
 */
const WANTED =
  INIT_FLAG.asyncRead |
  INIT_FLAG.bigWrites |
  INIT_FLAG.maxPages |
  INIT_FLAG.readDirectoryPlus |
  INIT_FLAG.readDirectoryPlusAuto |
  INIT_FLAG.parallelDirectoryOperations |
  INIT_FLAG.noOpenSupport |
  INIT_FLAG.noOpenDirectorySupport |
  INIT_FLAG.cacheSymlinks |
  // We are the only writer: contents in the page cache are never stale.
  INIT_FLAG.explicitInvalidation |
  INIT_FLAG.handleKillPrivilegesV2;

/** Without these the loop would not work as it is meant to; every kernel since 5.4 has them. */
const NEEDED = INIT_FLAG.bigWrites | INIT_FLAG.maxPages | INIT_FLAG.noOpenSupport;

const PAGES_MAX = TRANSFER_MAX_BYTES / 4096;

/**
 * Answers INIT into `reply`.
 * @returns what was agreed, or undefined when the kernel speaks a newer major version and will ask again
 * @throws FilesystemError EPROTO when the kernel is too old
 */
export function negotiate(
  request: Request,
  reply: Reply,
  options: NegotiationOptions,
): Negotiated | undefined {
  if (!request.has(16)) throw new FilesystemError('EINVAL', 'INIT is cut short');
  const major = request.word(BODY);
  const minor = request.word(BODY + 1);
  const offered = request.word(BODY + 3);
  for (let word = 0; word < SIZE.initReply / 4; word++) reply.word(REPLY_BODY + word, 0);
  reply.word(REPLY_BODY, PROTOCOL.major);
  reply.word(REPLY_BODY + 1, PROTOCOL.minor);
  if (major > PROTOCOL.major) return undefined;
  if (major < PROTOCOL.major || minor < PROTOCOL.oldestMinor || (offered & NEEDED) !== NEEDED) {
    throw new FilesystemError(
      'EPROTO',
      `this kernel speaks FUSE ${major}.${minor}; ${PROTOCOL.major}.${PROTOCOL.oldestMinor} or newer is needed (Linux 5.4)`,
    );
  }
  let flags = WANTED & offered;
  if (options.writebackCache) flags |= INIT_FLAG.writebackCache & offered;
  if (options.exportSupport) flags |= INIT_FLAG.exportSupport & offered;
  const congestion = Math.max(1, Math.floor((options.backgroundMax * 3) / 4));
  reply.word(REPLY_BODY + 2, options.readaheadMaxBytes);
  reply.word(REPLY_BODY + 3, flags);
  reply.word(REPLY_BODY + 4, options.backgroundMax | (congestion << 16));
  reply.word(REPLY_BODY + 5, TRANSFER_MAX_BYTES);
  // Granularity of times: 1 ns.
  reply.word(REPLY_BODY + 6, 1);
  reply.word(REPLY_BODY + 7, PAGES_MAX);
  return { minor: Math.min(minor, PROTOCOL.minor), flags, writeMaxBytes: TRANSFER_MAX_BYTES };
}
