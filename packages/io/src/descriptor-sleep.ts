// Lets Node's event loop sleep until a foreign descriptor is readable, without a thread and without polling.
//
// Node itself has no way to watch an arbitrary descriptor (an epoll set, an eventfd). libuv, inside Node, has: a `uv_poll_t`. Its
// callback must be a C function, so it is `uv_poll_stop` itself: it takes the handle, ignores the rest, and disarms. The loop then
// passes on to its immediates, where an immediate that keeps nobody awake (`unref`) is waiting. Tried with libuv 1.52.
import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';

/** A descriptor that wakes the event loop. */
export interface DescriptorSleep {
  /**
   * Calls once at the end of the event loop's next turn, which may be long in coming: the loop sleeps until the descriptor is
   * readable or anything else happens. One call at a time. Keeps the process alive.
   */
  until(call: () => void): void;
  /** The descriptor is no longer watched; a waiting call does not come. */
  close(): void;
}

/** `UV_POLL` of `uv_handle_type` and `UV_READABLE` of `uv_poll_event` (uv.h); stable within libuv 1. */
const UV_POLL = 8;
const UV_READABLE = 1;

interface Uv {
  handleSize: number;
  loop: unknown;
  init(loop: unknown, handle: Uint8Array, descriptor: number): number;
  start(handle: Uint8Array, events: number, callback: unknown): number;
  stop(handle: Uint8Array): number;
  close(handle: Uint8Array, callback: null): void;
  stopAddress: unknown;
}

let loaded: Uv | undefined | null = null;
/** libuv keeps pointers to handles: their memory is never given back. */
const handles: Uint8Array[] = [];

/**
 * Watches a descriptor on the main thread's event loop.
 * @returns undefined where it is not possible (another thread, no FFI); callers then block for short times instead
 */
export function watchDescriptor(descriptor: number): DescriptorSleep | undefined {
  if (loaded === null) loaded = load();
  const uv = loaded;
  if (uv === undefined) return undefined;
  const handle = Buffer.alloc(Math.max(uv.handleSize, 1024));
  if (uv.init(uv.loop, handle, descriptor) !== 0) return undefined;
  handles.push(handle);
  let waiting: NodeJS.Immediate | undefined;
  let open = true;
  return {
    until(call) {
      if (!open) return;
      if (uv.start(handle, UV_READABLE, uv.stopAddress) !== 0) throw new Error('uv_poll_start failed');
      waiting = setImmediate(() => {
        waiting = undefined;
        call();
      }).unref();
    },
    close() {
      if (!open) return;
      open = false;
      if (waiting !== undefined) clearImmediate(waiting);
      uv.stop(handle);
      uv.close(handle, null);
    },
  };
}

function load(): Uv | undefined {
  if (!isMainThread) return undefined;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const self = koffi.load(null);
    return {
      handleSize: Number((self.func('size_t uv_handle_size(int)') as (type: number) => number)(UV_POLL)),
      loop: (self.func('void *uv_default_loop()') as () => unknown)(),
      init: self.func('int uv_poll_init(void *, void *, int)'),
      start: self.func('int uv_poll_start(void *, int, void *)'),
      stop: self.func('int uv_poll_stop(void *)'),
      close: self.func('void uv_close(void *, void *)'),
      stopAddress: self.symbol('uv_poll_stop'),
    };
  } catch {
    return undefined;
  }
}
