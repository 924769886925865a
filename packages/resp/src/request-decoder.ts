// Decodes requests as a server receives them: RESP2 arrays of bulk strings, split at any byte.
//
// Zero copy: while a request lies whole in the bytes that were pushed, its arguments are views of them. An argument that is cut
// by the end of the input gets one buffer of its final size, and the socket loop may receive the rest straight into it
// (`space`). Invariants: no byte is looked at twice except an incomplete header line (at most 8 KiB); memory of one
// unfinished request is bounded by MAX_REQUEST_BYTES. Called by the zdb server's socket loops.
//
// The laxities (a line ends at LF, blanks and junk around numbers, unchecked payload terminators) and the error texts are those of
// the reference server; the connections it leaves stuck are closed here.
import { ProtocolError } from './errors.ts';
import { LargeBuffers } from './large-buffers.ts';

/** Most arguments of one request, the command word included. */
export const MAX_ARGUMENTS = 1024;
/** Longest argument. */
export const MAX_ARGUMENT_BYTES = 8 * 1024 * 1024;
/** Longest request, all arguments together: the largest value, and room for the longest list of keys. */
export const MAX_REQUEST_BYTES = MAX_ARGUMENT_BYTES + 1024 * 1024;
/** Longest header line without its end. */
export const MAX_LINE_BYTES = 8192;
/** From this size on a cut argument gets a reusable buffer that the socket loop fills directly. */
const LARGE_BYTES = 16 * 1024;
/** A type and up to eight digits: the header lines that are read without looking for their end first. */
const USUAL_LINE_BYTES = 9;

const LF = 10;
const CR = 13;
const DOLLAR = 36;
const STAR = 42;
const EMPTY = new Uint8Array(0);

/** Longest argument that `shortArgument` copies; of a longer one a view is cheaper. */
const SHORT_BYTES = 32;
const SHORT_MEMORY = new ArrayBuffer(SHORT_BYTES);
/** For `shortArgument`: the beginning of one piece of memory, by length. */
const SHORT = Array.from({ length: SHORT_BYTES + 1 }, (_, length) => new Uint8Array(SHORT_MEMORY, 0, length));

/** A decoder of one connection's requests. */
export class RequestDecoder {
  readonly #pool: LargeBuffers;

  /** Number of arguments of the request `next()` just answered, the command word included. */
  count = 0;
  #base: Uint8Array = EMPTY;
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  /** Arguments with memory of their own, by position; the others are views of `#base`. */
  #own: (Uint8Array | undefined)[] = [];
  /** Reusable buffers the current request's arguments live in. */
  #lent: Uint8Array[] = [];

  #input: Uint8Array = EMPTY;
  #at = 0;
  #end = 0;
  /** Where `lookAhead` is. */
  #ahead = 0;

  /** Arguments announced by the unfinished request; -1 when its first line was not seen. */
  #expected = -1;
  #requestBytes = 0;
  /** The argument being received: memory for its bytes and the two behind it. */
  #partial: Uint8Array | undefined;
  #partialLength = 0;
  #filled = 0;
  /** Start of a header line that the input cut. */
  #line: Uint8Array | undefined;
  #delivered = false;

  constructor(pool: LargeBuffers = new LargeBuffers()) {
    this.#pool = pool;
  }

  /**
   * Gives bytes to decode. They are borrowed until `next()` has answered false or `hold()` was called.
   * What was pushed before and not yet decoded is kept in front.
   */
  push(bytes: Uint8Array, from = 0, to = bytes.length): void {
    if (this.#at < this.#end) {
      const joined = Buffer.allocUnsafeSlow(this.#end - this.#at + (to - from));
      joined.set(this.#input.subarray(this.#at, this.#end), 0);
      joined.set(bytes.subarray(from, to), this.#end - this.#at);
      this.#input = joined;
      this.#at = 0;
      this.#end = joined.length;
      return;
    }
    this.#input = bytes;
    this.#at = from;
    this.#end = to;
  }

  /** Bytes pushed and not yet decoded. */
  get waitingBytes(): number {
    return this.#end - this.#at;
  }

  /** Copies what was pushed and not yet decoded, so that the pushed memory may be used for something else. */
  hold(): void {
    if (this.#at === this.#end) {
      this.#input = EMPTY;
      this.#at = this.#end = 0;
      return;
    }
    const held = Buffer.allocUnsafeSlow(this.#end - this.#at);
    held.set(this.#input.subarray(this.#at, this.#end));
    this.#input = held;
    this.#at = 0;
    this.#end = held.length;
  }

  /**
   * Where the next received bytes can be put without a copy: the rest of a large argument and its terminator. Undefined when there is
   * none, or when pushed bytes are still to be decoded. Tell `received` how many bytes were put there, then call `next`.
   */
  space(): Uint8Array | undefined {
    if (this.#partial === undefined || this.#at < this.#end) return undefined;
    const limit = this.#partialLength + 2;
    return limit - this.#filled >= LARGE_BYTES ? this.#partial.subarray(this.#filled, limit) : undefined;
  }

  /** Counts bytes that were received straight into `space()`. */
  received(lengthBytes: number): void {
    this.#filled += lengthBytes;
  }

  /** Bytes of argument `position` of the current request; a view that is valid as long as the pushed memory and `lent` are. */
  argument(position: number): Uint8Array {
    const own = this.#own[position];
    if (own !== undefined) return own;
    const start = this.#starts[position]!;
    const base = this.#base;
    return new Uint8Array(base.buffer, base.byteOffset + start, this.#ends[position]! - start);
  }

  /**
   * Argument `position` of the current request. Where it is short it is a copy in memory that the next call, of any decoder, writes over:
   * that is cheaper than a view of its own.
   */
  shortArgument(position: number): Uint8Array {
    const start = this.#starts[position]!;
    const length = this.#ends[position]! - start;
    if (this.#own[position] !== undefined || length > SHORT_BYTES) return this.argument(position);
    const copy = SHORT[length]!;
    const base = this.#base;
    for (let byte = 0; byte < length; byte++) copy[byte] = base[start + byte]!;
    return copy;
  }

  /** Length of argument `position` in bytes. */
  lengthOf(position: number): number {
    const own = this.#own[position];
    return own !== undefined ? own.length : this.#ends[position]! - this.#starts[position]!;
  }

  /** The byte at `offset` of argument `position`. */
  byteOf(position: number, offset: number): number {
    const own = this.#own[position];
    return own !== undefined ? own[offset]! : this.#base[this.#starts[position]! + offset]!;
  }

  /** The bytes that `lookAhead` speaks of. */
  get input(): Uint8Array {
    return this.#input;
  }

  /**
   * Finds the first arguments behind the command words of requests that are here and not decoded yet. Stops without a word at whatever
   * is not whole or not usual; nothing is decoded by it.
   * @param positions filled with where each begins in `input`, and its length in bytes
   * @returns how many were found
   */
  lookAhead(positions: Int32Array): number {
    if ((this.#expected >= 0 && !this.#delivered) || this.#line !== undefined) return 0;
    let found = 0;
    this.#ahead = this.#at;
    while (2 * found < positions.length) {
      const words = this.#headerAhead(STAR);
      if (words < 2) break;
      for (let word = 0; word < words; word++) {
        const length = this.#headerAhead(DOLLAR);
        if (length < 0 || this.#ahead + length > this.#end) return found;
        if (word === 1) {
          positions[2 * found] = this.#ahead;
          positions[2 * found + 1] = length;
          found++;
        }
        this.#ahead += length + 2;
      }
    }
    return found;
  }

  /** The number of a usual header line at `#ahead`, which moves behind it; -1 for anything else. */
  #headerAhead(type: number): number {
    const input = this.#input;
    const end = this.#end;
    let at = this.#ahead;
    if (at >= end || input[at] !== type) return -1;
    let value = 0;
    for (at++; at < end; at++) {
      const digit = input[at]! - 48;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    if (at + 1 >= end || input[at] !== CR || at - this.#ahead > USUAL_LINE_BYTES) return -1;
    this.#ahead = at + 2;
    return value;
  }

  /** Drops the last argument of the current request (owner ids of replication masters). */
  dropLast(): void {
    this.count--;
  }

  /** Gives the current request's arguments memory of their own: for a request that has to wait for longer than a turn. */
  detach(): void {
    for (let i = 0; i < this.count; i++) this.#own[i] ??= new Uint8Array(this.argument(i));
  }

  /** Hands over the reusable buffers of the current request; its owner gives them back when the arguments are no longer used. */
  takeLent(): Uint8Array[] | undefined {
    if (this.#lent.length === 0) return undefined;
    const lent = this.#lent;
    this.#lent = [];
    return lent;
  }

  /** Gives all reusable memory back; the decoder is not used any more. */
  dispose(): void {
    for (const buffer of this.#lent) this.#pool.give(buffer);
    this.#lent = [];
    this.#partial = undefined;
    this.#own = [];
    this.#base = this.#input = EMPTY;
    this.#at = this.#end = 0;
  }

  /**
   * Decodes the next request.
   * @returns true when one is complete: its arguments can be read until the next call; false when more bytes are needed
   * @throws ProtocolError when the bytes are no request; nothing behind them can be decoded
   */
  next(): boolean {
    if (this.#delivered) {
      this.#delivered = false;
      this.#expected = -1;
      this.#requestBytes = 0;
      this.count = 0;
      if (this.#own.length > 0) this.#own = [];
    }
    if (this.#partial !== undefined && !this.#continuePartial()) return false;
    this.#base = this.#input;
    if (this.#expected < 0) {
      const value = this.#header(STAR);
      if (value === undefined) return false;
      if (value === 0) throw new ProtocolError('Missing arguments');
      if (value < 0) throw new ProtocolError('Internal memory error');
      if (value > MAX_ARGUMENTS) throw new ProtocolError('Too many arguments');
      this.#expected = value;
    }
    while (this.count < this.#expected) {
      const length = this.#header(DOLLAR);
      if (length === undefined) return this.#suspend();
      if (length < 0) throw new ProtocolError('Internal memory error');
      this.#requestBytes += length;
      if (length > MAX_ARGUMENT_BYTES || this.#requestBytes > MAX_REQUEST_BYTES) {
        throw new ProtocolError('Payload too big');
      }
      const start = this.#at;
      if (start + length + 2 > this.#end) return this.#cut(length);
      this.#starts[this.count] = start;
      this.#ends[this.count] = start + length;
      this.count++;
      this.#at = start + length + 2;
    }
    this.#delivered = true;
    return true;
  }

  /** The input ends between two arguments: those received so far move to memory of their own. */
  #suspend(): false {
    for (let i = 0; i < this.count; i++) this.#own[i] ??= new Uint8Array(this.argument(i));
    return false;
  }

  /** The input ends inside an argument: it gets its final memory, filled as far as the bytes go. */
  #cut(length: number): false {
    this.#suspend();
    const large = length >= LARGE_BYTES;
    const memory = large ? this.#pool.take(length + 2) : Buffer.allocUnsafeSlow(length + 2);
    if (memory === undefined) throw new ProtocolError('Too much data is being received, try again later');
    if (large) this.#lent.push(memory);
    memory.set(this.#input.subarray(this.#at, this.#end), 0);
    this.#partial = memory;
    this.#partialLength = length;
    this.#filled = this.#end - this.#at;
    this.#at = this.#end;
    return false;
  }

  /** Goes on filling the cut argument; true when it is complete. */
  #continuePartial(): boolean {
    const memory = this.#partial!;
    const limit = this.#partialLength + 2;
    const taken = Math.min(limit - this.#filled, this.#end - this.#at);
    if (taken > 0) {
      memory.set(this.#input.subarray(this.#at, this.#at + taken), this.#filled);
      this.#filled += taken;
      this.#at += taken;
    }
    if (this.#filled < limit) return false;
    this.#own[this.count] = new Uint8Array(memory.buffer, memory.byteOffset, this.#partialLength);
    this.count++;
    this.#partial = undefined;
    return true;
  }

  /** Reads one header line of the given type; undefined when its end is not there yet. */
  #header(type: number): number | undefined {
    if (this.#line !== undefined) return this.#splitHeader(type);
    const input = this.#input;
    const start = this.#at;
    if (start === this.#end) return undefined;
    if (input[start] !== type) throw wrongType(type);
    // The usual line: digits, CR, LF.
    let value = 0;
    let at = start + 1;
    const end = this.#end;
    while (at < end) {
      const digit = input[at]! - 48;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
      at++;
    }
    if (at + 1 < end && input[at] === CR && input[at + 1] === LF && at - start <= USUAL_LINE_BYTES) {
      this.#at = at + 2;
      return value;
    }
    const found = input.indexOf(LF, start);
    if (found < 0 || found >= end) {
      if (end - start > MAX_LINE_BYTES) throw new ProtocolError(undefined);
      this.#line = new Uint8Array(input.subarray(start, end)); // slice of a Buffer is no copy
      this.#at = end;
      return undefined;
    }
    if (found - start > MAX_LINE_BYTES) throw new ProtocolError(undefined);
    this.#at = found + 1;
    return laxNumber(input, start + 1, found);
  }

  /** Goes on with a header line whose start came with an earlier input. */
  #splitHeader(type: number): number | undefined {
    const line = this.#line!;
    const found = this.#input.indexOf(LF, this.#at);
    const complete = found >= 0 && found < this.#end;
    const end = complete ? found : this.#end;
    if (line.length + end - this.#at > MAX_LINE_BYTES) throw new ProtocolError(undefined);
    const joined = Buffer.allocUnsafe(line.length + end - this.#at);
    joined.set(line, 0);
    joined.set(this.#input.subarray(this.#at, end), line.length);
    if (joined.length > 0 && joined[0] !== type) throw wrongType(type);
    if (!complete) {
      this.#line = joined;
      this.#at = end;
      return undefined;
    }
    this.#line = undefined;
    this.#at = end + 1;
    return laxNumber(joined, 1, joined.length);
  }
}

function wrongType(wanted: number): ProtocolError {
  return new ProtocolError(wanted === STAR ? 'Malformed request, array expected' : 'Malformed query string');
}

/**
 * A number as the reference reads it: blanks, a sign, digits; what follows is ignored, no digits are 0. Beyond 64 bits it is the largest or
 * smallest of them; the value then wraps to 32 bits, signed.
 */
export function laxNumber(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && (bytes[at] === 32 || (bytes[at]! >= 9 && bytes[at]! <= 13))) at++;
  const negative = bytes[at] === 45;
  if (at < to && (negative || bytes[at] === 43)) at++;
  let low = 0;
  let magnitude = 0;
  for (; at < to; at++) {
    const digit = bytes[at]! - 48;
    if (digit < 0 || digit > 9) break;
    low = (Math.imul(low, 10) + digit) | 0;
    magnitude = magnitude * 10 + digit;
  }
  if (magnitude >= 2 ** 63) return negative ? 0 : -1;
  return negative ? -low | 0 : low;
}
