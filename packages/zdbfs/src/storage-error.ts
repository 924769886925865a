// How failures of the store look to applications.
import { FilesystemError } from '@qsfs/fuse';
import { errorCode } from '@qsfs/io';
import { StoreError } from '@qsfs/zdb';

/**
 * The error the filesystem ends with when the store threw `error`: ENOSPC when there is no room, EIO when the store could
 * not do it; anything else (NotLocal, errors of ours, bugs) as it is.
 */
export function storageError(error: unknown): unknown {
  if (error instanceof StoreError)
    return new FilesystemError(error.reason === 'full' ? 'ENOSPC' : 'EIO', error.message);
  if (error instanceof FilesystemError) return error;
  const code = errorCode(error);
  if (code === undefined) return error;
  const message = error instanceof Error ? error.message : code;
  return new FilesystemError(code === 'ENOSPC' || code === 'EDQUOT' ? code : 'EIO', message);
}

/** True when there was no room. */
export function isOutOfSpace(error: unknown): boolean {
  return error instanceof FilesystemError && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
}
