// Makes a frontend from nothing but a configuration: finds the newest manifest that is wholly there, writes the index files,
// and makes the data files as holes whose bytes come when they are read.
//
// The identity is written last, and a mark says until then that the folder is not a frontend, so an interrupted restore leaves
// nothing that looks like one. It never shows less than the newest manifest: what cannot be read is an error that says so.
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { type Disk, readWhole, replaceWhole } from '@qsfs/io';
import { isZstorError, type Zstor } from '@qsfs/zstor';
import { Beginnings } from './beginnings.ts';
import type { StoredIndex } from './catalog.ts';
import { writeClaim } from './claim.ts';
import { Claimant, leaseIdOf } from './claimant.ts';
import {
  type Configuration,
  localBackendsOf,
  readConfiguration,
  writeConfiguration,
} from './configuration.ts';
import type { Context } from './context.ts';
import { messageOf, QsfsError } from './errors.ts';
import { lockFolder } from './folder-lock.ts';
import { type Identity, writeIdentity } from './identity.ts';
import { asKnownError } from './known-errors.ts';
import { type Layout, layoutOf } from './layout.ts';
import { type FoundLease, fencedBy, LeaseHolder, livenessOf, readLease, selfOf } from './lease.ts';
import { LocalBackends } from './local-backends.ts';
import type { Log } from './log-file.ts';
import {
  compareVersions,
  decodeManifest,
  decodePage,
  encodeManifest,
  indexName,
  type Manifest,
  type ManifestFile,
  type ManifestNamespace,
  manifestName,
  PAGE_FILES,
  pageName,
  type Version,
} from './manifest.ts';
import { OFFLOADED, type OffloadedName } from './messages.ts';
import { checkMount } from './mounting.ts';
import { isComplete } from './offload.ts';
import {
  asking,
  manifestVersions,
  misconfigured,
  openStore,
  successorIdentity,
  warningOf,
} from './opening.ts';
import { count } from './quantities.ts';
import { READ_ONLY_REASON, type ReadOnly } from './read-only.ts';
import { DESCRIPTOR } from './sync-state.ts';
import { VolumeFiles } from './volume-files.ts';

/** Index files on their way at a time. */
const CONCURRENT_MAX = 8;
const INDEX_ATTEMPTS = 3;
const HASH_BYTES = 16;

/** What a restore is asked to do. */
export interface RestoreOptions {
  /** Path of the configuration; absolute. */
  readonly from: string;
  /** The new state folder; absolute. */
  readonly directory: string;
  /** Do not wait for a sign of life of the last frontend. */
  readonly takeOver: boolean;
  /** Leave the volume to the frontend that has it: what is made here can only be read. */
  readonly readOnly: boolean;
  readonly mount: string | undefined;
  readonly cacheBytes: number | undefined;
  readonly progress: (line: string) => void;
  readonly log: Log;
}

/** What a restore did. */
export interface RestoreReport {
  readonly directory: string;
  readonly epoch: number;
  readonly generation: number;
  /** When the state that was restored was made, milliseconds since 1970. */
  readonly stateOfMs: number;
  readonly dataFiles: number;
  readonly dataBytes: number;
  /** Why it can only be read at present; null when the volume is its own now. */
  readonly readOnly: ReadOnly | null;
}

/**
 * Restores a frontend.
 * @throws QsfsError: QSFS_E_EXISTS (the folder holds a frontend), QSFS_E_CONFIG, QSFS_E_BACKENDS, QSFS_E_FENCED (the last
 *   frontend is alive), QSFS_E_NO_VOLUME, QSFS_E_DISK
 */
export async function restore(context: Context, options: RestoreOptions): Promise<RestoreReport> {
  const { disk } = context;
  const layout = layoutOf(options.directory);
  const source = readConfiguration(disk, options.from);
  const configuration = successorConfiguration(context, source, layout, options);
  refuseOccupied(disk, layout);
  if (options.mount !== undefined) checkMount(context, options.mount);
  const lock = lockFolder(disk, layout);
  try {
    refuseOccupied(disk, layout);
    return await restoreLocked(context, { source, configuration, layout, options });
  } finally {
    lock.release();
  }
}

/** What a restore works with. */
interface RestorePlan {
  readonly source: Configuration;
  readonly configuration: Configuration;
  readonly layout: Layout;
  readonly options: RestoreOptions;
}

/** The part that needs the folder; starts local backends that are down. */
async function restoreLocked(context: Context, plan: RestorePlan): Promise<RestoreReport> {
  const { source, options } = plan;
  const local = new LocalBackends(context, localBackendsOf(source));
  const started = new Set<string>();
  const begun = new Beginnings(context.disk, [plan.layout.frontend, plan.layout.config]);
  let done = false;
  try {
    for (const error of await local.startAll((name) => started.add(name)))
      options.log('warning', `warning: ${messageOf(error)}`);
    if (started.size > 0) options.progress(`started the local backends ${[...started].join(', ')}`);
    const report = await restoreFrom(context, plan);
    done = true;
    return report;
  } finally {
    if (!done) {
      begun.remove();
      await local.stopAll((name) => started.has(name));
    }
  }
}

/** The part that needs the backends. */
async function restoreFrom(context: Context, plan: RestorePlan): Promise<RestoreReport> {
  const { source, configuration, layout, options } = plan;
  const zstor = await openStore(context, source, undefined, options.log);
  try {
    const lease = await asking(context, source.path, zstor, () => readLease(zstor));
    let isEnded = true;
    if (lease && !options.takeOver && !options.readOnly) {
      const liveness = await livenessOf(context, zstor, lease, options.progress).catch((error: unknown) => {
        throw asKnownError(error);
      });
      if (liveness === 'alive') throw fencedBy(lease.lease, selfOf(context, layout.root, undefined));
      isEnded = liveness === 'dead';
    }
    const found = await newestManifest(context, zstor, source.path, options.log);
    for (const backend of await misconfigured(zstor))
      options.log('warning', `warning: ${warningOf(backend, source.path)}`);
    return await build({ context, layout, configuration, zstor, lease, isEnded, ...found, options });
  } finally {
    await zstor.close();
  }
}

/** @throws QsfsError QSFS_E_EXISTS when there is a frontend that is not empty, nor left by an interrupted restore */
function refuseOccupied(disk: Disk, layout: Layout): void {
  const interrupted = disk.stat(layout.restoring) && !disk.stat(layout.identity);
  if (!interrupted && disk.stat(layout.frontend) && disk.list(layout.frontend).length > 0) {
    throw new QsfsError(
      'QSFS_E_EXISTS',
      `${layout.frontend} is not empty`,
      'Restore into another folder, or start what is there with "qsfs up".',
    );
  }
}

/** The configuration in the new folder: the same, with the choices of this command. */
function successorConfiguration(
  context: Context,
  source: Configuration,
  layout: Layout,
  options: RestoreOptions,
): Configuration {
  const { disk } = context;
  const { cacheBytes, mount } = options;
  const settings = {
    ...source.settings,
    ...(cacheBytes === undefined ? {} : { cacheBytes }),
    ...(mount === undefined ? {} : { mount }),
  };
  if (disk.stat(layout.config)) {
    const there = readConfiguration(disk, layout.config);
    if (Buffer.compare(there.zstor.masterKey, source.zstor.masterKey) !== 0) {
      throw new QsfsError('QSFS_E_EXISTS', `${layout.config} belongs to another volume`);
    }
    // Restored where it was: the file stays as it is.
    if (dirname(source.path) === layout.root) return source;
  }
  return { path: layout.config, zstor: source.zstor, settings };
}

interface FoundManifest {
  readonly manifest: Manifest;
  readonly pages: ReadonlyMap<string, readonly ManifestFile[]>;
}

/**
 * The newest manifest, with its pages. One that certainly is incomplete (its frontend was interrupted) is passed over; one that
 * cannot be read now is an error: an older one would show less than was written.
 */
async function newestManifest(
  context: Context,
  zstor: Zstor,
  configPath: string,
  log: Log,
): Promise<FoundManifest & { newest: Version }> {
  const versions = await asking(context, configPath, zstor, () => manifestVersions(zstor));
  for (const version of versions) {
    const found = await asking(context, configPath, zstor, () => readManifest(zstor, version));
    if (found) return { ...found, newest: versions[0] ?? version };
    log('warning', `${manifestName(version)} is not complete; the one before it is used`);
  }
  throw new QsfsError(
    'QSFS_E_NO_VOLUME',
    versions.length === 0
      ? 'the backends hold no volume that was ever synced'
      : 'none of the sync points on the backends is complete',
  );
}

async function readManifest(zstor: Zstor, version: Version): Promise<FoundManifest | undefined> {
  const content = await getObject(zstor, manifestName(version));
  if (!content) return undefined;
  const manifest = decode(manifestName(version), () => decodeManifest(content));
  if (compareVersions(manifest, version) !== 0) {
    throw new QsfsError(
      'QSFS_E_NO_VOLUME',
      `${manifestName(version)} holds another sync point than its name says`,
    );
  }
  const pages = new Map<string, readonly ManifestFile[]>();
  for (const namespace of manifest.namespaces) {
    for (const [page, pageVersion] of namespace.pages.entries()) {
      const name = pageName(namespace.name, page, pageVersion);
      const bytes = await getObject(zstor, name);
      if (!bytes) return undefined;
      pages.set(
        `${namespace.name}/${page}`,
        decode(name, () => decodePage(bytes, page * PAGE_FILES)),
      );
    }
  }
  return { manifest, pages };
}

/** A small object; undefined when there certainly is none. */
async function getObject(zstor: Zstor, name: string): Promise<Uint8Array | undefined> {
  const record = await zstor.head(name);
  return record && (await zstor.getSmall(record));
}

function decode<Result>(name: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new QsfsError('QSFS_E_NO_VOLUME', `${name}: ${error.message}`);
  }
}

interface BuildParts extends FoundManifest {
  /** The newest manifest there was, complete or not. */
  readonly newest: Version;
  readonly context: Context;
  readonly layout: Layout;
  readonly configuration: Configuration;
  readonly zstor: Zstor;
  readonly lease: FoundLease | undefined;
  /** The holder of that lease is dead, or nobody asks. */
  readonly isEnded: boolean;
  readonly options: RestoreOptions;
}

async function build(parts: BuildParts): Promise<RestoreReport> {
  const { context, layout, configuration, zstor, lease, isEnded, manifest, newest, options } = parts;
  const { disk } = context;
  const identity = successorIdentity(context, manifest, lease);
  disk.makeDirectory(layout.frontend);
  empty(disk, layout.frontend);
  disk.open(layout.restoring, 'create').close();
  disk.syncDirectory(layout.frontend);
  let dataFiles = 0;
  let dataBytes = 0;
  let readOnly: ReadOnly | null;
  try {
    for (const name of OFFLOADED) {
      const namespace = manifest.namespaces.find((candidate) => candidate.name === name);
      if (!namespace) throw new QsfsError('QSFS_E_NO_VOLUME', `the manifest has no namespace ${name}`);
      const done = await buildNamespace(parts, identity, namespace, name);
      dataFiles += done.files;
      dataBytes += done.bytes;
    }
    // Until it has the lease; before anything of ours can be mistaken for a frontend.
    const { takeOver } = options;
    const { epoch, generation } = newest;
    writeClaim(disk, layout.claim, { version: 1, lease: leaseIdOf(lease), epoch, generation, takeOver });
    const holder = new LeaseHolder(context, zstor, () => identity, layout.root);
    const claimant = new Claimant({ context, layout, zstor, lease: holder, identity: () => identity });
    // When it gets the lease the frontend before is refused from here on.
    if (options.readOnly) readOnly = { cause: 'asked', reason: READ_ONLY_REASON };
    else {
      const waiting = await claimant.attempt(isEnded);
      readOnly = waiting === '' ? null : { cause: 'no-lease', reason: waiting };
    }
    if (configuration.path === layout.config) writeConfiguration(disk, configuration);
    replaceWhole(disk, layout.manifest, encodeManifest(manifest));
    writeIdentity(disk, layout.identity, identity);
    disk.remove(layout.restoring);
    disk.syncDirectory(layout.frontend);
    // The restore itself is over; `up` takes the lease again as the same frontend.
    if (!readOnly) await holder.release().catch(() => {});
  } catch (error) {
    empty(disk, layout.frontend);
    throw error;
  }
  options.progress(`${count(dataFiles, 'data file')} will be read from the backends when they are needed`);
  return {
    directory: layout.root,
    epoch: identity.epoch,
    generation: manifest.generation,
    stateOfMs: manifest.createdMs,
    dataFiles,
    dataBytes,
    readOnly,
  };
}

/** Removes everything in a folder, which may be a mount point and stays. */
function empty(disk: Disk, folder: string): void {
  for (const name of disk.list(folder)) disk.removeTree(join(folder, name));
}

async function buildNamespace(
  parts: BuildParts,
  identity: Identity,
  namespace: ManifestNamespace,
  name: OffloadedName,
): Promise<{ files: number; bytes: number }> {
  const { context, layout, pages, options, zstor } = parts;
  const { disk } = context;
  const indexFolder = join(layout.index, name);
  const dataFolder = join(layout.data, name);
  disk.makeDirectory(indexFolder);
  disk.makeDirectory(dataFolder);
  const files = VolumeFiles.open(disk, layout, name, identity.stripeBytes, identity.segmentBytes);
  const indexes: { file: number; version: Version; sizeBytes: number }[] = [];
  let fileCount = 0;
  let bytes = 0;
  try {
    for (let file = 0; file < namespace.activeFile; file += 1) {
      const entry = pages.get(`${name}/${Math.floor(file / PAGE_FILES)}`)?.[file % PAGE_FILES];
      if (!entry)
        throw new QsfsError('QSFS_E_NO_VOLUME', `the manifest does not describe file ${file} of ${name}`);
      if (entry.data) {
        makeHole(disk, join(dataFolder, `d${file}`), entry.data.sizeBytes);
        const stripes = Math.ceil(entry.data.sizeBytes / identity.stripeBytes);
        files.presence.recordAbsent(file, 0, stripes);
        // Whether all n shards are there is looked at by the first healing round; until then nothing of it is dropped.
        files.catalog.setData(file, { safety: 'degraded', ...entry.data });
        fileCount += 1;
        bytes += entry.data.sizeBytes;
      }
      if (entry.index) {
        const { epoch, generation, sizeBytes } = entry.index;
        indexes.push({ file, version: { epoch, generation }, sizeBytes });
      }
    }
    let done = 0;
    await Promise.all(
      Array.from({ length: CONCURRENT_MAX }, async () => {
        for (let next = indexes.pop(); next; next = indexes.pop()) {
          const { file, version, sizeBytes } = next;
          const path = join(indexFolder, `i${file}`);
          const stored = await bringIndex(
            zstor,
            context,
            { name: indexName(name, file, version), sizeBytes },
            path,
          );
          files.catalog.setIndex(file, { ...version, ...stored });
          done += 1;
          if (done % 1000 === 0) options.progress(`${name}: ${done} index files`);
        }
      }),
    );
    replaceWhole(disk, join(indexFolder, DESCRIPTOR), namespace.descriptor);
    replaceWhole(disk, join(indexFolder, `i${namespace.activeFile}`), namespace.activeIndex);
    replaceWhole(disk, join(dataFolder, `d${namespace.activeFile}`), namespace.activeData);
    files.presence.flush();
    files.catalog.flush();
    disk.syncDirectory(dataFolder);
  } finally {
    files.close();
  }
  return { files: fileCount, bytes };
}

function makeHole(disk: Disk, path: string, sizeBytes: number): void {
  const file = disk.open(path, 'create');
  try {
    file.truncate(sizeBytes);
  } finally {
    file.close();
  }
}

async function bringIndex(
  zstor: Zstor,
  context: Context,
  wanted: { name: string; sizeBytes: number },
  path: string,
): Promise<Omit<StoredIndex, keyof Version>> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const record = await zstor.retrieve(wanted.name, path);
      if (record.sizeBytes === wanted.sizeBytes) {
        const { disk, clock } = context;
        const content = readWhole(disk, path) ?? new Uint8Array(0);
        return {
          sizeBytes: content.length,
          hash: createHash('sha256').update(content).digest().subarray(0, HASH_BYTES),
          modifiedMs: disk.stat(path)?.modifiedMs ?? 0,
          copiedMs: clock.nowMs(),
          complete: isComplete(record),
        };
      }
      throw new QsfsError(
        'QSFS_E_NO_VOLUME',
        `${wanted.name} has ${record.sizeBytes} bytes, not ${wanted.sizeBytes}`,
      );
    } catch (error) {
      if (isZstorError(error, 'QSFS_E_NOT_FOUND')) {
        throw new QsfsError('QSFS_E_NO_VOLUME', `the index ${wanted.name} is not on the backends`);
      }
      if (!isZstorError(error, 'QSFS_E_UNAVAILABLE') || attempt === INDEX_ATTEMPTS) {
        throw asKnownError(error);
      }
    }
    await context.clock.sleep(500);
  }
}
