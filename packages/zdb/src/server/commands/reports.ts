// The texts of INFO and NSINFO. Their lines, order and number formats are those of the reference; programs parse them.
import type { Host, Session } from '../session.ts';
import type { Slot } from '../slot.ts';

/** Version of this program. */
export const REVISION = '0.1.0';
const MIB = 1024 * 1024;

/** NSINFO's text. */
export function describeNamespace(session: Session, slot: Slot): string {
  const { server } = session;
  // What a failing commit would take back is not told: a key that is given out next does not become smaller.
  server.commit();
  const { namespace } = slot;
  const { settings, statistics } = namespace;
  const lines = [
    '# namespace',
    `name: ${slot.name}`,
    `entries: ${namespace.entries}`,
    `public: ${yesNo(settings.public)}`,
    `worm: ${yesNo(settings.worm)}`,
    `locked: ${yesNo(settings.locked || settings.frozen)}`,
    `password: ${yesNo(settings.password !== undefined)}`,
    `data_size_bytes: ${namespace.dataSizeBytes}`,
    `data_size_mb: ${mebibytes(namespace.dataSizeBytes)}`,
    `data_limits_bytes: ${whole(settings.maxSizeBytes)}`,
    `index_size_bytes: ${namespace.indexSizeBytes}`,
    `index_size_kb: ${twoDecimals(namespace.indexSizeBytes, 1024)}`,
    `next_internal_id: ${internalId(namespace.nextId)}`,
    `mode: ${namespace.mode === 'seq' ? 'sequential' : 'userkey'}`,
    `stats_index_io_errors: ${statistics.indexReadFailures + statistics.indexWriteFailures}`,
    `stats_index_io_error_last: ${statistics.lastIndexFailure}`,
    'stats_index_faults: 0',
    `stats_data_io_errors: ${statistics.dataReadFailures + statistics.dataWriteFailures}`,
    `stats_data_io_error_last: ${statistics.lastDataFailure}`,
    'stats_data_faults: 0',
  ];
  if (settings.maxSizeBytes > 0) {
    const left = BigInt(whole(settings.maxSizeBytes)) - BigInt(namespace.dataSizeBytes);
    lines.push(`space_available: ${BigInt.asUintN(64, left)}`);
  }
  const indexFree = server.room.freeBytes(namespace.indexDirectory);
  const dataFree = server.room.freeBytes(namespace.dataDirectory);
  lines.push(
    `index_disk_freespace_bytes: ${indexFree}`,
    `index_disk_freespace_mb: ${mebibytes(indexFree)}`,
    `data_disk_freespace_bytes: ${dataFree}`,
    `data_disk_freespace_mb: ${mebibytes(dataFree)}`,
  );
  if (server.options.spareBytes > 0) {
    // A line of our own, only with an option of our own.
    lines.push(`data_disk_spare_bytes: ${server.room.spareBytes(namespace.dataDirectory)}`);
  }
  if (session.master && settings.password !== undefined) {
    lines.push(`password_raw: ${Buffer.from(settings.password).toString('utf8')}`);
  }
  if (session.admin) {
    lines.push(
      `data_path: ${namespace.dataDirectory}`,
      `data_active: ${namespace.dataPath(namespace.activeFile)}`,
      `index_path: ${namespace.indexDirectory}`,
      `index_active: ${namespace.indexPath(namespace.activeFile)}`,
      `data_current_id: ${namespace.activeFile}`,
      `data_current_offset: ${namespace.activeOffset}`,
    );
  }
  return `${lines.join('\n')}\n`;
}

/** INFO's text. */
export function describeServer(server: Host): string {
  const { counters } = server;
  const { statistics } = server.engine;
  const lines = [
    '# server',
    'server_name: 0-db (zdb)',
    `server_revision: qsfs-${REVISION}`,
    `engine_revision: qsfs-${REVISION}`,
    `instance_id: ${server.instanceId}`,
    `boot_time: ${server.startedSeconds}`,
    `uptime: ${Math.floor((server.clock.monotonicMs() - server.startedMs) / 1000)}`,
    '',
    '# clients',
    `clients_lifetime: ${counters.clients}`,
    '',
    '# internals',
    'sequential_key_size: 8',
    'data_version: 3',
    'index_version: 4',
    '',
    '# stats',
    `commands_executed: ${counters.commandsExecuted}`,
    `commands_failed: ${counters.commandsFailed}`,
    `commands_unauthorized: ${counters.commandsUnauthorized}`,
    `index_disk_read_failed: ${statistics.indexReadFailures}`,
    `index_disk_write_failed: ${statistics.indexWriteFailures}`,
    `data_disk_read_failed: ${statistics.dataReadFailures}`,
    `data_disk_write_failed: ${statistics.dataWriteFailures}`,
  ];
  const traffic: readonly [string, number][] = [
    ['index_disk_read', statistics.indexReadBytes],
    ['index_disk_write', statistics.indexWrittenBytes],
    ['data_disk_read', statistics.dataReadBytes],
    ['data_disk_write', statistics.dataWrittenBytes],
    ['network_rx', counters.networkReceivedBytes],
    ['network_tx', counters.networkSentBytes],
  ];
  for (const [name, bytes] of traffic) {
    lines.push(`${name}_bytes: ${bytes}`, `${name}_mb: ${mebibytes(bytes)}`);
  }
  return `${lines.join('\n')}\n`;
}

function yesNo(value: boolean): string {
  return value ? 'yes' : 'no';
}

function mebibytes(bytes: number): string {
  return twoDecimals(bytes, MIB);
}

/** A size in a larger unit with two decimals, as C prints it: halves go to the even neighbour, other than with toFixed. */
function twoDecimals(bytes: number, unit: number): string {
  const scaled = (bytes * 100) / unit;
  const below = Math.floor(scaled);
  const rest = scaled - below;
  const hundredths = rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
  return `${Math.floor(hundredths / 100)}.${String(hundredths % 100).padStart(2, '0')}`;
}

/** A 64-bit limit without an exponent; what is beyond the last one is the last one. */
function whole(value: number): string {
  return String(value >= 2 ** 64 ? 2n ** 64n - 1n : BigInt(value));
}

/** The next id as a 64-bit number with its bytes swapped, in hexadecimal with at least eight digits. */
function internalId(id: number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(id));
  return `0x${bytes.readBigUInt64BE().toString(16).padStart(8, '0')}`;
}
