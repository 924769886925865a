// How `zstor status` prints: the two tables of the reference (spec/zstor.md 1.2), then what they mean.
import { describeTolerance } from '../placement/tolerance.ts';
import type { BackendStatus, ZstorStatus } from '../types.ts';

const COLUMNS = ['backend', 'reachable', 'objects', 'used space', 'free space', 'usage percentage'];

/** The whole text. */
export function statusText(status: ZstorStatus): string {
  const metadata = status.backends.filter(({ role }) => role === 'metadata');
  const data = status.backends.filter(({ role }) => role === 'data');
  return [table(metadata), table(data), summary(status)].join('\n');
}

function table(backends: readonly BackendStatus[]): string {
  const rows = backends.map((backend) => {
    const { name, address, state, entries, usedBytes, freeBytes, group } = backend;
    const label = name === address ? name : `${name} (${address})`;
    const total = usedBytes === undefined || freeBytes === undefined ? undefined : usedBytes + freeBytes;
    return [
      group === '' ? label : `${group}: ${label}`,
      state === 'up' ? 'Yes' : 'No',
      number(entries),
      number(usedBytes),
      number(freeBytes),
      total === undefined || total === 0 ? '-' : `${Math.floor((100 * usedBytes!) / total)}`,
    ];
  });
  const widths = COLUMNS.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]!.length)),
  );
  const line = (fill: string) => `+${widths.map((width) => fill.repeat(width + 2)).join('+')}+\n`;
  const cells = (row: readonly string[], isTitle: boolean) =>
    `|${row.map((cell, column) => ` ${isTitle || column < 2 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)} `).join('|')}|\n`;
  return (
    line('-') + cells(COLUMNS, true) + line('=') + rows.map((row) => cells(row, false) + line('-')).join('')
  );
}

function number(value: number | undefined): string {
  return value === undefined ? '-' : `${value}`;
}

function summary({ backends, data, metadata, repair, objects }: ZstorStatus): string {
  const lines = [];
  if (objects && objects.count > 0) {
    const { count, sizeBytes, storedBytes, lacking, tolerance } = objects;
    lines.push(
      `stored: ${count} objects, ${sizeBytes} bytes in ${storedBytes} bytes of shards; survive the loss of ${describeTolerance(tolerance)}`,
    );
    if (lacking > 0) lines.push(`      ${lacking} lack shards; run: zstor repair`);
  }
  lines.push(
    `data: ${data.minimalShards} of ${data.expectedShards} shards needed; by placement survives the loss of ${describeTolerance(data.tolerance)}`,
  );
  const promised = describeTolerance(data.promised);
  if (promised !== describeTolerance(data.tolerance)) lines.push(`      with every backend up: ${promised}`);
  if (data.reason !== '')
    lines.push(`      ${data.writable ? 'STORING WITH FEWER SHARDS' : 'CANNOT STORE'}: ${data.reason}`);
  const further =
    metadata.tolerance < 0 ? 'cannot be read now' : `survives the loss of ${metadata.tolerance} stores`;
  lines.push(
    `metadata: ${metadata.minimalStores} of ${metadata.stores} stores needed, ${metadata.writeQuorum} to write; ${further}`,
  );
  if (metadata.reason !== '') lines.push(`      ${metadata.reason}`);
  for (const { name, reason } of backends) if (reason !== '') lines.push(`${name}: ${reason}`);
  if (repair.pendingObjects > 0)
    lines.push(`${repair.pendingObjects} objects wait for repair; run: zstor repair`);
  return `${lines.join('\n')}\n`;
}
