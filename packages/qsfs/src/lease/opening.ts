// What has to be true before a frontend runs: backends started, the store open, and the decision whose volume this is.
// Nothing below the state folder is changed here before everything that can be refused was.
import { isZstorError, openZstor, type Zstor } from '@qsfs/zstor';
import type { Configuration } from '../configuration.ts';
import type { Context } from '../context.ts';
import { QsfsError } from '../errors.ts';
import { asKnownError } from '../known-errors.ts';
import type { Layout } from '../layout.ts';
import type { Log } from '../log-file.ts';
import { MANIFEST_PREFIX, type Manifest, parseManifestName, type Version } from '../manifest.ts';
import { shellWord } from '../shell-word.ts';
import { readClaim } from './claim.ts';
import { type Identity, readIdentity } from './identity.ts';
import { type FoundLease, fencedBy, holderOf, readLease, selfOf } from './lease.ts';
import { RepairFile } from './repair-file.ts';

/** A backend that was just started may take a moment to be reached by everybody. */
const ATTEMPTS = 3;
const ATTEMPT_PAUSE_MS = 500;

/** Where backends of a role are configured. */
const TABLES = { data: 'groups.backends', metadata: 'meta.config.backends' } as const;

/**
 * Opens the object store of a configuration.
 * @param layout of the frontend that may repair what is on it, when `mayRepair` says so
 * @throws QsfsError QSFS_E_CONFIG, QSFS_E_BACKENDS
 */
export async function openStore(
  context: Context,
  configuration: Configuration,
  layout: Layout | undefined,
  log: Log,
  mayRepair: () => boolean = () => false,
): Promise<Zstor> {
  const { disk, network, clock, random } = context;
  try {
    return await openZstor(configuration.zstor, {
      disk,
      network,
      clock,
      random,
      log,
      maintenance: layout !== undefined && mayRepair,
      ...(layout === undefined ? {} : { repairList: new RepairFile(disk, layout.repairs) }),
    });
  } catch (error) {
    throw asKnownError(error);
  }
}

/** A backend that answers, and is not what the configuration means (password, namespace, mode). */
export interface Misconfigured {
  readonly name: string;
  readonly reason: string;
  /** The table that has its keys. */
  readonly table: string;
}

/** The backends that refuse us, or are not what the configuration means: they do not get better by waiting. */
export async function misconfigured(zstor: Zstor): Promise<Misconfigured[]> {
  const { backends } = await zstor.status();
  return backends
    .filter(({ state }) => state === 'foreign')
    .map(({ name, reason, role }) => ({ name, reason, table: TABLES[role] }));
}

/** One line for the operator about one of them. */
export function warningOf({ name, reason, table }: Misconfigured, configPath: string): string {
  return `${name} is not used: ${reason}; correct its password, namespace or mode (${table} in ${configPath})`;
}

/** What to do when too few backends can be used. */
async function remedy(zstor: Zstor, configPath: string): Promise<string> {
  const { backends } = await zstor.status();
  const [refused, down] = (['foreign', 'down'] as const).map((wanted) =>
    backends.filter(({ state }) => state === wanted),
  );
  const tables = (rows: typeof backends) =>
    `${[...new Set(rows.map(({ role }) => TABLES[role]))].join(' and ')} in ${configPath}`;
  const steps: string[] = [];
  if (refused?.length)
    steps.push(
      `Correct password, namespace or mode of ${refused.map(({ name }) => name).join(', ')} (${tables(refused)})`,
    );
  if (down?.length) {
    const names = refused?.length ? down.map(({ name }) => name).join(', ') : 'them';
    steps.push(
      `${steps.length > 0 ? 'start' : 'Start'} ${names}, or correct their addresses (${tables(down)})`,
    );
  }
  if (steps.length > 0) return `${steps.join('; ')}, and type the command again.`;
  const { blankStores } = await zstor.inspect();
  if (blankStores.length === 0) return 'Type the command again.';
  return `Bring back what ${blankStores.join(', ')} held, and type the command again. If that cannot be: "qsfs up --read-only" shows what is on this machine.`;
}

/**
 * Asks the backends of a configuration, a few times when they do not answer yet.
 * @param configPath where their addresses are written, for the message
 * @throws QsfsError QSFS_E_BACKENDS
 */
export async function asking<Result>(
  context: Context,
  configPath: string,
  zstor: Zstor,
  ask: () => Promise<Result>,
): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!isZstorError(error, 'QSFS_E_UNAVAILABLE')) throw asKnownError(error);
      if (attempt === ATTEMPTS) {
        throw new QsfsError('QSFS_E_BACKENDS', error.message, await remedy(zstor, configPath));
      }
    }
    await context.clock.sleep(ATTEMPT_PAUSE_MS);
  }
}

/** Versions of the manifests on the backends, newest first. */
export async function manifestVersions(zstor: Zstor): Promise<Version[]> {
  const versions: Version[] = [];
  for await (const summary of zstor.list(MANIFEST_PREFIX)) {
    const version = parseManifestName(summary.name);
    if (version) versions.push(version);
  }
  return versions.sort((left, right) => right.epoch - left.epoch || right.generation - left.generation);
}

/** What an existing frontend folder and the backends say together. */
export type Ownership =
  | { readonly kind: 'existing'; readonly identity: Identity; readonly lease: FoundLease | undefined }
  | { readonly kind: 'fresh' };

/**
 * Decides whether this folder may use these backends: as the frontend it was, as the one it was restored to be (what that needs is
 * looked at when the lease is taken), or as the first one there ever was.
 * @param readOnly it is only looked at: fine whoever has the backends
 * @throws QsfsError QSFS_E_FENCED (another frontend has them), QSFS_E_EXISTS (they hold a volume this folder knows nothing of),
 *   QSFS_E_BACKENDS (they cannot be asked)
 */
export async function decideOwnership(
  context: Context,
  layout: Layout,
  zstor: Zstor,
  configPath: string,
  readOnly: boolean,
): Promise<Ownership> {
  const identity = readIdentity(context.disk, layout.identity);
  if (identity && readOnly) return { kind: 'existing', identity, lease: undefined };
  const lease = await asking(context, configPath, zstor, () => readLease(zstor));
  const claim = readClaim(context.disk, layout.claim);
  if (identity && claim) return { kind: 'existing', identity, lease };
  if (identity) {
    if (lease && lease.lease.frontendId !== identity.frontendId)
      throw fencedBy(lease.lease, selfOf(context, layout.root, identity.frontendId));
    // The lease is written before anything else; only a volume that was never synced may be without one.
    if (!lease && identity.generation > 0) {
      throw new QsfsError(
        'QSFS_E_CONFIG',
        `the backends of ${layout.config} do not know the volume in ${layout.frontend}`,
        'Check encryption.key, meta.config.prefix and the addresses: they must be those the volume was made with.',
      );
    }
    return { kind: 'existing', identity, lease };
  }
  if (context.disk.stat(layout.restoring)) {
    throw new QsfsError(
      'QSFS_E_EXISTS',
      `a restore into ${layout.root} was interrupted`,
      `Type "qsfs restore --from CONFIG --dir ${shellWord(layout.root)}" again.`,
    );
  }
  if (context.disk.stat(layout.data)) {
    throw new QsfsError(
      'QSFS_E_DISK',
      `${layout.frontend} holds data but not who it belongs to (the file "identity" is missing)`,
      `Put the file back, or move the folder away and type "qsfs restore --from ${shellWord(layout.config)} --dir ${shellWord(layout.root)}".`,
    );
  }
  const [newest] = await asking(context, configPath, zstor, () => manifestVersions(zstor));
  if (readOnly && !lease && !newest) {
    throw new QsfsError(
      'QSFS_E_NO_VOLUME',
      'there is no volume to look at, neither here nor on the backends',
    );
  }
  if (lease || newest) {
    const back = `"qsfs restore --from ${shellWord(layout.config)} --dir ${shellWord(layout.root)}"`;
    const elsewhere = lease && lease.lease.directory !== layout.root ? holderOf(lease.lease) : '';
    throw new QsfsError(
      'QSFS_E_EXISTS',
      `these backends hold a volume already, but ${layout.frontend} is missing${elsewhere && `; ${elsewhere} has the volume now`}`,
      elsewhere
        ? `Go on there; when it is stopped or lost, ${back} brings the volume here.`
        : `Bring it back with ${back}.`,
    );
  }
  return { kind: 'fresh' };
}

/** The identity of a volume that is made now. */
export function newIdentity(context: Context, stripeBytes: number, segmentBytes: number): Identity {
  const id = () => Buffer.from(context.random.bytes(16)).toString('hex');
  return {
    volumeId: id(),
    frontendId: id(),
    epoch: 1,
    generation: 0,
    stripeBytes,
    segmentBytes,
    createdMs: context.clock.nowMs(),
  };
}

/** The identity of a frontend that takes a volume over. */
export function successorIdentity(
  context: Context,
  manifest: Manifest,
  lease: FoundLease | undefined,
): Identity {
  return {
    volumeId: Buffer.from(manifest.volumeId).toString('hex'),
    frontendId: Buffer.from(context.random.bytes(16)).toString('hex'),
    epoch: Math.max(manifest.epoch, lease?.lease.epoch ?? 0) + 1,
    generation: manifest.generation,
    stripeBytes: manifest.stripeBytes,
    segmentBytes: manifest.segmentBytes,
    createdMs: context.clock.nowMs(),
  };
}
