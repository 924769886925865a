// What a frontend consists of before it is mounted, and how that is opened: tables, the filesystem thread, and everything around it
// on the main thread. Used by Frontend alone.
import { join } from 'node:path';
import type { Zstor } from '@qsfs/zstor';
import type { Configuration } from './configuration.ts';
import type { Context } from './context.ts';
import { messageOf, QsfsError } from './errors.ts';
import { Filesystem } from './filesystem/filesystem.ts';
import type { Layout } from './layout.ts';
import { Claimant } from './lease/claimant.ts';
import type { Identity } from './lease/identity.ts';
import { LeaseHolder } from './lease/lease.ts';
import type { Ownership } from './lease/opening.ts';
import { Cache, fileBytesFor } from './local/cache.ts';
import { type Housekeeping, startHousekeeper } from './local/housekeeper.ts';
import { shardFactorOn } from './local/shared-disk.ts';
import { type Volume, VolumeFiles } from './local/volume-files.ts';
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

/** Opens tables, filesystem thread and what stands on them. @throws QsfsError; then all of it is closed again */
export async function openParts(
  options: FrontendOptions,
  cleanStart: boolean,
  events: LateEvents,
): Promise<Parts> {
  const { context, layout, zstor, log } = options;
  const { disk, clock } = context;
  const identity = { current: options.identity };
  const { stripeBytes, segmentBytes } = options.identity;
  const lease = new LeaseHolder(context, zstor, () => identity.current, layout.root);
  const claimant = new Claimant({ context, layout, zstor, lease, identity: () => identity.current });
  const waiting = options.readOnly ? READ_ONLY_REASON : await claimant.attempt();
  // Of a volume nobody ever had the lease of there is nothing to be read.
  const { ownership } = options;
  const isNew = ownership.kind === 'fresh' || (!ownership.lease && identity.current.generation === 0);
  if (waiting !== '' && isNew && !options.readOnly)
    throw new QsfsError('QSFS_E_BACKENDS', `no volume can be made: ${waiting}`);
  const volume = openVolumeFiles(options);
  const shared = new SharedArrayBuffer(GAUGES_BYTES);
  const gauges = new Float64Array(shared);
  gauges[GAUGES.withoutLease] = waiting === '' ? 0 : 1;
  gauges[GAUGES.capacityBytes] = -1;
  gauges[GAUGES.storableBytes] = -1;
  // What the process before us left is not known.
  gauges[GAUGES.changedByPrograms] = 1;
  const fileBytes = fileBytesFor(cacheShareOf(options), stripeBytes, segmentBytes);
  const onDisk: SharedDisk = {
    shardFactor: shardFactorOn(disk, layout.frontend, options.configuration),
    fileBytes,
  };
  const housekeeper = startHousekeeper();
  // Assigned below; the thread says nothing before it is told to open.
  const late: { cache?: Cache; readBack?: ReadBack; offload?: Offload } = {};
  const filesystem = new Filesystem(
    {
      dataDirectory: layout.data,
      indexDirectory: layout.index,
      segmentBytes,
      fileBytes,
      stripeBytes,
      absent: {
        'zdbfs-meta': volume['zdbfs-meta'].presence.absent.snapshot(),
        'zdbfs-data': volume['zdbfs-data'].presence.absent.snapshot(),
      },
      gauges: shared,
      shared: onDisk,
      storedFiles: {
        'zdbfs-meta': volume['zdbfs-meta'].storedFiles,
        'zdbfs-data': volume['zdbfs-data'].storedFiles,
      },
      create: identity.current.generation === 0,
      userId: context.processes.userId,
      groupId: context.processes.groupId,
    },
    {
      rotated: (namespace, file, sizeBytes) => {
        volume[namespace].closed(file, sizeBytes);
        late.offload?.add(namespace, file);
        // In this order (KeptRoom). What was stored meanwhile counts with the next tick, when it is taken off the capacity, too.
        const pendingBytes = late.offload?.status.pendingBytes ?? 0;
        gauges[GAUGES.pendingBytes] = Math.max(gauges[GAUGES.pendingBytes] as number, pendingBytes);
        gauges[GAUGES.heardBytes] = (gauges[GAUGES.heardBytes] as number) + sizeBytes;
      },
      need: (message) => late.readBack?.need(message),
      reached: (namespace, file, stripe) => late.readBack?.reached(namespace, file, stripe),
      dropped: (message) => late.cache?.dropped(message.id, message.stripes),
      look: () => events.look(),
      log,
      unmounted: () => events.gone('the mount was removed'),
      crashed: (message) => events.gone(`the filesystem thread died: ${message}`),
    },
  );
  try {
    // Opening may need data that is not here: reading back works from the start.
    late.readBack = new ReadBack({
      zstor,
      clock,
      disk,
      dataDirectory: layout.data,
      volume,
      send: (message) => filesystem.send(message),
      makeRoom: (bytes) => late.cache?.tend(bytes),
      came: (namespace, file) => late.cache?.consider(namespace, file),
      leaving: (namespace, file, stripe) => late.cache?.leaving(namespace, file, stripe),
      aheadLimitBytes: () => Math.min(options.cacheBytes / 4, (late.cache?.copiesBytes() ?? Infinity) / 2),
      damaged: (namespace, file) => late.offload?.degraded.suspect({ namespace, file }),
      log,
    });
    zstor.whenReadable(() => late.readBack?.returned());
    const opened = await filesystem.opened();
    for (const namespace of opened) volume[namespace.namespace].load(namespace);
    for (const name of OFFLOADED) {
      const trimmed = volume[name].trim(disk);
      if (trimmed > 0) log('info', `${name}: space of ${count(trimmed, 'file')} given back after a crash`);
    }
    const cache = new Cache({
      disk,
      volume,
      gauges,
      limitBytes: options.cacheBytes,
      shared: onDisk,
      pendingBytes: () => late.offload?.status.pendingBytes ?? 0,
      dataDirectory: layout.data,
      send: (message) => filesystem.send(message),
      log,
    });
    late.cache = cache;
    const courtesy = new Courtesy(clock, gauges, cache, () => late.offload?.status.pendingBytes ?? 0);
    const syncHook: { points?: SyncPoints } = {};
    const offload = new Offload({
      zstor,
      verification: options.configuration.settings.verification,
      clock,
      volume,
      epoch: () => identity.current.epoch,
      mayBegin: () => gauges[GAUGES.withoutLease] === 0 && courtesy.mayBegin,
      stored: (namespace, file, complete, isNew) => {
        if (isNew) syncHook.points?.dataStored(namespace, file);
        if (complete) cache.consider(namespace, file);
      },
      log,
    });
    late.offload = offload;
    const emptied = new EmptiedBackends({
      disk,
      path: layout.incarnations,
      configured: zstor.config.groups.flatMap(({ backends }) => backends.map(({ name }) => name)),
      zstor,
      doubt: () => {
        offload.degraded.doubt();
        syncHook.points?.scrub.doubt();
        for (const name of OFFLOADED) for (const file of volume[name].files()) cache.withdraw(name, file);
      },
      suspect: (names) => syncHook.points?.scrub.suspect(names),
      isWhole: () => offload.status.degradedFiles === 0 && syncHook.points?.scrub.degradedObjects === 0,
      log,
    });
    const syncPoints = new SyncPoints({
      context,
      zstor,
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
      log,
    });
    syncHook.points = syncPoints;
    await offload.start();
    gauges[GAUGES.pendingBytes] = offload.status.pendingBytes;
    // Before anything is dropped here because it is safe there.
    await emptied.look();
    const { pendingFiles, pendingBytes } = offload.status;
    if (pendingFiles > 0) {
      log('info', `${count(pendingFiles, 'segment')} (${formatSize(pendingBytes)}) still to be offloaded`);
    }
    const { readBack } = late;
    return {
      options,
      identity,
      volume,
      gauges,
      shared: onDisk,
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
    late.readBack?.close();
    late.offload?.close();
    await filesystem.terminate();
    await closeParts({ volume, housekeeper });
    throw error;
  }
}

/** The cache limit, or less on a disk that is small: room comes back in whole files first of all. */
function cacheShareOf({ context, layout, cacheBytes }: FrontendOptions): number {
  return Math.min(cacheBytes, context.disk.space(layout.frontend).totalBytes / DISK_PARTS);
}

function openVolumeFiles(options: FrontendOptions): Volume {
  const { context, layout } = options;
  const { stripeBytes, segmentBytes } = options.identity;
  for (const name of OFFLOADED) {
    const path = join(layout.presence, name);
    if (context.disk.stat(path) || !context.disk.stat(join(layout.data, name))) continue;
    // A new table would say that everything is here, and holes would be taken for contents.
    throw new QsfsError(
      'QSFS_E_DISK',
      `${path} is missing: it says which parts of the data files are on this machine`,
      'Put it back; or type "qsfs restore" in another folder, which brings back what was synced.',
    );
  }
  const open = (name: (typeof OFFLOADED)[number]) =>
    VolumeFiles.open(context.disk, layout, name, stripeBytes, segmentBytes);
  try {
    return { 'zdbfs-meta': open('zdbfs-meta'), 'zdbfs-data': open('zdbfs-data') };
  } catch (error) {
    throw new QsfsError('QSFS_E_DISK', messageOf(error));
  }
}

/** Ends what `openParts` began, but for the filesystem thread. */
export async function closeParts(parts: { volume: Volume; housekeeper: Housekeeping }): Promise<void> {
  await parts.housekeeper.close();
  for (const name of OFFLOADED) parts.volume[name].close();
}
