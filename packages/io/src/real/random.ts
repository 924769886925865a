// The operating system's secure generator.
import { randomBytes, randomInt } from 'node:crypto';
import type { Random } from '../random.ts';

/** The real source of randomness. */
export const realRandom: Random = {
  bytes: (lengthBytes) => new Uint8Array(randomBytes(lengthBytes)),
  below: (limit) => (limit <= 1 ? 0 : randomInt(limit)),
};
