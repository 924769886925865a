// The descriptor `zdb-namespace`, exactly as docs/formats/zdb.md ("Descriptor") has it. Nothing else reads or writes these bytes.
import { get32, get64, put32, put64 } from './little-endian.ts';

/** File name of the descriptor in a namespace's index directory. */
export const DESCRIPTOR_NAME = 'zdb-namespace';
/** Longest namespace name and longest stored password, bytes. */
export const NAME_MAX_BYTES = 128;
export const PASSWORD_MAX_BYTES = 255;

const HEADER_BYTES = 15;
const VERSION = 1;
const PUBLIC = 1;
const WORM = 2;
const ALWAYS = 4;

/** What a descriptor stores. `maxSizeBytes` 0: unlimited, at most 2^64 (which stands for 2^64 - 1); `public` by default. */
export interface Descriptor {
  readonly password: Uint8Array | undefined;
  readonly public: boolean;
  readonly worm: boolean;
  readonly maxSizeBytes: number;
}

/** A namespace without descriptor has this one. */
export const DEFAULT_DESCRIPTOR: Descriptor = {
  password: undefined,
  public: true,
  worm: false,
  maxSizeBytes: 0,
};

/** Descriptor bytes; nothing stands behind them (D16). */
export function encodeDescriptor(name: Uint8Array, descriptor: Descriptor): Uint8Array {
  const password = descriptor.password ?? new Uint8Array(0);
  if (name.length > NAME_MAX_BYTES || password.length > PASSWORD_MAX_BYTES)
    throw new RangeError('descriptor: name or password too long');
  const bytes = new Uint8Array(HEADER_BYTES + name.length + password.length);
  put32(bytes, 0, VERSION);
  bytes[4] = name.length;
  bytes[5] = password.length;
  if (descriptor.maxSizeBytes >= 2 ** 64) bytes.fill(0xff, 6, 14);
  else put64(bytes, 6, descriptor.maxSizeBytes);
  bytes[14] = (descriptor.public ? PUBLIC : 0) | (descriptor.worm ? WORM : 0) | ALWAYS;
  bytes.set(name, HEADER_BYTES);
  bytes.set(password, HEADER_BYTES + name.length);
  return bytes;
}

/**
 * Reads a descriptor; bytes behind the password are left-overs and ignored.
 * @returns undefined when the bytes are too short to be one; a cut name or password does not count
 * @throws RangeError on another version
 */
export function decodeDescriptor(bytes: Uint8Array): Descriptor | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const version = get32(bytes, 0);
  if (version !== VERSION) throw new RangeError(`version ${version}, this program knows version ${VERSION}`);
  const passwordAt = HEADER_BYTES + bytes[4]!;
  const passwordBytes = bytes[5]!;
  // Of a cut one the lost bytes are zeros: nobody comes in without the password because a part of it is gone.
  const password = new Uint8Array(passwordBytes);
  password.set(bytes.subarray(passwordAt, passwordAt + passwordBytes));
  return {
    password: passwordBytes === 0 ? undefined : password,
    public: (bytes[14]! & PUBLIC) !== 0,
    worm: (bytes[14]! & WORM) !== 0,
    maxSizeBytes: get64(bytes, 6),
  };
}
