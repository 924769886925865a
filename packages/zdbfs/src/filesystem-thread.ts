// The filesystem thread of `zdbfs`: opens the volume, serves the mount the main thread makes (blocking in poll), closes
// the volume when the mount is gone.
import { Session } from '@qsfs/fuse';
import {
  errorCode,
  loadLibc,
  openRealDevice,
  type Port,
  realClock,
  realDisk,
  realRandom,
  threadInput,
} from '@qsfs/io';
import { StoreError } from '@qsfs/zdb';
import { openLocalVolume } from './local-volume.ts';
import type { FromThread, ThreadInput, ToThread } from './messages.ts';
import { VolumeError } from './recovery.ts';
import type { Volume } from './volume.ts';
import type { Log } from './volume-state.ts';

/** A message for errors the operator can do something about; others are bugs. */
function refusal(error: unknown): string | undefined {
  if (error instanceof VolumeError || error instanceof StoreError) return error.message;
  return errorCode(error) === undefined ? undefined : (error as Error).message;
}

function open(input: ThreadInput, log: Log): Volume {
  const { directory, sizeBytes, cacheBytes, segmentBytes, userId, groupId } = input;
  return openLocalVolume({
    disk: realDisk,
    clock: realClock,
    random: realRandom,
    directory,
    log,
    sizeBytes,
    ...(cacheBytes > 0 ? { cacheBytes } : {}),
    ...(segmentBytes > 0 ? { segmentBytes } : {}),
    rootOwner: { userId, groupId, mode: 0o755 },
  });
}

function serve(volume: Volume, port: Port, input: ThreadInput, descriptor: number, mountPoint: string): void {
  const send = (message: FromThread) => port.send(message);
  const libc = loadLibc();
  const session: Session = new Session({
    device: openRealDevice(descriptor, libc),
    mountPoint,
    filesystem: volume,
    libc,
    clock: realClock,
    log: (level, message) => send({ kind: 'log', level, message }),
    writebackCache: input.writeback,
    woken: () => {
      for (let message = port.receive(); message !== undefined; message = port.receive())
        if ((message as ToThread).kind === 'stop') session.stop();
    },
  });
  send({ kind: 'serving', wake: session.wakeHandle });
  session.run();
}

function close(volume: Volume): string | undefined {
  try {
    volume.close();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function run(input: ThreadInput, port: Port): void {
  const send = (message: FromThread) => port.send(message);
  let volume: Volume;
  try {
    volume = open(input, (level, message) => send({ kind: 'log', level, message }));
  } catch (error) {
    const message = refusal(error);
    if (message === undefined) throw error;
    send({ kind: 'refused', message });
    port.close();
    return;
  }
  port.onMessage((received) => {
    const message = received as ToThread;
    let failure: string | undefined;
    try {
      if (message.kind === 'serve') serve(volume, port, input, message.descriptor, message.mountPoint);
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
    }
    const closing = close(volume);
    send({ kind: 'closed', failure: failure ?? closing });
    port.close();
  });
  send({ kind: 'opened' });
}

const { input, port } = threadInput();
run(input as ThreadInput, port);
