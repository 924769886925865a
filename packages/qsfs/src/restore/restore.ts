// Makes a frontend from nothing but a configuration: finds the newest manifest that is wholly there, writes the index files,
// and makes the data files as holes whose bytes come when they are read.
//
// The identity is written last, and a mark says until then that the folder is not a frontend, so an interrupted restore leaves
// nothing that looks like one. It never shows less than the newest manifest: what cannot be read is an error that says so.
import { dirname, join } from 'node:path';
import { type Disk, replaceWhole } from '@qsfs/io';
import type { Zstor } from '@qsfs/zstor';
import { Beginnings } from '../beginnings.ts';
import {
  type Configuration,
  localBackendsOf,
  readConfiguration,
  writeConfiguration,
} from '../configuration.ts';
import type { Context } from '../context.ts';
import { messageOf, QsfsError } from '../errors.ts';
import { lockFolder } from '../folder-lock.ts';
import { asKnownError } from '../known-errors.ts';
import { type Layout, layoutOf } from '../layout.ts';
import { writeClaim } from '../lease/claim.ts';
import { Claimant, leaseIdOf } from '../lease/claimant.ts';
import { writeIdentity } from '../lease/identity.ts';
import { type FoundLease, fencedBy, LeaseHolder, livenessOf, readLease, selfOf } from '../lease/lease.ts';
import { asking, misconfigured, openStore, successorIdentity, warningOf } from '../lease/opening.ts';
import { LocalBackends } from '../local-backends.ts';
import type { Log } from '../log-file.ts';
import { encodeManifest, type Version } from '../manifest.ts';
import { OFFLOADED } from '../messages.ts';
import { checkMount } from '../mounting.ts';
import { count } from '../quantities.ts';
import { READ_ONLY_REASON, type ReadOnly } from '../read-only.ts';
import { restoreNamespace } from './restored-namespace.ts';
import { type FoundManifest, newestManifest } from './stored-manifest.ts';

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
    const anyHolder = options.takeOver || options.readOnly;
    const lease = await asking(context, source.path, zstor, () => readLease(zstor, anyHolder));
    let isEnded = true;
    if (lease && !anyHolder) {
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
  const { pages } = parts;
  const { progress } = options;
  const made = { context, layout, zstor, identity, pages, progress };
  let dataFiles = 0;
  let dataBytes = 0;
  let readOnly: ReadOnly | null;
  try {
    for (const name of OFFLOADED) {
      const namespace = manifest.namespaces.find((candidate) => candidate.name === name);
      if (!namespace) throw new QsfsError('QSFS_E_NO_VOLUME', `the manifest has no namespace ${name}`);
      const done = await restoreNamespace(made, namespace, name);
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
  progress(`${count(dataFiles, 'data file')} will be read from the backends when they are needed`);
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
