// Makes the state of a sync point, in the filesystem thread, while nobody may change the volume: checkpoint, rotation of both offloaded
// namespaces, copies of the index files that changed. What comes out is one consistent state of the volume.
import { join } from 'node:path';
import { type Disk, errorCode, readWhole, type SyncSteps } from '@qsfs/io';
import type { Engine, Namespace } from '@qsfs/zdb';
import type {
  CopiedIndex,
  GiveBack,
  OffloadedName,
  OpenedNamespace,
  Survey,
  SyncedNamespace,
} from '../messages.ts';
import { OFFLOADED } from '../messages.ts';

/** Name of the settings file of a namespace (docs/formats/zdb.md). */
export const DESCRIPTOR = 'zdb-namespace';

/** The namespace from which dead records are given back: those of the other are smaller than blocks of a disk. */
const GIVEN_BACK = 'zdbfs-data';
const NOTHING: GiveBack = { hollow: [], discard: [] };

/** An active data file that is longer than its header holds something (docs/formats/zdb.md, "Data file"). */
const DATA_HEADER_BYTES = 28;

/**
 * Closes a data file that is on the backends, should it be the one that is written: the machine stopped before it was on stable storage that
 * another one had been begun. What is stored never changes.
 * @param storedFiles one more than the number of the highest data file that is on the backends
 */
export function closeStored(engine: Engine, name: string, storedFiles: number): void {
  const namespace = engine.namespace(name);
  while (namespace && namespace.activeFile < storedFiles) namespace.rotate();
}

/** What was closed since the last sync point, kept between them. */
export class SyncState {
  readonly #disk: Disk;
  readonly #engine: Engine;
  readonly #indexDirectory: string;
  readonly #closed: Record<OffloadedName, Set<number>> = { 'zdbfs-meta': new Set(), 'zdbfs-data': new Set() };
  /** The disk below cannot make holes. */
  #isSolid = false;

  constructor(disk: Disk, engine: Engine, indexDirectory: string) {
    this.#disk = disk;
    this.#engine = engine;
    this.#indexDirectory = indexDirectory;
  }

  /** The data files there are. */
  opened(): OpenedNamespace[] {
    return OFFLOADED.map((name) => {
      const namespace = this.#namespace(name);
      const closed = namespace.dataFiles().filter((info) => info.closed);
      return {
        namespace: name,
        activeFile: namespace.activeFile,
        files: Float64Array.from(closed, (info) => info.file),
        sizes: Float64Array.from(closed, (info) => info.sizeBytes),
      };
    });
  }

  /** The engine closed a pair of files. @returns the size of the data file, or undefined when it is not offloaded */
  rotated(name: string, file: number): { namespace: OffloadedName; sizeBytes: number } | undefined {
    const namespace = OFFLOADED.find((candidate) => candidate === name);
    if (!namespace) return undefined;
    this.#closed[namespace].add(file);
    const sizeBytes = this.#disk.stat(this.#namespace(namespace).dataPath(file))?.sizeBytes ?? 0;
    return { namespace, sizeBytes };
  }

  /** Bytes in the active data files. */
  get activeBytes(): number {
    let bytes = 0;
    for (const name of OFFLOADED) bytes += this.#namespace(name).activeOffset;
    return bytes;
  }

  /** True when something was written since the last sync point, as far as this process knows. */
  get changed(): boolean {
    return OFFLOADED.some((name) => this.#closed[name].size > 0 || holds(this.#namespace(name)));
  }

  /**
   * Rotates and copies. The checkpoint was made just before; nothing was changed since, nor is between the steps.
   * @param suspects index files to copy in any case
   * @param made gets the result
   * @param giveBack data files from which what is dead now is given back: it is dead in this state and in all later ones
   * @throws IoError, and then all of it is copied the next time
   */
  *makeSteps(
    stagingDirectory: string,
    suspects: Readonly<Record<OffloadedName, readonly number[]>>,
    made: SyncedNamespace[],
    giveBack = NOTHING,
  ): SyncSteps {
    const data = this.#namespace(GIVEN_BACK);
    // Before the rotation: markers that were in a removed file are written again.
    yield* data.discardSteps(giveBack.discard);
    const hollow = holds(data) ? [...giveBack.hollow, data.activeFile] : giveBack.hollow;
    for (const name of OFFLOADED) {
      const namespace = this.#namespace(name);
      if (holds(namespace)) yield* namespace.rotateSteps();
    }
    yield* this.#hollowSteps(data, hollow);
    for (const name of OFFLOADED)
      yield* this.#copySteps(name, stagingDirectory, suspects[name], giveBack.discard, made);
    // Only when all of it worked: what is forgotten here is never copied again.
    for (const name of OFFLOADED) {
      this.#namespace(name).clearDirty();
      this.#closed[name].clear();
    }
  }

  /** What is dead in the data files, for deciding whether a state is worth making for the room it gives. */
  survey(): Survey {
    const files = this.#namespace(GIVEN_BACK).dataFiles();
    const closed = files.filter((info) => info.closed);
    const active = files.find((info) => !info.closed);
    return {
      files: Float64Array.from(closed, ({ file }) => file),
      deadBytes: Float64Array.from(closed, ({ unseenDeadBytes }) => (this.#isSolid ? 0 : unseenDeadBytes)),
      liveBytes: Float64Array.from(closed, ({ liveBytes }) => liveBytes),
      discardable: Float64Array.from(
        closed.filter(({ discardable }) => discardable),
        ({ file }) => file,
      ),
      activeDeadBytes: active?.unseenDeadBytes ?? 0,
    };
  }

  *#hollowSteps(data: Namespace, files: readonly number[]): SyncSteps {
    if (this.#isSolid) return;
    try {
      yield* data.hollowSteps(files);
    } catch (error) {
      if (errorCode(error) !== 'EOPNOTSUPP') throw error;
      this.#isSolid = true;
    }
  }

  *#copySteps(
    name: OffloadedName,
    stagingDirectory: string,
    suspects: readonly number[],
    discarded: readonly number[],
    made: SyncedNamespace[],
  ): SyncSteps {
    const namespace = this.#namespace(name);
    const { activeFile } = namespace;
    const closed = this.#closed[name];
    const wanted = new Set([...namespace.dirtyIndexFiles(), ...closed, ...suspects]);
    const copied: CopiedIndex[] = [];
    for (const file of wanted) {
      if (file >= activeFile) continue;
      const source = namespace.indexPath(file);
      const target = join(stagingDirectory, `${name}-i${file}`);
      const modifiedMs = this.#disk.stat(source)?.modifiedMs;
      // Compaction removes whole pairs.
      if (modifiedMs === undefined) continue;
      this.#disk.copy(source, target);
      copied.push({ file, modifiedMs, sizeBytes: this.#disk.stat(target)?.sizeBytes ?? 0 });
      yield;
    }
    const there = new Set(name === GIVEN_BACK ? namespace.dataFiles().map(({ file }) => file) : discarded);
    made.push({
      namespace: name,
      removed: discarded.filter((file) => !there.has(file)),
      activeFile,
      descriptor: this.#read(join(this.#indexDirectory, name, DESCRIPTOR)),
      activeIndex: this.#read(namespace.indexPath(activeFile)),
      activeData: this.#read(namespace.dataPath(activeFile)),
      closed: [...closed].flatMap((file) => {
        const sizeBytes = this.#disk.stat(namespace.dataPath(file))?.sizeBytes;
        return sizeBytes === undefined ? [] : [{ file, sizeBytes }];
      }),
      copied,
    });
  }

  #namespace(name: string): Namespace {
    const namespace = this.#engine.namespace(name);
    if (!namespace) throw new Error(`the engine has no namespace ${name}`);
    return namespace;
  }

  #read(path: string): Uint8Array {
    return readWhole(this.#disk, path) ?? new Uint8Array(0);
  }
}

/** Whether something is in the active file, whoever wrote it: what a process before us left there is in no sync point either. */
function holds(namespace: Namespace): boolean {
  return namespace.activeOffset > DATA_HEADER_BYTES;
}
