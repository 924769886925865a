// What the codec's tests share: reproducible bytes, objects, and shards copied out of the codec's memory.
import { createCipheriv } from 'node:crypto';
import type { CodedObject, EncodedStripe, ShardCandidate } from '../../src/codec/index.ts';
import { deriveObjectKeys } from '../../src/codec/index.ts';

/** Bytes that nothing compresses and that depend only on the seed. */
export function noise(length: number, seed = 1): Uint8Array {
  const key = Buffer.alloc(16, `noise ${seed}`);
  return new Uint8Array(createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length)));
}

/** Bytes that compress well. */
export function prose(length: number): Uint8Array {
  const line = 'A stripe is compressed, encrypted, padded, and coded into shards. ';
  const bytes = Buffer.alloc(length);
  for (let at = 0, i = 0; at < length; i++) at += bytes.write(`${i} ${line}`, at);
  return new Uint8Array(bytes);
}

/** An object whose id and keys depend only on the seed. */
export function codedObject(k: number, n: number, seed = 1, generation = 0): CodedObject {
  const secrets = noise(96, seed);
  return {
    id: secrets.subarray(80),
    generation,
    keys: deriveObjectKeys(secrets.subarray(0, 32), secrets.subarray(32, 64)),
    k,
    n,
  };
}

/** Copies of a stripe's shards, as backends would hold them. */
export function stored(stripe: EncodedStripe): ShardCandidate[] {
  return stripe.shards.map((bytes, index) => ({ index, bytes: Uint8Array.from(bytes) }));
}

/** The candidates with these indices. */
export function pick(shards: readonly ShardCandidate[], ...indices: number[]): ShardCandidate[] {
  return indices.map((index) => shards[index]!);
}
