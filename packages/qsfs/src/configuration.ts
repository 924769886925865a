// The configuration of a volume: what zstor understands, plus our own `[qsfs]` table (docs/formats/config.md).
// Reading finds everything that can be wrong without touching anything; nothing is changed on disk by it.
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import { type Disk, errorCode, type Random, readWhole, replaceWhole } from '@qsfs/io';
import { formatConfig, isZstorError, parseConfig, type ZstorConfig } from '@qsfs/zstor';
import { QsfsError } from './errors.ts';
import { count, formatExactSize, parseDuration, parseSize } from './quantities.ts';

/** Our own settings, every default filled in. */
export interface Settings {
  /** Limit of the local copies of data files. */
  readonly cacheBytes: number;
  /** Where to mount when the command line does not say; absolute. */
  readonly mount: string | undefined;
  /** Size of a data file at which it is closed and offloaded. Fixed when the volume is made. */
  readonly segmentBytes: number;
  /** Longest time that something written stays on the frontend only, while backends are reachable. */
  readonly syncIntervalMs: number;
  /** How `sync` and eviction make sure of what was stored: by reading it back, or by asking the backends. */
  readonly verification: 'checked' | 'present';
  /** Folder whose sub-folders are backends that run here; absolute. */
  readonly localBackends: string | undefined;
}

/** A whole configuration and where it is. */
export interface Configuration {
  readonly path: string;
  readonly zstor: ZstorConfig;
  readonly settings: Settings;
}

const DEFAULT_CACHE_BYTES = 2 * 2 ** 30;
export const SMALLEST_CACHE_BYTES = 64 * 2 ** 20;
const DEFAULT_SEGMENT_BYTES = 64 * 2 ** 20;
/** The engine's own bounds (docs/formats/zdb.md), narrowed so that the presence of a file fits one slot. */
const SMALLEST_SEGMENT_BYTES = 2 ** 20;
const LARGEST_SEGMENT_BYTES = 2 ** 31;
/** Stripes of a data file that a slot of 512 bytes can describe. */
const MOST_STRIPES = 4032;
const DEFAULT_SYNC_INTERVAL_MS = 120_000;
const SHORTEST_SYNC_INTERVAL_MS = 1000;

const KNOWN_KEYS = ['cache_size', 'mount', 'segment_size', 'sync_interval', 'verify', 'local_backends'];
/** Words of `verify`, and what they are to zstor. */
const VERIFICATIONS = { read: 'checked', ask: 'present' } as const;

/** Name of the socket in the folder of a local backend. */
export const BACKEND_SOCKET = 'zdb.sock';
/** Namespaces of a local backend: shards, and records. */
export const DATA_NAMESPACE = 'data';
export const METADATA_NAMESPACE = 'meta';

/** The groups of local backends that `up` makes when there is no configuration. */
export const DEFAULT_GROUPS: readonly (readonly string[])[] = [
  ['a1', 'a2'],
  ['b1', 'b2'],
  ['c1', 'c2'],
  ['d1', 'd2'],
];
const DEFAULT_MINIMAL_SHARDS = 3;

/**
 * Reads and checks a configuration file.
 * @throws QsfsError QSFS_E_CONFIG with the key and the fix
 */
export function readConfiguration(disk: Disk, path: string): Configuration {
  let content: Uint8Array | undefined;
  try {
    content = readWhole(disk, path);
  } catch (error) {
    const code = errorCode(error);
    const hint = code === 'EACCES' ? 'Run the command as the user whom it belongs to.' : undefined;
    throw new QsfsError('QSFS_E_CONFIG', `${path} cannot be read: ${(error as Error).message}`, hint);
  }
  if (!content && disk.stat(path)) {
    throw new QsfsError('QSFS_E_CONFIG', `${path} is no file`, 'Give the path of a configuration file.');
  }
  if (!content) {
    throw new QsfsError(
      'QSFS_E_CONFIG',
      `there is no configuration ${path}`,
      'Give an existing file; "qsfs up" without --config makes one with local backends.',
    );
  }
  return parseConfiguration(Buffer.from(content).toString('utf8'), path);
}

/** Checks the text of a configuration as if it were the file at `path`. @throws QsfsError QSFS_E_CONFIG */
export function parseConfiguration(text: string, path: string): Configuration {
  const base = dirname(path);
  let zstor: ZstorConfig;
  try {
    zstor = parseConfig(text, base);
  } catch (error) {
    if (!isZstorError(error)) throw error;
    throw new QsfsError('QSFS_E_CONFIG', `${path}: ${error.message}`, error.hint || undefined);
  }
  return { path, zstor, settings: readSettings(zstor.qsfs, path, base, zstor.stripeSizeBytes) };
}

function readSettings(
  table: Readonly<Record<string, unknown>>,
  path: string,
  base: string,
  stripeBytes: number,
): Settings {
  for (const key of Object.keys(table)) {
    if (!KNOWN_KEYS.includes(key)) {
      throw configError(path, key, `unknown key; remove it (known here: ${KNOWN_KEYS.join(', ')})`);
    }
  }
  const text = (key: string): string | undefined => {
    const value = table[key];
    if (value === undefined) return undefined;
    if (typeof value === 'string' && value !== '') return value;
    throw configError(path, key, 'must be text in quotes');
  };
  const size = (key: string, fallback: number, lowest: number, highest: number): number => {
    const value = table[key];
    if (value === undefined) return fallback;
    let bytes = Number.NaN;
    if (typeof value === 'number') bytes = value;
    else if (typeof value === 'string') bytes = quantityOf(value, parseSize);
    if (!Number.isSafeInteger(bytes)) throw configError(path, key, 'must be a size such as "64MiB"');
    if (bytes < lowest || bytes > highest) {
      const bounds = `${formatExactSize(lowest)} to ${formatExactSize(highest)}`;
      throw configError(path, key, `must be from ${bounds}, not ${formatExactSize(bytes)}`);
    }
    return bytes;
  };
  const interval = text('sync_interval');
  const syncIntervalMs =
    interval === undefined ? DEFAULT_SYNC_INTERVAL_MS : quantityOf(interval, parseDuration);
  if (!(syncIntervalMs >= SHORTEST_SYNC_INTERVAL_MS)) {
    throw configError(path, 'sync_interval', 'must be a time of at least 1s, such as "2min"');
  }
  const verify = text('verify') ?? 'read';
  if (verify !== 'read' && verify !== 'ask') {
    throw configError(path, 'verify', `must be "read" or "ask", not "${verify}"`);
  }
  const mount = text('mount');
  const local = text('local_backends');
  const segmentBytes = size(
    'segment_size',
    DEFAULT_SEGMENT_BYTES,
    SMALLEST_SEGMENT_BYTES,
    LARGEST_SEGMENT_BYTES,
  );
  if (segmentBytes / stripeBytes > MOST_STRIPES) {
    throw configError(path, 'segment_size', `has more than ${MOST_STRIPES} stripes; raise stripe_size`);
  }
  return {
    cacheBytes: size('cache_size', DEFAULT_CACHE_BYTES, SMALLEST_CACHE_BYTES, 2 ** 52),
    mount: mount === undefined ? undefined : absolute(mount, base),
    segmentBytes,
    syncIntervalMs,
    verification: VERIFICATIONS[verify],
    localBackends: local === undefined ? undefined : absolute(local, base),
  };
}

/** The value, or NaN when the text is none: the caller's message names the key. */
function quantityOf(text: string, parse: (text: string, where: string) => number): number {
  try {
    return parse(text, '');
  } catch {
    return Number.NaN;
  }
}

function configError(path: string, key: string, problem: string): QsfsError {
  return new QsfsError('QSFS_E_CONFIG', `${path}: configuration: qsfs.${key}: ${problem}`);
}

function absolute(path: string, base: string): string {
  return isAbsolute(path) ? path : join(base, path);
}

/**
 * The configuration `up` makes by itself: local backends in four groups of two, k = 3 of n = 8, so that a whole group and
 * one more backend in every other group may be lost (8 - 2 - 3 = 3); records on all eight with the same tolerance.
 * @param path where it will be written
 */
export function defaultConfiguration(
  path: string,
  random: Random,
  choice: { readonly mount: string | undefined; readonly cacheBytes: number | undefined },
): Configuration {
  const base = dirname(path);
  const socket = (name: string) => `unix:${join('backends', name, BACKEND_SOCKET)}`;
  const names = DEFAULT_GROUPS.flat();
  const lines = [
    `minimal_shards = ${DEFAULT_MINIMAL_SHARDS}`,
    `expected_shards = ${names.length}`,
    'redundant_groups = 1',
    'redundant_nodes = 1',
    '[encryption]',
    'algorithm = "AES"',
    `key = "${Buffer.from(random.bytes(32)).toString('hex')}"`,
    '[compression]',
    'algorithm = "snappy"',
    '[qsfs]',
    `cache_size = ${JSON.stringify(formatExactSize(choice.cacheBytes ?? DEFAULT_CACHE_BYTES))}`,
    ...(choice.mount === undefined ? [] : [`mount = ${JSON.stringify(shorten(choice.mount, base))}`]),
    `segment_size = ${JSON.stringify(formatExactSize(DEFAULT_SEGMENT_BYTES))}`,
    `sync_interval = "${DEFAULT_SYNC_INTERVAL_MS / 1000}s"`,
    'local_backends = "backends"',
    '[meta]',
    'type = "zdb"',
    '[meta.config]',
    `minimal_stores = ${DEFAULT_MINIMAL_SHARDS}`,
    ...names.flatMap((name) => [
      '[[meta.config.backends]]',
      `name = "${name}"`,
      `address = ${JSON.stringify(socket(name))}`,
      `namespace = "${METADATA_NAMESPACE}"`,
    ]),
    ...DEFAULT_GROUPS.flatMap((group) => [
      '[[groups]]',
      `name = "${group[0]?.[0]}"`,
      ...group.flatMap((name) => [
        '[[groups.backends]]',
        `name = "${name}"`,
        `address = ${JSON.stringify(socket(name))}`,
        `namespace = "${DATA_NAMESPACE}"`,
      ]),
    ]),
  ];
  return parseConfiguration(lines.join('\n'), path);
}

/** Writes a configuration, readable by the owner only: it holds the key. Paths below its folder are written relative. */
export function writeConfiguration(disk: Disk, configuration: Configuration): void {
  const base = dirname(configuration.path);
  const { settings, zstor } = configuration;
  const table = {
    cache_size: formatExactSize(settings.cacheBytes),
    ...(settings.mount === undefined ? {} : { mount: shorten(settings.mount, base) }),
    segment_size: formatExactSize(settings.segmentBytes),
    sync_interval: `${settings.syncIntervalMs}ms`,
    ...(settings.verification === 'checked' ? {} : { verify: 'ask' }),
    ...(settings.localBackends === undefined
      ? {}
      : { local_backends: shorten(settings.localBackends, base) }),
  };
  const head = [
    '# QSFS. Keep this file safe: it holds the key, and whoever has it and the backends can read everything.',
    '# "qsfs restore --from THIS_FILE --dir NEW" brings the volume back on another machine. Keys: docs/formats/config.md.',
    '',
  ];
  const text = head.join('\n') + formatConfig({ ...zstor, qsfs: table }, base);
  replaceWhole(disk, configuration.path, Buffer.from(text), 0o600);
}

function shorten(path: string, base: string): string {
  const short = relative(base, path);
  return short === '' || short.startsWith('..') ? path : short;
}

/** A backend that is a process of this machine, started and stopped by qsfs. */
export interface LocalBackend {
  readonly name: string;
  readonly group: string;
  readonly directory: string;
}

/** The local backends of a configuration: those whose socket is `<local_backends>/NAME/zdb.sock`. */
export function localBackendsOf(configuration: Configuration): LocalBackend[] {
  const folder = configuration.settings.localBackends;
  if (folder === undefined) return [];
  const found = new Map<string, LocalBackend>();
  const consider = (group: string, address: ZstorConfig['groups'][number]['backends'][number]['address']) => {
    if (!address || !('path' in address)) return;
    const parts = relative(folder, address.path).split(sep);
    const [name] = parts;
    if (parts.length !== 2 || parts[1] !== BACKEND_SOCKET || name === undefined || name === '..') return;
    if (!found.has(name)) found.set(name, { name, group, directory: join(folder, name) });
  };
  for (const group of configuration.zstor.groups) {
    for (const backend of group.backends) consider(group.name, backend.address);
  }
  for (const backend of configuration.zstor.metadata.backends) consider('', backend.address);
  return [...found.values()];
}

/** What a volume with this configuration survives, in words. */
export function describePolicy(config: ZstorConfig): string {
  const { redundantGroups: groups, redundantNodes: nodes, expectedShards: n, minimalShards: k } = config;
  const parts: string[] = [];
  if (groups > 0) parts.push(`the loss of ${count(groups, 'whole group')}`);
  if (nodes > 0) parts.push(`${count(nodes, 'backend')} in every ${groups > 0 ? 'other ' : ''}group`);
  if (parts.length === 0) parts.push(`the loss of ${count(n - k, 'backend')}`);
  return parts.join(' together with ');
}
