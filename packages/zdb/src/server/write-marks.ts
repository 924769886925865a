// Replies that say something was written, until the commit that makes it true: when that fails they become errors.
//
// A turn has hundreds of them, so that an object for each would be a good part of what a write costs: those of one session that stand in
// one piece of memory share one, and their places are numbers in an array that is kept.
import type { Session } from './session.ts';

/** The array of places is given back after a commit with more of them. */
const KEPT_MAX = 8192;

/** Replies of one session, with the error they become. Their places are those before `end`, down to the run before. */
interface Run {
  readonly session: Session;
  readonly memory: Uint8Array;
  readonly failure: string;
  end: number;
}

/** The write replies of a batch, in order. */
export class WriteMarks {
  #runs: Run[] = [];
  #last: Run | undefined;
  /** Begin and end of each reply in its memory. */
  #places = new Uint32Array(256);
  #end = 0;

  /** Notes the reply at `memory[start … end - 1]`. @param failure what it becomes when the commit fails */
  add(session: Session, memory: Uint8Array, start: number, end: number, failure: string): void {
    if (this.#end === this.#places.length) {
      const larger = new Uint32Array(2 * this.#end);
      larger.set(this.#places);
      this.#places = larger;
    }
    this.#places[this.#end++] = start;
    this.#places[this.#end++] = end;
    const last = this.#last;
    if (last?.session === session && last.memory === memory && last.failure === failure) {
      last.end = this.#end;
      return;
    }
    this.#last = { session, memory, failure, end: this.#end };
    this.#runs.push(this.#last);
  }

  /** Forgets everything: it is committed. */
  clear(): void {
    if (this.#end === 0) return;
    this.#runs = [];
    this.#last = undefined;
    this.#end = 0;
    if (this.#places.length > KEPT_MAX) this.#places = new Uint32Array(256);
  }

  /** Makes every reply the error it becomes, among the segments of its session, and forgets everything. */
  fail(): void {
    let at = 0;
    for (const { session, memory, failure, end } of this.#runs) {
      for (; at < end; at += 2) {
        const error = Buffer.from(`-${failure}\r\n`, 'latin1');
        const [first, last] = [this.#places[at]!, this.#places[at + 1]!];
        session.segments = replaced(session.segments, memory, first, last, error);
      }
    }
    this.clear();
  }
}

/** Segments with the bytes `memory[start … end - 1]` replaced. */
function replaced(
  segments: readonly Uint8Array[],
  memory: Uint8Array,
  start: number,
  end: number,
  replacement: Uint8Array,
): Uint8Array[] {
  const first = memory.byteOffset + start;
  const last = memory.byteOffset + end;
  return segments.flatMap((segment) => {
    const from = segment.byteOffset;
    const to = from + segment.length;
    if (segment.buffer !== memory.buffer || first < from || last > to) return [segment];
    return [segment.subarray(0, first - from), replacement, segment.subarray(last - from)].filter(
      (part) => part.length > 0,
    );
  });
}
