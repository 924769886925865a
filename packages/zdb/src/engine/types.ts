// What the embedded engine offers and what it asks of the program around it. Formats: docs/formats/zdb.md.
import type { Clock, Disk, Random } from '@qsfs/io';

/** `user`: keys chosen by the client. `seq`: keys are slot numbers given out by the store. */
export type NamespaceMode = 'user' | 'seq';

/**
 * A record's bytes are in a data file that is not (wholly) on this machine. Thrown before anything was changed:
 * bring the range and run the same operation again.
 */
export class NotLocal extends Error {
  override readonly name = 'NotLocal';
  readonly namespace: string;
  readonly file: number;
  readonly offset: number;
  readonly lengthBytes: number;

  constructor(namespace: string, file: number, offset: number, lengthBytes: number) {
    super(`${namespace}/d${file}: bytes ${offset} to ${offset + lengthBytes} are not on this machine`);
    this.namespace = namespace;
    this.file = file;
    this.offset = offset;
    this.lengthBytes = lengthBytes;
  }
}

/** Which parts of closed data files are on this machine. Without one everything that exists is. */
export interface Presence {
  /** True when all of the range can be read from the local file. Called on every payload read: must be fast. */
  has(namespace: string, file: number, offset: number, lengthBytes: number): boolean;
}

/** What the engine tells the program around it. All calls are synchronous and must not throw. */
export interface EngineEvents {
  /** A data file and its index file were closed; `active` is the id of the new pair. */
  rotated?(namespace: string, closed: number, active: number): void;
  namespaceCreated?(name: string): void;
  namespaceUpdated?(name: string): void;
  namespaceRemoved?(name: string): void;
  /** Something was repaired or is wrong; one line for the operator. */
  log?(level: 'info' | 'warning' | 'error', message: string): void;
}

/** When data reaches stable storage: never by itself, with every commit, or at most every so many seconds. */
export type SyncPolicy = 'none' | 'always' | { readonly everySeconds: number };

/** How to open an engine. */
export interface EngineOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly dataDirectory: string;
  readonly indexDirectory: string;
  /** A single-mode engine refuses namespaces of the other mode; undefined is the mixed mode. */
  readonly mode?: NamespaceMode;
  /** Size of a data file that triggers rotation, 524288 … 4294967294 bytes. */
  readonly dataSizeBytes: number;
  readonly sync: SyncPolicy;
  /** Sync index and data just before rotating away from them. */
  readonly syncOnRotation?: boolean;
  readonly presence?: Presence;
  readonly events?: EngineEvents;
}

/** One data file as the offload engine sees it. */
export interface DataFileInfo {
  readonly file: number;
  readonly sizeBytes: number;
  /** Bytes of live entries (header, key and payload). */
  readonly liveBytes: number;
  readonly closed: boolean;
}
