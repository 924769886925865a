// One client: its requests in order, its standing (namespace, rights, challenge), its replies.
//
// A session is *parked* while its current command waits for something outside (a hook, a data file that has to be brought), and
// *backlogged* while it does not read its replies: nothing more of it is received or executed, everybody else is served. Replies
// leave at the end of a turn, after the commit.
import type { Clock, Disk, Random } from '@qsfs/io';
import { type LargeBuffers, ProtocolError, type ReplyWriter, RequestDecoder } from '@qsfs/resp';
import type { Engine, NotLocal } from '../engine/types.ts';
import type { Command, CommandTable, CommandDefinition as Definition } from './command.ts';
import type { Hooks } from './hooks.ts';
import type { Log } from './log.ts';
import type { Room } from './room.ts';
import type { Counters, ServerOptions } from './server-options.ts';
import type { Slot } from './slot.ts';
import type { ServerSocket, SocketEvents } from './sockets.ts';

/** Replies waiting for a client that stop its next commands. */
const OUTPUT_BYTES = 256 * 1024;
/** Replies of one session that leave at once instead of at the end of the turn: while they are in the processor's cache. */
const SEND_BYTES = 64 * 1024;
/** With so many bytes received there may be several requests: their keys are looked for first. */
const EXPECT_BYTES = 256;
/** With fewer keys nearly everything is in the processor's cache. */
const EXPECT_ENTRIES = 32_768;
/** Where the keys of the next requests are: pairs, see RequestDecoder.lookAhead. */
const EXPECTED = new Int32Array(2 * 64);
/** Copies waiting for a mirror client that end its connection. */
const MIRROR_BYTES = 64 * 1024 * 1024;

/** A command as this server writes it down. */
export type CommandDefinition = Definition<Session>;

/** The server as its sessions and their commands see it. Server (server.ts) is the one there is, and documents what is not said here. */
export interface Host {
  readonly options: ServerOptions;
  readonly engine: Engine;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly hooks: Hooks | undefined;
  readonly commands: CommandTable<Session>;
  readonly room: Room;
  /** Where the session whose turn it is writes its replies. */
  readonly replies: ReplyWriter;
  readonly largeBuffers: LargeBuffers;
  readonly counters: Counters;
  readonly instanceId: number;
  readonly startedSeconds: number;
  readonly startedMs: number;
  readonly timestamp: number;
  readonly defaultSlot: Slot;
  /** Whether anybody can bring data files that are missing. */
  readonly canBring: boolean;
  readonly backlog: Set<Session>;
  readonly waiting: Set<Session>;
  readonly mirrors: Set<Session>;
  current: Session | undefined;
  readonly requestStop: () => void;

  slot(name: string): Slot | undefined;
  addSlot(slot: Slot): void;
  removeSlot(slot: Slot): void;
  execute(session: Session): void;
  resume(session: Session, body: (session: Session) => void): void;
  deny(session: Session): void;
  wrote(session: Session, lengthBytes: number, start: number, failure: string): void;
  writeTrouble(error: unknown): void;
  commit(): boolean;
  bring(missing: NotLocal): Promise<void>;
  attend(session: Session): void;
  resumeSoon(session: Session): void;
  returnLater(buffers: readonly Uint8Array[]): void;
  sendReplies(session: Session): void;
  gathered(lengthBytes: number): void;
  forget(session: Session): void;
}

/** What a client waits for (WAIT). */
export interface Wait {
  /** Undefined: any command. */
  readonly command: Command<Session> | undefined;
  cancel(): void;
}

/** One connection. */
export class Session implements SocketEvents {
  readonly server: Host;
  readonly socket: ServerSocket;
  readonly request: RequestDecoder;
  /** Number of this connection, from 1; the owner id of its commands unless it is a master. */
  readonly id: number;

  slot: Slot;
  /** The command being executed, or executed last. */
  command: Command<Session> | undefined;
  /** Decided when the namespace was selected. */
  writable: boolean;
  admin: boolean;
  challenge: string | undefined;
  wait: Wait | undefined;
  /** The client asked for the third version of the protocol. */
  resp3 = false;
  mirror = false;
  master = false;
  owner: number;

  /** Reusable memory that large values of these replies are in. */
  replyBuffers: Uint8Array[] = [];
  /** Memory for a large value that is going to be part of the replies; undefined when too much is lent already. */
  replyMemory(lengthBytes: number): Uint8Array | undefined {
    const buffer = this.server.largeBuffers.take(lengthBytes);
    if (buffer !== undefined) this.replyBuffers.push(buffer);
    return buffer;
  }

  /** Replies to be sent when the turn ends. */
  segments: Uint8Array[] = [];
  /** True while the server has this session on its list for the end of the turn. */
  attended = false;
  closing = false;
  /** With `closing`: the connection is not kept until the other side has read the last words. */
  hurried = false;
  gone = false;
  #parked = false;
  /** The rest of a parked command. */
  #rest: ((session: Session) => void) | undefined;
  #backlogged = false;
  /** The request before had a large argument. */
  #tookLarge = false;
  #inputOver = false;
  /** Data files asked for during the current command: none is asked for twice. */
  #brought: Set<string> | undefined;

  constructor(server: Host, socket: ServerSocket, id: number) {
    this.server = server;
    this.socket = socket;
    this.id = id;
    this.owner = id;
    this.request = new RequestDecoder(server.largeBuffers);
    this.slot = server.defaultSlot;
    this.admin = server.options.adminPassword === undefined;
    this.writable = !server.options.protect;
  }

  received(bytes: Uint8Array, lengthBytes: number): void {
    this.server.counters.networkReceivedBytes += lengthBytes;
    this.request.push(bytes, 0, lengthBytes);
    this.proceed();
  }

  get expectsLarge(): boolean {
    return this.#tookLarge;
  }

  space(): Uint8Array | undefined {
    return this.#parked || this.#backlogged ? undefined : this.request.space();
  }

  filled(lengthBytes: number): void {
    this.server.counters.networkReceivedBytes += lengthBytes;
    this.request.received(lengthBytes);
    this.proceed();
  }

  inputEnded(): void {
    this.#inputOver = true;
    if (!this.#parked && !this.#backlogged) this.leave();
  }

  drained(): void {
    this.releaseReplies();
    if (this.#backlogged) this.#unblock();
  }

  closed(): void {
    this.gone = true;
    this.segments = [];
    this.releaseReplies();
    this.wait?.cancel();
    // A parked command may still read its arguments: it gives them back itself when it goes on.
    if (!this.#parked || this.#backlogged) this.request.dispose();
    this.server.forget(this);
  }

  /** Gives the memory of replies back when none of them is still to be sent, here or in the socket. */
  releaseReplies(): void {
    if (this.replyBuffers.length === 0) return;
    if (!this.gone && (this.segments.length > 0 || this.socket.queuedBytes > 0)) return;
    for (const buffer of this.replyBuffers) this.server.largeBuffers.give(buffer);
    this.replyBuffers = [];
  }

  /** Closes the connection when everything answered so far has been sent. Requests behind the current one are dropped. */
  leave(): void {
    this.closing = true;
    this.server.attend(this);
  }

  /** Executes what was received, until it has to stop. */
  proceed(): void {
    const { request, server } = this;
    const { replies } = server;
    if (this.#parked || this.closing || this.gone) {
      request.hold();
      return;
    }
    replies.begin();
    replies.resp3 = this.resp3;
    server.current = this;
    const rest = this.#rest;
    if (rest !== undefined) {
      this.#rest = undefined;
      server.resume(this, rest);
      this.#settle();
    }
    let expected = 0;
    while (!this.#parked && !this.closing) {
      if (this.congested) {
        this.#block();
        break;
      }
      if (expected > 0) expected--;
      else if (request.waitingBytes >= EXPECT_BYTES) expected = this.#expect();
      try {
        if (!request.next()) break;
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        if (error.text !== undefined) replies.error(error.text);
        this.closing = true;
        break;
      }
      server.execute(this);
      this.#settle();
      if (replies.writtenBytes >= SEND_BYTES && !this.#parked && !this.#sendNow()) break;
    }
    server.current = undefined;
    const writtenBytes = replies.writtenBytes;
    this.keep(replies.finish());
    if (this.closing) server.attend(this);
    if (request.waitingBytes > 0) request.hold();
    if (this.#inputOver && !this.#parked && !this.#backlogged) this.leave();
    server.gathered(writtenBytes);
  }

  /** Tells the namespace which keys come next. @returns for how many requests behind the next one that holds */
  #expect(): number {
    const { namespace } = this.slot;
    if (namespace.mode !== 'user' || namespace.entries < EXPECT_ENTRIES) return 0;
    const count = this.request.lookAhead(EXPECTED);
    if (count < 2) return 0;
    namespace.expect(this.request.input, EXPECTED, count);
    return count - 1;
  }

  /** Sends what is answered so far, in the middle of the turn. @returns false when this session has to wait until the client took it */
  #sendNow(): boolean {
    const { server } = this;
    this.keep(server.replies.finish());
    server.replies.begin();
    server.commit();
    server.sendReplies(this);
    if (this.gone) return false;
    if (this.socket.queuedBytes === 0) return true;
    // More would only lie in memory, and be out of the processor's cache when it is sent.
    this.#block();
    return false;
  }

  /** Takes replies to be sent when the turn ends. */
  keep(segments: readonly Uint8Array[]): void {
    if (segments.length === 0) return;
    if (this.segments.length === 0) this.segments = segments as Uint8Array[];
    else this.segments.push(...segments);
    this.server.attend(this);
  }

  /** Sends something that is no reply to a command of this client (WAIT, MIRROR). */
  notify(bytes: Uint8Array): void {
    if (this.gone || this.closing) return;
    if (this.socket.queuedBytes > MIRROR_BYTES) {
      this.server.log.line('warning', `client ${this.id} does not read: disconnected`);
      this.socket.destroy();
      return;
    }
    this.keep([bytes]);
  }

  /**
   * Stops this session until the promise settles; `rest` is then executed as the rest of its current command, whose arguments stay
   * readable.
   */
  park(until: Promise<unknown>, rest: (session: Session) => void): void {
    this.#stop(rest);
    this.socket.pause();
    const resume = () => {
      this.#parked = false;
      if (this.gone) this.request.dispose();
      else this.#unblock();
    };
    until.then(resume, resume);
  }

  /** Stops this session until its replies have been sent; `rest` is then executed as the rest of its current command. */
  yield(rest: (session: Session) => void): void {
    this.#stop(rest);
    this.#block();
  }

  #stop(rest: (session: Session) => void): void {
    this.#parked = true;
    this.#rest = rest;
    this.request.detach();
    this.request.hold();
  }

  get parked(): boolean {
    return this.#parked;
  }

  /** True when so much is waiting to be sent that a long reply should be continued later. */
  get congested(): boolean {
    return this.socket.queuedBytes + this.server.replies.writtenBytes >= OUTPUT_BYTES;
  }

  /** Whether bringing the data is worth trying; the command should then let the NotLocal go. */
  mayBring(missing: NotLocal): boolean {
    return this.server.canBring && !this.#brought?.has(`${missing.namespace}/${missing.file}`);
  }

  /** Asks for missing data; `rest` is executed when the attempt is over. */
  bring(missing: NotLocal, rest: (session: Session) => void): void {
    this.#brought ??= new Set();
    this.#brought.add(`${missing.namespace}/${missing.file}`);
    this.park(this.server.bring(missing), rest);
  }

  /** After a command: what it used may be used by others once the turn has ended. */
  #settle(): void {
    if (this.#parked) return;
    this.#brought = undefined;
    const lent = this.request.takeLent();
    this.#tookLarge = lent !== undefined;
    if (lent !== undefined) this.server.returnLater(lent);
  }

  #block(): void {
    this.#backlogged = true;
    this.socket.pause();
    this.server.backlog.add(this);
  }

  /** Goes on with the next turn. */
  #unblock(): void {
    if (this.#backlogged) this.#parked = false;
    this.#backlogged = false;
    this.server.backlog.delete(this);
    this.server.resumeSoon(this);
  }

  /** At the end of a turn: goes on when the replies are out. */
  retry(): void {
    if (this.socket.queuedBytes === 0) this.#unblock();
  }
}
