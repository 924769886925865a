// The command line of `zdbfs`: one table of options, from which the help is made too.

/** What the command line asks for. Sizes in bytes; 0: the disk's, or the default. */
export interface CommandLine {
  readonly action: 'mount' | 'verify' | 'help' | 'version';
  readonly directory: string;
  readonly mountPoint: string;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly sizeBytes: number;
  readonly cacheBytes: number;
  readonly segmentBytes: number;
  readonly source: string;
  readonly readOnly: boolean;
  readonly writeback: boolean;
  readonly allowOther: boolean | undefined;
  readonly allowSetId: boolean;
  readonly allowDevices: boolean;
  readonly noExecute: boolean;
  readonly createMountPoint: boolean;
}

/** The command line cannot be understood; the message says which word and what to write instead. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

interface MountOption {
  readonly name: string;
  readonly argument?: string;
  readonly help: string;
}

const MOUNT_OPTIONS: readonly MountOption[] = [
  { name: 'size', argument: 'SIZE', help: 'what files may hold together (default: whatever the disk has)' },
  { name: 'cache', argument: 'SIZE', help: 'memory for directories and inodes (default 128MiB)' },
  {
    name: 'segment',
    argument: 'SIZE',
    help: 'size of one data file, 1MiB to 2GiB (default 256MiB, less on small disks)',
  },
  {
    name: 'writeback',
    help: 'let the kernel collect small writes; they then reach us at close or fsync. Holes are not told of',
  },
  { name: 'ro', help: 'mount read-only' },
  { name: 'rw', help: 'mount for reading and writing (default)' },
  { name: 'allow_other', help: 'let other users in (default when root mounts)' },
  { name: 'private', help: 'let nobody else in, even when root mounts' },
  { name: 'suid', help: 'set-user-id programs on the mount work as such (root only)' },
  { name: 'dev', help: 'device nodes on the mount work as such (root only)' },
  { name: 'noexec', help: 'programs on the mount cannot be run' },
  { name: 'mkdir', help: 'make the mount point when it is missing' },
  { name: 'fsname', argument: 'NAME', help: 'what the table of mounts shows as the source (default zdbfs)' },
];

/** Accepted because every mount command passes them on; they are the default or mean nothing here. */
const IGNORED_OPTIONS = new Set(['default_permissions', 'nosuid', 'nodev', 'exec', 'noatime', 'relatime']);

const UNITS: Readonly<Record<string, number>> = { '': 0, b: 0, k: 1, m: 2, g: 3, t: 4, p: 5 };

/** Bytes of `64MiB`, `10G`, `4096`. */
function parseSize(text: string, name: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmgtp]?)(?:i?b)?$/i.exec(text.trim());
  const power = UNITS[(match?.[2] ?? '').toLowerCase()];
  const bytes = match && power !== undefined ? Math.floor(Number(match[1]) * 1024 ** power) : Number.NaN;
  if (!Number.isSafeInteger(bytes))
    throw new UsageError(`${name}: "${text}" is no size; write one like 64MiB or 10GiB`);
  return bytes;
}

/** The text of `--help`. */
export function usage(): string {
  const width = Math.max(
    ...MOUNT_OPTIONS.map((option) => option.name.length + (option.argument?.length ?? -1) + 1),
  );
  const options = MOUNT_OPTIONS.map((option) => {
    const word = option.argument ? `${option.name}=${option.argument}` : option.name;
    return `  ${word.padEnd(width)}  ${option.help}`;
  });
  return `zdbfs: a POSIX filesystem over local zdb files

  zdbfs --dir DIR [-o OPTION,…] MOUNTPOINT   mount, and stay in the foreground
  zdbfs --dir DIR --verify [--json]          check the volume, without mounting or changing it
  zdbfs --help | --version

DIR holds the volume and is made when it is missing: DIR/data and DIR/index are ordinary zdb directories.
Ctrl-C (or SIGTERM, or umount MOUNTPOINT) ends the mount when everything is stored. What was fsynced survives a
crash at any moment; the next mount repairs the rest by itself.

  --dir DIR     where the volume is
  -o OPTION,…   see below; may be given several times
  --quiet, -q   say nothing but warnings and errors
  --json        with --verify: report as JSON
  --verify      walk the whole volume and report what is wrong with it

Options behind -o:
${options.join('\n')}

Example:
  mkdir -p /tmp/files && zdbfs --dir ~/volume /tmp/files

Exit codes: 0 in order, 1 refused or the volume has problems, 2 the command line is wrong, 70 internal error.
`;
}

interface Draft {
  directory: string;
  mountPoints: string[];
  json: boolean;
  quiet: boolean;
  verify: boolean;
  chosen: Map<string, string>;
}

function chooseMountOption(chosen: Map<string, string>, word: string): void {
  const cut = word.indexOf('=');
  const name = cut < 0 ? word : word.slice(0, cut);
  if (IGNORED_OPTIONS.has(name)) return;
  const option = MOUNT_OPTIONS.find((candidate) => candidate.name === name);
  if (!option) throw new UsageError(`-o ${name} is not known; zdbfs --help lists the options`);
  if (option.argument && cut < 0)
    throw new UsageError(`-o ${name} needs a value: -o ${name}=${option.argument}`);
  if (!option.argument && cut >= 0) throw new UsageError(`-o ${name} takes no value`);
  chosen.set(name, cut < 0 ? '' : word.slice(cut + 1));
}

function readWords(words: readonly string[]): Draft | 'help' | 'version' {
  const draft: Draft = {
    directory: '',
    mountPoints: [],
    json: false,
    quiet: false,
    verify: false,
    chosen: new Map(),
  };
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    const value = (name: string): string => {
      if (word.startsWith(`${name}=`)) return word.slice(name.length + 1);
      const next = words[++at];
      if (next === undefined) throw new UsageError(`${name} needs a value; see zdbfs --help`);
      return next;
    };
    if (word === '--help' || word === '-h') return 'help';
    if (word === '--version' || word === '-V') return 'version';
    if (word === '--dir' || word.startsWith('--dir=')) draft.directory = value('--dir');
    else if (word === '-o') for (const part of value('-o').split(',')) chooseMountOption(draft.chosen, part);
    else if (word.startsWith('-o') && word.length > 2)
      for (const part of word.slice(2).split(',')) chooseMountOption(draft.chosen, part);
    else if (word === '--json') draft.json = true;
    else if (word === '--quiet' || word === '-q') draft.quiet = true;
    else if (word === '--verify') draft.verify = true;
    else if (word === '-f' || word === '-s') continue;
    else if (word.startsWith('-') && word !== '-')
      throw new UsageError(`${word} is not known; see zdbfs --help`);
    else draft.mountPoints.push(word);
  }
  return draft;
}

/** @throws UsageError */
export function parseCommandLine(words: readonly string[]): CommandLine {
  // A mount point of that name comes with other words.
  const asksForHelp = words.length === 0 || (words.length === 1 && words[0] === 'help');
  const draft = asksForHelp ? 'help' : readWords(words);
  const given = typeof draft === 'string' ? undefined : draft;
  const chosen = given?.chosen ?? new Map<string, string>();
  const size = (name: string) => (chosen.has(name) ? parseSize(chosen.get(name) ?? '', `-o ${name}`) : 0);
  const line: CommandLine = {
    action: typeof draft === 'string' ? draft : draft.verify ? 'verify' : 'mount',
    directory: given?.directory ?? '',
    mountPoint: given?.mountPoints[0] ?? '',
    json: given?.json ?? false,
    quiet: given?.quiet ?? false,
    sizeBytes: size('size'),
    cacheBytes: size('cache'),
    segmentBytes: size('segment'),
    source: chosen.get('fsname') ?? 'zdbfs',
    readOnly: chosen.has('ro') && !chosen.has('rw'),
    writeback: chosen.has('writeback'),
    allowOther: chosen.has('private') ? false : chosen.has('allow_other') ? true : undefined,
    allowSetId: chosen.has('suid'),
    allowDevices: chosen.has('dev'),
    noExecute: chosen.has('noexec'),
    createMountPoint: chosen.has('mkdir'),
  };
  if (line.action === 'help' || line.action === 'version' || !given) return line;
  if (line.directory === '') throw new UsageError('--dir DIR is missing: where the volume is, or shall be');
  if (line.action === 'verify' && given.mountPoints.length > 0)
    throw new UsageError('--verify takes no mount point');
  if (line.action === 'mount' && given.mountPoints.length !== 1)
    throw new UsageError(
      given.mountPoints.length === 0 ? 'the mount point is missing' : 'there is more than one mount point',
    );
  if (line.segmentBytes !== 0 && (line.segmentBytes < 2 ** 20 || line.segmentBytes > 2 ** 31))
    throw new UsageError('-o segment must be between 1MiB and 2GiB');
  return line;
}
