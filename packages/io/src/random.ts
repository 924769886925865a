// Randomness: keys, salts, nonces and jitter.

/** A source of random bytes; the real one is cryptographically secure. */
export interface Random {
  bytes(lengthBytes: number): Uint8Array;
  /** Uniform in 0 … limit - 1; limit at most 2^32. */
  below(limit: number): number;
}
