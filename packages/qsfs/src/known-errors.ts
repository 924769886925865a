// Errors of the packages below and of the machine as errors of our registry.
import { errorCode } from '@qsfs/io';
import { AbsentBackends, isZstorError, LostShards } from '@qsfs/zstor';
import { messageOf, QsfsError } from './errors.ts';

/** Anything thrown as an error of the registry; what is of no known kind is a defect. */
export function asKnownError(thrown: unknown): QsfsError {
  if (thrown instanceof QsfsError) return thrown;
  if (!isZstorError(thrown)) {
    const code = errorCode(thrown);
    if (code === undefined) return new QsfsError('QSFS_E_INTERNAL', messageOf(thrown));
    return new QsfsError('QSFS_E_DISK', messageOf(thrown), diskHint(code));
  }
  const message = ours(thrown.message);
  const hint = ours(thrown.hint) || undefined;
  // Somebody changed addresses: the data is where it was.
  if (thrown instanceof AbsentBackends) return new QsfsError('QSFS_E_CONFIG', message, hint);
  // The key is right: the record, which says where the shards were, could be read.
  if (thrown instanceof LostShards) return new QsfsError('QSFS_E_LOST', message, hint);
  switch (thrown.code) {
    case 'QSFS_E_CONFIG':
      return new QsfsError('QSFS_E_CONFIG', message, hint);
    case 'QSFS_E_UNAVAILABLE':
      return new QsfsError('QSFS_E_BACKENDS', message, hint);
    case 'QSFS_E_LOCAL':
      return new QsfsError('QSFS_E_DISK', message, hint);
    case 'QSFS_E_ABORTED':
      return new QsfsError('QSFS_E_INCOMPLETE', message, hint);
    case 'QSFS_E_DAMAGED':
      return new QsfsError(
        'QSFS_E_NO_VOLUME',
        `what is on the backends cannot be read with this configuration: ${message}`,
        'Check the key (encryption.key): it must be the one the volume was made with.',
      );
    default:
      return new QsfsError('QSFS_E_INTERNAL', message);
  }
}

/** What to do about an error of the local disk; undefined where the registry's hint fits. */
export function diskHint(code: string | undefined): string | undefined {
  if (code === 'EACCES' || code === 'EPERM')
    return 'Run the command as the user whom that belongs to, or give another folder with --dir.';
  if (code === 'EROFS')
    return 'That disk can only be read: mount it for writing, or give another folder with --dir.';
  return undefined;
}

/** A sentence of zstor with our command in it: its user has no zstor configuration at hand. */
function ours(text: string): string {
  return text.replaceAll('zstor status', 'qsfs status');
}
