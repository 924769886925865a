// The newest sync point on the backends that is wholly there: what a restore begins from.
import type { Zstor } from '@qsfs/zstor';
import type { Context } from '../context.ts';
import { QsfsError } from '../errors.ts';
import { asking, manifestVersions } from '../lease/opening.ts';
import type { Log } from '../log-file.ts';
import {
  compareVersions,
  decodeManifest,
  decodePage,
  type Manifest,
  type ManifestFile,
  manifestName,
  PAGE_FILES,
  pageName,
  type Version,
} from '../manifest.ts';

/** A manifest with its pages, by `NAMESPACE/PAGE`. */
export interface FoundManifest {
  readonly manifest: Manifest;
  readonly pages: ReadonlyMap<string, readonly ManifestFile[]>;
}

/**
 * The newest manifest, with its pages. One that certainly is incomplete (its frontend was interrupted) is passed over; one that
 * cannot be read now is an error: an older one would show less than was written.
 * @throws QsfsError QSFS_E_NO_VOLUME; what `asking` makes of backends that do not answer
 */
export async function newestManifest(
  context: Context,
  zstor: Zstor,
  configPath: string,
  log: Log,
): Promise<FoundManifest & { newest: Version }> {
  const versions = await asking(context, configPath, zstor, () => manifestVersions(zstor));
  for (const version of versions) {
    const found = await asking(context, configPath, zstor, () => readManifest(zstor, version));
    if (found) return { ...found, newest: versions[0] ?? version };
    log('warning', `${manifestName(version)} is not complete; the one before it is used`);
  }
  throw new QsfsError(
    'QSFS_E_NO_VOLUME',
    versions.length === 0
      ? 'the backends hold no volume that was ever synced'
      : 'none of the sync points on the backends is complete',
  );
}

async function readManifest(zstor: Zstor, version: Version): Promise<FoundManifest | undefined> {
  const content = await getObject(zstor, manifestName(version));
  if (!content) return undefined;
  const manifest = decode(manifestName(version), () => decodeManifest(content));
  if (compareVersions(manifest, version) !== 0) {
    throw new QsfsError(
      'QSFS_E_NO_VOLUME',
      `${manifestName(version)} holds another sync point than its name says`,
    );
  }
  const pages = new Map<string, readonly ManifestFile[]>();
  for (const namespace of manifest.namespaces) {
    for (const [page, pageVersion] of namespace.pages.entries()) {
      const name = pageName(namespace.name, page, pageVersion);
      const bytes = await getObject(zstor, name);
      if (!bytes) return undefined;
      pages.set(
        `${namespace.name}/${page}`,
        decode(name, () => decodePage(bytes, page * PAGE_FILES)),
      );
    }
  }
  return { manifest, pages };
}

/** A small object; undefined when there certainly is none. */
async function getObject(zstor: Zstor, name: string): Promise<Uint8Array | undefined> {
  const record = await zstor.head(name);
  return record && (await zstor.getSmall(record));
}

function decode<Result>(name: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new QsfsError('QSFS_E_NO_VOLUME', `${name}: ${error.message}`);
  }
}
