// Index files that may differ from their stored copies although nobody says so: what the process before this one changed.
import type { Context } from '../context.ts';
import type { Housekeeping } from '../local/housekeeper.ts';
import type { Volume } from '../local/volume-files.ts';
import { OFFLOADED, type OffloadedName } from '../messages.ts';

/** An index file changed this shortly before it was copied may have changed again with the same time stamp. */
const RACY_MS = 2000;

/** By namespace. @param cleanStart the last run ended in order, so time stamps can be trusted */
export async function findSuspects(
  context: Context,
  volume: Volume,
  housekeeper: Pick<Housekeeping, 'hash'>,
  cleanStart: boolean,
): Promise<Record<OffloadedName, number[]>> {
  const suspects: Record<OffloadedName, number[]> = { 'zdbfs-meta': [], 'zdbfs-data': [] };
  for (const name of OFFLOADED) {
    const files = volume[name];
    for (let file = 0; file < files.activeFile; file += 1) {
      const known = files.catalog.index(file);
      const path = files.indexPath(file);
      const status = context.disk.stat(path);
      if (!status) continue;
      if (known && known.sizeBytes === status.sizeBytes) {
        const trusted = cleanStart && known.modifiedMs < known.copiedMs - RACY_MS;
        if (trusted && status.modifiedMs === known.modifiedMs) continue;
        const { hash } = await housekeeper.hash(path);
        if (Buffer.compare(hash, known.hash) === 0) continue;
      }
      suspects[name].push(file);
    }
  }
  return suspects;
}
