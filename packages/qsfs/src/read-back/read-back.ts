// Brings evicted stripes back. The filesystem thread tells what somebody waits for; each stripe is fetched once however
// many wait, several are under way at a time, and when reads go on in order the stripes behind are brought ahead of need.
// While the local disk takes none, because it is full or fails, whoever waits gets the bytes from memory.
//
// Promise: a demand is answered, with the bytes or with failure, within DEMAND_MS of the last bytes that arrived for it; nothing else
// waits for it. So backends that give nothing cost that long once, and a slow line takes the time it takes.
import { type Clock, type Disk, errorCode, type Timer } from '@qsfs/io';
import { isZstorError, type ObjectRecord, type Zstor } from '@qsfs/zstor';
import { messageOf } from '../errors.ts';
import type { Volume } from '../local/volume-files.ts';
import { dataName } from '../manifest.ts';
import type { OffloadedName, Stripes, ToFilesystem } from '../messages.ts';
import { DecodedStripes } from './decoded-stripes.ts';
import { LineRate } from './line-rate.ts';
import { Sequences } from './sequences.ts';

/** Longest time a reader waits for a stripe of which nothing arrives. A request that needs several in turn is ended by the session (filesystem-thread.ts). */
const DEMAND_MS = 7000;
/** After the backends were found unable to give something, the next demands get one attempt of this length. */
const DEMAND_AFTER_FAILURE_MS = 1500;
const FAILURE_REMEMBERED_MS = 10_000;
/**
 * For this long after a stripe itself could not be had whoever asks for it again gets one quick attempt: the readers of a page that are let through
 * one after the other and do not have their error at once (LocalPresence) are to have it within ten seconds, too.
 */
const STRIPE_FAILURE_MS = 3000;
const STRIPE_FAILURES_MAX = 1024;
const RETRY_MS = 250;
/** So much has to arrive to show that a stripe is on its way: backends that let a byte through now and then do not. */
const LEAST_ARRIVAL_BYTES = 16 * 1024;
/** What is brought ahead of need may keep the line busy for so long: whoever needs something else waits behind it. */
const AHEAD_MS = 2000;
/** Stripes ahead of need before anything is known of the line. */
const FIRST_AHEAD = 4;
/** Stripes under way at a time, demanded and ahead of need together. */
const IN_FLIGHT_MAX = 12;
/** Demands that wait for their turn; the parked requests behind them are bounded by the session. */
const AHEAD_QUEUE_MAX = 256;
const RECORDS_MAX = 4096;

/** What read-back needs. */
export interface ReadBackParts {
  readonly zstor: Zstor;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly dataDirectory: string;
  readonly volume: Volume;
  readonly send: (message: ToFilesystem) => void;
  /** Called before a stripe is fetched: makes room in the cache, without waiting for it. */
  readonly makeRoom: (bytes: number) => void;
  /** Called when a stripe came: its file can be evicted again. */
  readonly came: (namespace: OffloadedName, file: number) => void;
  /** Ends when it is known whether a stripe that is being given up stays; undefined when it is not being given up (Cache). */
  readonly leaving: (namespace: OffloadedName, file: number, stripe: number) => Promise<unknown> | undefined;
  /** How many bytes may be brought ahead of need. */
  readonly aheadLimitBytes: () => number;
  /** The backends have lost too much of a file, or give it wrong, although its record says that it is whole. */
  readonly damaged: (namespace: OffloadedName, file: number) => void;
  readonly log: (level: 'info' | 'warning' | 'error', message: string) => void;
}

interface Job {
  readonly namespace: OffloadedName;
  readonly file: number;
  readonly stripe: number;
  /** Somebody waits; otherwise it is brought ahead of need. */
  demanded: boolean;
  /** Monotonic time by which a demand is answered. */
  deadlineMs: number;
  /** It gets one attempt only, as the stripe failed a moment ago. */
  quick: boolean;
  abort: AbortController | undefined;
  /** Monotonic time at which the attempt under way began, and what tells how much has arrived in it. */
  beganMs: number;
  arrivedBytes: (() => number) | undefined;
  /** What had arrived when it was found to be on its way last. */
  seenBytes: number;
  timer: Timer | undefined;
}

/** Brings stripes back. Owned by the main thread. */
export class ReadBack {
  readonly #parts: ReadBackParts;
  readonly #jobs = new Map<string, Job>();
  readonly #demands: Job[] = [];
  readonly #ahead: Job[] = [];
  readonly #records = new Map<string, Promise<ObjectRecord>>();
  readonly #sequences = new Sequences();
  readonly #decoded: DecodedStripes;
  readonly #line: LineRate;
  /** When stripes failed that were given time, oldest first. */
  readonly #failedAtMs = new Map<string, number>();
  #inFlight = 0;
  #unavailableAtMs = Number.NEGATIVE_INFINITY;
  #closed = false;
  #fetchedBytes = 0;
  #failures = 0;

  constructor(parts: ReadBackParts) {
    this.#parts = parts;
    const { stripeBytes } = parts.volume['zdbfs-data'];
    this.#decoded = new DecodedStripes({ ...parts, stripeBytes });
    this.#line = new LineRate(FIRST_AHEAD * stripeBytes, AHEAD_MS);
  }

  /** For status. */
  get statistics(): { fetchedBytes: number; failures: number; inFlight: number; waiting: number } {
    return {
      fetchedBytes: this.#fetchedBytes,
      failures: this.#failures,
      inFlight: this.#inFlight,
      waiting: this.#demands.length,
    };
  }

  /** Somebody waits for these stripes. */
  need(stripes: Stripes): void {
    for (let place = 0; place < stripes.count; place += 1) {
      this.#demand(stripes.namespace, stripes.file, stripes.first + place);
    }
    this.#follow(stripes.namespace, stripes.file, stripes.first + stripes.count - 1);
    this.#pump();
  }

  /** The first read reached a stripe that was brought ahead: keep ahead of it. */
  reached(namespace: OffloadedName, file: number, stripe: number): void {
    this.#follow(namespace, file, stripe);
    this.#pump();
  }

  /** Brings stripes that nobody waits for yet (metadata after a restore). */
  bringAhead(namespace: OffloadedName, file: number, stripe: number): boolean {
    if (this.#ahead.length >= AHEAD_QUEUE_MAX) return false;
    this.#enqueueAhead(namespace, file, stripe);
    this.#pump();
    return true;
  }

  /** Backends came back: nothing that could not be had before says anything of now. */
  returned(): void {
    this.#unavailableAtMs = Number.NEGATIVE_INFINITY;
    this.#failedAtMs.clear();
    for (const job of this.#jobs.values()) {
      job.quick = false;
      if (job.demanded) this.#extend(job, DEMAND_AFTER_FAILURE_MS);
    }
    this.#parts.send({ kind: 'returned' });
  }

  /** Called several times a second. */
  tend(): void {
    this.#decoded.tend();
    let moves = false;
    for (const job of this.#jobs.values()) if (job.demanded && this.#isOnItsWay(job)) moves = true;
    // While the line is busy with what is before them, those that wait for their turn have lost nothing.
    const failing = this.#parts.clock.monotonicMs() - this.#unavailableAtMs < DEMAND_MS;
    if (moves && !failing) for (const job of this.#demands) this.#giveTime(job);
  }

  /** Whether so much of a stripe came since the last look that it is worth waiting for. */
  #isOnItsWay(job: Job): boolean {
    const arrivedBytes = job.arrivedBytes?.() ?? 0;
    if (arrivedBytes - job.seenBytes < LEAST_ARRIVAL_BYTES) return false;
    job.seenBytes = arrivedBytes;
    this.#giveTime(job);
    return true;
  }

  /** Whoever waits for a stripe waits from now on. */
  #giveTime(job: Job): void {
    this.#extend(job, DEMAND_MS);
    this.#parts.send({ kind: 'awaited', ...stripesOf(job) });
  }

  /** A demand has so long from now on, at least. */
  #extend(job: Job, patienceMs: number): void {
    const leastMs = this.#parts.clock.monotonicMs() + patienceMs;
    if (job.deadlineMs >= leastMs) return;
    job.deadlineMs = leastMs;
    this.#watch(job);
  }

  /** Forgets a record, after its object was changed. */
  forget(namespace: OffloadedName, file: number): void {
    this.#records.delete(`${namespace}/${file}`);
  }

  /** Ends what is under way; whoever waits gets an error. */
  close(): void {
    this.#closed = true;
    for (const job of this.#jobs.values()) {
      job.timer?.cancel();
      job.abort?.abort(new Error('qsfs is stopping'));
      if (job.demanded) this.#tell('failed', job);
    }
    this.#jobs.clear();
    this.#demands.length = 0;
    this.#ahead.length = 0;
  }

  #demand(namespace: OffloadedName, file: number, stripe: number): void {
    if (this.#closed) {
      this.#parts.send({ kind: 'failed', namespace, file, first: stripe, count: 1 });
      return;
    }
    const files = this.#parts.volume[namespace];
    if (!files.presence.absent.has(file, stripe)) {
      const answer = this.#parts.leaving(namespace, file, stripe);
      if (answer) {
        // Told that it is here, the filesystem thread would read the hole that is left of it.
        const again = () => {
          this.#demand(namespace, file, stripe);
          this.#pump();
        };
        answer.then(again, again);
        return;
      }
      // It came while the question was on its way.
      this.#parts.send({ kind: 'brought', ahead: false, namespace, file, first: stripe, count: 1 });
      return;
    }
    const now = this.#parts.clock.monotonicMs();
    const key = keyOf(namespace, file, stripe);
    const bytes = this.#decoded.find(key);
    if (bytes) {
      this.#parts.send({ kind: 'lent', bytes, namespace, file, first: stripe, count: 1 });
      return;
    }
    const quick = now - (this.#failedAtMs.get(key) ?? Number.NEGATIVE_INFINITY) < STRIPE_FAILURE_MS;
    const failing = now - this.#unavailableAtMs < FAILURE_REMEMBERED_MS;
    const patienceMs = quick ? RETRY_MS : failing ? DEMAND_AFTER_FAILURE_MS : DEMAND_MS;
    const known = this.#jobs.get(key);
    if (known) {
      if (known.demanded) return;
      known.demanded = true;
      known.deadlineMs = now + patienceMs;
      known.quick = quick;
      const queued = this.#ahead.indexOf(known);
      if (queued >= 0) {
        this.#ahead.splice(queued, 1);
        this.#demands.push(known);
      }
      this.#watch(known);
      return;
    }
    const job: Job = {
      namespace,
      file,
      stripe,
      demanded: true,
      deadlineMs: now + patienceMs,
      quick,
      abort: undefined,
      beganMs: now,
      arrivedBytes: undefined,
      seenBytes: 0,
      timer: undefined,
    };
    this.#jobs.set(key, job);
    this.#demands.push(job);
    this.#watch(job);
  }

  /** Ends a demand at its deadline, wherever it is by then. */
  #watch(job: Job): void {
    const { clock } = this.#parts;
    job.timer?.cancel();
    job.timer = clock.after(Math.max(0, job.deadlineMs - clock.monotonicMs()), () => this.#expire(job), true);
  }

  #expire(job: Job): void {
    const queued = this.#demands.indexOf(job);
    if (queued >= 0) this.#demands.splice(queued, 1);
    job.abort?.abort(new Error('the backends did not give the data in time'));
    this.#unavailableAtMs = this.#parts.clock.monotonicMs();
    this.#fail(job, 'the backends did not give the data in time');
  }

  #enqueueAhead(namespace: OffloadedName, file: number, stripe: number): void {
    const key = keyOf(namespace, file, stripe);
    if (this.#jobs.has(key) || this.#ahead.length >= AHEAD_QUEUE_MAX || this.#decoded.isPaused) return;
    const now = this.#parts.clock.monotonicMs();
    const job: Job = {
      namespace,
      file,
      stripe,
      demanded: false,
      deadlineMs: Number.POSITIVE_INFINITY,
      quick: false,
      abort: undefined,
      beganMs: now,
      arrivedBytes: undefined,
      seenBytes: 0,
      timer: undefined,
    };
    this.#jobs.set(key, job);
    this.#ahead.push(job);
  }

  /** Notes that a reader is at this stripe; when it goes on in order, the stripes behind are brought too. */
  #follow(namespace: OffloadedName, file: number, stripe: number): void {
    const { clock, volume, aheadLimitBytes } = this.#parts;
    const now = { nowMs: clock.monotonicMs(), limitBytes: aheadLimitBytes() };
    this.#sequences.follow(volume[namespace], file, stripe, now, (nextFile, nextStripe) =>
      this.#enqueueAhead(namespace, nextFile, nextStripe),
    );
  }

  #pump(): void {
    while (!this.#closed && this.#inFlight < IN_FLIGHT_MAX) {
      const job = this.#demands.shift() ?? (this.#mayGoAhead() ? this.#ahead.shift() : undefined);
      if (!job) return;
      this.#inFlight += 1;
      void this.#run(job).finally(() => {
        this.#inFlight -= 1;
        this.#pump();
      });
    }
  }

  /** Whether the line has time for what nobody waits for: always for one stripe. */
  #mayGoAhead(): boolean {
    const { stripeBytes } = this.#parts.volume['zdbfs-data'];
    return this.#inFlight === 0 || (this.#inFlight + 1) * stripeBytes <= this.#line.bytesIn(AHEAD_MS);
  }

  async #run(job: Job): Promise<void> {
    const { clock, volume, log } = this.#parts;
    const files = volume[job.namespace];
    const key = keyOf(job.namespace, job.file, job.stripe);
    const mine = () => this.#jobs.get(key) === job && !this.#closed;
    for (;;) {
      try {
        this.#parts.makeRoom(files.stripeSize(job.file, job.stripe));
        job.abort = new AbortController();
        job.beganMs = clock.monotonicMs();
        const record = await this.#record(job.namespace, job.file);
        if (!mine()) return;
        const bytes = await this.#bring(job, record, job.abort.signal);
        if (!mine()) return;
        if (bytes) this.#lend(job, bytes);
        else this.#done(job);
        return;
      } catch (error) {
        job.arrivedBytes = undefined;
        if (!mine()) return;
        // The record may be outdated: repair moves shards.
        this.forget(job.namespace, job.file);
        if (isZstorError(error, 'QSFS_E_DAMAGED')) this.#parts.damaged(job.namespace, job.file);
        if (isZstorError(error, 'QSFS_E_UNAVAILABLE')) this.#unavailableAtMs = clock.monotonicMs();
        const code = errorCode(error);
        if (!job.demanded || clock.monotonicMs() + RETRY_MS >= job.deadlineMs) {
          this.#fail(job, messageOf(error));
          return;
        }
        if (code !== undefined) log('warning', `${key}: ${messageOf(error)}`);
      }
      await clock.sleep(RETRY_MS);
      if (!mine()) return;
    }
  }

  /** Writes a stripe into the local file. @returns its bytes when the disk does not take it and somebody waits for it */
  async #bring(job: Job, record: ObjectRecord, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const { zstor, volume } = this.#parts;
    const files = volume[job.namespace];
    const waiting = (arrivedBytes: () => number) => {
      job.arrivedBytes = arrivedBytes;
      job.seenBytes = 0;
    };
    if (!this.#decoded.isPaused) {
      try {
        const target = { path: files.dataPath(job.file) };
        await zstor.fetch(record, { first: job.stripe, count: 1 }, target, { signal, waiting });
        this.#decoded.accepted();
        return undefined;
      } catch (error) {
        if (!isZstorError(error, 'QSFS_E_LOCAL')) throw error;
        this.#decoded.refused(error);
        this.#punch(job);
        if (!job.demanded) throw error;
      }
    }
    return await zstor.read(record, job.stripe * files.stripeBytes, files.stripeBytes, { signal, waiting });
  }

  /** The disk may have taken a part of it. */
  #punch({ namespace, file, stripe }: Job): void {
    const { disk, volume } = this.#parts;
    try {
      volume[namespace].punch(disk, file, stripe, 1);
    } catch (error) {
      // Given back when the frontend is started next.
      if (errorCode(error) === undefined) throw error;
    }
  }

  #record(namespace: OffloadedName, file: number): Promise<ObjectRecord> {
    const key = `${namespace}/${file}`;
    const known = this.#records.get(key);
    if (known) return known;
    const name = dataName(namespace, file, this.#parts.volume[namespace].data(file).epoch);
    const asked = this.#parts.zstor.head(name).then((record) => {
      if (!record) throw new Error(`the object ${name} is not on the backends`);
      return record;
    });
    asked.catch(() => {
      if (this.#records.get(key) === asked) this.#records.delete(key);
    });
    if (this.#records.size >= RECORDS_MAX) {
      for (const oldest of this.#records.keys()) {
        this.#records.delete(oldest);
        break;
      }
    }
    this.#records.set(key, asked);
    return asked;
  }

  #done(job: Job): void {
    this.#failedAtMs.delete(keyOf(job.namespace, job.file, job.stripe));
    const files = this.#parts.volume[job.namespace];
    const lengthBytes = files.stripeSize(job.file, job.stripe);
    this.#fetchedBytes += lengthBytes;
    this.#line.came(job.beganMs, this.#parts.clock.monotonicMs(), lengthBytes);
    files.brought(job.file, job.stripe);
    this.#remove(job);
    this.#tell('brought', job);
    this.#parts.came(job.namespace, job.file);
  }

  #lend(job: Job, bytes: Uint8Array): void {
    const key = keyOf(job.namespace, job.file, job.stripe);
    this.#failedAtMs.delete(key);
    this.#fetchedBytes += bytes.length;
    this.#line.came(job.beganMs, this.#parts.clock.monotonicMs(), bytes.length);
    this.#remove(job);
    this.#parts.send({ kind: 'lent', bytes: this.#decoded.keep(key, bytes), ...stripesOf(job) });
  }

  #fail(job: Job, reason: string): void {
    this.#remove(job);
    if (!job.demanded) return;
    this.#failures += 1;
    if (!job.quick) this.#rememberFailure(keyOf(job.namespace, job.file, job.stripe));
    this.#parts.log(
      'error',
      `${job.namespace}/d${job.file}, stripe ${job.stripe}, cannot be read: ${reason}`,
    );
    this.#tell('failed', job);
  }

  #rememberFailure(key: string): void {
    this.#failedAtMs.delete(key);
    this.#failedAtMs.set(key, this.#parts.clock.monotonicMs());
    if (this.#failedAtMs.size <= STRIPE_FAILURES_MAX) return;
    for (const oldest of this.#failedAtMs.keys()) {
      this.#failedAtMs.delete(oldest);
      break;
    }
  }

  #remove(job: Job): void {
    job.timer?.cancel();
    this.#jobs.delete(keyOf(job.namespace, job.file, job.stripe));
  }

  #tell(kind: 'brought' | 'failed', job: Job): void {
    if (kind === 'brought') this.#parts.send({ kind, ahead: !job.demanded, ...stripesOf(job) });
    else this.#parts.send({ kind, ...stripesOf(job) });
  }
}

function stripesOf({ namespace, file, stripe }: Job): Stripes {
  return { namespace, file, first: stripe, count: 1 };
}

function keyOf(namespace: OffloadedName, file: number, stripe: number): string {
  return `${namespace}/${file}/${stripe}`;
}
