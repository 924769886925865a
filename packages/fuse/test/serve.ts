// A mounted MemoryFilesystem in a process of its own. Reads commands as JSON lines on its standard input, writes what
// happens as JSON lines on its standard output. Everything a test does to the mount it does from outside.
import { createInterface } from 'node:readline';
import { type Libc, loadLibc, openRealDevice, realDisk, realProcesses, startThread } from '@qsfs/io';
import { MountError, mount, Notifier, type WakeHandle, wake } from '../src/index.ts';
import type { ServeInput } from './serve-thread.ts';

/** The one parameter of the program, as JSON. */
export interface ServeSettings {
  readonly mountPoint: string;
  /** Give up being root for this user first. */
  readonly userId?: number;
  readonly useLibc?: boolean;
  readonly writebackCache?: boolean;
  readonly allowOther?: boolean;
  readonly readOnly?: boolean;
  readonly createMountPoint?: boolean;
  readonly answerCreate?: boolean;
  readonly parkedCountMax?: number;
  readonly cacheSeconds?: number;
  readonly source?: string;
}

const settings = JSON.parse(process.argv[2] ?? '{}') as ServeSettings;
const tell = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
const useLibc = settings.useLibc ?? true;
const libc: Libc | undefined = useLibc ? loadLibc() : undefined;
if (settings.userId !== undefined && process.setuid && process.setgid && process.setgroups) {
  process.setgroups([]);
  process.setgid(settings.userId);
  process.setuid(settings.userId);
}
const processes = {
  ...realProcesses,
  userId: process.getuid?.() ?? 0,
  groupId: process.getgid?.() ?? 0,
};
const io = { disk: realDisk, processes, libc, openDevice: openRealDevice };

function start() {
  try {
    return mount(io, { subtype: 'memory', source: 'test', ...settings });
  } catch (error) {
    if (!(error instanceof MountError)) throw error;
    tell({ error: error.reason, message: error.message });
    process.exit(1);
  }
}

const mounted = start();
const input: ServeInput = {
  ...settings,
  descriptor: mounted.descriptor,
  mountPoint: mounted.mountPoint,
  useLibc,
};
const thread = startThread(new URL('./serve-thread.ts', import.meta.url), input);
let wakeHandle: WakeHandle | undefined;
let forNothing = false;
let toldEnd: () => void = () => {};
const endTold = new Promise<void>((resolve) => (toldEnd = resolve));
thread.port.onMessage((message) => {
  if (typeof message === 'object' && message !== null && 'wakeHandle' in message) {
    wakeHandle = message.wakeHandle as WakeHandle;
    const { mountPoint, deviceNumber, replacedDead, hiddenCount } = mounted;
    tell({ mounted: mountPoint, deviceNumber, replacedDead, hiddenCount });
  } else tell(message);
  if (typeof message === 'object' && message !== null && 'ended' in message) toldEnd();
});
Promise.all([thread.ended, endTold]).then(
  ([code]) => {
    tell({ threadEnded: code });
    mounted.close();
    if (!forNothing) mounted.detach();
    process.exit(0);
  },
  (error: unknown) => {
    tell({ threadFailed: String(error) });
    process.exit(2);
  },
);

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as { do: string; inode?: number; name?: string };
  if (command.do === 'notify') {
    const notifier = new Notifier(mounted.device);
    const known =
      command.name === undefined
        ? notifier.inode(command.inode ?? 1, 0, 0)
        : notifier.entry(command.inode ?? 1, command.name);
    tell({ known });
  } else if (command.do === 'put-back') {
    forNothing = true;
    mounted.putBack();
  } else if (command.do === 'unmount') {
    mounted.unmount().then(
      (how) => tell({ unmount: how }),
      (error: unknown) => tell({ unmount: String(error) }),
    );
  } else if (wakeHandle) {
    thread.port.send(command);
    wake(wakeHandle, io);
  }
}
