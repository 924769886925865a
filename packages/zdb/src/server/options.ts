// The command line of `zdb` (specification section 1.1): long options, with one or two dashes, as `--name value` or `--name=value`, and as
// any unambiguous prefix. Words that are no options are ignored, as by the reference, but not the first one: it is a command, and there is
// none of that name. Options of our own count only when written out.
import type { NamespaceMode, SyncPolicy } from '../engine/types.ts';

/** One option; `argument` names its value in the help. */
interface Option {
  readonly name: string;
  readonly argument?: string;
  readonly help: string;
  /** Not an option of the reference: no prefix selects it. `hidden`: for the program itself. */
  readonly own?: true | 'hidden';
}

/** All options, in the order of the help. */
export const OPTIONS: readonly Option[] = [
  { name: 'data', argument: 'DIR', help: 'root of the data files (default ./zdb-data)' },
  { name: 'index', argument: 'DIR', help: 'root of the index files (default ./zdb-index)' },
  {
    name: 'mode',
    argument: 'MODE',
    help: 'user (keys chosen by clients), seq (keys given out); default: each namespace its own',
  },
  {
    name: 'datasize',
    argument: 'SIZE',
    help: 'size of a data file that starts the next, 512k to 4294967294 (default 256M)',
  },
  {
    name: 'listen',
    argument: 'ADDR',
    help: 'TCP address (default: this machine only, or :: when --admin is given)',
  },
  { name: 'port', argument: 'PORT', help: 'TCP port (default 9900)' },
  { name: 'socket', argument: 'PATH', help: 'listen on a unix socket instead of TCP' },
  { name: 'dualnet', help: 'listen on the unix socket and on TCP' },
  { name: 'admin', argument: 'PASSWORD', help: 'admin password; without one every client is admin' },
  { name: 'protect', help: 'writing to the namespace "default" needs the admin password' },
  { name: 'maxsize', argument: 'BYTES', help: 'size limit of the namespace "default" for this run' },
  { name: 'hook', argument: 'FILE', help: 'program that is run on events' },
  { name: 'sync', help: 'answer writes only when they are on stable storage' },
  { name: 'synctime', argument: 'SECONDS', help: 'bring writes to stable storage at least so often' },
  { name: 'secure', help: 'bring files to stable storage before the next ones are started' },
  { name: 'rotate', argument: 'SECONDS', help: 'start new files after so long' },
  { name: 'background', help: 'go to the background when ready' },
  { name: 'logfile', argument: 'FILE', help: 'log file, with --background' },
  { name: 'verbose', help: 'say more' },
  { name: 'dump', help: 'print the keys of user namespaces and exit' },
  { name: 'version', help: 'print the version and exit' },
  { name: 'help', help: 'print this and exit' },
  { name: 'debug', help: 'KSCAN and STOP as in a debug build of the reference', own: true },
  { name: 'loop', argument: 'KIND', help: 'socket loop: epoll (default where possible) or node', own: true },
  { name: 'maxclients', argument: 'NUMBER', help: 'most clients at a time (default 4096)', own: true },
  {
    name: 'autocompact',
    argument: 'PERCENT',
    help: 'give files back of which at most so much is alive',
    own: true,
  },
  {
    name: 'spare',
    argument: 'SIZE',
    help: 'of a disk that fills up, leave so much to values up to 64 KiB and to deletions',
    own: true,
  },
  {
    name: 'punch',
    help: 'give back what removed values of seq namespaces took; their history is lost',
    own: true,
  },
  { name: 'report-to', argument: 'SOCKET', help: 'started by --background', own: 'hidden' },
];

/** What the command line asks for. */
export interface CommandLine {
  readonly action: 'serve' | 'dump' | 'version' | 'help';
  readonly dataDirectory: string;
  readonly indexDirectory: string;
  readonly mode: NamespaceMode | undefined;
  readonly dataSizeBytes: number;
  readonly listen: string | undefined;
  readonly port: string;
  readonly socket: string | undefined;
  readonly dualnet: boolean;
  readonly admin: string | undefined;
  readonly protect: boolean;
  readonly maxSizeBytes: number;
  readonly hook: string | undefined;
  readonly sync: SyncPolicy;
  readonly secure: boolean;
  readonly rotateSeconds: number;
  readonly background: boolean;
  readonly logFile: string | undefined;
  readonly verbose: boolean;
  readonly debug: boolean;
  readonly loop: 'epoll' | 'node' | undefined;
  readonly maxClients: number;
  /** Data files of which at most this part is alive are given back; 0: never. */
  readonly compactRatio: number;
  /** Of the disk this is left to small values; 0: nothing. */
  readonly spareBytes: number;
  readonly punch: boolean;
  /** Socket of the command that started this server in the background. */
  readonly reportTo: string | undefined;
  /** Things the operator should know although they are no errors. */
  readonly notices: readonly string[];
}

/** The command line cannot be followed; the message says why. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const SMALLEST_DATA_BYTES = 524_288;
const BEYOND_DATA_BYTES = 4_294_967_295;
const DEFAULT_DATA_BYTES = 268_435_456;
const DEFAULT_MAX_CLIENTS = 4096;

/** Reads the words behind the program's name. @throws UsageError */
export function parseCommandLine(words: readonly string[]): CommandLine {
  const [first = ''] = words;
  if (first !== '' && !first.startsWith('-'))
    throw new UsageError(`no command '${first}': ${TOOL_NAMES.join(', ')}, or options; see zdb --help`);
  const given = readOptions(words);
  const has = (name: string) => given.has(name);
  const notices: string[] = [];
  const action = has('help') ? 'help' : has('version') ? 'version' : has('dump') ? 'dump' : 'serve';
  const mode = modeOf(given.get('mode'), notices);
  const admin = given.get('admin');
  for (const name of ['data', 'index', 'listen', 'socket']) {
    if (given.get(name) === '') throw new UsageError(`--${name} must not be empty`);
  }
  if (has('protect') && admin === undefined && (action === 'serve' || action === 'dump')) {
    throw new UsageError('--protect needs an admin password: add --admin PASSWORD');
  }
  const wholeOrZero = (name: string): number => {
    const text = given.get(name);
    const whole = Number(/^\s*\+?(\d+)/.exec(text ?? '')?.[1] ?? 0);
    if (text !== undefined && String(whole) !== text)
      notices.push(`--${name} '${text}' is no whole number: taken as ${whole}`);
    return whole;
  };
  const synctime = wholeOrZero('synctime');
  return {
    action,
    dataDirectory: given.get('data') ?? './zdb-data',
    indexDirectory: given.get('index') ?? './zdb-index',
    mode,
    dataSizeBytes: has('datasize') ? parseDataSize(given.get('datasize') ?? '') : DEFAULT_DATA_BYTES,
    listen: given.get('listen'),
    port: given.get('port') ?? '9900',
    socket: given.get('socket'),
    dualnet: has('dualnet'),
    admin,
    protect: has('protect'),
    maxSizeBytes: wholeOrZero('maxsize'),
    hook: given.get('hook'),
    sync: has('sync') ? 'always' : synctime > 0 ? { everySeconds: synctime } : 'none',
    secure: has('secure'),
    rotateSeconds: wholeOrZero('rotate'),
    background: has('background'),
    logFile: given.get('logfile'),
    verbose: has('verbose'),
    debug: has('debug'),
    loop: loopOf(given.get('loop')),
    maxClients: maxClientsOf(given.get('maxclients')),
    compactRatio: percentOf(given.get('autocompact')) / 100,
    spareBytes: has('spare') ? spareOf(given.get('spare') ?? '') : 0,
    punch: has('punch'),
    reportTo: given.get('report-to'),
    notices,
  };
}

function readOptions(words: readonly string[]): Map<string, string> {
  const given = new Map<string, string>();
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === '--') break;
    if (!word.startsWith('-') || word === '-') continue;
    const body = word.replace(/^--?/, '');
    const cut = body.indexOf('=');
    const option = findOption(cut < 0 ? body : body.slice(0, cut), word);
    if (option.argument === undefined) {
      if (cut >= 0) throw new UsageError(`option '--${option.name}' doesn't allow an argument`);
      given.set(option.name, '');
      // What follows is not looked at, as by the reference.
      if (option.name === 'help' || option.name === 'version') break;
    } else if (cut >= 0) {
      given.set(option.name, body.slice(cut + 1));
    } else {
      const value = words[++i];
      if (value === undefined) throw new UsageError(`option '--${option.name}' requires an argument`);
      given.set(option.name, value);
    }
  }
  return given;
}

function findOption(name: string, word: string): Option {
  const exact = OPTIONS.find((option) => option.name === name);
  if (exact !== undefined) return exact;
  const fitting = OPTIONS.filter((option) => option.own === undefined && option.name.startsWith(name));
  if (fitting.length === 1) return fitting[0]!;
  if (fitting.length === 0) throw new UsageError(`unrecognized option '${word}'; see zdb --help`);
  const names = fitting.map((option) => `'--${option.name}'`).join(' ');
  throw new UsageError(`option '${word}' is ambiguous; possibilities: ${names}`);
}

function modeOf(text: string | undefined, notices: string[]): NamespaceMode | undefined {
  if (text === undefined) return undefined;
  if (text === 'user' || text === 'seq') return text;
  if (text === 'direct') {
    notices.push('mode "direct" is an old name of "seq": please write --mode seq');
    return 'seq';
  }
  throw new UsageError(`invalid mode '${text}': user or seq`);
}

function loopOf(text: string | undefined): 'epoll' | 'node' | undefined {
  if (text === undefined || text === 'epoll' || text === 'node') return text;
  throw new UsageError(`invalid loop '${text}': epoll or node`);
}

function maxClientsOf(text: string | undefined): number {
  if (text === undefined) return DEFAULT_MAX_CLIENTS;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new UsageError(`invalid number of clients '${text}': a whole number from 1`);
  }
  return value;
}

function percentOf(text: string | undefined): number {
  if (text === undefined) return 0;
  const value = Number(text.replace(/%$/, ''));
  if (!(value >= 0 && value <= 95))
    throw new UsageError(`invalid share '${text}': a number from 0 to 95, percent`);
  return value;
}

function spareOf(text: string): number {
  const match = /^(\d+)([kMG]?)$/.exec(text);
  if (match === null)
    throw new UsageError(`invalid spare room '${text}': a number of bytes, or with k, M or G`);
  return Number(match[1]) * { '': 1, k: 2 ** 10, M: 2 ** 20, G: 2 ** 30 }[match[2] as '' | 'k' | 'M' | 'G'];
}

/**
 * A data size: a decimal, hexadecimal or exponent number and perhaps one of k, M, G, T; what follows that is ignored.
 * @throws UsageError with the reference's texts
 */
export function parseDataSize(text: string): number {
  const number =
    /^\s*[+-]?(?:0[xX](?:[\da-fA-F]+\.?[\da-fA-F]*|\.[\da-fA-F]+)(?:[pP][+-]?\d+)?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)/.exec(
      text,
    )?.[0];
  if (number === undefined) throw new UsageError('datasize invalid');
  const unit = text[number.length];
  const scale = unit === undefined ? 1 : { k: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }[unit];
  if (scale === undefined) throw new UsageError('datasize invalid');
  const size = Math.floor(valueOfNumber(number.trim()) * scale);
  if (size >= BEYOND_DATA_BYTES) {
    throw new UsageError('datasize cannot be larger than 4294967295 bytes (4096 MB)');
  }
  if (size < SMALLEST_DATA_BYTES) {
    throw new UsageError('datasize cannot be smaller than 524288 bytes (0.5 MB)');
  }
  return size;
}

/** Value of a number as C writes it: decimal, or hexadecimal with fraction and binary exponent. */
function valueOfNumber(text: string): number {
  const [, sign, whole, fraction = '', exponent = '0'] =
    /^([+-]?)0[xX]([\da-fA-F]*)\.?([\da-fA-F]*)(?:[pP]([+-]?\d+))?$/.exec(text) ?? [];
  if (whole === undefined) return Number(text);
  const digits = Number.parseInt(`0${whole}${fraction}`, 16);
  return (sign === '-' ? -1 : 1) * digits * 2 ** (Number(exponent) - 4 * fraction.length);
}

/** Commands that are no server: `zdb check …`. */
export const TOOL_NAMES = [
  'check',
  'index-dump',
  'index-rebuild',
  'dump',
  'edit-namespace',
  'compact',
  'mirror',
];

/** The words of a command line, with `help` and `help TOOL` as `--help` and `TOOL --help`. */
export function withHelp(words: readonly string[]): readonly string[] {
  return words[0] === 'help' ? [...words.slice(1), '--help'] : words;
}

/** Whether the first word of a command line asks for a tool. */
export function isToolName(word: string | undefined): boolean {
  return word !== undefined && TOOL_NAMES.includes(word);
}

/** The help text. */
export function usage(): string {
  const lines = OPTIONS.filter(({ own }) => own !== 'hidden').map(({ name, argument, help }) => {
    const left = argument === undefined ? `--${name}` : `--${name} ${argument}`;
    return `  ${left.padEnd(22)}${help}`;
  });
  return [
    'zdb keeps records in append-only files and speaks the Redis protocol.',
    '',
    'Usage: zdb [options]              serve',
    '       zdb COMMAND [options]      work on files or another server; see zdb COMMAND --help',
    '',
    'Options:',
    ...lines,
    '',
    `Commands: ${TOOL_NAMES.join(', ')}`,
    '',
    'Try it:   zdb --data /tmp/z/data --index /tmp/z/index &',
    '          redis-cli -p 9900 set hello world',
    '',
  ].join('\n');
}
