// Runs the program `zdb` as a child process on directories of its own, the way an operator does.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../../../bin/zdb', import.meta.url));
const READY_MS = 20_000;

/** How a run ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
  readonly errors: string;
}

/** What a run gets beside its words. */
export interface Surroundings {
  /** How many descriptors it may have open. */
  readonly descriptors?: number;
  /** A file that it is given open, as descriptor 300. */
  readonly inherits?: string;
}

/** A directory for one test's files, removed by `dispose`. */
export class Scratch {
  readonly path = mkdtempSync(join(tmpdir(), 'zdb-test-'));

  get data(): string {
    return join(this.path, 'data');
  }

  get index(): string {
    return join(this.path, 'index');
  }

  get socket(): string {
    return join(this.path, 'zdb.sock');
  }

  dispose(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** A running zdb. */
export class ZdbProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<Ending>;
  output = '';
  errors = '';

  private constructor(words: readonly string[], { descriptors, inherits }: Surroundings) {
    const command = [PROGRAM, ...words];
    const steps = [
      ...(descriptors === undefined ? [] : [`ulimit -n ${descriptors}`]),
      ...(inherits === undefined ? [] : [`exec 300>'${inherits}'`]),
    ];
    const changed = ['bash', '-c', [...steps, 'exec "$@"'].join('; '), 'bash', ...command];
    const [program, ...rest] = steps.length === 0 ? command : changed;
    this.child = spawn(program!, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.output += text;
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', (code, signal) => {
        resolve({ code, signal, output: this.output, errors: this.errors });
      });
    });
  }

  /** Runs with exactly these words; does not wait for anything. */
  static run(words: readonly string[], surroundings: Surroundings = {}): ZdbProcess {
    return new ZdbProcess(words, surroundings);
  }

  /** Starts a server on the scratch directory's unix socket and waits until it serves. */
  static async serve(scratch: Scratch, flags: readonly string[] = []): Promise<ZdbProcess> {
    const words = ['--data', scratch.data, '--index', scratch.index, '--socket', scratch.socket, ...flags];
    const started = ZdbProcess.run(words);
    await started.says('ready on');
    return started;
  }

  /** Waits until the output contains a text. */
  async says(text: string): Promise<void> {
    if (this.output.includes(text)) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no "${text}" in:\n${this.output}`)), READY_MS);
      this.child.stdout!.on('data', () => {
        if (!this.output.includes(text)) return;
        clearTimeout(timer);
        resolve();
      });
      void this.ended.then((ending) => {
        clearTimeout(timer);
        reject(
          new Error(`zdb ended (${ending.code}) before it said "${text}":\n${ending.output}${ending.errors}`),
        );
      });
    });
  }

  /** Ends it and waits until it is gone. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ending> {
    this.child.kill(signal);
    return await this.ended;
  }
}
