// What a frontend that lost its backends to another one does with its mount: everything stays readable, nothing can be
// changed any more. A change would never leave this machine, and whoever made it would not know.
import { type Filesystem, FilesystemError } from '@qsfs/fuse';

/** Whether a call changes what programs see; all calls are here, so that a new one is not forgotten. */
const CHANGES: Readonly<Record<keyof Filesystem, boolean>> = {
  lookup: false,
  forget: false,
  getAttributes: false,
  setAttributes: true,
  readLink: false,
  makeSymlink: true,
  makeNode: true,
  makeDirectory: true,
  makeTemporary: true,
  unlink: true,
  removeDirectory: true,
  rename: true,
  link: true,
  read: false,
  write: true,
  sync: false,
  syncAll: false,
  listDirectory: false,
  status: false,
  getExtendedAttribute: false,
  setExtendedAttribute: true,
  listExtendedAttributes: false,
  removeExtendedAttribute: true,
  allocate: true,
  seek: false,
  copyRange: true,
  idle: false,
};

type Call = (...parameters: unknown[]) => unknown;

/** Puts a check in front of every call that changes the filesystem: while `fenced` answers true it fails with EROFS. */
export function refuseChanges(filesystem: Filesystem, fenced: () => boolean): void {
  const calls = filesystem as unknown as Record<string, Call>;
  for (const [name, changes] of Object.entries(CHANGES)) {
    if (!changes) continue;
    const call = calls[name]!.bind(filesystem);
    calls[name] = (...parameters) => {
      if (fenced()) throw new FilesystemError('EROFS');
      return call(...parameters);
    };
  }
}
