// What the backends have room for: what `df` shows as free, and what programs may write at all. Not where backends are on the frontend's disk:
// that one tells (shared-disk.ts).
//
// What the backends cannot take would stay on this machine for good, and without a complete sync point nothing that was removed could be
// deleted there. So programs get ENOSPC before, as on any full disk.
import type { Clock, Disk } from '@qsfs/io';
import type { Zstor } from '@qsfs/zstor';
import type { Configuration } from '../configuration.ts';
import { devicesOf } from '../local/shared-disk.ts';
import { GAUGES } from '../messages.ts';
import type { Offload } from './offload.ts';

/** Left on each backend to what is not file contents: leases, indexes, manifests, records. */
const RESERVED_BYTES = 8 * 2 ** 20;
/** How often the backends are asked, and how often when less than so much is left. */
const MEASURE_MS = 30_000;
const MEASURE_SOON_MS = 3000;
const LITTLE_BYTES = 2 ** 30;

/** Bytes of contents; -1 when not enough backends tell. */
export interface Capacity {
  /** With all n shards. */
  readonly wholeBytes: number;
  /** With as many shards as storing needs. */
  readonly storableBytes: number;
}

/** What the backends take, should all contents be incompressible. */
export async function capacityOf(
  zstor: Pick<Zstor, 'status'>,
  configuration: Configuration,
  disk: Pick<Disk, 'stat'>,
): Promise<Capacity> {
  const { expectedShards, minimalShards, writeQuorum } = configuration.zstor;
  const devices = devicesOf(disk, configuration);
  const { backends } = await zstor.status();
  const sharing = new Map<number | undefined, number>();
  for (const device of devices.values()) sharing.set(device, (sharing.get(device) ?? 0) + 1);
  const free = backends
    .filter(({ role, freeBytes }) => role === 'data' && freeBytes !== undefined)
    .map(({ name, freeBytes = 0 }) => {
      const device = devices.get(name);
      const among = device === undefined ? 1 : (sharing.get(device) ?? 1);
      return Math.max(0, freeBytes / among - RESERVED_BYTES);
    })
    .sort((left, right) => right - left);
  const takes = (shards: number) => {
    const smallest = free[shards - 1];
    return smallest === undefined ? -1 : Math.floor(smallest * minimalShards);
  };
  return { wholeBytes: takes(expectedShards), storableBytes: takes(writeQuorum) };
}

/** What the keeper works with. */
export interface CapacityParts {
  readonly measure: () => Promise<Capacity>;
  readonly gauges: Float64Array;
  readonly offload: Pick<Offload, 'status'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/** Sets the gauges of the capacity. */
export class CapacityKeeper {
  readonly #parts: CapacityParts;
  #measured: Capacity = { wholeBytes: -1, storableBytes: -1 };
  #measuredAtMs = Number.NEGATIVE_INFINITY;
  #finishedBytes = 0;

  constructor(parts: CapacityParts) {
    this.#parts = parts;
  }

  /** Called every few seconds. */
  async tend(): Promise<void> {
    const { measure, gauges, offload, clock } = this.#parts;
    const { storableBytes } = this.#measured;
    const isLittle = storableBytes >= 0 && (gauges[GAUGES.storableBytes] as number) < LITTLE_BYTES;
    const periodMs = isLittle ? MEASURE_SOON_MS : MEASURE_MS;
    if (clock.monotonicMs() - this.#measuredAtMs < periodMs) return;
    const { finishedBytes, underWayBytes } = offload.status;
    const { wholeBytes, storableBytes: takenBytes } = await measure();
    // Part of what is on its way has its room already, and counts as not stored all the same.
    const plus = (bytes: number) => (bytes < 0 ? -1 : bytes + underWayBytes);
    this.#measured = { wholeBytes: plus(wholeBytes), storableBytes: plus(takenBytes) };
    this.#finishedBytes = finishedBytes;
    this.#measuredAtMs = clock.monotonicMs();
    this.adjust();
  }

  /** Called several times a second: what was stored since the backends were asked takes its room. */
  adjust(): void {
    const { gauges, offload } = this.#parts;
    const storedBytes = offload.status.finishedBytes - this.#finishedBytes;
    const left = (bytes: number) => (bytes < 0 ? -1 : Math.max(0, bytes - storedBytes));
    gauges[GAUGES.capacityBytes] = left(this.#measured.wholeBytes);
    gauges[GAUGES.storableBytes] = left(this.#measured.storableBytes);
  }
}
