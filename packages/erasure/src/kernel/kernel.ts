// The one operation the coder is made of, behind which the SIMD kernel and the plain one give the same bytes.
import type { Matrix } from '../matrix.ts';

/** Multiplies shards by a matrix over GF(2^8). */
export interface Kernel {
  readonly name: 'simd' | 'plain';
  /**
   * outputs[r] = sum over c of matrix(r, c) * sources[c], bytewise. Outputs must not overlap sources or each other.
   * @param sources as many as the matrix has columns, all of one length
   * @param outputs as many as the matrix has rows, of the same length
   */
  combine(matrix: Matrix, sources: readonly Uint8Array[], outputs: readonly Uint8Array[]): void;
}

/**
 * Length all the shards of a call have.
 * @throws RangeError when their number or lengths do not fit the matrix
 */
export function commonLength(
  matrix: Matrix,
  sources: readonly Uint8Array[],
  outputs: readonly Uint8Array[],
): number {
  if (sources.length !== matrix.columns || outputs.length !== matrix.rows) {
    throw new RangeError(
      `a ${matrix.rows}x${matrix.columns} matrix cannot make ${outputs.length} shards from ${sources.length}`,
    );
  }
  const length = sources[0]?.length ?? 0;
  for (const shards of [sources, outputs]) {
    for (const shard of shards) {
      if (shard.length !== length) {
        throw new RangeError(`shards of one stripe have one length, not ${length} and ${shard.length} bytes`);
      }
    }
  }
  return length;
}
