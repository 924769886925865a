// `zdb mirror` of a sequential namespace: every record gets the id it has on the source.
//
// Ids cannot be chosen: the target gives out the next number to each insertion, and an update takes a number, too (as does every record that
// a compaction moves). Repeating the log in order would do until a compaction changes the order. So the log only tells which ids have
// changed, and the target is brought to the state that the source has now:
//
// 1. Note how far the source is: the end of its log and its next id, of one moment.
// 2. Read the log from the position to that end: ids below the target's next one that changed. Where a compaction has removed files,
//    what was alive in them stands further on, so read to what is the end then.
// 3. For each number from the target's next id to the source's: a record that is alive is inserted as it is now. Any other number was taken by an
//    update, or by a record that is gone: it is used for one of the changed records that differ, or by an empty record that is deleted again.
// 4. Only then the position moves to that end.
//
// There are always enough numbers. An update of a record that the target has makes one record differ, and took a number on the source that is
// still to come on the target; and a number is given to an empty record only when no record of (2) differs, so those that
// differ were updated after (1), by numbers that come after the pass. A record of which only the time differs counts twice: a value that is
// written over itself changes nothing, so there were two updates. What a pass cannot bring waits for the next one. After a crash the
// pass is done again from the same position: what was brought already does not differ. test/mirror-model.test.ts tries all this.

import type { ZdbClient } from '@qsfs/resp';
import { IdSet } from '../../engine/id-set.ts';
import { idOfKey, keyOfId } from '../../engine/seq-records.ts';
import { ToolError } from '../tool.ts';
import {
  type Change,
  Changes,
  OTHER_IDS,
  type RecordSource,
  readWindow,
  type SeqRecord,
} from './mirror-changes.ts';
import { endOf, isBefore, type LogEnd, pass, type SourceLog, toNextFile } from './mirror-log.ts';
import type { MirrorState, Position } from './mirror-state.ts';
import { dropForeign, UnderWay } from './mirror-target.ts';

const NOTHING = new Uint8Array(0);
/** Of an empty record that is deleted again; not 0: a data file with nothing but zeros in it looks torn. */
const PLACEHOLDER_TIME = 1;
const SAVE_EVERY_IDS = 1024;
/** While the target has less room than this, one record is written after the other: see `#write`. */
const AMPLE_BYTES = 256 << 20;

/** What the mirror of a sequential namespace is given. */
export interface SeqMirrorParts {
  readonly source: RecordSource;
  readonly target: Pick<
    ZdbClient,
    'insert' | 'set' | 'delete' | 'get' | 'keyTime' | 'length' | 'exists' | 'scan' | 'namespaceInfo'
  >;
  readonly log: SourceLog;
  readonly state: MirrorState;
  readonly save: () => void;
  readonly stopping: { readonly now: boolean };
  /** Told of records that are damaged on the source. */
  readonly damaged: (id: number) => void;
}

/** The mirror of a sequential namespace. */
export class SeqMirror {
  /** Records written, and removed because they are gone on the source. */
  copied = 0;
  /** Keys removed because the source did not have them. */
  dropped = 0;
  readonly #parts: SeqMirrorParts;
  /** Ids that are to be changed for other reasons than the log, or that the last pass could not bring; the state's position stays until there are none. */
  #left = new IdSet();
  /** Where the log was read to by a pass that left some. */
  #read: Position | undefined;
  #isNew: boolean;

  /** @param isNew there was no state: the target has to be empty */
  constructor(parts: SeqMirrorParts, isNew: boolean) {
    this.#parts = parts;
    this.#isNew = isNew;
  }

  /** Brings the target to what the source is now. @throws ToolError when the ids have come to differ */
  async pass(): Promise<void> {
    do await this.#pass();
    while (this.#left.size > 0 && !this.#parts.stopping.now);
  }

  async #pass(): Promise<void> {
    const { source, target, log, state, save, stopping } = this.#parts;
    const end = await log.end();
    const begun = await this.#begin(end);
    const changed = this.#left;
    const isWhole = await this.#readLog(this.#read ?? state, end, begun, changed);
    const isAnyChanged = !isWhole || (state.all && this.#read === undefined);
    this.#left = new IdSet();
    const changes = new Changes(source, target, isAnyChanged ? range(0, begun) : changed, this.#left);
    await this.#write(begun, end.nextId, changes);
    if (stopping.now) return;
    await changes.rest();
    this.copied += changes.removed;
    if (state.compare) {
      this.dropped += await dropForeign(source, target);
      state.compare = false;
    }
    if (this.#left.size > 0) {
      // The numbers for them come with the next pass; when nothing has happened since, there are none.
      if ((await log.end()).nextId === end.nextId) throw new ToolError(OTHER_IDS);
      this.#read = { file: end.file, offset: end.offset };
      return;
    }
    this.#read = undefined;
    const { file, offset } = await endOf(target, state.namespace, 'target');
    const reached: Position = { file, offset };
    Object.assign(state, { file: end.file, offset: end.offset, next: end.nextId, all: false, reached });
    await log.mark(state);
    save();
  }

  /** @returns the target's next id, below which everything is settled but for what changed behind the position */
  async #begin(end: LogEnd): Promise<number> {
    const { target, log, state, save } = this.#parts;
    const there = await endOf(target, state.namespace, 'target');
    const next = there.nextId;
    if (next > 0 && this.#isNew) throw new ToolError(OTHER_IDS);
    this.#isNew = false;
    if (next === 0) {
      // Nothing is there that could have to be changed: what was before does not matter.
      const { file, offset } = end;
      Object.assign(state, { file, offset, next, compare: false, all: false, marks: [], reached: undefined });
      await log.mark(state);
      save();
      return 0;
    }
    await log.requireSame(state, end);
    if (next > end.nextId) throw new ToolError(OTHER_IDS);
    // A target that has lost what it was given last, with updates and deletions among it.
    if (next < (state.next ?? next) || (state.reached && isBefore(there, state.reached))) state.all = true;
    if (await this.#isWellDone(state.next ?? next, next)) state.next = next;
    save();
    return next;
  }

  /**
   * Looks at what a pass wrote that was killed or refused: empty records that it had not deleted yet, and others that may have
   * got an id that was not theirs. @returns whether there is nothing to be changed, now
   */
  async #isWellDone(from: number, to: number): Promise<boolean> {
    if (from > to) return true; // all of them are looked at
    const { source, target } = this.#parts;
    const differing = new IdSet();
    const changes = new Changes(source, target, range(from, to), differing);
    await changes.rest();
    this.copied += changes.removed;
    for (const id of differing) this.#left.add(id);
    return differing.size === 0;
  }

  /**
   * Notes the ids below `begun` that changed between two positions, and repeats deletions.
   * @returns false when the log is damaged, so that any may have changed
   */
  async #readLog(from: Position, to: LogEnd, begun: number, changed: IdSet): Promise<boolean> {
    const { log, state, stopping } = this.#parts;
    const underWay = new UnderWay();
    const at: Position = { file: from.file, offset: from.offset };
    let end: Position = to;
    let isWhole = true;
    while (isBefore(at, end) && !stopping.now) {
      const entry = await log.entry(at);
      if (typeof entry === 'string') {
        if (entry === 'gone') {
          state.compare = true;
          end = await log.end();
        }
        if (entry === 'damaged') isWhole = false;
        toNextFile(at);
        continue;
      }
      const id = idOfKey(entry.key);
      pass(at, entry);
      if (id < 0 || id >= begun) continue;
      // An id that was deleted does not come back.
      if (entry.deletion) await underWay.add(this.#remove(entry.key, entry.timestamp));
      else changed.add(id);
    }
    await underWay.settle();
    return isWhole;
  }

  async #remove(key: Uint8Array, timestamp: number): Promise<void> {
    if (await this.#parts.target.delete(key, timestamp)) this.copied++;
  }

  /**
   * Gives out the numbers from `from` to `to` on the target as they were given out on the source.
   *
   * Requests are sent ahead of their answers; so when one is refused and a later one is not, ids are given to other records than
   * on the source for ever. What refuses some and not all is a lack of room; therefore it is looked at before.
   */
  async #write(from: number, to: number, changes: Changes): Promise<void> {
    const { source, target, state, save, stopping, damaged } = this.#parts;
    const read = (id: number): Promise<(SeqRecord | undefined)[]> | undefined => {
      if (id >= to) return undefined;
      const window = readWindow(source, id, to, damaged);
      window.catch(() => {}); // met when it is waited for
      return window;
    };
    const ask = (): ReturnType<typeof target.namespaceInfo> => {
      const info = target.namespaceInfo(state.namespace);
      info.catch(() => {}); // likewise
      return info;
    };
    let info = ask();
    let ahead = read(from);
    let saved = from;
    const isSettled = state.next === from;
    for (let id = from; id < to && !stopping.now; ) {
      const window = await ahead!;
      const isAmple = hasAmpleRoom(await info);
      ahead = read(id + window.length);
      const underWay = new UnderWay();
      try {
        for (const record of window) {
          const written = record ? this.#insert(id, record) : this.#useUp(id, await changes.next());
          await underWay.add(written);
          if (!isAmple) await underWay.settle();
          id++;
        }
        info = ask();
      } finally {
        await underWay.settle();
      }
      if (id - saved < SAVE_EVERY_IDS || !isSettled) continue;
      saved = id;
      state.next = id;
      save();
    }
  }

  async #insert(id: number, { value, time }: SeqRecord): Promise<void> {
    const key = await this.#parts.target.insert(value, time);
    if (idOfKey(key) !== id) {
      await this.#parts.target.delete(key);
      throw new ToolError(OTHER_IDS);
    }
    this.copied++;
  }

  /** Uses a number for a change, or for nothing. */
  async #useUp(id: number, change: Change | undefined): Promise<void> {
    const { target } = this.#parts;
    if (change === undefined) {
      const [key] = await Promise.all([target.insert(NOTHING, PLACEHOLDER_TIME), target.delete(keyOfId(id))]);
      if (idOfKey(key) !== id) throw new ToolError(OTHER_IDS);
      return;
    }
    if (!(await target.set(keyOfId(change.id), change.value, change.time))) throw new ToolError(OTHER_IDS);
    this.copied++;
  }
}

function* range(from: number, to: number): Generator<number> {
  for (let id = from; id < to; id++) yield id;
}

/** Whether there is room for all that is written before it is looked at again. */
function hasAmpleRoom(info: ReadonlyMap<string, string> | undefined): boolean {
  const number = (name: string): number => Number(info?.get(name) ?? 0);
  const limit = number('data_limits_bytes');
  if (limit > 0 && limit - number('data_size_bytes') < AMPLE_BYTES) return false;
  return number('data_disk_freespace_bytes') >= AMPLE_BYTES;
}
