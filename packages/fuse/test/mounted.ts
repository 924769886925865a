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

  constructor() {
    assert.ok(
      existsSync('/dev/fuse'),
      'these tests need /dev/fuse: load the kernel module ("modprobe fuse"), or give the container --device /dev/fuse --cap-add SYS_ADMIN',
    );
    mkdirSync(this.mountPoint);
    chmodSync(this.folder, 0o755);
    chmodSync(this.mountPoint, 0o777);
  }

  get isMounted(): boolean {
    return readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${this.mountPoint} `);
  }

  /** Removes everything, but nothing that is still mounted. */
  clear(): void {
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

  constructor(settings: ServeSettings) {
    const program = fileURLToPath(new URL('./serve.ts', import.meta.url));
    this.process = spawn(process.execPath, [program, JSON.stringify(settings)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const { stdout } = this.process;
    assert.ok(stdout);
    createInterface({ input: stdout }).on('line', (line) => {
      this.messages.push(JSON.parse(line) as Message);
      this.#arrived();
    });
    this.ended = new Promise((resolve) => this.process.once('close', () => resolve()));
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
export async function serve(settings: ServeSettings): Promise<Server> {
  const server = new Server(settings);
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
