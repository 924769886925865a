// Gives the space of dead records back while their data file stays: whole blocks inside their payloads become holes. Nothing moves, so it
// needs no room itself. Headers stay, so that every walk over the file goes on as before; only the payloads read as zeros, and nobody
// reads them: what made the records dead (deletion markers, newer records) is on stable storage first. Recovery takes a
// record whose payload does not match its checksum for one that has nothing to say (docs/formats/zdb.md, "Hollow records").
//
// Sequential namespaces only. The history of a key loses the versions that are given up.
import type { DiskFile, SyncSteps } from '@qsfs/io';
import type { CompactionHost } from './compact.ts';
import { unseenDeadBytes } from './discardable.ts';
import { DATA_ENTRY_BYTES } from './format/data-format.ts';
import { DataScanner } from './format/data-scanner.ts';
import { get64 } from './format/little-endian.ts';
import { BLOCK_BYTES, wholeBlocks } from './hollow-blocks.ts';
import { emptyPlace } from './place.ts';
import type { SeqRecords } from './seq-records.ts';

/** See `Namespace.hollowSteps`. */
export function* hollowSteps(host: CompactionHost, files: Iterable<number>): SyncSteps {
  const { seq } = host;
  if (!seq) throw new Error(`${host.name}: only sequential namespaces have hollow records`);
  host.commit();
  yield* host.writer.syncSteps();
  for (const file of files) {
    if (!isWorth(host, file)) continue;
    hollow(host, seq, file);
    yield;
  }
}

function isWorth(host: CompactionHost, file: number): boolean {
  const { log, presence } = host;
  if (file >= log.active || unseenDeadBytes(log, file) < BLOCK_BYTES) return false;
  if (presence && !presence.has(log.name, file, 0, log.dataEnds[file]!)) return false;
  return log.surroundings.disk.stat(log.data.path(file)) !== undefined;
}

function hollow({ log }: CompactionHost, seq: SeqRecords, file: number): void {
  const size = log.dataEnds[file]!;
  const deadBytes = unseenDeadBytes(log, file) + (log.hollowed.get(file)?.deadBytes ?? 0);
  const handle = log.data.writing(file);
  const scanner = new DataScanner(() => handle, log.mode, size);
  const place = emptyPlace();
  let holeBytes = 0;
  while (scanner.next()) {
    const { from, to } = blocksOf(scanner);
    if (to <= from) continue;
    const isLive =
      seq.locateId(get64(scanner.bytes, scanner.keyAt), place) &&
      place.dataFile === file &&
      place.dataOffset === scanner.offset;
    if (isLive) continue;
    handle.punchHole(from, to - from);
    holeBytes += to - from;
  }
  // Nobody writes to it again.
  log.data.close(file);
  log.hollowed.set(file, { deadBytes, holeBytes });
}

/** Where the whole blocks inside the payload of an entry begin and end. */
function blocksOf(entry: DataScanner): { from: number; to: number } {
  return wholeBlocks(entry.offset + DATA_ENTRY_BYTES + entry.keyBytes, entry.nextOffset);
}

/** Whether a record looks as if it had been given up: whole blocks of its payload, and all of them, are zeros. For tools. */
export function looksHollow(entry: DataScanner, file: DiskFile): boolean {
  const { from, to } = blocksOf(entry);
  const block = new Uint8Array(BLOCK_BYTES);
  for (let at = from; at < to; at += BLOCK_BYTES) {
    file.read(block, at);
    if (block.some((byte) => byte !== 0)) return false;
  }
  return to > from;
}
