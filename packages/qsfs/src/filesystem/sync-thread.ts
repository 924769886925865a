// The thread that waits for the disk in place of the filesystem thread. Started by the main thread (filesystem.ts), which notices its
// end; answers every request of Syncing (syncing.ts) once.
import { wake } from '@qsfs/fuse';
import {
  datasyncFile,
  errorCode,
  loadLibc,
  openRealDevice,
  type Port,
  realClock,
  realDisk,
  threadInput,
} from '@qsfs/io';
import type { FromSyncThread, ToSyncThread } from './syncing.ts';

const port = threadInput().peer as Port;
const machine = { libc: loadLibc(), openDevice: openRealDevice, disk: realDisk };
let handle: Extract<ToSyncThread, { kind: 'wake' }>['handle'] | undefined;

port.onMessage((message) => {
  const request = message as ToSyncThread;
  if (request.kind === 'wake') {
    handle = request.handle;
    return;
  }
  if (request.kind === 'write-ahead') {
    writeAhead(request.path, request.position, request.lengthBytes);
    return;
  }
  const beginMs = realClock.monotonicMs();
  const failure = perform(request);
  const answer: FromSyncThread = { id: request.id, durationMs: realClock.monotonicMs() - beginMs, failure };
  port.send(answer);
  if (handle) wake(handle, machine);
});

/** Only a hint: a file that is not there any more needs none, and what the disk refuses the sync will tell. */
function writeAhead(path: string, position: number, lengthBytes: number): void {
  try {
    const file = realDisk.open(path, 'read');
    file.startWriteback(position, lengthBytes);
    file.close();
  } catch {}
}

function perform(request: ToSyncThread): FromSyncThread['failure'] {
  try {
    if (request.kind === 'directory') realDisk.syncDirectory(request.path);
    if (request.kind === 'file') datasyncFile(realDisk, request.path);
    return undefined;
  } catch (error) {
    return { code: errorCode(error) ?? 'EIO', message: (error as Error).message };
  }
}
