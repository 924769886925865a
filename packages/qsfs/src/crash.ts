// What a qsfs that was killed leaves behind, and how it is told of and cleared: its mount, which answers errors until then (so
// that nobody takes the folder below it for the volume), and its local backends, which go on.
import { deadMounts, detach, isDeadMount } from '@qsfs/fuse';
import { type Disk, errorCode } from '@qsfs/io';
import { localBackendsOf, readConfiguration } from './configuration.ts';
import type { Context } from './context.ts';
import { messageOf, QsfsError } from './errors.ts';
import type { Layout } from './layout.ts';
import { readIdentity } from './lease/identity.ts';
import { holderOf, readLease } from './lease/lease.ts';
import { openStore } from './lease/opening.ts';
import { LocalBackends } from './local-backends.ts';
import { shellWord } from './shell-word.ts';

/** Whether a process serves the folder, by its lock. */
export function isServed(context: Context, layout: Layout): boolean {
  return isLocked(context.disk, layout.lock);
}

/** Whether a command still works on the folder: one that serves it does so until its backends have ended, too. */
export function isWorkedOn(context: Context, layout: Layout): boolean {
  return isServed(context, layout) || isLocked(context.disk, layout.folderLock);
}

function isLocked(disk: Disk, path: string): boolean {
  if (!disk.stat(path)) return false;
  const file = disk.open(path, 'write');
  try {
    return !file.tryLock();
  } finally {
    file.close();
  }
}

/** Places where a dead mount of a state folder is in the way. */
export function deadMountsOf(context: Context, layout: Layout): string[] {
  return deadMounts(context, (source) => source === layout.root || isSame(context, source, layout.root));
}

/** The error of a command that needs a running qsfs, when there is none: says whether it ended in a crash. */
export function notRunning(context: Context, layout: Layout): QsfsError {
  const dead = deadMountsOf(context, layout);
  if (dead.length === 0 && !context.disk.stat(layout.root)) {
    return new QsfsError(
      'QSFS_E_NOT_RUNNING',
      `no qsfs is running on ${layout.root}: there is no such folder`,
      `Name the folder with --dir, or make a new one with "qsfs up --dir ${shellWord(layout.root)} --mount M".`,
    );
  }
  if (dead.length === 0)
    return new QsfsError(
      'QSFS_E_NOT_RUNNING',
      `no qsfs is running on ${layout.root}`,
      startHint(context, layout),
    );
  return new QsfsError(
    'QSFS_E_NOT_RUNNING',
    `no qsfs is running on ${layout.root}: it was killed or crashed, and ${dead.join(', ')} answers "Transport endpoint is not connected" until it is started again`,
    `${safetyOf(context, layout)} ${readIdentityOf(context, layout) ? `Start it with "qsfs up --dir ${shellWord(layout.root)} --mount ${shellWord(dead[0] as string)}", or clear` : 'Before that, clear'} what is left with "qsfs down --dir ${shellWord(layout.root)}".`,
  );
}

/** What was cleared. */
export interface Cleared {
  readonly mounts: readonly string[];
  /** Names of the local backends that ran and are stopped now. */
  readonly stopped: readonly string[];
  /** Why local backends that run were left alone; empty when there are none. */
  readonly left: string;
}

/**
 * Clears what a killed qsfs left; the caller made sure that none runs on the folder.
 * @throws QsfsError QSFS_E_INCOMPLETE when the system does not let go of a mount
 */
export async function clearAfterCrash(context: Context, layout: Layout): Promise<Cleared> {
  return { mounts: clearMounts(context, layout), ...(await stopBackends(context, layout)) };
}

/**
 * Clears the dead mounts of a state folder.
 * @returns the places
 * @throws QsfsError QSFS_E_INCOMPLETE when the system does not let go of one
 */
export function clearMounts(context: Context, layout: Layout): readonly string[] {
  const dead = deadMountsOf(context, layout);
  for (const place of dead) {
    // Below may be the one that it was mounted over, whoever's that was.
    do {
      if (detach(context.processes, place)) continue;
      throw new QsfsError(
        'QSFS_E_INCOMPLETE',
        `the dead mount at ${place} cannot be removed`,
        `Type "umount -l ${place}" as root. ${safetyOf(context, layout)}`,
      );
    } while (isDeadMount(context, place));
  }
  return dead;
}

/** Whether what was written is still there, as far as the folder shows. */
export function safetyOf(context: Context, layout: Layout): string {
  return readIdentityOf(context, layout) === undefined
    ? `But ${layout.frontend} is missing: ${restoreCommand(layout)} brings back what was synced.`
    : `Nothing is lost: all that was written is in ${layout.frontend}.`;
}

/** Local backends serve another frontend when one took over; they are stopped only when they are certainly ours. */
async function stopBackends(
  context: Context,
  layout: Layout,
): Promise<{ stopped: readonly string[]; left: string }> {
  const none = { stopped: [], left: '' };
  if (isLocked(context.disk, layout.folderLock))
    return { stopped: [], left: 'another qsfs works on that folder' };
  const identity = readIdentityOf(context, layout);
  if (!context.disk.stat(layout.config)) return none;
  const configuration = readConfiguration(context.disk, layout.config);
  const local = new LocalBackends(context, localBackendsOf(configuration));
  const running: string[] = [];
  for (const backend of local.backends)
    if ((await local.state(backend)) !== 'stopped') running.push(backend.name);
  if (running.length === 0) return none;
  const names = running.join(', ');
  try {
    const zstor = await openStore(context, configuration, undefined, () => {});
    try {
      const found = await readLease(zstor);
      // After a fire nobody knows who it was; that its folder was this one is enough, as nobody works on it.
      const isOurs = identity
        ? found?.lease.frontendId === identity.frontendId
        : found?.lease.directory === layout.root;
      const others = found ? holderOf(found.lease) : 'nobody that is known';
      if (!isOurs) return { stopped: [], left: `the local backends ${names} run for ${others}` };
    } finally {
      await zstor.close();
    }
  } catch (error) {
    const reason = `it cannot be known whether they serve another frontend: ${messageOf(error)}`;
    return { stopped: [], left: `the local backends ${names} still run (${reason})` };
  }
  await local.stopAll();
  return { stopped: running, left: '' };
}

/** Whether there is a frontend to go on with. */
export function hasFrontend(context: Context, layout: Layout): boolean {
  return readIdentityOf(context, layout) !== undefined;
}

/** Undefined also when it cannot be read. */
function readIdentityOf(context: Context, layout: Layout): ReturnType<typeof readIdentity> {
  try {
    return readIdentity(context.disk, layout.identity);
  } catch {
    return undefined;
  }
}

function restoreCommand(layout: Layout): string {
  return `"qsfs restore --from ${shellWord(layout.config)} --dir ${shellWord(layout.root)}"`;
}

function startHint(context: Context, layout: Layout): string {
  if (context.disk.stat(layout.config) && readIdentityOf(context, layout) === undefined)
    return `It has a configuration and no frontend, or none any more: "qsfs up --dir ${shellWord(layout.root)} --mount M" makes a volume; if there was one, ${restoreCommand(layout)} brings back what was synced.`;
  return `Start it with "qsfs up --dir ${shellWord(layout.root)} --mount M".`;
}

function isSame(context: Context, left: string, right: string): boolean {
  try {
    return context.disk.resolve(left) === context.disk.resolve(right);
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return false;
  }
}
