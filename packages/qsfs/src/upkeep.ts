// What a mounted frontend does again and again: the cache, the pace of writers, what backends take and have lost, the lease,
// sync points and room on the local disk. Used by Frontend, which begins it when the mount serves and ends it first.
import { messageOf } from './errors.ts';
import type { Parts } from './frontend-parts.ts';
import { type LeaseWatch, LOOK_MS } from './lease/lease-watch.ts';
import type { PresenceRecord } from './local/presence-record.ts';
import { GAUGES } from './messages.ts';
import { CapacityKeeper, capacityOf } from './offload/capacity.ts';
import { HEAL_ROUND_MAX } from './offload/degraded-files.ts';
import { PaceKeeper } from './offload/pace-keeper.ts';
import { count } from './quantities.ts';
import { bringMetadata } from './read-back/metadata-first.ts';
import type { ReadOnly } from './read-only.ts';
import { Recurring } from './recurring.ts';
import { RoomKeeper } from './sync/give-back.ts';
import { Relocator } from './sync/relocation.ts';
import type { SyncSchedule } from './sync/sync-schedule.ts';

const TICK_MS = 100;
const RECORD_PRESENCE_MS = 5000;
const HEAL_MS = 30_000;
const CAPACITY_MS = 3000;
const ROOM_MS = 1000;
/** How often backends are asked whether they are what they were. */
const EMPTIED_MS = 10_000;

/** What the upkeep needs of the frontend beside its parts. */
export interface Upkept {
  readonly leaseWatch: LeaseWatch;
  readonly presence: PresenceRecord;
  readonly schedule: SyncSchedule;
  /** Why the mount can only be read; null when it can be written. */
  readonly readOnly: () => ReadOnly | null;
  /** The frontend closes. */
  readonly isOver: () => boolean;
}

/** The upkeep of one frontend. */
export class Upkeep {
  readonly #parts: Parts;
  readonly #frontend: Upkept;
  readonly #recurring: Recurring;
  readonly #pace: PaceKeeper;
  readonly #room: RoomKeeper;
  /** Not where the frontend's own disk tells. */
  readonly #capacity: CapacityKeeper | undefined;

  constructor(parts: Parts, frontend: Upkept) {
    this.#parts = parts;
    this.#frontend = frontend;
    const { cache, courtesy, filesystem, gauges, offload, options, shared, syncPoints, volume } = parts;
    const { context, log } = options;
    const { clock, disk } = context;
    this.#recurring = new Recurring(clock, log);
    const move = (file: number) => filesystem.relocate(file);
    this.#room = new RoomKeeper({
      disk,
      dataDirectory: options.layout.data,
      shared,
      gauges,
      volume,
      offload,
      cache,
      syncPoints,
      survey: () => filesystem.survey(),
      relocator: new Relocator({ shared, volume, offload, cache, clock, move, log }),
    });
    const measure = () => capacityOf(options.zstor, options.configuration, disk);
    this.#capacity =
      shared.shardFactor > 0 ? undefined : new CapacityKeeper({ measure, gauges, offload, clock });
    this.#pace = new PaceKeeper({
      gauges,
      cache,
      shared,
      offload,
      clock,
      mayOffload: () => courtesy.mayBegin,
    });
  }

  /** Starts the loops. */
  begin(): void {
    const { cache, options, readBack, volume } = this.#parts;
    const { leaseWatch, presence, schedule, isOver } = this.#frontend;
    const recurring = this.#recurring;
    recurring.every('cache', TICK_MS, () => this.#tick());
    recurring.every('presence', RECORD_PRESENCE_MS, () => presence.keep());
    recurring.every('heal', HEAL_MS, () => this.#heal(false));
    if (!options.readOnly) recurring.every('lease', LOOK_MS, () => leaseWatch.look());
    recurring.every('capacity', CAPACITY_MS, () => this.#capacity?.tend());
    recurring.every('emptied backends', EMPTIED_MS, () => this.lookForEmptied());
    recurring.every('sync', 1000, () => schedule.tend());
    recurring.every('room', ROOM_MS, () => this.#makeRoom());
    void this.#capacity?.tend();
    bringMetadata({
      clock: options.context.clock,
      files: volume['zdbfs-meta'],
      readBack,
      limitBytes: cache.limitBytes / 4,
      isOver,
      log: options.log,
    });
    void this.#lookAtDegraded().catch((error: unknown) =>
      options.log('warning', `heal: ${messageOf(error)}`),
    );
  }

  /** Nothing begins any more; what runs goes on to its end. */
  end(): void {
    this.#recurring.end();
  }

  /** Whether backends were emptied: nothing is taken for safe then until it was looked at again. */
  async lookForEmptied(): Promise<void> {
    if (await this.#parts.emptied.look()) await this.#heal(true);
  }

  #tick(): void {
    const { cache, courtesy, filesystem, gauges, offload, readBack } = this.#parts;
    cache.tend();
    readBack.tend();
    this.#pace.adjust();
    this.#capacity?.adjust();
    courtesy.observe();
    offload.tend();
    gauges[GAUGES.pendingBytes] = offload.status.pendingBytes;
    if ((gauges[GAUGES.paceBytesPerSecond] as number) > 0) filesystem.send({ kind: 'go-on' });
  }

  async #heal(rebuild: boolean): Promise<void> {
    const { offload, options, syncPoints } = this.#parts;
    const readOnly = this.#frontend.readOnly();
    if (readOnly?.cause === 'replaced') return;
    // Without the lease only what others repaired is found.
    const mayWrite = readOnly === null;
    if (mayWrite) await syncPoints.healSmall();
    const before = offload.status.degradedFiles;
    if (before === 0) return;
    const rest = await offload.degraded.heal(rebuild && mayWrite);
    if (rest < before)
      options.log('info', `${count(before - rest, 'segment')} whole again, ${rest} degraded`);
  }

  /** After a restore nothing is known to be whole, and so nothing can be dropped: looks at everything once. */
  async #lookAtDegraded(): Promise<void> {
    let rounds = Math.ceil(this.#parts.offload.status.degradedFiles / HEAL_ROUND_MAX);
    for (; rounds > 0 && !this.#frontend.isOver(); rounds -= 1) await this.#heal(false);
  }

  async #makeRoom(): Promise<void> {
    const { cache, filesystem, gauges } = this.#parts;
    gauges[GAUGES.evictableBytes] = cache.evictableBytes();
    // Nothing is removed any more where another frontend may have a use for it.
    if (!this.#frontend.readOnly() && !filesystem.dead) await this.#room.tend();
  }
}
