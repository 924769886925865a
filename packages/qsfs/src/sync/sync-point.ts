// Sync points: a consistent state of the volume on the backends, named by a manifest written last.
//
// One at a time. The filesystem thread makes the state (checkpoint, rotation, copies of changed index files); from then on
// writers go on, and the pieces are sent: data files (Offload), index files, pages, the manifest. What an earlier sync point
// left unsent is sent with the next one. Objects that only older manifests name are deleted after the new one is complete.
import { type Disk, readWhole, replaceWhole } from '@qsfs/io';
import type { Verification, Zstor } from '@qsfs/zstor';
import type { Context } from '../context.ts';
import { messageOf } from '../errors.ts';
import { asKnownError } from '../known-errors.ts';
import type { Layout } from '../layout.ts';
import { type Identity, writeIdentity } from '../lease/identity.ts';
import type { LeaseHolder } from '../lease/lease.ts';
import type { Housekeeping } from '../local/housekeeper.ts';
import type { Volume } from '../local/volume-files.ts';
import {
  decodeManifest,
  encodeManifest,
  type Manifest,
  type ManifestNamespace,
  manifestName,
  type Version,
} from '../manifest.ts';
import { type GiveBack, OFFLOADED, type OffloadedName, type SyncedNamespace } from '../messages.ts';
import { DrainInterrupted, type Offload } from '../offload/offload.ts';
import { count } from '../quantities.ts';
import type { EmptiedBackends } from './emptied-backends.ts';
import { forgetRemoved, givable } from './give-back.ts';
import { ManifestPages } from './manifest-pages.ts';
import { pagesOf, Scrub, type Standing } from './scrub.ts';
import { StagedIndexes } from './staged-indexes.ts';
import { findSuspects } from './suspects.ts';
import { findGarbage } from './sweep.ts';
import { VolumeObjects } from './volume-objects.ts';

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
  readonly emptied: Pick<EmptiedBackends, 'look' | 'emptied' | 'blankStores' | 'unseen'>;
  /** Has the filesystem thread make the state. */
  readonly makeState: (
    stagingDirectory: string,
    suspects: Readonly<Record<OffloadedName, readonly number[]>>,
    giveBack: GiveBack,
  ) => Promise<readonly SyncedNamespace[]>;
  readonly log: (level: 'info' | 'warning' | 'error', message: string) => void;
}

/** What a sync point did. */
export interface SyncReport extends Standing {
  readonly generation: number;
  readonly durationMs: number;
}

/** Makes sync points. Owned by the main thread. */
export class SyncPoints {
  readonly #parts: SyncParts;
  #manifest: Manifest | undefined;
  #state: readonly SyncedNamespace[] | undefined;
  readonly #objects: VolumeObjects;
  readonly #pages: ManifestPages;
  readonly #staged: StagedIndexes;
  /** Looks after what earlier sync points have stored. */
  readonly scrub: Scrub;
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
    const { context, layout, volume } = parts;
    const { disk, clock } = context;
    this.#manifest = readLocalManifest(disk, layout);
    const objects = new VolumeObjects({ ...parts, clock });
    const pages = new ManifestPages(volume, objects, this.#manifest);
    this.#objects = objects;
    this.#pages = pages;
    this.#staged = new StagedIndexes({ ...parts, disk, objects, pages });
    this.scrub = new Scrub({
      ...parts,
      objects,
      pages,
      manifest: () => this.#manifest,
      isRestoring: () => this.#restoring,
      storeAgain: () => {
        this.#suspectsKnown = false;
        this.#restoring = true;
      },
    });
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

  /** False until the first state is made: what the process before us wrote may be in no sync point. */
  get stateKnown(): boolean {
    return this.#stateKnown;
  }

  /** Looks at small objects that lack shards, and repairs them; a sync point does so itself. */
  async healSmall(): Promise<void> {
    if (!this.busy) await this.scrub.healSmall();
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
    this.#pages.changed(namespace, file);
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
      const standing = await this.scrub.run();
      this.lastError = '';
      // Data that lacks shards is named by older manifests too: they are of no use for it.
      if (this.#objects.small.size === 0) await this.#cleanUp();
      return {
        generation: this.generation,
        ...standing,
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
    const staging = this.#staged.folder(generation);
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
      this.#staged.take(synced, staging, copiedMs);
      for (const file of synced.removed) {
        const name = forgetRemoved(volume, offload, synced.namespace, file);
        if (name !== undefined) this.#objects.supersede(name);
        this.#pages.changed(synced.namespace, file);
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
        this.#pages.hasChanged(synced.namespace)
      );
    });
  }

  async #send(state: readonly SyncedNamespace[]): Promise<void> {
    const { offload, identity, volume, context } = this.#parts;
    await offload.drain();
    const version: Version = { epoch: identity.current.epoch, generation: identity.current.generation };
    await this.#staged.send(version);
    for (const name of OFFLOADED) volume[name].catalog.flush();
    const namespaces: ManifestNamespace[] = [];
    for (const synced of state) {
      const { namespace, activeFile, descriptor, activeIndex, activeData } = synced;
      const before = pagesOf(this.#manifest, namespace);
      const pages = await this.#pages.send(namespace, activeFile, version, before);
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
    await this.#objects.putSmall(manifestName(version), content);
    replaceWhole(context.disk, this.#parts.layout.manifest, content);
    if (this.#manifest) this.#objects.supersede(manifestName(this.#manifest));
    this.#manifest = manifest;
    this.#state = undefined;
    this.#staged.tidy();
    this.#pages.stored(manifest);
    this.#parts.log('info', `sync point ${version.generation} is on the backends`);
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
        for (const name of garbage ?? []) this.#objects.discard(name);
        if (garbage?.length) log('info', `${count(garbage.length, 'object')} nobody needs will be deleted`);
      }
      await this.#objects.deleteSuperseded();
    } catch (error) {
      log('warning', `old objects could not be deleted and will be later: ${messageOf(error)}`);
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
