// The name under which a file is stored: its absolute path with symlinks resolved, less the configured root. One rule for every
// command, whether the file is there or not (spec/zstor.md 6.1, defect D19).
import { basename, dirname, join, resolve } from 'node:path';
import { type Disk, errorCode } from '@qsfs/io';
import { ZstorError } from '../errors.ts';

/** What is needed to turn a path into a name. */
export interface NameRules {
  readonly disk: Disk;
  readonly workingDirectory: string;
  readonly root: string | undefined;
}

/** Absolute path of a file with the symlinks of everything that exists resolved. */
export function resolvedPath(path: string, { disk, workingDirectory }: NameRules): string {
  const absolute = resolve(workingDirectory, path);
  try {
    return disk.resolve(absolute);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT' && errorCode(error) !== 'ENOTDIR') throw error;
    if (dirname(absolute) === absolute) return absolute;
    return join(
      resolvedPath(dirname(absolute), { disk, workingDirectory, root: undefined }),
      basename(absolute),
    );
  }
}

/**
 * The name of a file.
 * @param keyPath directory it is to be stored under instead of its own
 * @throws ZstorError QSFS_E_INVALID when it is outside the root
 */
export function objectName(path: string, rules: NameRules, keyPath?: string): string {
  const own = resolvedPath(path, rules);
  const resolved = keyPath === undefined ? own : join(resolvedPath(keyPath, rules), basename(own));
  if (rules.root === undefined || rules.root === '') return resolved;
  const root = resolvedPath(rules.root, rules);
  const prefix = root === '/' ? '/' : `${root}/`;
  if (!resolved.startsWith(prefix) || resolved === root) {
    throw new ZstorError(
      'QSFS_E_INVALID',
      `attempting to store file which is not in the file tree rooted at ${rules.root}: ${resolved}`,
      'name a file below the root, or change root in the configuration',
    );
  }
  return resolved.slice(prefix.length);
}
