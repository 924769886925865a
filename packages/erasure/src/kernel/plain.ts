// The kernel in plain TypeScript: for engines without relaxed SIMD, and as the one the SIMD kernel is compared with.
import { PRODUCTS } from '../field.ts';
import type { Matrix } from '../matrix.ts';
import { commonLength, type Kernel } from './kernel.ts';

/** Bytes of each shard done before going on, so that an output stays in the first-level cache while it is added to. */
const BLOCK_BYTES = 4096;

/** Table look-ups, one byte at a time. */
export const plainKernel: Kernel = {
  name: 'plain',

  combine(matrix: Matrix, sources: readonly Uint8Array[], outputs: readonly Uint8Array[]): void {
    const length = commonLength(matrix, sources, outputs);
    for (let from = 0; from < length; from += BLOCK_BYTES) {
      const to = Math.min(from + BLOCK_BYTES, length);
      for (let r = 0; r < matrix.rows; r++) {
        const output = outputs[r]!;
        output.fill(0, from, to);
        for (let c = 0; c < matrix.columns; c++) {
          addProduct(output, sources[c]!, matrix.bytes[r * matrix.columns + c]!, from, to);
        }
      }
    }
  },
};

function addProduct(output: Uint8Array, source: Uint8Array, factor: number, from: number, to: number): void {
  if (factor === 0) return;
  const row = PRODUCTS.subarray(factor * 256, factor * 256 + 256);
  for (let i = from; i < to; i++) output[i] = output[i]! ^ row[source[i]!]!;
}
