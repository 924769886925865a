// The zdb server: sessions on a socket loop, commands on an engine. One turn of the loop: everything that is ready is executed, one
// commit covers it, the replies leave. A write is answered only after its commit; when the commit fails its reply becomes the error.
import { type Address, type Clock, type Disk, errorCode, type Random } from '@qsfs/io';
import { LargeBuffers, ReplyWriter } from '@qsfs/resp';
import { type Engine, NotLocal, StoreError } from '../engine/types.ts';
import type { CommandTable } from './command.ts';
import { compactNamespace } from './commands/compaction.ts';
import { commandTable } from './commands/table.ts';
import type { Hooks } from './hooks.ts';
import type { Log } from './log.ts';
import { forward, ownerOf } from './mirror.ts';
import { Room } from './room.ts';
import type { Counters, ServerOptions } from './server-options.ts';
import { type Host, Session } from './session.ts';
import { Slot } from './slot.ts';
import type { ServerSocket, SocketEvents, SocketLoop } from './sockets.ts';
import { WriteMarks } from './write-marks.ts';

/** Bytes written and not committed that make a commit happen in the middle of a turn: while they are in the processor's cache. */
const COMMIT_BYTES = 1024 * 1024;
/** The same where each commit waits for the disk. */
const SYNCED_COMMIT_BYTES = 32 * 1024 * 1024;
/** Replies gathered in one turn that are sent in the middle of it: while large values are in the processor's cache. */
const TURN_REPLY_BYTES = 256 * 1024;
/** Cached descriptors are looked through this often, as long as there is traffic and once after. */
const TIDY_MS = 1000;
/** Refused clients whose connections stay until they have read why; others may not get to know it. */
const REFUSED_STAYING = 4;
/** Time between looks for mostly dead data files. */
const COMPACT_MS = 60_000;
/** Time between looks for room of removed values. */
const GIVE_BACK_MS = 1000;

/** What the server stands on. */
export interface ServerParts {
  readonly engine: Engine;
  readonly loop: SocketLoop;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly hooks: Hooks | undefined;
}

/** A running server. */
export class Server implements Host {
  readonly options: ServerOptions;
  readonly engine: Engine;
  readonly loop: SocketLoop;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly hooks: Hooks | undefined;
  readonly commands: CommandTable<Session>;
  readonly room: Room;
  readonly replies = new ReplyWriter();
  readonly largeBuffers = new LargeBuffers();
  readonly counters: Counters = {
    clients: 0,
    commandsExecuted: 0,
    commandsFailed: 0,
    commandsUnauthorized: 0,
    networkReceivedBytes: 0,
    networkSentBytes: 0,
  };
  /** Random per start, for INFO. */
  readonly instanceId: number;
  readonly startedSeconds: number;
  readonly startedMs: number;

  readonly sessions = new Set<Session>();
  /** Sessions with replies nobody reads. */
  readonly backlog = new Set<Session>();
  readonly waiting = new Set<Session>();
  readonly mirrors = new Set<Session>();
  /** The session whose commands are being executed. */
  current: Session | undefined;
  /** Resolves when STOP was executed. */
  readonly stopRequested: Promise<void>;
  requestStop: () => void = () => {};

  readonly #slots = new Map<string, Slot>();
  #attended: Session[] = [];
  #resumable: Session[] = [];
  #lent: Uint8Array[] = [];
  readonly #marks = new WriteMarks();
  #uncommitted = false;
  #uncommittedBytes = 0;
  readonly #commitBytes: number;
  #replyBytes = 0;
  #timestamp = -1;
  /** After a failed commit each write is committed by itself, so that each gets its own answer. */
  #cautious = false;
  /** Rotations of the current command: hooks that are to be run. */
  #rotations: { slot: Slot; closed: number; active: number }[] = [];
  #unsynced = false;
  /** Looks at cached descriptors still due: one closes what was not used since the one before. */
  #tidiesDue = 0;
  #tidying = false;
  #compacting = false;
  #closed = false;

  constructor(parts: ServerParts, options: ServerOptions) {
    this.options = options;
    this.engine = parts.engine;
    this.loop = parts.loop;
    this.disk = parts.disk;
    this.clock = parts.clock;
    this.random = parts.random;
    this.log = parts.log;
    this.hooks = parts.hooks;
    this.commands = commandTable(options.debug);
    this.room = new Room({ ...parts, commit: () => this.commit() }, options.spareBytes);
    this.#commitBytes = options.syncsCommits ? SYNCED_COMMIT_BYTES : COMMIT_BYTES;
    this.instanceId = 1 + parts.random.below(2 ** 30);
    this.startedSeconds = parts.clock.nowSeconds();
    this.startedMs = parts.clock.monotonicMs();
    this.stopRequested = new Promise<void>((resolve) => {
      this.requestStop = () => resolve();
    });
    for (const namespace of this.engine.namespaces()) this.#slots.set(namespace.name, new Slot(namespace));
    const settings = this.defaultSlot.namespace;
    if (options.protect && options.adminPassword !== undefined) {
      settings.override({ password: options.adminPassword, public: true });
    }
    if (options.maxSizeBytes > 0) settings.override({ maxSizeBytes: options.maxSizeBytes });
  }

  get defaultSlot(): Slot {
    const slot = this.#slots.get('default');
    if (slot === undefined) throw new Error('the engine has no namespace "default"');
    return slot;
  }

  /** Listens on one more address. @throws an error with code EADDRINUSE and the like */
  async listen(address: Address): Promise<Address> {
    return await this.loop.listen(address, (socket) => this.#accepted(socket));
  }

  /** Starts serving. */
  start(): void {
    this.loop.start(
      () => this.#turn(),
      () => this.#uncommitted && this.options.syncsCommits,
    );
    this.#every(1000, this.options.rotateSeconds > 0, () => this.#rotateOld());
    this.#every(COMPACT_MS, this.options.compactRatio > 0, () => void this.#compactAll());
    this.#every(GIVE_BACK_MS, this.options.givesBack, () => this.#giveBack());
    this.#every(this.options.syncSeconds * 1000, this.options.syncSeconds > 0, () => this.#syncRest());
  }

  /** Commits, sends what can be sent, and closes every connection. The engine stays open. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#turn();
    this.#closed = true;
    await this.loop.close();
  }

  slot(name: string): Slot | undefined {
    return this.#slots.get(name);
  }

  addSlot(slot: Slot): void {
    this.#slots.set(slot.name, slot);
  }

  removeSlot(slot: Slot): void {
    slot.removed = true;
    this.#slots.delete(slot.name);
  }

  /** Has the session looked at when the turn ends. */
  attend(session: Session): void {
    if (session.attended) return;
    session.attended = true;
    this.#attended.push(session);
    if (this.current === undefined) this.loop.wantTurn();
  }

  /** Lets a session go on in the next turn. */
  resumeSoon(session: Session): void {
    this.#resumable.push(session);
    this.loop.wantTurn();
  }

  /** Buffers that may be used again when this turn's writes are committed. */
  returnLater(buffers: readonly Uint8Array[]): void {
    for (const buffer of buffers) this.#lent.push(buffer);
  }

  forget(session: Session): void {
    this.sessions.delete(session);
    this.backlog.delete(session);
    this.waiting.delete(session);
    this.mirrors.delete(session);
  }

  /** Executes the session's current request. */
  execute(session: Session): void {
    const { replies, counters } = this;
    replies.checkpoint();
    if (session.slot.removed) {
      this.#refuseRemoved(session);
      return;
    }
    if (session.master && !ownerOf(session)) return;
    const command = this.commands.find(session.request);
    if (command === undefined) {
      counters.commandsFailed++;
      replies.error('Command not supported');
      return;
    }
    counters.commandsExecuted++;
    session.command = command;
    if (!command.admin || session.admin) {
      this.perform(session, command.run);
      if (session.parked) return;
    } else {
      counters.commandsUnauthorized++;
      replies.error('Permission denied');
    }
    this.completed(session);
  }

  /**
   * Runs the current command, or the rest of it; afterwards the session may be parked. Errors answer the client. When data has to
   * be brought first everything since the last checkpoint is taken back, and `body` runs again.
   */
  perform(session: Session, body: (session: Session) => void): void {
    const { replies } = this;
    try {
      body(session);
    } catch (error) {
      replies.rollback();
      if (error instanceof NotLocal && session.mayBring(error)) session.bring(error, body);
      else this.#failed(session, error);
    }
    if (this.#rotations.length > 0 && !session.parked) this.#announceRotations(session);
  }

  /** Goes on with a parked command. */
  resume(session: Session, body: (session: Session) => void): void {
    this.replies.checkpoint();
    if (session.slot.removed) {
      this.#refuseRemoved(session);
      return;
    }
    this.perform(session, body);
    if (!session.parked) this.completed(session);
  }

  #refuseRemoved(session: Session): void {
    this.replies.error('Your active namespace is not available anymore (probably removed).');
    session.leave();
  }

  /** Refuses a command for want of admin rights, where only some of its forms need them. */
  deny(session: Session): void {
    this.counters.commandsUnauthorized++;
    session.server.replies.error('Permission denied');
  }

  /**
   * The current command wrote something that the next commit makes durable, and its reply is written.
   * @param failure what the reply becomes when the commit fails
   */
  wrote(session: Session, lengthBytes: number, start: number, failure: string): void {
    const { replies } = this;
    this.#uncommitted = true;
    this.#uncommittedBytes += lengthBytes;
    this.#marks.add(session, replies.memory, start, replies.offset, failure);
    if (this.#cautious || this.#uncommittedBytes >= this.#commitBytes) this.commit();
  }

  /** Commits now. @returns false when that failed; everybody concerned has been answered so */
  commit(): boolean {
    if (!this.#uncommitted) return true;
    try {
      this.engine.commit();
    } catch (error) {
      // Anything but a failing disk is a broken invariant: what is in memory cannot be trusted any more.
      if (errorCode(error) === undefined && !(error instanceof StoreError)) throw error;
      this.#writeFailed(error);
      return false;
    }
    this.#uncommitted = false;
    this.#uncommittedBytes = 0;
    this.#marks.clear();
    this.#cautious = false;
    this.#unsynced = true;
    this.#returnLent();
    return true;
  }

  #returnLent(): void {
    if (this.#lent.length === 0) return;
    for (const buffer of this.#lent) this.largeBuffers.give(buffer);
    this.#lent = [];
  }

  /** A writing command failed. When that was a commit on the way (a rotation commits), earlier writes are concerned too. */
  writeTrouble(error: unknown): void {
    if (this.#uncommitted && this.engine.pendingBytes === 0) this.#writeFailed(error);
    else this.log.line('error', `cannot write: ${(error as Error).message}`);
  }

  /** The engine could not write and has forgotten what was not committed: the replies given for it become errors. */
  #writeFailed(error: unknown): void {
    this.log.line('error', `cannot write: ${(error as Error).message}`);
    this.#uncommitted = false;
    this.#uncommittedBytes = 0;
    this.#cautious = true;
    const { current } = this;
    if (current !== undefined) {
      // What it wrote so far has to be among its segments to be found there.
      current.keep(this.replies.finish());
      this.replies.begin();
      this.replies.checkpoint();
    }
    this.#marks.fail();
  }

  /** For the engine's events: a namespace closed its active files. */
  rotated(name: string, closed: number, active: number): void {
    const slot = this.#slots.get(name);
    if (slot !== undefined && this.hooks !== undefined) this.#rotations.push({ slot, closed, active });
  }

  /** Whether anybody can bring data files that are missing. */
  get canBring(): boolean {
    return this.hooks !== undefined;
  }

  /** Has a missing data file brought; resolves when the attempt is over. */
  async bring(missing: NotLocal): Promise<void> {
    const slot = this.#slots.get(missing.namespace);
    if (slot !== undefined) await this.hooks?.run('missing-data', [slot.namespace.dataPath(missing.file)]);
  }

  #accepted(socket: ServerSocket): SocketEvents {
    this.counters.clients++;
    const session = new Session(this, socket, this.counters.clients);
    this.sessions.add(session);
    if (this.sessions.size > this.options.maxClients) {
      this.log.line('warning', `more than ${this.options.maxClients} clients: one was refused`);
      session.keep([Buffer.from('-Too many connections\r\n')]);
      // Each one that stays has a descriptor, and files need some.
      session.hurried = this.sessions.size > this.options.maxClients + REFUSED_STAYING;
      session.leave();
    }
    return session;
  }

  #turn(): void {
    if (this.#resumable.length > 0) {
      for (const session of this.#resumable.splice(0)) {
        if (session.gone) continue;
        session.socket.resume();
        session.proceed();
      }
    }
    this.#settle();
    this.#tidiesDue = 2;
    if (!this.#tidying) this.#tidyLater();
    if (this.backlog.size > 0) for (const session of [...this.backlog]) session.retry();
  }

  /** Counts replies gathered in this turn; when they are many they leave before the turn ends. Between two sessions only. */
  gathered(lengthBytes: number): void {
    this.#replyBytes += lengthBytes;
    if (this.#replyBytes >= TURN_REPLY_BYTES) this.#settle();
  }

  /** Sends a session's replies. What was written for them must be committed. */
  sendReplies(session: Session): void {
    const { segments } = session;
    if (segments.length === 0) return;
    session.segments = [];
    for (const segment of segments) this.counters.networkSentBytes += segment.length;
    session.socket.send(segments, this.replies.scratch);
    session.releaseReplies();
  }

  /** Seconds since 1970 at the first write of a turn: one for all that are committed together. */
  get timestamp(): number {
    if (this.#timestamp < 0) this.#timestamp = this.clock.nowSeconds();
    return this.#timestamp;
  }

  /** Commits and sends everything that was answered. */
  #settle(): void {
    this.#timestamp = -1;
    this.commit();
    this.#rotationsWithoutSession();
    const attended = this.#attended;
    this.#attended = [];
    for (const session of attended) {
      session.attended = false;
      if (session.gone) continue;
      this.sendReplies(session);
      if (!session.closing || session.parked) continue;
      if (session.hurried) session.socket.destroy();
      else session.socket.end();
    }
    this.replies.reset();
    this.#returnLent();
    this.#replyBytes = 0;
  }

  #failed(session: Session, error: unknown): void {
    this.replies.error(errorCode(error) === 'ENOSPC' ? 'Cannot write data right now' : 'Internal Error');
    const known = error instanceof StoreError || error instanceof NotLocal || errorCode(error) !== undefined;
    const what = known ? (error as Error).message : String((error as Error).stack);
    this.log.line('error', `${session.command?.name}: ${what}`);
  }

  /** After every command: others may be waiting for it, mirrors want a copy. */
  completed(session: Session): void {
    const { command } = session;
    if (this.waiting.size > 0) {
      for (const other of [...this.waiting]) {
        const { wait } = other;
        if (other === session || other.mirror || wait === undefined || other.slot !== session.slot) continue;
        if (command === undefined || (wait.command !== undefined && wait.command !== command)) continue;
        wait.cancel();
        other.notify(command.notice);
      }
    }
    if (this.mirrors.size > 0) forward(this, session);
  }

  /** The current command rotated files: what it wrote is committed, and it is answered when the hooks have run. */
  #announceRotations(session: Session): void {
    if (!this.commit()) {
      this.#rotations = [];
      return;
    }
    const held = this.replies.withdraw();
    session.park(this.#runRotationHooks(), () => {
      for (const bytes of held) this.replies.raw(bytes);
    });
  }

  #rotationsWithoutSession(): void {
    if (this.#rotations.length > 0) void this.#runRotationHooks();
  }

  /** Runs `jump-index`, waits for it, then starts `jump-data`. */
  async #runRotationHooks(): Promise<void> {
    const { hooks } = this;
    const rotations = this.#rotations;
    this.#rotations = [];
    if (hooks === undefined) return;
    for (const { slot, closed, active } of rotations) {
      const { namespace } = slot;
      const dirty = slot.dirtyIndexFiles();
      slot.clearDirty();
      const status = await hooks.run('jump-index', [
        namespace.indexPath(closed),
        namespace.indexPath(active),
        dirty.join(' '),
      ]);
      if (status !== 0) for (const file of dirty) slot.undelivered.add(file);
      void hooks.run('jump-data', [namespace.dataPath(closed), namespace.dataPath(active)]);
    }
  }

  #rotateOld(): void {
    const nowMs = this.clock.monotonicMs();
    for (const { namespace } of this.#slots.values()) {
      const ageMs = nowMs - namespace.activeSinceMs;
      if (!namespace.activeAppended || ageMs <= this.options.rotateSeconds * 1000) continue;
      this.commit();
      try {
        namespace.rotate();
      } catch (error) {
        this.log.line('error', `cannot rotate ${namespace.name}: ${(error as Error).message}`);
      }
    }
    this.#rotationsWithoutSession();
  }

  /** The background policy of compaction; one namespace after the other, never two at a time. */
  async #compactAll(): Promise<void> {
    if (this.#compacting) return;
    this.#compacting = true;
    try {
      for (const slot of [...this.#slots.values()]) {
        if (this.#closed) break;
        await compactNamespace(this, slot, this.options.compactRatio);
      }
    } catch (error) {
      this.log.line('error', `cannot compact: ${(error as Error).message}`);
    } finally {
      this.#compacting = false;
    }
  }

  #giveBack(): void {
    this.room.giveBack();
    this.#rotationsWithoutSession();
  }

  #tidyLater(): void {
    this.#tidying = true;
    this.clock.after(
      TIDY_MS,
      () => {
        this.#tidying = false;
        if (this.#closed) return;
        this.engine.closeIdleFiles();
        if (--this.#tidiesDue > 0) this.#tidyLater();
        else this.#completeIndex();
      },
      true,
    );
  }

  /** Nobody asks for anything: a good moment to have the index files say everything, should the next to open them be the reference. */
  #completeIndex(): void {
    try {
      this.engine.writeHeldChanges();
    } catch (error) {
      this.log.line('error', `cannot sync: ${(error as Error).message}`);
    }
  }

  #syncRest(): void {
    if (!this.#unsynced) return;
    this.#unsynced = false;
    try {
      for (const { namespace } of this.#slots.values()) namespace.sync();
    } catch (error) {
      this.log.line('error', `cannot sync: ${(error as Error).message}`);
    }
  }

  #every(periodMs: number, wanted: boolean, call: () => void): void {
    if (!wanted) return;
    const again = () => {
      if (this.#closed) return;
      call();
      this.clock.after(periodMs, again, true);
    };
    this.clock.after(periodMs, again, true);
  }
}
