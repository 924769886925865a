// Who may write to the volume: one small object on the backends (docs/formats/lease.md) that names the frontend and its
// epoch, and shows by a counter that it lives.
//
// Safety does not rest on the lease alone: the epoch is in the names of all objects a frontend writes, so two frontends
// never overwrite each other's, and a restore takes the manifest of the highest epoch. The lease tells people early.

import { LostShards, type ObjectRecord, type Zstor } from '@qsfs/zstor';
import type { Context } from '../context.ts';
import { QsfsError } from '../errors.ts';
import { LEASE_NAME } from '../manifest.ts';
import { formatDuration } from '../quantities.ts';
import type { Identity } from './identity.ts';

/** How often the holder shows that it lives. */
export const HEARTBEAT_MS = 60_000;
/** Watching for a heartbeat takes at most this long. */
export const WATCH_MS = 2.5 * HEARTBEAT_MS;
const WATCH_STEP_MS = 2000;
/** A holder on this machine is given this long to end before it is taken for alive. */
const ENDING_MS = 2000;
const ENDING_STEP_MS = 100;

/** The content of the object. */
export interface Lease {
  readonly version: 1;
  readonly volumeId: string;
  readonly frontendId: string;
  readonly epoch: number;
  /** `held` by a running frontend, or `released` by one that ended in order. */
  readonly state: 'held' | 'released';
  /** Counts the heartbeats. */
  readonly beat: number;
  readonly writtenMs: number;
  /** For people. */
  readonly hostName: string;
  readonly directory: string;
  /** Boot and process-id namespace: on the same machine a process can be looked up. */
  readonly machine: string;
  readonly pid: number;
  /** Start of that process in clock ticks since boot, to tell it from a later one with the same number. */
  readonly pidStarted: string;
}

/** A lease as found, with the object it was read from. */
export interface FoundLease {
  readonly lease: Lease;
  readonly objectId: Uint8Array;
}

const HINT_LOST =
  'Bring back backends with what they held, then run the command again. If that cannot be: "qsfs up --read-only" shows what is here, "qsfs restore --take-over" with another --dir what is left on the backends.';

/**
 * Reads the lease; undefined when there certainly is none.
 * @param lostIsNone whose it was does not matter
 * @throws QsfsError QSFS_E_LOST when it is lost on the backends; ZstorError when it cannot be known now
 */
export async function readLease(zstor: Zstor, lostIsNone = false): Promise<FoundLease | undefined> {
  const record = await zstor.head(LEASE_NAME);
  if (!record) return undefined;
  let content: Uint8Array;
  try {
    content = await zstor.getSmall(record);
  } catch (error) {
    if (!(error instanceof LostShards)) throw error;
    if (lostIsNone) return undefined;
    throw new QsfsError(
      'QSFS_E_LOST',
      `who has the volume cannot be known, the record of it is lost on the backends: ${error.message}`,
      HINT_LOST,
    );
  }
  const lease = parseLease(content);
  if (!lease) {
    throw new QsfsError('QSFS_E_NO_VOLUME', 'the record of who uses these backends is of an unknown kind');
  }
  return { lease, objectId: record.objectId };
}

function parseLease(content: Uint8Array): Lease | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(content).toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const lease = value as Record<string, unknown>;
  const texts = ['volumeId', 'frontendId', 'state', 'hostName', 'directory', 'machine', 'pidStarted'];
  const numbers = ['epoch', 'beat', 'writtenMs', 'pid'];
  const valid =
    lease['version'] === 1 &&
    texts.every((name) => typeof lease[name] === 'string') &&
    numbers.every((name) => Number.isFinite(lease[name]));
  return valid ? (value as Lease) : undefined;
}

/** Holds the lease for a running frontend. */
export class LeaseHolder {
  readonly #context: Context;
  readonly #zstor: Zstor;
  readonly #identity: () => Identity;
  readonly #directory: string;
  #beat = 0;
  #written: Uint8Array | undefined;

  /** @param identity asked at each heartbeat */
  constructor(context: Context, zstor: Zstor, identity: () => Identity, directory: string) {
    this.#context = context;
    this.#zstor = zstor;
    this.#identity = identity;
    this.#directory = directory;
  }

  /**
   * Takes the lease as this frontend; `found` is what was read just before.
   * @throws QsfsError QSFS_E_FENCED when somebody else wrote it at the same moment
   */
  async take(found: FoundLease | undefined): Promise<void> {
    this.#beat = (found?.lease.beat ?? 0) + 1;
    await this.#write('held');
    await this.confirm();
  }

  /** Shows that this frontend lives. @throws QsfsError QSFS_E_FENCED when another one took over */
  async heartbeat(): Promise<void> {
    await this.confirm();
    this.#beat += 1;
    await this.#write('held');
  }

  /** @throws QsfsError QSFS_E_FENCED when another frontend holds the lease now */
  async confirm(): Promise<void> {
    const record: ObjectRecord | undefined = await this.#zstor.head(LEASE_NAME);
    if (record && this.#written && equalBytes(record.objectId, this.#written)) return;
    const found = await readLease(this.#zstor);
    if (found && !this.#isOurs(found.lease)) throw fencedBy(found.lease, this.#self);
    // Our own older copy, or none: written again with the next heartbeat.
    this.#written = found?.objectId;
  }

  /**
   * The same frontend in another process is somebody else once we have taken the lease: a copy of the state folder was started
   * (a cloned machine), and both would write objects of the same names.
   */
  #isOurs(lease: Lease): boolean {
    if (lease.frontendId !== this.#identity().frontendId) return false;
    const { pid } = this.#context.processes;
    const isThisProcess =
      lease.pid === pid &&
      lease.machine === machineOf(this.#context) &&
      lease.pidStarted === startOf(this.#context, pid);
    return isThisProcess || !this.#written;
  }

  get #self(): Refused {
    return selfOf(this.#context, this.#directory, this.#identity().frontendId);
  }

  /** Says that this frontend ended in order. */
  async release(): Promise<void> {
    await this.confirm();
    this.#beat += 1;
    await this.#write('released');
  }

  async #write(state: Lease['state']): Promise<void> {
    const { volumeId, frontendId, epoch } = this.#identity();
    const { clock, processes } = this.#context;
    const lease: Lease = {
      version: 1,
      volumeId,
      frontendId,
      epoch,
      state,
      beat: this.#beat,
      writtenMs: clock.nowMs(),
      hostName: hostNameOf(this.#context),
      directory: this.#directory,
      machine: machineOf(this.#context),
      pid: processes.pid,
      pidStarted: startOf(this.#context, processes.pid),
    };
    const record = await this.#zstor.putSmall(LEASE_NAME, Buffer.from(JSON.stringify(lease)), {
      verification: 'acknowledged',
    });
    this.#written = record.objectId;
  }
}

/** Who is told that it is not the holder. */
export type Refused = Pick<Lease, 'directory' | 'hostName'> & { readonly frontendId: string | undefined };

/** This machine's folder as one that is refused. @param frontendId undefined: there is no frontend in it */
export function selfOf(context: Context, directory: string, frontendId: string | undefined): Refused {
  return { directory, hostName: hostNameOf(context), frontendId };
}

/** The error of a frontend that is not the holder. */
export function fencedBy(lease: Lease, refused: Refused): QsfsError {
  return new QsfsError(
    'QSFS_E_FENCED',
    `these backends belong to ${namedFor(refused, lease)} (epoch ${lease.epoch})`,
  );
}

/** The holder of a lease, told from the one who is refused, which may have the same folder. */
function namedFor(refused: Refused, lease: Lease): string {
  const { directory, hostName, pid } = lease;
  if (lease.frontendId === refused.frontendId)
    return `another process of this frontend, ${pid} in ${directory} on ${hostName}: its folder was copied, or it was started twice`;
  if (directory === refused.directory && hostName === refused.hostName)
    return `another frontend in the same folder, made or restored there by process ${pid}: ${directory} on ${hostName}`;
  return holderOf(lease);
}

/** Who holds a lease, for people. */
export function holderOf({ directory, hostName }: Lease): string {
  return `the frontend in ${directory} on ${hostName}`;
}

/** Whether the holder of a lease still runs. `unknown`: it could not write a heartbeat now if it did. */
export type Liveness = 'alive' | 'dead' | 'unknown';

/**
 * What can be known of the holder of a lease without watching for a heartbeat: that it released the lease, or, on the same
 * machine, whether its process runs.
 */
export async function livenessHere(context: Context, lease: Lease): Promise<Liveness> {
  if (lease.state === 'released') return 'dead';
  if (lease.machine === '' || lease.machine !== machineOf(context)) return 'unknown';
  // A process that was just killed takes a moment to end.
  for (const end = context.clock.monotonicMs() + ENDING_MS; ; await context.clock.sleep(ENDING_STEP_MS)) {
    const runs = context.processes.alive(lease.pid) && startOf(context, lease.pid) === lease.pidStarted;
    if (!runs) return 'dead';
    if (context.clock.monotonicMs() >= end) return 'alive';
  }
}

/** Whether the backends take a lease now, so that a holder that lives shows it. */
export async function takesLease(zstor: Zstor): Promise<boolean> {
  const { data, metadata } = await zstor.status();
  return data.writable && metadata.writable;
}

/**
 * Finds out whether the frontend that holds a lease is still running. On the same machine at once; else, as clocks can be wrong by days, by watching for
 * a heartbeat, which takes up to two and a half minutes, and proves nothing while the backends take none.
 * @param tell called with what is being waited for
 */
export async function livenessOf(
  context: Context,
  zstor: Zstor,
  found: FoundLease,
  tell: (line: string) => void,
): Promise<Liveness> {
  const { lease } = found;
  const here = await livenessHere(context, lease);
  if (here !== 'unknown') return here;
  if (!(await takesLease(zstor))) return 'unknown';
  tell(
    `waiting up to ${formatDuration(WATCH_MS)} for a sign of life of the frontend in ${lease.directory} on ${lease.hostName} (--take-over does not wait)`,
  );
  const end = context.clock.monotonicMs() + WATCH_MS;
  while (context.clock.monotonicMs() < end) {
    await context.clock.sleep(WATCH_STEP_MS);
    const now = await zstor.head(LEASE_NAME);
    if (now && !equalBytes(now.objectId, found.objectId)) return 'alive';
  }
  return (await takesLease(zstor)) ? 'dead' : 'unknown';
}

function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

function hostNameOf(context: Context): string {
  return readText(context, '/proc/sys/kernel/hostname');
}

function machineOf(context: Context): string {
  const boot = readText(context, '/proc/sys/kernel/random/boot_id');
  const namespace = context.disk.stat('/proc/self/ns/pid')?.inode;
  return boot === '' || namespace === undefined ? '' : `${boot}/${namespace}`;
}

/**
 * Field 22 of /proc/PID/stat (proc_pid_stat(5)); empty when the process is gone, or ended and only not yet reaped (field 3).
 */
function startOf(context: Context, pid: number): string {
  const text = readText(context, `/proc/${pid}/stat`);
  // The name in field 2 may hold blanks and parentheses.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? '' : (fields[19] ?? '');
}

/** Reads a file of procfs, whose size is not known beforehand; empty when it cannot be read. */
function readText(context: Context, path: string): string {
  try {
    const file = context.disk.open(path, 'read');
    try {
      const target = new Uint8Array(4096);
      return Buffer.from(target.subarray(0, file.read(target, 0)))
        .toString('utf8')
        .trim();
    } finally {
      file.close();
    }
  } catch {
    return '';
  }
}
