// Starts a frontend in the background: the same program again, in a session of its own, whose log is DIR/frontend/log. This
// process waits until the other one is mounted, or passes on why it is not.

import type { Context } from '../context.ts';
import { callControl } from '../control.ts';
import type { Pong } from '../control-service.ts';
import { messageOf, QsfsError } from '../errors.ts';
import type { Layout } from '../layout.ts';
import { hiddenText } from '../mounting.ts';
import { describeReadOnly } from '../read-only.ts';
import { shellWord } from '../shell-word.ts';
import type { OptionRow } from './arguments.ts';

/** Tells the child that it is one. Not for people. */
export const INTERNAL_OPTION: OptionRow = { name: 'in-background', help: 'used by --detach', hidden: true };

const POLL_MS = 50;
const START_TIMEOUT_MS = 300_000;

/** What the child is to do. */
export interface DetachOptions {
  readonly layout: Layout;
  readonly mount: string | undefined;
  readonly config: string | undefined;
  readonly cacheBytes: number | undefined;
  readonly readOnly: boolean;
  readonly json: boolean;
  /** Print nothing on success. */
  readonly quiet?: boolean;
}

/** Starts it. @returns the exit code: 0 when mounted, else the child's, whose message was printed */
export async function detach(context: Context, options: DetachOptions): Promise<number> {
  const { clock, processes, network } = context;
  const { layout } = options;
  const words = ['up', '--dir', layout.root, `--${INTERNAL_OPTION.name}`];
  if (options.mount !== undefined) words.push('--mount', options.mount);
  if (options.config !== undefined) words.push('--config', options.config);
  if (options.cacheBytes !== undefined) words.push('--cache-size', `${options.cacheBytes}`);
  if (options.readOnly) words.push('--read-only');
  const json = options.json && !options.quiet;
  if (json) words.push('--json');
  // As bin/qsfs starts it: also while it loads no signal opens a debugger's port.
  const child = processes.start(processes.nodePath, ['--disable-sigusr1', context.program, ...words], {
    detached: true,
    // With --json the child tells there why it did not mount, and nothing else.
    streams: ['ignore', json ? 'pipe' : 'ignore', 'pipe'],
    workingDirectory: context.workingDirectory,
  });
  let ended: { exitCode: number; output: string; errors: string } | undefined;
  child.ended.then(
    (result) => {
      ended = result;
    },
    (error: unknown) => {
      ended = { exitCode: 1, output: '', errors: messageOf(error) };
    },
  );
  const end = clock.monotonicMs() + START_TIMEOUT_MS;
  while (clock.monotonicMs() < end) {
    if (ended) {
      if (ended.output !== '') context.print(ended.output.trimEnd());
      for (const line of ended.errors.trimEnd().split('\n')) context.warn(line);
      return ended.exitCode || 1;
    }
    const answer = await callControl(
      network,
      { path: layout.controlSocket },
      { verb: 'ping', parameters: {} },
    ).catch(() => undefined);
    const {
      mountPoint,
      pid,
      hiddenCount = 0,
      warnings = [],
      readOnly = null,
    } = (answer ?? {}) as Partial<Pong>;
    // Somebody else may be serving the folder; then the child ends with a message of its own.
    if (mountPoint !== undefined && pid === child.pid) {
      for (const warning of warnings) context.warn(`warning: ${warning}`);
      if (readOnly) context.warn(`warning: ${describeReadOnly(readOnly)}`);
      if (hiddenCount > 0) context.warn(`warning: ${hiddenText({ hiddenCount, mountPoint })}`);
      if (json) context.print(JSON.stringify({ mountPoint, pid, directory: layout.root, readOnly }));
      else if (!options.quiet) {
        context.print(
          `mounted at ${mountPoint} (process ${pid}); stop with "qsfs down --dir ${shellWord(layout.root)}"`,
        );
      }
      return 0;
    }
    await clock.sleep(POLL_MS);
  }
  throw new QsfsError(
    'QSFS_E_INCOMPLETE',
    `qsfs was started (process ${child.pid}) but is not mounted after ${START_TIMEOUT_MS / 1000} s`,
    `Look at ${layout.log}.`,
  );
}
