// Opens the files of one namespace: finds them, judges their headers, hands them to the mode's loader (load-user.ts, load-seq.ts), which
// reads the index and repairs it from the data files, and leaves a log that can be appended to. What is repaired and when is
// specified in docs/formats/zdb.md, "Recovery".
import type { Disk, Random } from '@qsfs/io';
import { Counters } from '../counters.ts';
import { DATA_HEADER_BYTES, encodeDataHeader, isDataHeader } from '../format/data-format.ts';
import {
  decodeIndexHeader,
  encodeIndexHeader,
  ID_BYTES,
  INDEX_HEADER_BYTES,
  type IndexHeader,
  SLOT_BYTES,
} from '../format/index-format.ts';
import { get32 } from '../format/little-endian.ts';
import { Log, type LogSurroundings } from '../log/log.ts';
import { LogWriter } from '../log/log-writer.ts';
import type { FileSet } from '../log/open-files.ts';
import type { NamespaceParts } from '../namespace.ts';
import { SeqRecords } from '../seq-records.ts';
import {
  type EngineEvents,
  type IoStatistics,
  type NamespaceMode,
  NotLocal,
  StoreError,
  type SyncPolicy,
} from '../types.ts';
import { UserRecords } from '../user-records.ts';
import { loadSeq } from './load-seq.ts';
import { loadUser } from './load-user.ts';
import { type Loading, type PairState, requireReadable } from './loading.ts';
import { modeOfFiles } from './mode-of-files.ts';
import { copyAside, cutTail, moveAside } from './set-aside.ts';

/** A file changed this shortly before opening may not be on stable storage yet (kernels write back within 30 seconds). */
const WRITE_BACK_MS = 10 * 60 * 1000;

/** So many pairs of files in a row may be missing altogether; they are made anew. More is a sign of a file that does not belong here. */
const MISSING_MAX = 4096;

/** What loading needs beside the log's surroundings. */
export interface LoadOptions {
  readonly surroundings: LogSurroundings;
  readonly totals: IoStatistics;
  readonly sync: SyncPolicy;
  readonly syncOnRotation: boolean;
  /** The engine's mode, when it has one. */
  readonly mode: NamespaceMode | undefined;
  /** Mode of a namespace without files. */
  readonly newMode: NamespaceMode;
  readonly events: EngineEvents;
  /** For the key table's hash. */
  readonly random: Random;
}

/** Opens or creates the files of a namespace in directories that exist; made ones are not synced yet. @throws StoreError('bad-files'); IoError */
export function loadNamespace(
  name: string,
  dataDirectory: string,
  indexDirectory: string,
  options: LoadOptions,
): NamespaceParts {
  const { surroundings } = options;
  const counters = new Counters(options.totals);
  const log = new Log(name, dataDirectory, indexDirectory, options.newMode, surroundings, counters);
  const writer = new LogWriter(log, options.sync, options.syncOnRotation);
  const count = pairCount(log);
  if (count === 0) {
    log.startFirst();
    writer.write();
    writer.accept();
    return { log, writer, records: newRecords(log, options), made: true };
  }
  const changes = { repaired: false };
  const loading = prepare(log, writer, count, options, changes);
  const records = newRecords(log, options);
  if (records instanceof SeqRecords) loadSeq(loading, records);
  else loadUser(loading, records);
  loading.flush();
  if (!loading.lastIsActive) {
    log.rotate();
    loading.flush();
  }
  writer.loaded();
  noteUnsynced(log, writer);
  if (changes.repaired) writer.checkpoint();
  return { log, writer, records, made: false };
}

/** One more than the highest number of an index or data file. */
function pairCount(log: Log): number {
  const { disk } = log.surroundings;
  const numbers = new Set<number>();
  for (const [directory, prefix] of [
    [log.index.directory, 'i'],
    [log.data.directory, 'd'],
  ] as const) {
    for (const name of disk.list(directory)) {
      if (name === 'zdb-index-00000' || name === 'zdb-data-00000')
        throw new StoreError(
          'bad-files',
          `${directory}/${name}: files of version 1 are not supported; convert them with the tools of that version`,
        );
      if (name.startsWith(prefix) && /^[id](0|[1-9]\d{0,6})$/.test(name)) numbers.add(Number(name.slice(1)));
    }
  }
  const sorted = [...numbers].sort((a, b) => a - b);
  for (const [at, number] of sorted.entries()) {
    const before = at === 0 ? -1 : sorted[at - 1]!;
    if (number - before > MISSING_MAX)
      throw new StoreError(
        'bad-files',
        `${log.name}: there is a file number ${number}, and none between ${before} and it; restore them, or move it away if it is not one of ours`,
      );
  }
  return (sorted.at(-1) ?? -1) + 1;
}

function prepare(
  log: Log,
  writer: LogWriter,
  count: number,
  options: LoadOptions,
  changes: { repaired: boolean },
): Loading {
  const { disk, clock } = log.surroundings;
  const tell = (level: 'info' | 'warning' | 'error', message: string): void =>
    options.events.log?.(level, `${log.name}: ${message}`);
  const nowSeconds = Math.floor(clock.nowMs() / 1000);
  const repaired = (message: string): void => {
    changes.repaired = true;
    tell('warning', message);
  };
  let lastIsActive = true;
  // Everything is looked at before anything is moved.
  const isWithoutData = Array.from({ length: count }).every((_, file) => isEmptyData(log, file));
  const judged = Array.from({ length: count }, (_, file) => judgePair(log, file, count, isWithoutData));
  const pairs = judged.map(({ pair }) => pair);
  const named = judged.map((each) => modeNamed(log, each));
  log.mode = modeOfFiles(log, pairs, named, options.mode) ?? options.newMode;
  if (options.mode && log.mode !== options.mode)
    throw new StoreError(
      'bad-files',
      `${log.name}: its files are in ${log.mode} mode, this engine runs in ${options.mode} mode only`,
    );
  if (log.mode === 'seq') requireForRepair(log, judged);
  for (const { pair, header, here, unusable, orphaned, misplaced } of judged) {
    // The last data file is never removed on purpose: when it is missing, it was lost before it was on stable storage.
    if (pair.file === count - 1) lastIsActive = here;
    const path = log.index.path(pair.file);
    if (unusable) {
      const what = header.kind === 'good' ? `says that it is index file ${header.file}` : 'is damaged';
      repaired(`${path} ${what}; kept as ${moveAside(disk, path, nowSeconds)}`);
    } else if (orphaned) {
      // Its slots stay, so that no id is given out twice.
      repaired(`${path} is damaged; kept as ${copyAside(disk, path, nowSeconds)}`);
      pair.indexSize = disk.stat(path)?.sizeBytes ?? 0;
    } else if (header.kind === 'good' || header.kind === 'blank') {
      pair.indexSize = disk.stat(path)?.sizeBytes ?? 0;
    }
    // With a wrong number it would be taken for another file as soon as there is something to rebuild it from.
    pair.rebuild = header.kind !== 'good' || misplaced;
    if (header.kind === 'good' && header.mode !== log.mode && !pair.rebuild)
      correctMode(log, path, pair.file, repaired);
  }
  const last = pairs[count - 1]!;
  const loading: Loading = {
    log,
    writer,
    pairs,
    lastIsActive,
    nowSeconds,
    repaired,
    warn: (message) => tell('error', message),
    flush: () => {
      if (!log.pending) return;
      writer.write(true);
      writer.accept();
    },
  };
  makeIndexFiles(loading);
  if (lastIsActive) prepareActiveData(loading, last);
  return loading;
}

/** Writes the mode into an index file whose header says another. */
function correctMode(log: Log, path: string, number: number, repaired: (message: string) => void): void {
  const file = log.surroundings.disk.open(path, 'write');
  try {
    file.write(encodeIndexHeader(number, log.mode), 0);
  } finally {
    file.close();
  }
  repaired(
    `${path} did not say that it is in ${log.mode} mode, as the others and the data show; header written anew`,
  );
}

/** What the headers of a pair of files say. */
interface JudgedPair {
  /** `indexSize` and `rebuild` are still to be set. */
  readonly pair: PairState;
  readonly header: IndexHeader;
  /** Its data file is on this machine, or could be. */
  readonly here: boolean;
  /** The index file is another one by its header: its entries are those of another pair, or only its number is damaged. */
  readonly misplaced: boolean;
  /** The index file is made anew from the data file. */
  readonly unusable: boolean;
  /** Only the header of the index file is made anew: what its entries may have told of is nowhere. */
  readonly orphaned: boolean;
}

/** The mode that an index file names; one whose header is gone shows by its slots that it is one of a sequential namespace. */
function modeNamed(log: Log, { pair, header, orphaned }: JudgedPair): NamespaceMode | undefined {
  if (header.kind === 'good') return header.mode;
  if (!orphaned) return undefined;
  const { disk } = log.surroundings;
  const path = log.index.path(pair.file);
  const slotsBytes = (disk.stat(path)?.sizeBytes ?? 0) - INDEX_HEADER_BYTES;
  const head = readHead(disk, path, INDEX_HEADER_BYTES + 1);
  return slotsBytes % SLOT_BYTES === 0 && head[INDEX_HEADER_BYTES] === ID_BYTES ? 'seq' : undefined;
}

/** Whether a data file is here, with no record in it. */
function isEmptyData(log: Log, file: number): boolean {
  const { disk, presence } = log.surroundings;
  const sizeBytes = disk.stat(log.data.path(file))?.sizeBytes;
  const isHere = presence?.has(log.name, file, 0, DATA_HEADER_BYTES) ?? true;
  return sizeBytes !== undefined && sizeBytes <= DATA_HEADER_BYTES && isHere;
}

/**
 * Looks at the headers of a pair and changes nothing.
 * @param isWithoutData no data file of the namespace has a record, so there is none that could be lost
 * @throws StoreError('bad-files'); NotLocal: it has to be brought first
 */
function judgePair(log: Log, file: number, count: number, isWithoutData: boolean): JudgedPair {
  const { disk, presence } = log.surroundings;
  const path = log.index.path(file);
  const dataEnd = disk.stat(log.data.path(file))?.sizeBytes ?? -1;
  const here = presence?.has(log.name, file, 0, Math.max(dataEnd, DATA_HEADER_BYTES)) ?? true;
  const readable = dataEnd >= 0 && here;
  if (readable) refuseExchanged(log.data, file, count, disk);
  const header = decodeIndexHeader(readHead(disk, path, INDEX_HEADER_BYTES));
  if (header.kind === 'other-version')
    throw new StoreError('bad-files', `${path}: version ${header.version}, this program reads version 4`);
  const rebuildable = readable && dataEnd > DATA_HEADER_BYTES;
  if (header.kind === 'foreign' && !here && dataEnd > DATA_HEADER_BYTES)
    throw new NotLocal(log.name, file, 0, dataEnd);
  const indexBytes = disk.stat(path)?.sizeBytes ?? 0;
  const isEmpty = readable && dataEnd <= DATA_HEADER_BYTES && indexBytes <= INDEX_HEADER_BYTES;
  const orphaned = header.kind === 'foreign' && isWithoutData && !isEmpty;
  if (header.kind === 'foreign' && !rebuildable && !isEmpty && !orphaned)
    throw new StoreError(
      'bad-files',
      `${path}: not an index file, and there is no data file to rebuild it from; restore it from a copy`,
    );
  const misplaced = header.kind === 'good' && header.file !== file;
  if (misplaced && !rebuildable) refuseExchanged(log.index, file, count, disk);
  const unusable = (header.kind === 'foreign' && !orphaned) || (misplaced && rebuildable);
  return {
    pair: { file, indexSize: 0, rebuild: false, dataEnd, readable },
    header,
    here,
    misplaced,
    unusable,
    orphaned,
  };
}

/** A sequential index that is repaired needs all data files from there on. @throws NotLocal */
function requireForRepair(log: Log, judged: readonly JudgedPair[]): void {
  const { disk } = log.surroundings;
  const first = judged.find(({ pair, header, misplaced }) => {
    const sizeBytes = disk.stat(log.index.path(pair.file))?.sizeBytes ?? 0;
    return header.kind !== 'good' || misplaced || (sizeBytes - INDEX_HEADER_BYTES) % SLOT_BYTES !== 0;
  });
  if (first)
    requireReadable(
      log,
      judged.map(({ pair }) => pair),
      first.pair.file,
    );
}

/** First bytes of a file; none when it is missing. */
function readHead(disk: Disk, path: string, lengthBytes: number): Uint8Array {
  if (disk.stat(path)?.kind !== 'file') return new Uint8Array(0);
  const handle = disk.open(path, 'read');
  try {
    const head = new Uint8Array(lengthBytes);
    return head.subarray(0, handle.read(head, 0));
  } finally {
    handle.close();
  }
}

/** The number a file has by its header; its own when it has no header of its kind. */
function numberInside(files: FileSet, file: number, disk: Disk): number {
  const head = readHead(disk, files.path(file), INDEX_HEADER_BYTES);
  if (isDataHeader(head)) return get32(head, 24);
  const header = decodeIndexHeader(head);
  return header.kind === 'good' ? header.file : file;
}

/**
 * Refuses files that somebody exchanged for each other: what is written now would go behind the wrong one. When only one has a
 * wrong number its header is damaged.
 */
function refuseExchanged(files: FileSet, file: number, count: number, disk: Disk): void {
  const other = numberInside(files, file, disk);
  if (other === file || other >= count || numberInside(files, other, disk) === other) return;
  throw new StoreError(
    'bad-files',
    `${files.path(file)} is ${files.path(other)} by its header, and that is another one too: files were exchanged; give them their names back`,
  );
}

/** Gives every index file without header one; what stands behind a blank header stays. */
function makeIndexFiles(loading: Loading): void {
  const { log } = loading;
  const { disk } = log.surroundings;
  for (const pair of loading.pairs) {
    if (!pair.rebuild) continue;
    const path = log.index.path(pair.file);
    const status = disk.stat(path);
    const file = disk.open(path, 'create');
    try {
      if (pair.indexSize === 0) file.truncate(0);
      file.write(encodeIndexHeader(pair.file, log.mode), 0);
      file.datasync();
    } finally {
      file.close();
    }
    if (!pair.readable && pair.indexSize === 0 && pair.dataEnd >= 0)
      loading.warn(`${path} is gone and its data file is not on this machine: what was in it is not found`);
    loading.repaired(
      `${path} ${status ? `had ${status.sizeBytes} bytes and not its header` : 'was missing'}; header written`,
    );
    pair.indexSize = Math.max(pair.indexSize, INDEX_HEADER_BYTES);
  }
}

/** Checks header and tail of the data file that will take appends, and cuts what is no whole entry at its end. */
function prepareActiveData(loading: Loading, last: PairState): void {
  const { log } = loading;
  const { disk } = log.surroundings;
  const path = log.data.path(last.file);
  if (last.dataEnd < DATA_HEADER_BYTES) {
    if (last.dataEnd > 0) {
      const copy = cutTail(disk, path, 0, loading.nowSeconds);
      loading.repaired(`${path} had only ${last.dataEnd} bytes; kept as ${copy}`);
    } else if (last.dataEnd === 0 || last.indexSize > INDEX_HEADER_BYTES) {
      loading.repaired(`${path} was ${last.dataEnd === 0 ? 'empty' : 'missing'}; made anew`);
    }
    const file = disk.open(path, 'create');
    try {
      file.write(encodeDataHeader(last.file), 0);
    } finally {
      file.close();
    }
    last.dataEnd = DATA_HEADER_BYTES;
    last.readable = true;
    loading.writer.suspectUnsynced('data', last.file);
    return;
  }
  const file = disk.open(path, 'write');
  try {
    const head = new Uint8Array(DATA_HEADER_BYTES);
    file.read(head, 0);
    if (isDataHeader(head) && get32(head, 24) === last.file) return;
    file.write(encodeDataHeader(last.file), 0);
    loading.writer.suspectUnsynced('data', last.file);
    loading.repaired(`${path}: header written anew`);
  } finally {
    file.close();
  }
}

/** Remembers what may not be on stable storage from before. */
function noteUnsynced(log: Log, writer: LogWriter): void {
  const { disk, clock } = log.surroundings;
  const since = clock.nowMs() - WRITE_BACK_MS;
  for (let file = 0; file <= log.active; file++) {
    const data = disk.stat(log.data.path(file));
    if (data && data.modifiedMs >= since) writer.suspectUnsynced('data', file);
    const index = disk.stat(log.index.path(file));
    if (index && index.modifiedMs >= since) writer.suspectUnsynced('index', file);
  }
}

function newRecords(log: Log, options: LoadOptions): UserRecords | SeqRecords {
  return log.mode === 'seq' ? new SeqRecords(log) : new UserRecords(log, options.random);
}
