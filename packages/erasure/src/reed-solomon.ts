// The coder: systematic Reed-Solomon over GF(2^8), any k of n = k + m shards give back all. It keeps the reconstruction
// matrices of the loss patterns it met last, so that a stream of stripes with the same shards missing pays once.
import { ARENA_ALIGNMENT_BYTES, Arena } from './arena.ts';
import type { Kernel } from './kernel/kernel.ts';
import { plainKernel } from './kernel/plain.ts';
import { SIMD_WORKSPACE_BYTES, SimdKernel } from './kernel/simd.ts';
import type { SharedMemory } from './kernel/webassembly.ts';
import { type Matrix, parityRows, reconstructionRows } from './matrix.ts';

/** The field has 256 elements, each the row of one shard. */
export const SHARDS_MAX = 256;

/** Loss patterns remembered per coder, the least recently used go. A matrix has at most 16 KiB. */
export const LOSS_PATTERNS_MAX = 128;

let ownKernel: Kernel | undefined;

/**
 * The fastest kernel this engine has: SIMD, or plain where there is no relaxed SIMD.
 * @param place a memory whose shards are coded in place, and the offset of `SIMD_WORKSPACE_BYTES` of working space in it,
 *   which no other kernel may use; without it this thread's own small memory is used, through which shards are passed
 */
export function createKernel(place?: {
  readonly memory: SharedMemory;
  readonly workspaceOffset: number;
}): Kernel {
  if (!place && ownKernel) return ownKernel;
  try {
    if (place) return new SimdKernel(place.memory, place.workspaceOffset);
    const arena = new Arena(SIMD_WORKSPACE_BYTES + ARENA_ALIGNMENT_BYTES);
    ownKernel = new SimdKernel(arena.memory, arena.allocate(SIMD_WORKSPACE_BYTES)!);
    return ownKernel;
  } catch (error) {
    if (error instanceof Error && error.name === 'CompileError') return plainKernel;
    throw error;
  }
}

/** Codes stripes of k data and m parity shards. Shards are indexed 0 … k - 1 (data) and k … k + m - 1 (parity). */
export class ReedSolomon {
  readonly k: number;
  readonly m: number;
  readonly #kernel: Kernel;
  readonly #parity: Matrix;
  readonly #patterns = new Map<string, Matrix>();

  /**
   * @param k data shards, at least 1
   * @param m parity shards, may be 0; k + m <= 256
   * @throws RangeError for any other k and m
   */
  constructor(k: number, m: number, kernel: Kernel = createKernel()) {
    if (!(Number.isInteger(k) && Number.isInteger(m) && k >= 1 && m >= 0 && k + m <= SHARDS_MAX)) {
      throw new RangeError(`no code has ${k} data and ${m} parity shards: 1 <= k and k + m <= ${SHARDS_MAX}`);
    }
    this.k = k;
    this.m = m;
    this.#kernel = kernel;
    this.#parity = parityRows(k, m);
  }

  /** The m x k matrix that makes parity shards from data shards. */
  get parityMatrix(): Matrix {
    return this.#parity;
  }

  /**
   * Computes the parity shards.
   * @param data k shards of one length, any length
   * @param parity m buffers of that length, overwritten
   * @throws RangeError when numbers or lengths do not fit
   */
  encode(data: readonly Uint8Array[], parity: readonly Uint8Array[]): void {
    this.#kernel.combine(this.#parity, data, parity);
  }

  /**
   * Computes any shards from any k others.
   * @param shards k + m entries: the shards that are there, undefined for the others; more than k may be there, then data
   *   shards are preferred, then parity shards in order
   * @param wanted for each shard to make, its index and a buffer for it, which must not overlap any of `shards`
   * @throws RangeError when fewer than k are there, a wanted one is there, or lengths differ
   */
  reconstruct(shards: readonly (Uint8Array | undefined)[], wanted: ReadonlyMap<number, Uint8Array>): void {
    const { k, m } = this;
    if (shards.length !== k + m) throw new RangeError(`${shards.length} entries given for ${k + m} shards`);
    const indices: number[] = [];
    const sources: Uint8Array[] = [];
    for (let index = 0; index < k + m && indices.length < k; index++) {
      const shard = shards[index];
      if (!shard) continue;
      indices.push(index);
      sources.push(shard);
    }
    if (indices.length < k) throw new RangeError(`${indices.length} shards are there, ${k} are needed`);
    if (wanted.size === 0) return;
    const targets = [...wanted.keys()];
    for (const index of targets) {
      if (!(Number.isInteger(index) && index >= 0 && index < k + m) || shards[index]) {
        throw new RangeError(`shard ${index} is there or does not exist: it cannot be made`);
      }
    }
    this.#kernel.combine(this.#pattern(indices, targets), sources, [...wanted.values()]);
  }

  #pattern(sources: readonly number[], wanted: readonly number[]): Matrix {
    const key = String.fromCharCode(...sources, SHARDS_MAX, ...wanted);
    let matrix = this.#patterns.get(key);
    if (matrix) this.#patterns.delete(key);
    else matrix = reconstructionRows(this.#parity, sources, wanted);
    this.#patterns.set(key, matrix);
    if (this.#patterns.size > LOSS_PATTERNS_MAX) {
      for (const oldest of this.#patterns.keys()) {
        this.#patterns.delete(oldest);
        break;
      }
    }
    return matrix;
  }
}
