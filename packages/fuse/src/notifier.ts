// Tells the kernel to forget what it remembers, for what changed behind its back (an upgrade, an operator's tool).
//
// Never from the session's own thread: the kernel takes the locks of the directory or the pages first, and who holds them
// may be waiting for an answer from that very thread. Any other thread may use one.
import { type Device, ERRNO, IoError } from '@qsfs/io';
import { NOTIFICATION, SIZE } from './protocol.ts';

const TWO_32 = 4294967296;
const INODE_BODY = 24;
const ENTRY_BODY = 16;

/** Sends notifications on a mount's device. */
export class Notifier {
  readonly #device: Device;

  constructor(device: Device) {
    this.#device = device;
  }

  /**
   * Attributes and cached contents of an inode are no longer true.
   * @param offset first byte that changed; negative: only attributes
   * @param lengthBytes 0: to the end
   * @returns false when the kernel does not know the inode
   */
  inode(inode: number, offset: number, lengthBytes: number): boolean {
    const message = header(NOTIFICATION.invalidateInode, INODE_BODY);
    wide(message, 16, inode);
    wide(message, 24, offset);
    wide(message, 32, lengthBytes);
    return this.#send(message);
  }

  /**
   * A name in a directory no longer means what it did.
   * @param name one character per byte
   * @returns false when the kernel does not know the name
   */
  entry(parent: number, name: string): boolean {
    const message = header(NOTIFICATION.invalidateEntry, ENTRY_BODY + name.length + 1);
    wide(message, 16, parent);
    message.writeUInt32LE(name.length, 24);
    message.write(name, 32, 'latin1');
    return this.#send(message);
  }

  #send(message: Buffer): boolean {
    const put = this.#device.send(message, message.length);
    if (put >= 0) return true;
    if (put === -ERRNO.ENOENT || put === -ERRNO.ENOTDIR) return false;
    throw new IoError('EIO', `notify the kernel: errno ${-put}`);
  }
}

function header(code: number, bodyBytes: number): Buffer {
  const message = Buffer.alloc(SIZE.replyHeader + bodyBytes);
  message.writeUInt32LE(message.length, 0);
  message.writeInt32LE(code, 4);
  return message;
}

function wide(message: Buffer, at: number, value: number): void {
  message.writeUInt32LE(value >>> 0, at);
  message.writeInt32LE(Math.floor(value / TWO_32), at + 4);
}
