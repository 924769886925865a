// Passwords: compared in constant time, proven by challenge.
import { createHash, timingSafeEqual } from 'node:crypto';

/** True when both are the same bytes; takes the same time wherever they differ, and tells nothing of their lengths. */
export function sameSecret(given: Uint8Array, wanted: Uint8Array): boolean {
  return timingSafeEqual(digest(given), digest(wanted));
}

/**
 * Whether a proof is the lower-case hexadecimal SHA-1 over `<challenge>:<password>`. Upper case is refused, as by the reference.
 * @param proof 40 bytes
 */
export function provesSecret(proof: Uint8Array, challenge: string, password: Uint8Array): boolean {
  const wanted = createHash('sha1').update(`${challenge}:`).update(password).digest('hex');
  return sameSecret(proof, Buffer.from(wanted));
}

function digest(bytes: Uint8Array): Uint8Array {
  return createHash('sha256').update(bytes).digest();
}
