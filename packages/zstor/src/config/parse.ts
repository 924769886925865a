// Reads and validates a configuration file (docs/formats/config.md). Everything that can be known to be wrong without
// asking a backend is found here, before anything is touched, and told in one message that names the key and the fix.
import { isAbsolute, join, normalize } from 'node:path';
import { type Address, formatAddress, parseAddress } from '@qsfs/io';
import { parse, TomlError } from 'smol-toml';
import { ZstorError } from '../errors.ts';
import { infeasible } from '../placement/placement.ts';
import { configError, TableReader } from './table.ts';
import type { BackendConfig, GroupConfig, MetadataConfig, ZstorConfig } from './types.ts';

/** n at most: shard indexes are bytes. */
const MOST_SHARDS = 256;
/** Bounds of `stripe_size`, powers of two (docs/formats/objects.md). */
const SMALLEST_STRIPE_BYTES = 64 * 1024;
const LARGEST_STRIPE_BYTES = 16 * 1024 * 1024;
/** A shard with its header must fit one zdb value (8 MiB). */
const LARGEST_SHARD_BYTES = 7 * 1024 * 1024;
const DEFAULT_STRIPE_BYTES = 4 * 1024 * 1024;
/** Stripes of large objects: shards of at most this, and a stripe with its shards of at most so much of the codec's memory. */
const GROWN_SHARD_BYTES = 2 * 1024 * 1024;
const GROWN_MEMORY_BYTES = 48 * 1024 * 1024;
/** Bounds of everything that is a list. */
const MOST_BACKENDS = 4096;
const MOST_STORES = 64;
const LONGEST_NAME = 200;
/** A name, an IPv4 or an IPv6 address; whether it exists is found out when it is used. */
const POSSIBLE_HOST = /^(?:[\p{L}\p{N}._-]+|[\da-f:.]+(?:%[\w.-]+)?)$/iu;
const DEFAULT_PREFIX = 'zstor-meta';

/**
 * Parses a configuration.
 * @param text contents of the file (TOML)
 * @param baseDirectory absolute folder of the file; relative paths in it are relative to this
 * @throws ZstorError QSFS_E_CONFIG
 */
export function parseConfig(text: string, baseDirectory: string): ZstorConfig {
  const top = new TableReader(parseToml(text), '');
  const minimalShards = top.requiredInteger(
    'minimal_shards',
    1,
    MOST_SHARDS,
    'the shards needed to read (k)',
  );
  const expectedShards = top.requiredInteger('expected_shards', 1, MOST_SHARDS, 'the shards written (n)');
  if (minimalShards > expectedShards) {
    throw top.error(
      'minimal_shards',
      `is ${minimalShards}, more than expected_shards (${expectedShards}): no object could ever be read; lower minimal_shards or raise expected_shards`,
    );
  }
  const redundantGroups = top.requiredInteger(
    'redundant_groups',
    0,
    MOST_BACKENDS,
    'the groups that may be lost',
  );
  const redundantNodes = top.requiredInteger(
    'redundant_nodes',
    0,
    MOST_BACKENDS,
    'the backends that may be lost in each group',
  );
  const masterKey = readEncryption(top, 'encryption', true)!;
  const compressionTable = top.table('compression');
  compressionTable?.choice('algorithm', ['snappy', 'zstd']);
  compressionTable?.finish();
  const metadata = readMetadata(top, baseDirectory);
  const groups = readGroups(top, baseDirectory);
  const zdbDataLimit = top.integer('max_zdb_data_dir_size', 0, 2 ** 40);
  const qsfs = top.table('qsfs')?.content() ?? {};
  const config: ZstorConfig = {
    minimalShards,
    expectedShards,
    redundantGroups,
    redundantNodes,
    groups,
    metadata,
    masterKey,
    ...readStripeSizes(top, minimalShards, expectedShards),
    writeQuorum: readWriteQuorum(top, minimalShards, expectedShards),
    ...optional('root', top.text('root')),
    ...optional('socket', top.text('socket')),
    ...optional('pidFile', top.text('pid_file')),
    ...optional('zdbDataDirectory', top.text('zdb_data_dir_path')),
    ...optional('zdbDataLimitBytes', zdbDataLimit === undefined ? undefined : zdbDataLimit * 1024 * 1024),
    ...optional('zdbfsMountpoint', top.text('zdbfs_mountpoint')),
    ...optional('prometheusPort', top.integer('prometheus_port', 1, 65535)),
    qsfs,
  };
  top.finish();
  checkBackends(config);
  return config;
}

function parseToml(text: string): unknown {
  // Decoding puts this in the place of bytes that mean nothing; a path with it would be another one.
  const before = text.split('\ufffd', 1)[0]!;
  if (before.length < text.length) {
    const lines = before.split('\n');
    throw notToml(text, lines.length, lines.at(-1)!.length + 1, 'not UTF-8; save the file in this encoding');
  }
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [reason = ''] = error.message.split('\n');
    throw notToml(text, error.line, error.column, reason.replace(/^Invalid TOML document: /, ''));
  }
}

/** Names the key or table of the line, never its value: that may be a secret. @param line counted from 1, like `column` */
function notToml(text: string, line: number, column: number, reason: string): ZstorError {
  const written = text.split(/\r?\n/)[line - 1] ?? '';
  const key = /^\s*(?:\[+\s*([\w.-]+)\s*\]|([\w.-]+)\s*=)/.exec(written);
  const where = key ? ` (${key[1] ?? key[2]})` : '';
  return new ZstorError('QSFS_E_CONFIG', `configuration: line ${line}, column ${column}${where}: ${reason}`);
}

function optional<Key extends string, Value>(key: Key, value: Value | undefined): { [K in Key]?: Value } {
  return (value === undefined ? {} : { [key]: value }) as { [K in Key]?: Value };
}

/** `algorithm = "AES"`, `key = "<64 hex digits>"`. */
function readEncryption(parent: TableReader, name: string, required: boolean): Uint8Array | undefined {
  const table = parent.table(name);
  if (!table) {
    if (!required) return undefined;
    throw parent.missing(name, 'add [encryption] with algorithm = "AES" and key = "<64 hex digits>"');
  }
  if (table.choice('algorithm', ['AES']) === undefined) {
    throw table.missing('algorithm', 'set it to "AES"');
  }
  const hex = table.requiredText('key', '64 hex digits, for instance from: openssl rand -hex 32');
  if (!/^[0-9a-fA-F]{64}$/.test(hex)) {
    // The key itself must not end up in logs: say only what is wrong with it.
    const wrong = /[^0-9a-fA-F]/.test(hex) ? 'contains other characters' : `has ${hex.length}`;
    throw table.error(
      'key',
      `must be exactly 64 hex digits, this one ${wrong}; make one with: openssl rand -hex 32`,
    );
  }
  table.finish();
  return new Uint8Array(Buffer.from(hex, 'hex'));
}

function readStripeSizes(
  top: TableReader,
  minimalShards: number,
  expectedShards: number,
): Pick<ZstorConfig, 'stripeSizeBytes' | 'largestStripeBytes'> {
  let most = LARGEST_STRIPE_BYTES;
  while (most > LARGEST_SHARD_BYTES * minimalShards) most /= 2;
  const bytes = top.size('stripe_size');
  if (bytes === undefined) {
    const smallest = Math.min(DEFAULT_STRIPE_BYTES, most);
    return {
      stripeSizeBytes: smallest,
      largestStripeBytes: grownStripeBytes(smallest, minimalShards, expectedShards),
    };
  }
  if (bytes < SMALLEST_STRIPE_BYTES || bytes > most || !Number.isInteger(Math.log2(bytes))) {
    throw top.error(
      'stripe_size',
      `must be a power of two from 64KiB to ${most / 1024 / 1024}MiB (with minimal_shards = ${minimalShards}), not ${bytes}`,
    );
  }
  return { stripeSizeBytes: bytes, largestStripeBytes: bytes };
}

/** What a backend does for a shard costs the same for 256 KiB and for 2 MiB: large objects have as large stripes as that and memory allow. */
function grownStripeBytes(smallest: number, minimalShards: number, expectedShards: number): number {
  const allowed = (bytes: number) =>
    bytes <= LARGEST_STRIPE_BYTES &&
    bytes <= GROWN_SHARD_BYTES * minimalShards &&
    bytes * (1 + expectedShards / minimalShards) <= GROWN_MEMORY_BYTES;
  let bytes = smallest;
  while (allowed(2 * bytes)) bytes *= 2;
  return bytes;
}

function readWriteQuorum(top: TableReader, minimalShards: number, expectedShards: number): number {
  // One more than k: an object that one further failure makes unreadable must not count as stored.
  const lowest = Math.min(minimalShards + 1, expectedShards);
  const quorum = top.integer('write_quorum', 1, MOST_SHARDS) ?? lowest;
  if (quorum < lowest || quorum > expectedShards) {
    throw top.error(
      'write_quorum',
      `must be from ${lowest} (one more than minimal_shards) to ${expectedShards} (expected_shards), not ${quorum}`,
    );
  }
  return quorum;
}

function readMetadata(top: TableReader, baseDirectory: string): MetadataConfig {
  const meta = top.table('meta');
  if (!meta) throw top.missing('meta', 'add [meta] with type = "zdb" and [[meta.config.backends]]');
  meta.choice('type', ['zdb']);
  const table = meta.table('config');
  if (!table) throw meta.missing('config', 'add [[meta.config.backends]], one for each metadata store');
  meta.finish();
  const prefix = table.text('prefix') ?? DEFAULT_PREFIX;
  readEncryption(table, 'encryption', false);
  const backends = table.tables('backends').map((entry) => readBackend(entry, baseDirectory));
  const stores = backends.length;
  if (stores === 0 || stores > MOST_STORES) {
    throw table.error(
      'backends',
      `has ${stores} stores; give from 1 to ${MOST_STORES} (four or more to survive failures)`,
    );
  }
  const minimalStores = table.integer('minimal_stores', 1, MOST_STORES) ?? defaultMinimalStores(stores);
  if (minimalStores > stores) {
    throw table.error(
      'minimal_stores',
      `is ${minimalStores}, but there are only ${stores} stores; lower it or add stores`,
    );
  }
  const lowest = lowestWriteQuorum(stores, minimalStores);
  const writeQuorum = table.integer('write_quorum', 1, MOST_STORES) ?? lowest;
  if (writeQuorum < lowest || writeQuorum > stores) {
    throw table.error(
      'write_quorum',
      `must be from ${lowest} to ${stores} with ${stores} stores of which ${minimalStores} suffice to read, not ${writeQuorum}`,
    );
  }
  table.finish();
  return { prefix, backends, minimalStores, writeQuorum };
}

/** 2 of 4 as in the reference; otherwise about a third, so that most stores may be lost. */
export function defaultMinimalStores(stores: number): number {
  return stores === 4 ? 2 : Math.max(1, Math.ceil(stores / 3));
}

/**
 * The fewest acknowledgements with which a record is safe (docs/adr/zstor-metadata-quorum.md): two writes share a store
 * (a majority); one further loss is survived (k + 1); and whoever hears from k stores has heard from a store that
 * knows of every acknowledged write (M - k + 1).
 */
export function lowestWriteQuorum(stores: number, minimalStores: number): number {
  const lowest = Math.max(Math.floor(stores / 2) + 1, minimalStores + 1, stores - minimalStores + 1);
  return Math.min(stores, lowest);
}

function readGroups(top: TableReader, baseDirectory: string): GroupConfig[] {
  const names = new Set<string>();
  const groups = top.tables('groups').map((table, index) => {
    const name = checkName(table, table.text('name') ?? `group${index + 1}`);
    if (names.has(name)) throw table.error('name', `"${name}" is used by another group; give each its own`);
    names.add(name);
    const backends = table.tables('backends').map((entry) => readBackend(entry, baseDirectory));
    if (backends.length === 0)
      throw table.error('backends', 'is empty; add a [[groups.backends]] or remove the group');
    table.finish();
    return { name, backends };
  });
  if (groups.length === 0) throw top.missing('groups', 'add [[groups]] with [[groups.backends]]');
  return groups;
}

/** @param instead the name of a backend to which none is given */
function checkName(table: TableReader, given: string | undefined, instead = ''): string {
  const name = given ?? instead;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused here
  if (name.length === 0 || name.length > LONGEST_NAME || /[\u0000-\u001f\u007f]/.test(name)) {
    const range = `1 to ${LONGEST_NAME} printable characters`;
    throw table.error(
      'name',
      given === undefined ? `is missing; give it one of ${range}` : `must be ${range}`,
    );
  }
  return name;
}

function readBackend(table: TableReader, baseDirectory: string): BackendConfig {
  const type = table.choice('type', ['zdb', 'dir']) ?? (table.raw('path') !== undefined ? 'dir' : 'zdb');
  const given = table.text('name');
  if (type === 'dir') {
    const path = absolute(table.requiredText('path', 'the directory that holds the shards'), baseDirectory);
    for (const key of ['address', 'namespace', 'password']) {
      if (table.raw(key) !== undefined) throw table.error(key, 'is for type = "zdb"; remove it, or the path');
    }
    const name = checkName(table, given, `dir:${path}`);
    table.finish();
    return { type, name, path };
  }
  if (table.raw('path') !== undefined)
    throw table.error('path', 'is for type = "dir"; remove it, or set the type');
  const address = readAddress(table, baseDirectory);
  const namespace = table.text('namespace');
  if (namespace !== undefined && (namespace.length === 0 || Buffer.byteLength(namespace) > 128)) {
    throw table.error('namespace', 'must be 1 to 128 bytes long; leave it out for the default namespace');
  }
  const password = table.text('password');
  if (password !== undefined && password.length === 0) {
    throw table.error('password', 'is empty; leave it out when there is none');
  }
  const name = checkName(table, given, `${formatAddress(address)}/${namespace ?? 'default'}`);
  table.finish();
  return { type, name, address, ...optional('namespace', namespace), ...optional('password', password) };
}

function readAddress(table: TableReader, baseDirectory: string): Address {
  const text = table.requiredText('address', 'host:port, [ipv6]:port or unix:PATH');
  try {
    const address = parseAddress(text);
    if ('path' in address) return { path: absolute(address.path, baseDirectory) };
    if (address.port === 0)
      throw new RangeError(`"${text}" has port 0; write the port the server listens on`);
    if (!POSSIBLE_HOST.test(address.host))
      throw new RangeError(`"${text}" is no address; write host:port, [ipv6]:port or unix:path`);
    return address;
  } catch (error) {
    throw table.error('address', (error as RangeError).message);
  }
}

function absolute(path: string, baseDirectory: string): string {
  return isAbsolute(path) ? normalize(path) : join(baseDirectory, path);
}

/** Where a backend keeps things; two backends with the same place would be one failure. */
export function placeOf(backend: BackendConfig): string {
  if (backend.type === 'dir') return `dir:${backend.path}`;
  return `${formatAddress(backend.address!)}/${backend.namespace ?? 'default'}`;
}

/** What concerns several backends: counts, duplicates, the policy. */
function checkBackends(config: ZstorConfig): void {
  const { groups, metadata, expectedShards } = config;
  const total = groups.reduce((sum, group) => sum + group.backends.length, 0);
  if (total > MOST_BACKENDS) throw configError('groups', `have ${total} backends; at most ${MOST_BACKENDS}`);
  const places = new Map<string, string>();
  const checkList = (backends: readonly BackendConfig[], path: string, names: Set<string>) => {
    for (const [index, backend] of backends.entries()) {
      const key = `${path}[${index}]`;
      const other = places.get(placeOf(backend));
      if (other)
        throw configError(key, `is the same place as ${other} (${placeOf(backend)}); each needs its own`);
      places.set(placeOf(backend), key);
      if (names.has(backend.name)) {
        throw configError(`${key}.name`, `"${backend.name}" is used twice; give each backend its own name`);
      }
      names.add(backend.name);
    }
  };
  const dataNames = new Set<string>();
  for (const [index, group] of groups.entries())
    checkList(group.backends, `groups[${index}].backends`, dataNames);
  checkList(metadata.backends, 'meta.config.backends', new Set());
  if (total < expectedShards) {
    throw configError(
      'expected_shards',
      `is ${expectedShards}, but the groups have only ${total} backends; add ${expectedShards - total} or lower it`,
    );
  }
  const { redundantGroups, redundantNodes, minimalShards } = config;
  const fix = infeasible(
    groups.map((group) => group.backends.length),
    groups.map((group) => group.name),
    expectedShards,
    { minimalShards, redundantGroups, redundantNodes },
  );
  if (fix !== undefined) {
    throw configError(
      redundantGroups > 0 ? 'redundant_groups' : 'redundant_nodes',
      `no placement of ${expectedShards} shards survives the loss of ${redundantGroups} groups and ${redundantNodes} backends in each other group with ${minimalShards} shards left; ${fix}`,
    );
  }
}
