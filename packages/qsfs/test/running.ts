// A qsfs of its own for a test: real processes, a real mount, everything below one temporary folder, nothing left behind.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { StatusReport } from '../src/status.ts';

const PROGRAM = join(import.meta.dirname, '../src/main.ts');
const COMMAND_TIMEOUT_MS = 90_000;

/** What a command ended with. */
export interface Ended {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** Runs a command of qsfs to its end. */
export function qsfs(...words: string[]): Ended {
  const result = spawnSync(process.execPath, [PROGRAM, ...words], {
    encoding: 'utf8',
    timeout: COMMAND_TIMEOUT_MS,
    maxBuffer: 64 * 2 ** 20,
  });
  return { code: result.status ?? 128, output: result.stdout, errors: result.stderr };
}

/** One state folder, its mount, and the commands on it. */
export class Running {
  readonly scratch: string;
  readonly directory: string;
  readonly mountPoint: string;

  constructor(scratch: string, name = 'state') {
    this.scratch = scratch;
    this.directory = join(scratch, name);
    this.mountPoint = join(scratch, `${name}-mnt`);
  }

  get frontend(): string {
    return join(this.directory, 'frontend');
  }

  get config(): string {
    return join(this.directory, 'qsfs.toml');
  }

  run(...words: string[]): Ended {
    return qsfs(...words, '--dir', this.directory);
  }

  /** Runs a command that must succeed. */
  must(...words: string[]): string {
    const ended = this.run(...words);
    if (ended.code !== 0) {
      throw new Error(`qsfs ${words.join(' ')} ended with ${ended.code}: ${ended.errors}\n${this.log()}`);
    }
    return ended.output;
  }

  up(...words: string[]): void {
    this.must('up', '--mount', this.mountPoint, '--detach', ...words);
  }

  status(): StatusReport {
    return JSON.parse(this.must('status', '--json')) as StatusReport;
  }

  /** Ends the process at once, as a crash would: its mount stays and is dead. */
  kill(mountPoint = this.mountPoint): void {
    const { pid } = this.status();
    process.kill(pid, 'SIGKILL');
    const isDead = () =>
      /not connected/.test(spawnSync('stat', ['-f', mountPoint], { encoding: 'utf8' }).stderr);
    waitFor(() => !existsSync(`/proc/${pid}/cwd`) && isDead(), 'the end of the killed process');
  }

  log(): string {
    const path = join(this.frontend, 'log');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  /** Ends whatever still runs. */
  clean(): void {
    if (existsSync(join(this.frontend, 'control.sock')) || mounted(this.mountPoint)) this.run('down');
    if (mounted(this.mountPoint)) spawnSync('umount', ['-l', this.mountPoint]);
    if (!existsSync(this.config)) return;
    const backends = join(this.directory, 'backends');
    if (!existsSync(backends)) return;
    for (const name of readdirSync(backends)) {
      const path = join(backends, name, 'pid');
      if (existsSync(path)) this.run('backend', 'stop', name);
    }
  }
}

/** A temporary folder with state folders in it; all is stopped and removed after the test. @param last runs before the removal */
export function scratchFor(
  context: TestContext,
  last: (scratch: string) => void = () => {},
): (name?: string) => Running {
  const scratch = mkdtempSync(join(tmpdir(), 'qsfs-test-'));
  const made: Running[] = [];
  context.after(() => {
    for (const running of made.reverse()) running.clean();
    last(scratch);
    rmSync(scratch, { recursive: true, force: true });
  });
  return (name) => {
    const running = new Running(scratch, name);
    made.push(running);
    return running;
  };
}

/** Whether something is mounted at a path. */
export function mounted(path: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${path} `);
}

/** Processes that have something to do with a folder: named in their command line, or their working directory is in it. */
export function processesOf(folder: string): string[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
      const place = readlinkSync(`/proc/${name}/cwd`);
      return command.includes(folder) || `${place}/`.startsWith(`${folder}/`) ? [`${name}: ${command}`] : [];
    } catch {
      return [];
    }
  });
}

/** Waits until something holds; only its own time limit makes it fail. */
export function waitFor(holds: () => boolean, what: string, limitMs = 30_000): void {
  const end = Date.now() + limitMs;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`in vain waited for ${what}`);
    execFileSync('sleep', ['0.05']);
  }
}
