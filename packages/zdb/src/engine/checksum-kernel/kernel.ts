// Checksums of longer pieces of memory, by the WebAssembly kernel (assembly/kernel.ts). What is checked is copied into its memory a piece at
// a time, so that it stays in the processor's cache.
import { KERNEL_BASE64 } from './binary.ts';

interface KernelExports {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly PIECE: { readonly value: number };
  readonly PIECE_BYTES: { readonly value: number };
  initialize(): void;
  begin(lengthBytes: number, before: number): void;
  proceed(lengthBytes: number): void;
  finish(lengthBytes: number): number;
}

// The part of the WebAssembly JavaScript interface that is used here (https://www.w3.org/TR/wasm-js-api-2/).
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { readonly exports: object };
};

/** Pieces that are not the last have this many bytes: with the memory they are copied from half of the smallest L2 caches. */
const PIECE_STEP_BYTES = 32768;

/** Checksum of at least 4 bytes, continuing from that of what stands before them. */
export type LongChecksum = (bytes: Uint8Array, before: number) => number;

/** The kernel, ready; undefined where the engine has no SIMD. */
export function loadChecksumKernel(): LongChecksum | undefined {
  let kernel: KernelExports;
  try {
    const module = new WebAssembly.Module(Buffer.from(KERNEL_BASE64, 'base64'));
    kernel = new WebAssembly.Instance(module).exports as KernelExports;
  } catch {
    return undefined;
  }
  kernel.initialize();
  const piece = new Uint8Array(kernel.memory.buffer, kernel.PIECE.value, kernel.PIECE_BYTES.value);
  return (bytes, before) => {
    const { length } = bytes;
    if (length <= piece.length) {
      piece.set(bytes);
      kernel.begin(length, before);
      return kernel.finish(length) >>> 0;
    }
    let done = 0;
    for (; length - done > piece.length; done += PIECE_STEP_BYTES) {
      piece.set(bytes.subarray(done, done + PIECE_STEP_BYTES));
      if (done === 0) kernel.begin(length, before);
      kernel.proceed(PIECE_STEP_BYTES);
    }
    piece.set(bytes.subarray(done));
    return kernel.finish(length - done) >>> 0;
  };
}
