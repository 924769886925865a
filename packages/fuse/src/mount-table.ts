// The kernel's table of mounts (/proc/self/mountinfo), and what is mounted at a place.
//
// Line: id parent major:minor root mountpoint options [optional fields] - type source super-options. Blanks, tabs, line
// ends and backslashes in paths are written as three octal digits (proc(5)).
import type { Disk } from '@qsfs/io';

/** One mount, as far as it matters here. */
export interface MountEntry {
  /** Of this mount, and of the one it is mounted on. */
  readonly id: string;
  readonly parentId: string;
  /** `major:minor` of the mounted filesystem. */
  readonly device: string;
  readonly mountPoint: string;
  readonly type: string;
  readonly source: string;
}

const TABLE = '/proc/self/mountinfo';
const CHUNK_BYTES = 64 * 1024;

/** Everything mounted that this process can see, in the order of mounting. */
export function mountTable(disk: Disk): MountEntry[] {
  const file = disk.open(TABLE, 'read');
  let text = '';
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    for (let position = 0; ; ) {
      const got = file.read(chunk, position);
      text += chunk.toString('latin1', 0, got);
      position += got;
      if (got < CHUNK_BYTES) break;
    }
  } finally {
    file.close();
  }
  return text.split('\n').flatMap((line) => parseMount(line) ?? []);
}

/** The topmost mount at an absolute path, or undefined when nothing is mounted exactly there. */
export function mountedAt(disk: Disk, path: string): MountEntry | undefined {
  return mountTable(disk).findLast((entry) => entry.mountPoint === path);
}

/** What the topmost mount at a path covers there: another mount at the same path, or undefined when it is a directory. */
export function mountBelow(disk: Disk, path: string): MountEntry | undefined {
  const top = mountedAt(disk, path);
  return mountTable(disk).find((entry) => entry.id === top?.parentId && entry.mountPoint === path);
}

/** The mount that an absolute path without symlinks is on. */
export function mountAbove(disk: Disk, path: string): MountEntry | undefined {
  const isAbove = ({ mountPoint }: MountEntry) =>
    mountPoint === '/' || `${path}/`.startsWith(`${mountPoint}/`);
  return mountTable(disk)
    .filter(isAbove)
    .reduce<MountEntry | undefined>(
      (best, entry) => (best && best.mountPoint.length > entry.mountPoint.length ? best : entry),
      undefined,
    );
}

/** One line of the table; undefined when it is none. */
export function parseMount(line: string): MountEntry | undefined {
  const words = line.split(' ');
  const dash = words.indexOf('-', 6);
  const [id = '', parentId = '', device, , mountPoint] = words;
  const type = words[dash + 1];
  const source = words[dash + 2];
  if (dash < 0 || !device || !mountPoint || type === undefined || source === undefined) return undefined;
  return {
    id,
    parentId,
    device,
    mountPoint: unescaped(mountPoint),
    type: unescaped(type),
    source: unescaped(source),
  };
}

/** Undoes the octal escapes; the table is bytes, so the result is read as UTF-8 only then. */
function unescaped(text: string): string {
  const bytes = text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** True for the types FUSE filesystems are listed with. */
export function isFuse(entry: MountEntry): boolean {
  return entry.type === 'fuse' || entry.type.startsWith('fuse.');
}
