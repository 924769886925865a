// The Store on the embedded engine: three sequential namespaces in one pair of directories.
import type { Disk, SyncSteps } from '@qsfs/io';
import type { Engine, Namespace, Payload } from '@qsfs/zdb';
import type { RecordSpace, Store, StoreSpace } from './store.ts';

/** Names of the namespaces. */
export const NAMESPACES = { meta: 'zdbfs-meta', data: 'zdbfs-data', journal: 'zdbfs-journal' } as const;

/** Index entries of an engine below a volume that may wait to be written (`EngineOptions.indexTailBytes`): nobody else reads them. */
export const INDEX_TAIL_BYTES = 16 * 1024;

class NamespaceSpace implements RecordSpace {
  readonly #namespace: Namespace;

  constructor(namespace: Namespace) {
    this.#namespace = namespace;
  }

  get nextId(): number {
    return this.#namespace.nextId;
  }

  insert(payload: Payload): number {
    return this.#namespace.insertId(payload);
  }

  update(id: number, payload: Payload): void {
    this.#namespace.updateId(id, payload);
  }

  read(id: number): Uint8Array | undefined {
    return this.#namespace.readId(id);
  }

  readInto(id: number, offset: number, target: Uint8Array): number {
    return this.#namespace.readIdInto(id, offset, target);
  }

  length(id: number): number | undefined {
    return this.#namespace.lengthOfId(id);
  }

  remove(id: number): boolean {
    return this.#namespace.removeId(id);
  }

  syncSteps(): SyncSteps {
    return this.#namespace.syncSteps();
  }

  flushSteps(): SyncSteps {
    return this.#namespace.flushSteps();
  }

  closing(lengthBytes: number): boolean {
    return this.#namespace.closing(lengthBytes);
  }

  closeSteps(): SyncSteps {
    return this.#namespace.rotateSteps();
  }
}

/** See the module's header. */
export class EngineStore implements Store {
  readonly meta: RecordSpace;
  readonly data: RecordSpace;
  readonly journal: RecordSpace;
  readonly #engine: Engine;
  readonly #disk: Disk;
  readonly #dataDirectory: string;
  readonly #ownsEngine: boolean;
  readonly #compacts: boolean;

  /**
   * Creates the namespaces that are missing.
   * @param dataDirectory where the engine's data files are, to ask the disk for its space
   * @param ownsEngine `close` closes the engine too
   * @param compacts `tend` compacts mostly dead data files; not where somebody keeps copies of the files elsewhere
   */
  constructor(engine: Engine, disk: Disk, dataDirectory: string, ownsEngine = true, compacts = false) {
    this.#engine = engine;
    this.#disk = disk;
    this.#dataDirectory = dataDirectory;
    this.#ownsEngine = ownsEngine;
    this.#compacts = compacts;
    const space = (name: string) =>
      new NamespaceSpace(engine.namespace(name) ?? engine.createNamespace(name, 'seq'));
    this.meta = space(NAMESPACES.meta);
    this.data = space(NAMESPACES.data);
    this.journal = space(NAMESPACES.journal);
  }

  commit(): void {
    this.#engine.commit();
  }

  space(): StoreSpace {
    return this.#disk.space(this.#dataDirectory);
  }

  tend(liveShare: number, budgetBytes: number): void {
    this.#engine.closeIdleFiles();
    if (!this.#compacts) return;
    for (const name of [NAMESPACES.data, NAMESPACES.meta])
      this.#engine.namespace(name)?.compact(liveShare, budgetBytes);
  }

  close(): void {
    if (this.#ownsEngine) this.#engine.close();
    else this.#engine.commit();
  }
}
