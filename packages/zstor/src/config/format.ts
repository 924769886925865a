// Writes a configuration file that `parseConfig` reads back to the same configuration (docs/formats/config.md).
import { relative } from 'node:path';
import { formatAddress } from '@qsfs/io';
import { stringify } from 'smol-toml';
import type { BackendConfig, ZstorConfig } from './types.ts';

/**
 * The text of a configuration file.
 * @param baseDirectory absolute folder the file will be in; paths below it are written relative to it, so that the folder can move
 */
export function formatConfig(config: ZstorConfig, baseDirectory: string): string {
  const key = Buffer.from(config.masterKey).toString('hex');
  const encryption = { algorithm: 'AES', key };
  return stringify(
    withoutUndefined({
      minimal_shards: config.minimalShards,
      expected_shards: config.expectedShards,
      redundant_groups: config.redundantGroups,
      redundant_nodes: config.redundantNodes,
      write_quorum: config.writeQuorum,
      stripe_size: config.largestStripeBytes === config.stripeSizeBytes ? config.stripeSizeBytes : undefined,
      root: config.root,
      socket: config.socket,
      pid_file: config.pidFile,
      zdb_data_dir_path: config.zdbDataDirectory,
      max_zdb_data_dir_size:
        config.zdbDataLimitBytes === undefined ? undefined : config.zdbDataLimitBytes / 1024 / 1024,
      zdbfs_mountpoint: config.zdbfsMountpoint,
      prometheus_port: config.prometheusPort,
      encryption,
      compression: { algorithm: 'snappy' },
      qsfs: Object.keys(config.qsfs).length > 0 ? config.qsfs : undefined,
      meta: {
        type: 'zdb',
        config: {
          prefix: config.metadata.prefix,
          minimal_stores: config.metadata.minimalStores,
          write_quorum: config.metadata.writeQuorum,
          encryption,
          backends: config.metadata.backends.map((backend) => formatBackend(backend, baseDirectory)),
        },
      },
      groups: config.groups.map((group) => ({
        name: group.name,
        backends: group.backends.map((backend) => formatBackend(backend, baseDirectory)),
      })),
    }),
  );
}

function formatBackend(backend: BackendConfig, baseDirectory: string): Record<string, unknown> {
  if (backend.type === 'dir') {
    return { name: backend.name, type: 'dir', path: shorten(backend.path!, baseDirectory) };
  }
  const address = backend.address!;
  return withoutUndefined({
    name: backend.name,
    address: 'path' in address ? `unix:${shorten(address.path, baseDirectory)}` : formatAddress(address),
    namespace: backend.namespace,
    password: backend.password,
  });
}

function shorten(path: string, baseDirectory: string): string {
  const short = relative(baseDirectory, path);
  return short === '' || short.startsWith('..') ? path : short;
}

function withoutUndefined(table: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(table).filter(([, value]) => value !== undefined));
}
