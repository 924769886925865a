// The value one metadata store holds for one key: a coded part of a sealed record, with everything needed to tell which
// write it belongs to (docs/formats/records.md, "Part"). The checksum is a MAC: a store cannot make a part up, change
// it, or give the part of one key for another; the worst it can do is to give an old one or none.
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { ReedSolomon } from '@qsfs/erasure';
import type { Random } from '@qsfs/io';

const MAGIC = 0x544d5351; // 'QSMT'
const FORMAT_VERSION = 2;
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

/** Reads a store's value; undefined when it is not an authentic part for this key. */
export function decodePart(keys: MetadataKeys, key: string, value: Uint8Array): Part | undefined {
  if (value.length < PART_HEADER_BYTES) return undefined;
  const view = new DataView(value.buffer, value.byteOffset, PART_HEADER_BYTES);
  if (view.getUint32(0, true) !== MAGIC || view.getUint8(4) !== FORMAT_VERSION) return undefined;
  if (!timingSafeEqual(partMac(keys, key, value), value.subarray(FIELDS_BYTES, FIELDS_BYTES + MAC_BYTES))) {
    return undefined;
  }
  const stamp: WriteStamp = {
    version: view.getBigUint64(8, true),
    writeId: Buffer.from(value.subarray(16, 24)).toString('hex'),
    tombstone: (view.getUint8(5) & FLAG_TOMBSTONE) !== 0,
    minimalParts: view.getUint8(6),
    parts: view.getUint8(7),
    sealedBytes: view.getUint32(28, true),
  };
  return { stamp, index: view.getUint16(24, true), body: value.subarray(PART_HEADER_BYTES) };
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
