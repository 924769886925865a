// How requests come from the kernel and replies go back, and how the session's thread waits. Two ways:
//
// - polled (with FFI): reads never block; poll(2) waits for the device and an eventfd together, with a time-out.
// - blocking (without): a read is the wait. Other threads wake it by a statfs on the mount (see wake.ts), and there is no
//   time-out. It is the smaller half of the machine: everything works, idle work is done less often.
import { type Device, ERRNO, IoError, type Libc } from '@qsfs/io';
import type { WakeHandle } from './wake.ts';

/** No request waits. */
export const NOTHING = 0;
/** The mount is gone; no request will ever come again. */
export const ENDED = -1;

/** One mount's device, as the session uses it. */
export interface Channel {
  /** True when `receive` answers NOTHING rather than waiting. */
  readonly polled: boolean;
  /** What other threads wake the session with. */
  readonly wakeHandle: WakeHandle;
  /** The next request into `target`: its length, NOTHING or ENDED. @throws IoError when the device is unusable */
  receive(target: Uint8Array): number;
  /** Sends one message; returns 0 or the errno (ENOENT: nobody waits for it any more). */
  send(message: Uint8Array, lengthBytes: number): number;
  /**
   * Waits for a request, a wake or the time. The request into `target`, when it came soon: its length, NOTHING or ENDED as of
   * `receive`. Does nothing where `receive` waits itself. @throws IoError when the device is unusable
   */
  await(target: Uint8Array, timeoutMs: number): number;
  /** True once for any number of wakes since the last call. Cheap: called between requests. */
  takeWake(): boolean;
  /** Frees what the channel itself opened; later wakes do nothing. The device stays open. */
  close(): void;
}

const EVENTFD_CLOSE_ON_EXEC_NONBLOCKING = 0o2000000 | 0o4000;
const POLL_IN = 1;
/** The connection was aborted (through /sys/fs/fuse/connections or a forced unmount). */
const ECONNABORTED = 103;

/**
 * Makes the channel that fits.
 * @param device the mount's device
 * @param libc the C library, or undefined for the blocking channel
 * @param mountPoint where the device is mounted
 */
export function openChannel(device: Device, libc: Libc | undefined, mountPoint: string): Channel {
  const flag = new SharedArrayBuffer(4);
  if (libc && device.neverBlock()) return new PolledChannel(device, libc, flag);
  return new BlockingChannel(device, { kind: 'statfs', mountPoint, flag });
}

/**
 * Before it sleeps, the thread looks for the next request this often (0.6 µs each, 40 µs in all): waking a processor that
 * went idle costs 50 µs and more on a virtual machine, which is what a program pays that makes one call after the other.
 * Where looking is in vain (the program runs on this same processor, or nothing happens), it is left out ever more often.
 */
const LOOK_TURNS = 64;
const LOOKS_SKIPPED_MAX = 256;

/** How long closing waits for a wake that was begun: the descriptor is left open when it does not come. */
const CLOSE_TURNS = 20;
const CLOSE_TURN_MS = 50;

class PolledChannel implements Channel {
  readonly polled = true;
  readonly wakeHandle: WakeHandle;
  readonly #device: Device;
  readonly #libc: Libc;
  readonly #event: number;
  readonly #pollSet = new Uint8Array(16);
  readonly #returned: Int16Array;
  /** What the eventfd has counted since it was last read: many wakes may be seen by their flag before it is. */
  readonly #counter = new BigUint64Array(1);
  readonly #counterBytes = new Uint8Array(this.#counter.buffer);
  readonly #flag: Int32Array;
  /** Sleeps to come without looking first, and looks in a row that found nothing. */
  #looksToSkip = 0;
  #looksMissed = 0;
  /** Raised flags seen, and eventfd writes seen. Each raising is followed by one write. */
  #raised = 0;
  #written = 0;
  #closed = false;

  constructor(device: Device, libc: Libc, flag: SharedArrayBuffer) {
    this.#device = device;
    this.#libc = libc;
    this.#event = libc.eventfd(0, EVENTFD_CLOSE_ON_EXEC_NONBLOCKING);
    if (this.#event < 0) throw new IoError('EMFILE', `make an eventfd: errno ${libc.errno()}`);
    this.wakeHandle = { kind: 'eventfd', descriptor: this.#event, flag };
    this.#flag = new Int32Array(flag);
    const descriptors = new Int32Array(this.#pollSet.buffer);
    this.#returned = new Int16Array(this.#pollSet.buffer);
    descriptors[0] = device.descriptor;
    descriptors[2] = this.#event;
    this.#returned[2] = POLL_IN;
    this.#returned[6] = POLL_IN;
  }

  receive(target: Uint8Array): number {
    return receiveWhole(this.#device, target);
  }

  send(message: Uint8Array, lengthBytes: number): number {
    return sendAll(this.#device, message, lengthBytes);
  }

  await(target: Uint8Array, timeoutMs: number): number {
    const length = this.#look(target);
    if (length !== NOTHING || Atomics.load(this.#flag, 0) !== 0) return length;
    // A failed poll (EINTR) is a short wait.
    const ready = this.#libc.poll(this.#pollSet, 2, timeoutMs);
    if (ready > 0 && this.#returned[7] !== 0) this.#emptyCounter();
    return NOTHING;
  }

  /** Looks a few times before going to sleep, while that pays. A look is a read: it costs no more than asking whether to read. */
  #look(target: Uint8Array): number {
    if (this.#looksToSkip > 0) {
      this.#looksToSkip--;
      return NOTHING;
    }
    for (let turn = 0; turn < LOOK_TURNS; turn++) {
      const length = receiveWhole(this.#device, target);
      if (length !== NOTHING || Atomics.load(this.#flag, 0) !== 0) {
        this.#looksMissed = 0;
        return length;
      }
    }
    this.#looksToSkip = Math.min(LOOKS_SKIPPED_MAX, 2 ** this.#looksMissed++);
    return NOTHING;
  }

  takeWake(): boolean {
    if (Atomics.load(this.#flag, 0) === 0 || this.#closed) return false;
    Atomics.store(this.#flag, 0, 0);
    this.#raised++;
    return true;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // From here on the flag stays up, so that nobody writes again. Somebody who raised it before may be about to write:
    // closing now could let him write into whatever gets this descriptor next.
    if (Atomics.exchange(this.#flag, 0, 1) === 1) this.#raised++;
    for (let turn = 0; turn < CLOSE_TURNS && this.#written < this.#raised; turn++) {
      this.#libc.poll(this.#pollSet.subarray(8), 1, CLOSE_TURN_MS);
      this.#emptyCounter();
    }
    if (this.#written >= this.#raised) this.#libc.close(this.#event);
  }

  #emptyCounter(): void {
    if (this.#libc.read(this.#event, this.#counterBytes, this.#counterBytes.length) === 8) {
      this.#written += Number(this.#counter[0]);
    }
  }
}

class BlockingChannel implements Channel {
  readonly polled = false;
  readonly wakeHandle: WakeHandle;
  readonly #device: Device;
  readonly #flag: Int32Array;

  constructor(device: Device, wakeHandle: WakeHandle) {
    this.#device = device;
    this.wakeHandle = wakeHandle;
    this.#flag = new Int32Array(wakeHandle.flag);
  }

  receive(target: Uint8Array): number {
    return receiveWhole(this.#device, target);
  }

  send(message: Uint8Array, lengthBytes: number): number {
    return sendAll(this.#device, message, lengthBytes);
  }

  await(): number {
    return NOTHING;
  }

  takeWake(): boolean {
    return Atomics.exchange(this.#flag, 0, 0) !== 0;
  }

  close(): void {
    Atomics.store(this.#flag, 0, 1);
  }
}

function receiveWhole(device: Device, target: Uint8Array): number {
  for (;;) {
    const got = device.receive(target);
    if (got > 0) return got;
    switch (-got) {
      case ERRNO.EAGAIN:
        return NOTHING;
      // ENOENT: the request was withdrawn between waking us and the copy.
      case ERRNO.EINTR:
      case ERRNO.ENOENT:
        continue;
      case 0:
      case ERRNO.ENODEV:
      case ERRNO.ENOTCONN:
      case ECONNABORTED:
        return ENDED;
      case ERRNO.EPERM:
        throw new IoError('EPERM', `read the FUSE device ${device.descriptor}: it is not mounted`);
      default:
        throw new IoError('EIO', `read the FUSE device ${device.descriptor}: errno ${-got}`);
    }
  }
}

function sendAll(device: Device, message: Uint8Array, lengthBytes: number): number {
  for (;;) {
    const put = device.send(message, lengthBytes);
    if (put >= 0) return 0;
    if (put !== -ERRNO.EINTR) return -put;
  }
}
