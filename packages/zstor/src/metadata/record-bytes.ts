// Bytes in and out for records: growing writer and bounds-checked reader (docs/formats/records.md, "Numbers").
// Varints are LEB128, at most 8 bytes, for whole numbers up to 2^53 - 1.

/** The bytes are not what they should be: damaged, cut, or written by a later version. */
export class MalformedRecord extends Error {
  override readonly name = 'MalformedRecord';
}

/** Appends values to a buffer that grows. */
export class RecordWriter {
  #bytes = Buffer.alloc(256);
  #length = 0;

  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  byte(value: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = value;
  }

  varint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0)
      throw new RangeError(`${value} cannot be written as a varint`);
    this.#room(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** Sign in the lowest bit. */
  signed(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  text(text: string): void {
    const bytes = Buffer.from(text, 'utf8');
    this.varint(bytes.length);
    this.raw(bytes);
  }

  #room(lengthBytes: number): void {
    if (this.#length + lengthBytes <= this.#bytes.length) return;
    const grown = Buffer.alloc(Math.max(2 * this.#bytes.length, this.#length + lengthBytes));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}

/** Reads values one behind the other. Every method throws MalformedRecord at the end of the bytes. */
export class RecordReader {
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  byte(): number {
    const value = this.#bytes[this.#position++];
    if (value === undefined) throw new MalformedRecord('a record ends too early');
    return value;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 8; count++) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) break;
        return value;
      }
      scale *= 0x80;
    }
    throw new MalformedRecord('a number in a record is too large');
  }

  signed(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  raw(lengthBytes: number): Uint8Array {
    if (lengthBytes > this.#bytes.length - this.#position)
      throw new MalformedRecord('a record ends too early');
    this.#position += lengthBytes;
    return this.#bytes.subarray(this.#position - lengthBytes, this.#position);
  }

  text(longestBytes: number): string {
    const length = this.varint();
    if (length > longestBytes) throw new MalformedRecord(`a text of ${length} bytes in a record is too long`);
    return Buffer.from(this.raw(length)).toString('utf8');
  }

  /** Everything that is left. */
  rest(): Uint8Array {
    return this.raw(this.#bytes.length - this.#position);
  }

  /** @throws MalformedRecord when something is left */
  end(): void {
    if (this.#position !== this.#bytes.length) throw new MalformedRecord('a record has bytes behind its end');
  }
}
