// The filesystem thread of the test server: serves a MemoryFilesystem on a descriptor of this process. Messages by port.
import { loadLibc, openRealDevice, realClock, threadInput } from '@qsfs/io';
import { ROOT_INODE, Session } from '../src/index.ts';
import { MemoryFilesystem, NotHere } from './memory-filesystem.ts';

/** What the thread is started with. */
export interface ServeInput {
  readonly descriptor: number;
  readonly mountPoint: string;
  readonly useLibc: boolean;
  readonly writebackCache?: boolean;
  readonly answerCreate?: boolean;
  readonly parkedCountMax?: number;
  /** How long the kernel may remember; the session's default when missing. */
  readonly cacheSeconds?: number;
}

/** What it is told afterwards, each followed by a wake. */
export type ServeCommand =
  | { readonly do: 'release' | 'fail' | 'change-behind'; readonly inode: number }
  | { readonly do: 'statistics' | 'stop' | 'retry-all' };

const { input, port } = threadInput();
const { descriptor, mountPoint, useLibc, cacheSeconds, ...choices } = input as ServeInput;
const filesystem = new MemoryFilesystem(() => realClock.nowMs());
const whoServes = { userId: process.getuid?.() ?? 0, groupId: process.getgid?.() ?? 0 };
filesystem.setAttributes(ROOT_INODE, whoServes);
const libc = useLibc ? loadLibc() : undefined;
const session = new Session({
  device: openRealDevice(descriptor, libc),
  mountPoint,
  filesystem,
  libc,
  clock: realClock,
  log: (level, message) => port.send({ log: level, message }),
  deferral: (error) => (error instanceof NotHere ? error.inode : undefined),
  woken,
  ...choices,
  ...(cacheSeconds === undefined
    ? {}
    : {
        cacheTimes: {
          entrySeconds: cacheSeconds,
          attributeSeconds: cacheSeconds,
          negativeSeconds: cacheSeconds,
        },
      }),
});

function woken(): void {
  for (let message = port.receive(); message !== undefined; message = port.receive()) {
    const command = message as ServeCommand;
    if (command.do === 'release') {
      filesystem.release(command.inode);
      session.retry(command.inode);
    } else if (command.do === 'fail') session.failParked(command.inode, 'EIO');
    else if (command.do === 'change-behind') {
      filesystem.setAttributes(command.inode, { sizeBytes: 0 });
      port.send({ changed: command.inode });
    } else if (command.do === 'retry-all') session.retryAll();
    else if (command.do === 'stop') session.stop();
    else {
      port.send({
        statistics: {
          ...session.statistics,
          idleCalls: filesystem.idleCalls,
          inodes: filesystem.inodes,
          references: filesystem.references,
          syncs: filesystem.syncs,
          parkedTokens: session.parkedTokens(),
        },
      });
    }
  }
}

port.send({ wakeHandle: session.wakeHandle });
port.send({ ended: session.run(), inodes: filesystem.inodes, references: filesystem.references });
port.close();
