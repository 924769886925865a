// From the master key to the keys of one object (docs/formats/objects.md, "Keys").
import { hkdfSync } from 'node:crypto';
import type { Random } from '@qsfs/io';
import type { ObjectKeys } from './types.ts';

/** Length of the master key and of each derived key. */
export const KEY_BYTES = 32;
/** Length of an object's salt. */
export const SALT_BYTES = 32;
/** Length of an object's id. */
export const OBJECT_ID_BYTES = 16;

const CONTENTS_INFO = 'qsfs v2 stripe';
const SHARDS_INFO = 'qsfs v2 shard';

/**
 * The keys of an object.
 * @param masterKey 32 bytes
 * @param salt 32 bytes, new for every object stored
 * @throws RangeError for other lengths
 */
export function deriveObjectKeys(masterKey: Uint8Array, salt: Uint8Array): ObjectKeys {
  if (masterKey.length !== KEY_BYTES) throw new RangeError(`the master key has ${KEY_BYTES} bytes`);
  if (salt.length !== SALT_BYTES) throw new RangeError(`an object's salt has ${SALT_BYTES} bytes`);
  const derive = (info: string): Uint8Array =>
    new Uint8Array(hkdfSync('sha256', masterKey, salt, info, KEY_BYTES));
  return { contents: derive(CONTENTS_INFO), shards: derive(SHARDS_INFO) };
}

/** Id and salt of an object about to be stored. */
export function newObjectIdentity(random: Random): { readonly id: Uint8Array; readonly salt: Uint8Array } {
  return { id: random.bytes(OBJECT_ID_BYTES), salt: random.bytes(SALT_BYTES) };
}
