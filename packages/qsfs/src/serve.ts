// The life of the process behind `qsfs up`: configuration, lock, backends, frontend, control socket; then waiting; then
// everything in reverse. What was started here is stopped again when a later step fails.
import type { Listener } from '@qsfs/io';
import { announce } from './announcement.ts';
import { Beginnings } from './beginnings.ts';
import { localBackendsOf, writeConfiguration } from './configuration.ts';
import type { Context } from './context.ts';
import { serveControl } from './control.ts';
import { ControlService } from './control-service.ts';
import { isServed } from './crash.ts';
import { messageOf, QsfsError } from './errors.ts';
import { lockFolder } from './folder-lock.ts';
import type { Frontend } from './frontend.ts';
import { alreadyRunning, lockFrontend } from './frontend-lock.ts';
import { asKnownError } from './known-errors.ts';
import type { Layout } from './layout.ts';
import { decideOwnership, misconfigured, newIdentity, openStore, warningOf } from './lease/opening.ts';
import { LocalBackends } from './local-backends.ts';
import { type Log, LogFile } from './log-file.ts';
import { checkMount } from './mounting.ts';
import { makePlan, type ServeOptions } from './plan.ts';
import { formatSize } from './quantities.ts';
import { describeReadOnly } from './read-only.ts';
import { withoutRepetitions } from './repetitions.ts';
import { Stopping } from './stopping.ts';
import { Undo } from './undo.ts';

/** Why something is left behind by a start that failed. */
const LEFT_LOGS = 'the logs in it may tell more, and the same command begins again there';
const LEFT_VOLUME = 'the backends may know the new volume, and the same command goes on with it';
const LEFT_MOUNTED = 'programs may have written';

/** Serves until somebody stops it. @returns the exit code @throws QsfsError when it cannot start */
export async function serve(context: Context, options: ServeOptions): Promise<number> {
  const { disk, clock } = context;
  const { layout, background } = options;
  const undo = new Undo();
  const stopping = new Stopping(context);
  undo.add('signals', () => stopping.forget());
  let logFile: LogFile | undefined;
  /** Why what was made stays when it comes to nothing. */
  let left = '';
  const log = withoutRepetitions(clock, (level, message) => {
    logFile?.write(level, message);
    if (!background && level !== 'info') context.warn(`${level}: ${message}`);
  });
  try {
    if (isServed(context, layout)) throw alreadyRunning(layout);
    checkMount(context, makePlan(context, options).mountPoint);
    const folder = lockFolder(disk, layout);
    undo.add('leave the folder', () => folder.leave());
    // Again: whoever had the lock may have made the configuration meanwhile.
    const plan = makePlan(context, options);
    const { configuration, mountPoint } = plan;
    const begun = new Beginnings(disk, [
      layout.frontend,
      layout.config,
      ...(plan.fresh ? [layout.backends] : []),
    ]);
    undo.add('remove what was begun', () => {
      if (left === '') begun.remove();
    });
    // An existing frontend is locked first: nothing is touched while another process serves it. A new one is locked later, and
    // like the other unlocked only when the backends have ended.
    let unlock = disk.stat(layout.frontend) ? lockFrontend(context, layout) : undefined;
    undo.add('unlock', () => unlock?.());
    if (plan.fresh) writeConfiguration(disk, configuration);
    const local = new LocalBackends(context, localBackendsOf(configuration));
    // Those that ran before may serve somebody else, until it is clear that this is their frontend.
    let mine = false;
    const started = new Set<string>();
    undo.add('stop local backends', () => local.stopAll((name) => mine || started.has(name)));
    const starting = local.startAll((name) => started.add(name));
    starting.catch(() => {});
    // Their processes are made: what we need ourselves is read while they start.
    const loading = import('./frontend.ts');
    loading.catch(() => {});
    const silent = await starting.catch((error: unknown) => {
      if (plan.fresh) left = LEFT_LOGS;
      throw error;
    });
    // A Ctrl-C may reach a backend before it is in a session of its own: then that is the reason.
    stopping.check();
    // A volume begins with all of its own backends.
    if (plan.fresh && silent.length > 0) {
      left = LEFT_LOGS;
      throw silent[0];
    }
    const late: { frontend?: Frontend } = {};
    // The right to repair comes with the lease.
    const mayRepair = () => late.frontend?.readOnly === null;
    const zstor = await openStore(context, configuration, layout, log, mayRepair);
    undo.add('close the store', () => zstor.close());
    const ownership = await decideOwnership(context, layout, zstor, configuration.path, options.readOnly);
    stopping.check();
    mine = !options.readOnly;
    if (!unlock) {
      disk.makeDirectory(layout.frontend);
      unlock = lockFrontend(context, layout);
    }
    logFile = new LogFile(disk, clock, layout.log);
    undo.add('close the log', () => logFile?.close());
    // It goes without them; they do not get better by waiting.
    const warnings = [
      ...silent.map((error) => messageOf(error)),
      ...(await misconfigured(zstor)).map((backend) => warningOf(backend, configuration.path)),
    ];
    for (const warning of warnings) log('warning', warning);
    if (options.config !== undefined) {
      writeConfiguration(disk, { ...configuration, path: layout.config });
    }
    const { zstor: store, settings } = configuration;
    const identity =
      ownership.kind === 'existing'
        ? ownership.identity
        : newIdentity(context, store.stripeSizeBytes, settings.segmentBytes);
    const cacheBytes = options.cacheBytes ?? settings.cacheBytes;
    // Backends that are not ours alone know of it from here on.
    if (!plan.fresh && ownership.kind === 'fresh') left = LEFT_VOLUME;
    const { Frontend } = await loading;
    const frontend = await Frontend.open({
      context,
      layout,
      configuration,
      zstor,
      ownership,
      identity,
      mountPoint,
      cacheBytes,
      readOnly: options.readOnly,
      log,
    });
    late.frontend = frontend;
    left = LEFT_MOUNTED;
    undo.add('close the frontend', async () => {
      await frontend.close();
      if (frontend.fenced === '') return;
      // They serve the one that took over.
      mine = false;
      started.clear();
    });
    log('info', `mounted at ${frontend.mountPoint} (process ${context.processes.pid})`);
    if (frontend.readOnly) log('warning', describeReadOnly(frontend.readOnly));
    frontend.whenGone((reason) => stopping.stop(reason));
    frontend.whenWritable(() => {
      const line = 'the lease is taken: the mount can be written from now on';
      log('info', line);
      if (!background) context.warn(line);
    });
    undo.add('control socket', await serveRequests(context, layout, { frontend, warnings }, stopping));
    announce(context, options, { configuration, frontend, cacheBytes, started: [...started] });
    await untilStopped(context, options, frontend, stopping, log);
    return 0;
  } catch (error) {
    if (left === '' || left === LEFT_MOUNTED) throw error;
    const { code, message, hint } = asKnownError(error);
    throw new QsfsError(code, message, `${hint} ${layout.root} is left as it is: ${left}.`);
  } finally {
    await undo.run((what, error) => log('error', `${what}: ${messageOf(error)}`));
  }
}

/** Waits for the end of a mount that serves, and closes it. @throws QsfsError when it ended because of a defect */
async function untilStopped(
  { warn }: Context,
  { layout, background }: ServeOptions,
  frontend: Frontend,
  stopping: Stopping,
  log: Log,
): Promise<void> {
  const reason = await stopping.reason;
  log('info', `stopping: ${reason}`);
  const tell = background ? () => {} : warn;
  if (reason !== 'down') tell(`${reason}; unmounting …`);
  const end = await frontend.close();
  if (frontend.crashed) {
    throw new QsfsError(
      'QSFS_E_INTERNAL',
      reason,
      `Nothing that was written is lost. ${frontend.mountPoint} answers errors until the next "qsfs up". Please report it with ${layout.log}.`,
    );
  }
  if (!end.clean) log('warning', `not everything is checkpointed: ${end.message}`);
  const { pendingFiles, pendingBytes } = frontend.offload.status;
  // Whoever typed "qsfs down" is told by that command what is not on the backends.
  if (reason === 'down' || (pendingFiles === 0 && !frontend.unsynced)) {
    tell('unmounted');
    return;
  }
  const size = pendingBytes > 0 ? ` (${formatSize(pendingBytes)} and more)` : '';
  tell(
    `unmounted. What was written since the last sync is in ${layout.frontend}${size} and is offloaded after the next "qsfs up"`,
  );
}

async function serveRequests(
  context: Context,
  layout: Layout,
  { frontend, warnings }: { readonly frontend: Frontend; readonly warnings: readonly string[] },
  stopping: Stopping,
): Promise<() => Promise<void>> {
  const { disk, network } = context;
  // We hold the lock: a socket that is there belongs to a process that was killed.
  if (disk.stat(layout.controlSocket)) disk.remove(layout.controlSocket);
  const service = new ControlService(frontend, warnings);
  const listener: Listener = await serveControl(
    network,
    { path: layout.controlSocket },
    (request, progress) => service.handle(request, progress),
    (request) => {
      if (request.verb === 'down') stopping.stop('down');
    },
  );
  return () => listener.close();
}
