// What a frontend that lost its backends to another one does with its mount: everything stays readable, nothing can be
// changed any more. A change would never leave this machine, and whoever made it would not know.
import { type Filesystem, FilesystemError } from '@qsfs/fuse';

const CHANGES = [
  'setAttributes',
  'makeSymlink',
  'makeNode',
  'makeDirectory',
  'makeTemporary',
  'unlink',
  'removeDirectory',
  'rename',
  'link',
  'write',
  'setExtendedAttribute',
  'removeExtendedAttribute',
  'allocate',
  'copyRange',
] as const satisfies readonly (keyof Filesystem)[];

type Call = (...parameters: unknown[]) => unknown;

/** Puts a check in front of every call that changes the filesystem: while `fenced` answers true it fails with EROFS. */
export function refuseChanges(filesystem: Filesystem, fenced: () => boolean): void {
  const calls = filesystem as unknown as Record<(typeof CHANGES)[number], Call>;
  for (const name of CHANGES) {
    const call = calls[name].bind(filesystem);
    calls[name] = (...parameters) => {
      if (fenced()) throw new FilesystemError('EROFS');
      return call(...parameters);
    };
  }
}
