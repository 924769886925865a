// The value one metadata store holds for one key: a coded part of a sealed record, with everything needed to tell which
// write it belongs to, and the part it replaced (docs/formats/records.md, "Part" and "Value"). The checksum is a MAC: a store cannot make a part up, change
// it, or give the part of one key for another; the worst it can do is to give an old one or none.
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { ReedSolomon } from '@qsfs/erasure';
import type { Random } from '@qsfs/io';

const MAGIC = 0x544d5351; // 'QSMT'
const FORMAT_VERSION = 2;
/** A part followed by the one it replaced. */
const FORMAT_WITH_BASE = 3;
const FLAG_TOMBSTONE = 1;
export const PART_HEADER_BYTES = 48;
const FIELDS_BYTES = 32;
const MAC_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CLUSTER_TAG_DIGITS = 16;
const NAME_DIGITS = 48;

/** The keys of one metadata cluster, from the master key and the configured prefix. */
export interface MetadataKeys {
  readonly seal: Uint8Array;
  readonly mac: Uint8Array;
  readonly name: Uint8Array;
  /** What all keys of this cluster begin with: `v2/<16 hex digits>/`. */
  readonly keyPrefix: string;
}

/** @param masterKey 32 bytes */
export function deriveMetadataKeys(masterKey: Uint8Array, prefix: string): MetadataKeys {
  const bytes = new Uint8Array(hkdfSync('sha256', masterKey, prefix, 'qsfs v2 metadata', 96));
  const name = bytes.slice(64, 96);
  const tag = createHmac('sha256', name).update('cluster').digest('hex').slice(0, CLUSTER_TAG_DIGITS);
  return { seal: bytes.slice(0, 32), mac: bytes.slice(32, 64), name, keyPrefix: `v2/${tag}/` };
}

/** The key under which stores keep a record: it tells nothing about the name. */
export function recordKey(keys: MetadataKeys, name: string): string {
  const hash = createHmac('sha256', keys.name).update('record\0').update(name, 'utf8').digest('hex');
  return keys.keyPrefix + hash.slice(0, NAME_DIGITS);
}

/** The key of one page of a large record; pages of one write have their own set of keys. */
export function pageKey(keys: MetadataKeys, pageSet: Uint8Array, page: number): string {
  const hash = createHmac('sha256', keys.name)
    .update('page\0')
    .update(pageSet)
    .update(`${page}`)
    .digest('hex');
  return `${keys.keyPrefix}p-${hash.slice(0, NAME_DIGITS)}`;
}

/** True for the key of a record, false for pages and markers. */
export function isRecordKey(keys: MetadataKeys, key: string): boolean {
  return key.startsWith(keys.keyPrefix) && /^[0-9a-f]{48}$/.test(key.slice(keys.keyPrefix.length));
}

/** Versions are at least the wall clock times this, so that they grow even over a name's deaths and rebirths. */
export const VERSIONS_PER_MS = 1000n;

/** One write of one key: its number, who wrote it, and how it was coded. Parts of different writes never mix. */
export interface WriteStamp {
  readonly version: bigint;
  /** 16 hex digits, random: tells two writers of one version apart. */
  readonly writeId: string;
  readonly tombstone: boolean;
  /** Parts needed. */
  readonly minimalParts: number;
  /** Parts made. */
  readonly parts: number;
  /** Length of the sealed record; 0 for a tombstone. */
  readonly sealedBytes: number;
}

/** A part whose MAC is right. */
export interface Part {
  readonly stamp: WriteStamp;
  readonly index: number;
  readonly body: Uint8Array;
}

/** Newest first: higher version, then higher write id. */
export function compareStamps(a: WriteStamp, b: WriteStamp): number {
  if (a.version !== b.version) return a.version > b.version ? -1 : 1;
  return a.writeId === b.writeId ? 0 : a.writeId > b.writeId ? -1 : 1;
}

/** Encrypts a record for a write: nonce, ciphertext, tag. The key and the write are authenticated with it. */
export function seal(
  keys: MetadataKeys,
  random: Random,
  key: string,
  stamp: { readonly version: bigint; readonly writeId: string },
  content: Uint8Array,
): Uint8Array {
  const nonce = random.bytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', keys.seal, nonce);
  cipher.setAAD(additionalData(key, stamp));
  const sealed = Buffer.concat([nonce, cipher.update(content), cipher.final()]);
  return Buffer.concat([sealed, cipher.getAuthTag()]);
}

/** Decrypts what `seal` made; undefined when it is not authentic. */
export function unseal(
  keys: MetadataKeys,
  key: string,
  stamp: { readonly version: bigint; readonly writeId: string },
  sealed: Uint8Array,
): Uint8Array | undefined {
  if (sealed.length < NONCE_BYTES + TAG_BYTES) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', keys.seal, sealed.subarray(0, NONCE_BYTES));
  decipher.setAAD(additionalData(key, stamp));
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  try {
    const content = decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES));
    decipher.final();
    return content;
  } catch {
    return undefined;
  }
}

function additionalData(
  key: string,
  stamp: { readonly version: bigint; readonly writeId: string },
): Uint8Array {
  return Buffer.from(`${key}\0${stamp.version}\0${stamp.writeId}`);
}

/** Codes a sealed record into the values of all stores; value i is for the store at position i. */
export function encodeParts(
  keys: MetadataKeys,
  key: string,
  stamp: WriteStamp,
  sealed: Uint8Array,
): Uint8Array[] {
  const { minimalParts: k, parts: n } = stamp;
  const bodyBytes = Math.ceil(sealed.length / k);
  const values = Array.from({ length: n }, () => new Uint8Array(PART_HEADER_BYTES + bodyBytes));
  const bodies = values.map((value) => value.subarray(PART_HEADER_BYTES));
  for (let index = 0; index < k; index++) {
    bodies[index]!.set(sealed.subarray(index * bodyBytes, Math.min((index + 1) * bodyBytes, sealed.length)));
  }
  if (bodyBytes > 0) new ReedSolomon(k, n - k).encode(bodies.slice(0, k), bodies.slice(k));
  for (const [index, value] of values.entries()) writeHeader(keys, key, stamp, index, value);
  return values;
}

function writeHeader(
  keys: MetadataKeys,
  key: string,
  stamp: WriteStamp,
  index: number,
  value: Uint8Array,
): void {
  const view = new DataView(value.buffer, value.byteOffset, PART_HEADER_BYTES);
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, FORMAT_VERSION);
  view.setUint8(5, stamp.tombstone ? FLAG_TOMBSTONE : 0);
  view.setUint8(6, stamp.minimalParts);
  view.setUint8(7, stamp.parts);
  view.setBigUint64(8, stamp.version, true);
  value.set(Buffer.from(stamp.writeId, 'hex'), 16);
  view.setUint16(24, index, true);
  view.setUint16(26, 0, true);
  view.setUint32(28, stamp.sealedBytes, true);
  value.set(partMac(keys, key, value), FIELDS_BYTES);
}

function partMac(keys: MetadataKeys, key: string, value: Uint8Array): Uint8Array {
  return createHmac('sha256', keys.mac)
    .update(`${key}\0`)
    .update(value.subarray(0, FIELDS_BYTES))
    .update(value.subarray(PART_HEADER_BYTES))
    .digest()
    .subarray(0, MAC_BYTES);
}

/** The bytes of a part, as `encodeParts` made them. */
export function encodePart(keys: MetadataKeys, key: string, { stamp, index, body }: Part): Uint8Array {
  const value = new Uint8Array(PART_HEADER_BYTES + body.length);
  value.set(body, PART_HEADER_BYTES);
  writeHeader(keys, key, stamp, index, value);
  return value;
}

/** What a store holds: the part of the last write it was given, and the part that write replaced there, so that it can be cut off. */
export interface StoredValue {
  readonly part: Part;
  /** undefined: there was nothing, or nobody knows (`knowsBase` false). */
  readonly base: Part | undefined;
  /** False for values of earlier versions of this program, which overwrote blindly. */
  readonly knowsBase: boolean;
}

/** Joins two encoded parts to the value of a store. @param base the part that is replaced; undefined when there is none */
export function encodeValue(
  keys: MetadataKeys,
  key: string,
  part: Uint8Array,
  base: Uint8Array | undefined,
): Uint8Array {
  const value = Buffer.concat(base ? [part, base] : [part]);
  value[4] = FORMAT_WITH_BASE;
  value.set(partMac(keys, key, value), FIELDS_BYTES);
  return value;
}

/** Reads a store's value; undefined when it is not an authentic one for this key. */
export function decodeValue(keys: MetadataKeys, key: string, value: Uint8Array): StoredValue | undefined {
  if (value[4] !== FORMAT_WITH_BASE) {
    const part = decodePart(keys, key, value);
    return part && { part, base: undefined, knowsBase: false };
  }
  const stamp = readHeader(keys, key, value, FORMAT_WITH_BASE);
  if (!stamp) return undefined;
  const end = PART_HEADER_BYTES + Math.ceil(stamp.sealedBytes / stamp.minimalParts);
  if (value.length < end) return undefined;
  const base = value.length > end ? decodePart(keys, key, value.subarray(end)) : undefined;
  if (value.length > end && !base) return undefined;
  const part = { stamp, index: indexOf(value), body: value.subarray(PART_HEADER_BYTES, end) };
  return { part, base, knowsBase: true };
}

/** Reads a part; undefined when it is not an authentic one for this key. */
export function decodePart(keys: MetadataKeys, key: string, value: Uint8Array): Part | undefined {
  const stamp = readHeader(keys, key, value, FORMAT_VERSION);
  return stamp && { stamp, index: indexOf(value), body: value.subarray(PART_HEADER_BYTES) };
}

function readHeader(
  keys: MetadataKeys,
  key: string,
  value: Uint8Array,
  format: number,
): WriteStamp | undefined {
  if (value.length < PART_HEADER_BYTES) return undefined;
  const view = new DataView(value.buffer, value.byteOffset, PART_HEADER_BYTES);
  if (view.getUint32(0, true) !== MAGIC || view.getUint8(4) !== format) return undefined;
  if (!timingSafeEqual(partMac(keys, key, value), value.subarray(FIELDS_BYTES, FIELDS_BYTES + MAC_BYTES))) {
    return undefined;
  }
  return {
    version: view.getBigUint64(8, true),
    writeId: Buffer.from(value.subarray(16, 24)).toString('hex'),
    tombstone: (view.getUint8(5) & FLAG_TOMBSTONE) !== 0,
    minimalParts: view.getUint8(6),
    parts: view.getUint8(7),
    sealedBytes: view.getUint32(28, true),
  };
}

function indexOf(value: Uint8Array): number {
  return value[24]! | (value[25]! << 8);
}

/** Joins at least k parts of one write to the sealed record. @param parts authentic, of one stamp, distinct indexes */
export function joinParts(stamp: WriteStamp, parts: readonly Part[]): Uint8Array {
  const { minimalParts: k, parts: n, sealedBytes } = stamp;
  const bodyBytes = Math.ceil(sealedBytes / k);
  const bodies: (Uint8Array | undefined)[] = new Array(n).fill(undefined);
  for (const part of parts) bodies[part.index] = part.body;
  const joined = new Uint8Array(k * bodyBytes);
  const wanted = new Map<number, Uint8Array>();
  for (let index = 0; index < k; index++) {
    const target = joined.subarray(index * bodyBytes, (index + 1) * bodyBytes);
    const body = bodies[index];
    if (body) target.set(body);
    else wanted.set(index, target);
  }
  if (bodyBytes > 0) new ReedSolomon(k, n - k).reconstruct(bodies, wanted);
  return joined.subarray(0, sealedBytes);
}
