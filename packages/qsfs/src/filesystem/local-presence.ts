// The filesystem thread's knowledge of what is local: asked by the engine before every read of a payload, told by the
// main thread what came and what goes. Also notes which stripes are read, for the cache.
import { FilesystemError } from '@qsfs/fuse';
import type { NotLocal, Presence } from '@qsfs/zdb';
import { StripeMap, stripeRuns } from '../local/stripe-map.ts';
import { OFFLOADED, type OffloadedName, type Stripes } from '../messages.ts';
import { StripeLoans } from './loans.ts';

/**
 * For so long a stripe that somebody asked for stays until it is read. Longer than one is waited for: a request that needs several at once would
 * otherwise find the first gone when the last comes, and so on for ever, while the cache has to give up whatever it can.
 */
const ARRIVAL_MS = 10_000;
/**
 * For so long after a stripe could not be had it is not asked for again: whoever wants it has the error at once. The kernel reads a page again
 * after its readahead failed, and lets all who wait for a page do so one after the other; each of them has waited already.
 */
const FAILED_MS = 1000;
/** Of so many ranges of a stripe it is remembered that they were wanted. */
const WANTED_MAX = 256;

interface Maps {
  /** Not in the local file. */
  readonly absent: StripeMap;
  /** Read since the cache last looked. */
  readonly touched: StripeMap;
  /** Brought ahead of need and not read yet. */
  readonly ahead: StripeMap;
  /** By stripe: what is wanted of it. */
  readonly asked: Map<string, Range[]>;
  /** By stripe that came because somebody waits for it. The oldest is the first. */
  readonly arrived: Map<string, Arrival>;
  /** By stripe that could not be had: until when it is not asked for. The oldest is the first. */
  readonly failed: Map<string, number>;
}

/** Bytes of a data file. */
interface Range {
  readonly from: number;
  readonly to: number;
}

/** A stripe that came because somebody waits for it. */
interface Arrival {
  /** Until then it stays when it was not read yet. When it was, it may go, and what was wanted of it is lent instead. */
  readonly untilMs: number;
  readonly wanted: readonly Range[];
  isRead: boolean;
}

/** What presence tells the main thread, and needs itself. */
export interface PresenceEvents {
  /** Bytes of a stripe that is in the local data file; undefined when they cannot be read. */
  readonly copy: (
    namespace: OffloadedName,
    file: number,
    offset: number,
    lengthBytes: number,
  ) => Uint8Array | undefined;
  readonly need: (stripes: Stripes) => void;
  /** Somebody waits for something that is not here. */
  readonly isWaited: () => boolean;
  readonly reached: (namespace: OffloadedName, file: number, stripe: number) => void;
}

/** Which stripes are local. */
export class LocalPresence implements Presence {
  readonly #maps: Readonly<Record<string, Maps | undefined>>;
  readonly #stripeBytes: number;
  readonly #events: PresenceEvents;
  readonly #nowMs: () => number;
  readonly loans: StripeLoans;
  #isRecalled = false;

  /**
   * @param fileBytesMax largest possible data file
   * @param absent snapshots of the absent stripes, by namespace
   * @param nowMs monotonic clock
   */
  constructor(
    stripeBytes: number,
    fileBytesMax: number,
    absent: Readonly<Record<OffloadedName, Uint32Array<ArrayBuffer>>>,
    events: PresenceEvents,
    nowMs: () => number,
  ) {
    this.#stripeBytes = stripeBytes;
    this.#events = events;
    this.#nowMs = nowMs;
    const maps: Record<string, Maps> = {};
    for (const name of OFFLOADED) {
      const map = () => new StripeMap(stripeBytes, fileBytesMax);
      maps[name] = {
        absent: map(),
        touched: map(),
        ahead: map(),
        asked: new Map(),
        arrived: new Map(),
        failed: new Map(),
      };
      maps[name].absent.restore(absent[name]);
    }
    this.#maps = maps;
    this.loans = new StripeLoans((name) => this.#mapsOf(name as OffloadedName).absent, nowMs);
  }

  has(namespace: string, file: number, offset: number, lengthBytes: number): boolean {
    const maps = this.#maps[namespace];
    if (!maps) return true;
    if (maps.absent.any(file, offset, lengthBytes)) return false;
    maps.touched.touch(file, offset, lengthBytes);
    if (maps.ahead.any(file, offset, lengthBytes)) this.#reached(maps, namespace, file, offset, lengthBytes);
    return true;
  }

  /**
   * Asks for what a read missed, once.
   * @returns what the request waits for: a key that `brought` and `failed` will name
   * @throws FilesystemError EIO when it could not be had a moment ago
   */
  ask(missing: NotLocal): string {
    const maps = this.#maps[missing.namespace];
    if (!maps) throw new Error(`${missing.namespace} is never evicted, but something in it is not local`);
    const waitFor = this.#askFor(maps, missing);
    for (const range of missing.further) this.#askFor(maps, range);
    // Nothing is marked absent: the data file itself is missing, so all of it is.
    if (waitFor === undefined) {
      throw new Error(
        `${missing.namespace}/d${missing.file} should be on this machine, but is not; the frontend's files were changed`,
      );
    }
    return waitFor;
  }

  /** Asks for the stripes of a range that are absent. @returns the key of the first; undefined when there is none */
  #askFor(maps: Maps, { namespace: name, file, offset, lengthBytes }: NotLocal): string | undefined {
    const namespace = name as OffloadedName;
    const range: Range = { from: offset, to: offset + Math.max(1, lengthBytes) };
    const first = Math.floor(offset / this.#stripeBytes);
    const last = Math.floor((range.to - 1) / this.#stripeBytes);
    let waitFor: string | undefined;
    for (let stripe = first; stripe <= last; stripe += 1) {
      if (!maps.absent.has(file, stripe)) continue;
      const part = {
        from: Math.max(range.from, stripe * this.#stripeBytes),
        to: Math.min(range.to, (stripe + 1) * this.#stripeBytes),
      };
      if (this.loans.cover(namespace, file, part.from, part.to - part.from)) continue;
      const key = keyOf(namespace, file, stripe);
      if ((maps.failed.get(key) ?? 0) > this.#nowMs())
        throw new FilesystemError('EIO', `${key} could not be brought back a moment ago`);
      waitFor ??= key;
      const wanted = maps.asked.get(key);
      if (!wanted) {
        maps.asked.set(key, [part]);
        this.#events.need({ namespace, file, first: stripe, count: 1 });
      } else if (!wanted.some(({ from, to }) => from <= part.from && to >= part.to)) wanted.push(part);
    }
    return waitFor;
  }

  /** There are data files up to this number: reads of them are noted from now on. */
  reach(namespace: OffloadedName, file: number): void {
    this.#mapsOf(namespace).touched.reach(file);
  }

  /** Stripes are in the local file now. @returns the keys that requests may wait for */
  brought(stripes: Stripes, ahead: boolean): string[] {
    const maps = this.#mapsOf(stripes.namespace);
    maps.absent.delete(stripes.file, stripes.first, stripes.count);
    if (ahead) maps.ahead.add(stripes.file, stripes.first, stripes.count);
    for (let stripe = stripes.first; stripe < stripes.first + stripes.count; stripe += 1) {
      const key = keyOf(stripes.namespace, stripes.file, stripe);
      const asked = maps.asked.get(key);
      if (ahead || !asked) continue;
      const before = maps.arrived.get(key)?.wanted ?? [];
      maps.arrived.delete(key);
      const wanted = [...before, ...asked].slice(-WANTED_MAX);
      maps.arrived.set(key, { untilMs: this.#nowMs() + ARRIVAL_MS, wanted, isRead: false });
    }
    return this.#settle(maps, stripes);
  }

  /** Forgets what came long ago and what was lent long ago. Called now and then. */
  tend(): void {
    this.#letGo();
    this.loans.tend();
    const now = this.#nowMs();
    for (const name of OFFLOADED) {
      removePast(this.#mapsOf(name).arrived, now, ({ untilMs }) => untilMs);
    }
  }

  /**
   * The local file does not take these stripes: what was asked for of them is kept in memory.
   * @param bytes theirs; not used after the call
   * @returns the keys that requests may wait for
   */
  lent(stripes: Stripes, bytes: Uint8Array): string[] {
    const maps = this.#mapsOf(stripes.namespace);
    const { namespace, file, first, count } = stripes;
    const start = first * this.#stripeBytes;
    for (let stripe = first; stripe < first + count; stripe += 1) {
      for (const { from, to } of maps.asked.get(keyOf(namespace, file, stripe)) ?? [])
        this.loans.add(namespace, file, from, new Uint8Array(bytes.subarray(from - start, to - start)));
    }
    return this.#settle(maps, stripes);
  }

  /** Stripes cannot be had. @returns the keys that requests may wait for */
  failed(stripes: Stripes): string[] {
    const maps = this.#mapsOf(stripes.namespace);
    const keys = this.#settle(maps, stripes);
    const now = this.#nowMs();
    removePast(maps.failed, now, (untilMs) => untilMs);
    for (const key of keys) maps.failed.set(key, now + FAILED_MS);
    return keys;
  }

  /** Somebody has waited for long enough: what `ask` named counts as what could not be had, though it may still come. */
  gaveUp(key: string): void {
    const { failed } = this.#mapsOf(key.slice(0, key.indexOf('/')) as OffloadedName);
    failed.delete(key);
    failed.set(key, this.#nowMs() + FAILED_MS);
  }

  /** The local disk takes stripes again: what is lent is to be asked for again, by then when no request can need it that is under way. */
  recall(): void {
    this.#isRecalled = true;
    this.#letGo();
  }

  #letGo(): void {
    if (!this.#isRecalled || this.#events.isWaited()) return;
    this.#isRecalled = false;
    this.loans.clear();
  }

  /** What could not be had is asked for again. */
  forgive(): void {
    for (const name of OFFLOADED) this.#mapsOf(name).failed.clear();
  }

  /**
   * Gives up stripes, except those that somebody still waits to read; with `keepTouched` those read since the last such call stay, too.
   * @returns what was given up
   */
  drop(offered: readonly Stripes[], keepTouched: boolean): Stripes[] {
    const given: Stripes[] = [];
    const now = this.#nowMs();
    for (const { namespace, file, first, count } of offered) {
      const maps = this.#mapsOf(namespace);
      const goes = (stripe: number) => {
        if (stripe < first || stripe >= first + count || maps.absent.has(file, stripe)) return false;
        const arrival = maps.arrived.get(keyOf(namespace, file, stripe));
        const isTouched = maps.touched.has(file, stripe);
        if (arrival && isTouched) arrival.isRead = true;
        if (arrival && !arrival.isRead && arrival.untilMs > now) return false;
        return !(keepTouched && (isTouched || maps.ahead.has(file, stripe)));
      };
      for (const run of stripeRuns(Math.min(first + count, maps.absent.stripes), goes)) {
        maps.absent.add(file, run.first, run.count);
        maps.ahead.delete(file, run.first, run.count);
        for (let stripe = run.first; stripe < run.first + run.count; stripe += 1)
          this.#keepWanted(maps, namespace, file, stripe);
        given.push({ namespace, file, ...run });
      }
      maps.touched.delete(file, first, count);
    }
    return given;
  }

  /**
   * A request that needs more stripes than there is room for finds in memory what it has seen already: otherwise the first would be gone
   * when the last comes, and so on for ever.
   */
  #keepWanted(maps: Maps, namespace: OffloadedName, file: number, stripe: number): void {
    const key = keyOf(namespace, file, stripe);
    const arrival = maps.arrived.get(key);
    maps.arrived.delete(key);
    if (!arrival || arrival.untilMs <= this.#nowMs() || !this.#events.isWaited()) return;
    for (const { from, to } of arrival.wanted) {
      const bytes = this.#events.copy(namespace, file, from, to - from);
      if (bytes) this.loans.add(namespace, file, from, bytes);
    }
  }

  #settle(maps: Maps, stripes: Stripes): string[] {
    const keys = keysOf(stripes);
    for (const key of keys) {
      maps.asked.delete(key);
      maps.failed.delete(key);
    }
    return keys;
  }

  #reached(maps: Maps, namespace: string, file: number, offset: number, lengthBytes: number): void {
    const last = Math.floor((offset + lengthBytes - 1) / this.#stripeBytes);
    for (let stripe = Math.floor(offset / this.#stripeBytes); stripe <= last; stripe += 1) {
      if (!maps.ahead.has(file, stripe)) continue;
      maps.ahead.delete(file, stripe);
      this.#events.reached(namespace as OffloadedName, file, stripe);
    }
  }

  #mapsOf(namespace: OffloadedName): Maps {
    return this.#maps[namespace] as Maps;
  }
}

/** What requests wait for that miss these stripes (`LocalPresence.ask`). */
export function keysOf({ namespace, file, first, count }: Stripes): string[] {
  return Array.from({ length: count }, (_, place) => keyOf(namespace, file, first + place));
}

function keyOf(namespace: OffloadedName, file: number, stripe: number): string {
  return `${namespace}/${file}/${stripe}`;
}

/** @param entries the oldest is the first */
function removePast<Entry>(
  entries: Map<string, Entry>,
  nowMs: number,
  untilMs: (entry: Entry) => number,
): void {
  for (const [key, entry] of entries) {
    if (untilMs(entry) > nowMs) break;
    entries.delete(key);
  }
}
