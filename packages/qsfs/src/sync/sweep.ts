// Finds objects of a volume that nothing names: what an interrupted sync point, a crash or an earlier frontend left behind.
import type { Zstor } from '@qsfs/zstor';
import type { Volume } from '../local/volume-files.ts';
import {
  compareVersions,
  dataName,
  indexName,
  LEASE_NAME,
  type Manifest,
  manifestName,
  OBJECT_PREFIX,
  pageName,
  parseManifestName,
  parsePartName,
} from '../manifest.ts';

/**
 * Looks at the names of all objects.
 * @param manifest the newest one, complete on the backends
 * @param epoch of this frontend
 * @returns names of objects that may be deleted; undefined when there is a manifest newer than `manifest`, which may name any of them
 * @throws ZstorError
 */
export async function findGarbage(
  zstor: Zstor,
  manifest: Manifest,
  volume: Volume,
  epoch: number,
): Promise<string[] | undefined> {
  const found: string[] = [];
  for await (const { name } of zstor.list(OBJECT_PREFIX)) {
    const version = parseManifestName(name);
    if (version && compareVersions(version, manifest) > 0) return undefined;
    if (!isNamed(name, manifest, volume, epoch)) found.push(name);
  }
  return found;
}

/** Whether an object is in use, or of a kind that is not ours to judge. */
function isNamed(name: string, manifest: Manifest, volume: Volume, epoch: number): boolean {
  if (name === LEASE_NAME || name === manifestName(manifest)) return true;
  if (parseManifestName(name)) return false;
  const part = parsePartName(name);
  if (!part) return true;
  const { namespace, kind, number } = part;
  const files = volume[namespace];
  switch (kind) {
    case 'd': {
      const { epoch: storedEpoch, safety } = files.data(number);
      // Removed, as nothing in it was alive.
      if (number < files.activeFile && files.sizeOf(number) === 0 && safety === 'pending') return false;
      // Files of this epoch may be on their way at this moment.
      return name === dataName(namespace, number, epoch) || name === dataName(namespace, number, storedEpoch);
    }
    case 'i': {
      const index = files.catalog.index(number);
      return index !== undefined && name === indexName(namespace, number, index);
    }
    case 'p': {
      const pages = manifest.namespaces.find((candidate) => candidate.name === namespace)?.pages;
      const page = pages?.[number];
      return page !== undefined && name === pageName(namespace, number, page);
    }
  }
}
