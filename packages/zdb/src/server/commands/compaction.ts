// COMPACT [percent] (admin; not a command of the reference): gives the space of mostly dead data files of the current namespace back
// while serving. Answers three numbers: files removed, entries moved, bytes freed.
import { errorCode } from '@qsfs/io';
import type { CompactionResult } from '../../engine/types.ts';
import type { CommandDefinition, Host, Session } from '../session.ts';
import type { Slot } from '../slot.ts';
import { refuse, textAt } from './arguments.ts';

/** The compaction command. */
export const COMPACT: CommandDefinition = ['COMPACT', compact, 'admin', 'own'];

const DEFAULT_PERCENT = 50;

function compact(session: Session): void {
  const { request, server, slot } = session;
  if (request.count > 2) {
    refuse(session, 'Unexpected arguments');
    return;
  }
  const text = request.count === 2 ? textAt(session, 1) : String(DEFAULT_PERCENT);
  const percent = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || percent > 100) {
    refuse(session, 'Invalid argument');
    return;
  }
  if (!server.commit()) {
    refuse(session, 'Cannot write data right now');
    return;
  }
  const work = compactNamespace(server, slot, percent / 100);
  let result: CompactionResult | undefined;
  let failure = 'Internal Error';
  const done = work.then(
    (value) => {
      result = value;
    },
    (error: unknown) => {
      if (errorCode(error) === 'ENOSPC') failure = 'No space left on this disk to move values to';
      server.log.line('error', `cannot compact ${slot.name}: ${(error as Error).message}`);
    },
  );
  session.park(done, () => {
    const { replies } = server;
    if (result === undefined) {
      replies.error(failure);
      return;
    }
    replies.array(3);
    replies.integer(result.removedFiles.length);
    replies.integer(result.movedEntries);
    replies.integer(result.freedBytes);
  });
}

/** Compacts one data file after the other; in between everybody is served. */
export async function compactNamespace(
  server: Host,
  slot: Slot,
  maxLiveRatio: number,
): Promise<CompactionResult> {
  const removedFiles: number[] = [];
  let movedEntries = 0;
  let movedBytes = 0;
  let freedBytes = 0;
  const before = slot.namespace.activeFile;
  for (;;) {
    if (slot.removed || !server.commit()) break;
    const step = slot.namespace.compact(maxLiveRatio, 0, before);
    // A file may have to stay, with a damaged record in it: then something was moved at most.
    if (step.removedFiles.length === 0 && step.movedEntries === 0) break;
    removedFiles.push(...step.removedFiles);
    movedEntries += step.movedEntries;
    movedBytes += step.movedBytes;
    freedBytes += step.freedBytes;
    await new Promise<void>((resolve) => server.clock.soon(resolve));
  }
  if (freedBytes > 0) {
    server.log.line(
      'info',
      `compacted ${slot.name}: ${removedFiles.length} files, ${freedBytes} bytes freed`,
    );
  }
  return { removedFiles, movedEntries, movedBytes, freedBytes };
}
