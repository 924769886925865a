// What a frontend made by `restore` has followed, on its own disk until it has the lease (docs/formats/frontend.md, "Claim").
import { type Disk, readWhole, replaceWhole } from '@qsfs/io';
import { QsfsError } from '../errors.ts';
import type { Version } from '../manifest.ts';

/** What a restored frontend without the lease has followed. */
export interface Claim extends Version {
  readonly version: 1;
  /** Object id of the lease there was, 32 hex digits; empty when there was none. */
  readonly lease: string;
  /** The newest sync point there was, complete or not. */
  readonly epoch: number;
  readonly generation: number;
  /** Its holder is not looked at: `restore --take-over`. */
  readonly takeOver: boolean;
}

/** The claim of a frontend; undefined when it had the lease before. @throws QsfsError QSFS_E_DISK when it is damaged */
export function readClaim(disk: Disk, path: string): Claim | undefined {
  const content = readWhole(disk, path);
  if (!content) return undefined;
  try {
    const claim = JSON.parse(Buffer.from(content).toString('utf8')) as Partial<Claim> | null;
    const isValid =
      claim?.version === 1 &&
      typeof claim.lease === 'string' &&
      Number.isFinite(claim.epoch) &&
      Number.isFinite(claim.generation) &&
      typeof claim.takeOver === 'boolean';
    if (isValid) return claim as Claim;
  } catch {
    // Damaged, as below.
  }
  throw new QsfsError(
    'QSFS_E_DISK',
    `${path} is damaged`,
    'Nothing was written here yet: type "qsfs restore" again, with another --dir.',
  );
}

/** It is on stable storage on return. */
export function writeClaim(disk: Disk, path: string, claim: Claim): void {
  replaceWhole(disk, path, Buffer.from(`${JSON.stringify(claim, undefined, 2)}\n`));
}
