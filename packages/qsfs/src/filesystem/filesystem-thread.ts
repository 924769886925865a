// The filesystem thread: engine, volume and FUSE session, all synchronous. Started by Filesystem (filesystem.ts).
//
// While a mount is served the thread blocks in poll and messages are taken when it is woken; before and after, they come
// through its event loop. Either way `Server.handle` sees each once, in order.
import { join } from 'node:path';
import { FilesystemError, Session } from '@qsfs/fuse';
import {
  errorCode,
  loadLibc,
  openRealDevice,
  type Port,
  realClock,
  realDisk,
  realRandom,
  type SyncSteps,
  threadInput,
} from '@qsfs/io';
import { type Engine, type Namespace, NotLocal, openEngine } from '@qsfs/zdb';
import { EngineStore, INDEX_TAIL_BYTES, NAMESPACES, openVolume, Settling, type Volume } from '@qsfs/zdbfs';
import { messageOf } from '../errors.ts';
import { lookedLately } from '../lease/lease-watch.ts';
import { KeptRoom } from '../local/shared-disk.ts';
import {
  type FilesystemInput,
  type FromFilesystem,
  GAUGES,
  OFFLOADED,
  type Stripes,
  type SyncedNamespace,
  type ToFilesystem,
} from '../messages.ts';
import { LeaseStale, refuseChanges } from './fence.ts';
import { keysOf, LocalPresence } from './local-presence.ts';
import { Pace, WriteHeld } from './pace.ts';
import { closeStored, SyncState } from './sync-state.ts';
import { Syncing } from './syncing.ts';

/** Journal size that leads to a checkpoint, unless data files are small. */
const JOURNAL_MAX_BYTES = 32 * 2 ** 20;
/** What held-back writes wait for. */
const HELD_TOKEN = 'held';
/** What changes wait for while the lease is looked at. */
const LOOK_TOKEN = 'look';
/** What changes wait for while something is brought to stable storage, and what those wait for who only want that. */
const SETTLED_TOKEN = 'settled';
const SYNCED_TOKEN = 'synced';
/** What requests wait for that is no data of the backends. */
const NO_DATA_TOKENS: ReadonlySet<unknown> = new Set([HELD_TOKEN, LOOK_TOKEN, SETTLED_TOKEN, SYNCED_TOKEN]);
/**
 * A request that needs one stripe after the other waits for so long in all, not counting those that come soon; with that its answer takes less than ten
 * seconds. Each is waited for by itself, too (read-back.ts).
 */
const DATA_PATIENCE_MS = 7500;
/** Readaheads the kernel has under way: beyond that readers wait in it, and get their errors one batch after the other when nothing can be had. */
const READAHEADS_MAX = 1024;
/** Work that waits for data is given up after so many tries (each brings at least one stripe). */
const WORK_TRIES_MAX = 10_000;
/** The same of work that needs a whole data file here at once, for each stripe of it; and so many more, for other things it waits for. */
const TRIES_PER_STRIPE = 2;
const FILE_TRIES_MORE = 200;

/** Work asked for by message that may miss data: run again whenever something came. */
interface Work {
  readonly run: () => void;
  readonly refuse: (message: string) => void;
  tries: number;
  /** What it waits for. */
  key: string | undefined;
}

class Server {
  readonly #port: Port;
  readonly #input: FilesystemInput;
  readonly #gauges: Float64Array;
  readonly #presence: LocalPresence;
  readonly #pace: Pace;
  readonly #syncing: Syncing;
  readonly #kept: KeptRoom;
  readonly #work: Work[] = [];
  #engine: Engine | undefined;
  #volume: Volume | undefined;
  #state: SyncState | undefined;
  #session: Session | undefined;
  /** The main thread was asked to look at the lease. */
  #isLooking = false;

  constructor(input: FilesystemInput, port: Port, syncPort: Port) {
    this.#input = input;
    this.#port = port;
    this.#gauges = new Float64Array(input.gauges);
    this.#pace = new Pace(this.#gauges, () => realClock.monotonicMs());
    this.#syncing = new Syncing(realClock, syncPort, (error) => this.#settled(error));
    this.#kept = new KeptRoom(input.shared, this.#gauges, () => this.#state?.activeBytes ?? 0);
    this.#presence = new LocalPresence(
      input.stripeBytes,
      input.segmentBytes,
      input.absent,
      {
        copy: (namespace, file, offset, lengthBytes) =>
          copyOf(join(input.dataDirectory, namespace, `d${file}`), offset, lengthBytes),
        need: (stripes) => this.#send({ kind: 'need', ...stripes }),
        isWaited: () => this.#work.length > 0 || (this.#session?.parkedCount ?? 0) > 0,
        reached: (namespace, file, stripe) => this.#send({ kind: 'reached', namespace, file, stripe }),
      },
      () => realClock.monotonicMs(),
    );
  }

  /** Opens engine and volume, as often as data has to be brought first. */
  start(): void {
    this.#do({
      run: () => {
        if (!this.#engine) this.#openEngine();
        this.#openVolume();
      },
      refuse: (message) => this.#fatal(new Error(message)),
    });
  }

  handle(message: ToFilesystem): void {
    switch (message.kind) {
      case 'serve':
        this.#serve(message.descriptor, message.mountPoint);
        return;
      case 'brought':
        this.#came(this.#presence.brought(message, message.ahead));
        return;
      case 'lent':
        this.#came(this.#presence.lent(message, message.bytes));
        return;
      case 'recall':
        this.#presence.recall();
        return;
      case 'awaited':
        for (const key of keysOf(message)) this.#session?.giveTime(key);
        return;
      case 'failed':
        this.#lost(message);
        return;
      case 'returned':
        this.#presence.forgive();
        return;
      case 'drop': {
        const stripes = this.#presence.drop(message.stripes, message.keepTouched);
        this.#send({ kind: 'dropped', id: message.id, stripes });
        return;
      }
      case 'sync-point':
        this.#syncPoint(message);
        return;
      case 'survey':
        this.#send({ kind: 'surveyed', id: message.id, survey: (this.#state as SyncState).survey() });
        return;
      case 'relocate':
        this.#relocate(message.id, message.file);
        return;
      case 'list-cached':
        this.#send({
          kind: 'cached',
          id: message.id,
          inodes: Float64Array.from(this.#volume?.heldInodes() ?? []),
        });
        return;
      case 'go-on':
        this.#goOn();
        return;
      case 'sync-thread-ended':
        this.#syncing.lost(message.reason);
        return;
      case 'leave':
        this.#session?.stop();
        return;
      case 'stop':
        this.#stop();
    }
  }

  #openEngine(): void {
    const { dataDirectory, indexDirectory, fileBytes } = this.#input;
    realDisk.makeDirectory(dataDirectory);
    realDisk.makeDirectory(indexDirectory);
    const engine = openEngine({
      disk: realDisk,
      clock: realClock,
      random: realRandom,
      dataDirectory,
      indexDirectory,
      mode: 'seq',
      dataSizeBytes: fileBytes,
      sync: 'none',
      syncOnRotation: true,
      indexTailBytes: INDEX_TAIL_BYTES,
      presence: this.#presence,
      writeAhead: (path, position, lengthBytes) => this.#syncing.writeAhead(path, position, lengthBytes),
      events: {
        rotated: (namespace, closed) => this.#rotated(namespace, closed),
        log: (level, message) => this.#log(level, message),
      },
    });
    this.#engine = engine;
    for (const name of OFFLOADED) closeStored(engine, name, this.#input.storedFiles[name]);
    this.#state = new SyncState(realDisk, engine, indexDirectory);
  }

  #openVolume(): void {
    const { create, dataDirectory, userId, groupId } = this.#input;
    const engine = this.#engine as Engine;
    if (!create && !engine.namespace('zdbfs-meta')) {
      throw new Error('there is no volume in this folder; its files were removed');
    }
    const store = new EngineStore(engine, realDisk, dataDirectory, false);
    const space = store.space.bind(store);
    store.space = () => this.#kept.left(space());
    const volume = openVolume(store, {
      clock: realClock,
      random: realRandom,
      log: (level, message) => this.#log(level, message),
      rootOwner: { userId, groupId, mode: 0o755 },
      settler: this.#syncing,
      // Closing a file of the journal would have to wait for the disk.
      journalBytes: Math.min(JOURNAL_MAX_BYTES, this.#input.fileBytes / 2),
    });
    const write = volume.write.bind(volume);
    volume.write = (inode, offset, source, caller, clearSetId) => {
      this.#pace.admit();
      write(inode, offset, source, caller, clearSetId);
      this.#pace.took(source.length);
    };
    refuseChanges(
      volume,
      () => this.#isReadOnly,
      () => lookedLately(this.#gauges, realClock),
      () => {
        this.#gauges[GAUGES.changedByPrograms] = 1;
      },
    );
    const status = volume.status.bind(volume);
    volume.status = () => this.#kept.status(status());
    this.#volume = volume;
    this.#measure();
    const namespaces = (this.#state as SyncState).opened();
    for (const { namespace, activeFile } of namespaces) this.#presence.reach(namespace, activeFile);
    this.#send({ kind: 'opened', namespaces });
  }

  #serve(descriptor: number, mountPoint: string): void {
    const libc = loadLibc();
    const session = new Session({
      device: openRealDevice(descriptor, libc),
      mountPoint,
      filesystem: this.#volume as Volume,
      libc,
      clock: realClock,
      log: (level, message) => this.#log(level, message),
      deferral: (error) => this.#deferral(error),
      patienceMs: (token) => (NO_DATA_TOKENS.has(token) ? Infinity : DATA_PATIENCE_MS),
      gaveUp: (token) => this.#presence.gaveUp(token as string),
      woken: () => this.#receive(),
      onIdle: () => this.#idle(),
      backgroundMax: READAHEADS_MAX,
    });
    this.#session = session;
    this.#syncing.wakes(session.wakeHandle);
    this.#send({ kind: 'serving', wake: session.wakeHandle });
    try {
      session.run();
    } catch (error) {
      // Nobody answers the kernel any more: this thread ends, and the main thread lets the mount die instead of unmounting it.
      this.#log('error', `the session ended: ${messageOf(error)}`);
      throw error;
    }
    this.#session = undefined;
    this.#syncing.wakes(undefined);
    this.#measure();
    this.#send({ kind: 'unmounted' });
  }

  /** Takes all messages that wait. */
  #receive(): void {
    this.#syncing.receive();
    for (let message = this.#port.receive(); message !== undefined; message = this.#port.receive()) {
      this.handle(message as ToFilesystem);
    }
    this.#measure();
  }

  #idle(): void {
    this.#presence.tend();
    this.#measure();
    this.#goOn();
  }

  #goOn(): void {
    if (this.#pace.open) this.#session?.retry(HELD_TOKEN);
    if (!this.#isLooking || !(this.#isReadOnly || lookedLately(this.#gauges, realClock))) return;
    this.#isLooking = false;
    this.#session?.retry(LOOK_TOKEN);
  }

  get #isReadOnly(): boolean {
    return this.#gauges[GAUGES.fenced] === 1 || this.#gauges[GAUGES.withoutLease] === 1;
  }

  #askForLook(): string {
    if (!this.#isLooking) this.#send({ kind: 'look' });
    this.#isLooking = true;
    return LOOK_TOKEN;
  }

  /** @throws FilesystemError EIO when the data could not be brought a moment ago */
  #deferral(error: unknown): string | undefined {
    if (error instanceof WriteHeld) return HELD_TOKEN;
    if (error instanceof LeaseStale) return this.#askForLook();
    if (error instanceof Settling) return error.covered ? SYNCED_TOKEN : SETTLED_TOKEN;
    if (!(error instanceof NotLocal)) return undefined;
    try {
      return this.#presence.ask(error);
    } catch (missing) {
      if (missing instanceof FilesystemError) throw missing;
      // Nothing can be brought: that request fails, the mount lives.
      this.#log('error', messageOf(missing));
      return undefined;
    }
  }

  /** What was brought to stable storage is there, or could not be. */
  #settled(error: unknown): void {
    const session = this.#session;
    if (error === undefined) session?.endParked(SYNCED_TOKEN);
    else session?.failParked(SYNCED_TOKEN, error instanceof FilesystemError ? error.code : 'EIO');
    session?.retry(SETTLED_TOKEN);
    this.#runWork([SETTLED_TOKEN]);
  }

  #came(keys: readonly string[]): void {
    for (const key of keys) this.#session?.retry(key);
    this.#runWork(keys);
  }

  #lost(stripes: Stripes): void {
    const keys = this.#presence.failed(stripes);
    for (const key of keys) this.#session?.failParked(key, 'EIO');
    for (const work of this.#work.filter((candidate) => keys.includes(candidate.key ?? ''))) {
      this.#work.splice(this.#work.indexOf(work), 1);
      work.refuse(`data that is needed for it cannot be brought back from the backends`);
    }
  }

  /** Runs work now, or when the data it needs has come. */
  #do(work: Omit<Work, 'tries' | 'key'>): void {
    const queued: Work = { ...work, tries: 0, key: undefined };
    this.#work.push(queued);
    this.#attempt(queued);
  }

  #runWork(keys: readonly string[]): void {
    for (const work of [...this.#work]) if (keys.includes(work.key ?? '')) this.#attempt(work);
  }

  #attempt(work: Work): void {
    // What it waited for may be told of once more while it runs.
    work.key = undefined;
    try {
      work.run();
    } catch (error) {
      work.tries += 1;
      let reason = error;
      try {
        work.key = work.tries < WORK_TRIES_MAX ? this.#deferral(error) : undefined;
      } catch (refusal) {
        reason = refusal;
      }
      if (work.key !== undefined) return;
      this.#work.splice(this.#work.indexOf(work), 1);
      work.refuse(messageOf(reason));
      return;
    }
    this.#work.splice(this.#work.indexOf(work), 1);
  }

  #syncPoint(message: Extract<ToFilesystem, { kind: 'sync-point' }>): void {
    const { id, stagingDirectory, suspects, giveBack } = message;
    const volume = this.#volume as Volume;
    const state = this.#state as SyncState;
    const gauges = this.#gauges;
    const refuse = (reason: string) => {
      gauges[GAUGES.changedByPrograms] = 1;
      this.#send({ kind: 'refused', id, message: reason });
    };
    this.#do({
      run: () => {
        const namespaces: SyncedNamespace[] = [];
        volume.settle(makeState(), (error) => {
          this.#measure();
          if (error === undefined) this.#send({ kind: 'synced', id, namespaces });
          else refuse(messageOf(error));
        });

        function* makeState(): SyncSteps {
          yield* volume.checkpointSteps();
          yield* volume.emptySteps();
          gauges[GAUGES.changedByPrograms] = 0;
          yield* state.makeSteps(stagingDirectory, suspects, namespaces, giveBack);
        }
      },
      refuse,
    });
  }

  #relocate(id: number, file: number): void {
    const volume = this.#volume as Volume;
    const data = (this.#engine as Engine).namespace(NAMESPACES.data) as Namespace;
    let movedBytes = 0;
    let tries = 0;
    const { segmentBytes, stripeBytes } = this.#input;
    const triesMax = FILE_TRIES_MORE + TRIES_PER_STRIPE * Math.ceil(segmentBytes / stripeBytes);
    const refuse = (message: string) => this.#send({ kind: 'refused', id, message });
    this.#do({
      run: () => {
        // All of it has to be here at once: when it never is, there is no room for it.
        if (++tries > triesMax) throw new Error('it cannot be brought here');
        const moved = (bytes: number) => {
          movedBytes += bytes;
        };
        volume.settle(data.relocateSteps(file, moved), (error) => {
          this.#measure();
          if (error === undefined) this.#send({ kind: 'relocated', id, movedBytes });
          else refuse(messageOf(error));
        });
      },
      refuse,
    });
  }

  #stop(): void {
    this.#do({
      run: () => {
        this.#syncing.finish();
        this.#volume?.checkpoint();
        this.#close(true, '');
      },
      // The journal keeps what the checkpoint could not write.
      refuse: (message) => this.#close(false, message),
    });
  }

  #close(clean: boolean, message: string): void {
    try {
      if (clean) this.#volume?.close();
      this.#engine?.close();
      this.#send({ kind: 'ended', clean, message });
    } catch (error) {
      this.#send({ kind: 'ended', clean: false, message: messageOf(error) });
    }
    this.#syncing.close();
    this.#port.close();
  }

  #rotated(name: string, file: number): void {
    const closed = this.#state?.rotated(name, file);
    if (!closed) return;
    this.#kept.closed(closed.sizeBytes);
    this.#send({ kind: 'rotated', namespace: closed.namespace, file, sizeBytes: closed.sizeBytes });
  }

  /** Runs between any two requests of a program that waits for each: it must cost next to nothing. */
  #measure(): void {
    const gauges = this.#gauges;
    gauges[GAUGES.activeBytes] = this.#state?.activeBytes ?? 0;
    gauges[GAUGES.dirty] = this.#state?.changed || (this.#volume?.journalBytes ?? 0) > 0 ? 1 : 0;
    gauges[GAUGES.writtenBytes] = this.#pace.writtenBytes;
    gauges[GAUGES.requests] = this.#session?.requestCount ?? 0;
    gauges[GAUGES.parked] = this.#session?.parkedCount ?? 0;
    gauges[GAUGES.volumeBytes] = this.#volume?.usedBytes ?? 0;
  }

  #fatal(error: unknown): void {
    this.#send({
      kind: 'fatal',
      message: error instanceof FilesystemError ? error.message : messageOf(error),
    });
    this.#syncing.close();
    this.#port.close();
  }

  #log(level: 'info' | 'warning' | 'error', message: string): void {
    this.#send({ kind: 'log', level, message });
  }

  #send(message: FromFilesystem): void {
    this.#port.send(message);
  }
}

/** Bytes of a file; undefined when they cannot be read. */
function copyOf(path: string, offset: number, lengthBytes: number): Uint8Array | undefined {
  const bytes = new Uint8Array(lengthBytes);
  try {
    const file = realDisk.open(path, 'read');
    try {
      return file.read(bytes, offset) === lengthBytes ? bytes : undefined;
    } finally {
      file.close();
    }
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return undefined;
  }
}

const { input, port, peer } = threadInput();
const server = new Server(input as FilesystemInput, port, peer as Port);
port.onMessage((message) => server.handle(message as ToFilesystem));
server.start();
