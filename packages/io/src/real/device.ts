// Message descriptors of the machine.
import * as fs from 'node:fs';
import type { Device } from '../device.ts';
import type { Libc } from '../libc.ts';

const FCNTL_GET_FLAGS = 3;
const FCNTL_SET_FLAGS = 4;
const OPEN_NONBLOCKING = fs.constants.O_NONBLOCK;

/** Raw calls: a message costs 0.3 µs beside the kernel's work, and -EAGAIN costs no exception. */
class LibcDevice implements Device {
  readonly descriptor: number;
  readonly #libc: Libc;
  #closed = false;

  constructor(descriptor: number, libc: Libc) {
    this.descriptor = descriptor;
    this.#libc = libc;
  }

  receive(target: Uint8Array): number {
    const got = this.#libc.read(this.descriptor, target, target.length);
    return got >= 0 ? got : -this.#libc.errno();
  }

  send(source: Uint8Array, lengthBytes: number): number {
    const put = this.#libc.write(this.descriptor, source, lengthBytes);
    return put >= 0 ? put : -this.#libc.errno();
  }

  neverBlock(): boolean {
    const flags = this.#libc.fcntl(this.descriptor, FCNTL_GET_FLAGS, 0);
    if (flags < 0) return false;
    return this.#libc.fcntl(this.descriptor, FCNTL_SET_FLAGS, flags | OPEN_NONBLOCKING) === 0;
  }

  close(): void {
    if (!this.#closed) this.#libc.close(this.descriptor);
    this.#closed = true;
  }
}

/** The same through node:fs, blocking. */
class NodeDevice implements Device {
  readonly descriptor: number;
  #closed = false;

  constructor(descriptor: number) {
    this.descriptor = descriptor;
  }

  receive(target: Uint8Array): number {
    try {
      return fs.readSync(this.descriptor, target, 0, target.length, null);
    } catch (error) {
      return -errnoOf(error);
    }
  }

  send(source: Uint8Array, lengthBytes: number): number {
    try {
      return fs.writeSync(this.descriptor, source, 0, lengthBytes, null);
    } catch (error) {
      return -errnoOf(error);
    }
  }

  neverBlock(): boolean {
    return false;
  }

  close(): void {
    if (!this.#closed) fs.closeSync(this.descriptor);
    this.#closed = true;
  }
}

/** libuv numbers its errors with minus the errno on Linux. */
function errnoOf(error: unknown): number {
  const number = (error as NodeJS.ErrnoException).errno;
  if (typeof number !== 'number') throw error;
  return -number;
}

/** Wraps a descriptor of this process. */
export function openRealDevice(descriptor: number, libc: Libc | undefined): Device {
  return libc ? new LibcDevice(descriptor, libc) : new NodeDevice(descriptor);
}
