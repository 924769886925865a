// The backends that run on this machine: one `zdb` process each, in a session of its own, so that it outlives qsfs
// (and a kill -9 of it) and is found again by the next command. State is in the folder of the backend alone: `pid`
// while it runs, `log`, `data/`, `index/` and the socket. There is nothing to keep in step with a running qsfs.
import { join } from 'node:path';
import { type Child, errorCode, readWhole, replaceWhole } from '@qsfs/io';
import { ZdbClient } from '@qsfs/resp';
import { BACKEND_SOCKET, DATA_NAMESPACE, type LocalBackend, METADATA_NAMESPACE } from './configuration.ts';
import type { Context } from './context.ts';
import { messageOf, QsfsError } from './errors.ts';

const START_TIMEOUT_MS = 60_000;
/** How long a frontend that starts waits for one that runs and is silent: its process hangs, or its disk. */
const DEAF_TIMEOUT_MS = 5000;
const STOP_TIMEOUT_MS = 10_000;
const KILL_TIMEOUT_MS = 2000;
const POLL_MS = 25;
const NICENESS = '5';
/**
 * Of a disk that is filling up shards leave so much to records, but of a small disk not more than one part in so many. A volume on the same
 * disk leaves twice as much (zdbfs, transactions.ts), so that what shards take last does not stop its checkpoints.
 */
const SPARE_BYTES = 32 * 2 ** 20;
const SPARE_SHARE = 32;
/** Size of a backend's data file, but not more than one part in so many of its disk. */
const DATA_FILE_BYTES = 256 * 2 ** 20;
const SMALLEST_DATA_FILE_BYTES = 8 * 2 ** 20;
const DATA_FILE_SHARE = 128;
/** How long one question may take: while a backend starts (many start at once), and to say what state it is in. */
const START_QUESTION_MS = 10_000;
const STATE_QUESTION_MS = 1000;
/** What is shown of a log when a backend does not start. */
const LOG_TAIL_BYTES = 600;

/** State of a local backend as its process shows it. `deaf`: the process lives and does not answer. */
export type LocalState = 'running' | 'stopped' | 'deaf';

/** The namespaces of a backend, with the modes zstor needs. */
const NAMESPACES = [
  { name: DATA_NAMESPACE, mode: 'seq' },
  { name: METADATA_NAMESPACE, mode: 'user' },
] as const;

/** Starts, stops and empties local backends. */
export class LocalBackends {
  readonly backends: readonly LocalBackend[];
  /** Names of those that were started here and began empty. */
  readonly begunEmpty = new Set<string>();
  readonly #context: Context;

  constructor(context: Context, backends: readonly LocalBackend[]) {
    this.#context = context;
    this.backends = backends;
  }

  /** @throws QsfsError QSFS_E_LOCAL_BACKEND that lists the names there are */
  find(name: string): LocalBackend {
    const found = this.backends.find((backend) => backend.name === name);
    if (found) return found;
    const names = this.backends.map((backend) => backend.name).join(', ');
    throw new QsfsError(
      'QSFS_E_LOCAL_BACKEND',
      `there is no local backend "${name}"`,
      names === '' ? 'This configuration has no local backends.' : `The local backends are: ${names}.`,
    );
  }

  async state(backend: LocalBackend): Promise<LocalState> {
    if (this.#pid(backend) === undefined) return 'stopped';
    return (await this.#silence(backend, STATE_QUESTION_MS)) === undefined ? 'running' : 'deaf';
  }

  /**
   * Starts a backend and waits until it serves; fine when it runs already.
   * @returns false when it ran already
   * @throws QsfsError QSFS_E_LOCAL_BACKEND with the end of its log
   */
  start(backend: LocalBackend): Promise<boolean> {
    return this.#start(backend, START_TIMEOUT_MS, () => {});
  }

  /** @param deafMs how long one that runs already may be silent @param spawned called when its process was made, before it serves */
  async #start(backend: LocalBackend, deafMs: number, spawned: () => void): Promise<boolean> {
    const { clock } = this.#context;
    if (this.#pid(backend) !== undefined) {
      await this.#untilServing(backend, deafMs, undefined);
      return false;
    }
    let child: Child;
    try {
      child = this.#spawn(backend);
      spawned();
    } catch (error) {
      throw new QsfsError(
        'QSFS_E_LOCAL_BACKEND',
        `backend ${backend.name} cannot be started: ${messageOf(error)}`,
      );
    }
    let ended = false;
    const done = () => {
      ended = true;
    };
    child.ended.then(done, done);
    // A process that ends at once must not leave its number behind.
    await clock.sleep(0);
    await this.#untilServing(backend, START_TIMEOUT_MS, () => ended);
    return true;
  }

  /**
   * Starts all that do not run, side by side. Those that do not serve are lost ones like any others: whether enough are left is
   * for the store to say.
   * @param started called with the name of each for which a process was made
   * @returns what is wrong with each that does not serve, when all others are through
   * @throws the first failure when none serves
   */
  async startAll(started: (name: string) => void = () => {}): Promise<readonly unknown[]> {
    const starts = this.backends.map((backend) =>
      this.#start(backend, DEAF_TIMEOUT_MS, () => started(backend.name)),
    );
    const results = await Promise.allSettled(starts);
    const failures = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason as unknown] : [],
    );
    if (failures.length > 0 && failures.length === results.length) throw failures[0];
    return failures;
  }

  /** Ends a backend in order, or by force when it does not; fine when it does not run. @returns false in that case */
  async stop(backend: LocalBackend): Promise<boolean> {
    const pid = this.#pid(backend);
    if (pid === undefined) return false;
    const { processes } = this.#context;
    for (const [signal, timeoutMs] of [
      ['SIGTERM', STOP_TIMEOUT_MS],
      ['SIGKILL', KILL_TIMEOUT_MS],
    ] as const) {
      try {
        processes.signal(pid, signal);
      } catch {
        // It ended between the look and the signal.
      }
      if (await this.#until(() => this.#pid(backend) !== pid, timeoutMs)) {
        this.#forget(backend);
        return true;
      }
    }
    throw new QsfsError('QSFS_E_LOCAL_BACKEND', `backend ${backend.name} (process ${pid}) does not end`);
  }

  /** Ends all, or those whose names are chosen. */
  async stopAll(chosen: (name: string) => boolean = () => true): Promise<void> {
    const wanted = this.backends.filter((backend) => chosen(backend.name));
    await Promise.all(wanted.map((backend) => this.stop(backend)));
  }

  /** Empties a backend, as if its disk had been replaced; it runs afterwards if it ran before. */
  async wipe(backend: LocalBackend): Promise<void> {
    const ran = await this.stop(backend);
    const { disk } = this.#context;
    disk.removeTree(join(backend.directory, 'data'));
    disk.removeTree(join(backend.directory, 'index'));
    if (ran) await this.start(backend);
  }

  #spawn(backend: LocalBackend): Child {
    const { disk, processes } = this.#context;
    disk.makeDirectory(backend.directory);
    const logPath = join(backend.directory, 'log');
    if (disk.stat(logPath)) disk.rename(logPath, `${logPath}.1`);
    const socket = join(backend.directory, BACKEND_SOCKET);
    // What a killed process left behind would refuse the new one.
    if (disk.stat(socket)) disk.remove(socket);
    const log = disk.open(logPath, 'create');
    try {
      // Relative paths: the socket's must be short, and the working directory identifies the process (see #pid).
      const command = [
        processes.nodePath,
        // No debugger, whatever signal comes while it starts.
        '--disable-sigusr1',
        zdbProgram(),
        '--data',
        'data',
        '--index',
        'index',
        '--socket',
        BACKEND_SOCKET,
        // What a backend has answered must survive a loss of power: the local copy may be dropped then.
        '--sync',
        // Records, which a frontend needs to start, have room even when shards have filled the disk.
        '--spare',
        `${this.#spareBytes(backend)}`,
        '--datasize',
        `${this.#dataFileBytes(backend)}`,
        // What is deleted makes room.
        '--punch',
      ];
      // They give way to programs that use the mount: on this machine both want the same processors.
      const child = processes.start('nice', ['-n', NICENESS, ...command], {
        workingDirectory: backend.directory,
        detached: true,
        streams: ['ignore', log.descriptor, log.descriptor],
      });
      replaceWhole(disk, join(backend.directory, 'pid'), Buffer.from(`${child.pid}\n`));
      return child;
    } finally {
      log.close();
    }
  }

  /** Left to records on a disk that shards fill. */
  #spareBytes(backend: LocalBackend): number {
    return Math.min(SPARE_BYTES, Math.floor(this.#diskBytes(backend) / SPARE_SHARE));
  }

  /** Size of a data file: only those that are not written any more give all of their room back. */
  #dataFileBytes(backend: LocalBackend): number {
    const share = Math.floor(this.#diskBytes(backend) / DATA_FILE_SHARE);
    return Math.min(DATA_FILE_BYTES, Math.max(SMALLEST_DATA_FILE_BYTES, share));
  }

  #diskBytes(backend: LocalBackend): number {
    return this.#context.disk.space(backend.directory).totalBytes;
  }

  async #untilServing(
    backend: LocalBackend,
    timeoutMs: number,
    ended: (() => boolean) | undefined,
  ): Promise<void> {
    let silence: string | undefined = '';
    const look = async () => {
      silence = await this.#silence(backend, Math.min(timeoutMs, START_QUESTION_MS));
      return silence === undefined || (ended?.() ?? false);
    };
    await this.#until(look, timeoutMs);
    if (silence === undefined) {
      await this.#prepareNamespaces(backend);
      return;
    }
    if (ended?.()) this.#forget(backend);
    const verdict = ended?.()
      ? `ended at once${this.#lastWords(backend)}`
      : `does not answer within ${timeoutMs / 1000} s: ${silence}`;
    const emptied = `"qsfs backend wipe ${backend.name}" and "qsfs backend start ${backend.name}" make an empty one of it`;
    throw new QsfsError(
      'QSFS_E_LOCAL_BACKEND',
      `backend ${backend.name} ${verdict}`,
      `Look at ${join(backend.directory, 'log')}. If its files are damaged, ${emptied}, which is filled from the others.`,
    );
  }

  async #until(look: () => boolean | Promise<boolean>, timeoutMs: number): Promise<boolean> {
    const { clock } = this.#context;
    const end = clock.monotonicMs() + timeoutMs;
    while (!(await look())) {
      if (clock.monotonicMs() >= end) return false;
      await clock.sleep(POLL_MS);
    }
    return true;
  }

  /** Why it does not answer; undefined when it does. */
  async #silence(backend: LocalBackend, timeoutMs: number): Promise<string | undefined> {
    try {
      await this.#withClient(backend, timeoutMs, (client) => client.ping());
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }

  async #prepareNamespaces(backend: LocalBackend): Promise<void> {
    await this.#withClient(backend, START_QUESTION_MS, async (client) => {
      for (const { name, mode } of NAMESPACES) {
        const info = await client.namespaceInfo(name);
        if (!info) {
          this.begunEmpty.add(backend.name);
          await client.createNamespace(name);
        }
        // A start that was cut short may have left a fresh namespace without its mode.
        const right = info?.get('mode') === (mode === 'seq' ? 'sequential' : 'userkey');
        if (!right) await client.configureNamespace(name, { mode });
      }
    });
  }

  async #withClient<Result>(
    backend: LocalBackend,
    timeoutMs: number,
    act: (client: ZdbClient) => Promise<Result>,
  ): Promise<Result> {
    const { network, clock } = this.#context;
    const client = await ZdbClient.connect(network, clock, {
      address: { path: join(backend.directory, BACKEND_SOCKET) },
      connectTimeoutMs: timeoutMs,
      commandTimeoutMs: timeoutMs,
    });
    try {
      return await act(client);
    } finally {
      client.close();
    }
  }

  /** The process that serves the backend, or undefined. The number may be used by somebody else by now: the folder tells. */
  #pid(backend: LocalBackend): number | undefined {
    const { disk, processes } = this.#context;
    try {
      const content = readWhole(disk, join(backend.directory, 'pid'));
      const pid = content ? Number.parseInt(Buffer.from(content).toString('latin1'), 10) : Number.NaN;
      if (!Number.isInteger(pid) || !processes.alive(pid)) return undefined;
      return disk.resolve(`/proc/${pid}/cwd`) === disk.resolve(backend.directory) ? pid : undefined;
    } catch (error) {
      // EACCES: a process of another user, so not ours.
      if (errorCode(error) === undefined) throw error;
      return undefined;
    }
  }

  #forget(backend: LocalBackend): void {
    const { disk } = this.#context;
    const path = join(backend.directory, 'pid');
    try {
      if (disk.stat(path)) disk.remove(path);
    } catch (error) {
      // On a disk that can only be read it stays, and is nobody's number (see #pid).
      if (errorCode(error) === undefined) throw error;
    }
  }

  #lastWords(backend: LocalBackend): string {
    try {
      const content = readWhole(this.#context.disk, join(backend.directory, 'log')) ?? new Uint8Array(0);
      const text = Buffer.from(content.subarray(-LOG_TAIL_BYTES)).toString('utf8');
      const line = text.trimEnd().split('\n').at(-1) ?? '';
      return line === '' ? '' : `: ${line}`;
    } catch {
      return '';
    }
  }
}

/** Module of the zdb program, in the checkout (.ts) or in a built package (.js). */
function zdbProgram(): string {
  const index = new URL(import.meta.resolve('@qsfs/zdb'));
  return decodeURIComponent(index.pathname.replace(/index\.(ts|js)$/, 'main.$1'));
}
