// The main thread's end of the filesystem thread: starts it, sends, wakes it while it sleeps in poll, and turns
// questions with an answer into promises.
import { type WakeHandle, wake } from '@qsfs/fuse';
import { loadLibc, openChannel, openRealDevice, realDisk, startThread, type Thread } from '@qsfs/io';
import { messageOf, QsfsError } from '../errors.ts';
import type {
  FilesystemInput,
  FromFilesystem,
  GiveBack,
  OffloadedName,
  OpenedNamespace,
  Survey,
  SyncedNamespace,
  ToFilesystem,
} from '../messages.ts';
import { startSyncThread } from './syncing.ts';

/** What the thread says by itself. */
export interface FilesystemEvents {
  readonly rotated: (namespace: OffloadedName, file: number, sizeBytes: number) => void;
  readonly need: (message: Extract<FromFilesystem, { kind: 'need' }>) => void;
  readonly reached: (namespace: OffloadedName, file: number, stripe: number) => void;
  readonly dropped: (message: Extract<FromFilesystem, { kind: 'dropped' }>) => void;
  readonly look: () => void;
  readonly log: (level: 'info' | 'warning' | 'error', message: string) => void;
  /** The mount is gone, whoever unmounted it. */
  readonly unmounted: () => void;
  /** The thread died; its mount is dead with it. */
  readonly crashed: (message: string) => void;
}

interface Waiter {
  readonly resolve: (message: FromFilesystem) => void;
  readonly reject: (error: Error) => void;
}

/** The running filesystem thread. */
export class Filesystem {
  readonly #thread: Thread;
  /** Syncs for the filesystem thread, which blocks and would not notice its end. */
  readonly #syncThread: Thread;
  readonly #events: FilesystemEvents;
  readonly #waiting = new Map<number, Waiter>();
  readonly #milestones = new Map<FromFilesystem['kind'], Waiter>();
  #wake: WakeHandle | undefined;
  #nextId = 1;
  #ended = false;
  /** Why nothing is answered any more. */
  #failure: Error | undefined;
  /** Why files are synced by the filesystem thread itself; empty as long as the sync thread lives. */
  syncFailure = '';

  /**
   * Starts the thread; `opened` must be awaited next.
   * @param startSync tests put another one in its place
   */
  constructor(input: FilesystemInput, events: FilesystemEvents, startSync = startSyncThread) {
    this.#events = events;
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const [left, right] = openChannel();
    this.#thread = startThread(new URL(`./filesystem-thread.${extension}`, import.meta.url), input, 0, left);
    this.#syncThread = startSync(right);
    this.#thread.port.onMessage((message) => this.#take(message as FromFilesystem));
    const crashed = (error: unknown) => {
      // The end of a thread may be known before its last words.
      const { port } = this.#thread;
      for (let message = port.receive(); message !== undefined; message = port.receive()) {
        this.#take(message as FromFilesystem);
      }
      if (this.#ended) return;
      this.#fail(new QsfsError('QSFS_E_INTERNAL', `the filesystem thread died: ${messageOf(error)}`));
      events.crashed(messageOf(error));
    };
    this.#thread.ended.then(() => crashed('it ended by itself'), crashed);
    const syncEnded = (error: unknown) => this.#syncEnded(messageOf(error));
    this.#syncThread.ended.then(() => syncEnded('it ended by itself'), syncEnded);
  }

  #syncEnded(reason: string): void {
    if (this.#ended || this.#failure) return;
    this.syncFailure = `the thread that syncs files died (${reason}); until the next start all wait while one program syncs`;
    this.#events.log('error', this.syncFailure);
    this.send({ kind: 'sync-thread-ended', reason: `the thread that syncs files died: ${reason}` });
  }

  /** Resolves when engine and volume are open. @throws QsfsError QSFS_E_DISK */
  async opened(): Promise<readonly OpenedNamespace[]> {
    const message = await this.#milestone('opened');
    return message.kind === 'opened' ? message.namespaces : [];
  }

  /** The thread died: nobody answers the kernel any more. */
  get dead(): boolean {
    return this.#failure !== undefined;
  }

  /** Serves a mount; resolves when the session runs. */
  async serve(descriptor: number, mountPoint: string): Promise<void> {
    const serving = this.#milestone('serving');
    this.send({ kind: 'serve', descriptor, mountPoint });
    await serving;
  }

  /** Checkpoint, rotation, copies. @throws QsfsError QSFS_E_INCOMPLETE when the thread could not do it */
  async makeState(
    stagingDirectory: string,
    suspects: Readonly<Record<OffloadedName, readonly number[]>>,
    giveBack: GiveBack = { hollow: [], discard: [] },
  ): Promise<readonly SyncedNamespace[]> {
    const answer = await this.#ask((id) => ({
      kind: 'sync-point',
      id,
      stagingDirectory,
      suspects,
      giveBack,
    }));
    return answer.kind === 'synced' ? answer.namespaces : [];
  }

  /** What is dead in the data files; undefined when the thread cannot tell. */
  async survey(): Promise<Survey | undefined> {
    const answer = await this.#ask((id) => ({ kind: 'survey', id }));
    return answer.kind === 'surveyed' ? answer.survey : undefined;
  }

  /**
   * Moves what is alive in a data file of `zdbfs-data`, bringing it here first. @returns payload bytes
   * @throws QsfsError QSFS_E_INCOMPLETE when the thread could not do it, or not all of it
   */
  async relocate(file: number): Promise<number> {
    const answer = await this.#ask((id) => ({ kind: 'relocate', id, file }));
    return answer.kind === 'relocated' ? answer.movedBytes : 0;
  }

  /** Inodes whose contents the kernel may have cached. */
  async cachedInodes(): Promise<Float64Array> {
    const answer = await this.#ask((id) => ({ kind: 'list-cached', id }));
    return answer.kind === 'cached' ? answer.inodes : new Float64Array(0);
  }

  /** Ends the session; resolves when nothing reads the device any more. Fine when it has ended already. */
  async leave(): Promise<void> {
    if (!this.#wake) return;
    const unmounted = this.#milestone('unmounted');
    this.send({ kind: 'leave' });
    await unmounted;
  }

  /** Ends the thread in order. @returns whether everything is checkpointed, and if not why */
  async stop(): Promise<{ clean: boolean; message: string }> {
    const ended = this.#milestone('ended');
    this.send({ kind: 'stop' });
    const message = await ended;
    this.#ended = true;
    await this.#thread.ended.catch(() => {});
    await this.#syncThread.terminate();
    return message.kind === 'ended' ? message : { clean: false, message: '' };
  }

  /** Ends the thread at once (after a failure to open). */
  async terminate(): Promise<void> {
    this.#ended = true;
    await Promise.all([this.#thread.terminate(), this.#syncThread.terminate()]);
  }

  send(message: ToFilesystem): void {
    if (this.#ended || this.#failure) return;
    this.#thread.port.send(message);
    if (this.#wake) wake(this.#wake, { libc: loadLibc(), openDevice: openRealDevice, disk: realDisk });
  }

  #ask(build: (id: number) => ToFilesystem): Promise<FromFilesystem> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.send(build(id));
    });
  }

  #milestone(kind: FromFilesystem['kind']): Promise<FromFilesystem> {
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => this.#milestones.set(kind, { resolve, reject }));
  }

  #take(message: FromFilesystem): void {
    const events = this.#events;
    switch (message.kind) {
      case 'serving':
        this.#wake = message.wake;
        break;
      case 'unmounted':
        this.#wake = undefined;
        events.unmounted();
        break;
      case 'fatal':
        this.#fail(new QsfsError('QSFS_E_DISK', message.message));
        break;
      case 'ended':
        this.#ended = true;
        break;
      case 'log':
        events.log(message.level, message.message);
        break;
      case 'rotated':
        events.rotated(message.namespace, message.file, message.sizeBytes);
        break;
      case 'need':
        events.need(message);
        break;
      case 'reached':
        events.reached(message.namespace, message.file, message.stripe);
        break;
      case 'look':
        events.look();
        break;
      case 'dropped':
        events.dropped(message);
        break;
      case 'refused':
        this.#answer(message.id)?.reject(new QsfsError('QSFS_E_INCOMPLETE', message.message));
        break;
      case 'synced':
      case 'surveyed':
      case 'relocated':
      case 'cached':
        this.#answer(message.id)?.resolve(message);
    }
    const milestone = this.#milestones.get(message.kind);
    this.#milestones.delete(message.kind);
    milestone?.resolve(message);
  }

  #answer(id: number): Waiter | undefined {
    const waiter = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiter;
  }

  #fail(error: Error): void {
    this.#wake = undefined;
    this.#failure ??= error;
    void this.#syncThread.terminate();
    for (const waiter of [...this.#waiting.values(), ...this.#milestones.values()]) waiter.reject(error);
    this.#waiting.clear();
    this.#milestones.clear();
  }
}
