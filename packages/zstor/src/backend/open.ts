// Makes the store a configuration entry means.

import type { BackendConfig } from '../config/types.ts';
import type { Capabilities } from '../types.ts';
import type { RecordStore, ShardStore } from './backend.ts';
import { DirectoryRecordStore, DirectoryShardStore } from './directory.ts';
import { ZdbRecordStore, ZdbShardStore } from './zdb.ts';

/** What stores need of the machine. */
export type StoreCapabilities = Pick<Capabilities, 'disk' | 'network' | 'clock' | 'random'>;

/** A data backend; nothing is contacted yet. */
export function openShardStore(
  config: BackendConfig,
  { disk, network, clock, random }: StoreCapabilities,
): ShardStore {
  const { name, path, address, namespace, password } = config;
  if (config.type === 'dir') return new DirectoryShardStore(disk, random, name, path!);
  return new ZdbShardStore(network, clock, random, { name, address: address!, namespace, password });
}

/** A metadata store; nothing is contacted yet. */
export function openRecordStore(
  config: BackendConfig,
  { disk, network, clock, random }: StoreCapabilities,
): RecordStore {
  const { name, path, address, namespace, password } = config;
  if (config.type === 'dir') return new DirectoryRecordStore(disk, random, name, path!);
  return new ZdbRecordStore(network, clock, { name, address: address!, namespace, password });
}
