// Names in directories: finding, adding and removing them, and the order in which they are listed.
import { FilesystemError } from '@qsfs/fuse';
import { KEY_GROUP, nameKey } from './name-hash.ts';
import type { DirectoryEntry, Inode, Page } from './record.ts';
import { directoryEntryBytes } from './record-codec.ts';
import type { VolumeState } from './volume-state.ts';

/** Longest name, in bytes. */
export const NAME_MAX = 255;

function root(directory: Inode): Page<DirectoryEntry> {
  if (!directory.directory) throw new FilesystemError('ENOTDIR');
  return directory.directory;
}

/** The entry with this name, or undefined. Loads everything a later change of the name needs. */
export function findName(state: VolumeState, directory: Inode, name: string): DirectoryEntry | undefined {
  const first = nameKey(name, state.seedLow, state.seedHigh);
  let found: DirectoryEntry | undefined;
  state.directories.visit(directory, root(directory), first, (entry, key) => {
    if (key >= first + KEY_GROUP) return false;
    if (entry.name !== name) return true;
    found = entry;
    return false;
  });
  return found;
}

function keyOf(state: VolumeState, directory: Inode, name: string): number {
  const first = nameKey(name, state.seedLow, state.seedHigh);
  let found = -1;
  state.directories.visit(directory, root(directory), first, (entry, key) => {
    if (key >= first + KEY_GROUP) return false;
    if (entry.name !== name) return true;
    found = key;
    return false;
  });
  if (found < 0) throw new Error(`the name to change is not in directory ${directory.id}`);
  return found;
}

/** The key a new name gets, or -1 when its group is full. */
function freeKey(state: VolumeState, directory: Inode, name: string): number {
  const first = nameKey(name, state.seedLow, state.seedHigh);
  let free = first;
  state.directories.visit(directory, root(directory), first, (_entry, key) => {
    if (key >= first + KEY_GROUP || key !== free) return false;
    free++;
    return true;
  });
  return free < first + KEY_GROUP ? free : -1;
}

/** Loads what adding the name needs. @throws ENOSPC when sixteen names of this hash are there already */
export function prepareName(state: VolumeState, directory: Inode, name: string): void {
  const key = freeKey(state, directory, name);
  if (key < 0) throw new FilesystemError('ENOSPC', 'too many names with the same hash in one directory');
  state.directories.find(directory, root(directory), key);
}

/** Adds a name that is not there. */
export function addName(state: VolumeState, directory: Inode, entry: DirectoryEntry): void {
  state.directories.insert(directory, root(directory), freeKey(state, directory, entry.name), entry);
  directory.entryCount++;
  directory.sizeBytes += directoryEntryBytes(entry);
}

/** Removes a name that is there. */
export function removeName(state: VolumeState, directory: Inode, name: string): void {
  state.directories.remove(directory, root(directory), keyOf(state, directory, name));
  directory.entryCount--;
  directory.sizeBytes -= 18 + name.length;
}

/** Lets a name that is there point to another inode. */
export function replaceName(state: VolumeState, directory: Inode, entry: DirectoryEntry): void {
  state.directories.replace(directory, root(directory), keyOf(state, directory, entry.name), entry);
}

/** Shows entries from `key` on in the order of their keys, until `visit` answers false. */
export function visitNames(
  state: VolumeState,
  directory: Inode,
  key: number,
  visit: (entry: DirectoryEntry, key: number) => boolean,
): boolean {
  return state.directories.visit(directory, root(directory), key, visit);
}
