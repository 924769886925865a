// `qsfs help`: the commands, from the same tables that parse them.
import { ERROR_KINDS, QsfsError } from '../errors.ts';
import { shownOptions, usageLine } from './arguments.ts';
import type { Verb } from './verb.ts';

/** The command that explains the others. */
export function helpFor(verbs: () => readonly Verb[]): Verb {
  return {
    grammar: { verb: 'help', positionals: ['[COMMAND]'], options: [] },
    summary: 'this list, or everything about one command',
    details: [],
    examples: ['qsfs help up'],
    run(context, words) {
      const [name] = words.positionals;
      const lines = name === undefined ? overview(verbs()) : about(verbs(), name);
      for (const line of lines) context.print(line);
      return Promise.resolve(0);
    },
  };
}

function overview(verbs: readonly Verb[]): string[] {
  const width = Math.max(...verbs.map((verb) => verb.grammar.verb.length));
  return [
    'qsfs: a filesystem whose contents live, encrypted and erasure-coded, on many backends.',
    '',
    'usage: qsfs COMMAND [OPTIONS]',
    '',
    ...verbs.map((verb) => `  ${verb.grammar.verb.padEnd(width)}  ${verb.summary}`),
    '',
    'Sizes are written as 64MiB or 2GiB. "qsfs help COMMAND" tells more. Exit codes:',
    '  0  done',
    ...exitCodes(),
  ];
}

function exitCodes(): string[] {
  const width = Math.max(...Object.keys(ERROR_KINDS).map((code) => code.length));
  return Object.entries(ERROR_KINDS).map(
    ([code, { exitCode, when }]) => `${`${exitCode}`.padStart(3)}  ${code.padEnd(width)}  ${when}`,
  );
}

function about(verbs: readonly Verb[], name: string): string[] {
  const verb = verbs.find((candidate) => candidate.grammar.verb === name);
  if (!verb) throw new QsfsError('QSFS_E_USAGE', `there is no command "${name}"`);
  const options = shownOptions(verb.grammar);
  const cells = options.map((row) => `--${row.name}${row.value === undefined ? '' : ` ${row.value}`}`);
  const width = Math.max(0, ...cells.map((cell) => cell.length));
  return [
    `usage: qsfs ${usageLine(verb.grammar)}`,
    '',
    `${verb.summary}`,
    ...(verb.details.length > 0 ? ['', ...verb.details] : []),
    ...(options.length > 0 ? ['', 'options:'] : []),
    ...options.map((row, place) => `  ${(cells[place] ?? '').padEnd(width)}  ${row.help}`),
    '',
    'examples:',
    ...verb.examples.map((example) => `  ${example}`),
  ];
}
