// Looks after what earlier sync points have stored: finds out what lacks shards, has it repaired, and has stored again what is lost on the
// backends and still here. Backends that were away or emptied are why there is something to find (emptied-backends.ts).
import type { Clock } from '@qsfs/io';
import type { Zstor } from '@qsfs/zstor';
import type { Context } from '../context.ts';
import type { Volume } from '../local/volume-files.ts';
import type { Log } from '../log-file.ts';
import {
  dataName,
  indexName,
  type Manifest,
  manifestName,
  pageName,
  parsePartName,
  type Version,
} from '../manifest.ts';
import { OFFLOADED, type OffloadedName } from '../messages.ts';
import type { Offload } from '../offload/offload.ts';
import { count } from '../quantities.ts';
import type { EmptiedBackends } from './emptied-backends.ts';
import type { ManifestPages } from './manifest-pages.ts';
import { PATIENCE_MS, RETRY_MS, type VolumeObjects } from './volume-objects.ts';

/** What it needs. */
export interface ScrubParts {
  readonly context: Context;
  readonly zstor: Zstor;
  readonly volume: Volume;
  readonly offload: Offload;
  readonly emptied: Pick<EmptiedBackends, 'look' | 'emptied' | 'blankStores' | 'unseen'>;
  readonly objects: VolumeObjects;
  readonly pages: ManifestPages;
  /** The newest one on the backends. */
  readonly manifest: () => Manifest | undefined;
  /** The next state is made soon, and stores again what is lost. */
  readonly isRestoring: () => boolean;
  /** Has that done. */
  readonly storeAgain: () => void;
  readonly log: Log;
}

/** How everything stored stands. */
export interface Standing {
  /** Objects that are readable but lack shards. 0: everything is on all n backends, verified. */
  readonly degradedObjects: number;
  /** Metadata stores that lost their records and have not got all of them again. */
  readonly blankStores: readonly string[];
  /** Data backends that came back and could not be asked yet whether they still have what they were given. */
  readonly unseenBackends: readonly string[];
}

/** See the module's header. Owned by SyncPoints. */
export class Scrub {
  readonly #parts: ScrubParts;

  constructor(parts: ScrubParts) {
    this.#parts = parts;
    this.#question(false);
  }

  /** Small objects that are not known to have all their shards. */
  get degradedObjects(): number {
    return this.#parts.objects.small.size;
  }

  /** Takes back what is believed of every small object: a backend was emptied. */
  doubt(): void {
    this.#question(true);
  }

  /** These objects were found to have lost too many shards: they are looked at again, and stored again where that can be done. */
  suspect(names: readonly string[]): void {
    const { offload, volume } = this.#parts;
    this.#question(true);
    for (const name of names) {
      const part = parsePartName(name);
      if (part?.kind !== 'd') this.#parts.objects.small.suspect(name);
      // Of an earlier epoch it is not the one that is needed.
      else if (dataName(part.namespace, part.number, volume[part.namespace].data(part.number).epoch) === name)
        offload.degraded.suspect({ namespace: part.namespace, file: part.number });
    }
  }

  /** Looks at small objects that lack shards, and repairs them; `run` does so itself. */
  async healSmall(): Promise<void> {
    const { small } = this.#parts.objects;
    if (small.size === 0) return;
    await small.heal();
    this.#storeAgain(small.lost());
  }

  /** Looks at everything that may lack something, and has it repaired as far as the backends allow now. */
  async run(): Promise<Standing> {
    const { emptied } = this.#parts;
    const isDoubted = await emptied.look();
    const unseenBackends = await this.#repairUntilNone(() => emptied.unseen);
    let degradedObjects = await this.#heal();
    const blankStores = await this.#repairUntilNone(() => emptied.blankStores);
    // Backends that have their part again count as emptied until the next look.
    const isOver = degradedObjects === 0 && (isDoubted || emptied.emptied.length > 0);
    if (isOver && (await emptied.look())) degradedObjects = this.#lacking;
    return { degradedObjects, blankStores, unseenBackends };
  }

  /** Objects that lack shards. */
  get #lacking(): number {
    return this.#parts.objects.small.size + this.#parts.offload.status.degradedFiles;
  }

  /** Repairs what lacks shards, as far as the backends allow now. @returns how many objects still do */
  async #heal(): Promise<number> {
    const { context, offload, zstor } = this.#parts;
    const end = context.clock.monotonicMs() + PATIENCE_MS;
    await this.#parts.objects.small.look();
    while (this.#lacking > 0 && context.clock.monotonicMs() < end) {
      // With backends missing nothing can become whole: looking at every object would only take time.
      const { data } = await zstor.status();
      if (!data.placeable) break;
      await this.#parts.objects.small.heal();
      await offload.degraded.heal(true);
      if (this.#storeAgain(this.#parts.objects.small.lost())) break;
      if (this.#lacking > 0) await context.clock.sleep(RETRY_MS);
    }
    return this.#lacking;
  }

  /** Has what is pending repaired until no backend of these is left, or it takes too long. @returns those that are left */
  async #repairUntilNone(left: () => readonly string[]): Promise<readonly string[]> {
    const { context, emptied, zstor } = this.#parts;
    const end = context.clock.monotonicMs() + PATIENCE_MS;
    while (left().length > 0 && context.clock.monotonicMs() < end) {
      // Of a large volume it takes long: it goes on without us.
      await withinMs(context.clock, end - context.clock.monotonicMs(), zstor.repairPending());
      await emptied.look();
      if (left().length > 0) await context.clock.sleep(RETRY_MS);
    }
    return left();
  }

  /**
   * Has small objects that are lost on the backends stored again with the next state, which is made soon.
   * @returns whether there are any
   */
  #storeAgain(names: readonly string[]): boolean {
    const { log, volume, context, isRestoring, storeAgain } = this.#parts;
    if (names.length === 0 || isRestoring()) return names.length > 0;
    log('warning', `${count(names.length, 'object')} were lost on the backends and will be stored again`);
    for (const name of names) {
      const part = parsePartName(name);
      if (part?.kind === 'i') {
        const files = volume[part.namespace];
        if (context.disk.stat(files.indexPath(part.number))) files.catalog.distrustIndex(part.number);
        else {
          log('error', `${name} is lost on the backends and is not here either`);
          this.#parts.objects.small.forget(name);
        }
      } else if (part?.kind === 'p') this.#parts.pages.lost(part.namespace, part.number);
    }
    storeAgain();
    return true;
  }

  /**
   * Everything small that the newest manifest names has to be looked at.
   * @param known also what the catalog says to be whole
   */
  #question(known: boolean): void {
    const manifest = this.#parts.manifest();
    if (!manifest) return;
    this.#parts.objects.small.question(manifestName(manifest));
    for (const name of OFFLOADED) {
      for (const [page, version] of pagesOf(manifest, name).entries()) {
        this.#parts.objects.small.question(pageName(name, page, version));
      }
      const { catalog } = this.#parts.volume[name];
      for (let file = 0; file < catalog.length; file += 1) {
        const index = catalog.index(file);
        if (!index || (index.complete && !known)) continue;
        this.#parts.objects.small.question(indexName(name, file, index), () =>
          catalog.indexWhole(file, index),
        );
      }
    }
  }
}

/** Waits for work, but no longer than that. */
async function withinMs(clock: Clock, ms: number, work: Promise<unknown>): Promise<void> {
  const over = Promise.withResolvers<void>();
  const timer = clock.after(Math.max(0, ms), over.resolve, true);
  try {
    await Promise.race([work, over.promise]);
  } finally {
    timer.cancel();
  }
}

/** Its pages of a namespace. */
export function pagesOf(manifest: Manifest | undefined, namespace: OffloadedName): readonly Version[] {
  return manifest?.namespaces.find(({ name }) => name === namespace)?.pages ?? [];
}
