// The command line of zstor: one table of commands and options, from which parsing, help and docs/cli/zstor.md are made.
// Conventions as in the reference: `--opt value`, `--opt=value`, `-o value`, `-ovalue`; global options before or after the command.
import { nearest } from '../config/table.ts';
import { ZstorError } from '../errors.ts';

/** One option. With `argument` it takes a value. */
export interface Option {
  readonly name: string;
  readonly letter?: string;
  readonly argument?: string;
  readonly help: string;
}

/** One command. `operand` names what may stand behind it without an option. */
export interface Command {
  readonly name: string;
  readonly help: string;
  readonly options: readonly Option[];
  readonly operand?: string;
}

const FILE: Option = { name: 'file', letter: 'f', argument: 'PATH', help: 'the file' };
const JSON_OPTION: Option = { name: 'json', help: 'print JSON' };
const DEEP: Option = {
  name: 'deep',
  help: 'read and verify every shard here, instead of asking the backends to check theirs',
};

/** Options that may stand anywhere. */
export const GLOBAL_OPTIONS: readonly Option[] = [
  { name: 'config', letter: 'c', argument: 'PATH', help: 'configuration file (default zstor_config.toml)' },
  { name: 'log_file', argument: 'PATH', help: 'append messages to this file too' },
  { name: 'debug', letter: 'd', help: 'also tell what is not a problem (before the command)' },
  { name: 'quiet', letter: 'q', help: 'no progress, no warnings' },
  { name: 'help', letter: 'h', help: 'this text; after a command, more about it' },
  { name: 'version', letter: 'V', help: 'print the version' },
];

/** All commands, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  {
    name: 'store',
    help: 'store a file, or every file directly in a directory; replaces what was stored under its name',
    options: [
      FILE,
      {
        name: 'key-path',
        letter: 'k',
        argument: 'DIR',
        help: 'store it under the name DIR/<name of the file>',
      },
      { name: 'delete', letter: 'd', help: 'remove the local file when it is stored' },
      { name: 'error-on-failure', letter: 'e', help: 'of a directory: stop at the first file that fails' },
      { name: 'save-failure', letter: 's', help: 'accepted; failures are always reported' },
      {
        name: 'notblocking',
        letter: 'n',
        help: 'accepted; without a daemon storing is finished when the command ends',
      },
      JSON_OPTION,
    ],
  },
  {
    name: 'retrieve',
    help: 'write a stored file back to its place; a partly written file is never seen',
    options: [FILE, { name: 'output', letter: 'o', argument: 'PATH', help: 'write it there instead' }],
  },
  {
    name: 'check',
    help: 'print the id of the stored file (32 hex digits), nothing if it is not stored, and tell what is damaged',
    options: [FILE, DEEP, JSON_OPTION],
  },
  {
    name: 'rebuild',
    help: 'write missing and bad shards of a stored file anew, on backends that answer',
    options: [
      FILE,
      { name: 'key', letter: 'k', argument: 'NAME', help: 'the name as `list` prints it' },
      DEEP,
      JSON_OPTION,
    ],
  },
  { name: 'delete', help: 'remove a stored file from the backends; the local file stays', options: [FILE] },
  {
    name: 'list',
    help: 'print the names of stored files that begin with PREFIX',
    operand: 'PREFIX',
    options: [JSON_OPTION],
  },
  {
    name: 'repair',
    help: 'bring metadata stores up to date and rebuild every stored file that lacks shards',
    options: [JSON_OPTION],
  },
  {
    name: 'status',
    help: 'print the state of every backend and which failures are survived',
    options: [JSON_OPTION],
  },
  { name: 'test', help: 'succeed when stored files can be read and new ones stored', options: [] },
];

/** A command line that was understood. */
export interface Arguments {
  readonly command: string;
  readonly values: ReadonlyMap<string, string>;
  readonly flags: ReadonlySet<string>;
  readonly operand: string | undefined;
}

/** @throws ZstorError QSFS_E_USAGE that says what to type instead */
export function parseArguments(words: readonly string[]): Arguments {
  const values = new Map<string, string>();
  const flags = new Set<string>();
  let command: Command | undefined;
  let operand: string | undefined;
  // `help COMMAND` is `COMMAND --help`.
  const queue = words[0] === 'help' ? [...words.slice(1), '--help'] : [...words];
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    if (!word.startsWith('-') || word === '-') {
      if (!command) command = findCommand(word);
      else if (command.operand && operand === undefined) operand = word;
      else
        throw usage(
          `"${word}" is not expected here${command.options.includes(FILE) ? `; did you mean --file ${word}?` : ''}`,
        );
      continue;
    }
    const { option, value } = findOption(word, command);
    if (option.argument === undefined) {
      if (value !== undefined && word.startsWith('--')) throw usage(`--${option.name} takes no value`);
      flags.add(option.name);
      // Letters may be joined: -sd is -s -d.
      if (value !== undefined) queue.unshift(`-${value}`);
      continue;
    }
    const given = value ?? queue.shift();
    if (given === undefined || given === '') throw usage(`--${option.name} needs ${option.argument}`);
    values.set(option.name, given);
  }
  return { command: command?.name ?? '', values, flags, operand };
}

function findCommand(word: string): Command {
  const command = COMMANDS.find(({ name }) => name === word);
  if (command) return command;
  if (word === 'monitor') throw usage('this version has no daemon; every command does its work itself');
  const near = nearest(
    word,
    COMMANDS.map(({ name }) => name),
  );
  throw usage(`there is no command "${word}"${near ? `; did you mean "${near}"?` : ''}`);
}

/** Options of the command come first: `-d` is `--delete` behind `store` and `--debug` before it. */
function findOption(
  word: string,
  command: Command | undefined,
): { option: Option; value: string | undefined } {
  const options = [...(command?.options ?? []), ...GLOBAL_OPTIONS];
  if (word.startsWith('--')) {
    const cut = word.indexOf('=');
    const name = cut < 0 ? word.slice(2) : word.slice(2, cut);
    const option = options.find((candidate) => candidate.name === name);
    if (option) return { option, value: cut < 0 ? undefined : word.slice(cut + 1) };
    const near = nearest(
      name,
      options.map((candidate) => candidate.name),
    );
    throw usage(
      `${command ? `"${command.name}" has` : 'there is'} no option --${name}${near ? `; did you mean --${near}?` : ''}`,
    );
  }
  const option = options.find(({ letter }) => letter === word[1]);
  if (!option) throw usage(`${command ? `"${command.name}" has` : 'there is'} no option -${word[1]}`);
  const rest = word.slice(word[2] === '=' ? 3 : 2);
  return { option, value: rest === '' ? undefined : rest };
}

function usage(problem: string): ZstorError {
  return new ZstorError('QSFS_E_USAGE', problem, 'zstor --help shows all commands');
}

/** The text of --help, for all or for one command. */
export function helpText(commandName: string): string {
  const command = COMMANDS.find(({ name }) => name === commandName);
  if (command) {
    return [
      `zstor ${command.name}: ${command.help}`,
      '',
      `Usage: zstor [-c CONFIG] ${command.name}${command.operand ? ` [${command.operand}]` : ''} [options]`,
      '',
      ...optionLines(command.options),
      '',
    ].join('\n');
  }
  return [
    'zstor stores files compressed, encrypted and erasure-coded over many backends nobody has to trust.',
    '',
    'Usage: zstor [-c CONFIG] COMMAND [options]',
    '',
    'Commands:',
    ...COMMANDS.map(({ name, help }) => `  ${name.padEnd(10)} ${help}`),
    '',
    'Options:',
    ...optionLines(GLOBAL_OPTIONS),
    '',
    'Exit codes: 0 done; 2 usage; 3 configuration; 4 not stored; 5 not possible now, try again; 6 damaged beyond repair;',
    '7 local file; 8 impossible request; 9 given up; 1 anything else.',
    '',
    'Try: zstor -c zstor.toml status',
    '     zstor -c zstor.toml store -f FILE && rm FILE && zstor -c zstor.toml retrieve -f FILE',
    '',
  ].join('\n');
}

function optionLines(options: readonly Option[]): string[] {
  return options.map(({ name, letter, argument, help }) => {
    const long = `--${name}${argument ? ` ${argument}` : ''}`;
    return `  ${letter ? `-${letter}, ` : '    '}${long.padEnd(18)} ${help}`;
  });
}
