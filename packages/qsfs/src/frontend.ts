// A running frontend: the filesystem thread and everything around it on the main thread. Made by `Frontend.open`, served
// until `close`; the control socket and the signals of `up` end there.
//
// This file only joins: what each part does is in its own file. Order of opening: whose volume (opening.ts), tables,
// filesystem thread, mount, then the upkeep. Order of closing: the reverse, and the lease last.
import { join } from 'node:path';
import type { MountedDevice } from '@qsfs/fuse';
import type { Zstor } from '@qsfs/zstor';
import { messageOf } from './errors.ts';
import type { Filesystem } from './filesystem/filesystem.ts';
import { closeParts, type FrontendOptions, LateEvents, openParts, type Parts } from './frontend-parts.ts';
import { type Identity, writeIdentity } from './lease/identity.ts';
import type { LeaseHolder } from './lease/lease.ts';
import { LeaseWatch } from './lease/lease-watch.ts';
import type { Cache } from './local/cache.ts';
import type { Housekeeping } from './local/housekeeper.ts';
import { PresenceRecord } from './local/presence-record.ts';
import type { Volume } from './local/volume-files.ts';
import { GAUGES } from './messages.ts';
import { hiddenText, mountVolume } from './mounting.ts';
import type { Offload } from './offload/offload.ts';
import type { ReadBack } from './read-back/read-back.ts';
import type { ReadOnly } from './read-only.ts';
import type { EmptiedBackends } from './sync/emptied-backends.ts';
import type { SyncPoints, SyncReport } from './sync/sync-point.ts';
import { SyncSchedule } from './sync/sync-schedule.ts';
import { Upkeep } from './upkeep.ts';

/** The lease is given back in this time, or not at all. */
const RELEASE_TIMEOUT_MS = 3000;
const CLEAN_MARK = 'clean';

/** A running frontend. */
export class Frontend {
  readonly mountPoint: string;
  readonly zstor: Zstor;
  readonly volume: Volume;
  readonly cache: Cache;
  readonly offload: Offload;
  readonly readBack: ReadBack;
  readonly syncPoints: SyncPoints;
  readonly emptied: EmptiedBackends;
  readonly gauges: Float64Array;
  readonly options: FrontendOptions;
  readonly #identity: { current: Identity };
  readonly #filesystem: Filesystem;
  readonly #housekeeper: Housekeeping;
  readonly #lease: LeaseHolder;
  readonly #leaseWatch: LeaseWatch;
  readonly #mounted: MountedDevice;
  readonly #presence: PresenceRecord;
  readonly #schedule: SyncSchedule;
  readonly #upkeep: Upkeep;
  /** Why this frontend may not write to the backends any more; empty otherwise. */
  #fenced = '';
  #closing: Promise<{ clean: boolean; message: string }> | undefined;
  /** The mount goes because we unmount it. */
  #leaving = false;
  #whenGone: (reason: string) => void = () => {};
  #whenWritable: () => void = () => {};

  private constructor(parts: Parts, mounted: MountedDevice, mountPoint: string) {
    this.options = parts.options;
    this.zstor = parts.options.zstor;
    this.volume = parts.volume;
    this.gauges = parts.gauges;
    this.#identity = parts.identity;
    this.#filesystem = parts.filesystem;
    this.#housekeeper = parts.housekeeper;
    this.#presence = new PresenceRecord(parts.volume, parts.housekeeper);
    this.#lease = parts.lease;
    this.cache = parts.cache;
    this.offload = parts.offload;
    this.readBack = parts.readBack;
    this.syncPoints = parts.syncPoints;
    this.emptied = parts.emptied;
    this.#leaseWatch = new LeaseWatch(
      {
        clock: parts.options.context.clock,
        lease: parts.lease,
        claimant: parts.claimant,
        gauges: parts.gauges,
        fence: (reason) => this.fence(reason),
        taken: () => this.#whenWritable(),
        looked: () => this.#filesystem.send({ kind: 'go-on' }),
        log: parts.options.log,
      },
      parts.waiting,
    );
    this.#mounted = mounted;
    this.mountPoint = mountPoint;
    const { gauges, offload, options, syncPoints } = parts;
    this.#schedule = new SyncSchedule({
      clock: options.context.clock,
      gauges,
      offload,
      syncPoints,
      intervalMs: options.configuration.settings.syncIntervalMs,
      readOnly: () => this.readOnly,
      fence: (reason) => this.fence(reason),
      log: options.log,
    });
    this.#upkeep = new Upkeep(parts, {
      leaseWatch: this.#leaseWatch,
      presence: this.#presence,
      schedule: this.#schedule,
      readOnly: () => this.readOnly,
      isOver: () => this.#closing !== undefined,
    });
  }

  /**
   * Opens the volume of a state folder and mounts it. The caller holds the folder's lock.
   * @throws QsfsError; nothing is mounted and all threads are ended then
   */
  static async open(options: FrontendOptions): Promise<Frontend> {
    const { context, layout } = options;
    const { disk } = context;
    if (options.ownership.kind === 'fresh') writeIdentity(disk, layout.identity, options.identity);
    const mark = join(layout.frontend, CLEAN_MARK);
    const cleanStart = disk.stat(mark) !== undefined;
    if (cleanStart) {
      disk.remove(mark);
      disk.syncDirectory(layout.frontend);
    }
    const events = new LateEvents();
    const parts = await openParts(options, cleanStart, events);
    try {
      const mounted = mountVolume(context, layout, options.mountPoint);
      try {
        await parts.filesystem.serve(mounted.descriptor, mounted.mountPoint);
        const frontend = new Frontend(parts, mounted, mounted.mountPoint);
        events.gone = (reason) => frontend.gone(reason);
        events.look = () => void frontend.#leaseWatch.look();
        if (frontend.hiddenCount > 0) options.log('warning', hiddenText(frontend));
        frontend.#upkeep.begin();
        return frontend;
      } catch (error) {
        mounted.putBack();
        mounted.close();
        throw error;
      }
    } catch (error) {
      await parts.filesystem.terminate();
      await closeParts(parts);
      throw error;
    }
  }

  /** Names in the folder below the mount, written there while nothing was mounted. */
  get hiddenCount(): number {
    return this.#mounted.hiddenCount;
  }

  get identity(): Identity {
    return this.#identity.current;
  }

  /** Something was written that no sync point on the backends holds. */
  get unsynced(): boolean {
    return this.#schedule.unsynced;
  }

  /** Why this frontend may not write to the backends any more; empty otherwise. */
  get fenced(): string {
    return this.#fenced;
  }

  /** Why the mount can only be read; null when it can be written. */
  get readOnly(): ReadOnly | null {
    if (this.#fenced) return { cause: 'replaced', reason: this.#fenced };
    const { waiting } = this.#leaseWatch;
    if (waiting === '') return null;
    return { cause: this.options.readOnly ? 'asked' : 'no-lease', reason: waiting };
  }

  /** For how long the backends could not be asked whether another frontend took over. */
  get leaseUnseenMs(): number {
    return this.#leaseWatch.unseenMs;
  }

  /** The filesystem thread died: the mount is dead, and stays until the next start. */
  get crashed(): boolean {
    return this.#filesystem.dead;
  }

  /** Why syncing files holds up everybody; empty otherwise. */
  get syncFailure(): string {
    return this.#filesystem.syncFailure;
  }

  /** Calls once when the mount went away by itself (somebody unmounted it, the thread died). */
  whenGone(call: (reason: string) => void): void {
    this.#whenGone = call;
  }

  /** Calls once when a mount that could only be read can be written. */
  whenWritable(call: () => void): void {
    this.#whenWritable = call;
  }

  /** Everything written so far, to the backends. @throws QsfsError */
  sync(): Promise<SyncReport> {
    return this.#schedule.run();
  }

  /** Drops every local stripe that is safe, and what the kernel keeps of file contents. */
  async evictAll(metadata: boolean): Promise<{ bytes: number; stripes: number }> {
    await this.#schedule.runForOwnChanges();
    const dropped = await this.cache.evictAll(metadata);
    const inodes = await this.#filesystem.cachedInodes();
    await this.#housekeeper.invalidate(this.#mounted.descriptor, inodes);
    return dropped;
  }

  /** Whether backends were emptied: nothing is taken for safe then until it was looked at again. */
  lookForEmptied(): Promise<void> {
    return this.#upkeep.lookForEmptied();
  }

  /** Unmounts; writes of others that are under way are still taken. Everything but the mount goes on until `close`. */
  async unmount(): Promise<void> {
    this.#leaving = true;
    await this.#mounted.unmount();
  }

  /**
   * Unmounts, checkpoints and ends all threads. Nothing is lost: what is not on the backends stays in the folder.
   * @returns whether the state on disk is clean
   */
  close(): Promise<{ clean: boolean; message: string }> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<{ clean: boolean; message: string }> {
    const { context, layout } = this.options;
    this.#upkeep.end();
    // Nobody sets the pace any more: writes that were held back for it must not hold up the unmounting.
    this.gauges[GAUGES.paceBytesPerSecond] = 0;
    this.#leaseWatch.end();
    if (this.#filesystem.dead) {
      // Whoever waits for a dead thread would wait for ever. The mount stays, and answers errors: the folder below it is not the volume.
      this.#mounted.close();
    } else await this.#takeDown();
    // The device is closed when nobody reads it any more: its number may be given to another file at once.
    await this.#filesystem.leave().catch(() => {});
    this.#mounted.close();
    this.offload.close();
    const end = await this.#filesystem.stop().catch((error: unknown) => ({
      clean: false,
      message: messageOf(error),
    }));
    await this.#presence.keep();
    this.readBack.close();
    this.cache.close();
    if (this.readOnly === null) {
      const released = this.#lease
        .release()
        .catch((error: unknown) => void this.#schedule.noticeFence(error));
      await Promise.race([released, context.clock.sleep(RELEASE_TIMEOUT_MS)]);
    }
    await closeParts({
      volume: this.volume,
      housekeeper: this.#housekeeper,
    });
    if (end.clean) {
      const file = context.disk.open(join(layout.frontend, CLEAN_MARK), 'create');
      file.close();
      context.disk.syncDirectory(layout.frontend);
    }
    return end;
  }

  async #takeDown(): Promise<void> {
    const { log } = this.options;
    try {
      if ((await this.#mounted.unmount()) === 'detached') {
        log(
          'warning',
          `${this.mountPoint} was in use: programs with open files there get errors from now on`,
        );
      }
    } catch (error) {
      log('error', messageOf(error));
      this.#mounted.detach();
    }
  }

  /** Another frontend took over: nothing is sent any more, and programs cannot change anything. */
  fence(reason: string): void {
    if (this.#fenced) return;
    this.#fenced = reason;
    this.gauges[GAUGES.fenced] = 1;
    this.offload.close();
    this.options.log(
      'error',
      `${reason}; this frontend sends nothing to them any more, and its mount can only be read. Stop it with "qsfs down".`,
    );
  }

  /** The thread says that the mount is gone. */
  gone(reason: string): void {
    if (!this.#closing && !this.#leaving) this.#whenGone(reason);
  }
}
