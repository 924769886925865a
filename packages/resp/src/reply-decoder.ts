// Decodes replies as a client receives them: RESP2 simple strings, errors, integers, bulks, nil and nested arrays, split at any byte.
//
// A large bulk goes straight from the received chunks into one buffer of its final size, which the caller may provide. Everything
// a hostile server could inflate is bounded: bulk length, array length, nesting, line length.
import { ProtocolError, RespError } from './errors.ts';

/** One decoded reply. Nil is null. An error inside an array is an element; at the top it is delivered as is. */
export type Reply = string | number | Uint8Array | null | RespError | Reply[];

/** Bounds on what a server may send. */
export interface ReplyLimits {
  /** Longest bulk, default 64 MiB. */
  readonly bulkBytes?: number;
  /** Most elements of one array, default 1,048,576. */
  readonly elements?: number;
}

/** Who receives the replies. */
export interface ReplyReceiver {
  reply(reply: Reply): void;
  /** Memory for a bulk reply that is not inside an array, of at least this length; undefined: new memory. */
  bulkTarget?(lengthBytes: number): Uint8Array | undefined;
}

const MAX_LINE_BYTES = 8192;
const MAX_DEPTH = 16;

interface OpenArray {
  readonly elements: Reply[];
  missing: number;
}

/** A decoder of one connection's replies. */
export class ReplyDecoder {
  readonly #receiver: ReplyReceiver;
  readonly #bulkLimitBytes: number;
  readonly #elementLimit: number;
  readonly #open: OpenArray[] = [];
  #line: Uint8Array | undefined;
  #bulk: Uint8Array | undefined;
  #filled = 0;
  /** Bytes of the terminator behind a bulk that are still to come. */
  #terminator = 0;

  constructor(receiver: ReplyReceiver, limits: ReplyLimits = {}) {
    this.#receiver = receiver;
    this.#bulkLimitBytes = limits.bulkBytes ?? 64 * 1024 * 1024;
    this.#elementLimit = limits.elements ?? 1024 * 1024;
  }

  /** Detaches the bulk under way from the caller's memory: what is still to come of it goes to memory of our own. */
  abandonTarget(): void {
    if (this.#bulk !== undefined && this.#open.length === 0) {
      this.#bulk = Buffer.allocUnsafeSlow(this.#bulk.length);
    }
  }

  /**
   * Decodes received bytes; calls the receiver once per complete reply. The chunk is not used after the call.
   * @throws ProtocolError when the bytes are no reply
   */
  push(chunk: Uint8Array): void {
    let at = 0;
    const end = chunk.length;
    while (at < end) {
      if (this.#bulk !== undefined) {
        const bulk = this.#bulk;
        const taken = Math.min(bulk.length - this.#filled, end - at);
        bulk.set(taken === end && at === 0 ? chunk : chunk.subarray(at, at + taken), this.#filled);
        this.#filled += taken;
        at += taken;
        if (this.#filled < bulk.length) return;
        this.#bulk = undefined;
        this.#terminator = 2;
        if (this.#awaitTerminatorOf(bulk, chunk, at)) at += 2;
        else continue;
      } else if (this.#terminator > 0) {
        if (chunk[at] !== (this.#terminator === 2 ? 13 : 10)) throw new ProtocolError('bulk without its end');
        at++;
        if (--this.#terminator === 0) this.#deliver(this.#finished);
      } else {
        at = this.#readLine(chunk, at);
      }
    }
  }

  #finished: Reply = null;

  /** Delivers at once when the terminator is in the same chunk; otherwise remembers the bulk until it came. */
  #awaitTerminatorOf(bulk: Uint8Array, chunk: Uint8Array, at: number): boolean {
    if (at + 2 > chunk.length) {
      this.#finished = bulk;
      return false;
    }
    if (chunk[at] !== 13 || chunk[at + 1] !== 10) throw new ProtocolError('bulk without its end');
    this.#terminator = 0;
    this.#deliver(bulk);
    return true;
  }

  #readLine(chunk: Uint8Array, from: number): number {
    const found = chunk.indexOf(10, from);
    const end = found < 0 ? chunk.length : found;
    const kept = this.#line?.length ?? 0;
    if (kept + end - from > MAX_LINE_BYTES) throw new ProtocolError('reply line too long');
    let line = chunk.subarray(from, end);
    if (this.#line !== undefined) line = Buffer.concat([this.#line, line]);
    if (found < 0) {
      this.#line = new Uint8Array(line);
      return chunk.length;
    }
    this.#line = undefined;
    if (line.at(-1) !== 13) throw new ProtocolError('reply line without CR');
    this.#header(line[0]!, line.subarray(1, line.length - 1));
    return found + 1;
  }

  #header(type: number, rest: Uint8Array): void {
    switch (type) {
      case 36: // $
        this.#startBulk(number(rest));
        return;
      case 43: // +
        this.#deliver(text(rest));
        return;
      case 58: // :
        this.#deliver(number(rest));
        return;
      case 45: // -
        this.#deliver(new RespError(text(rest)));
        return;
      case 42: // *
        this.#startArray(number(rest));
        return;
      default:
        throw new ProtocolError(`reply of unknown type ${type}`);
    }
  }

  #startBulk(length: number): void {
    if (length === -1) {
      this.#deliver(null);
      return;
    }
    if (length < 0 || length > this.#bulkLimitBytes) throw new ProtocolError(`bulk of ${length} bytes`);
    const target = this.#open.length === 0 ? this.#receiver.bulkTarget?.(length) : undefined;
    if (target !== undefined && target.length >= length) {
      this.#bulk = target.length === length ? target : target.subarray(0, length);
    } else {
      this.#bulk = length <= 4096 ? new Uint8Array(length) : Buffer.allocUnsafeSlow(length);
    }
    this.#filled = 0;
    if (length === 0) {
      this.#finished = this.#bulk;
      this.#bulk = undefined;
      this.#terminator = 2;
    }
  }

  #startArray(length: number): void {
    if (length === -1) {
      this.#deliver(null);
      return;
    }
    if (length < 0 || length > this.#elementLimit) throw new ProtocolError(`array of ${length} elements`);
    if (length === 0) {
      this.#deliver([]);
      return;
    }
    if (this.#open.length === MAX_DEPTH) throw new ProtocolError('arrays nested too deeply');
    this.#open.push({ elements: [], missing: length });
  }

  #deliver(reply: Reply): void {
    let complete = reply;
    for (let top = this.#open.at(-1); top !== undefined; top = this.#open.at(-1)) {
      top.elements.push(complete);
      if (--top.missing > 0) return;
      this.#open.pop();
      complete = top.elements;
    }
    this.#receiver.reply(complete);
  }
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
}

function number(bytes: Uint8Array): number {
  const digits = text(bytes);
  if (!/^[+-]?\d{1,20}$/.test(digits)) throw new ProtocolError(`"${digits.slice(0, 40)}" is no number`);
  return Number(digits);
}
