// What a frontend that has not got its backends, or lost them to another one, does with its mount: everything is readable, nothing can be
// changed. A change might never leave this machine, and whoever made it would not know. And what waits until that is known.
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

/** Thrown by a change that has to wait until the lease was looked at; the session parks the request. */
export class LeaseStale extends Error {
  override readonly name = 'LeaseStale';
}

/** Thrown over and over: it carries no state. */
const STALE = new LeaseStale('the change waits for a look at the lease');

/**
 * Puts a check in front of every call that changes the filesystem.
 * @param isReadOnly while it answers true the call fails with EROFS
 * @param isKnown while it answers false, which of both it is must be found out first: the call throws LeaseStale
 * @param changed told of each call that was made and did not fail
 */
export function refuseChanges(
  filesystem: Filesystem,
  isReadOnly: () => boolean,
  isKnown: () => boolean,
  changed: () => void,
): void {
  const calls = filesystem as unknown as Record<string, Call>;
  for (const [name, changes] of Object.entries(CHANGES)) {
    if (!changes) continue;
    const call = calls[name]!.bind(filesystem);
    calls[name] = (...parameters) => {
      if (isReadOnly()) throw new FilesystemError('EROFS');
      if (!isKnown()) throw STALE;
      const result = call(...parameters);
      changed();
      return result;
    };
  }
}
