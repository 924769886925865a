// A client for one physical connection: pipelined requests, replies in order, everything bounded.
//
// Promises: a command's promise settles exactly once — with its reply, with RespError when the server refuses it, or with
// ConnectionError. When the connection fails every command under way fails with it; reconnecting is the caller's decision.
// A connection that makes no progress for `commandTimeoutMs` while replies are awaited is given up. Arguments are not copied:
// they must not change until the promise settles. Used by zstor's backends, replication, the tools, and programs of users.
import { createHash } from 'node:crypto';
import type { Address, Clock, Connection, Network, Timer } from '@qsfs/io';
import { formatAddress } from '@qsfs/io';
import { ConnectionError, ProtocolError, RespError } from './errors.ts';
import { type Reply, ReplyDecoder } from './reply-decoder.ts';
import { type Argument, type EncodedRequest, encodeRequest } from './request-encoder.ts';

/** What to say first on a new connection. */
export interface Login {
  /** The server's admin password. */
  readonly adminPassword?: string;
  /** The namespace to work in; the server starts with `default`. */
  readonly namespace?: string;
  readonly namespacePassword?: string;
  /** Prove the passwords by challenge and SHA-1 instead of sending them. */
  readonly secure?: boolean;
}

/** How to connect. */
export interface RespClientOptions {
  readonly address: Address;
  readonly login?: Login;
  /** Time for connecting and logging in together, default 5,000. */
  readonly connectTimeoutMs?: number;
  /** The connection is given up when nothing moves for this long while a reply is awaited, default 30,000. */
  readonly commandTimeoutMs?: number;
  /** Commands sent and not yet answered, at most; default 64. More of them wait here. */
  readonly maxInFlight?: number;
  /** Bytes of requests sent and not yet answered, at most (one larger request may go alone); default 16 MiB. */
  readonly maxInFlightBytes?: number;
  /** Commands that wait here, at most; default 4,096. More of them are refused with ENOBUFS. */
  readonly maxWaiting?: number;
}

/** About one command. */
export interface CommandOptions {
  /** Memory for a bulk reply; used when it is long enough, the reply is then a view of its beginning. */
  readonly into?: Uint8Array;
  /** Aborting fails the command at once with the signal's reason; `into` is not written any more; the connection lives on. */
  readonly signal?: AbortSignal;
}

interface Pending {
  readonly request: EncodedRequest;
  readonly into: Uint8Array | undefined;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
  unsubscribe: (() => void) | undefined;
  sent: boolean;
  /** Why nobody waits for the answer any more. */
  aborted: Error | undefined;
}

/** Checks for progress per time-out. */
const CHECKS = 4;

/** One connection to a zdb or another RESP2 server. */
export class RespClient {
  readonly address: Address;
  /** Resolves when the connection is gone: undefined after `close`, otherwise why. */
  readonly closed: Promise<ConnectionError | undefined>;
  readonly #clock: Clock;
  readonly #connection: Connection;
  readonly #decoder: ReplyDecoder;
  readonly #commandTimeoutMs: number;
  readonly #maxInFlight: number;
  readonly #maxInFlightBytes: number;
  readonly #maxWaiting: number;

  /** Queues with a moving head: `shift` on a long array is slow. */
  #inFlight: Pending[] = [];
  #inFlightHead = 0;
  #inFlightBytes = 0;
  #waiting: Pending[] = [];
  #waitingHead = 0;

  /** Aborted commands whose arguments are still queued for sending. */
  readonly #abortedUnsent: Pending[] = [];

  #sendScheduled = false;
  #congested = false;
  #failure: ConnectionError | undefined;
  #ended = false;
  #reportClosed: (error: ConnectionError | undefined) => void = () => {};

  #timer: Timer | undefined;
  #progressed = false;
  #queuedBefore = 0;
  #checksWithoutProgress = 0;

  private constructor(clock: Clock, connection: Connection, options: RespClientOptions) {
    this.address = options.address;
    this.#clock = clock;
    this.#connection = connection;
    this.#commandTimeoutMs = options.commandTimeoutMs ?? 30_000;
    this.#maxInFlight = options.maxInFlight ?? 64;
    this.#maxInFlightBytes = options.maxInFlightBytes ?? 16 * 1024 * 1024;
    this.#maxWaiting = options.maxWaiting ?? 4096;
    this.closed = new Promise((resolve) => {
      this.#reportClosed = resolve;
    });
    this.#decoder = new ReplyDecoder({
      reply: (reply) => this.#answered(reply),
      bulkTarget: () => {
        const pending = this.#inFlight[this.#inFlightHead];
        return pending?.aborted === undefined ? pending?.into : undefined;
      },
    });
    connection.start({
      data: (chunk) => this.#received(chunk),
      drained: () => this.#drained(),
      closed: (error) => this.#lost(error),
    });
  }

  /**
   * Connects and logs in.
   * @throws ConnectionError when the server cannot be reached in time; RespError when it refuses the login
   */
  static async connect(network: Network, clock: Clock, options: RespClientOptions): Promise<RespClient> {
    const timeoutMs = options.connectTimeoutMs ?? 5000;
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    let connection: Connection;
    try {
      connection = await network.connect(options.address, timeoutMs);
    } catch (error) {
      throw connectionError(error, `cannot connect to ${formatAddress(options.address)}`, options.address);
    }
    const client = new RespClient(clock, connection, options);
    if (options.login === undefined) return client;
    const timer = clock.after(
      Math.max(1, deadlineMs - clock.monotonicMs()),
      () => client.#fail(new ConnectionError('ETIMEDOUT', client.#about(`no login within ${timeoutMs} ms`))),
      true,
    );
    try {
      await client.#login(options.login);
      return client;
    } catch (error) {
      client.close();
      throw error;
    } finally {
      timer.cancel();
    }
  }

  /** False when the connection is gone or being closed. */
  get open(): boolean {
    return this.#failure === undefined;
  }

  /** Commands not yet answered: sent or waiting. */
  get outstanding(): number {
    return this.#inFlight.length - this.#inFlightHead + (this.#waiting.length - this.#waitingHead);
  }

  /**
   * Sends one command, the command word first. Commands that make the server send more or less than one reply each (WAIT, MIRROR)
   * do not belong here.
   * @returns the reply; nil is null
   * @throws RespError when the server refuses, ConnectionError when the connection fails, the signal's reason when aborted
   */
  command(parameters: readonly Argument[], options: CommandOptions = {}): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const { signal } = options;
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      if (signal?.aborted) {
        reject(abortReason(signal));
        return;
      }
      if (this.#waiting.length - this.#waitingHead >= this.#maxWaiting) {
        reject(
          new ConnectionError('ENOBUFS', this.#about(`${this.#maxWaiting} commands are waiting already`)),
        );
        return;
      }
      const pending: Pending = {
        request: encodeRequest(parameters),
        into: options.into,
        resolve,
        reject,
        unsubscribe: undefined,
        sent: false,
        aborted: undefined,
      };
      if (signal !== undefined) this.#watch(pending, signal);
      this.#waiting.push(pending);
      this.#scheduleSend();
    });
  }

  /** Closes at once; commands not yet answered fail with ECANCELED. */
  close(): void {
    this.#fail(new ConnectionError('ECANCELED', this.#about('closed by this side')), true);
  }

  async #login(login: Login): Promise<void> {
    const secure = login.secure === true;
    if (login.adminPassword !== undefined) {
      if (secure) {
        const proof = await this.#proof(login.adminPassword);
        await this.command(['AUTH', 'SECURE', proof]);
      } else {
        await this.command(['AUTH', login.adminPassword]);
      }
    }
    if (login.namespace === undefined) return;
    if (login.namespacePassword === undefined) {
      await this.command(['SELECT', login.namespace]);
    } else if (secure) {
      const proof = await this.#proof(login.namespacePassword);
      await this.command(['SELECT', login.namespace, 'SECURE', proof]);
    } else {
      await this.command(['SELECT', login.namespace, login.namespacePassword]);
    }
  }

  /** Answer to a fresh challenge: SHA-1 over `<challenge>:<password>`, lower-case hex. */
  async #proof(password: string): Promise<string> {
    const challenge = await this.command(['AUTH', 'SECURE', 'CHALLENGE']);
    if (typeof challenge !== 'string') throw new ProtocolError('challenge is no simple string');
    return createHash('sha1').update(`${challenge}:${password}`).digest('hex');
  }

  #watch(pending: Pending, signal: AbortSignal): void {
    const abandon = () => {
      pending.aborted = abortReason(signal);
      pending.unsubscribe = undefined;
      if (this.#inFlight[this.#inFlightHead] === pending) this.#decoder.abandonTarget();
      // A large argument still queued is the caller's memory: the promise must not settle before it was sent.
      const borrowed = pending.sent && pending.request.borrows && this.#connection.queuedBytes > 0;
      if (borrowed) this.#abortedUnsent.push(pending);
      else pending.reject(pending.aborted);
    };
    signal.addEventListener('abort', abandon, { once: true });
    pending.unsubscribe = () => signal.removeEventListener('abort', abandon);
  }

  /** All commands of one turn go out in one gathered write. */
  #scheduleSend(): void {
    if (this.#sendScheduled || this.#congested) return;
    this.#sendScheduled = true;
    void Promise.resolve().then(() => {
      this.#sendScheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#failure !== undefined) return;
    const chunks: Uint8Array[] = [];
    while (this.#waitingHead < this.#waiting.length && !this.#full()) {
      const pending = this.#waiting[this.#waitingHead]!;
      this.#waitingHead++;
      if (pending.aborted !== undefined) continue; // before it was sent
      pending.sent = true;
      this.#inFlight.push(pending);
      this.#inFlightBytes += pending.request.sizeBytes;
      for (const chunk of pending.request.chunks) chunks.push(chunk);
    }
    if (this.#waitingHead > 1024 || this.#waitingHead === this.#waiting.length) {
      this.#waiting.splice(0, this.#waitingHead);
      this.#waitingHead = 0;
    }
    if (chunks.length === 0) return;
    this.#congested = !this.#connection.write(chunks);
    if (this.#timer === undefined) this.#scheduleCheck();
  }

  #full(): boolean {
    const count = this.#inFlight.length - this.#inFlightHead;
    if (count >= this.#maxInFlight) return true;
    return count > 0 && this.#inFlightBytes >= this.#maxInFlightBytes;
  }

  #drained(): void {
    this.#progressed = true;
    this.#congested = false;
    for (const pending of this.#abortedUnsent.splice(0)) pending.reject(pending.aborted);
    this.#send();
  }

  #received(chunk: Uint8Array): void {
    if (this.#failure !== undefined) return;
    this.#progressed = true;
    try {
      this.#decoder.push(chunk);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#fail(
        new ConnectionError('EPROTO', this.#about(`the server does not speak RESP2: ${error.message}`)),
      );
      return;
    }
    if (this.#waitingHead < this.#waiting.length && !this.#congested) this.#send();
  }

  #answered(reply: Reply): void {
    const pending = this.#inFlight[this.#inFlightHead];
    if (pending === undefined) {
      this.#fail(new ConnectionError('EPROTO', this.#about('a reply came that nobody asked for')));
      return;
    }
    this.#inFlightHead++;
    this.#inFlightBytes -= pending.request.sizeBytes;
    if (this.#inFlightHead === this.#inFlight.length) {
      this.#inFlight = [];
      this.#inFlightHead = 0;
    } else if (this.#inFlightHead > 1024) {
      this.#inFlight.splice(0, this.#inFlightHead);
      this.#inFlightHead = 0;
    }
    pending.unsubscribe?.();
    if (pending.aborted !== undefined) pending.reject(pending.aborted);
    else if (reply instanceof RespError) pending.reject(reply);
    else pending.resolve(reply);
  }

  #scheduleCheck(): void {
    this.#progressed = true;
    this.#checksWithoutProgress = 0;
    const check = () => {
      this.#timer = undefined;
      if (this.#failure !== undefined || this.#inFlightHead === this.#inFlight.length) return;
      const queued = this.#connection.queuedBytes;
      if (this.#progressed || queued < this.#queuedBefore) this.#checksWithoutProgress = 0;
      else this.#checksWithoutProgress++;
      this.#progressed = false;
      this.#queuedBefore = queued;
      if (this.#checksWithoutProgress >= CHECKS) {
        const waited = `no answer for ${this.#commandTimeoutMs} ms`;
        this.#fail(new ConnectionError('ETIMEDOUT', this.#about(waited)));
        return;
      }
      this.#timer = this.#clock.after(this.#commandTimeoutMs / CHECKS, check, true);
    };
    this.#timer = this.#clock.after(this.#commandTimeoutMs / CHECKS, check, true);
  }

  #lost(error: Error | undefined): void {
    this.#ended = true;
    this.#fail(connectionError(error, this.#about('the connection was closed by the server')));
  }

  /** Ends the connection and everything that waits for it; later calls do nothing. */
  #fail(failure: ConnectionError, wanted = false): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    this.#timer?.cancel();
    this.#decoder.abandonTarget();
    const outstanding = [
      ...this.#inFlight.slice(this.#inFlightHead),
      ...this.#waiting.slice(this.#waitingHead),
    ];
    this.#inFlight = [];
    this.#waiting = [];
    this.#inFlightHead = this.#waitingHead = this.#inFlightBytes = 0;
    if (!this.#ended) this.#connection.destroy();
    for (const pending of outstanding) {
      pending.unsubscribe?.();
      pending.reject(pending.aborted ?? failure);
    }
    this.#reportClosed(wanted ? undefined : failure);
  }

  #about(what: string): string {
    return `${formatAddress(this.address)}: ${what}`;
  }
}

/** @param address named in `what` already: the cause need not repeat it */
function connectionError(error: unknown, what: string, address?: Address): ConnectionError {
  if (error === undefined) return new ConnectionError('ECONNRESET', what);
  const code = (error as { code?: unknown }).code;
  let message = error instanceof Error ? error.message : String(error);
  if (address) message = message.replace(`: connect to ${formatAddress(address)}`, '');
  return new ConnectionError(typeof code === 'string' ? code : 'EIO', `${what}: ${message}`);
}

function abortReason(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error('the command was aborted');
}
