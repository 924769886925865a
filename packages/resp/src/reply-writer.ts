// Writes replies, many of them for many clients, into one piece of memory. Between `begin` and `finish` everything belongs to one
// client; `finish` answers the segments to send. Large bulks are not copied: they become segments of their own.
//
// The memory (`scratch`) is used again after `reset`; segments in it must have been sent or copied by then. A turn that needs more
// gets fresh memory, which is not used again.

/** From this size on a bulk is a segment of its own. */
export const BORROW_BYTES = 16 * 1024;
/** Room that `framed` needs before a bulk, at most: a dollar sign, ten digits and the end of the line. */
export const FRAME_BEFORE_BYTES = 13;
const SCRATCH_BYTES = 512 * 1024;
/** Room that is there whenever a command starts: more than any reply without a bulk takes. */
const RESERVE_BYTES = 1024;
const COPY_LOOP_BYTES = 48;

const CR = 13;
const LF = 10;

/** Gathers replies. */
export class ReplyWriter {
  /** Write nil and maps as RESP3 has them. */
  resp3 = false;
  readonly #scratch: Buffer = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  #memory: Buffer = this.#scratch;
  #at = 0;
  #from = 0;
  #segments: Uint8Array[] = [];
  #borrowedBytes = 0;
  #markMemory: Buffer = this.#scratch;
  #markAt = 0;
  #markFrom = 0;
  #markSegments = 0;
  #markBorrowedBytes = 0;

  /** The memory that is used again after `reset`. */
  get scratch(): ArrayBufferLike {
    return this.#scratch.buffer;
  }

  /** Starts the replies of one client. */
  begin(): void {
    this.#from = this.#at;
  }

  /** Bytes written since `begin`, at least. */
  get writtenBytes(): number {
    return this.#at - this.#from + this.#borrowedBytes;
  }

  /** Ends the replies of one client. @returns what to send, in order */
  finish(): Uint8Array[] {
    this.#close();
    const segments = this.#segments;
    if (segments.length > 0) this.#segments = [];
    this.#borrowedBytes = 0;
    return segments;
  }

  /** All segments were sent or copied: the memory may be used again. */
  reset(): void {
    this.#memory = this.#scratch;
    this.#at = this.#from = 0;
  }

  /** Before a command: makes room for a short reply, so that it lies in one piece, and remembers the place for `rollback`. */
  checkpoint(): void {
    if (this.#at + RESERVE_BYTES > this.#memory.length) this.#grow(RESERVE_BYTES);
    this.#markMemory = this.#memory;
    this.#markAt = this.#at;
    this.#markFrom = this.#from;
    this.#markSegments = this.#segments.length;
    this.#markBorrowedBytes = this.#borrowedBytes;
  }

  /** Forgets everything written since the last `checkpoint`. */
  rollback(): void {
    this.#memory = this.#markMemory;
    this.#at = this.#markAt;
    this.#from = this.#markFrom;
    this.#segments.length = this.#markSegments;
    this.#borrowedBytes = this.#markBorrowedBytes;
  }

  /** Takes back what was written since the last `checkpoint`, to be sent later. */
  withdraw(): Uint8Array[] {
    this.#close();
    const withdrawn = this.#segments.splice(this.#markSegments);
    const first = withdrawn[0];
    if (first !== undefined && this.#markFrom < this.#markAt) {
      // The segment that was open at the checkpoint: what lies before it stays.
      this.#segments.push(this.#markMemory.subarray(this.#markFrom, this.#markAt));
      withdrawn[0] = first.subarray(this.#markAt - this.#markFrom);
    }
    return withdrawn.filter((part) => part.length > 0).map((part) => new Uint8Array(part));
  }

  /** The current place: memory and offset. */
  get memory(): Uint8Array {
    return this.#memory;
  }

  get offset(): number {
    return this.#at;
  }

  /** Bytes that are a reply already; not kept. */
  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#memory.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** A simple string; the text must be ASCII without line ends. */
  simple(text: string): void {
    this.#line(43, text);
  }

  /** An error; the text must be ASCII without line ends. */
  error(text: string): void {
    this.#line(45, text);
  }

  integer(value: number): void {
    if (value >= 0 && value < 10) {
      this.#room(4);
      const memory = this.#memory;
      memory[this.#at++] = 58;
      memory[this.#at++] = 48 + value;
      memory[this.#at++] = CR;
      memory[this.#at++] = LF;
      return;
    }
    this.#line(58, String(value));
  }

  nil(): void {
    this.#room(5);
    const memory = this.#memory;
    if (this.resp3) {
      memory[this.#at++] = 95;
      memory[this.#at++] = CR;
      memory[this.#at++] = LF;
      return;
    }
    memory[this.#at++] = 36;
    memory[this.#at++] = 45;
    memory[this.#at++] = 49;
    memory[this.#at++] = CR;
    memory[this.#at++] = LF;
  }

  /** A map of so many pairs; in RESP2 a flat array. */
  map(pairs: number): void {
    if (this.resp3) this.#header(37, pairs);
    else this.#header(42, 2 * pairs);
  }

  array(length: number): void {
    this.#header(42, length);
  }

  /** A bulk. Bytes of 16 KiB and more are not copied and must not change any more. */
  bulk(bytes: Uint8Array): void {
    const length = bytes.length;
    this.#header(36, length);
    if (length >= BORROW_BYTES) {
      this.#close();
      this.#segments.push(bytes);
      this.#borrowedBytes += length;
      this.#room(2);
    } else {
      this.#room(length + 2);
      if (length <= COPY_LOOP_BYTES) {
        const memory = this.#memory;
        let at = this.#at;
        for (let i = 0; i < length; i++) memory[at++] = bytes[i]!;
        this.#at = at;
      } else {
        this.#memory.set(bytes, this.#at);
        this.#at += length;
      }
    }
    this.#memory[this.#at++] = CR;
    this.#memory[this.#at++] = LF;
  }

  /**
   * A bulk of 16 KiB or more in memory that is ours: its frame is put around it, FRAME_BEFORE_BYTES before and two bytes behind it are
   * written over. Then it is one segment, and one call to send it.
   */
  framed(bytes: Uint8Array): void {
    const length = bytes.length;
    const digits = String(length);
    this.#close();
    const start = bytes.byteOffset - digits.length - 3;
    const segment = new Uint8Array(bytes.buffer, start, digits.length + 3 + length + 2);
    segment[0] = 36;
    for (let i = 0; i < digits.length; i++) segment[1 + i] = digits.charCodeAt(i);
    segment[digits.length + 1] = CR;
    segment[digits.length + 2] = LF;
    segment[segment.length - 2] = CR;
    segment[segment.length - 1] = LF;
    this.#segments.push(segment);
    this.#borrowedBytes += segment.length;
  }

  /**
   * Begins a bulk whose `length` bytes (below BORROW_BYTES) the caller writes to `memory` himself, at the position answered, before
   * anything else is asked of the writer.
   */
  bulkSpace(length: number): number {
    this.#header(36, length);
    this.#room(length + 2);
    const memory = this.#memory;
    const at = this.#at;
    memory[at + length] = CR;
    memory[at + length + 1] = LF;
    this.#at = at + length + 2;
    return at;
  }

  /** A bulk of text (UTF-8). */
  text(text: string): void {
    this.bulk(Buffer.from(text));
  }

  #line(type: number, text: string): void {
    this.#room(text.length + 3);
    const memory = this.#memory;
    let at = this.#at;
    memory[at++] = type;
    for (let i = 0; i < text.length; i++) memory[at++] = text.charCodeAt(i);
    memory[at++] = CR;
    memory[at++] = LF;
    this.#at = at;
  }

  #header(type: number, value: number): void {
    this.#room(16);
    const memory = this.#memory;
    let at = this.#at;
    memory[at++] = type;
    let scale = 1;
    while (scale * 10 <= value) scale *= 10;
    for (let rest = value; scale >= 1; scale = Math.floor(scale / 10)) {
      const digit = Math.floor(rest / scale);
      memory[at++] = 48 + digit;
      rest -= digit * scale;
    }
    memory[at++] = CR;
    memory[at++] = LF;
    this.#at = at;
  }

  #room(lengthBytes: number): void {
    if (this.#at + lengthBytes > this.#memory.length) this.#grow(lengthBytes);
  }

  #grow(lengthBytes: number): void {
    this.#close();
    this.#memory = Buffer.allocUnsafeSlow(Math.max(SCRATCH_BYTES, lengthBytes + RESERVE_BYTES));
    this.#at = this.#from = 0;
  }

  /** Ends the current segment. */
  #close(): void {
    if (this.#at > this.#from) this.#segments.push(this.#memory.subarray(this.#from, this.#at));
    this.#from = this.#at;
  }
}
