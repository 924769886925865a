// The SIMD kernel (assembly/kernel.ts) on a shared memory. Shards that lie in that memory are coded where they are;
// others pass through a staging area, a block at a time. One instance per thread and memory: it has working space of its
// own in the memory (`SIMD_WORKSPACE_BYTES` at `workspaceOffset`), which nothing else may touch.
import { NIBBLE_PRODUCTS } from '../field.ts';
import type { Matrix } from '../matrix.ts';
import { KERNEL_BASE64 } from './binary.ts';
import { commonLength, type Kernel } from './kernel.ts';
import { instantiateKernel, type KernelExports, type SharedMemory } from './webassembly.ts';

/** Shards of one stripe: the field has 256 elements. */
const SHARDS_MAX = 256;
/** Addresses of at most 256 sources and outputs together, 4 bytes each. */
const ADDRESSES_BYTES = SHARDS_MAX * 4;
/** 32 bytes for each entry of a matrix; with r + k <= 256, r * k is at most 128 * 128. */
const TABLES_BYTES = 128 * 128 * 32;
/** Shards outside the memory are staged this many bytes at a time. */
const STAGE_BYTES = 4096;

/** Working space one instance needs. Only what is used of it is ever given pages. */
export const SIMD_WORKSPACE_BYTES = ADDRESSES_BYTES + TABLES_BYTES + SHARDS_MAX * STAGE_BYTES;

/** Sources are read this many bytes (all together) at a time when there are several groups of outputs: half of an L2 cache. */
const BLOCK_SOURCES_BYTES = 256 * 1024;
const BLOCK_MIN_BYTES = 1024;

/** Outputs computed in one pass; must equal `groupSize` of assembly/kernel.ts. */
const groupSize = (left: number): number => (left === 5 ? 5 : Math.min(left, 4));

/** The SIMD kernel. */
export class SimdKernel implements Kernel {
  readonly name = 'simd';
  readonly #memory: SharedMemory;
  readonly #bytes: Uint8Array;
  readonly #exports: KernelExports;
  readonly #addresses: Uint32Array;
  readonly #addressesOffset: number;
  readonly #tables: BigUint64Array;
  readonly #tablesOffset: number;
  readonly #stageOffset: number;
  /** The matrix whose tables are in place. */
  #loaded: Matrix | undefined;

  /**
   * @param memory an arena's memory, on this thread
   * @param workspaceOffset of `SIMD_WORKSPACE_BYTES` bytes of it, a multiple of 64
   * @throws CompileError where the engine has no relaxed SIMD (`createKernel` then takes the plain one)
   */
  constructor(memory: SharedMemory, workspaceOffset: number) {
    this.#memory = memory;
    this.#bytes = new Uint8Array(memory.buffer);
    this.#exports = instantiateKernel(() => Buffer.from(KERNEL_BASE64, 'base64'), memory);
    this.#addressesOffset = workspaceOffset;
    this.#tablesOffset = workspaceOffset + ADDRESSES_BYTES;
    this.#stageOffset = this.#tablesOffset + TABLES_BYTES;
    this.#addresses = new Uint32Array(memory.buffer, this.#addressesOffset, SHARDS_MAX);
    this.#tables = new BigUint64Array(memory.buffer, this.#tablesOffset, TABLES_BYTES / 8);
  }

  combine(matrix: Matrix, sources: readonly Uint8Array[], outputs: readonly Uint8Array[]): void {
    const length = commonLength(matrix, sources, outputs);
    if (length === 0 || matrix.rows === 0) return;
    if (matrix.rows + matrix.columns > SHARDS_MAX) throw new RangeError('a stripe has at most 256 shards');
    this.#load(matrix);
    if (this.#place(sources, 0, 0) + this.#place(outputs, sources.length, 0) === 0) {
      this.#run(matrix, length);
      return;
    }
    for (let from = 0; from < length; from += STAGE_BYTES) {
      this.#runStaged(matrix, sources, outputs, from, Math.min(STAGE_BYTES, length - from));
    }
  }

  #run(matrix: Matrix, length: number): void {
    const k = matrix.columns;
    // A whole number of steps, so that only the last block of a shard has a tail.
    const block = Math.max(BLOCK_MIN_BYTES, Math.floor(BLOCK_SOURCES_BYTES / k / 1024) * 1024);
    const outputs = this.#addressesOffset + k * 4;
    this.#exports.combine(this.#addressesOffset, k, outputs, matrix.rows, this.#tablesOffset, length, block);
  }

  /** Writes the shards' addresses at byte `from`, staged ones as their place in the staging area; returns how many are staged. */
  #place(shards: readonly Uint8Array[], first: number, from: number): number {
    let staged = 0;
    for (let i = 0; i < shards.length; i++) {
      const shard = shards[i]!;
      const inPlace = shard.buffer === this.#memory.buffer;
      if (!inPlace) staged++;
      this.#addresses[first + i] = inPlace
        ? shard.byteOffset + from
        : this.#stageOffset + (first + i) * STAGE_BYTES;
    }
    return staged;
  }

  #runStaged(
    matrix: Matrix,
    sources: readonly Uint8Array[],
    outputs: readonly Uint8Array[],
    from: number,
    length: number,
  ): void {
    this.#place(sources, 0, from);
    this.#place(outputs, sources.length, from);
    for (let i = 0; i < sources.length; i++) {
      const source = sources[i]!;
      if (source.buffer === this.#memory.buffer) continue;
      this.#bytes.set(source.subarray(from, from + length), this.#addresses[i]!);
    }
    this.#run(matrix, length);
    for (let i = 0; i < outputs.length; i++) {
      const output = outputs[i]!;
      if (output.buffer === this.#memory.buffer) continue;
      const staged = this.#addresses[sources.length + i]!;
      output.set(this.#bytes.subarray(staged, staged + length), from);
    }
  }

  /** Puts the tables of a matrix in place: by group of outputs, by source, by output of the group (assembly/kernel.ts). */
  #load(matrix: Matrix): void {
    if (this.#loaded === matrix) return;
    const { rows, columns, bytes } = matrix;
    let at = 0;
    for (let done = 0, group = 0; done < rows; done += group) {
      group = groupSize(rows - done);
      for (let c = 0; c < columns; c++) {
        for (let r = done; r < done + group; r++) {
          const entry = bytes[r * columns + c]! * 4;
          for (let i = 0; i < 4; i++) this.#tables[at++] = NIBBLES[entry + i]!;
        }
      }
    }
    this.#loaded = matrix;
  }
}

const NIBBLES = new BigUint64Array(NIBBLE_PRODUCTS.buffer);
