// Whether and how a stripe's bytes are made smaller before they are encrypted. Looking costs a few samples; only what pays
// is compressed whole.
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { discard } from './discard.ts';
import type { Compression } from './types.ts';

/** Compressing must save at least this part of the bytes, else reading is made slower for nothing. */
const SAVING_MIN = 1 / 16;
/** Up to this length the whole stripe is its own sample. */
const SAMPLED_FROM_BYTES = 64 * 1024;
/** Samples, evenly spread, compressed together: as one call costs 15 microseconds before the first byte. */
const SAMPLES = 16;
const SAMPLE_BYTES = 2048;
/** Zeros are looked for in pieces of this length, so that a stripe that is not zero is left at once. */
const ZEROS = Buffer.alloc(64 * 1024);
/** zstd adds at most this to what it cannot compress (ZSTD_COMPRESSBOUND, generously). */
const ZSTD_OVERHEAD_BYTES = 64 * 1024;

const LEVEL = { [constants.ZSTD_c_compressionLevel]: 1 };

const sample = Buffer.alloc(SAMPLES * SAMPLE_BYTES);

/** True when there are bytes and all are zero. */
export function isZero(bytes: Uint8Array): boolean {
  if (bytes.length === 0) return false;
  for (let from = 0; from < bytes.length; from += ZEROS.length) {
    const piece = bytes.subarray(from, from + ZEROS.length);
    // The first byte alone decides nearly always.
    if (piece[0] !== 0 || ZEROS.compare(piece, 0, piece.length, 0, piece.length) !== 0) return false;
  }
  return true;
}

/**
 * The contents of a stripe.
 * @returns `bytes` itself for `plain`, a new buffer with a frame for `zstd`, nothing for `zero`
 */
export function compress(bytes: Uint8Array): {
  readonly compression: Compression;
  readonly contents: Uint8Array;
} {
  if (isZero(bytes)) return { compression: 'zero', contents: bytes.subarray(0, 0) };
  if (bytes.length > SAMPLED_FROM_BYTES && !samplePays(bytes))
    return { compression: 'plain', contents: bytes };
  const contents = zstdCompressSync(bytes, {
    chunkSize: bytes.length + ZSTD_OVERHEAD_BYTES,
    pledgedSrcSize: bytes.length,
    params: LEVEL,
  });
  if (contents.length <= bytes.length * (1 - SAVING_MIN)) return { compression: 'zstd', contents };
  discard(contents);
  return { compression: 'plain', contents: bytes };
}

function samplePays(bytes: Uint8Array): boolean {
  for (let i = 0; i < SAMPLES; i++) {
    const from = Math.floor(((bytes.length - SAMPLE_BYTES) * i) / (SAMPLES - 1));
    sample.set(bytes.subarray(from, from + SAMPLE_BYTES), i * SAMPLE_BYTES);
  }
  // The result is small enough to be left to the garbage collector.
  const frame = zstdCompressSync(sample, { chunkSize: sample.length + 1024, params: LEVEL });
  return frame.length <= sample.length * (1 - SAVING_MIN);
}

/**
 * The bytes of a zstd frame, in a new buffer.
 * @param plainBytes their length, which is also the most that is produced
 * @throws Error when it is no frame or gives more
 */
export function decompress(frame: Uint8Array, plainBytes: number): Uint8Array {
  const size = Math.max(plainBytes, 64);
  return zstdDecompressSync(frame, { chunkSize: size, maxOutputLength: size });
}
