// Sync points: a consistent state of the volume on the backends, named by a manifest written last.
//
// One at a time. The filesystem thread makes the state (checkpoint, rotation, copies of changed index files); from then on
// writers go on, and the pieces are sent: data files (Offload), index files, pages, the manifest. What an earlier sync point
// left unsent is sent with the next one. Objects that only older manifests name are deleted after the new one is complete.
import { join } from 'node:path';
import { type Disk, errorCode, readWhole, replaceWhole } from '@qsfs/io';
import { isZstorError, type ObjectRecord, type Verification, type Zstor } from '@qsfs/zstor';
import type { Context } from './context.ts';
import type { EmptiedBackends } from './emptied-backends.ts';
import { messageOf } from './errors.ts';
import { forgetRemoved, givable } from './give-back.ts';
import type { Housekeeping } from './housekeeper.ts';
import { type Identity, writeIdentity } from './identity.ts';
import { asKnownError } from './known-errors.ts';
import type { Layout } from './layout.ts';
import type { LeaseHolder } from './lease.ts';
import {
  compareVersions,
  decodeManifest,
  encodeManifest,
  encodePage,
  indexName,
  type Manifest,
  type ManifestFile,
  type ManifestNamespace,
  manifestName,
  PAGE_FILES,
  pageName,
  parsePartName,
  type Version,
} from './manifest.ts';
import { type GiveBack, OFFLOADED, type OffloadedName, type SyncedNamespace } from './messages.ts';
import { DrainInterrupted, isComplete, type Offload } from './offload.ts';
import { inParallel } from './parallel.ts';
import { count } from './quantities.ts';
import { SmallObjects } from './small-objects.ts';
import { findSuspects } from './suspects.ts';
import { findGarbage } from './sweep.ts';
import type { Volume } from './volume-files.ts';

/** Index files and pages on their way at a time. */
const CONCURRENT_MAX = 4;
/** How long a small object is tried again while the backends do not take it, and how often. */
const PATIENCE_MS = 10_000;
const RETRY_MS = 500;

/** What sync points need. */
export interface SyncParts {
  readonly context: Context;
  readonly zstor: Zstor;
  /** How to make sure of what was stored. */
  readonly verification: Verification;
  readonly layout: Layout;
  readonly volume: Volume;
  readonly offload: Offload;
  readonly lease: LeaseHolder;
  readonly housekeeper: Housekeeping;
  readonly identity: { current: Identity };
  /** The last run ended in order, so time stamps of index files can be trusted. */
  readonly cleanStart: boolean;
  readonly emptied: Pick<EmptiedBackends, 'look' | 'blankStores'>;
  /** Has the filesystem thread make the state. */
  readonly makeState: (
    stagingDirectory: string,
    suspects: Readonly<Record<OffloadedName, readonly number[]>>,
    giveBack: GiveBack,
  ) => Promise<readonly SyncedNamespace[]>;
  readonly log: (level: 'info' | 'warning' | 'error', message: string) => void;
}

/** What a sync point did. */
export interface SyncReport {
  readonly generation: number;
  /** Objects that are readable but lack shards. 0: everything is on all n backends, verified. */
  readonly degradedObjects: number;
  /** Metadata stores that lost their records and have not got all of them again. */
  readonly blankStores: readonly string[];
  readonly durationMs: number;
}

interface StagedIndex {
  readonly namespace: OffloadedName;
  readonly file: number;
  readonly path: string;
  readonly modifiedMs: number;
  readonly copiedMs: number;
}

/** Makes sync points. Owned by the main thread. */
export class SyncPoints {
  readonly #parts: SyncParts;
  #manifest: Manifest | undefined;
  #state: readonly SyncedNamespace[] | undefined;
  readonly #staged = new Map<string, StagedIndex>();
  readonly #dirtyPages: Record<OffloadedName, Set<number>> = {
    'zdbfs-meta': new Set(),
    'zdbfs-data': new Set(),
  };
  readonly #small: SmallObjects;
  readonly #superseded = new Set<string>();
  #suspectsKnown = false;
  #stateKnown = false;
  /** Something was lost on the backends that only a new state stores again. */
  #restoring = false;
  #running: Promise<unknown> | undefined;
  #queued: Promise<SyncReport> | undefined;
  #sweepWanted: boolean;
  /** Monotonic time of the last state that was made. */
  madeAtMs = 0;
  lastError = '';

  constructor(parts: SyncParts) {
    this.#parts = parts;
    this.#sweepWanted = !parts.cleanStart;
    const { disk } = parts.context;
    disk.removeTree(parts.layout.staging);
    disk.makeDirectory(parts.layout.staging);
    this.#manifest = readLocalManifest(disk, parts.layout);
    this.#findDirtyPages();
    this.#small = new SmallObjects(parts.zstor);
    this.#question(false);
  }

  /** The generation of the newest manifest on the backends; 0 when there is none. */
  get generation(): number {
    return this.#manifest?.generation ?? 0;
  }

  /** Wall clock of the newest state that is on the backends; undefined when there is none. */
  get stateOfMs(): number | undefined {
    return this.#manifest?.createdMs;
  }

  /** All data files there are were closed before the newest state on the backends. */
  get isNewest(): boolean {
    return OFFLOADED.every((name) => {
      const known = this.#manifest?.namespaces.find((candidate) => candidate.name === name);
      return known?.activeFile === this.#parts.volume[name].activeFile;
    });
  }

  /** Small objects that are not known to have all their shards. */
  get degradedObjects(): number {
    return this.#small.size;
  }

  /** Takes back what is believed of every small object: a backend was emptied. */
  doubt(): void {
    this.#question(true);
  }

  /** False until the first state is made: what the process before us wrote may be in no sync point. */
  get stateKnown(): boolean {
    return this.#stateKnown;
  }

  /** Looks at small objects that lack shards, and repairs them; a sync point does so itself. */
  async healSmall(): Promise<void> {
    if (this.busy || this.#small.size === 0) return;
    await this.#small.heal();
    this.#storeAgain(this.#small.lost());
  }

  /** A state was made that is not on the backends yet. */
  get unfinished(): boolean {
    return this.#state !== undefined || this.#restoring;
  }

  get busy(): boolean {
    return this.#running !== undefined;
  }

  /** A data file reached the backends: its page has to be written anew. */
  dataStored(namespace: OffloadedName, file: number): void {
    this.#dirtyPages[namespace].add(Math.floor(file / PAGE_FILES));
  }

  /**
   * Brings everything written so far to the backends. A call during another one waits for that one and then makes a state of its
   * own, which further calls share.
   * @throws QsfsError QSFS_E_BACKENDS, QSFS_E_FENCED, QSFS_E_DISK
   */
  run(): Promise<SyncReport> {
    if (!this.#running) return this.#begin(true);
    this.#queued ??= this.#running.then(
      () => this.#begin(true),
      () => this.#begin(true),
    );
    return this.#queued;
  }

  /** Sends what an earlier sync point left unsent. */
  finish(): Promise<SyncReport> {
    const begin = () => this.#begin(false);
    return this.#running?.then(begin, begin) ?? begin();
  }

  /**
   * Has a state made for the room it gives on this machine (`GiveBack`), whether the backends can be reached or not. When another
   * state is on its way and does not get on, this one takes its place.
   */
  async makeRoom(): Promise<void> {
    if (this.#running) this.#parts.offload.interrupt();
    else await this.#exclusively(this.#makeState());
  }

  #begin(newState: boolean): Promise<SyncReport> {
    this.#queued = undefined;
    return this.#exclusively(this.#perform(newState));
  }

  #exclusively<Result>(work: Promise<Result>): Promise<Result> {
    const running = work.finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  async #perform(newState: boolean): Promise<SyncReport> {
    const { clock } = this.#parts.context;
    const startMs = clock.monotonicMs();
    try {
      await this.#parts.lease.confirm();
      for (let isNew = newState; ; isNew = true) {
        if (isNew || this.#restoring) await this.#makeState();
        if (!this.#state || (await this.#sent(this.#state))) break;
      }
      // What was stored long ago must be there, too.
      await this.#parts.emptied.look();
      const degradedObjects = await this.#heal();
      const blankStores = await this.#fillStores();
      this.lastError = '';
      // Data that lacks shards is named by older manifests too: they are of no use for it.
      if (this.#small.size === 0) await this.#cleanUp();
      return {
        generation: this.generation,
        degradedObjects,
        blankStores,
        durationMs: clock.monotonicMs() - startMs,
      };
    } catch (error) {
      this.lastError = messageOf(error);
      throw asKnownError(error);
    }
  }

  async #makeState(): Promise<void> {
    const { context, volume, layout, identity, offload } = this.#parts;
    const suspects = this.#suspectsKnown
      ? { 'zdbfs-meta': [], 'zdbfs-data': [] }
      : await findSuspects(context, volume, this.#parts.housekeeper, this.#parts.cleanStart);
    const generation = identity.current.generation + 1;
    identity.current = { ...identity.current, generation };
    writeIdentity(context.disk, layout.identity, identity.current);
    const staging = join(layout.staging, `${generation}`);
    context.disk.makeDirectory(staging);
    const copiedMs = context.clock.nowMs();
    const state = await this.#changedFiles((giveBack) => this.#parts.makeState(staging, suspects, giveBack));
    this.madeAtMs = context.clock.monotonicMs();
    // The filesystem thread has forgotten what it copied: if we cannot take it over, the next state looks at all index files.
    this.#suspectsKnown = false;
    for (const synced of state) {
      const files = volume[synced.namespace];
      for (const { file, sizeBytes } of synced.closed) {
        files.closed(file, sizeBytes);
        offload.add(synced.namespace, file);
      }
      files.activeFile = synced.activeFile;
      for (const copy of synced.copied) {
        const { namespace } = synced;
        const path = join(staging, `${namespace}-i${copy.file}`);
        this.#unstage(`${namespace}/${copy.file}`);
        const { file, modifiedMs } = copy;
        this.#staged.set(`${namespace}/${file}`, { namespace, file, path, modifiedMs, copiedMs });
      }
      for (const file of synced.removed) {
        const name = forgetRemoved(volume, offload, synced.namespace, file);
        if (name !== undefined) this.#supersede(name);
        this.#dirtyPages[synced.namespace].add(Math.floor(file / PAGE_FILES));
      }
    }
    this.#suspectsKnown = true;
    if (this.#state || this.#restoring || this.#differs(state)) this.#state = state;
    this.#restoring = false;
    this.#stateKnown = true;
  }

  /** Makes a state that may give back what is dead in data files which are not on their way to the backends. */
  async #changedFiles<Result>(make: (giveBack: GiveBack) => Promise<Result>): Promise<Result> {
    const { offload, volume } = this.#parts;
    // What is given back may be alive in the state before, which then must not be sent any more.
    if (this.#state) this.#restoring = true;
    this.#state = undefined;
    offload.hold();
    try {
      return await make(givable(volume, offload));
    } finally {
      offload.release();
    }
  }

  /** Sends a state. @returns false when a new one has to be made, for the room it gives */
  async #sent(state: readonly SyncedNamespace[]): Promise<boolean> {
    try {
      await this.#send(state);
      return true;
    } catch (error) {
      if (error instanceof DrainInterrupted) return false;
      throw error;
    }
  }

  /** Whether a state is not what the newest manifest says. */
  #differs(state: readonly SyncedNamespace[]): boolean {
    return state.some((synced) => {
      const known = this.#manifest?.namespaces.find(({ name }) => name === synced.namespace);
      return (
        known?.activeFile !== synced.activeFile ||
        synced.closed.length > 0 ||
        synced.copied.length > 0 ||
        this.#dirtyPages[synced.namespace].size > 0
      );
    });
  }

  async #send(state: readonly SyncedNamespace[]): Promise<void> {
    const { offload, identity, volume, context } = this.#parts;
    await offload.drain();
    await inParallel(CONCURRENT_MAX, [...this.#staged.values()], (staged) => this.#sendIndex(staged));
    for (const name of OFFLOADED) volume[name].catalog.flush();
    const version: Version = { epoch: identity.current.epoch, generation: identity.current.generation };
    const namespaces: ManifestNamespace[] = [];
    for (const synced of state) {
      const { namespace, activeFile, descriptor, activeIndex, activeData } = synced;
      const pages = await this.#sendPages(namespace, activeFile, version);
      namespaces.push({
        name: namespace,
        mode: 'seq',
        descriptor,
        activeFile,
        activeIndex,
        activeData,
        pages,
      });
    }
    const manifest: Manifest = {
      ...version,
      volumeId: Buffer.from(identity.current.volumeId, 'hex'),
      createdMs: context.clock.nowMs(),
      stripeBytes: identity.current.stripeBytes,
      segmentBytes: identity.current.segmentBytes,
      namespaces,
    };
    const content = encodeManifest(manifest);
    // Last look: a frontend that took over meanwhile must not find a newer manifest of ours.
    await this.#parts.lease.confirm();
    const name = manifestName(version);
    this.#small.written(name, await this.#stubbornly(() => this.#putSmall(name, content)));
    replaceWhole(context.disk, this.#parts.layout.manifest, content);
    if (this.#manifest) this.#supersede(manifestName(this.#manifest));
    this.#manifest = manifest;
    this.#state = undefined;
    if (this.#staged.size === 0) context.disk.removeTree(this.#parts.layout.staging);
    for (const name of OFFLOADED) this.#dirtyPages[name] = new Set(this.#stillDirty(name, manifest));
    this.#parts.log('info', `sync point ${version.generation} is on the backends`);
  }

  async #sendIndex(staged: StagedIndex): Promise<void> {
    const { housekeeper, volume, zstor, verification, identity } = this.#parts;
    const { namespace, file, modifiedMs, copiedMs } = staged;
    const { catalog } = volume[namespace];
    const { hash, sizeBytes } = await housekeeper.hash(staged.path);
    const known = catalog.index(file);
    const state = { sizeBytes, modifiedMs, copiedMs, hash };
    if (known && known.sizeBytes === sizeBytes && Buffer.compare(known.hash, hash) === 0) {
      catalog.setIndex(file, { ...known, ...state });
    } else {
      const { epoch, generation } = identity.current;
      const name = indexName(namespace, file, { epoch, generation });
      const record = await this.#stubbornly(() =>
        zstor.put(name, { path: staged.path, lengthBytes: sizeBytes }, { verification }),
      );
      const complete = isComplete(record);
      catalog.setIndex(file, { ...state, epoch, generation, complete });
      this.#small.written(name, record, () => this.#indexWhole(namespace, file, { epoch, generation }));
      if (known) this.#supersede(indexName(namespace, file, known));
      this.#dirtyPages[namespace].add(Math.floor(file / PAGE_FILES));
    }
    this.#unstage(`${namespace}/${file}`, staged);
  }

  async #sendPages(namespace: OffloadedName, activeFile: number, version: Version): Promise<Version[]> {
    const before = this.#manifest?.namespaces.find((candidate) => candidate.name === namespace)?.pages ?? [];
    const pages: Version[] = [];
    const changed: number[] = [];
    for (let page = 0; page < Math.ceil(activeFile / PAGE_FILES); page += 1) {
      const old = before[page];
      if (old && !this.#dirtyPages[namespace].has(page)) pages.push(old);
      else {
        pages.push(version);
        changed.push(page);
      }
    }
    await inParallel(CONCURRENT_MAX, changed, async (page) => {
      const first = page * PAGE_FILES;
      const files: ManifestFile[] = [];
      for (let file = first; file < Math.min(activeFile, first + PAGE_FILES); file += 1) {
        files.push(this.#entry(namespace, file));
      }
      const name = pageName(namespace, page, version);
      const content = encodePage(first, files);
      this.#small.written(name, await this.#stubbornly(() => this.#putSmall(name, content)));
      const old = before[page];
      if (old) this.#supersede(pageName(namespace, page, old));
    });
    return pages;
  }

  #entry(namespace: OffloadedName, file: number): ManifestFile {
    const files = this.#parts.volume[namespace];
    const data = files.data(file);
    const index = files.catalog.index(file);
    const isHere = files.sizeOf(file) > 0;
    // What was stored stays named, even if the local file was lost.
    const exists = isHere || data.safety !== 'pending';
    if (isHere && (data.safety === 'pending' || !index)) {
      throw new Error(`${namespace}/${file} is in the sync point but not on the backends`);
    }
    return {
      data: exists ? { sizeBytes: data.sizeBytes, epoch: data.epoch } : undefined,
      index: index && {
        sizeBytes: index.sizeBytes,
        epoch: index.epoch,
        generation: index.generation,
      },
    };
  }

  #putSmall(name: string, content: Uint8Array): Promise<ObjectRecord> {
    const { zstor, verification } = this.#parts;
    return zstor.putSmall(name, content, { verification });
  }

  /** Does it again for a while when the backends do not take it. */
  async #stubbornly<Result>(act: () => Promise<Result>): Promise<Result> {
    const { clock } = this.#parts.context;
    const end = clock.monotonicMs() + PATIENCE_MS;
    for (;;) {
      try {
        return await act();
      } catch (error) {
        if (!isZstorError(error, 'QSFS_E_UNAVAILABLE') || clock.monotonicMs() > end) throw error;
      }
      await clock.sleep(RETRY_MS);
    }
  }

  #supersede(name: string): void {
    this.#superseded.add(name);
    this.#small.forget(name);
  }

  #unstage(key: string, only?: StagedIndex): void {
    const staged = this.#staged.get(key);
    if (!staged || (only && staged !== only)) return;
    this.#staged.delete(key);
    try {
      this.#parts.context.disk.remove(staged.path);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
    }
  }

  /** Repairs what lacks shards, as far as the backends allow now. @returns how many objects still do */
  async #heal(): Promise<number> {
    const { context, offload, zstor } = this.#parts;
    const lacking = () => this.#small.size + offload.status.degradedFiles;
    const end = context.clock.monotonicMs() + PATIENCE_MS;
    await this.#small.look();
    while (lacking() > 0 && context.clock.monotonicMs() < end) {
      // With backends missing nothing can become whole: looking at every object would only take time.
      const { data } = await zstor.status();
      if (!data.placeable) break;
      await this.#small.heal();
      await offload.heal(true);
      if (this.#storeAgain(this.#small.lost())) break;
      if (lacking() > 0) await context.clock.sleep(RETRY_MS);
    }
    return lacking();
  }

  /** Has metadata stores that lost their records get them again. @returns those that still lack some */
  async #fillStores(): Promise<readonly string[]> {
    const { context, emptied, zstor } = this.#parts;
    const end = context.clock.monotonicMs() + PATIENCE_MS;
    while (emptied.blankStores.length > 0 && context.clock.monotonicMs() < end) {
      await zstor.repairPending();
      await emptied.look();
      if (emptied.blankStores.length > 0) await context.clock.sleep(RETRY_MS);
    }
    return emptied.blankStores;
  }

  /**
   * Has small objects that are lost on the backends stored again with the next state, which is made soon.
   * @returns whether there are any
   */
  #storeAgain(names: readonly string[]): boolean {
    if (names.length === 0 || this.#restoring) return names.length > 0;
    const { log, volume, context } = this.#parts;
    log('warning', `${count(names.length, 'object')} were lost on the backends and will be stored again`);
    for (const name of names) {
      const part = parsePartName(name);
      if (part?.kind === 'i') {
        const files = volume[part.namespace];
        if (context.disk.stat(files.indexPath(part.number))) files.catalog.distrustIndex(part.number);
        else {
          log('error', `${name} is lost on the backends and is not here either`);
          this.#small.forget(name);
        }
      } else if (part?.kind === 'p') this.#dirtyPages[part.namespace].add(part.number);
    }
    this.#suspectsKnown = false;
    this.#restoring = true;
    return true;
  }

  /**
   * Everything small that the newest manifest names has to be looked at.
   * @param known also what the catalog says to be whole
   */
  #question(known: boolean): void {
    const manifest = this.#manifest;
    if (!manifest) return;
    this.#small.question(manifestName(manifest));
    for (const name of OFFLOADED) {
      const pages = manifest.namespaces.find((candidate) => candidate.name === name)?.pages ?? [];
      for (const [page, version] of pages.entries()) {
        this.#small.question(pageName(name, page, version));
      }
      const { catalog } = this.#parts.volume[name];
      for (let file = 0; file < catalog.length; file += 1) {
        const index = catalog.index(file);
        if (!index || (index.complete && !known)) continue;
        this.#small.question(indexName(name, file, index), () => this.#indexWhole(name, file, index));
      }
    }
  }

  #indexWhole(namespace: OffloadedName, file: number, { epoch, generation }: Version): void {
    const { catalog } = this.#parts.volume[namespace];
    const now = catalog.index(file);
    if (now?.epoch === epoch && now.generation === generation)
      catalog.setIndex(file, { ...now, complete: true });
  }

  /** Deletes what no manifest names any more. Never in the way of anything: what fails is done another time. */
  async #cleanUp(): Promise<void> {
    const { zstor, log, lease, volume, identity } = this.#parts;
    try {
      // Whoever took over meanwhile may have begun from the state before: what that names is his now.
      await lease.confirm();
      if (this.#sweepWanted && this.#manifest) {
        const garbage = await findGarbage(zstor, this.#manifest, volume, identity.current.epoch);
        this.#sweepWanted = garbage === undefined;
        for (const name of garbage ?? []) this.#superseded.add(name);
        if (garbage?.length) log('info', `${count(garbage.length, 'object')} nobody needs will be deleted`);
      }
      for (const name of this.#superseded) {
        await zstor.delete(name);
        this.#superseded.delete(name);
      }
    } catch (error) {
      log('warning', `old objects could not be deleted and will be later: ${messageOf(error)}`);
    }
  }

  /** Pages that are older than something they describe. */
  #findDirtyPages(): void {
    for (const name of OFFLOADED) this.#dirtyPages[name] = new Set(this.#stillDirty(name, this.#manifest));
  }

  *#stillDirty(name: OffloadedName, manifest: Manifest | undefined): Iterable<number> {
    const pages = manifest?.namespaces.find((candidate) => candidate.name === name)?.pages ?? [];
    const { catalog } = this.#parts.volume[name];
    for (let file = 0; file < catalog.length; file += 1) {
      const page = pages[Math.floor(file / PAGE_FILES)];
      const index = catalog.index(file);
      if (!page || (index && compareVersions(index, page) > 0)) yield Math.floor(file / PAGE_FILES);
    }
  }
}

/** The copy of the newest manifest on the local disk; undefined when it is missing or damaged, which costs only work. */
function readLocalManifest(disk: Disk, layout: Layout): Manifest | undefined {
  const content = readWhole(disk, layout.manifest);
  if (!content) return undefined;
  try {
    return decodeManifest(content);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
