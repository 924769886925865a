// Child processes and signals of the machine.
import { spawn, spawnSync } from 'node:child_process';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { loadLibc } from '../libc.ts';
import type { Child, ChildOptions, ChildResult, Processes } from '../processes.ts';
import { realClock } from './clock.ts';
import { inheritingOnly } from './inheritance.ts';

/** So much of what a child writes is kept, the end of it. */
const OUTPUT_MAX_BYTES = 16 * 2 ** 20;
/** A child that has ended may have left its output to a grandchild that goes on: we do not wait for that one. */
const OUTPUT_GRACE_MS = 1000;

/** Collects a stream's text, bounded. */
function collect(stream: Readable | null): () => string {
  const chunks: Buffer[] = [];
  let length = 0;
  stream?.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    length += chunk.length;
    while (length - chunks[0]!.length >= OUTPUT_MAX_BYTES) length -= chunks.shift()!.length;
  });
  return () => Buffer.concat(chunks).subarray(-OUTPUT_MAX_BYTES).toString('utf8');
}

function exitCodeOf(code: number | null, signal: NodeJS.Signals | null): number {
  return signal ? 128 + constants.signals[signal] : (code ?? 1);
}

function spawnOptions(options: ChildOptions) {
  return {
    stdio: inheritingOnly(options.streams ?? ['ignore', 'pipe', 'pipe'], loadLibc()),
    env: options.environment ? { ...process.env, ...options.environment } : process.env,
    detached: options.detached ?? false,
    ...(options.workingDirectory === undefined ? {} : { cwd: options.workingDirectory }),
  };
}

/** What pthread_sigmask(2) is to do. */
const SIG_UNBLOCK = 1;
const SIGNAL_SET_BYTES = 128;

/**
 * Lets a signal come that is blocked. SIGUSR1 is, from the start on, where Node runs with `--disable-sigusr1`: one that was sent
 * before anybody listened comes now. Where koffi does not load it stays blocked.
 */
function letThrough(signal: number): void {
  const set = new Uint8Array(SIGNAL_SET_BYTES);
  // Both architectures are little-endian: bit 0 is signal 1.
  set[(signal - 1) >> 3] = 1 << ((signal - 1) & 7);
  loadLibc()?.pthreadSignalMask(SIG_UNBLOCK, set, null);
}

/** The machine's processes. */
export const realProcesses: Processes = {
  pid: process.pid,
  userId: process.getuid?.() ?? 0,
  groupId: process.getgid?.() ?? 0,
  nodePath: process.execPath,
  nodeFlags: process.execArgv,

  start(command, parameters, options = {}): Child {
    const child = spawn(command, parameters, spawnOptions(options));
    const output = collect(child.stdout);
    const errors = collect(child.stderr);
    const ended = new Promise<ChildResult>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        const finish = (): void => {
          grace.cancel();
          child.stdout?.destroy();
          child.stderr?.destroy();
          resolve({ exitCode: exitCodeOf(code, signal), output: output(), errors: errors() });
        };
        const grace = realClock.after(OUTPUT_GRACE_MS, finish);
        child.once('close', finish);
      });
    });
    ended.catch(() => {});
    if (options.detached) {
      // It outlives us: neither it nor what it may still say keeps us from ending.
      child.unref();
      for (const stream of [child.stdout, child.stderr]) (stream as Socket | null)?.unref();
    }
    return { pid: child.pid ?? -1, ended, signal: (name) => void child.kill(name) };
  },

  run(command, parameters, options = {}): ChildResult {
    const result = spawnSync(command, parameters, {
      ...spawnOptions(options),
      encoding: 'utf8',
      maxBuffer: OUTPUT_MAX_BYTES,
    });
    if (result.error) throw result.error;
    return {
      exitCode: exitCodeOf(result.status, result.signal),
      output: result.stdout ?? '',
      errors: result.stderr ?? '',
    };
  },

  alive(pid) {
    try {
      process.kill(pid, 0);
      return true;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'EPERM';
    }
  },

  signal(pid, name) {
    process.kill(pid, name);
  },

  onSignal(name, call) {
    process.on(name, call);
    if (name === 'SIGUSR1') letThrough(constants.signals.SIGUSR1);
    return () => void process.off(name, call);
  },
};
