// Starts the test server (serve.ts) and talks to it. The mount is used from this process, never from the server's.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { SessionStatistics } from '../src/index.ts';
import type { ServeSettings } from './serve.ts';

/** Nobody waits longer than this for something that ought to happen at once. */
const PATIENCE_MS = 30_000;

/** Everything started here, so that a failing test leaves neither processes nor mounts. */
const servers = new Set<ChildProcess>();
const places = new Set<Place>();

/** The last hook of every test file: clears away what failed tests left. */
export function clearLeftovers(): void {
  for (const server of servers) server.kill('SIGKILL');
  for (const place of places) place.clear();
}

/** What the server says. */
export type Message = Readonly<Record<string, unknown>>;

/** The session's statistics and some of the filesystem's. */
export interface ServedStatistics extends SessionStatistics {
  readonly inodes: number;
  readonly references: number;
  readonly syncs: number;
  readonly idleCalls: number;
}

/** A folder of our own with a mount point in it. */
export class Place {
  readonly folder = mkdtempSync(join(tmpdir(), 'qsfs-fuse-'));
  readonly mountPoint = join(this.folder, 'mnt');
  /** For a namespace to mount its own things on. */
  readonly privateFolder = join(this.folder, 'private');

  constructor() {
    assert.ok(
      existsSync('/dev/fuse'),
      'these tests need /dev/fuse: load the kernel module ("modprobe fuse"), or give the container --device /dev/fuse --cap-add SYS_ADMIN',
    );
    places.add(this);
    mkdirSync(this.mountPoint);
    mkdirSync(this.privateFolder);
    chmodSync(this.folder, 0o755);
    chmodSync(this.mountPoint, 0o777);
  }

  /** In the namespace of this process, or of another one. */
  isMountedFor(process: number | 'self'): boolean {
    return readFileSync(`/proc/${process}/mountinfo`, 'utf8').includes(` ${this.mountPoint} `);
  }

  /** How many mounts lie on each other here. */
  get mountCount(): number {
    return readFileSync('/proc/self/mountinfo', 'utf8').split(` ${this.mountPoint} `).length - 1;
  }

  get isMounted(): boolean {
    return this.isMountedFor('self');
  }

  /** Removes everything, but nothing that is still mounted. */
  clear(): void {
    if (!places.delete(this)) return;
    for (let turn = 0; turn < 5 && this.isMounted; turn++) {
      spawnSync('umount', ['-l', this.mountPoint]);
      spawnSync('fusermount3', ['-u', '-z', this.mountPoint]);
    }
    assert.ok(!this.isMounted, `${this.mountPoint} is still mounted`);
    rmSync(this.folder, { recursive: true });
  }
}

/** A running server. */
export class Server {
  readonly process: ChildProcess;
  readonly messages: Message[] = [];
  readonly ended: Promise<void>;
  #arrived: () => void = () => {};

  /** @param prefix command in front of the server's own (it must become the server by exec) */
  constructor(settings: ServeSettings, prefix: readonly string[] = []) {
    const program = fileURLToPath(new URL('./serve.ts', import.meta.url));
    const [command, ...parameters] = [...prefix, process.execPath, program, JSON.stringify(settings)];
    this.process = spawn(command as string, parameters, { stdio: ['pipe', 'pipe', 'inherit'] });
    servers.add(this.process);
    const { stdout } = this.process;
    assert.ok(stdout);
    createInterface({ input: stdout }).on('line', (line) => {
      this.messages.push(JSON.parse(line) as Message);
      this.#arrived();
    });
    this.ended = new Promise((resolve) => {
      this.process.once('close', () => {
        servers.delete(this.process);
        resolve();
      });
    });
  }

  /** The next message that has this key, taken out. */
  async message(key: string): Promise<Message> {
    const deadline = AbortSignal.timeout(PATIENCE_MS);
    for (;;) {
      const at = this.messages.findIndex((message) => key in message);
      if (at >= 0) return this.messages.splice(at, 1)[0] as Message;
      await new Promise<void>((resolve, reject) => {
        this.#arrived = resolve;
        const said = JSON.stringify(this.messages);
        deadline.addEventListener('abort', () => reject(new Error(`no "${key}" came, only ${said}`)));
        void this.ended.then(() =>
          setImmediate(reject, new Error(`the server ended without "${key}": ${said}`)),
        );
      });
    }
  }

  tell(command: Message): void {
    this.process.stdin?.write(`${JSON.stringify(command)}\n`);
  }

  async statistics(): Promise<ServedStatistics> {
    this.tell({ do: 'statistics' });
    return (await this.message('statistics'))['statistics'] as ServedStatistics;
  }

  /** Waits until so many requests are parked. */
  async parked(count: number): Promise<ServedStatistics> {
    return await eventually(
      () => this.statistics(),
      (statistics) => statistics.parkedCount === count,
    );
  }

  async unmount(): Promise<void> {
    this.tell({ do: 'unmount' });
    assert.equal((await this.message('ended'))['ended'], 'unmounted');
    await this.ended;
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.ended;
  }
}

/** Starts a server and waits until it is mounted. */
export async function serve(settings: ServeSettings, prefix: readonly string[] = []): Promise<Server> {
  const server = new Server(settings, prefix);
  await server.message('mounted');
  return server;
}

/** Asks again and again until the answer is right; fails after a long time. */
export async function eventually<Answer>(
  ask: () => Answer | Promise<Answer>,
  right: (answer: Answer) => boolean,
): Promise<Answer> {
  const deadline = AbortSignal.timeout(PATIENCE_MS);
  for (;;) {
    const answer = await ask();
    if (right(answer)) return answer;
    if (deadline.aborted) throw new Error(`still ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
