// Real zdb servers on unix sockets in a temporary folder, as processes of their own that can be frozen and killed.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../zdb/src/main.ts', import.meta.url));
const START_TIMEOUT_MS = 20_000;

/** One server; with a mode, that of its namespace `default`, otherwise namespaces have their own. */
export class ZdbServer {
  readonly folder: string;
  readonly socket: string;
  readonly #mode: 'seq' | 'user' | undefined;
  #process: ChildProcess | undefined;

  constructor(folder: string, mode?: 'seq' | 'user') {
    this.folder = folder;
    this.socket = join(folder, 'socket');
    this.#mode = mode;
    mkdirSync(folder, { recursive: true });
  }

  async start(): Promise<void> {
    const words = [PROGRAM, '--data', join(this.folder, 'data'), '--index', join(this.folder, 'index')];
    const mode = this.#mode === undefined ? [] : ['--mode', this.#mode];
    this.#process = spawn(process.execPath, [...words, '--socket', this.socket, ...mode], {
      stdio: 'ignore',
    });
    const started = Date.now();
    while (!(await answers(this.socket))) {
      if (this.#process.exitCode !== null)
        throw new Error(`zdb ended with exit code ${this.#process.exitCode}`);
      if (Date.now() - started > START_TIMEOUT_MS) throw new Error(`zdb does not answer on ${this.socket}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** SIGKILL, and waits for the end. */
  async kill(): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (!running || running.exitCode !== null || running.signalCode !== null) return;
    const ended = new Promise((resolve) => running.once('exit', resolve));
    running.kill('SIGCONT');
    running.kill('SIGKILL');
    await ended;
  }

  freeze(): void {
    this.#process?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process?.kill('SIGCONT');
  }

  /** Kills it, and starts it again on an empty disk. */
  async wipe(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
    mkdirSync(this.folder, { recursive: true });
    await this.start();
  }
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const client = connect(socket, () => client.write('*1\r\n$4\r\nPING\r\n'));
    client.once('data', () => {
      client.destroy();
      resolve(true);
    });
    client.once('error', () => resolve(false));
  });
}
