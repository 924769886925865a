// The stripe codec: see `Codec` in types.ts for what it does, docs/formats/objects.md for the bytes.
//
//   const codec = new CodecPool({ threads: 2 });        // { disk: simulated } or { threads: 0 }: all on this thread
//   const { id, salt } = newObjectIdentity(random);     // new for every object stored; both go into its record
//   const object = { id, generation: 0, keys: deriveObjectKeys(masterKey, salt), k: 3, n: 8 };
//
//   const stripe = await codec.encode(object, 0, { path, offset: 0, lengthBytes });
//   …send stripe.shards[i] to backend i; wait until each connection drained…
//   stripe.release();
//
//   const back = await codec.decode(object, 0, lengthBytes, [{ index: 1, bytes }, …], { file: { path, offset: 0 } });
//   …back.bad names shards to repair…
//   back.release();
export * from './errors.ts';
export {
  deriveObjectKeys,
  KEY_BYTES,
  newObjectIdentity,
  OBJECT_ID_BYTES,
  SALT_BYTES,
} from './keys.ts';
export { CODEC_WAITING_MAX, CODEC_WRITING_SHARE } from './memory.ts';
export { CODEC_MEMORY_BYTES, CODEC_THREADS_MAX, type CodecOptions, CodecPool } from './pool.ts';
export { SHARD_HEADER_BYTES, STRIPE_MAX_BYTES, shardDefect, shardMaxBytes } from './shard.ts';
export type * from './types.ts';
