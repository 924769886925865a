// What `df` shows as free.
import type { Zstor } from '@qsfs/zstor';
import type { Configuration } from './configuration.ts';

/** Bytes of contents that the backends still take; 0 when they are on this machine: then the local disk tells. */
export async function capacityOf(zstor: Zstor, configuration: Configuration): Promise<number> {
  if (configuration.settings.localBackends !== undefined) return 0;
  const status = await zstor.status();
  const free = status.backends
    .filter((backend) => backend.role === 'data' && backend.freeBytes !== undefined)
    .map((backend) => backend.freeBytes as number)
    .sort((left, right) => right - left);
  const { expectedShards, minimalShards } = configuration.zstor;
  const smallest = free[expectedShards - 1];
  return smallest === undefined ? 0 : smallest * minimalShards;
}
