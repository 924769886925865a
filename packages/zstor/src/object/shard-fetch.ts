// Gets the shards of one stripe: asks the k backends that are likely to answer first, replaces what fails at once, and asks
// others as well when an answer takes longer than it should. Never waits for a backend that is down.
import type { Clock, Timer } from '@qsfs/io';
import { isBackendError } from '../backend/backend.ts';
import type { GuardedShardStore } from '../backend/guarded.ts';
import type { BadShard, ShardCandidate } from '../codec/types.ts';
import { AbsentBackends, LostShards, ZstorError } from '../errors.ts';
import type { StoredRecord } from '../metadata/record.ts';
import type { ShardPlace } from '../metadata/stripe-table.ts';
import { describeObstacles, type Obstacle } from '../placement/obstacles.ts';
import type { DataBackends } from './data-backends.ts';
import type { ReceiveBuffers } from './receive-buffers.ts';

/** A read is hedged when it takes this many times what its backend usually takes, within these bounds. */
const HEDGE_FACTOR = 4;
const EARLIEST_HEDGE_MS = 40;
const LATEST_HEDGE_MS = 2000;
/** What a backend nobody knows yet is thought to take. */
const UNKNOWN_LATENCY_MS = 2;
/** A parity shard costs a matrix multiplication, a data shard a copy. */
const PARITY_FACTOR = 1.3;
/** Calls under way on a backend that make it look twice as slow. */
const LOAD_OF_DOUBLE = 16;

interface Source {
  readonly place: ShardPlace;
  readonly store: GuardedShardStore;
  readonly score: number;
  readonly latencyMs: number;
}

/** A backend that was asked: what had arrived from it then, when it was looked at last, and when it had answered. */
interface Asked {
  readonly store: GuardedShardStore;
  readonly startBytes: number;
  seenBytes: number;
  /** undefined: it is awaited. */
  endBytes: number | undefined;
}

/** The shards of one stripe, as far as they are needed. Must be closed; candidates are valid until then. */
export class ShardFetch {
  /** Indexes of shards that are missing or wrong where the record says they are. */
  readonly bad = new Set<number>();
  readonly #record: StoredRecord;
  readonly #stripe: number;
  readonly #backends: DataBackends;
  readonly #buffers: ReceiveBuffers;
  readonly #clock: Clock;
  readonly #sources: Source[];
  readonly #unreachable: Obstacle[] = [];
  /** Backends the record names and the configuration does not. */
  readonly #absent: string[] = [];
  /** Backends that are not what they were when the shards were put there: emptied, or others in their places. */
  readonly #emptied: string[] = [];
  readonly #good = new Map<number, ShardCandidate>();
  readonly #taken: Uint8Array[] = [];
  readonly #abort = new AbortController();
  readonly #asked: Asked[] = [];
  #hedge: Timer | undefined;
  #closed = false;
  #wake: () => void = () => {};
  #failure: unknown;

  /** @param excluded indexes of shards not to be asked for */
  constructor(
    record: StoredRecord,
    stripe: number,
    parts: { readonly backends: DataBackends; readonly buffers: ReceiveBuffers; readonly clock: Clock },
    signal: AbortSignal | undefined,
    excluded?: ReadonlySet<number>,
  ) {
    this.#record = record;
    this.#stripe = stripe;
    this.#backends = parts.backends;
    this.#buffers = parts.buffers;
    this.#clock = parts.clock;
    this.#sources = this.#rank(excluded);
    signal?.addEventListener('abort', this.#giveUp, { once: true });
    this.#unsubscribe = () => signal?.removeEventListener('abort', this.#giveUp);
    if (signal?.aborted) this.#giveUp();
  }

  readonly #unsubscribe: () => void;
  readonly #giveUp = (): void => {
    this.#failure ??= new ZstorError('QSFS_E_ABORTED', 'the read was given up');
    this.#wake();
  };

  /** The shards that can be asked for, best last. */
  #rank(excluded: ReadonlySet<number> | undefined): Source[] {
    const { stripes, minimalShards } = this.#record;
    const sources: Source[] = [];
    for (const place of stripes.places(this.#stripe)) {
      if (excluded?.has(place.index)) continue;
      const standing = this.#backends.standing(place);
      if (standing === 'lost') {
        this.bad.add(place.index);
        const isAbsent = this.#backends.find(place.backend) === undefined;
        (isAbsent ? this.#absent : this.#emptied).push(place.backend);
      } else if (standing === 'unreachable') this.#unreachable.push(this.#backends.outage(place.backend)!);
      else {
        const { store } = this.#backends.find(place.backend)!;
        const latencyMs = store.health.latencyMs ?? UNKNOWN_LATENCY_MS;
        const factor = place.index < minimalShards ? 1 : PARITY_FACTOR;
        sources.push({
          place,
          store,
          latencyMs,
          score: (latencyMs + 0.1) * (1 + store.load / LOAD_OF_DOUBLE) * factor,
        });
      }
    }
    return sources.sort((a, b) => b.score - a.score);
  }

  /**
   * At least k shards none of which was rejected, or all there are if that is fewer than k.
   * @throws ZstorError QSFS_E_UNAVAILABLE or QSFS_E_DAMAGED when fewer than k can be had
   */
  async collect(): Promise<ShardCandidate[]> {
    const needed = this.#record.minimalShards;
    while (this.#good.size < needed) {
      if (this.#failure) throw this.#failure;
      while (this.#good.size + this.#outstanding < needed && this.#askNext());
      if (this.#good.size + this.#outstanding < needed) throw this.#tooFew();
      this.#armHedge();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#hedge?.cancel();
    this.#hedge = undefined;
    return [...this.#good.values()].sort((a, b) => a.index - b.index);
  }

  /** These shards were wrong: others are to be collected instead. */
  reject(bad: readonly BadShard[]): void {
    for (const { index } of bad) {
      this.#good.delete(index);
      this.bad.add(index);
    }
  }

  #tooFew(): ZstorError {
    const { name, minimalShards } = this.#record;
    const reachable = this.#good.size + this.#outstanding;
    const where = `"${name}", stripe ${this.#stripe}: ${reachable} good shards, ${minimalShards} are needed`;
    if (reachable + this.#unreachable.length >= minimalShards) {
      // Somebody waits for them: whoever tries again shall not have to wait for their next probe, too.
      for (const { backend } of this.#unreachable) void this.#backends.find(backend)?.store.health.inspect();
      return new ZstorError(
        'QSFS_E_UNAVAILABLE',
        `${where}; out of reach: ${describeObstacles(this.#unreachable)}`,
        remedyFor(this.#unreachable),
      );
    }
    if (reachable + this.#unreachable.length + this.#absent.length >= minimalShards)
      return new AbsentBackends(where, this.#absent);
    return new LostShards(where, this.#emptied);
  }

  /** Starts one more read. False when there is nobody left to ask. */
  #askNext(): boolean {
    const source = this.#sources.pop();
    if (!source) return false;
    const startBytes = source.store.gotBytes;
    const asked: Asked = { store: source.store, startBytes, seenBytes: startBytes, endBytes: undefined };
    this.#asked.push(asked);
    this.#read(source).then(
      () => this.#answered(asked),
      (error: unknown) => {
        if (isBackendError(error)) {
          const { backend, failure, reason } = error;
          const kind = failure === 'refused' || failure === 'foreign' ? 'refused' : 'down';
          this.#unreachable.push({ backend, kind, reason });
        } else this.#failure ??= error;
        this.#answered(asked);
      },
    );
    return true;
  }

  get #outstanding(): number {
    return this.#asked.filter(({ endBytes }) => endBytes === undefined).length;
  }

  #answered(asked: Asked): void {
    asked.endBytes = asked.store.gotBytes;
    this.#wake();
  }

  /**
   * What has arrived so far on the connections that were asked, of what was asked of them before, too. Where the answer is there it does not
   * grow any more: what others get from that backend is no progress here.
   */
  arrivedBytes(): number {
    return this.#asked.reduce(
      (sum, { store, startBytes, endBytes }) => sum + (endBytes ?? store.gotBytes) - startBytes,
      0,
    );
  }

  async #read({ place, store }: Source): Promise<void> {
    const into = this.#buffers.take(this.#record.stripes.shardBytes(this.#stripe));
    let bytes: Uint8Array | undefined;
    try {
      bytes = await store.get(place.location, { into, signal: this.#abort.signal });
    } finally {
      // Given back when nobody looks at it any more: now, or by `close`.
      if (this.#closed || bytes === undefined) this.#buffers.give(into);
      else this.#taken.push(into);
    }
    if (bytes) this.#good.set(place.index, { index: place.index, bytes });
    else this.bad.add(place.index);
  }

  /**
   * After a while without the last answers, asks others in place of those that are late.
   * @param isSlow everything awaited was arriving at the last look: then the next one has time
   */
  #armHedge(isSlow = false): void {
    if (this.#hedge || this.#sources.length === 0) return;
    const usualMs = Math.max(...this.#sources.map(({ latencyMs }) => latencyMs));
    const delayMs = Math.min(LATEST_HEDGE_MS, Math.max(EARLIEST_HEDGE_MS, HEDGE_FACTOR * usualMs));
    this.#hedge = this.#clock.after(
      isSlow ? LATEST_HEDGE_MS : delayMs,
      () => {
        this.#hedge = undefined;
        const late = this.#late(isSlow);
        const missing = this.#record.minimalShards - this.#good.size;
        for (let count = Math.min(missing, late); count > 0 && this.#askNext(); count--);
        this.#armHedge(late === 0);
      },
      true,
    );
  }

  /**
   * How many of the awaited are to be replaced: all, when some answered by now. Before the first answer those from which nothing comes,
   * and later on one of the others: on a line that is slow for all more questions make everything slower.
   */
  #late(isSlow: boolean): number {
    let [awaited, arriving] = [0, 0];
    for (const asked of this.#asked) {
      if (asked.endBytes !== undefined) continue;
      awaited++;
      if (asked.store.gotBytes !== asked.seenBytes) arriving++;
      asked.seenBytes = asked.store.gotBytes;
    }
    if (this.#good.size > 0) return awaited;
    const isAlone = this.#asked.length <= this.#record.minimalShards;
    return Math.max(awaited - arriving, isSlow && isAlone ? 1 : 0);
  }

  /** Gives up what is still awaited and takes the candidates back. */
  close(): void {
    this.#closed = true;
    this.#hedge?.cancel();
    this.#unsubscribe();
    this.#abort.abort();
    for (const buffer of this.#taken.splice(0)) this.#buffers.give(buffer);
    this.#good.clear();
  }
}

/** What to do about backends that cannot be read. */
function remedyFor(obstacles: readonly Obstacle[]): string {
  const refused = obstacles.filter(({ kind }) => kind === 'refused').map(({ backend }) => backend);
  const down = obstacles.length > refused.length;
  const steps = down ? ['bring some of them back'] : [];
  if (refused.length > 0)
    steps.push(
      `correct password, namespace or mode of ${[...new Set(refused)].join(', ')} (groups.backends)`,
    );
  return `${steps.join(', or ')}, and try again`;
}
