// The life of the program `zdb`: files, sockets, hooks, signals, exit codes (specification sections 1, 6.1 and 7).
import { type Address, errorCode, formatAddress, readWhole } from '@qsfs/io';
import { OPEN_FILES_MAX } from '../engine/log/open-files.ts';
import { type Engine, openEngine, StoreError } from '../index.ts';
import { Report, runInBackground } from './background.ts';
import { EpollLoop } from './epoll.ts';
import { Hooks } from './hooks.ts';
import { Log } from './log.ts';
import type { Machine } from './machine.ts';
import { type CommandLine, parseCommandLine, UsageError, usage } from './options.ts';
import { Server } from './server.ts';
import { MAX_SOCKET_PATH_BYTES } from './socket-address.ts';
import type { SocketLoop } from './sockets.ts';
import { StreamLoop } from './stream-sockets.ts';

/** Memory for cached index slots, per sequential namespace: with a hundred million entries the process stays below 100 MiB. */
const INDEX_CACHE_BYTES = 4 << 20;

/** Exit codes; ends by signal are 128 + the signal's number. */
export const EXIT = {
  ok: 0,
  refused: 1,
  internal: 70,
  interrupted: 130,
  terminated: 143,
  hungUp: 129,
  quit: 131,
  user1: 138,
  user2: 140,
} as const;

/** Signals that end the server in order. Without us Node would open a debugger's port on SIGUSR1; the others end the reference at once. */
const ENDING_SIGNALS = [
  ['SIGINT', EXIT.interrupted],
  ['SIGTERM', EXIT.terminated],
  ['SIGHUP', EXIT.hungUp],
  ['SIGQUIT', EXIT.quit],
  ['SIGUSR1', EXIT.user1],
  ['SIGUSR2', EXIT.user2],
] as const;

/** How long a look for another server on our unix socket may take. */
const PROBE_MS = 500;
/** Descriptors that clients cannot use up: files are then opened and closed one after the other, hooks can be run. */
const RESERVED_DESCRIPTORS = 16;
const BANNER = [
  'zdb 0.1.0, the key-value store of QSFS',
  'data format 3, index format 4',
  'speaks the protocol of 0-db 2.0',
];

/**
 * Runs the server as its command line says, until it is told to stop.
 * @returns the exit code
 */
export async function runProgram(words: readonly string[], machine: Machine): Promise<number> {
  let line: CommandLine;
  try {
    line = parseCommandLine(words);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    machine.errors(`zdb: ${error.message}\n`);
    return EXIT.refused;
  }
  if (line.action === 'help') {
    machine.output(`${BANNER.join('\n')}\n\n${usage()}`);
    return EXIT.refused; // as the reference
  }
  if (line.action === 'version') {
    machine.output(`${BANNER.join('\n')}\n`);
    return EXIT.ok;
  }
  const report = line.reportTo === undefined ? undefined : await Report.open(machine, line.reportTo);
  const write = (text: string) => {
    machine.output(text);
    report?.line(text);
  };
  const log = new Log(machine.clock, write, line.verbose);
  try {
    if (line.background && line.action === 'serve' && report === undefined) {
      return await runInBackground(words, line, machine);
    }
    return await new Program(line, machine, log, () => report?.ready()).run();
  } catch (error) {
    const message = refusal(error);
    if (message === undefined) throw error;
    log.line('error', message);
    return EXIT.refused;
  }
}

/** The message for errors that are the operator's to solve. */
function refusal(error: unknown): string | undefined {
  if (error instanceof StoreError || error instanceof UsageError) return error.message;
  if (errorCode(error) !== undefined) return (error as Error).message;
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? (error as Error).message : undefined;
}

/** One run. */
class Program {
  readonly #line: CommandLine;
  readonly #machine: Machine;
  readonly #log: Log;
  readonly #ready: () => void;
  #hooks: Hooks | undefined;
  #server: Server | undefined;
  #crashed = false;

  /** @param ready called when the server serves */
  constructor(line: CommandLine, machine: Machine, log: Log, ready: () => void) {
    this.#line = line;
    this.#machine = machine;
    this.#log = log;
    this.#ready = ready;
  }

  async run(): Promise<number> {
    const line = this.#line;
    const { processes, clock } = this.#machine;
    for (const notice of line.notices) this.#log.line('warning', notice);
    const hosts = this.#tcpHosts();
    if (line.hook !== undefined) {
      this.#hooks = new Hooks(line.hook, this.#instance(hosts), processes, clock, this.#log);
    }
    await this.#checkAddresses(hosts);
    this.#prepareDirectories();
    await this.#hooks?.run('namespaces-init', [line.indexDirectory, line.dataDirectory]);
    // The hook "ready" would stop us, after all files are loaded.
    if (line.action === 'serve' && this.#hooks?.executable === false)
      throw new UsageError(`--hook ${line.hook} cannot be executed: give the path of a program`);
    const engine = this.#openEngine();
    // Loading has looked into many files; one that is still open now takes a descriptor from a client.
    for (let sweep = 0; sweep < 2; sweep++) engine.closeIdleFiles();
    let addresses: readonly Address[] = [];
    try {
      if (line.action === 'dump') {
        this.#dump(engine);
        this.#announceClosing(engine);
        return EXIT.ok;
      }
      const server = this.#makeServer(engine);
      this.#server = server;
      addresses = await this.#listen(server, hosts);
      if ((await this.#hooks?.run('ready')) ?? 0) {
        this.#log.line('error', 'the hook "ready" did not succeed: stopping');
        this.#announceClosing(engine);
        return EXIT.refused;
      }
      const code = this.#untilStopped(server);
      server.start();
      const names = addresses.map(formatAddress).join(' and ');
      this.#log.line('info', `ready on ${names}, ${server.loop.kind} loop`);
      this.#ready();
      return await code;
    } finally {
      // After a crash nothing in memory is to be trusted: what was acknowledged is in the files.
      if (!this.#crashed) {
        await this.#server?.close();
        engine.close();
      }
      for (const address of addresses) {
        if ('path' in address && this.#machine.disk.stat(address.path))
          this.#machine.disk.remove(address.path);
      }
    }
  }

  /** A server that could not listen leaves nothing behind. @throws UsageError */
  async #checkAddresses(hosts: readonly string[] | undefined): Promise<void> {
    const { action, socket, listen } = this.#line;
    if (action !== 'serve') return;
    if (socket !== undefined) this.#checkSocket(socket);
    if (hosts === undefined) return;
    this.#portNumber();
    if (listen !== undefined) await this.#resolve(listen);
  }

  /** Makes both roots and sees that no other server works on them, before a hook touches anything there. */
  #prepareDirectories(): void {
    const { disk } = this.#machine;
    const { dataDirectory, indexDirectory } = this.#line;
    for (const directory of [dataDirectory, indexDirectory]) disk.makeDirectory(directory, 0o700);
    if (this.#hooks === undefined) return;
    for (const directory of [indexDirectory, dataDirectory]) {
      const lock = disk.open(`${directory}/.lockfile`, 'create', 0o664);
      try {
        if (!lock.tryLock())
          throw new StoreError('locked-directory', `${directory} is in use by another zdb`);
      } finally {
        lock.close();
      }
    }
  }

  #openEngine(): Engine {
    const line = this.#line;
    const { disk, clock, random } = this.#machine;
    return openEngine({
      disk,
      clock,
      random,
      dataDirectory: line.dataDirectory,
      indexDirectory: line.indexDirectory,
      ...(line.mode === undefined ? {} : { mode: line.mode }),
      dataSizeBytes: line.dataSizeBytes,
      indexCacheBytes: INDEX_CACHE_BYTES,
      openFiles: this.#openFiles(),
      sync: line.sync,
      syncOnRotation: line.secure,
      events: {
        rotated: (name, closed, active) => this.#server?.rotated(name, closed, active),
        log: (level, message) => this.#log.line(level, message),
      },
    });
  }

  #makeServer(engine: Engine): Server {
    const line = this.#line;
    const { disk, clock, random } = this.#machine;
    const log = this.#log;
    const loop = this.#makeLoop();
    return new Server(
      { engine, loop, disk, clock, random, log, hooks: this.#hooks },
      {
        ...(line.admin === undefined ? {} : { adminPassword: Buffer.from(line.admin) }),
        protect: line.protect,
        syncsCommits: line.sync === 'always',
        maxSizeBytes: line.maxSizeBytes,
        rotateSeconds: line.rotateSeconds,
        syncSeconds: typeof line.sync === 'object' ? line.sync.everySeconds : 0,
        debug: line.debug,
        singleMode: line.mode !== undefined,
        maxClients: this.#maxClients(),
        compactRatio: line.compactRatio,
        spareBytes: line.spareBytes,
        givesBack: line.punch,
      },
    );
  }

  /** Descriptors this process may have; undefined: the system does not tell. */
  #descriptors(): number | undefined {
    const { disk } = this.#machine;
    if (disk.stat('/proc/self/limits') === undefined) return undefined;
    const limits = Buffer.alloc(4096); // the file tells no size
    const file = disk.open('/proc/self/limits', 'read');
    file.read(limits, 0);
    file.close();
    const open = /^Max open files +(\d+)/m.exec(limits.toString('latin1'))?.[1];
    return open === undefined ? undefined : Number(open);
  }

  /** So many files kept open that descriptors for everything else are left. */
  #openFiles(): number {
    const open = this.#descriptors() ?? Number.POSITIVE_INFINITY;
    return Math.min(OPEN_FILES_MAX, Math.max(1, Math.floor(open / 2) - RESERVED_DESCRIPTORS));
  }

  /** So many clients that descriptors for files and hooks are left when all of them are connected. */
  #maxClients(): number {
    const { maxClients } = this.#line;
    const { disk } = this.#machine;
    const open = this.#descriptors();
    if (open === undefined) return maxClients;
    const possible = Math.max(1, open - disk.list('/proc/self/fd').length - RESERVED_DESCRIPTORS);
    if (possible >= maxClients) return maxClients;
    this.#log.line(
      'warning',
      `at most ${possible} clients: only ${open} descriptors are allowed (ulimit -n), and files need some`,
    );
    return possible;
  }

  #makeLoop(): SocketLoop {
    const { network, clock } = this.#machine;
    const libc = this.#line.loop === 'node' ? undefined : this.#machine.libc();
    if (libc !== undefined) {
      return new EpollLoop(libc, clock, (message) => this.#log.line('warning', message));
    }
    if (this.#line.loop === 'epoll') {
      throw new UsageError('--loop epoll needs koffi, which has no binary for this machine; use --loop node');
    }
    return new StreamLoop(network, clock);
  }

  /** Hosts for TCP; undefined: no TCP. Without an admin password everybody is admin, so only this machine is let in by default. */
  #tcpHosts(): readonly string[] | undefined {
    const { listen, socket, dualnet, admin } = this.#line;
    if (socket !== undefined && !dualnet) return undefined;
    if (listen !== undefined) {
      if (admin === undefined && !/^(127\.|::1$|localhost$)/.test(listen)) {
        this.#log.line('warning', `listening on ${listen} without --admin: everybody who connects is admin`);
      }
      return [listen];
    }
    if (admin !== undefined) return ['::'];
    this.#log.line('info', 'no --admin password: listening on this machine only (--listen ADDR for more)');
    return ['127.0.0.1', '::1'];
  }

  /** How hooks know which server calls. */
  #instance(hosts: readonly string[] | undefined): string {
    const { socket, port } = this.#line;
    return socket === undefined ? `tcp://${hosts?.[0]}:${port}` : `unix://${socket}`;
  }

  async #listen(server: Server, hosts: readonly string[] | undefined): Promise<Address[]> {
    const addresses: Address[] = [];
    const { socket } = this.#line;
    if (socket !== undefined) {
      await this.#clearSocket(socket);
      addresses.push(await server.listen({ path: socket }));
    }
    if (hosts === undefined) return addresses;
    let port = this.#portNumber();
    for (const [position, host] of hosts.entries()) {
      try {
        const address = { host: await this.#resolve(host), port };
        const bound = await server.listen(address);
        addresses.push(bound);
        if ('port' in bound) port = bound.port;
      } catch (error) {
        // The second loopback address, or IPv6 as a whole, may be missing on this machine.
        const optional = this.#line.listen === undefined;
        if (optional && host === '::' && isMissingFamily(error)) {
          addresses.push(await server.listen({ host: '0.0.0.0', port }));
        } else if (!(optional && position > 0 && isMissingFamily(error))) {
          throw error;
        }
      }
    }
    return addresses;
  }

  /** The address that a host name stands for. @throws UsageError */
  async #resolve(host: string): Promise<string> {
    try {
      return await this.#machine.resolveHost(host);
    } catch (error) {
      throw new UsageError(`no address is known for '${host}' (${(error as Error).message})`);
    }
  }

  /** @returns whether there is a socket already @throws UsageError when there cannot be one */
  #checkSocket(path: string): boolean {
    if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
      throw new UsageError(`the socket path ${path} is too long: at most ${MAX_SOCKET_PATH_BYTES} bytes`);
    }
    const found = this.#machine.disk.stat(path);
    if (found === undefined) return false;
    if (found.kind !== 'socket') throw new UsageError(`${path} is there already and is no socket`);
    return true;
  }

  /** Removes what a dead server left at our socket's path. */
  async #clearSocket(path: string): Promise<void> {
    if (!this.#checkSocket(path)) return;
    const { disk, network } = this.#machine;
    try {
      const connection = await network.connect({ path }, PROBE_MS);
      connection.destroy();
    } catch (error) {
      // Anything else may come from a server that is busy.
      if (errorCode(error) !== 'ECONNREFUSED') throw error;
      disk.remove(path);
      return;
    }
    throw new UsageError(`another server listens on ${path}`);
  }

  #portNumber(): number {
    const { port } = this.#line;
    if (/^\d{1,5}$/.test(port) && Number(port) <= 65_535) return Number(port);
    const services = Buffer.from(readWhole(this.#machine.disk, '/etc/services') ?? []).toString('latin1');
    for (const entry of services.split('\n')) {
      const [name, number, ...aliases] = entry.replace(/#.*/, '').trim().split(/\s+/);
      if (number?.endsWith('/tcp') && (name === port || aliases.includes(port)))
        return Number.parseInt(number, 10);
    }
    throw new UsageError(`'${port}' is no TCP port: give a number up to 65535 or a name from /etc/services`);
  }

  /** Resolves with the exit code when a signal or STOP came and the `close` hook has run. */
  #untilStopped(server: Server): Promise<number> {
    const { processes } = this.#machine;
    return new Promise((resolve, reject) => {
      let stopping = false;
      let finished = false;
      const finish = (code: number) => {
        if (finished) return;
        finished = true;
        server.commit();
        this.#announceClosing(server.engine);
        resolve(code);
      };
      const stop = async (code: number, what: string) => {
        if (stopping) {
          // Told twice: the hook "close" is not waited for any longer.
          this.#log.line('warning', `${what} again: not waiting for the hook "close"`);
          finish(code);
          return;
        }
        stopping = true;
        this.#log.line('info', `${what}: stopping`);
        if (code !== EXIT.ok) await this.#hooks?.run('close');
        finish(code);
      };
      for (const [name, code] of ENDING_SIGNALS) processes.onSignal(name, () => void stop(code, name));
      void server.stopRequested.then(() => stop(EXIT.ok, 'STOP'));
      this.#machine.onFatal((error) => {
        this.#crashed = true;
        void this.#hooks?.run('crash');
        reject(error instanceof Error ? error : new Error(String(error)));
      });
    });
  }

  /** Tells a hook about each namespace's active files; nobody waits for it. */
  #announceClosing(engine: Engine): void {
    if (this.#hooks === undefined) return;
    for (const namespace of engine.namespaces()) {
      const dirty = this.#server?.slot(namespace.name)?.dirtyIndexFiles() ?? namespace.dirtyIndexFiles();
      void this.#hooks.run('namespace-closing', [
        namespace.name,
        namespace.indexPath(namespace.activeFile),
        namespace.dataPath(namespace.activeFile),
        dirty.join(' '),
      ]);
    }
  }

  #dump(engine: Engine): void {
    for (const namespace of engine.namespaces()) {
      if (namespace.mode !== 'user') continue;
      let cursor: Uint8Array | undefined;
      for (;;) {
        const batch = namespace.scan('forward', cursor);
        if (batch === undefined) break;
        for (const entry of batch.entries) {
          this.#machine.output(`${namespace.name}: ${printable(entry.key)} (${entry.lengthBytes} bytes)\n`);
        }
        cursor = batch.cursor;
      }
    }
  }
}

/** A key for people: text as it is, everything else in hexadecimal. */
function printable(key: Uint8Array): string {
  const text = Buffer.from(key).toString('latin1');
  return /^[\x21-\x7e]+$/.test(text) ? text : `0x${Buffer.from(key).toString('hex')}`;
}

function isMissingFamily(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT' || code === 'EIO';
}
