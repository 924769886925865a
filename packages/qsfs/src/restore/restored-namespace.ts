// Makes one namespace of a restored frontend: index files from the backends, data files as holes whose bytes come when they are read.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type Disk, readWhole, replaceWhole } from '@qsfs/io';
import { isZstorError, type Zstor } from '@qsfs/zstor';
import type { Context } from '../context.ts';
import { QsfsError } from '../errors.ts';
import { DESCRIPTOR } from '../filesystem/sync-state.ts';
import { asKnownError } from '../known-errors.ts';
import type { Layout } from '../layout.ts';
import type { Identity } from '../lease/identity.ts';
import type { StoredIndex } from '../local/catalog.ts';
import { VolumeFiles } from '../local/volume-files.ts';
import { indexName, type ManifestNamespace, PAGE_FILES, type Version } from '../manifest.ts';
import type { OffloadedName } from '../messages.ts';
import { isComplete } from '../offload/degraded-files.ts';
import type { FoundManifest } from './stored-manifest.ts';

/** Index files on their way at a time. */
const CONCURRENT_MAX = 8;
const INDEX_ATTEMPTS = 3;
const HASH_BYTES = 16;

/** What it takes. */
export interface NamespaceParts {
  readonly context: Context;
  readonly layout: Layout;
  readonly zstor: Zstor;
  /** Of the frontend that is made. */
  readonly identity: Identity;
  readonly pages: FoundManifest['pages'];
  readonly progress: (line: string) => void;
}

/**
 * Makes the files and tables of one namespace in an empty frontend.
 * @returns how many data files there are, and how long they are together
 * @throws QsfsError QSFS_E_NO_VOLUME; IoError
 */
export async function restoreNamespace(
  parts: NamespaceParts,
  namespace: ManifestNamespace,
  name: OffloadedName,
): Promise<{ files: number; bytes: number }> {
  const { context, layout, pages, progress, zstor, identity } = parts;
  const { disk } = context;
  const indexFolder = join(layout.index, name);
  const dataFolder = join(layout.data, name);
  disk.makeDirectory(indexFolder);
  disk.makeDirectory(dataFolder);
  const files = VolumeFiles.open(disk, layout, name, identity.stripeBytes, identity.segmentBytes);
  const indexes: { file: number; version: Version; sizeBytes: number }[] = [];
  let fileCount = 0;
  let bytes = 0;
  try {
    for (let file = 0; file < namespace.activeFile; file += 1) {
      const entry = pages.get(`${name}/${Math.floor(file / PAGE_FILES)}`)?.[file % PAGE_FILES];
      if (!entry)
        throw new QsfsError('QSFS_E_NO_VOLUME', `the manifest does not describe file ${file} of ${name}`);
      if (entry.data) {
        makeHole(disk, join(dataFolder, `d${file}`), entry.data.sizeBytes);
        const stripes = Math.ceil(entry.data.sizeBytes / identity.stripeBytes);
        files.presence.recordAbsent(file, 0, stripes);
        // Whether all n shards are there is looked at by the first healing round; until then nothing of it is dropped.
        files.catalog.setData(file, { safety: 'degraded', ...entry.data });
        fileCount += 1;
        bytes += entry.data.sizeBytes;
      }
      if (entry.index) {
        const { epoch, generation, sizeBytes } = entry.index;
        indexes.push({ file, version: { epoch, generation }, sizeBytes });
      }
    }
    let done = 0;
    await Promise.all(
      Array.from({ length: CONCURRENT_MAX }, async () => {
        for (let next = indexes.pop(); next; next = indexes.pop()) {
          const { file, version, sizeBytes } = next;
          const path = join(indexFolder, `i${file}`);
          const stored = await bringIndex(
            zstor,
            context,
            { name: indexName(name, file, version), sizeBytes },
            path,
          );
          files.catalog.setIndex(file, { ...version, ...stored });
          done += 1;
          if (done % 1000 === 0) progress(`${name}: ${done} index files`);
        }
      }),
    );
    replaceWhole(disk, join(indexFolder, DESCRIPTOR), namespace.descriptor);
    replaceWhole(disk, join(indexFolder, `i${namespace.activeFile}`), namespace.activeIndex);
    replaceWhole(disk, join(dataFolder, `d${namespace.activeFile}`), namespace.activeData);
    files.presence.flush();
    files.catalog.flush();
    disk.syncDirectory(dataFolder);
  } finally {
    files.close();
  }
  return { files: fileCount, bytes };
}

function makeHole(disk: Disk, path: string, sizeBytes: number): void {
  const file = disk.open(path, 'create');
  try {
    file.truncate(sizeBytes);
  } finally {
    file.close();
  }
}

async function bringIndex(
  zstor: Zstor,
  context: Context,
  wanted: { name: string; sizeBytes: number },
  path: string,
): Promise<Omit<StoredIndex, keyof Version>> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const record = await zstor.retrieve(wanted.name, path);
      if (record.sizeBytes === wanted.sizeBytes) {
        const { disk, clock } = context;
        const content = readWhole(disk, path) ?? new Uint8Array(0);
        return {
          sizeBytes: content.length,
          hash: createHash('sha256').update(content).digest().subarray(0, HASH_BYTES),
          modifiedMs: disk.stat(path)?.modifiedMs ?? 0,
          copiedMs: clock.nowMs(),
          complete: isComplete(record),
        };
      }
      throw new QsfsError(
        'QSFS_E_NO_VOLUME',
        `${wanted.name} has ${record.sizeBytes} bytes, not ${wanted.sizeBytes}`,
      );
    } catch (error) {
      if (isZstorError(error, 'QSFS_E_NOT_FOUND')) {
        throw new QsfsError('QSFS_E_NO_VOLUME', `the index ${wanted.name} is not on the backends`);
      }
      if (!isZstorError(error, 'QSFS_E_UNAVAILABLE') || attempt === INDEX_ATTEMPTS) {
        throw asKnownError(error);
      }
    }
    await context.clock.sleep(500);
  }
}
