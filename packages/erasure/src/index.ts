// Reed-Solomon coding over GF(2^8): see README.md.
export { ARENA_ALIGNMENT_BYTES, ARENA_MAX_BYTES, Arena } from './arena.ts';
export type { Kernel } from './kernel/kernel.ts';
export { plainKernel } from './kernel/plain.ts';
export { SIMD_WORKSPACE_BYTES, SimdKernel } from './kernel/simd.ts';
export type { SharedMemory } from './kernel/webassembly.ts';
export type { Matrix } from './matrix.ts';
export { createKernel, LOSS_PATTERNS_MAX, ReedSolomon, SHARDS_MAX } from './reed-solomon.ts';
