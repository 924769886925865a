// Command line words against a table of options. The same table prints the help, so both always agree.
import { QsfsError } from '../errors.ts';

/** One option of a command. Without `value` it is a switch. */
export interface OptionRow {
  readonly name: string;
  /** Name of the value in the help, for instance DIR. */
  readonly value?: string;
  readonly help: string;
  /** The command does nothing without it. */
  readonly required?: boolean;
  /** Not for people: the help does not show it. */
  readonly hidden?: boolean;
}

/** What a command accepts. */
export interface Grammar {
  readonly verb: string;
  readonly options: readonly OptionRow[];
  /** Names of the positional words, in order; all are needed unless in brackets. */
  readonly positionals: readonly string[];
}

/** The parsed words. */
export interface Words {
  readonly positionals: readonly string[];
  /** The value of an option, or undefined. */
  value(name: string): string | undefined;
  /** Whether a switch was given. */
  has(name: string): boolean;
}

/**
 * Parses the words behind the verb. `--name value`, `--name=value`; `--` ends the options.
 * @throws QsfsError QSFS_E_USAGE
 */
export function parseWords(grammar: Grammar, words: readonly string[]): Words {
  const usage = (problem: string) =>
    new QsfsError('QSFS_E_USAGE', problem, `Type "qsfs help ${grammar.verb}" for what it accepts.`);
  const values = new Map<string, string>();
  const positionals: string[] = [];
  let optionsEnded = false;
  for (let place = 0; place < words.length; place += 1) {
    const word = words[place] as string;
    if (optionsEnded || !word.startsWith('-') || word === '-') {
      positionals.push(word);
      continue;
    }
    if (word === '--') {
      optionsEnded = true;
      continue;
    }
    const [name = '', ...rest] = word.replace(/^--?/, '').split('=');
    const row = grammar.options.find((option) => option.name === name);
    if (!row) throw usage(`"qsfs ${grammar.verb}" has no option ${word.split('=')[0]}`);
    if (values.has(name)) throw usage(`--${name} is given twice`);
    if (row.value === undefined) {
      if (rest.length > 0) throw usage(`--${name} takes no value`);
      values.set(name, '');
      continue;
    }
    const value = rest.length > 0 ? rest.join('=') : words[(place += 1)];
    if (value === undefined || value === '') throw usage(`--${name} needs a value (${row.value})`);
    values.set(name, value);
  }
  const needed = grammar.positionals.filter((name) => !name.startsWith('['));
  if (positionals.length < needed.length) {
    throw usage(`"qsfs ${grammar.verb}" needs ${needed.slice(positionals.length).join(' and ')}`);
  }
  if (positionals.length > grammar.positionals.length) {
    throw usage(
      `"qsfs ${grammar.verb}" does not know what to do with "${positionals[grammar.positionals.length]}"`,
    );
  }
  const missing = grammar.options.filter((row) => row.required === true && !values.has(row.name));
  if (missing.length > 0) {
    throw usage(`"qsfs ${grammar.verb}" needs ${missing.map(optionText).join(' and ')}`);
  }
  return { positionals, value: (name) => values.get(name), has: (name) => values.has(name) };
}

/** The options that the help shows. */
export function shownOptions(grammar: Grammar): OptionRow[] {
  return grammar.options.filter((row) => row.hidden !== true);
}

/** `up [--dir DIR] [--mount M]`, for the help. */
export function usageLine(grammar: Grammar): string {
  const options = shownOptions(grammar).map((row) =>
    row.required === true ? optionText(row) : `[${optionText(row)}]`,
  );
  return [grammar.verb, ...grammar.positionals, ...options].join(' ');
}

/** `--dir DIR`. */
function optionText({ name, value }: OptionRow): string {
  return value === undefined ? `--${name}` : `--${name} ${value}`;
}
