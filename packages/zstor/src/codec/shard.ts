// The shard as stored: header, checksum, and what makes a candidate the right one. Reads and writes the table in
// docs/formats/objects.md, "Stripes and shards"; nothing else does.
import { createCipheriv, timingSafeEqual } from 'node:crypto';
import type { CodedObject, Compression, ShardCandidate, ShardDefect } from './types.ts';

/** Length of a shard's header. */
export const SHARD_HEADER_BYTES = 64;
/** Header bytes under the checksum; those behind are the checksum. */
export const SHARD_FIELDS_BYTES = 48;
/** Length of the stripe's authentication tag, which is stored behind the ciphertext. */
export const STRIPE_TAG_BYTES = 16;
/** Bodies are multiples of this. */
export const SHARD_BODY_ALIGNMENT_BYTES = 16;
/** The largest stripe. */
export const STRIPE_MAX_BYTES = 16 * 1024 * 1024;
/** Stripe numbers and generations are below this. */
const U32_LIMIT = 2 ** 32;

const MAGIC = 0x44485351; // 'QSHD'
const FORMAT_VERSION = 2;
const CHECKSUM_BYTES = 16;
const NONCE_BYTES = 12;
const COMPRESSION_CODES: readonly Compression[] = ['plain', 'zstd', 'zero'];

/** What the stripe looks like inside its shards. */
export interface StripeShape {
  readonly compression: Compression;
  /** Length of the stripe's bytes. */
  readonly plainBytes: number;
  /** Length of ciphertext and tag. */
  readonly storedBytes: number;
}

/** Length of a shard's body, for a stripe of `storedBytes`. */
export function shardBodyBytes(storedBytes: number, k: number): number {
  return Math.ceil(Math.ceil(storedBytes / k) / SHARD_BODY_ALIGNMENT_BYTES) * SHARD_BODY_ALIGNMENT_BYTES;
}

/** Length of the longest shard a stripe of `plainBytes` can have: header and body, nothing compressed. */
export function shardMaxBytes(plainBytes: number, k: number): number {
  return SHARD_HEADER_BYTES + shardBodyBytes(plainBytes + STRIPE_TAG_BYTES, k);
}

/**
 * Refuses what no caller may pass.
 * @throws RangeError that names the argument
 */
export function assertStripe(object: CodedObject, stripe: number, plainBytes: number): void {
  const { id, generation, keys, k, n } = object;
  const whole = (value: number, from: number, to: number): boolean =>
    Number.isInteger(value) && value >= from && value <= to;
  if (id.length !== 16) throw new RangeError('an object id has 16 bytes');
  if (keys.contents.length !== 32 || keys.shards.length !== 32) throw new RangeError('keys have 32 bytes');
  if (!whole(generation, 0, U32_LIMIT - 1)) throw new RangeError(`generation ${generation} is not a u32`);
  if (!whole(n, 1, 256) || !whole(k, 1, n)) throw new RangeError(`no stripe has k = ${k}, n = ${n}`);
  if (!whole(stripe, 0, U32_LIMIT - 1)) throw new RangeError(`stripe number ${stripe} is not a u32`);
  if (!whole(plainBytes, 0, STRIPE_MAX_BYTES)) {
    throw new RangeError(`a stripe has 0 to ${STRIPE_MAX_BYTES} bytes, not ${plainBytes}`);
  }
}

/** Writes the 48 bytes of fields of a shard's header. */
export function writeShardFields(
  target: Uint8Array,
  object: CodedObject,
  stripe: number,
  index: number,
  shape: StripeShape,
): void {
  const view = new DataView(target.buffer, target.byteOffset, SHARD_FIELDS_BYTES);
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, FORMAT_VERSION);
  view.setUint8(5, COMPRESSION_CODES.indexOf(shape.compression));
  view.setUint16(6, index, true);
  target.set(object.id, 8);
  view.setUint32(24, object.generation, true);
  view.setUint32(28, stripe, true);
  view.setUint16(32, object.k, true);
  view.setUint16(34, object.n, true);
  view.setUint32(36, shape.plainBytes, true);
  view.setUint32(40, shape.storedBytes, true);
  view.setUint32(44, 0, true);
}

/** Nonce of a stripe's encryption. */
export function stripeNonce(object: CodedObject, stripe: number): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES);
  const view = new DataView(nonce.buffer);
  view.setUint32(0, object.generation, true);
  view.setUint32(4, stripe, true);
  return nonce;
}

/** Additional data of a stripe's encryption: the fields of shard 0. */
export function stripeAdditionalData(object: CodedObject, stripe: number, shape: StripeShape): Uint8Array {
  const fields = new Uint8Array(SHARD_FIELDS_BYTES);
  writeShardFields(fields, object, stripe, 0, shape);
  return fields;
}

function checksum(
  object: CodedObject,
  stripe: number,
  index: number,
  fields: Uint8Array,
  body: Uint8Array,
): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES);
  const view = new DataView(nonce.buffer);
  view.setUint32(0, object.generation, true);
  view.setUint32(4, stripe, true);
  view.setUint32(8, index, true);
  const mac = createCipheriv('aes-256-gcm', object.keys.shards, nonce);
  mac.setAAD(fields);
  mac.setAAD(body);
  mac.final();
  return mac.getAuthTag();
}

/** Writes the header in front of a body that is in place. `shard` is header and body. */
export function sealShard(
  shard: Uint8Array,
  object: CodedObject,
  stripe: number,
  index: number,
  shape: StripeShape,
): void {
  writeShardFields(shard, object, stripe, index, shape);
  const fields = shard.subarray(0, SHARD_FIELDS_BYTES);
  shard.set(checksum(object, stripe, index, fields, shard.subarray(SHARD_HEADER_BYTES)), SHARD_FIELDS_BYTES);
}

/** A candidate that is not right, and why; or what its header, now known to be true, says. */
export type Inspection = { readonly defect: ShardDefect } | { readonly shape: StripeShape };

/**
 * Decides whether a candidate is shard `index` of a stripe.
 * @param header its first 64 bytes
 * @param body what follows them
 */
export function inspectShard(
  object: CodedObject,
  stripe: number,
  plainBytes: number,
  index: number,
  header: Uint8Array,
  body: Uint8Array,
): Inspection {
  if (header.length < SHARD_HEADER_BYTES) return { defect: 'length' };
  const view = new DataView(header.buffer, header.byteOffset, SHARD_HEADER_BYTES);
  const compression = COMPRESSION_CODES[view.getUint8(5)];
  if (view.getUint32(0, true) !== MAGIC || view.getUint8(4) !== FORMAT_VERSION || !compression) {
    return { defect: 'format' };
  }
  if (object.id.some((byte, i) => header[8 + i] !== byte)) return { defect: 'object' };
  if (view.getUint32(24, true) !== object.generation) return { defect: 'stale' };
  if (view.getUint32(28, true) !== stripe) return { defect: 'stripe' };
  if (view.getUint16(6, true) !== index) return { defect: 'misplaced' };
  const shape = { compression, plainBytes, storedBytes: view.getUint32(40, true) };
  if (view.getUint16(32, true) !== object.k || view.getUint16(34, true) !== object.n)
    return { defect: 'shape' };
  if (view.getUint32(36, true) !== plainBytes || view.getUint32(44, true) !== 0) return { defect: 'shape' };
  if (body.length !== shardBodyBytes(shape.storedBytes, object.k)) return { defect: 'length' };
  if (shape.storedBytes < STRIPE_TAG_BYTES) return { defect: 'shape' };
  const fields = header.subarray(0, SHARD_FIELDS_BYTES);
  const stored = header.subarray(SHARD_FIELDS_BYTES, SHARD_FIELDS_BYTES + CHECKSUM_BYTES);
  if (!timingSafeEqual(checksum(object, stripe, index, fields, body), stored)) return { defect: 'checksum' };
  return { shape };
}

/** Verifies one shard on the calling thread (15 GB/s); undefined when it is the right one. For scrubbing. */
export function shardDefect(
  object: CodedObject,
  stripe: number,
  plainBytes: number,
  candidate: ShardCandidate,
): ShardDefect | undefined {
  assertStripe(object, stripe, plainBytes);
  const { index, bytes } = candidate;
  const inspection = inspectShard(
    object,
    stripe,
    plainBytes,
    index,
    bytes.subarray(0, SHARD_HEADER_BYTES),
    bytes.subarray(SHARD_HEADER_BYTES),
  );
  return 'defect' in inspection ? inspection.defect : undefined;
}
