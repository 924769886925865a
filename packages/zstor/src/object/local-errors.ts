// Errors of local files, and of the codec that reads and writes them, as our own.
import { errorCode } from '@qsfs/io';
import { CodecClosed, StripeNotAuthentic } from '../codec/index.ts';
import { messageOf, ZstorError } from '../errors.ts';

/** Runs something that touches a local file; a disk's error becomes QSFS_E_LOCAL with the original as its cause. */
export async function translateLocal<T>(path: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof ZstorError) throw error;
    if (error instanceof CodecClosed)
      throw new ZstorError('QSFS_E_ABORTED', 'the store was closed', '', error);
    if (error instanceof StripeNotAuthentic) throw new ZstorError('QSFS_E_DAMAGED', error.message, '', error);
    if (errorCode(error) === undefined) throw error;
    const message = messageOf(error);
    const where = message.includes(path) ? message : `${path}: ${message}`;
    throw new ZstorError('QSFS_E_LOCAL', where, '', error);
  }
}
