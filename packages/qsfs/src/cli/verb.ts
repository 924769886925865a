// A command of qsfs: what it accepts, what it says about itself, and how it runs. Each is in a file of its own; the table is
// in verbs.ts.
import { resolve } from 'node:path';
import { SMALLEST_CACHE_BYTES } from '../configuration.ts';
import type { Context } from '../context.ts';
import { callControl } from '../control.ts';
import { isServed, notRunning } from '../crash.ts';
import { QsfsError } from '../errors.ts';
import { type Layout, layoutOf } from '../layout.ts';
import { formatExactSize, parseSize } from '../quantities.ts';
import type { Grammar, OptionRow, Words } from './arguments.ts';

/** A command. */
export interface Verb {
  readonly grammar: Grammar;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What a user has to know, in paragraphs. */
  readonly details: readonly string[];
  readonly examples: readonly string[];
  /** @returns the exit code @throws QsfsError */
  run(context: Context, words: Words): Promise<number>;
}

/** Where the state is when nobody says. */
const DEFAULT_DIRECTORY = '.qsfs';

export const DIRECTORY_OPTION: OptionRow = {
  name: 'dir',
  value: 'DIR',
  help: 'state folder (default ./.qsfs)',
};
export const JSON_OPTION: OptionRow = { name: 'json', help: 'print JSON' };

export const READ_ONLY_OPTION: OptionRow = {
  name: 'read-only',
  help: 'only look: change nothing on the backends, whoever has them',
};

export const CACHE_SIZE_OPTION: OptionRow = {
  name: 'cache-size',
  value: 'S',
  help: 'limit of the local cache, as 512MiB or 20GiB',
};

/** Bytes of --cache-size; undefined when it was not given. @throws QsfsError QSFS_E_USAGE */
export function cacheBytesOf(words: Words): number | undefined {
  const text = words.value(CACHE_SIZE_OPTION.name);
  if (text === undefined) return undefined;
  const bytes = parseSize(text, '--cache-size');
  if (bytes >= SMALLEST_CACHE_BYTES) return bytes;
  throw new QsfsError(
    'QSFS_E_USAGE',
    `--cache-size ${text} is too small`,
    `Give at least ${formatExactSize(SMALLEST_CACHE_BYTES)}.`,
  );
}

/** The state folder a command works on. */
export function layoutFor(context: Context, words: Words): Layout {
  return layoutOf(resolve(context.workingDirectory, words.value('dir') ?? DEFAULT_DIRECTORY));
}

/** Asks the process that serves the state folder. @throws QsfsError QSFS_E_NOT_RUNNING, what it answers */
export async function ask(
  context: Context,
  layout: Layout,
  verb: string,
  parameters: Readonly<Record<string, unknown>> = {},
  progress?: (line: unknown) => void,
): Promise<unknown> {
  const address = { path: layout.controlSocket };
  try {
    return await callControl(context.network, address, { verb, parameters }, progress);
  } catch (error) {
    const isGone = error instanceof QsfsError && error.code === 'QSFS_E_NOT_RUNNING';
    if (isGone && !isServed(context, layout)) throw notRunning(context, layout);
    throw error;
  }
}

/** Prints a report as JSON when that was asked for, else as lines. */
export function report(context: Context, words: Words, value: unknown, lines: () => readonly string[]): void {
  if (words.has('json')) context.print(JSON.stringify(value, undefined, 2));
  else for (const line of lines()) context.print(line);
}
