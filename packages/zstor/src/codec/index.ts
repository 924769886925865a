// The stripe codec: see `Codec` in types.ts for what it does, docs/formats/objects.md for the bytes.
//
//   const codec = new CodecPool({ threads: 2 });                    // or { threads: 0, disk } : no threads, any Disk
//   const object = { id, generation: 0, keys: deriveObjectKeys(masterKey, salt), k: 3, n: 8 };
//   const stripe = await codec.encode(object, 0, { path, offset: 0, lengthBytes });
//   …send stripe.shards[i] to backend i, wait until each connection drained…
//   stripe.release();
//   const back = await codec.decode(object, 0, lengthBytes, [{ index: 1, bytes }, …], { file: { path, offset: 0 } });
//   back.release();
export * from './errors.ts';
export type * from './types.ts';
