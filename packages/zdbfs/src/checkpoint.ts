// A checkpoint brings zdbfs-meta up to date and empties the journal. The order makes it atomic whatever happens:
//   1. data and set-aside ids become stable;
//   2. images of all changed records go into the journal, then the mark that makes them count, with the superblock;
//   3. the journal becomes stable: from here on recovery starts from this checkpoint;
//   4. the images are written in place into zdbfs-meta, the superblock last, and become stable;
//   5. the journal is emptied.
// A failure before the mark leaves everything as it was (recovery ignores images without a mark); one after it leaves the
// records marked as changed, so that the next checkpoint writes them again.

import type { SyncSteps } from '@qsfs/io';
import { ByteWriter } from './bytes.ts';
import type { Journal } from './journal.ts';
import type { Moment } from './record.ts';
import { encodeRecord } from './record-codec.ts';
import type { Store } from './store.ts';
import { encodeSuperblock, SUPERBLOCK_IDS, superblockFor } from './superblock.ts';
import type { VolumeState } from './volume-state.ts';

/** Images per journal record, and per commit of records in place. */
const BATCH_BYTES = 1024 * 1024;
/** Others have a moment after so many records were encoded, some ten milliseconds. */
const BREATH_RECORDS = 4096;

/** A record of zdbfs-meta as it will be stored. */
export interface Image {
  readonly id: number;
  readonly bytes: Uint8Array;
}

function* batches(images: readonly Image[]): Generator<Image[]> {
  let batch: Image[] = [];
  let size = 0;
  for (const image of images) {
    if (size > 0 && size + image.bytes.length > BATCH_BYTES) {
      yield batch;
      batch = [];
      size = 0;
    }
    batch.push(image);
    size += image.bytes.length;
  }
  if (batch.length > 0) yield batch;
}

/** Writes images and superblock into zdbfs-meta and makes them stable. Doing it twice changes nothing. */
export function* inPlaceSteps(store: Store, images: readonly Image[], superblock: Uint8Array): SyncSteps {
  for (const batch of batches(images)) {
    for (const image of batch) store.meta.update(image.id, image.bytes);
    store.commit();
    yield;
  }
  for (const id of SUPERBLOCK_IDS) store.meta.update(id, superblockFor(superblock, id));
  yield* store.meta.syncSteps();
}

/**
 * Makes a checkpoint. The volume is not changed between the steps; it may be read.
 * @throws what the store throws; the volume can go on and try again, unless a sync failed for another reason than space
 */
export function* checkpointSteps(state: VolumeState, journal: Journal, time: Moment): SyncSteps {
  const { store, cache } = state;
  yield* store.data.syncSteps();
  yield* store.meta.syncSteps();
  const writer = new ByteWriter();
  const images: Image[] = [];
  for (const record of cache.dirtyRecords()) {
    images.push({ id: record.id, bytes: encodeRecord(writer, record) });
    if (images.length % BREATH_RECORDS === 0) yield;
  }
  const checkpoint = state.checkpoint + 1;
  const superblock = encodeSuperblock(writer, state.superblock(checkpoint));
  let imageRecords = 0;
  for (const batch of batches(images)) {
    journal.append(time, { kind: 'images', images: batch });
    imageRecords++;
    yield;
  }
  journal.append(time, { kind: 'checkpoint', imageRecords, superblock });
  state.checkpoint = checkpoint;
  journal.advance(checkpoint);
  yield* store.journal.syncSteps();
  yield* inPlaceSteps(store, images, superblock);
  cache.cleanAll();
  yield* journal.flushSteps();
  for (const id of state.doomedMeta) state.removableMeta.push(id);
  state.doomedMeta = [];
  for (const id of state.doomedData) state.removableData.push(id);
  state.doomedData = [];
}
