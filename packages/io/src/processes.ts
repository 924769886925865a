// Child processes, signals and the standard streams.

/** What a child inherits for one of its descriptors. */
export type ChildStream = 'ignore' | 'inherit' | 'pipe' | number;

/** How to start a child. Nothing but `streams` is inherited, of what this process inherited itself either. */
export interface ChildOptions {
  readonly streams?: readonly ChildStream[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  /** Its own session: it outlives us and does not get our terminal's signals. */
  readonly detached?: boolean;
}

/**
 * A finished child: its exit code (128 + number when a signal ended it) and what it wrote, where piped: of very much the
 * last 16 MiB.
 */
export interface ChildResult {
  readonly exitCode: number;
  readonly output: string;
  readonly errors: string;
}

/** A child process. */
export interface Child {
  /** -1 when it could not be started. */
  readonly pid: number;
  /** Rejects with an errno `code` (ENOENT, EACCES, EMFILE, …) when it could not be started. */
  readonly ended: Promise<ChildResult>;
  /** Does nothing when it has ended. */
  signal(name: 'SIGTERM' | 'SIGKILL' | 'SIGINT' | 'SIGHUP'): void;
}

/** Starts and signals processes. */
export interface Processes {
  readonly pid: number;
  readonly userId: number;
  readonly groupId: number;
  /** Path of the Node binary this process runs on, and the flags that were given to Node itself. */
  readonly nodePath: string;
  readonly nodeFlags: readonly string[];
  /** Starts a program; see `Child.ended` for what goes wrong. */
  start(command: string, parameters: readonly string[], options?: ChildOptions): Child;
  /** Runs to the end, blocking this thread. @throws an error with code ENOENT, EACCES, … when it cannot be started */
  run(command: string, parameters: readonly string[], options?: ChildOptions): ChildResult;
  /** True when a process with this id exists. */
  alive(pid: number): boolean;
  /** @throws ESRCH when there is no such process, EPERM */
  signal(pid: number, name: 'SIGTERM' | 'SIGKILL' | 'SIGINT' | 'SIGHUP'): void;
  /**
   * Calls on each arrival of a signal to this process; returns the undoing. A SIGUSR1 that `node --disable-sigusr1` held back
   * comes then (where koffi loads).
   */
  onSignal(
    name: 'SIGTERM' | 'SIGINT' | 'SIGHUP' | 'SIGQUIT' | 'SIGUSR1' | 'SIGUSR2',
    call: () => void,
  ): () => void;
}
