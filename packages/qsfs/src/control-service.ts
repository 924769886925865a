// What the running process answers on its control socket. One function a request; the commands print what comes back.

import { describeTolerance, type Tolerance, weakest, type ZstorStatus } from '@qsfs/zstor';
import { localBackendsOf } from './configuration.ts';
import type { ControlRequest } from './control.ts';
import { messageOf, QsfsError } from './errors.ts';
import type { Frontend } from './frontend.ts';
import { asKnownError } from './known-errors.ts';
import { WATCH_MS } from './lease/lease.ts';
import { LocalBackends, type LocalState } from './local-backends.ts';
import { GAUGES } from './messages.ts';
import { count, formatDuration, formatSize } from './quantities.ts';
import { describeRewriting, type ReadOnly } from './read-only.ts';
import { backendReports, lookedAt, type StatusReport } from './status.ts';
import type { SyncReport } from './sync/sync-point.ts';

const PROGRESS_MS = 500;
/** Syncs after the unmount, at most: a program that never stops writing must not keep `down` from ending. */
const LAST_SYNCS = 3;
const DAMAGED_HINT =
  'Bring back backends that were taken away, with what they held. Everything else is on the backends; DIR/frontend/log names the data files.';
/** Degraded objects whose own tolerance is looked at for `status`; beyond that their number says enough. */
const TOLERANCE_SAMPLE_MAX = 64;

/** What `ping` answers. */
export interface Pong {
  readonly mountPoint: string;
  readonly pid: number;
  readonly hiddenCount: number;
  readonly readOnly: ReadOnly | null;
  /** What it has warned of while starting. */
  readonly warnings: readonly string[];
}

/** What `sync` answers. */
export interface SyncAnswer extends SyncReport {
  readonly complete: boolean;
}

/** What `down` answers. */
export interface DownAnswer {
  readonly complete: boolean;
  readonly reason: string;
  /** Another frontend has the volume now. */
  readonly fenced: boolean;
  /** Data files that lost too many shards on the backends. */
  readonly damagedFiles: number;
}

/** What `evict` answers. */
export interface EvictAnswer {
  readonly droppedBytes: number;
  readonly droppedStripes: number;
  /** Still local: not on all backends yet, active, or directory records. */
  readonly localBytes: number;
  readonly pendingBytes: number;
  readonly metadataBytes: number;
}

/** Serves requests for one frontend. */
export class ControlService {
  readonly #frontend: Frontend;
  readonly #warnings: readonly string[];

  /** @param warnings what was warned of while starting, for whoever waits for it in another process */
  constructor(frontend: Frontend, warnings: readonly string[]) {
    this.#frontend = frontend;
    this.#warnings = warnings;
  }

  async handle(request: ControlRequest, progress: (line: unknown) => void): Promise<unknown> {
    try {
      switch (request.verb) {
        case 'ping':
          return this.#ping();
        case 'status':
          return await this.status();
        case 'sync':
          return await this.#sync(progress);
        case 'evict':
          return await this.#evict(request.parameters['metadata'] === true);
        case 'backend-started':
          // Found to be back it counts at once (Zstor.whenReadable).
          await this.#frontend.zstor.inspect();
          return {};
        case 'backend-wiped':
          await this.#frontend.lookForEmptied();
          return {};
        case 'down':
          return await this.#down(progress);
        default:
          throw new QsfsError('QSFS_E_USAGE', `the running qsfs does not know the request "${request.verb}"`);
      }
    } catch (error) {
      throw asKnownError(error);
    }
  }

  #ping(): Pong {
    const { mountPoint, hiddenCount, options, readOnly } = this.#frontend;
    const { pid } = options.context.processes;
    return { mountPoint, hiddenCount, pid, readOnly, warnings: this.#warnings };
  }

  async status(): Promise<StatusReport> {
    const { options, gauges, zstor, identity, mountPoint, readOnly } = this.#frontend;
    const { syncPoints, emptied, readBack } = this.#frontend;
    const { context, configuration, layout } = options;
    const local = new LocalBackends(context, localBackendsOf(configuration));
    const [status, states] = await Promise.all([zstor.status(), localStates(local)]);
    const lost = new Set([...emptied.emptied, ...emptied.blankStores]);
    const rewriting = describeRewriting(readOnly);
    const { fetchedBytes, failures, inFlight } = readBack.statistics;
    return {
      directory: layout.root,
      mountPoint,
      readOnly,
      volumeId: identity.volumeId,
      epoch: identity.epoch,
      generation: syncPoints.generation,
      pid: context.processes.pid,
      // Who may not repair does not look.
      backends: backendReports(status, states, lost, rewriting, readOnly ? [] : zstor.unseenBackends),
      cache: this.#cache(),
      volume: { fileBytes: gauges[GAUGES.volumeBytes] as number },
      segments: this.#segments(),
      sync: this.#syncState(),
      tolerance: { data: await this.#dataTolerance(status), metadata: metadataTolerance(status) },
      readBack: {
        fetchedBytes,
        failures,
        inFlight,
        waitingRequests: gauges[GAUGES.parked] as number,
      },
      problems: this.#problems(status, lost, rewriting),
    };
  }

  #cache(): StatusReport['cache'] {
    const { cache } = this.#frontend;
    const { limitBytes, usedBytes, metadataBytes } = cache;
    return { limitBytes, usedBytes, metadataBytes, evictableBytes: cache.evictableBytes() };
  }

  #segments(): StatusReport['segments'] {
    const { pendingFiles, pendingBytes, degradedFiles, storedFiles, storedBytes } =
      this.#frontend.offload.status;
    return {
      offloaded: storedFiles,
      offloadedBytes: storedBytes,
      degraded: degradedFiles,
      pending: pendingFiles,
      pendingBytes: pendingBytes + this.#unsyncedBytes(),
    };
  }

  #syncState(): StatusReport['sync'] {
    const { options, syncPoints, unsynced } = this.#frontend;
    const { stateOfMs, busy, lastError } = syncPoints;
    const sinceMs = stateOfMs === undefined ? undefined : options.context.clock.nowMs() - stateOfMs;
    return {
      dirty: unsynced,
      running: busy,
      secondsSinceLast: sinceMs === undefined ? null : Math.max(0, Math.round(sinceMs / 1000)),
      lastError,
    };
  }

  async #dataTolerance({ data }: ZstorStatus): Promise<StatusReport['tolerance']['data']> {
    const { minimalShards, expectedShards, promised, writable, reason } = data;
    const now = await this.#tolerance(data.tolerance);
    return { minimalShards, expectedShards, now, promised, writable, reason };
  }

  /** What the operator should know of, one line each. */
  #problems(status: ZstorStatus, lost: ReadonlySet<string>, rewriting: string): string[] {
    const { fenced, readOnly, leaseUnseenMs, syncFailure, offload, syncPoints } = this.#frontend;
    const { stuck, damagedFiles } = offload.status;
    const { lastError } = syncPoints;
    const problems = [
      fenced,
      readOnly !== null || leaseUnseenMs < WATCH_MS
        ? ''
        : `for ${formatDuration(leaseUnseenMs)} it cannot be seen whether another frontend has taken the volume over; if one has, what is written here since stays here only`,
      syncFailure,
      lost.size === 0 ? '' : `lost what it held: ${[...lost].join(', ')}; ${rewriting}`,
      damagedText(damagedFiles),
      stuck === '' ? '' : `nothing can be stored: ${stuck}`,
      lastError === '' ? '' : `the last sync failed: ${lastError}`,
      status.data.reason,
      status.metadata.reason,
    ];
    return [...new Set(problems.filter((problem) => problem !== ''))];
  }

  /** Bytes in active data files, when anything was written to them since the last sync point. */
  #unsyncedBytes(): number {
    const { gauges } = this.#frontend;
    return gauges[GAUGES.dirty] === 1 ? (gauges[GAUGES.activeBytes] as number) : 0;
  }

  /** What everything stored survives: objects that lack shards survive less than what is stored now. */
  async #tolerance(now: Tolerance): Promise<Tolerance> {
    const { offload, zstor } = this.#frontend;
    const tolerances = [now];
    for (const name of offload.degraded.names(TOLERANCE_SAMPLE_MAX)) {
      const record = await zstor.head(name).catch(() => undefined);
      if (record) tolerances.push(zstor.tolerance(record));
    }
    return weakest(tolerances);
  }

  async #sync(progress: (line: unknown) => void): Promise<SyncAnswer> {
    const report = await this.#store(progress);
    const unseen = await this.#unseen(report);
    if (unseen !== '') throw new QsfsError('QSFS_E_DEGRADED', `everything is stored, but ${unseen}`);
    const away = await this.#away();
    if (away !== '') throw new QsfsError('QSFS_E_DEGRADED', `everything is stored, but ${away}`);
    return { ...report, complete: true };
  }

  /** Backends that are away, with their shards; empty when none is. */
  async #away(): Promise<string> {
    const { options, zstor } = this.#frontend;
    const local = new LocalBackends(options.context, localBackendsOf(options.configuration));
    const [status, states] = await Promise.all([zstor.status(), localStates(local)]);
    const reports = backendReports(status, states, new Set(), '', []);
    const away = reports.filter(({ state }) => state !== 'up');
    if (away.length === 0) return '';
    const named = away.map(({ name, state, reason }) =>
      state === 'stopped' || reason === '' ? `${name} ${state}` : `${name} ${state}: ${reason}`,
    );
    const place = `${away.length} of ${count(reports.length, 'backend')} ${away.length === 1 ? 'is' : 'are'} away`;
    return `${place}, with what was stored there (${named.join(', ')}); the rest of the data survives ${describeTolerance(status.data.tolerance)}`;
  }

  /** Backends that came back, or are there since the start, and were not asked for all they were given yet; empty when there is none. */
  async #unseen({ unseenBackends }: SyncReport): Promise<string> {
    if (unseenBackends.length === 0) return '';
    const { repair } = await this.#frontend.zstor.status();
    const [are, have] = unseenBackends.length === 1 ? ['is', 'it still has'] : ['are', 'they still have'];
    const state = repair.looked ? `${are} still being asked` : 'could not be asked yet';
    return `${unseenBackends.join(', ')} came back and ${state} whether ${have} what was stored there${lookedAt(repair)}`;
  }

  /** Stores everything. @throws QsfsError QSFS_E_DEGRADED when backends that are there lack a part of it */
  async #store(progress: (line: unknown) => void): Promise<SyncReport> {
    const report = await this.#withProgress(progress, () => this.#frontend.sync());
    const { degradedObjects, blankStores } = report;
    if (degradedObjects === 0 && blankStores.length === 0) return report;
    if (degradedObjects === 0) {
      throw new QsfsError(
        'QSFS_E_DEGRADED',
        `everything is on the backends and readable, but ${blankStores.join(', ')} lost metadata records and ${blankStores.length === 1 ? 'has' : 'have'} not got all of them again`,
      );
    }
    const { damagedFiles } = this.#frontend.offload.status;
    if (damagedFiles > 0) {
      throw new QsfsError('QSFS_E_DEGRADED', damagedText(damagedFiles), DAMAGED_HINT);
    }
    const { backends } = await this.#frontend.zstor.status();
    const down = new Map(
      backends.flatMap(({ name, state, reason }) =>
        state === 'up' ? [] : [[name, `${name} is not up (${reason})`]],
      ),
    );
    throw new QsfsError(
      'QSFS_E_DEGRADED',
      `everything is on the backends and readable, but ${count(report.degradedObjects, 'object')} of sync point ${report.generation} lack shards, because ${
        down.size > 0 ? [...down.values()].join(', ') : 'backends refused them'
      }`,
    );
  }

  async #withProgress<Result>(
    progress: (line: unknown) => void,
    act: () => Promise<Result>,
  ): Promise<Result> {
    const { clock } = this.#frontend.options.context;
    let done = false;
    const report = () => {
      if (done) return;
      const { pendingBytes, pendingFiles } = this.#frontend.offload.status;
      const unsynced = this.#unsyncedBytes();
      progress({ pendingFiles, pendingBytes: pendingBytes + unsynced });
      clock.after(PROGRESS_MS, report, true);
    };
    clock.after(PROGRESS_MS, report, true);
    try {
      return await act();
    } finally {
      done = true;
    }
  }

  async #evict(metadata: boolean): Promise<EvictAnswer> {
    const dropped = await this.#frontend.evictAll(metadata);
    const { cache, offload } = this.#frontend;
    return {
      droppedBytes: dropped.bytes,
      droppedStripes: dropped.stripes,
      localBytes: cache.usedBytes,
      pendingBytes: offload.status.pendingBytes + this.#unsyncedBytes(),
      metadataBytes: cache.metadataBytes,
    };
  }

  /** Sync and unmount; the process ends when this is answered, whatever the backends say. The answer tells what is only here. */
  async #down(progress: (line: unknown) => void): Promise<DownAnswer> {
    let reason = '';
    const { readOnly, fenced, unsynced } = this.#frontend;
    try {
      // Where nothing could be written, nothing may be missing on the backends.
      if (readOnly === null || fenced !== '' || unsynced) await this.#store(progress);
      await this.#frontend.unmount();
      // What was written while that sync point was on its way; files that are still open can be written to a little longer.
      for (let round = 0; this.#frontend.unsynced && round < LAST_SYNCS; round++) await this.#store(progress);
    } catch (error) {
      reason = messageOf(error);
      const { pendingBytes } = this.#frontend.offload.status;
      if (pendingBytes > 0)
        reason += `; ${formatSize(pendingBytes)} are only in ${this.#frontend.options.layout.frontend}`;
    }
    const end = await this.#frontend.close();
    if (!end.clean && reason === '') reason = end.message;
    if (this.#frontend.unsynced && reason === '') {
      reason = `programs wrote until the end; the last of it is only in ${this.#frontend.options.layout.frontend}`;
    }
    const { damagedFiles } = this.#frontend.offload.status;
    return { complete: reason === '', reason, fenced: this.#frontend.fenced !== '', damagedFiles };
  }
}

/** What of the metadata stores may still fail. */
function metadataTolerance({ metadata }: ZstorStatus): StatusReport['tolerance']['metadata'] {
  const { stores, minimalStores, writeQuorum, tolerance, readable, writable, reason } = metadata;
  const nowToWrite = tolerance + minimalStores - writeQuorum;
  return { stores, minimalStores, now: tolerance, nowToWrite, readable, writable, reason };
}

/** What is lost on the backends, for the operator; empty when nothing is. */
function damagedText(files: number): string {
  if (files === 0) return '';
  return `${count(files, 'data file')} lost too many shards on the backends: parts of what ${files === 1 ? 'it holds' : 'they hold'} cannot be read`;
}

/** States of the local backends by name. */
export async function localStates(local: LocalBackends): Promise<Map<string, LocalState>> {
  const states = new Map<string, LocalState>();
  await Promise.all(
    local.backends.map(async (backend) => {
      states.set(backend.name, await local.state(backend));
    }),
  );
  return states;
}
