// A descriptor that speaks in whole messages: one read(2) gives one, one write(2) takes one (the FUSE device, an
// eventfd). Results are numbers, not exceptions, because "nothing there" and "not wanted any more" are everyday answers
// and throwing costs more than the call.
import type { Libc } from './libc.ts';

/** One open message descriptor. Several threads may wrap one descriptor; one of them closes it. */
export interface Device {
  readonly descriptor: number;
  /** One message into `target`: its length in bytes (0 at the end), or minus the errno (-EAGAIN when none waits). */
  receive(target: Uint8Array): number;
  /** The first `lengthBytes` of `source` as one message: bytes written, or minus the errno. */
  send(source: Uint8Array, lengthBytes: number): number;
  /** Makes `receive` answer -EAGAIN instead of waiting. False where this machine offers no way to do it. */
  neverBlock(): boolean;
  /** Closes the descriptor for the whole process; a second call does nothing. */
  close(): void;
}

/** Wraps descriptors as devices, through the C library where it can be called and through Node where not. */
export type OpenDevice = (descriptor: number, libc: Libc | undefined) => Device;
