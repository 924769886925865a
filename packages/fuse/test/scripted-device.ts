// A device whose kernel is a script: requests in order, with steps in between, then the unmount. Keeps what was answered.
import { type Device, ERRNO } from '@qsfs/io';
import { OPERATION } from '../src/protocol.ts';

/** A step runs while the session finds nothing to read. */
export type ScriptItem = Uint8Array | (() => void);

/** One answer as the kernel would see it. */
export interface Answer {
  readonly unique: number;
  readonly errno: number;
  readonly body: Buffer;
}

/** See above. */
export class ScriptedDevice implements Device {
  readonly descriptor = -1;
  readonly answers: Answer[] = [];
  /** Errno with which the next sends fail. */
  refuseWith: number[] = [];
  readonly #script: ScriptItem[];

  constructor(script: ScriptItem[]) {
    this.#script = script;
  }

  receive(target: Uint8Array): number {
    const item = this.#script.shift();
    if (item === undefined) return -ERRNO.ENODEV;
    if (typeof item === 'function') {
      item();
      return -ERRNO.EAGAIN;
    }
    target.set(item);
    return item.length;
  }

  send(source: Uint8Array, lengthBytes: number): number {
    const refused = this.refuseWith.shift();
    if (refused) return -refused;
    const message = Buffer.from(source.slice(0, lengthBytes));
    if (message.readUInt32LE(0) !== lengthBytes) throw new Error('the length in an answer is wrong');
    this.answers.push({
      unique: Number(message.readBigUInt64LE(8)),
      errno: 0 - message.readInt32LE(4),
      body: message.subarray(16),
    });
    return lengthBytes;
  }

  neverBlock(): boolean {
    return true;
  }

  close(): void {}

  /** The answer to a request; fails when there is not exactly one. */
  answer(unique: number): Answer {
    const found = this.answers.filter((answer) => answer.unique === unique);
    if (found.length !== 1) throw new Error(`request ${unique} has ${found.length} answers`);
    return found[0] as Answer;
  }

  answered(unique: number): boolean {
    return this.answers.some((answer) => answer.unique === unique);
  }
}

/** A request as the kernel packs it. */
export function packed(
  operation: number,
  unique: number,
  inode: number | bigint,
  ...body: readonly (Uint8Array | string)[]
): Buffer {
  const parts = body.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`, 'latin1') : part));
  const header = Buffer.alloc(40);
  header.writeUInt32LE(operation, 4);
  header.writeBigUInt64LE(BigInt(unique), 8);
  header.writeBigUInt64LE(BigInt(inode), 16);
  header.writeUInt32LE(1000, 24);
  header.writeUInt32LE(1001, 28);
  header.writeUInt32LE(4242, 32);
  const whole = Buffer.concat([header, ...parts]);
  whole.writeUInt32LE(whole.length, 0);
  return whole;
}

/** Little-endian fields: numbers are 32 bits, bigints 64. */
export function fields(...values: readonly (number | bigint)[]): Buffer {
  return Buffer.concat(
    values.map((value) => {
      const field = Buffer.alloc(typeof value === 'bigint' ? 8 : 4);
      if (typeof value === 'bigint') field.writeBigInt64LE(BigInt.asIntN(64, value));
      else field.writeUInt32LE(value >>> 0);
      return field;
    }),
  );
}

/** READ of `size` bytes. */
export function readRequest(unique: number, inode: number, offset: bigint, size: number): Buffer {
  return packed(OPERATION.read, unique, inode, fields(0n, offset, size, 0, 0n, 0, 0));
}

/** WRITE of some bytes. */
export function writeRequest(
  unique: number,
  inode: number,
  offset: bigint,
  bytes: Uint8Array,
  writeFlags = 0,
): Buffer {
  return packed(
    OPERATION.write,
    unique,
    inode,
    fields(0n, offset, bytes.length, writeFlags, 0n, 0, 0),
    bytes,
  );
}

/** INTERRUPT of another request. */
export function interruptRequest(unique: number): Buffer {
  return packed(OPERATION.interrupt, unique + 1, 0, fields(BigInt(unique)));
}
