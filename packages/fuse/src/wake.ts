// How other threads wake the thread of a session out of its wait. The handle is plain data and travels by port.
//
// A flag in shared memory goes with it: raising it costs nothing while the session is busy, and only the thread that
// raises it first pays for the system call. The session lowers the flag before it looks what there is to do, so nothing
// told before a `wake` is ever missed.
import type { Disk, Libc, OpenDevice } from '@qsfs/io';

/** Where to knock. `statfs` is the way without FFI: the mount itself is asked for its space, and answered. */
export type WakeHandle =
  | { readonly kind: 'eventfd'; readonly descriptor: number; readonly flag: SharedArrayBuffer }
  | { readonly kind: 'statfs'; readonly mountPoint: string; readonly flag: SharedArrayBuffer };

const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);

/**
 * Makes the session of `handle` call its `woken` soon. Callable from any thread of the process but the session's own.
 * With the `statfs` kind the caller waits until the session has answered the request it is busy with, so it must not be
 * called by a thread the session waits for, nor when the session has ended but its device is still open.
 */
export function wake(handle: WakeHandle, io: WakeIo): void {
  const flag = new Int32Array(handle.flag);
  if (Atomics.exchange(flag, 0, 1) === 1) return;
  if (handle.kind === 'eventfd') io.openDevice(handle.descriptor, io.libc).send(ONE, ONE.length);
  else io.disk.space(handle.mountPoint);
}

/** What `wake` needs. */
export interface WakeIo {
  readonly libc: Libc | undefined;
  readonly openDevice: OpenDevice;
  readonly disk: Pick<Disk, 'space'>;
}
