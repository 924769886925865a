// A tiny process that outlives us by a moment: when we die, however, it takes our mount out of the tree, so that nobody
// is left with "Transport endpoint is not connected".
//
// It is a shell that waits on a pipe whose other end only we hold; the kernel closes that end when we are gone, kill -9
// included. It then looks whether the mount it was told about (by device number) is still there, and detaches it. A
// guardian that is killed with us (a whole control group, power) leaves a dead mount, which the next start clears.
import type { Child, Processes } from '@qsfs/io';
import { detachCommands } from './mount-point.ts';

// $1: "major:minor"; the rest: the command that detaches.
const SCRIPT = `trap '' INT HUP TERM
read -r word
device=$1
shift
if grep -q "^[0-9]* [0-9]* $device / " /proc/self/mountinfo; then exec "$@"; fi`;

/** Starts a guardian for a mount. `dismiss` ends it without touching the mount. */
export function startGuardian(
  processes: Processes,
  device: string,
  absolutePath: string,
): { dismiss(): void } {
  const command = detachCommands(processes.userId, absolutePath)[0] as string[];
  const child: Child = processes.start('sh', ['-c', SCRIPT, 'qsfs-guardian', device, ...command], {
    streams: ['pipe', 'ignore', 'ignore'],
    detached: true,
    workingDirectory: '/',
  });
  return { dismiss: () => child.signal('SIGKILL') };
}
