// The mode of a namespace, as its files tell it. Each index file names it in one byte that no checksum covers, and records read in the wrong
// mode look all damaged: so most index files count, and what the keys in the data show.
import { DATA_HEADER_BYTES } from '../format/data-format.ts';
import { DataScanner } from '../format/data-scanner.ts';
import { ID_BYTES } from '../format/index-format.ts';
import { get64 } from '../format/little-endian.ts';
import type { Log } from '../log/log.ts';
import type { NamespaceMode } from '../types.ts';
import type { PairState } from './loading.ts';

/** So many records tell whether their keys can be ids. */
const LOOKED_MAX = 64;

/**
 * The mode of the files of a namespace; undefined when nothing tells it.
 * @param named what each index file with a good header says
 * @param wanted what the engine is told, and counts where no index file tells more
 */
export function modeOfFiles(
  log: Log,
  pairs: readonly PairState[],
  named: readonly (NamespaceMode | undefined)[],
  wanted: NamespaceMode | undefined,
): NamespaceMode | undefined {
  const seq = named.filter((mode) => mode === 'seq').length;
  const user = named.filter((mode) => mode === 'user').length;
  if (seq + user === 0) return wanted ?? guessMode(log, pairs);
  if (user > seq) return 'user';
  // With one byte more damaged there would be as many for the other mode.
  if (seq - user < 2 && hasForeignKeys(log, pairs)) return 'user';
  if (seq > user) return 'seq';
  return wanted ?? guessMode(log, pairs) ?? named.findLast((mode) => mode !== undefined);
}

function firstWithData(pairs: readonly PairState[]): PairState | undefined {
  return pairs.find((pair) => pair.readable && pair.dataEnd > DATA_HEADER_BYTES);
}

/** Whether most keys of the first records cannot be ids; an intact payload shows that a record is one. */
function hasForeignKeys(log: Log, pairs: readonly PairState[]): boolean {
  const first = firstWithData(pairs);
  if (!first) return false;
  const scanner = new DataScanner(() => log.data.reading(first.file), 'user', first.dataEnd);
  let balance = 0;
  for (let records = 0; records < LOOKED_MAX && scanner.next(); records++) {
    if (scanner.payloadBytes === 0 || !scanner.intact()) continue;
    const isId = scanner.keyBytes === ID_BYTES && Number.isSafeInteger(get64(scanner.bytes, scanner.keyAt));
    balance += isId ? -1 : 1;
  }
  return balance > 0;
}

/** Without any index file: keys that are all 8-byte numbers counting up from 0 are those of a sequential namespace. */
function guessMode(log: Log, pairs: readonly PairState[]): NamespaceMode | undefined {
  const first = firstWithData(pairs);
  if (!first) return undefined;
  const scanner = new DataScanner(() => log.data.reading(first.file), 'user', first.dataEnd);
  let next = -1;
  while (scanner.next()) {
    if (scanner.keyBytes !== ID_BYTES) return 'user';
    const id = get64(scanner.bytes, scanner.keyAt);
    if (next < 0 && first.file === 0 && id !== 0) return 'user';
    if (!scanner.deleted && next >= 0 && id > next) return 'user';
    next = Math.max(next, id) + 1;
  }
  return next < 0 ? undefined : 'seq';
}
