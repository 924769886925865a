// What `qsfs status` shows: one record, made by the running process, printed by the command as text or JSON.
import { describeTolerance, type Tolerance, type ZstorStatus } from '@qsfs/zstor';
import type { LocalState } from './local-backends.ts';
import { count, formatDuration, formatSize } from './quantities.ts';
import { describeReadOnly, type ReadOnly } from './read-only.ts';

/** One backend, data and metadata together. */
export interface BackendReport {
  readonly name: string;
  readonly group: string;
  readonly role: 'data' | 'metadata' | 'data+metadata';
  readonly address: string;
  /**
   * up, down, unknown or foreign, as zstor sees it; `stopped` when it is a local one that does not run; `emptied` when it is up, but
   * lost what it held and has not got all of it again.
   */
  readonly state: string;
  readonly reason: string;
  readonly local: boolean;
  readonly usedBytes: number | null;
  readonly freeBytes: number | null;
}

/** The whole picture. */
export interface StatusReport {
  readonly directory: string;
  readonly mountPoint: string;
  /** Why nothing can be changed in the mount; null when it can be written. */
  readonly readOnly: ReadOnly | null;
  readonly volumeId: string;
  readonly epoch: number;
  readonly generation: number;
  readonly pid: number;
  readonly backends: readonly BackendReport[];
  readonly cache: {
    readonly limitBytes: number;
    readonly usedBytes: number;
    readonly metadataBytes: number;
    readonly evictableBytes: number;
  };
  readonly volume: { readonly fileBytes: number };
  readonly segments: {
    /** On the backends. */
    readonly offloaded: number;
    readonly offloadedBytes: number;
    /** Of these, lacking shards. */
    readonly degraded: number;
    /** Closed and not on the backends yet. */
    readonly pending: number;
    /** Bytes not on the backends yet, those in active files included. */
    readonly pendingBytes: number;
  };
  readonly sync: {
    /** Something was written since the last sync point. */
    readonly dirty: boolean;
    readonly running: boolean;
    /** Age of the newest state on the backends. */
    readonly secondsSinceLast: number | null;
    readonly lastError: string;
  };
  readonly tolerance: {
    readonly data: {
      readonly minimalShards: number;
      readonly expectedShards: number;
      readonly now: Tolerance;
      readonly promised: Tolerance;
      readonly writable: boolean;
      readonly reason: string;
    };
    readonly metadata: {
      readonly stores: number;
      readonly minimalStores: number;
      /** Further stores that may be lost before records cannot be read. */
      readonly now: number;
      /** Further stores that may be lost before nothing can be synced, and `up` and `restore` only read; negative: so many must come back. */
      readonly nowToWrite: number;
      readonly readable: boolean;
      readonly writable: boolean;
      readonly reason: string;
    };
  };
  readonly readBack: {
    readonly fetchedBytes: number;
    readonly failures: number;
    readonly inFlight: number;
    readonly waitingRequests: number;
  };
  readonly problems: readonly string[];
}

/** How far a look at all objects is. */
export function lookedAt({ looked }: ZstorStatus['repair']): string {
  return looked ? ` (${looked.done} of ${count(looked.of, 'object')} looked at)` : '';
}

/**
 * Joins what zstor says of data backends and metadata stores: a local zdb is both.
 * @param rewriting what becomes of what emptied ones held
 * @param unseen data backends that were away, and were not asked yet whether they still have what they were given
 */
export function backendReports(
  status: ZstorStatus,
  localStates: ReadonlyMap<string, LocalState>,
  emptied: ReadonlySet<string>,
  rewriting: string,
  unseen: readonly string[],
): BackendReport[] {
  const reports = new Map<string, BackendReport>();
  for (const backend of status.backends) {
    const place = backend.address.replace(/\/[^/]*$/, '');
    const key = `${backend.name} ${place}`;
    const before = reports.get(key);
    const local = localStates.get(backend.name);
    const state =
      backend.state === 'up' && emptied.has(backend.name)
        ? 'emptied'
        : backend.state !== 'up' && local === 'stopped'
          ? 'stopped'
          : backend.state;
    const isUnseen = state === 'up' && backend.role === 'data' && unseen.includes(backend.name);
    const remark =
      state === 'emptied'
        ? `lost what it held; ${rewriting}`
        : isUnseen
          ? `being asked whether it still has what it was given${lookedAt(status.repair)}`
          : '';
    reports.set(key, {
      name: backend.name,
      group: before?.group || backend.group,
      role: before && before.role !== backend.role ? 'data+metadata' : backend.role,
      address: place,
      state: before && before.state !== 'up' ? before.state : state,
      reason: before?.reason || backend.reason || remark,
      local: local !== undefined,
      usedBytes: sum(before?.usedBytes, backend.usedBytes),
      freeBytes: backend.freeBytes ?? before?.freeBytes ?? null,
    });
  }
  return [...reports.values()];
}

function sum(left: number | null | undefined, right: number | undefined): number | null {
  if (left === null || left === undefined) return right ?? null;
  return left + (right ?? 0);
}

/** The report as lines of text. */
export function formatStatus(report: StatusReport): string[] {
  const { cache, segments, tolerance, sync } = report;
  const lines = [
    `mounted    ${report.mountPoint}  (${report.directory}, process ${report.pid})`,
    `cache      ${formatSize(cache.usedBytes)} of ${formatSize(cache.limitBytes)} used, ${formatSize(cache.evictableBytes)} can be dropped`,
    `segments   ${segments.offloaded} offloaded (${formatSize(segments.offloadedBytes)}), ${segments.pending} pending, ${formatSize(segments.pendingBytes)} only here`,
  ];
  if (report.readOnly) lines.splice(1, 0, `read-only  ${describeReadOnly(report.readOnly)}`);
  if (segments.degraded > 0)
    lines.push(
      `           ${count(segments.degraded, 'segment')} degraded: shards are missing and will be repaired`,
    );
  const last =
    sync.secondsSinceLast === null ? 'never' : `${formatDuration(sync.secondsSinceLast * 1000)} ago`;
  lines.push(
    `sync       newest state on the backends: ${last}${sync.running ? ', one is running' : ''}${sync.dirty ? ', written to since' : ''}`,
    `survives   data: ${describeTolerance(tolerance.data.now)}`,
    `           metadata: ${describeStores(tolerance.metadata.now, tolerance.metadata.nowToWrite)}`,
    '',
    ...formatBackends(report.backends),
  );
  if (report.problems.length > 0)
    lines.push('', ...report.problems.map((problem) => `problem    ${problem}`));
  return lines;
}

function describeStores(toRead: number, toWrite: number): string {
  if (toRead < 0) return 'none: too few stores answer';
  const reading = toRead === 0 ? 'no further store' : `any ${count(toRead, 'further store')}`;
  if (toWrite < 0) return `${reading} to read; ${count(-toWrite, 'store')} must come back to write`;
  return `${reading} to read, ${toWrite === 0 ? 'no further one' : `any ${toWrite}`} to write`;
}

/** The backends as a table. */
export function formatBackends(backends: readonly BackendReport[]): string[] {
  const rows = [
    ['BACKEND', 'GROUP', 'STATE', 'USED', 'FREE', 'ADDRESS'],
    ...backends.map((backend) => [
      backend.name,
      backend.group || '-',
      backend.state,
      backend.usedBytes === null ? '-' : formatSize(backend.usedBytes),
      backend.freeBytes === null ? '-' : formatSize(backend.freeBytes),
      backend.state === 'stopped' || backend.reason === ''
        ? backend.address
        : `${backend.address} (${backend.reason})`,
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  '),
  );
}
