// The loop that serves a filesystem: one thread, one request at a time, from the kernel's queue to the reply.
//
// Between requests the thread looks whether another thread woke it, runs requests again whose data came, and when nothing
// waits lets the filesystem do background work. Invariants: a request is answered exactly once (or never, where the
// protocol says so); a parked request is answered by `retry`, `failParked`, an interrupt or the end of the session; no
// input from the kernel ends the loop.
import { type Clock, type Device, ERRNO, type ErrnoCode, type Libc } from '@qsfs/io';
import { type Channel, ENDED, NOTHING, openChannel } from './channel.ts';
import { type Filesystem, FilesystemError } from './filesystem.ts';
import { type Negotiated, type NegotiationOptions, negotiate } from './negotiation.ts';
import { NO_REPLY, Operations } from './operations.ts';
import { type ParkedRequest, Parking, type Token } from './parking.ts';
import { isSilent, OPERATION, SIZE, WRITE_FLAG } from './protocol.ts';
import { type CacheTimes, Reply } from './reply.ts';
import { BODY, Request } from './request.ts';
import type { WakeHandle } from './wake.ts';

/** One day: nobody but us changes anything, so nothing the kernel knows becomes wrong. */
const CACHE_SECONDS = 86_400;
const BACKGROUND_MAX = 256;
const READAHEAD_MAX_BYTES = 4 * 1024 * 1024;
const PARKED_COUNT_MAX = 16_384;
const PARKED_MAX_BYTES = 256 * 1024 * 1024;
const IDLE_INTERVAL_MS = 50;
const BLOCK_SIZE_BYTES = 4096;
/**
 * How long a request goes on waiting after its process got a signal. The kernel tells of every signal, and programs that get one they handle (a timer,
 * a child that ended) expect no EINTR from a file; it tells only once, so a process that is killed afterwards waits as long.
 */
const INTERRUPT_GRACE_MS = 1000;
/** See `SessionOptions.patienceMs`. */
const FREE_WAIT_MS = 500;
/** Operations are counted one by one below this code. */
const OPERATIONS_MAX = 64;

/** What a session needs and may be told. */
export interface SessionOptions {
  /** The mount's device (`MountedDevice.descriptor` through `openRealDevice`). The session does not close it. */
  readonly device: Device;
  /** Where it is mounted; only used to wake the session where `libc` is undefined. */
  readonly mountPoint: string;
  readonly filesystem: Filesystem;
  /** undefined: no FFI here; the session then blocks in reads (see `channel.ts`). */
  readonly libc: Libc | undefined;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** One line for the operator. */
  readonly log: (level: 'info' | 'warning' | 'error', message: string) => void;
  /**
   * A token for thrown values that mean "park this request and run it again", undefined for all others. @throws FilesystemError the request's
   * error, when it is known that waiting is in vain
   */
  readonly deferral?: (error: unknown) => Token | undefined;
  /**
   * How long a request may wait for tokens like this one, for one after the other, ms; then it ends with EIO. Default: as long as it takes. Of each wait
   * the first FREE_WAIT_MS do not count, and `giveTime` begins it anew: what gets on is not ended. Writes are never given up: what an application believes written would be lost.
   */
  readonly patienceMs?: (token: Token) => number;
  /** A request that waited for this token was given up. Must not throw. */
  readonly gaveUp?: (token: Token) => void;
  /** Another thread called `wake`. Calls of `retry`, `failParked` and `stop` belong here. Must not throw. */
  readonly woken?: () => void;
  /** No request waits. Called each time before the thread goes to sleep; `filesystem.idle()` follows now and then. */
  readonly onIdle?: () => void;
  /** Shortest time between two calls of `filesystem.idle()`, and how often it is called when nothing happens. */
  readonly idleIntervalMs?: number;
  readonly cacheTimes?: Partial<CacheTimes>;
  /**
   * The kernel gathers writes in its page cache and sends them later. LSEEK is declined then, because the kernel does not send them
   * before it: what is only in its cache would be told to be a hole, and lost to programs that copy sparse files.
   */
  readonly writebackCache?: boolean;
  readonly exportSupport?: boolean;
  /**
   * Answer CREATE. By default it is declined once: the kernel then makes files with MKNOD and opens them without asking,
   * which saves a RELEASE for every file made (a fifth of the time of making small files).
   */
  readonly answerCreate?: boolean;
  /** Requests nobody waits for (readahead, writeback) under way at a time, 1 … 65535. */
  readonly backgroundMax?: number;
  readonly readaheadMaxBytes?: number;
  /** Bounds of parked requests (see `parking.ts`): beyond them a request ends with ENOMEM. */
  readonly parkedCountMax?: number;
  readonly parkedMaxBytes?: number;
  /** What programs are told to transfer at once (st_blksize). */
  readonly blockSizeBytes?: number;
}

/** Counters since the session began, and what is parked now. */
export interface SessionStatistics {
  readonly requests: number;
  /** By the names of OPERATION; `other` for what the protocol did not have when this was written. */
  readonly byOperation: Readonly<Record<string, number>>;
  /** Requests that ended with EIO because of a bug. */
  readonly failures: number;
  readonly parkedEver: number;
  readonly parkedRefused: number;
  readonly parkedCount: number;
  readonly parkedBytes: number;
}

/** Why `run` returned: the mount is gone, or `stop` was called. */
export type SessionEnd = 'unmounted' | 'stopped';

/** Serves one mount. Everything but `wakeHandle` belongs to the thread that calls `run`. */
export class Session {
  readonly #options: SessionOptions;
  readonly #channel: Channel;
  readonly #request = new Request();
  readonly #reply: Reply;
  readonly #operations: Operations;
  readonly #parking: Parking;
  readonly #negotiation: NegotiationOptions;
  readonly #idleIntervalMs: number;
  readonly #errorReply = new Uint32Array(SIZE.replyHeader / 4);
  readonly #errorReplyBytes = new Uint8Array(this.#errorReply.buffer);
  /** Requests to run again, oldest first from `#readyNext` on. */
  #ready: ParkedRequest[] = [];
  #readyNext = 0;
  /** Requests whose processes got a signal, by number, oldest first; some may have been answered. */
  #interrupted: { readonly low: number; readonly high: number; readonly endMs: number }[] = [];
  #negotiated: Negotiated | undefined;
  #stopping = false;
  #idleAtMs = 0;
  #lateLookAtMs = 0;
  /** How long the present request may go on waiting; undefined when it has not waited yet. */
  #patienceMs: number | undefined;
  readonly #counts = new Float64Array(OPERATIONS_MAX + 1);
  #requestCount = 0;
  #failures = 0;
  #parkedEver = 0;
  #parkedRefused = 0;

  /** @throws IoError when the machine gives no eventfd */
  constructor(options: SessionOptions) {
    this.#options = options;
    const times: CacheTimes = {
      entrySeconds: CACHE_SECONDS,
      attributeSeconds: CACHE_SECONDS,
      negativeSeconds: CACHE_SECONDS,
      ...options.cacheTimes,
    };
    this.#reply = new Reply(times, options.blockSizeBytes ?? BLOCK_SIZE_BYTES);
    this.#operations = new Operations(options.filesystem, this.#request, this.#reply, {
      negativeEntries: times.negativeSeconds > 0,
      answerCreate: options.answerCreate ?? false,
      answerSeek: !(options.writebackCache ?? false),
    });
    this.#parking = new Parking({
      countMax: options.parkedCountMax ?? PARKED_COUNT_MAX,
      bytesMax: options.parkedMaxBytes ?? PARKED_MAX_BYTES,
    });
    this.#negotiation = {
      writebackCache: options.writebackCache ?? false,
      exportSupport: options.exportSupport ?? false,
      backgroundMax: Math.min(65535, Math.max(1, options.backgroundMax ?? BACKGROUND_MAX)),
      readaheadMaxBytes: options.readaheadMaxBytes ?? READAHEAD_MAX_BYTES,
    };
    this.#idleIntervalMs = options.idleIntervalMs ?? IDLE_INTERVAL_MS;
    this.#channel = openChannel(options.device, options.libc, options.mountPoint);
  }

  /** What other threads wake this session with; plain data, to be sent by port. */
  get wakeHandle(): WakeHandle {
    return this.#channel.wakeHandle;
  }

  /** What was agreed with the kernel; undefined before its first request was served. */
  get negotiated(): Negotiated | undefined {
    return this.#negotiated;
  }

  /** Requests so far. */
  get requestCount(): number {
    return this.#requestCount;
  }

  /** Requests that wait for something. */
  get parkedCount(): number {
    return this.#parking.count;
  }

  get statistics(): SessionStatistics {
    return {
      requests: this.#requestCount,
      byOperation: this.#byOperation(),
      failures: this.#failures,
      parkedEver: this.#parkedEver,
      parkedRefused: this.#parkedRefused,
      parkedCount: this.#parking.count,
      parkedBytes: this.#parking.bytes,
    };
  }

  #byOperation(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const [name, code] of Object.entries(OPERATION)) {
      const count = this.#counts[code] as number;
      if (count > 0) counts[name] = count;
    }
    const known = Object.values(counts).reduce((sum, count) => sum + count, 0);
    const other = this.#requestCount - known;
    return other > 0 ? { ...counts, other } : counts;
  }

  /**
   * Serves until the mount is gone or `stop` is called. Blocks the calling thread.
   * @throws IoError when the device is unusable; what the hooks throw
   */
  run(): SessionEnd {
    const channel = this.#channel;
    const { bytes } = this.#request;
    try {
      for (;;) {
        if (channel.takeWake()) this.#options.woken?.();
        if (this.#stopping) return 'stopped';
        if (this.#interrupted.length > 0) this.#endInterrupted();
        if (this.#options.patienceMs && this.#parking.count > 0) this.#giveUpLate();
        if (this.#isReady) {
          this.#runAgain();
          // A read would wait there, and there is more to do.
          if (!channel.polled) continue;
        }
        if (!channel.polled) {
          this.#idle();
          if (this.#isReady || this.#stopping) continue;
        }
        let length = channel.receive(bytes);
        if (length === NOTHING && !this.#isReady) {
          const restMs = this.#idle();
          // Idle hooks may have found something to do.
          if (!this.#isReady && !this.#stopping) length = channel.await(bytes, restMs);
        }
        if (length > 0) this.#serve(length);
        else if (length === ENDED) return 'unmounted';
      }
    } finally {
      this.#endAllParked();
      channel.close();
    }
  }

  get #isReady(): boolean {
    return this.#readyNext < this.#ready.length;
  }

  /** Makes `run` return before the next request. What is parked is answered with EIO. */
  stop(): void {
    this.#stopping = true;
  }

  /** What parked requests wait for at present. */
  parkedTokens(): Token[] {
    return this.#parking.tokens();
  }

  /** Runs everything that waits for `token` again, soon. */
  retry(token: Token): void {
    for (const parked of this.#parking.take(token)) {
      const { deadlineMs } = parked;
      const patienceMs = Math.min(
        parked.patienceMs,
        Math.max(0, deadlineMs - this.#options.clock.monotonicMs()),
      );
      this.#ready.push(deadlineMs === Infinity ? parked : { ...parked, patienceMs });
    }
  }

  /** What `token` stands for is on its way: the time of what waits for it begins anew. */
  giveTime(token: Token): void {
    const patienceMs = this.#options.patienceMs?.(token) ?? Infinity;
    this.#parking.giveTime(token, { deadlineMs: this.#deadlineMs(patienceMs), patienceMs });
  }

  #deadlineMs(patienceMs: number): number {
    return this.#options.clock.monotonicMs() + FREE_WAIT_MS + patienceMs;
  }

  /** Runs everything that is parked again, soon. */
  retryAll(): void {
    for (const token of this.#parking.tokens()) this.retry(token);
  }

  /** Ends everything that waits for `token` with an error. */
  failParked(token: Token, code: ErrnoCode): void {
    for (const parked of this.#parking.take(token)) this.#answerError(parked, ERRNO[code]);
  }

  /** Ends everything that waits for `token` with success and no further answer: for requests that wait only for something to be done. */
  endParked(token: Token): void {
    for (const parked of this.#parking.take(token)) this.#answerError(parked, 0);
  }

  /** Lets background work happen; returns how long to sleep, ms. */
  #idle(): number {
    this.#options.onIdle?.();
    const now = this.#options.clock.monotonicMs();
    const rest = this.#idleAtMs + this.#idleIntervalMs - now;
    if (rest > 0) return Math.ceil(rest);
    try {
      this.#options.filesystem.idle();
    } catch (error) {
      this.#bug('idle work', error);
    }
    this.#idleAtMs = this.#options.clock.monotonicMs();
    return this.#idleIntervalMs;
  }

  #serve(length: number): void {
    const request = this.#request;
    request.lengthBytes = length;
    this.#counts[Math.min(request.operation, OPERATIONS_MAX)]!++;
    this.#requestCount += 1;
    if (!request.whole) this.#malformed();
    else if (request.operation === OPERATION.interrupt) this.#interrupt();
    else if (request.operation === OPERATION.init) this.#init();
    else {
      this.#patienceMs = undefined;
      this.#execute();
    }
  }

  #runAgain(): void {
    const parked = this.#ready[this.#readyNext++] as ParkedRequest;
    if (this.#readyNext === this.#ready.length) {
      this.#ready = [];
      this.#readyNext = 0;
    }
    this.#request.load(parked.message);
    this.#patienceMs = parked.patienceMs;
    this.#execute();
  }

  #execute(): void {
    const request = this.#request;
    let length: number;
    try {
      length = this.#operations.execute();
    } catch (error) {
      this.#failed(error);
      return;
    }
    if (length === NO_REPLY) return;
    const whole = this.#reply.seal(this.#operations.errno, length, request.uniqueLow, request.uniqueHigh);
    const errno = this.#channel.send(this.#reply.bytes, whole);
    if (errno === 0) return;
    // ENOENT: the request was aborted while we worked. Whatever else it is, the kernel did not take the answer.
    if (errno !== ERRNO.ENOENT && errno !== ERRNO.ENODEV) {
      this.#options.log(
        'error',
        `the kernel refused the answer to operation ${request.operation}: errno ${errno}`,
      );
    }
    this.#operations.takeBack(length);
  }

  /** The present request threw. */
  #failed(thrown: unknown): void {
    const request = this.#request;
    const silent = isSilent(request.operation);
    let error = thrown;
    if (!silent && !(error instanceof FilesystemError)) {
      try {
        const token = this.#options.deferral?.(error);
        if (token !== undefined) {
          this.#park(token);
          return;
        }
      } catch (refusal) {
        error = refusal;
      }
    }
    if (error instanceof FilesystemError && !silent) {
      this.#answerError(request, error.errno);
      return;
    }
    this.#bug(`operation ${request.operation} on inode ${request.inode}`, error);
    if (!silent) this.#answerError(request, ERRNO.EIO);
  }

  #park(token: Token): void {
    const request = this.#request;
    const isWrite = request.operation === OPERATION.write;
    const fromCache = isWrite && (request.word(BODY + 5) & WRITE_FLAG.fromCache) !== 0;
    const limitMs = isWrite ? Infinity : (this.#options.patienceMs?.(token) ?? Infinity);
    const patienceMs = Math.min(this.#patienceMs ?? Infinity, limitMs);
    // What has no limit of its own takes nothing off the time for what has one.
    const deadlineMs = limitMs === Infinity ? Infinity : this.#deadlineMs(patienceMs);
    if (this.#parking.park(token, request, fromCache, { deadlineMs, patienceMs })) {
      this.#parkedEver++;
      return;
    }
    this.#parkedRefused++;
    this.#answerError(request, ERRNO.ENOMEM);
  }

  #giveUpLate(): void {
    const now = this.#options.clock.monotonicMs();
    if (now < this.#lateLookAtMs) return;
    this.#lateLookAtMs = now + this.#idleIntervalMs;
    for (const { token, parked } of this.#parking.takeLate(now)) {
      this.#answerError(parked, ERRNO.EIO);
      this.#options.gaveUp?.(token);
    }
  }

  /** A process that waits got a signal. Only what is parked can be ended early; everything else is answered anyway. */
  #interrupt(): void {
    const request = this.#request;
    if (!request.has(8)) return;
    const low = request.word(BODY);
    const high = request.word(BODY + 1);
    // A session that blocks in reads may not come by again.
    if (!this.#channel.polled) this.#endEarly(low, high);
    else {
      const endMs = this.#options.clock.monotonicMs() + INTERRUPT_GRACE_MS;
      this.#interrupted.push({ low, high, endMs });
    }
  }

  #endInterrupted(): void {
    const now = this.#options.clock.monotonicMs();
    const due = this.#interrupted.filter(({ endMs }) => endMs <= now);
    this.#interrupted = this.#interrupted.slice(due.length);
    for (const { low, high } of due) this.#endEarly(low, high);
  }

  #endEarly(low: number, high: number): void {
    const parked = this.#parking.takeRequest(low, high) ?? this.#takeReady(low, high);
    if (parked) this.#answerError(parked, ERRNO.EINTR);
  }

  #takeReady(low: number, high: number): ParkedRequest | undefined {
    const at = this.#ready.findIndex(
      (parked, index) => index >= this.#readyNext && parked.uniqueLow === low && parked.uniqueHigh === high,
    );
    return at < 0 ? undefined : this.#ready.splice(at, 1)[0];
  }

  #init(): void {
    const request = this.#request;
    try {
      this.#negotiated = negotiate(request, this.#reply, this.#negotiation);
    } catch (error) {
      if (!(error instanceof FilesystemError)) throw error;
      this.#options.log('error', error.message);
      this.#answerError(request, error.errno);
      return;
    }
    const length = this.#reply.seal(0, SIZE.initReply, request.uniqueLow, request.uniqueHigh);
    this.#channel.send(this.#reply.bytes, length);
  }

  #malformed(): void {
    const request = this.#request;
    this.#options.log('error', `a request of ${request.lengthBytes} bytes is not whole`);
    if (request.lengthBytes >= SIZE.requestHeader) this.#answerError(request, ERRNO.EINVAL);
  }

  #bug(where: string, error: unknown): void {
    this.#failures++;
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#options.log('error', `${where} failed: ${text}`);
  }

  /** Has a buffer of its own, so that it may be called at any moment. */
  #answerError(request: { readonly uniqueLow: number; readonly uniqueHigh: number }, errno: number): void {
    const words = this.#errorReply;
    words[0] = SIZE.replyHeader;
    words[1] = -errno;
    words[2] = request.uniqueLow;
    words[3] = request.uniqueHigh;
    this.#channel.send(this.#errorReplyBytes, SIZE.replyHeader);
  }

  #endAllParked(): void {
    for (const parked of this.#ready.slice(this.#readyNext)) this.#answerError(parked, ERRNO.EIO);
    this.#ready = [];
    this.#readyNext = 0;
    for (const token of this.#parking.tokens()) this.failParked(token, 'EIO');
  }
}
