// `zdb mirror` of a user namespace: repeats the source's log, entry by entry, so that the target gets the versions of a key, too.
//
// What is repeated after a crash changes nothing. What was alive in data files that a compaction removed stands again in a later one,
// but deletions in them are missed; so when the end is reached the target's keys are compared with the source's (`compare`).
//
// Behind a damaged entry nothing more can be read of its file: then, at the end, every key of the source is compared with the target's, value
// and time (`all`). Versions and the like are lost by that, no key that the source can read is.
import type { RawEntry, ZdbClient } from '@qsfs/resp';
import { DATA_HEADER_BYTES } from '../../engine/format/data-format.ts';
import { ToolError } from '../tool.ts';
import { endOf, isBefore, type LogEnd, pass, Replaced, type SourceLog, toNextFile } from './mirror-log.ts';
import type { MirrorState, Position } from './mirror-state.ts';
import { bringDiffering, dropForeign, UnderWay } from './mirror-target.ts';

const SAVE_EVERY_ENTRIES = 1000;

/** What the mirror of a user namespace is given. */
export interface UserMirrorParts {
  readonly source: Pick<ZdbClient, 'exists' | 'scan' | 'get' | 'cursorOf' | 'keyTime'>;
  readonly target: Pick<ZdbClient, 'set' | 'delete' | 'keyTime' | 'cursorOf' | 'scan' | 'namespaceInfo'>;
  readonly log: SourceLog;
  readonly state: MirrorState;
  readonly save: () => void;
  readonly stopping: { readonly now: boolean };
  /** Told of keys that the source cannot read. */
  readonly damaged: (key: Uint8Array) => void;
}

/** The mirror of a user namespace. */
export class UserMirror {
  /** Entries repeated. */
  copied = 0;
  /** Keys removed because the source did not have them. */
  dropped = 0;
  readonly #parts: UserMirrorParts;
  readonly #underWay = new UnderWay();
  /** Of keys whose entries may have been repeated already, before a crash: where the last of them stands. */
  #last: Map<string, Position> | undefined;
  /** The newest entry under way of each key. */
  readonly #newest = new Map<string, Position>();

  constructor(parts: UserMirrorParts) {
    this.#parts = parts;
  }

  /** Repeats what the source has now. */
  async pass(): Promise<void> {
    const { log, state, stopping, source, target, damaged } = this.#parts;
    let end = await log.end();
    await this.#beginAnewUnlessSame(end);
    this.#last ??= await this.#lastEntries(end);
    while (!stopping.now) {
      const entry = await log.entry(state);
      if (typeof entry !== 'string') {
        await this.#underWay.add(this.#repeat(entry, { file: state.file, offset: state.offset }));
        pass(state, entry);
        if (++this.copied % SAVE_EVERY_ENTRIES === 0) await this.#save();
        continue;
      }
      if (entry === 'gone' || entry === 'damaged') state.compare = true;
      if (entry === 'damaged') state.all = true;
      if (state.file < end.file) {
        toNextFile(state);
        continue;
      }
      // When it has gone on to another file, this one may have got more before: it is looked at again.
      end = await log.end();
      if (state.file < end.file) continue;
      if (entry !== 'damaged') break;
      await this.#save();
      throw new ToolError(
        `the source is damaged at ${state.offset} of d${state.file} (zdb check tells what), the file it writes to: NSJUMP there begins another one, and the mirror goes on`,
      );
    }
    await this.#underWay.settle();
    if (state.all && !stopping.now) {
      this.copied += await bringDiffering(source, target, damaged);
      state.all = false;
    }
    if (state.compare && !stopping.now) {
      this.dropped += await dropForeign(source, target);
      state.compare = false;
    }
    await this.#save();
  }

  /**
   * Another store at the same address: all of it is repeated, and what it does not have goes. The same when the target has lost what it
   * was given last.
   */
  async #beginAnewUnlessSame(end: LogEnd): Promise<void> {
    const { target, log, state, save } = this.#parts;
    const there = await endOf(target, state.namespace, 'target');
    let isSame = !(state.reached && isBefore(there, state.reached));
    try {
      await log.requireSame(state, end);
    } catch (error) {
      if (!(error instanceof Replaced)) throw error;
      isSame = false;
    }
    if (isSame) return;
    const reached = undefined;
    Object.assign(state, { file: 0, offset: DATA_HEADER_BYTES, compare: true, marks: [], reached });
    this.#last = undefined;
    save();
  }

  async #save(): Promise<void> {
    await this.#underWay.settle();
    const { target, log, state, save } = this.#parts;
    const { file, offset } = await endOf(target, state.namespace, 'target');
    state.reached = { file, offset };
    await log.mark(state);
    save();
  }

  async #repeat(entry: RawEntry, at: Position): Promise<void> {
    const { target } = this.#parts;
    const { key, value, timestamp } = entry;
    const name = hex(key);
    const last = this.#last?.get(name);
    if (last !== undefined && isBefore(at, last)) return;
    this.#newest.set(name, at);
    try {
      if (entry.deletion || value === undefined) {
        await target.delete(key, timestamp);
        return;
      }
      if (await target.set(key, value, timestamp)) return;
      // The same value once more changes nothing, not even the time: the version between may have been compacted away.
      const time = await target.keyTime(key);
      if (time === timestamp || this.#newest.get(name) !== at) return;
      await Promise.all([target.delete(key, timestamp), target.set(key, value, timestamp)]);
    } finally {
      if (this.#newest.get(name) === at) this.#newest.delete(name);
    }
  }

  /**
   * What stands behind the position may have been repeated already, before a crash. Repeating an older version of a key over a newer one
   * would show it again; so only the last entry of each key counts there.
   */
  async #lastEntries(end: Position): Promise<Map<string, Position>> {
    const { state } = this.#parts;
    const ahead: Position = { file: state.file, offset: state.offset };
    const last = new Map<string, Position>();
    for (let read = 0; read < SAVE_EVERY_ENTRIES; ) {
      const entry = await this.#parts.log.entry(ahead);
      if (typeof entry === 'string') {
        if (ahead.file >= end.file) break;
        toNextFile(ahead);
        continue;
      }
      last.set(hex(entry.key), { ...ahead });
      read++;
      pass(ahead, entry);
    }
    return last;
  }
}

function hex(key: Uint8Array): string {
  return Buffer.from(key).toString('hex');
}
