// What children inherit: the descriptors they are given, and no others. Node opens everything close-on-exec. What this process
// inherited of its own parent it marks at its start too, but only up to the first number that is free from 16 on
// (uv_disable_stdio_inheritance): "exec 99>lock; zdb …" would go on to every child, which then holds the lock, the deleted file or
// the socket open for as long as it runs. We ourselves keep such descriptors: they may have been given to us on purpose.
import { readdirSync } from 'node:fs';
import type { Libc } from '../libc.ts';

/** The first descriptor behind the standard streams. */
const FIRST = 3;
const LAST = 0xffffffff;
/** close_range(2): mark, do not close; Linux 5.11. */
const CLOSE_RANGE_CLOEXEC = 4;
/** fcntl(2). */
const SET_DESCRIPTOR_FLAGS = 2;
const CLOSE_ON_EXEC = 1;

/**
 * Marks every descriptor but the standard streams close-on-exec. Called before each child is started, and costs one system call.
 * @param libc where undefined nothing can be marked: Node has no call for it
 */
export function keepDescriptorsFromChildren(libc: Libc | undefined): void {
  if (libc === undefined || libc.closeRange(FIRST, LAST, CLOSE_RANGE_CLOEXEC) === 0) return;
  for (const name of readdirSync('/proc/self/fd')) {
    const descriptor = Number(name);
    // The one that read the directory is closed by now; that fails, and does no harm.
    if (descriptor >= FIRST) libc.fcntl(descriptor, SET_DESCRIPTOR_FLAGS, CLOSE_ON_EXEC);
  }
}
