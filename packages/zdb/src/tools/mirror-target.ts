// The target of `zdb mirror`: repeats entries of the source on it, gives every sequential id the number it has on the source, and
// removes what the source does not have.
import type { RawEntry, ZdbClient } from '@qsfs/resp';
import { keyOfId } from '../engine/seq-records.ts';
import { ToolError } from './tool.ts';

const NOTHING = new Uint8Array(0);
/** Why a sequential namespace cannot be copied there. */
export const OTHER_IDS =
  'the target gives out other ids than the source: mirror a sequential namespace into a new one that nobody else writes to; to begin anew, remove it and the state file';
/** Requests under way at a time. */
const IN_FLIGHT = 64;

/** Repeats entries on the target, in the order of the source's log. */
export class MirrorTarget {
  readonly #source: ZdbClient;
  readonly #target: ZdbClient;
  /** The id the target gives out next. Never above what the source gave out at the same place of its log. */
  #nextId: number | undefined;
  readonly #placeholding: () => void;

  /**
   * @param nextId undefined: user mode
   * @param placeholding called before ids are taken by empty records, which have to be compared with the source in the end
   */
  constructor(source: ZdbClient, target: ZdbClient, nextId: number | undefined, placeholding: () => void) {
    this.#source = source;
    this.#target = target;
    this.#nextId = nextId;
    this.#placeholding = placeholding;
  }

  /** In sequential mode one entry has to be repeated before the next. */
  get sequential(): boolean {
    return this.#nextId !== undefined;
  }

  /** Whether no id was given out yet. */
  get empty(): boolean {
    return this.#nextId === 0;
  }

  /**
   * Repeats one entry.
   * @param superseded a newer entry of its key may have been repeated already: the entry counts for giving out its id only
   * @throws ToolError when the target has given its id to something else
   */
  async repeat(entry: RawEntry, superseded: boolean): Promise<void> {
    const target = this.#target;
    const { key, value, timestamp } = entry;
    if (superseded && (this.#nextId === undefined || entry.deletion)) return;
    if (entry.deletion || value === undefined) {
      await target.delete(key, timestamp);
    } else if (this.#nextId === undefined) {
      await target.set(key, value, timestamp);
    } else if (await target.exists(key)) {
      // An update takes a number too, for the copy of what it replaces.
      if (!superseded && (await target.set(key, value, timestamp))) this.#nextId++;
    } else {
      await this.#insert(Number(Buffer.from(key).readBigUInt64LE()), value, timestamp);
    }
  }

  async #insert(id: number, value: Uint8Array, timestamp: number): Promise<void> {
    // Numbers between: of records that are gone, of updates, or of records that the source has moved behind this one.
    if (this.#nextId! < id) this.#placeholding();
    while (this.#nextId! < id) {
      const count = Math.min(IN_FLIGHT, id - this.#nextId!);
      const taken = Array.from({ length: count }, (_, i) => this.#take(this.#nextId! + i, NOTHING, 0));
      await Promise.all(taken);
      this.#nextId! += count;
    }
    if (this.#nextId! > id) {
      // A deletion of this id is further on in the source's log, and the target has repeated that already.
      if (!(await this.#source.exists(keyOfId(id)))) return;
      // Or an update took the number: of a record that the source has moved behind it, or one that was repeated twice.
      throw new ToolError(OTHER_IDS);
    }
    await this.#take(id, value, timestamp);
    this.#nextId!++;
  }

  async #take(id: number, value: Uint8Array, timestamp: number): Promise<void> {
    const key = await this.#target.insert(value, timestamp);
    if (Number(Buffer.from(key).readBigUInt64LE()) === id) return;
    await this.#target.delete(key);
    throw new ToolError(OTHER_IDS);
  }
}

/** Removes the keys from the target that the source does not have. @returns how many */
export async function dropForeign(source: ZdbClient, target: ZdbClient): Promise<number> {
  let dropped = 0;
  for (let page = await target.scan(); page !== undefined; page = await target.scan(page.cursor)) {
    for (let at = 0; at < page.entries.length; at += IN_FLIGHT) {
      const keys = page.entries.slice(at, at + IN_FLIGHT).map(({ key }) => key);
      const known = await Promise.all(keys.map(async (key) => await source.exists(key)));
      const foreign = keys.filter((_, i) => !known[i]);
      const removed = await Promise.all(foreign.map(async (key) => await target.delete(key)));
      dropped += removed.filter(Boolean).length;
    }
  }
  return dropped;
}
