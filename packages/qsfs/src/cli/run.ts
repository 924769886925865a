// From the words of the command line to a command, and from whatever it throws to one clear message and an exit code.
import type { Context } from '../context.ts';
import { QsfsError } from '../errors.ts';
import { asKnownError } from '../known-errors.ts';
import { parseWords } from './arguments.ts';
import { VERBS } from './verbs.ts';

/** Runs one command. @returns the exit code */
export async function runCommand(context: Context, words: readonly string[]): Promise<number> {
  const [first = 'help', ...rest] = words;
  const given = ['--version', '-V'].includes(first) ? 'version' : first;
  const wantsHelp =
    ['--help', '-h', '-help'].includes(given) || rest.includes('--help') || rest.includes('-h');
  const name = wantsHelp ? 'help' : given;
  const parameters = wantsHelp ? (given.startsWith('-') ? [] : [given]) : rest;
  const verb = VERBS.find((candidate) => candidate.grammar.verb === name);
  try {
    if (!verb) throw new QsfsError('QSFS_E_USAGE', `there is no command "${name}"`);
    return await verb.run(context, parseWords(verb.grammar, parameters));
  } catch (thrown) {
    const error = asKnownError(thrown);
    if (rest.includes('--json')) {
      const { code, message, hint } = error;
      context.print(JSON.stringify({ error: { code, message, hint } }));
    }
    context.warn(`qsfs: ${error.message}`);
    context.warn(`      ${error.hint} (${error.code})`);
    return error.exitCode;
  }
}
