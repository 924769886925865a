// The data backends as placement and readers see them: who is up, who has room, who is fast.
import type { Clock } from '@qsfs/io';
import { isBackendError, SMALL_VALUE_BYTES, type SpaceReport } from '../backend/backend.ts';
import type { GuardedShardStore } from '../backend/guarded.ts';
import type { StoredRecord } from '../metadata/record.ts';
import type { ShardPlace } from '../metadata/stripe-table.ts';
import type { Obstacle } from '../placement/obstacles.ts';
import type { Candidate } from '../placement/placement.ts';
import { toleranceOf, weakest } from '../placement/tolerance.ts';
import type { Tolerance } from '../types.ts';

/** A space report is used for this long; what is written meanwhile is taken off. */
const SPACE_VALID_MS = 10_000;
/** … but one that tells of little room only for so long: others may use the same disk, and room may be made at any moment. */
const LITTLE_SPACE_VALID_MS = 500;
const LITTLE_SPACE_BYTES = 256 * 1024 * 1024;
/** A backend with less room than this is full: shards of several stripes are on their way to it at any time. */
const LEAST_FREE_BYTES = 2 * 1024 * 1024;

/** Spare room below which small shards are not written either. */
const LEAST_SPARE_BYTES = 4 * SMALL_VALUE_BYTES;

/** One data backend. */
export interface DataBackend {
  readonly name: string;
  /** Index of its group in the configuration. */
  readonly group: number;
  readonly store: GuardedShardStore;
}

interface Room {
  freeBytes: number | undefined;
  /** Beside that, for small shards. */
  readonly spareBytes: number;
  askedMs: number;
}

/** All data backends of the configuration. */
export class DataBackends {
  readonly all: readonly DataBackend[];
  readonly groups: number;
  readonly #byName = new Map<string, DataBackend>();
  readonly #rooms = new Map<string, Room>();
  readonly #clock: Clock;
  #asking: Promise<void> | undefined;

  constructor(all: readonly DataBackend[], groups: number, clock: Clock) {
    this.all = all;
    this.groups = groups;
    this.#clock = clock;
    for (const backend of all) this.#byName.set(backend.name, backend);
  }

  find(name: string): DataBackend | undefined {
    return this.#byName.get(name);
  }

  /** Makes sure of every backend's state; takes at most a second. */
  async start(): Promise<void> {
    await Promise.all(this.all.map(({ store }) => store.health.inspect()));
  }

  /** Asks every backend what it is now. Those that do not answer are left out. @returns incarnations by name (`Inspection`) */
  async incarnations(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    await Promise.all(
      this.all.map(async ({ name, store }) => {
        try {
          await store.identify();
        } catch (error) {
          if (!isBackendError(error)) throw error;
          // The connection may just have been that of a server that was started anew.
          await store.health.inspect();
        }
        const { health, incarnation, nextKey = 0 } = store;
        if (!health.usable || incarnation === undefined) return;
        found.set(name, incarnation === '' && nextKey > 0 ? `+${nextKey}` : incarnation);
      }),
    );
    return found;
  }

  /** Asks the backends whose space report is old; at most a second, and nobody waits twice. */
  async refreshSpace(): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const old = this.all.filter(
      ({ name, store }) => store.health.usable && !isValid(this.#rooms.get(name), nowMs),
    );
    if (old.length === 0) return;
    this.#asking ??= Promise.all(old.map((backend) => this.space(backend))).then(
      () => {
        this.#asking = undefined;
      },
      (error: unknown) => {
        this.#asking = undefined;
        throw error;
      },
    );
    await this.#asking;
  }

  /** The space report of one backend; undefined when it does not give one. */
  async space({ name, store }: DataBackend): Promise<SpaceReport | undefined> {
    try {
      const report = await store.space();
      const { freeBytes, spareBytes = 0 } = report;
      this.#rooms.set(name, { freeBytes, spareBytes, askedMs: this.#clock.monotonicMs() });
      return report;
    } catch (error) {
      if (!isBackendError(error)) throw error;
      return undefined;
    }
  }

  /** Bytes were written to a backend since its last report. */
  wrote(name: string, lengthBytes: number): void {
    const room = this.#rooms.get(name);
    if (room?.freeBytes !== undefined) room.freeBytes -= lengthBytes;
  }

  /**
   * The backends as candidates for shards of this length, without those in `excluded`.
   * @param objectBytes what each will have to take of the whole object
   */
  candidates(shardBytes: number, excluded?: ReadonlySet<string>, objectBytes = 0): Candidate[] {
    return this.all.map((backend) => {
      const { name, group } = backend;
      const obstacle = this.obstacle(backend, shardBytes, objectBytes);
      const usable = !obstacle && !excluded?.has(name);
      const weight = this.#rooms.get(name)?.freeBytes ?? leastFreeBytes(shardBytes);
      return { name, group, usable, weight, obstacle };
    });
  }

  /** Why a backend takes no shards of this length, of an object of which so much falls to it; undefined when it does. */
  obstacle({ name, store }: DataBackend, shardBytes = 0, objectBytes = 0): Obstacle | undefined {
    const out = this.outage(name);
    if (out) return out;
    const { freeBytes, spareBytes = 0 } = this.#rooms.get(name) ?? {};
    // What is small has room of its own there: records of who uses the volume, and what a sync ends with.
    const isSmall = shardBytes > 0 && shardBytes <= SMALL_VALUE_BYTES;
    if (isSmall && spareBytes >= LEAST_SPARE_BYTES && store.unwritable?.kind !== 'refused') return undefined;
    const isFull = freeBytes !== undefined && freeBytes < leastFreeBytes(shardBytes);
    if (store.unwritable) {
      const { kind, reason } = store.unwritable;
      if (kind !== 'unwritable') return { backend: name, kind, reason };
      // It did not say why it cannot: its room tells.
      if (isFull || freeBytes === undefined) return { backend: name, kind: 'full', reason };
      const why = `${reason}, although it has room: its disk fails, or can only be read`;
      return { backend: name, kind: 'refused', reason: why };
    }
    if (isFull) return { backend: name, kind: 'full', reason: 'has no room' };
    const fits = freeBytes === undefined || freeBytes - objectBytes >= leastFreeBytes(shardBytes);
    return fits
      ? undefined
      : { backend: name, kind: 'full', reason: 'has no room for its part of the object' };
  }

  /** Why a backend can be neither read nor written; undefined when it can. */
  outage(name: string): Obstacle | undefined {
    const health = this.#byName.get(name)?.store.health;
    if (!health || health.usable) return undefined;
    return {
      backend: name,
      kind: health.state === 'foreign' ? 'refused' : 'down',
      reason: health.reason,
    };
  }

  /**
   * What is known of a shard's backend without asking: `lost` when the shard certainly is not there any more (backend not in
   * the configuration, or wiped), `unreachable` when nobody can tell now.
   */
  standing({ backend: name, location }: ShardPlace): 'there' | 'unreachable' | 'lost' {
    const backend = this.#byName.get(name);
    if (!backend) return 'lost';
    if (!backend.store.health.usable) return 'unreachable';
    const { incarnation } = backend.store;
    return incarnation === undefined || incarnation === location.incarnation ? 'there' : 'lost';
  }

  /** Shards of an object are missing, or were on a backend that was wiped or taken out. */
  lacksShards({ missingShards, stripes }: StoredRecord): boolean {
    if (missingShards > 0) return true;
    return stripes.used.some(({ name, incarnation, highestKey: key }) => {
      if (this.standing({ index: 0, backend: name, location: { incarnation, key } }) === 'lost') return true;
      // Without an incarnation the keys tell. Only here, where a mistake costs a look: others may have written since we asked.
      const nextKey = this.#byName.get(name)?.store.nextKey;
      return incarnation === '' && nextKey !== undefined && key >= nextKey;
    });
  }

  /** Failures an object survives from now on. */
  tolerance(record: StoredRecord): Tolerance {
    const { stripes, minimalShards } = record;
    const live = stripes.holders.map(({ name, incarnation }) => {
      const place: ShardPlace = { index: 0, backend: name, location: { incarnation, key: 0 } };
      return this.standing(place) === 'there' ? this.#byName.get(name)!.group : -1;
    });
    const tolerances = stripes.patterns().map((holders) => {
      const layout = new Array<number>(this.groups).fill(0);
      for (const holder of holders) if (live[holder]! >= 0) layout[live[holder]!]!++;
      return toleranceOf(layout, minimalShards);
    });
    if (tolerances.length > 0) return weakest(tolerances);
    // An object of no bytes is nowhere and cannot be lost.
    const sizes = new Array<number>(this.groups).fill(0);
    for (const { group } of this.all) sizes[group]!++;
    return toleranceOf(sizes, 0);
  }

  async close(): Promise<void> {
    await Promise.all(this.all.map(({ store }) => store.close()));
  }
}

function isValid(room: Room | undefined, nowMs: number): boolean {
  if (!room) return false;
  const isLittle = room.freeBytes !== undefined && room.freeBytes < LITTLE_SPACE_BYTES;
  return nowMs - room.askedMs <= (isLittle ? LITTLE_SPACE_VALID_MS : SPACE_VALID_MS);
}

/** Room below which a backend is given no shard of this length. */
function leastFreeBytes(shardBytes: number): number {
  return Math.max(LEAST_FREE_BYTES, 2 * shardBytes);
}
