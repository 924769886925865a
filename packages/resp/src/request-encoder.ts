// Encodes requests as a client sends them. Small arguments are gathered into one buffer; large ones are passed on as they are,
// so that a value of a megabyte is never copied.

/** Bytes of one argument: text (UTF-8), a number (decimal text), bytes, or bytes in parts that are sent one behind the other. */
export type Argument = string | number | Uint8Array | readonly Uint8Array[];

/** From this size on a part is not copied. */
const BORROW_BYTES = 4096;
const CRLF = Buffer.from('\r\n');

/** A request ready to be written. */
export interface EncodedRequest {
  /** To be written in order. Large parts are the caller's memory: it must not change until the reply came. */
  readonly chunks: readonly Uint8Array[];
  readonly sizeBytes: number;
  /** True when some chunk is the caller's memory. */
  readonly borrows: boolean;
}

/** Encodes one request, the command word first. */
export function encodeRequest(parameters: readonly Argument[]): EncodedRequest {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  let small: Uint8Array[] = [];
  let smallBytes = 0;
  let borrows = false;
  const flush = () => {
    if (smallBytes === 0) return;
    chunks.push(Buffer.concat(small, smallBytes));
    sizeBytes += smallBytes;
    small = [];
    smallBytes = 0;
  };
  const add = (bytes: Uint8Array) => {
    if (bytes.length >= BORROW_BYTES) {
      flush();
      borrows = true;
      chunks.push(bytes);
      sizeBytes += bytes.length;
    } else if (bytes.length > 0) {
      small.push(bytes);
      smallBytes += bytes.length;
    }
  };
  add(Buffer.from(`*${parameters.length}\r\n`, 'latin1'));
  for (const parameter of parameters) {
    if (typeof parameter === 'object' && !(parameter instanceof Uint8Array)) {
      let length = 0;
      for (const part of parameter) length += part.length;
      add(Buffer.from(`$${length}\r\n`, 'latin1'));
      for (const part of parameter) add(part);
    } else {
      const bytes = typeof parameter === 'object' ? parameter : Buffer.from(String(parameter));
      add(Buffer.from(`$${bytes.length}\r\n`, 'latin1'));
      add(bytes);
    }
    add(CRLF);
  }
  flush();
  return { chunks, sizeBytes, borrows };
}
