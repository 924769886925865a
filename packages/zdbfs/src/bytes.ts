// Little-endian writing and bounds-checked reading of records. Integers are below 2^53 in size. Used by the codecs of
// metadata records (record-codec.ts, superblock.ts) and of the journal (operation-codec.ts) and by nothing else.

const WORD = 4_294_967_296;

/** A stored record does not have the form its format asks for. */
export class CorruptRecord extends Error {
  override readonly name = 'CorruptRecord';
}

/** Grows as needed and is reused: `reset`, write, then `view` (valid until the next write) or `copy`. */
export class ByteWriter {
  #buffer: Buffer;
  length = 0;

  constructor(initialBytes = 4096) {
    this.#buffer = Buffer.allocUnsafe(initialBytes);
  }

  reset(): void {
    this.length = 0;
  }

  /** The bytes written so far, borrowed. */
  view(): Uint8Array {
    return this.#buffer.subarray(0, this.length);
  }

  /** The bytes written so far, in a buffer of their own. */
  copy(): Uint8Array {
    return new Uint8Array(this.#buffer.subarray(0, this.length));
  }

  u8(value: number): void {
    // First the place: taking it may exchange the buffer.
    const at = this.#take(1);
    this.#buffer[at] = value;
  }

  u16(value: number): void {
    const at = this.#take(2);
    this.#buffer[at] = value;
    this.#buffer[at + 1] = value >>> 8;
  }

  u32(value: number): void {
    this.#put32(this.#take(4), value);
  }

  /** Signed or unsigned 64 bits of an integer between -2^53 and 2^53. */
  u64(value: number): void {
    const at = this.#take(8);
    this.#put32(at, value);
    this.#put32(at + 4, Math.floor(value / WORD));
  }

  /** Signed variable-length integer: zigzag, seven bits a byte, low bits first. */
  varint(value: number): void {
    let rest = value < 0 ? -value * 2 - 1 : value * 2;
    while (rest >= 128) {
      this.u8((rest % 128) + 128);
      rest = Math.floor(rest / 128);
    }
    this.u8(rest);
  }

  /** One character per byte. */
  latin1(text: string): void {
    const at = this.#take(text.length);
    this.#buffer.write(text, at, 'latin1');
  }

  bytes(source: Uint8Array): void {
    const at = this.#take(source.length);
    this.#buffer.set(source, at);
  }

  /** Overwrites four bytes written before. */
  patch32(at: number, value: number): void {
    this.#put32(at, value);
  }

  #put32(at: number, value: number): void {
    const buffer = this.#buffer;
    buffer[at] = value;
    buffer[at + 1] = value >>> 8;
    buffer[at + 2] = value >>> 16;
    buffer[at + 3] = value >>> 24;
  }

  #take(lengthBytes: number): number {
    const at = this.length;
    this.length += lengthBytes;
    if (this.length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.length, this.#buffer.length * 2));
      larger.set(this.#buffer.subarray(0, at));
      this.#buffer = larger;
    }
    return at;
  }
}

/** Reads what ByteWriter wrote. Every method throws CorruptRecord beyond the end. */
export class ByteReader {
  readonly #buffer: Buffer;
  position: number;

  constructor(source: Uint8Array, position = 0) {
    this.#buffer = Buffer.from(source.buffer, source.byteOffset, source.byteLength);
    this.position = position;
  }

  get remaining(): number {
    return this.#buffer.length - this.position;
  }

  u8(): number {
    return this.#buffer[this.#take(1)] as number;
  }

  u16(): number {
    return this.#buffer.readUInt16LE(this.#take(2));
  }

  u32(): number {
    return this.#buffer.readUInt32LE(this.#take(4));
  }

  /** Unsigned 64 bits; CorruptRecord at 2^53 and above. */
  u64(): number {
    const at = this.#take(8);
    const high = this.#buffer.readUInt32LE(at + 4);
    if (high >= 0x200000) throw new CorruptRecord('an integer is larger than 2^53');
    return high * WORD + this.#buffer.readUInt32LE(at);
  }

  /** Signed 64 bits of at most 53 significant ones. */
  i64(): number {
    const at = this.#take(8);
    const value = this.#buffer.readInt32LE(at + 4) * WORD + this.#buffer.readUInt32LE(at);
    if (!Number.isSafeInteger(value)) throw new CorruptRecord('an integer is larger than 2^53');
    return value;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.u8();
      value += (byte & 127) * scale;
      if (byte < 128) break;
      scale *= 128;
      if (scale > 2 ** 49) throw new CorruptRecord('a variable-length integer does not end');
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  latin1(lengthBytes: number): string {
    const at = this.#take(lengthBytes);
    return this.#buffer.toString('latin1', at, at + lengthBytes);
  }

  /** A copy. */
  bytes(lengthBytes: number): Uint8Array {
    const at = this.#take(lengthBytes);
    return new Uint8Array(this.#buffer.subarray(at, at + lengthBytes));
  }

  /** Throws unless everything was read. */
  end(): void {
    if (this.remaining !== 0) throw new CorruptRecord(`${this.remaining} bytes too many`);
  }

  #take(lengthBytes: number): number {
    const at = this.position;
    if (lengthBytes > this.#buffer.length - at) throw new CorruptRecord('the record ends too early');
    this.position = at + lengthBytes;
    return at;
  }
}
