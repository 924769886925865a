// What a frontend consists of before it is mounted, and how that is opened: tables, the filesystem thread, and everything around it
// on the main thread. Used by Frontend alone.
import type { Zstor } from '@qsfs/zstor';
import type { Configuration } from './configuration.ts';
import type { Context } from './context.ts';
import { QsfsError } from './errors.ts';
import { Filesystem } from './filesystem/filesystem.ts';
import type { Layout } from './layout.ts';
import { Claimant } from './lease/claimant.ts';
import type { Identity } from './lease/identity.ts';
import { LeaseHolder } from './lease/lease.ts';
import type { Ownership } from './lease/opening.ts';
import { Cache, fileBytesFor } from './local/cache.ts';
import { type Housekeeping, startHousekeeper } from './local/housekeeper.ts';
import { shardFactorOn } from './local/shared-disk.ts';
import { closeVolume, openVolume } from './local/volume.ts';
import type { Volume } from './local/volume-files.ts';
import type { Log } from './log-file.ts';
import { GAUGES, GAUGES_BYTES, OFFLOADED, type SharedDisk } from './messages.ts';
import { Courtesy } from './offload/courtesy.ts';
import { Offload } from './offload/offload.ts';
import { count, formatSize } from './quantities.ts';
import { ReadBack } from './read-back/read-back.ts';
import { READ_ONLY_REASON } from './read-only.ts';
import { EmptiedBackends } from './sync/emptied-backends.ts';
import { SyncPoints } from './sync/sync-point.ts';

/** A disk is taken for so many times what the cache could be when data files are given their size. */
const DISK_PARTS = 8;

/** What a frontend is opened with. */
export interface FrontendOptions {
  readonly context: Context;
  readonly layout: Layout;
  readonly configuration: Configuration;
  readonly zstor: Zstor;
  readonly ownership: Ownership;
  /** For a fresh volume: who it is from now on. */
  readonly identity: Identity;
  readonly mountPoint: string;
  readonly cacheBytes: number;
  /** Never take the lease: the mount can only be read. */
  readonly readOnly: boolean;
  readonly log: Log;
}

/** Everything that exists before there is a mount. */
export interface Parts {
  readonly options: FrontendOptions;
  readonly identity: { current: Identity };
  readonly volume: Volume;
  readonly gauges: Float64Array;
  readonly shared: SharedDisk;
  readonly filesystem: Filesystem;
  readonly housekeeper: Housekeeping;
  readonly lease: LeaseHolder;
  readonly claimant: Claimant;
  /** Why the lease was not taken yet; empty when it was. */
  readonly waiting: string;
  readonly cache: Cache;
  readonly courtesy: Courtesy;
  readonly offload: Offload;
  readonly readBack: ReadBack;
  readonly syncPoints: SyncPoints;
  readonly emptied: EmptiedBackends;
}

/** The frontend is made after the thread that talks to it. */
export class LateEvents {
  /** The mount is gone, and why. */
  gone: (reason: string) => void = () => {};
  /** Somebody wants to change something, and the lease was not looked at lately. */
  look: () => void = () => {};
}

/**
 * The parts that need each other, as they come into being: those made first reach the later ones through this, and find
 * nothing as long as there is nothing to be told.
 */
interface Neighbours {
  readBack?: ReadBack;
  cache?: Cache;
  offload?: Offload;
  syncPoints?: SyncPoints;
}

/** What every part is made of. */
interface Ground {
  readonly options: FrontendOptions;
  readonly identity: { current: Identity };
  readonly volume: Volume;
  readonly gauges: Float64Array;
  readonly shared: SharedDisk;
  readonly neighbours: Neighbours;
}

/** Opens tables, filesystem thread and what stands on them. @throws QsfsError; then all of it is closed again */
export async function openParts(
  options: FrontendOptions,
  cleanStart: boolean,
  events: LateEvents,
): Promise<Parts> {
  const { context, layout } = options;
  const { clock, disk } = context;
  const identity = { current: options.identity };
  const { lease, claimant, waiting } = await claimLease(options, identity);
  const { stripeBytes, segmentBytes } = options.identity;
  const volume = openVolume(disk, layout, stripeBytes, segmentBytes);
  const gaugesMemory = new SharedArrayBuffer(GAUGES_BYTES);
  const gauges = beginGauges(gaugesMemory, waiting === '');
  const shared: SharedDisk = {
    shardFactor: shardFactorOn(disk, layout.frontend, options.configuration),
    fileBytes: fileBytesFor(cacheShareOf(options), stripeBytes, segmentBytes),
  };
  const housekeeper = startHousekeeper();
  const neighbours: Neighbours = {};
  const ground: Ground = { options, identity, volume, gauges, shared, neighbours };
  const filesystem = startFilesystem(ground, gaugesMemory, events);
  try {
    // Opening may need data that is not here: reading back works from the start.
    const readBack = makeReadBack(ground, filesystem);
    neighbours.readBack = readBack;
    options.zstor.whenReadable(() => readBack.returned());
    await takeOver(ground, filesystem);
    const cache = makeCache(ground, filesystem);
    neighbours.cache = cache;
    const courtesy = new Courtesy(clock, gauges, cache, () => pendingBytesOf(neighbours));
    const offload = makeOffload(ground, cache, courtesy);
    neighbours.offload = offload;
    const emptied = makeEmptiedBackends(ground, cache, offload);
    const syncPoints = new SyncPoints({
      context,
      zstor: options.zstor,
      verification: options.configuration.settings.verification,
      layout,
      volume,
      offload,
      lease,
      housekeeper,
      identity,
      cleanStart,
      emptied,
      makeState: (staging, suspects, giveBack) => filesystem.makeState(staging, suspects, giveBack),
      log: options.log,
    });
    neighbours.syncPoints = syncPoints;
    await beginOffload(ground, offload, emptied);
    return {
      options,
      identity,
      volume,
      gauges,
      shared,
      filesystem,
      housekeeper,
      lease,
      claimant,
      waiting,
      cache,
      courtesy,
      offload,
      readBack,
      syncPoints,
      emptied,
    };
  } catch (error) {
    neighbours.readBack?.close();
    neighbours.offload?.close();
    await filesystem.terminate();
    await closeParts({ volume, housekeeper });
    throw error;
  }
}

/** Asks for the lease once. @throws QsfsError when without it there would be nothing to serve */
async function claimLease(
  options: FrontendOptions,
  identity: { current: Identity },
): Promise<{ lease: LeaseHolder; claimant: Claimant; waiting: string }> {
  const { context, layout, zstor, ownership } = options;
  const lease = new LeaseHolder(context, zstor, () => identity.current, layout.root);
  const claimant = new Claimant({ context, layout, zstor, lease, identity: () => identity.current });
  const waiting = options.readOnly ? READ_ONLY_REASON : await claimant.attempt();
  // Of a volume nobody ever had the lease of there is nothing to be read.
  const isNew = ownership.kind === 'fresh' || (!ownership.lease && identity.current.generation === 0);
  if (waiting !== '' && isNew && !options.readOnly)
    throw new QsfsError('QSFS_E_BACKENDS', `no volume can be made: ${waiting}`);
  return { lease, claimant, waiting };
}

/** The gauges as they are before anything was measured. */
function beginGauges(memory: SharedArrayBuffer, hasLease: boolean): Float64Array {
  const gauges = new Float64Array(memory);
  gauges[GAUGES.withoutLease] = hasLease ? 0 : 1;
  gauges[GAUGES.capacityBytes] = -1;
  gauges[GAUGES.storableBytes] = -1;
  // What the process before us left is not known.
  gauges[GAUGES.changedByPrograms] = 1;
  return gauges;
}

function pendingBytesOf({ offload }: Neighbours): number {
  return offload?.status.pendingBytes ?? 0;
}

/** Starts the filesystem thread. It says nothing before it is told to open. */
function startFilesystem(ground: Ground, gaugesMemory: SharedArrayBuffer, events: LateEvents): Filesystem {
  const { options, identity, volume, gauges, shared, neighbours } = ground;
  const { layout } = options;
  const { stripeBytes, segmentBytes } = options.identity;
  const { userId, groupId } = options.context.processes;
  return new Filesystem(
    {
      dataDirectory: layout.data,
      indexDirectory: layout.index,
      segmentBytes,
      fileBytes: shared.fileBytes,
      stripeBytes,
      absent: {
        'zdbfs-meta': volume['zdbfs-meta'].presence.absent.snapshot(),
        'zdbfs-data': volume['zdbfs-data'].presence.absent.snapshot(),
      },
      gauges: gaugesMemory,
      shared,
      storedFiles: {
        'zdbfs-meta': volume['zdbfs-meta'].storedFiles,
        'zdbfs-data': volume['zdbfs-data'].storedFiles,
      },
      create: identity.current.generation === 0,
      userId,
      groupId,
    },
    {
      rotated: (namespace, file, sizeBytes) => {
        volume[namespace].closed(file, sizeBytes);
        neighbours.offload?.add(namespace, file);
        // In this order (KeptRoom). What was stored meanwhile counts with the next tick, when it is taken off the capacity, too.
        const pendingBytes = pendingBytesOf(neighbours);
        gauges[GAUGES.pendingBytes] = Math.max(gauges[GAUGES.pendingBytes] as number, pendingBytes);
        gauges[GAUGES.heardBytes] = (gauges[GAUGES.heardBytes] as number) + sizeBytes;
      },
      need: (message) => neighbours.readBack?.need(message),
      reached: (namespace, file, stripe) => neighbours.readBack?.reached(namespace, file, stripe),
      dropped: (message) => neighbours.cache?.dropped(message.id, message.stripes),
      look: () => events.look(),
      log: options.log,
      unmounted: () => events.gone('the mount was removed'),
      crashed: (message) => events.gone(`the filesystem thread died: ${message}`),
    },
  );
}

function makeReadBack(ground: Ground, filesystem: Filesystem): ReadBack {
  const { options, volume, neighbours } = ground;
  const { cacheBytes } = options;
  return new ReadBack({
    zstor: options.zstor,
    clock: options.context.clock,
    disk: options.context.disk,
    dataDirectory: options.layout.data,
    volume,
    send: (message) => filesystem.send(message),
    makeRoom: (bytes) => neighbours.cache?.tend(bytes),
    came: (namespace, file) => neighbours.cache?.consider(namespace, file),
    leaving: (namespace, file, stripe) => neighbours.cache?.leaving(namespace, file, stripe),
    aheadLimitBytes: () => Math.min(cacheBytes / 4, (neighbours.cache?.copiesBytes() ?? Infinity) / 2),
    damaged: (namespace, file) => neighbours.offload?.degraded.suspect({ namespace, file }),
    log: options.log,
  });
}

/** Takes over what the engine found when it opened. */
async function takeOver({ options, volume }: Ground, filesystem: Filesystem): Promise<void> {
  const opened = await filesystem.opened();
  for (const namespace of opened) volume[namespace.namespace].load(namespace);
  for (const name of OFFLOADED) {
    const trimmed = volume[name].trim(options.context.disk);
    if (trimmed > 0)
      options.log('info', `${name}: space of ${count(trimmed, 'file')} given back after a crash`);
  }
}

function makeCache(ground: Ground, filesystem: Filesystem): Cache {
  const { options, volume, gauges, shared, neighbours } = ground;
  return new Cache({
    disk: options.context.disk,
    volume,
    gauges,
    limitBytes: options.cacheBytes,
    shared,
    pendingBytes: () => pendingBytesOf(neighbours),
    dataDirectory: options.layout.data,
    send: (message) => filesystem.send(message),
    log: options.log,
  });
}

function makeOffload(ground: Ground, cache: Cache, courtesy: Courtesy): Offload {
  const { options, identity, volume, gauges, neighbours } = ground;
  return new Offload({
    zstor: options.zstor,
    verification: options.configuration.settings.verification,
    clock: options.context.clock,
    volume,
    epoch: () => identity.current.epoch,
    mayBegin: () => gauges[GAUGES.withoutLease] === 0 && courtesy.mayBegin,
    stored: (namespace, file, complete, isNew) => {
      if (isNew) neighbours.syncPoints?.dataStored(namespace, file);
      if (complete) cache.consider(namespace, file);
    },
    log: options.log,
  });
}

function makeEmptiedBackends(ground: Ground, cache: Cache, offload: Offload): EmptiedBackends {
  const { options, volume, neighbours } = ground;
  const { zstor } = options;
  return new EmptiedBackends({
    disk: options.context.disk,
    path: options.layout.incarnations,
    configured: zstor.config.groups.flatMap(({ backends }) => backends.map(({ name }) => name)),
    zstor,
    doubt: () => {
      offload.degraded.doubt();
      neighbours.syncPoints?.scrub.doubt();
      for (const name of OFFLOADED) for (const file of volume[name].files()) cache.withdraw(name, file);
    },
    suspect: (names) => neighbours.syncPoints?.scrub.suspect(names),
    isWhole: () => offload.status.degradedFiles === 0 && neighbours.syncPoints?.scrub.degradedObjects === 0,
    log: options.log,
  });
}

/** Starts offloading with what is left of the last time. */
async function beginOffload(
  { options, gauges }: Ground,
  offload: Offload,
  emptied: EmptiedBackends,
): Promise<void> {
  await offload.start();
  gauges[GAUGES.pendingBytes] = offload.status.pendingBytes;
  // Before anything is dropped here because it is safe there.
  await emptied.look();
  const { pendingFiles, pendingBytes } = offload.status;
  if (pendingFiles > 0) {
    const size = formatSize(pendingBytes);
    options.log('info', `${count(pendingFiles, 'segment')} (${size}) still to be offloaded`);
  }
}

/** The cache limit, or less on a disk that is small: room comes back in whole files first of all. */
function cacheShareOf({ context, layout, cacheBytes }: FrontendOptions): number {
  return Math.min(cacheBytes, context.disk.space(layout.frontend).totalBytes / DISK_PARTS);
}

/** Ends what `openParts` began, but for the filesystem thread. */
export async function closeParts(parts: { volume: Volume; housekeeper: Housekeeping }): Promise<void> {
  await parts.housekeeper.close();
  closeVolume(parts.volume);
}
