// Mounting: makes the state of a volume from its last checkpoint and the journal, or a new volume from an empty store.
//
// The journal is believed from its beginning up to the first thing that is not as it should be: a record that cannot be
// read, a gap in the numbers, an operation that needs a data record or an id that is not there. What follows cannot have
// been synced (a sync covers data and ids before the journal), so cutting it off loses nothing that was promised, and the
// volume is as it was at one moment. Reads only, until everything is known; so NotLocal may come out and it is run again.
import { type Random, syncAtOnce } from '@qsfs/io';
import { NotLocal, StoreError } from '@qsfs/zdb';
import { apply } from './apply.ts';
import { ByteWriter, CorruptRecord } from './bytes.ts';
import { type Image, inPlaceSteps } from './checkpoint.ts';
import { Journal } from './journal.ts';
import { type CheckpointMark, decodeJournalRecord, type JournalRecord } from './journal-record.ts';
import type { Operation } from './operation.ts';
import { EPOCH, Inode, type Moment, Page, TYPE_DIRECTORY } from './record.ts';
import { encodeRecord, FORMAT_VERSION, KIND, RESERVED_RECORD } from './record-codec.ts';
import type { RecordSpace, Store } from './store.ts';
import {
  decodeSuperblock,
  encodeSuperblock,
  isVersion1,
  SUPERBLOCK_IDS,
  type Superblock,
} from './superblock.ts';
import { type Log, VolumeState } from './volume-state.ts';

/** Id of the root directory. */
export const ROOT_INODE = 1;
/** So much data written after the last sync is read back and verified, oldest first; the rest is trusted. */
const VERIFY_MAX_BYTES = 1024 * 1024 * 1024;

/** The first id of zdbfs-meta that is neither a superblock nor the root directory. */
const FIRST_FREE_ID = 3;
/** Making a volume takes at most so many ids of zdbfs-meta, attempts that were cut short included. */
const CREATION_IDS_MAX = 64;

/** The store holds something that cannot be mounted; the message says what to do. */
export class VolumeError extends Error {
  override readonly name = 'VolumeError';
}

/** Who owns the root directory of a new volume, and its permissions. */
export interface RootOwner {
  readonly userId: number;
  readonly groupId: number;
  readonly mode: number;
}

/** What recovery needs. */
export interface RecoveryOptions {
  readonly cacheBytes: number;
  readonly random: Random;
  readonly time: Moment;
  readonly log: Log;
  readonly rootOwner: RootOwner;
}

/** A volume ready to be used. `unusedIds`: live ids of zdbfs-meta nobody knows of, to be set aside again. */
export interface Recovered {
  readonly state: VolumeState;
  readonly journal: Journal;
  readonly unusedIds: readonly number[];
  /** Operations repeated. */
  readonly repeated: number;
}

/** Where in the journal things are. Ids are those of zdbfs-journal. */
interface JournalSurvey {
  /** Ids of the records that are believed, ascending. */
  readonly ids: readonly number[];
  readonly mark:
    | { readonly at: number; readonly checkpoint: number; readonly entry: CheckpointMark }
    | undefined;
  /** The checkpoint the first record builds on. */
  readonly firstCheckpoint: number | undefined;
  /** Position (in `ids`) of the last `synced` mark, and what it says. */
  readonly synced: { readonly at: number; readonly nextDataId: number };
  readonly sizeBytes: number;
}

/** @throws VolumeError, NotLocal, what the store throws */
export function recover(store: Store, options: RecoveryOptions): Recovered {
  const survey = surveyJournal(store.journal);
  const stored = readSuperblock(store, survey);
  if (stored === 'empty') return create(store, options);
  let base = stored;
  let from = 0;
  if (survey.mark && (base === undefined || survey.mark.checkpoint >= base.checkpoint)) {
    base = decodeSuperblock(survey.mark.entry.superblock);
    syncAtOnce(inPlaceSteps(store, imagesBefore(store, survey, survey.mark), survey.mark.entry.superblock));
    from = survey.mark.at + 1;
  }
  if (base === undefined)
    throw new VolumeError(
      'the superblock of the volume is damaged and the journal has no copy; restore zdbfs-meta from the backends or a backup',
    );
  if (store.data.nextId < base.nextDataId || store.meta.nextId < base.metaEnd)
    throw new VolumeError(
      `zdbfs-${store.data.nextId < base.nextDataId ? 'data' : 'meta'} is older than the superblock: files are missing in its directory; put them back and mount again`,
    );
  if (from === 0 && survey.firstCheckpoint !== undefined && survey.firstCheckpoint !== base.checkpoint) {
    if (survey.firstCheckpoint > base.checkpoint)
      throw new VolumeError(
        'zdbfs-meta is older than zdbfs-journal: put the newer files of zdbfs-meta back, or remove zdbfs-journal to go back to the older state',
      );
    options.log('warning', 'the journal belongs to an older checkpoint and is emptied');
    syncAtOnce(store.journal.flushSteps());
    return recover(store, options);
  }
  const state = new VolumeState(store, base, options.cacheBytes, options.log);
  const replay = repeat(state, survey, from, base);
  if (replay.end < survey.ids.length || survey.ids.length < countLive(store.journal))
    cutJournal(store, new Set(survey.ids.slice(0, replay.end)), options.log);
  const journal = new Journal(store, base.checkpoint, replay.end - from, survey.sizeBytes);
  for (let id = base.nextDataId; id < store.data.nextId; id++) {
    if (!replay.records.has(id) && store.data.length(id) !== undefined) state.doomedData.push(id);
  }
  const unusedIds: number[] = [];
  for (let id = base.metaEnd; id < store.meta.nextId; id++) {
    if (!replay.reserved.has(id) && store.meta.length(id) !== undefined) unusedIds.push(id);
  }
  return { state, journal, unusedIds, repeated: replay.operations };
}

function readRecord(space: RecordSpace, id: number): Uint8Array | undefined {
  try {
    return space.read(id);
  } catch (error) {
    if (error instanceof StoreError) return undefined;
    throw error;
  }
}

function decodeAt(journal: RecordSpace, id: number): JournalRecord | undefined {
  const bytes = readRecord(journal, id);
  if (bytes === undefined) return undefined;
  try {
    return decodeJournalRecord(bytes);
  } catch (error) {
    if (error instanceof CorruptRecord) return undefined;
    throw error;
  }
}

function surveyJournal(journal: RecordSpace): JournalSurvey {
  const ids: number[] = [];
  let mark: JournalSurvey['mark'];
  let synced = { at: -1, nextDataId: 0 };
  let firstCheckpoint: number | undefined;
  let checkpoint = 0;
  let sequence = 0;
  let sizeBytes = 0;
  for (let id = 1; id < journal.nextId; id++) {
    // Records cut off by an earlier recovery leave holes in the ids, not in the numbers.
    const length = journal.length(id);
    if (length === undefined) continue;
    const record = decodeAt(journal, id);
    if (!record) break;
    if (firstCheckpoint === undefined) {
      firstCheckpoint = record.checkpoint;
      checkpoint = record.checkpoint;
    }
    if (record.checkpoint !== checkpoint || record.sequence !== sequence) break;
    sequence++;
    sizeBytes += length;
    if (record.entry.kind === 'synced') synced = { at: ids.length, nextDataId: record.entry.nextDataId };
    if (record.entry.kind === 'checkpoint') {
      checkpoint++;
      sequence = 0;
      mark = { at: ids.length, checkpoint, entry: record.entry };
    }
    ids.push(id);
  }
  return { ids, mark, firstCheckpoint, synced, sizeBytes };
}

function countLive(journal: RecordSpace): number {
  let count = 0;
  for (let id = 1; id < journal.nextId; id++) if (journal.length(id) !== undefined) count++;
  return count;
}

function cutJournal(store: Store, keep: ReadonlySet<number>, log: Log): void {
  let cut = 0;
  for (let id = 1; id < store.journal.nextId; id++) {
    if (keep.has(id) || store.journal.length(id) === undefined) continue;
    store.journal.remove(id);
    cut++;
  }
  if (cut === 0) return;
  log('warning', `${cut} operations that were not synced before the crash are incomplete and were dropped`);
  syncAtOnce(store.journal.syncSteps());
}

function imagesBefore(
  store: Store,
  survey: JournalSurvey,
  mark: NonNullable<JournalSurvey['mark']>,
): Image[] {
  const images: Image[] = [];
  for (let at = mark.at - mark.entry.imageRecords; at < mark.at; at++) {
    const record = decodeAt(store.journal, survey.ids[at] ?? -1);
    if (record?.entry.kind !== 'images')
      throw new VolumeError('the journal does not hold the records of its checkpoint; restore zdbfs-journal');
    images.push(...record.entry.images);
  }
  return images;
}

/** undefined: there should be one, but it is damaged. */
function readSuperblock(store: Store, survey: JournalSurvey): Superblock | undefined | 'empty' {
  let damaged = false;
  let foreign = false;
  for (const id of SUPERBLOCK_IDS) {
    const bytes = readRecord(store.meta, id);
    if (bytes === undefined || (bytes[0] === KIND.reserved && bytes[1] === FORMAT_VERSION)) continue;
    if (id === 0 && isVersion1(bytes))
      throw new VolumeError('this is a volume of format version 1, which this program does not mount yet');
    try {
      return decodeSuperblock(bytes, id);
    } catch (error) {
      if (!(error instanceof CorruptRecord)) throw error;
      if (bytes[0] === KIND.superblock) damaged = true;
      else foreign = true;
    }
  }
  if (survey.mark || damaged) return undefined;
  if (foreign)
    throw new VolumeError('zdbfs-meta holds something that is no zdbfs volume; nothing was changed');
  // A new volume is complete only when its superblock is; one that is not has hardly taken any ids.
  if (store.meta.nextId <= CREATION_IDS_MAX && store.data.nextId <= 1) return 'empty';
  return undefined;
}

interface Replay {
  /** Position in the survey's ids behind the last record that counts. */
  readonly end: number;
  /** Data records the journal speaks of. */
  readonly records: Set<number>;
  readonly reserved: Set<number>;
  readonly operations: number;
}

function repeat(state: VolumeState, survey: JournalSurvey, from: number, base: Superblock): Replay {
  const { store } = state;
  const records = new Set<number>();
  const reserved = new Set<number>();
  let operations = 0;
  let verifyBytes = VERIFY_MAX_BYTES;
  let end = from;
  for (; end < survey.ids.length; end++) {
    const record = decodeAt(store.journal, survey.ids[end] as number);
    if (!record) break;
    const { entry } = record;
    if (entry.kind === 'images' || entry.kind === 'synced' || entry.kind === 'checkpoint') continue;
    if (entry.kind === 'write') {
      const stable =
        end < survey.synced.at ? Math.max(base.nextDataId, survey.synced.nextDataId) : base.nextDataId;
      let intact = true;
      for (const extent of entry.extents) {
        if (store.data.length(extent.record) !== extent.lengthBytes) intact = false;
        else if (extent.record >= stable && verifyBytes > 0) {
          verifyBytes -= extent.lengthBytes;
          intact = isIntact(store, extent.record);
        }
        if (!intact) break;
      }
      if (!intact) break;
      for (const extent of entry.extents) records.add(extent.record);
    }
    if (entry.kind === 'reserve' && !areLive(store, entry)) break;
    if (entry.kind === 'reserve') {
      for (const run of entry.runs) for (let at = 0; at < run.count; at++) reserved.add(run.first + at);
    }
    apply(state, record.time, entry);
    operations++;
  }
  return { end, records, reserved, operations };
}

function isIntact(store: Store, record: number): boolean {
  try {
    return store.data.read(record) !== undefined;
  } catch (error) {
    // What is not on this machine was closed and offloaded long ago.
    if (error instanceof NotLocal) return true;
    if (error instanceof StoreError) return false;
    throw error;
  }
}

function areLive(store: Store, operation: Extract<Operation, { kind: 'reserve' }>): boolean {
  return operation.runs.every((run) => {
    for (let at = 0; at < run.count; at++) if (store.meta.length(run.first + at) === undefined) return false;
    return true;
  });
}

/** Makes an empty volume. The superblock comes last, so that a crash on the way leaves an empty store. */
function create(store: Store, options: RecoveryOptions): Recovered {
  while (store.meta.nextId < FIRST_FREE_ID) store.meta.insert(RESERVED_RECORD);
  if (store.data.nextId === 0) store.data.insert(RESERVED_RECORD);
  store.commit();
  syncAtOnce(store.data.syncSteps());
  syncAtOnce(store.meta.syncSteps());
  const writer = new ByteWriter();
  const root = new Inode(ROOT_INODE);
  root.mode = TYPE_DIRECTORY | options.rootOwner.mode;
  root.userId = options.rootOwner.userId;
  root.groupId = options.rootOwner.groupId;
  root.linkCount = 2;
  root.accessed = options.time;
  root.modified = options.time;
  root.changed = options.time;
  root.parent = ROOT_INODE;
  root.directory = new Page();
  const seed = new DataView(new Uint8Array(options.random.bytes(8)).buffer);
  const superblock: Superblock = {
    volumeId: options.random.bytes(16),
    seedLow: seed.getUint32(0, true),
    seedHigh: seed.getUint32(4, true),
    createdSeconds: (options.time ?? EPOCH).seconds,
    checkpoint: 1,
    metaEnd: FIRST_FREE_ID,
    nextDataId: 1,
    generation: 1,
    usedBytes: 0,
    inodes: 1,
    freeIds: [],
    doomedMeta: [],
    doomedData: [],
    orphans: [],
  };
  store.meta.update(ROOT_INODE, encodeRecord(writer, root));
  syncAtOnce(store.meta.syncSteps());
  syncAtOnce(inPlaceSteps(store, [], encodeSuperblock(writer, superblock)));
  syncAtOnce(store.journal.flushSteps());
  const state = new VolumeState(store, superblock, options.cacheBytes, options.log);
  return { state, journal: new Journal(store, 1, 0, 0), unusedIds: [], repeated: 0 };
}
