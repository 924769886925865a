// How a frontend comes to the lease: when it starts or, when the backends can be read then but do not take a record, as soon as they do.
// Until it has the lease it writes nothing to them and its mount can only be read, so that waiting is as safe as not running.
//
// A frontend made by `restore` that has not got the lease yet is nobody to the backends. Its file `claim` (docs/formats/frontend.md)
// says what it followed: it may have the lease only if nobody wrote one since, the holder of that one is dead, and no sync point was
// finished since. Otherwise it shows an old state for ever, and is told so; it never wrote anything, so nothing is lost by that.
import { isZstorError, type Zstor } from '@qsfs/zstor';
import type { Context } from '../context.ts';
import { QsfsError } from '../errors.ts';
import { asKnownError } from '../known-errors.ts';
import type { Layout } from '../layout.ts';
import { compareVersions } from '../manifest.ts';
import { formatDuration } from '../quantities.ts';
import { type Claim, readClaim } from './claim.ts';
import type { Identity } from './identity.ts';
import {
  type FoundLease,
  fencedBy,
  type LeaseHolder,
  livenessHere,
  type Refused,
  readLease,
  selfOf,
  takesLease,
  WATCH_MS,
} from './lease.ts';
import { manifestVersions } from './opening.ts';

/** While a sign of life is waited for the backends are asked so often whether they would take one. */
const ASK_MS = 15_000;

const HINT_AGAIN =
  'Nothing was written here, so nothing is lost. Type "qsfs restore" with another --dir when that one is gone.';

/** What the attempts of a frontend need. */
export interface ClaimantParts {
  readonly context: Context;
  readonly layout: Layout;
  readonly zstor: Zstor;
  readonly lease: LeaseHolder;
  readonly identity: () => Identity;
}

/** Takes the lease when that can be done. */
export class Claimant {
  readonly #parts: ClaimantParts;
  /** Since when a heartbeat of the holder before us could have come. */
  #watchedSinceMs: number | undefined;
  #askedAtMs = Number.NEGATIVE_INFINITY;

  constructor(parts: ClaimantParts) {
    this.#parts = parts;
  }

  /**
   * Tries once.
   * @param predecessorIsDead somebody made sure of it just now
   * @returns why the lease cannot be had yet; empty when it is ours
   * @throws QsfsError QSFS_E_FENCED when it is another frontend's; what reading the lease throws, but for backends that do not answer
   */
  async attempt(predecessorIsDead = false): Promise<string> {
    try {
      return await this.#try(predecessorIsDead);
    } catch (error) {
      if (isZstorError(error, 'QSFS_E_UNAVAILABLE')) return error.message;
      throw asKnownError(error);
    }
  }

  async #try(predecessorIsDead: boolean): Promise<string> {
    const { context, layout, zstor, lease, identity } = this.#parts;
    const claim = readClaim(context.disk, layout.claim);
    const found = await readLease(zstor, claim?.takeOver);
    const isOurs = found?.lease.frontendId === identity().frontendId;
    if (claim && !isOurs) {
      const waits = await this.#mayFollow(claim, found, predecessorIsDead);
      if (waits !== '') return waits;
      await this.#refuseOvertaken(claim);
    } else if (found && !isOurs) throw fencedBy(found.lease, this.#self);
    await lease.take(found);
    if (!claim) return '';
    // The frontend before us may have finished a sync point before the lease was ours, and deleted what the one before named.
    await this.#refuseOvertaken(claim).catch(async (error: unknown) => {
      if (!isZstorError(error)) await lease.release().catch(() => {});
      throw error;
    });
    context.disk.remove(layout.claim);
    context.disk.syncDirectory(layout.frontend);
    return '';
  }

  get #self(): Refused {
    const { context, layout, identity } = this.#parts;
    return selfOf(context, layout.root, identity().frontendId);
  }

  /** @returns what has to be waited for; empty when the lease may be taken @throws QsfsError QSFS_E_FENCED when it never may */
  async #mayFollow(claim: Claim, found: FoundLease | undefined, isDead: boolean): Promise<string> {
    const { context, zstor } = this.#parts;
    if (leaseIdOf(found) !== claim.lease) throw overtakenBy(found, this.#self);
    if (!found || isDead || claim.takeOver) return '';
    const liveness = await livenessHere(context, found.lease);
    if (liveness === 'alive') throw overtakenBy(found, this.#self);
    if (liveness === 'dead') return '';
    const nowMs = context.clock.monotonicMs();
    const isLong = () => this.#watchedSinceMs !== undefined && nowMs - this.#watchedSinceMs >= WATCH_MS;
    if (isLong() || nowMs - this.#askedAtMs >= ASK_MS) {
      this.#askedAtMs = nowMs;
      if (await takesLease(zstor)) this.#watchedSinceMs ??= nowMs;
      else this.#watchedSinceMs = undefined;
    }
    if (isLong()) return '';
    const { directory, hostName } = found.lease;
    return `a sign of life of the frontend in ${directory} on ${hostName} is waited for, ${formatDuration(WATCH_MS)} from when the backends take one`;
  }

  /** @throws QsfsError QSFS_E_FENCED */
  async #refuseOvertaken(claim: Claim): Promise<void> {
    const [now] = await manifestVersions(this.#parts.zstor);
    if (!now || compareVersions(now, claim) <= 0) return;
    throw new QsfsError(
      'QSFS_E_FENCED',
      'the frontend before finished a sync point after the state that was restored here',
      'Type "qsfs restore" again, with another --dir: it finds the newer state.',
    );
  }
}

/** The lease as a claim names it. */
export function leaseIdOf(lease: FoundLease | undefined): string {
  return lease ? Buffer.from(lease.objectId).toString('hex') : '';
}

/** Somebody wrote the lease since the restore, or its holder lives: the state here is old. */
function overtakenBy(found: FoundLease | undefined, refused: Refused): QsfsError {
  if (!found)
    return new QsfsError('QSFS_E_FENCED', 'these backends do not know the volume any more', HINT_AGAIN);
  const { message } = fencedBy(found.lease, refused);
  return new QsfsError(
    'QSFS_E_FENCED',
    `${message}, which went on after the restore into this folder`,
    HINT_AGAIN,
  );
}
