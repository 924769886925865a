// What children inherit: the descriptors they are given, and no others. Node opens everything close-on-exec. What this process
// inherited of its own parent it marks at its start too, but only up to the first number that is free from 16 on
// (uv_disable_stdio_inheritance): "exec 99>lock; zdb …" would go on to every child, which then holds the lock, the deleted file or
// the socket open for as long as it runs. We ourselves keep such descriptors: they may have been given to us on purpose.
import { openSync, readdirSync, readFileSync } from 'node:fs';
import type { Libc } from '../libc.ts';
import type { ChildStream } from '../processes.ts';

/** The first descriptor behind the standard streams. */
const FIRST = 3;
const LAST = 0xffffffff;
/** close_range(2): mark, do not close; Linux 5.11. */
const CLOSE_RANGE_CLOEXEC = 4;
/** fcntl(2). */
const SET_DESCRIPTOR_FLAGS = 2;
const CLOSE_ON_EXEC = 1;

/** As /proc/self/fdinfo shows it, on every architecture Node runs on. */
const CLOSE_ON_EXEC_FLAG = 0o2000000;

/**
 * What to start a child with so that it gets `streams` and nothing else. Called before each child is started; costs one system call.
 * @param streams the standard streams, and what else the child is given
 * @param libc where undefined nothing can be marked (Node has no call for it): the child gets /dev/null in the place of each
 *   descriptor that it would inherit
 */
export function inheritingOnly(streams: readonly ChildStream[], libc: Libc | undefined): ChildStream[] {
  if (libc === undefined) return withNothingInherited(streams);
  if (libc.closeRange(FIRST, LAST, CLOSE_RANGE_CLOEXEC) !== 0)
    for (const descriptor of openDescriptors()) libc.fcntl(descriptor, SET_DESCRIPTOR_FLAGS, CLOSE_ON_EXEC);
  return [...streams];
}

/** Those behind the standard streams. The one that read the directory is among them, and closed by now. */
function openDescriptors(): number[] {
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((descriptor) => descriptor >= FIRST);
}

function isInherited(descriptor: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'latin1'));
    return flags !== null && (Number.parseInt(flags[1]!, 8) & CLOSE_ON_EXEC_FLAG) === 0;
  } catch {
    return false; // closed meanwhile
  }
}

let nothing: number | undefined;

function withNothingInherited(streams: readonly ChildStream[]): ChildStream[] {
  const all = [...streams];
  for (const descriptor of openDescriptors().filter(isInherited)) {
    if (descriptor < streams.length) continue;
    // For numbers behind the standard streams `ignore` leaves things as they are.
    while (all.length < descriptor) all.push('ignore');
    nothing ??= openSync('/dev/null', 'r+');
    all[descriptor] = nothing;
  }
  return all;
}
