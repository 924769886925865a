// One request as the kernel sent it: a view on the one receive buffer. Nothing is decoded before it is asked for, nothing
// is allocated, and 64-bit fields come out as numbers: exact below 2^53, and refused above (`WIDE`).
//
// Byte tables: docs/formats/fuse.md. Words are 32 bits, counted from the beginning of the request; the body of every
// request begins at word 10.
import { SIZE, TRANSFER_MAX_BYTES } from './protocol.ts';

/** What `Request.wide` answers for a 64-bit field that is not below 2^53. */
export const WIDE = -1;

/** First word of the body. */
export const BODY = SIZE.requestHeader / 4;
/** Byte where the payload of a WRITE begins. */
const WRITE_PAYLOAD = SIZE.requestHeader + SIZE.writeBody;
const PAGE = 4096;
/** Bytes behind the largest WRITE, so that any request of the other kinds fits too. */
const SPARE = 4096;
const TWO_32 = 4294967296;

/** The receive buffer and how to look at it. */
export class Request {
  /** Where the channel puts the next message: its first byte is the request's. */
  readonly bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #text: Buffer;
  /** Length of the message in the buffer. */
  lengthBytes = 0;
  /** Views of payloads of whole pages, made once per size. */
  readonly #payloads: (Uint8Array | undefined)[] = [];

  constructor() {
    // A WRITE's payload lies on a page boundary, so that the kernel copies whole pages.
    const start = PAGE - WRITE_PAYLOAD;
    const size = WRITE_PAYLOAD + TRANSFER_MAX_BYTES + SPARE;
    const memory = new ArrayBuffer(start + size);
    this.bytes = new Uint8Array(memory, start, size);
    this.#words = new Uint32Array(memory, start, size / 4);
    this.#text = Buffer.from(memory, start, size);
  }

  get operation(): number {
    return this.#words[1] as number;
  }

  /** The two halves of the request's number; only ever compared and copied. */
  get uniqueLow(): number {
    return this.#words[2] as number;
  }

  get uniqueHigh(): number {
    return this.#words[3] as number;
  }

  /** The inode asked about; WIDE when it cannot be one of ours. */
  get inode(): number {
    return this.wide(4);
  }

  get userId(): number {
    return this.#words[6] as number;
  }

  get groupId(): number {
    return this.#words[7] as number;
  }

  get processId(): number {
    return this.#words[8] as number;
  }

  /** True when what is in the buffer is one whole request as far as its header says. */
  get whole(): boolean {
    return this.lengthBytes >= SIZE.requestHeader && this.#words[0] === this.lengthBytes;
  }

  /** True when the body has at least this many bytes. */
  has(bodyBytes: number): boolean {
    return this.lengthBytes >= SIZE.requestHeader + bodyBytes;
  }

  /** A 32-bit field. */
  word(index: number): number {
    return this.#words[index] as number;
  }

  /** An unsigned 64-bit field; WIDE when it is not below 2^53. */
  wide(index: number): number {
    const high = this.#words[index + 1] as number;
    return high < 0x200000 ? high * TWO_32 + (this.#words[index] as number) : WIDE;
  }

  /** A signed 64-bit field; undefined outside ±2^53. */
  signed(index: number): number | undefined {
    const value = ((this.#words[index + 1] as number) | 0) * TWO_32 + (this.#words[index] as number);
    return Number.isSafeInteger(value) ? value : undefined;
  }

  /**
   * Byte behind the zero that ends the string at `from`, or 0 when none does within the request.
   */
  stringEnd(from: number): number {
    if (from >= this.lengthBytes) return 0;
    const zero = this.bytes.indexOf(0, from);
    return zero < 0 || zero >= this.lengthBytes ? 0 : zero + 1;
  }

  /** The string between `from` and the zero before `end` (see `stringEnd`), one character per byte. */
  string(from: number, end: number): string {
    return this.#text.toString('latin1', from, end - 1);
  }

  /** The payload of a WRITE: a borrowed view, only valid until the next request. */
  payload(lengthBytes: number): Uint8Array {
    if (lengthBytes % PAGE !== 0) return this.bytes.subarray(WRITE_PAYLOAD, WRITE_PAYLOAD + lengthBytes);
    const pages = lengthBytes / PAGE;
    return (this.#payloads[pages] ??= this.bytes.subarray(WRITE_PAYLOAD, WRITE_PAYLOAD + lengthBytes));
  }

  /** A copy of the whole message, to be put back by `load`. */
  copy(): Uint8Array {
    return this.bytes.slice(0, this.lengthBytes);
  }

  /** Makes a message copied earlier the present one. */
  load(message: Uint8Array): void {
    this.bytes.set(message);
    this.lengthBytes = message.length;
  }
}
