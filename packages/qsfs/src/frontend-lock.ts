// One process at a time serves a frontend: it holds the lock of its folder as long as it lives.
import type { DiskFile } from '@qsfs/io';
import type { Context } from './context.ts';
import { messageOf, QsfsError } from './errors.ts';
import type { Layout } from './layout.ts';
import { shellWord } from './shell-word.ts';

/** Takes the lock of the frontend folder. @returns the undoing @throws QsfsError QSFS_E_RUNNING */
export function lockFrontend(context: Context, layout: Layout): () => void {
  let file: DiskFile;
  try {
    file = context.disk.open(layout.lock, 'create');
  } catch (error) {
    throw new QsfsError('QSFS_E_DISK', `${layout.frontend} cannot be used: ${messageOf(error)}`);
  }
  if (!file.tryLock()) {
    file.close();
    throw alreadyRunning(layout);
  }
  return () => file.close();
}

/** What is said to whoever comes second. */
export function alreadyRunning({ root }: Layout): QsfsError {
  return new QsfsError(
    'QSFS_E_RUNNING',
    `a qsfs is running on ${root} already`,
    `Look at it with "qsfs status --dir ${shellWord(root)}".`,
  );
}
