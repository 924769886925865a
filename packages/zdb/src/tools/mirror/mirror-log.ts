// The log of a mirror's source: its data files, read entry by entry (DATA ENTRIES, or DATA RAW), and the marks by which the store is known again.
import { type RawEntry, RespError, type ZdbClient } from '@qsfs/resp';
import { DATA_ENTRY_BYTES, DATA_HEADER_BYTES } from '../../engine/format/data-format.ts';
import { ToolError } from '../tool.ts';
import type { Mark, MirrorState, Position } from './mirror-state.ts';

/** Marks that are kept, at most: of the oldest files, which compaction moves least, and of the newest. */
const MARKS = 32;
const OLDEST_MARKS = 8;

/** What the log is read from. */
export type LogSource = Pick<ZdbClient, 'rawEntry' | 'rawEntries' | 'namespaceInfo' | 'info'>;

/** How far a namespace has come, all at one moment. */
export interface LogEnd extends Position {
  /** The next id of a sequential namespace. */
  readonly nextId: number;
}

/** Why a mirror cannot go on with this source. */
export class Replaced extends ToolError {}

/** Entries that stand behind each other. */
interface Run extends Position {
  /** Undefined: there was none, or an error; it is asked for again by whom it concerns. */
  readonly entries: Promise<readonly RawEntry[] | undefined>;
}

/**
 * The log of one namespace. Where an entry begins only the one before it tells; so a source of our make is asked for runs of them,
 * one run ahead of what is needed.
 */
export class SourceLog {
  readonly #source: LogSource;
  readonly #namespace: string;
  /** Entries that were read already; the next one is at `#at`. */
  #read: RawEntry[] = [];
  #at: Position = { file: 0, offset: 0 };
  #ahead: Run | undefined;
  /** The source answers runs. */
  #hasRuns = true;

  constructor(source: LogSource, namespace: string) {
    this.#source = source;
    this.#namespace = namespace;
  }

  /** Where the log ends now. Every change before that has its entry before it, and its id is below `nextId`. */
  async end(): Promise<LogEnd> {
    // What was read is of the store that was there then.
    this.#read = [];
    this.#ahead = undefined;
    return await endOf(this.#source, this.#namespace, 'source');
  }

  /**
   * The entry at a position.
   * @returns `end` of the data file; `gone`: a compaction has removed the file; `damaged`: no whole entry stands there
   * @throws ToolError when the source cannot show its entries
   */
  async entry(position: Position): Promise<RawEntry | 'end' | 'gone' | 'damaged'> {
    if (this.#read.length === 0 || !isAt(this.#at, position)) await this.#readRun(position);
    const entry = this.#read.shift();
    if (entry === undefined) return await this.#single(position);
    pass(this.#at, entry);
    return entry;
  }

  /** Reads entries from a position on, and asks for those behind them. Errors are for `#single` to tell. */
  async #readRun({ file, offset }: Position): Promise<void> {
    const ahead = this.#ahead;
    const run = ahead && isAt(ahead, { file, offset }) ? ahead : this.#ask({ file, offset });
    this.#ahead = undefined;
    this.#at = { file, offset };
    this.#read = [...((await run.entries) ?? [])];
    if (this.#read.length === 0) return;
    const behind = { file, offset };
    for (const entry of this.#read) pass(behind, entry);
    this.#ahead = this.#ask(behind);
  }

  #ask({ file, offset }: Position): Run {
    const entries = this.#run(file, offset);
    entries.catch(() => {}); // met when it is waited for
    return { file, offset, entries };
  }

  async #run(file: number, offset: number): Promise<readonly RawEntry[] | undefined> {
    if (!this.#hasRuns) return undefined;
    try {
      return await this.#source.rawEntries(file, offset);
    } catch (error) {
      if (!(error instanceof RespError)) throw error;
      if (error.message === 'Unknown DATA subcommand') this.#hasRuns = false;
      return undefined;
    }
  }

  async #single({ file, offset }: Position): Promise<RawEntry | 'end' | 'gone' | 'damaged'> {
    try {
      return (await this.#source.rawEntry(file, offset)) ?? 'end';
    } catch (error) {
      if (!(error instanceof RespError)) throw error;
      if (!(await this.#source.info()).get('server_revision')?.startsWith('qsfs')) {
        throw new ToolError(
          `the source is a 0-db of another make, which cannot show empty values and deletions (${error.message} at ${offset} of d${file}): stop it, serve its directories with this program, and mirror from there`,
        );
      }
      if (error.message === 'Invalid Request') return 'gone';
      if (error.message === 'Unexpected Internal Error') return 'damaged';
      throw error;
    }
  }

  /** @throws Replaced when the source ends before what was copied, or has other entries than it had */
  async requireSame(state: MirrorState, end: LogEnd): Promise<void> {
    if (isBefore(end, state)) {
      throw new Replaced(
        `the source has started anew: it is at ${end.offset} of d${end.file}, and ${state.offset} of d${state.file} was copied already; ${BEGIN}`,
      );
    }
    // One that is there decides: all the others were there before or after it.
    for (const mark of [...state.marks].reverse()) {
      const entry = await this.#single({ file: mark.file, offset: DATA_HEADER_BYTES });
      if (entry === 'gone' || entry === 'damaged') continue;
      if (entry !== 'end' && printOf(entry) === mark.print) return;
      throw new Replaced(
        `the source has started anew: d${mark.file} begins with another entry than it did; ${BEGIN}`,
      );
    }
  }

  /** Adds a mark of the file that was reached. */
  async mark(state: MirrorState): Promise<void> {
    const file = state.offset > DATA_HEADER_BYTES ? state.file : state.file - 1;
    if (file < 0 || state.marks.at(-1)?.file === file) return;
    const entry = await this.#single({ file, offset: DATA_HEADER_BYTES });
    if (typeof entry === 'string') return;
    state.marks.push({ file, print: printOf(entry) } satisfies Mark);
    if (state.marks.length > MARKS) state.marks.splice(OLDEST_MARKS, 1);
  }
}

const BEGIN =
  'to mirror it from the beginning, remove the namespace on the target and the state file (or give another target and another state file)';

/** Where the log of a namespace ends now. @throws ToolError */
export async function endOf(
  client: Pick<ZdbClient, 'namespaceInfo'>,
  namespace: string,
  side: 'source' | 'target',
): Promise<LogEnd> {
  const info = await client.namespaceInfo(namespace);
  if (info === undefined) throw new ToolError(`the ${side} has no namespace ${namespace}`);
  const file = Number(info.get('data_current_id'));
  const offset = Number(info.get('data_current_offset'));
  if (!Number.isSafeInteger(file) || !Number.isSafeInteger(offset))
    throw new ToolError(`the ${side} does not tell how far it is: give --${side}-admin`);
  return { file, offset, nextId: nextIdIn(info) };
}

/** Whether one place of the log is in front of another. */
export function isBefore(one: Position, other: Position): boolean {
  return one.file < other.file || (one.file === other.file && one.offset < other.offset);
}

function isAt(one: Position, other: Position): boolean {
  return one.file === other.file && one.offset === other.offset;
}

/** Moves behind an entry. */
export function pass(position: Position, entry: RawEntry): void {
  position.offset += DATA_ENTRY_BYTES + entry.key.length + (entry.value?.length ?? 0);
}

/** Moves to the beginning of the next file. */
export function toNextFile(position: Position): void {
  position.file++;
  position.offset = DATA_HEADER_BYTES;
}

/** The id that a sequential namespace gives out next, by its NSINFO. */
export function nextIdIn(info: ReadonlyMap<string, string>): number {
  const digits = (info.get('next_internal_id') ?? '').slice(2).padStart(16, '0');
  return Number(Buffer.from(digits, 'hex').readBigUInt64LE());
}

function printOf({ key, timestamp, crc, deletion }: RawEntry): string {
  return `${Buffer.from(key).toString('hex')}@${timestamp}#${crc.toString(16)}${deletion ? '-' : ''}`;
}
