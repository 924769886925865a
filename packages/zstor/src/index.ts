// Encrypted, erasure-coded objects over many untrusted backends: see README.md.
import type { ZstorConfig } from './config/types.ts';
import type { Capabilities, Zstor } from './types.ts';
import { ObjectStore } from './zstor.ts';

export { formatConfig } from './config/format.ts';
export { parseConfig } from './config/parse.ts';
export { nearest, parseSize } from './config/table.ts';
export type * from './config/types.ts';
export {
  AbsentBackends,
  ERROR_CODES,
  type ErrorCode,
  isZstorError,
  LostShards,
  ZstorError,
} from './errors.ts';
export { describeTolerance, toleranceOf, weakest } from './placement/tolerance.ts';
export type * from './types.ts';

/**
 * Opens a set of backends. Backends that do not answer are no error (they may come back); it takes at most a second to find out.
 * @param config from `parseConfig`
 */
export async function openZstor(config: ZstorConfig, capabilities: Capabilities): Promise<Zstor> {
  const store = new ObjectStore(config, capabilities);
  try {
    await store.start();
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}
