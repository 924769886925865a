// Child processes and signals of the machine.
import { spawn, spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import type { Child, ChildOptions, ChildResult, Processes } from '../processes.ts';

function exitCodeOf(code: number | null, signal: NodeJS.Signals | null): number {
  return signal ? 128 + constants.signals[signal] : (code ?? 1);
}

function spawnOptions(options: ChildOptions) {
  return {
    stdio: [...(options.streams ?? ['ignore', 'pipe', 'pipe'])],
    env: options.environment ? { ...process.env, ...options.environment } : process.env,
    detached: options.detached ?? false,
    ...(options.workingDirectory === undefined ? {} : { cwd: options.workingDirectory }),
  };
}

/** The machine's processes. */
export const realProcesses: Processes = {
  pid: process.pid,
  userId: process.getuid?.() ?? 0,
  groupId: process.getgid?.() ?? 0,
  nodePath: process.execPath,

  start(command, parameters, options = {}): Child {
    const child = spawn(command, parameters, spawnOptions(options));
    let output = '';
    let errors = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    const ended = new Promise<ChildResult>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve({ exitCode: exitCodeOf(code, signal), output, errors }));
    });
    ended.catch(() => {});
    if (options.detached) child.unref();
    return { pid: child.pid ?? -1, ended, signal: (name) => void child.kill(name) };
  },

  run(command, parameters, options = {}): ChildResult {
    const result = spawnSync(command, parameters, { ...spawnOptions(options), encoding: 'utf8' });
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
    return () => void process.off(name, call);
  },
};
