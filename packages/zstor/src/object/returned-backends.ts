// Data backends that came back, or were not known before: they may have lost a part of what they held and look the same all the same (a
// data file that was cut off, a disk that was restored from a copy). Until a round of maintenance has asked them for shards of every object
// they are *unseen*. Where a shard is gone the whole object is looked at.
import type { StoredRecord } from '../metadata/record.ts';
import type { DataBackends } from './data-backends.ts';
import { type ShardState, stateOf } from './inspector.ts';

/** Stripes of an object whose shards are asked for, at most: the first, the last, and some between. */
const ASKED_STRIPES = 8;

/** Keeps track of them. */
export class ReturnedBackends {
  /** By name, with the number of the return. */
  readonly #unseen = new Map<string, number>();
  #returns = 0;

  /** A backend answers that did not. */
  returned(name: string): void {
    this.#unseen.set(name, ++this.#returns);
  }

  /** Names of those nobody has looked at since. */
  get names(): string[] {
    return [...this.#unseen.keys()];
  }

  /** What a round that asks these begins with. */
  begin(names: readonly string[]): ReadonlyMap<string, number> {
    return new Map([...this.#unseen].filter(([name]) => names.includes(name)));
  }

  /** Everything on these was asked for; those that went and came back meanwhile are looked at once more. */
  seen(round: ReadonlyMap<string, number>): void {
    for (const [name, number] of round) if (this.#unseen.get(name) === number) this.#unseen.delete(name);
  }
}

/**
 * Asks these backends for shards of an object, by their length: cheap, and a zdb knows by itself which ones its data files have lost.
 * @returns the worst state of any of them
 */
export async function askFor(
  record: StoredRecord,
  names: ReadonlyMap<string, number>,
  backends: DataBackends,
  signal: AbortSignal,
): Promise<ShardState> {
  const { stripes, stripeCount } = record;
  const count = Math.min(stripeCount, ASKED_STRIPES);
  const asked = Array.from({ length: count }, (_, step) =>
    count === 1 ? 0 : Math.round((step * (stripeCount - 1)) / (count - 1)),
  );
  const places = asked
    .flatMap((stripe) => stripes.places(stripe))
    .filter(({ backend }) => names.has(backend));
  const states = await Promise.all(
    places.map((place) =>
      stateOf(
        place,
        backends,
        async (store) => (await store.length(place.location, { signal })) !== undefined,
      ),
    ),
  );
  return states.find((state) => state === 'bad') ?? states.find((state) => state === 'unreachable') ?? 'good';
}
