// Records of a sequential namespace as they are on a mirror's source and target, and what of them is to be updated on the target.
import { RespError, type ZdbClient } from '@qsfs/resp';
import type { IdSet } from '../../engine/id-set.ts';
import { keyOfId } from '../../engine/seq-records.ts';
import { ToolError } from '../tool.ts';
import { IN_FLIGHT } from './mirror-target.ts';

/** Bytes of values that are asked for at a time, about. */
const WINDOW_BYTES = 16 << 20;
const NOTHING = new Uint8Array(0);
/** A value other than NOTHING. */
const SOMETHING = new Uint8Array(1);

/** Why a sequential namespace cannot be copied there. */
export const OTHER_IDS =
  'the target gives out other ids than the source: mirror a sequential namespace into a new one that nobody else writes to; to begin anew, remove it and the state file';

/** A record, whole. */
export interface SeqRecord {
  readonly value: Uint8Array;
  /** Seconds since 1970. */
  readonly time: number;
}

/** A record that is to be written on the target. */
export interface Change extends SeqRecord {
  readonly id: number;
}

/** What records are read from. */
export type RecordSource = Pick<ZdbClient, 'get' | 'keyTime' | 'length' | 'check' | 'exists' | 'history'>;

/** Where changes are looked for. */
export type RecordTarget = Pick<ZdbClient, 'get' | 'keyTime' | 'length' | 'delete'>;

/**
 * The records of consecutive ids from `from` on, so many that their values do not take much memory.
 * @param damaged told of records that are damaged on the source; they are given empty
 * @returns one element an id, undefined: not alive
 */
export async function readWindow(
  source: RecordSource,
  from: number,
  to: number,
  damaged: (id: number) => void,
): Promise<(SeqRecord | undefined)[]> {
  const ids = Array.from({ length: Math.min(IN_FLIGHT, to - from) }, (_, i) => from + i);
  const lengths = await Promise.all(ids.map(async (id) => await source.length(keyOfId(id))));
  const records = ids
    .slice(0, fitting(lengths))
    .map(async (id, i) => (lengths[i] === undefined ? undefined : await readRecord(source, id, damaged)));
  return await Promise.all(records);
}

async function readRecord(
  source: RecordSource,
  id: number,
  damaged: (id: number) => void,
): Promise<SeqRecord | undefined> {
  const key = keyOfId(id);
  // The time after the value: then at worst a value has the time of a newer one, and that differs from it.
  const [value, time] = await Promise.all([unlessDamaged(source, key), source.keyTime(key)]);
  if (value === undefined || time === undefined) return undefined;
  if (value === 'damaged') damaged(id);
  return { value: value === 'damaged' ? NOTHING : value, time };
}

async function unlessDamaged(
  source: RecordSource,
  key: Uint8Array,
): Promise<Uint8Array | 'damaged' | undefined> {
  try {
    return await source.get(key);
  } catch (error) {
    if (!(error instanceof RespError) || (await source.check(key)) !== 'corrupt') throw error;
    return 'damaged';
  }
}

/** How many values of these lengths fit in a window; at least one. */
function fitting(lengths: readonly (number | undefined)[]): number {
  let bytes = 0;
  const over = lengths.findIndex((length) => (bytes += length ?? 0) > WINDOW_BYTES);
  return over < 0 ? lengths.length : Math.max(1, over);
}

/** Looks through ids that both sides gave out, one after the other, for those that have to be written on the target. */
export class Changes {
  /** Records removed from the target. */
  removed = 0;
  readonly #source: RecordSource;
  readonly #target: RecordTarget;
  readonly #ids: Iterator<number>;
  readonly #left: IdSet;
  readonly #ready: Change[] = [];
  /** Ids that were taken from #ids but not looked at. */
  #waiting: number[] = [];
  #ended = false;

  /** @param left gets the ids that are still to be written when `rest` was called */
  constructor(source: RecordSource, target: RecordTarget, ids: Iterable<number>, left: IdSet) {
    this.#source = source;
    this.#target = target;
    this.#ids = ids[Symbol.iterator]();
    this.#left = left;
  }

  /** The next record to write; undefined: none. What is not alive on the source is removed on the way. */
  async next(): Promise<Change | undefined> {
    while (this.#ready.length === 0 && !this.#ended) await this.#look();
    return this.#ready.shift();
  }

  /** Looks at all that are left, and notes those to write. */
  async rest(): Promise<void> {
    for (let change = await this.next(); change !== undefined; change = await this.next())
      this.#left.add(change.id);
  }

  async #look(): Promise<void> {
    const ids = this.#waiting;
    while (ids.length < IN_FLIGHT) {
      const next = this.#ids.next();
      if (next.done) break;
      ids.push(next.value);
    }
    this.#ended = ids.length === 0;
    const lengths = await Promise.all(
      ids.map(async (id) => {
        const key = keyOfId(id);
        return await Promise.all([this.#source.length(key), this.#target.length(key)]);
      }),
    );
    const count = fitting(lengths.map(([here, there]) => (here ?? 0) + (there ?? 0)));
    this.#waiting = ids.splice(count);
    const found = await Promise.all(ids.map(async (id, i) => await this.#changesOf(id, ...lengths[i]!)));
    this.#ready.push(...found.flat());
  }

  /** What has to be written, one after the other, until the target has a record as the source has it. */
  async #changesOf(id: number, here: number | undefined, there: number | undefined): Promise<Change[]> {
    const key = keyOfId(id);
    let isDamaged = false;
    const [wanted, found] = await Promise.all([
      here === undefined ? undefined : readRecord(this.#source, id, () => (isDamaged = true)),
      there === undefined ? undefined : this.#found(key),
    ]);
    if (wanted === undefined) {
      if (there !== undefined && (await this.#target.delete(key))) this.removed++;
      return [];
    }
    // What it was is there, what it is cannot be had.
    if (isDamaged) return [];
    if (there === undefined) throw new ToolError(OTHER_IDS);
    const change: Change = { id, ...wanted };
    if (found === undefined || Buffer.compare(found.value, wanted.value) !== 0) return [change];
    if (found.time === wanted.time) return [];
    // The same value once more would change nothing, not even the time. The source wrote another one between, so there are two numbers.
    return [{ id, value: await this.#between(key, wanted.value), time: wanted.time }, change];
  }

  /** The record on the target; undefined: it cannot be read there. */
  async #found(key: Uint8Array): Promise<SeqRecord | undefined> {
    try {
      const [value, time] = await Promise.all([this.#target.get(key), this.#target.keyTime(key)]);
      return value === undefined || time === undefined ? undefined : { value, time };
    } catch (error) {
      if (error instanceof RespError) return undefined;
      throw error;
    }
  }

  /** The version before the newest, or an empty value when it is not there any more. */
  async #between(key: Uint8Array, value: Uint8Array): Promise<Uint8Array> {
    try {
      const newest = await this.#source.history(key);
      const before = newest?.cursor && (await this.#source.history(key, newest.cursor));
      if (before && Buffer.compare(before.value, value) !== 0) return before.value;
    } catch (error) {
      if (!(error instanceof RespError)) throw error;
    }
    return value.length === 0 ? SOMETHING : NOTHING;
  }
}
