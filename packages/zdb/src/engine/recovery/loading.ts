// The state of loading one namespace, shared by the files that do it: load.ts, load-user.ts, load-seq.ts and what they call.
import type { Log } from '../log/log.ts';
import type { LogWriter } from '../log/log-writer.ts';
import { NotLocal } from '../types.ts';

/** What the loaders know of one pair of files before they read the index. */
export interface PairState {
  readonly file: number;
  /** Size of the index file on disk; 0 when it has to be made anew. */
  indexSize: number;
  /** The index file had no good header: what it lacks must come from the data file. */
  rebuild: boolean;
  /** End of the data: of the file, in the last one of whole entries (once found); -1: not on this machine. */
  dataEnd: number;
  /** The data file can be read wholly. */
  readable: boolean;
}

/** The state of loading one namespace. */
export interface Loading {
  readonly log: Log;
  readonly writer: LogWriter;
  readonly pairs: readonly PairState[];
  /** The last pair takes appends; otherwise a new one is started. */
  readonly lastIsActive: boolean;
  readonly nowSeconds: number;
  /** Tells the operator, and that the files changed. */
  repaired(message: string): void;
  warn(message: string): void;
  /** Writes pending repairs. */
  flush(): void;
}

/**
 * What is repaired without a later data file that exists elsewhere would bring back what that one changed or removed.
 * @throws NotLocal for the first closed data file from `from` on that is evicted
 */
export function requireReadable(log: Log, pairs: readonly PairState[], from: number): void {
  for (const { file, dataEnd, readable } of pairs.slice(from))
    if (dataEnd >= 0 && !readable) throw new NotLocal(log.name, file, 0, dataEnd);
}
