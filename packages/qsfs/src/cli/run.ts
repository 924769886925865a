// From the words of the command line to a command, and from whatever it throws to one clear message and an exit code.
import { errorCode } from '@qsfs/io';
import type { Context } from '../context.ts';
import { ERROR_KINDS, messageOf, QsfsError } from '../errors.ts';
import { asBackendsError } from '../opening.ts';
import { parseWords } from './arguments.ts';
import { VERBS } from './verbs.ts';

/** Runs one command. @returns the exit code */
export async function runCommand(context: Context, words: readonly string[]): Promise<number> {
  const [given = 'help', ...rest] = words;
  const wantsHelp =
    ['--help', '-h', '-help'].includes(given) || rest.includes('--help') || rest.includes('-h');
  const name = wantsHelp ? 'help' : given;
  const parameters = wantsHelp ? (given.startsWith('-') ? [] : [given]) : rest;
  const verb = VERBS.find((candidate) => candidate.grammar.verb === name);
  try {
    if (!verb) throw new QsfsError('QSFS_E_USAGE', `there is no command "${name}"`);
    return await verb.run(context, parseWords(verb.grammar, parameters));
  } catch (thrown) {
    const error = asQsfsError(asBackendsError(thrown));
    if (rest.includes('--json')) {
      const { code, message, hint } = error;
      context.print(JSON.stringify({ error: { code, message, hint } }));
    }
    context.warn(`qsfs: ${error.message}`);
    context.warn(`      ${error.hint} (${error.code})`);
    return error.exitCode;
  }
}

/** Anything thrown as an error of the registry. */
function asQsfsError(thrown: unknown): QsfsError {
  if (thrown instanceof QsfsError) return thrown;
  const code = errorCode(thrown);
  if (code !== undefined) return new QsfsError('QSFS_E_DISK', messageOf(thrown));
  return new QsfsError('QSFS_E_INTERNAL', messageOf(thrown), ERROR_KINDS.QSFS_E_INTERNAL.hint);
}
