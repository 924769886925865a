// Backends that lost what they held, or a part of it, and answer all the same: wiped, a new disk, another server under the address, cut-off
// files, or taken out of the configuration. What the catalog believes of them is taken back, and counts again when everything is known to be whole.
//
// What each data backend was (its incarnation, see docs/formats/records.md, or how many keys it had given out) when everything was whole last is remembered in
// DIR/frontend/incarnations (docs/formats/frontend.md), so a backend that was emptied while no qsfs ran is noticed, too, and a
// kill in the middle begins anew. Metadata stores know it themselves (their markers).
import { type Disk, errorCode, readWhole, replaceWhole } from '@qsfs/io';
import type { Zstor } from '@qsfs/zstor';
import { messageOf } from '../errors.ts';
import type { Log } from '../log-file.ts';

/** What following them needs. */
export interface EmptiedParts {
  readonly disk: Disk;
  /** Where incarnations are remembered. */
  readonly path: string;
  /** Names of the data backends in the configuration. */
  readonly configured: readonly string[];
  readonly zstor: Pick<Zstor, 'inspect'>;
  /** Takes back what is believed of everything stored. */
  readonly doubt: () => void;
  /** These objects were found to have lost more shards than they survive. */
  readonly suspect: (names: readonly string[]) => void;
  /** Every object is known to have all its shards. */
  readonly isWhole: () => boolean;
  readonly log: Log;
}

/** Follows the backends of one running frontend. */
export class EmptiedBackends {
  readonly #parts: EmptiedParts;
  /** When everything was whole; undefined when nobody remembers. */
  #whole: ReadonlyMap<string, string> | undefined;
  /** What the present beliefs rest on. */
  readonly #believed = new Map<string, string>();
  #blankStores: readonly string[] = [];
  #unseen: readonly string[] = [];
  #lostObjects: ReadonlySet<string> = new Set();
  #looking: Promise<boolean> | undefined;

  constructor(parts: EmptiedParts) {
    this.#parts = parts;
    this.#whole = readIncarnations(parts.disk, parts.path);
    for (const [name, incarnation] of this.#whole ?? []) this.#believed.set(name, incarnation);
  }

  /** Data backends that lost what they held, and have not got all of it again. */
  get emptied(): string[] {
    return [...(this.#whole ?? [])].flatMap(([name, incarnation]) =>
      isSame(incarnation, this.#believed.get(name)) ? [] : [name],
    );
  }

  /** Metadata stores that lost what they held, and have not got all of it again. */
  get blankStores(): readonly string[] {
    return this.#blankStores;
  }

  /** Data backends that were away, and were not asked since whether they still have what they were given. */
  get unseen(): readonly string[] {
    return this.#unseen;
  }

  /**
   * Asks all backends what they are. Calls at the same time share one look.
   * @returns whether something was taken back, so that it has to be looked at
   */
  look(): Promise<boolean> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<boolean> {
    const { zstor, doubt, suspect, isWhole, log, configured } = this.#parts;
    const { incarnations, blankStores, unseenBackends, lostObjects } = await zstor.inspect();
    this.#unseen = unseenBackends;
    const newlyLost = lostObjects.filter((name) => !this.#lostObjects.has(name));
    this.#lostObjects = new Set(lostObjects);
    if (newlyLost.length > 0) suspect(newlyLost);
    const newlyBlank = blankStores.filter((name) => !this.#blankStores.includes(name));
    if (newlyBlank.length > 0) log('warning', `lost its records: ${newlyBlank.join(', ')}`);
    this.#blankStores = blankStores;
    const news: string[] = [];
    let unsure = this.#whole === undefined;
    this.#whole ??= new Map();
    for (const name of this.#believed.keys()) {
      if (configured.includes(name)) continue;
      news.push(`${name} (not in the configuration any more)`);
      this.#believed.delete(name);
    }
    for (const [name, incarnation] of incarnations) {
      const before = this.#believed.get(name);
      this.#believed.set(name, incarnation);
      // Nobody knows what it was when its shards were taken for present.
      if (before === undefined) unsure = true;
      else if (!isSame(before, incarnation)) news.push(name);
    }
    if (news.length > 0) log('warning', `lost what it held: ${news.sort().join(', ')}`);
    if (news.length > 0 || unsure) {
      doubt();
      return true;
    }
    if (unseenBackends.length === 0 && isWhole()) this.#remember();
    return newlyLost.length > 0;
  }

  /** Everything is whole, with the backends as they are. */
  #remember(): void {
    const { disk, path, log } = this.#parts;
    const present = new Map([...this.#believed].filter(([, incarnation]) => incarnation !== ''));
    const { emptied } = this;
    const isKnown = ([name, incarnation]: [string, string]) =>
      keysOf(incarnation) < 2 * Math.max(1, keysOf(this.#whole?.get(name) ?? ''));
    if (emptied.length === 0 && present.size === this.#whole?.size && [...present].every(isKnown)) return;
    try {
      replaceWhole(disk, path, Buffer.from(`${JSON.stringify(Object.fromEntries(present))}\n`));
    } catch (error) {
      if (errorCode(error) === undefined) throw error;
      // With the next look; until then everything is looked at once more when the frontend is started.
      log('warning', `${path} cannot be written: ${messageOf(error)}`);
      return;
    }
    this.#whole = present;
    if (emptied.length > 0) log('info', `has its part again: ${emptied.join(', ')}`);
  }
}

/** Whether a backend may still hold what it held: from '' it becomes something when the first shard is stored, and keys only grow. */
function isSame(before: string, now: string | undefined): boolean {
  if (before === '' || before === now) return true;
  return now !== undefined && keysOf(before) > 0 && keysOf(now) >= keysOf(before);
}

/** Of a backend without an incarnation how many keys it has given out; 0 for others. */
function keysOf(incarnation: string): number {
  return incarnation.startsWith('+') ? Number(incarnation.slice(1)) : 0;
}

function readIncarnations(disk: Disk, path: string): Map<string, string> | undefined {
  const content = readWhole(disk, path);
  if (!content) return undefined;
  try {
    const entries = Object.entries(JSON.parse(Buffer.from(content).toString('utf8')) as object);
    return new Map(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
  } catch {
    // Damaged: everything is looked at, as without it.
    return undefined;
  }
}
