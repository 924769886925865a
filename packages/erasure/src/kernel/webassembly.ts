// The part of the WebAssembly JavaScript interface that is used here (https://www.w3.org/TR/wasm-js-api-2/); neither the
// language's library nor @types/node declares it.

/** A WebAssembly memory that all threads it was sent to share. */
export interface SharedMemory {
  readonly buffer: SharedArrayBuffer;
}

/** What `combine` of assembly/kernel.ts is called with; addresses and lengths are bytes. */
export interface KernelExports {
  combine(
    sources: number,
    k: number,
    outputs: number,
    r: number,
    tables: number,
    length: number,
    block: number,
  ): void;
}

interface WebAssemblyInterface {
  Memory: new (limits: { initial: number; maximum: number; shared: true }) => SharedMemory;
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: { env: { memory: SharedMemory } }) => { readonly exports: object };
}

declare const WebAssembly: WebAssemblyInterface;

/** Size of a WebAssembly page. */
export const PAGE_BYTES = 65536;

/** A shared memory of a fixed size; the machine gives it pages when they are first written. */
export function createMemory(sizeBytes: number): SharedMemory {
  const pages = Math.ceil(sizeBytes / PAGE_BYTES);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}

let module: object | undefined;

/**
 * The kernel on a memory.
 * @throws CompileError of WebAssembly where the engine has no relaxed SIMD
 */
export function instantiateKernel(bytes: () => Uint8Array, memory: SharedMemory): KernelExports {
  module ??= new WebAssembly.Module(bytes());
  return new WebAssembly.Instance(module, { env: { memory } }).exports as KernelExports;
}
