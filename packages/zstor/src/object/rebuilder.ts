// Writes lost shards anew, from k good ones, without decrypting. The object keeps its own k and n, whatever the configuration
// says now (defect D1). The record is switched once, at the end, if nobody changed the object meanwhile.
import type { Random } from '@qsfs/io';
import { type Codec, type RebuiltShards, TooFewShards } from '../codec/index.ts';
import type { ZstorConfig } from '../config/types.ts';
import { ZstorError } from '../errors.ts';
import { UncertainWrite } from '../metadata/outcome.ts';
import { StoredRecord } from '../metadata/record.ts';
import type { Records } from '../metadata/records.ts';
import type { StripeTable } from '../metadata/stripe-table.ts';
import { describeObstacles, verbFor } from '../placement/obstacles.ts';
import type { CheckOptions, RebuildReport } from '../types.ts';
import type { DataBackends } from './data-backends.ts';
import { inspectStripe } from './inspector.ts';
import type { ReadBack } from './read-back.ts';
import { codedObject, type ObjectReader, type ReaderParts } from './reader.ts';
import { ShardFetch } from './shard-fetch.ts';
import { removeShards } from './shard-removal.ts';
import { writeShards } from './stripe-write.ts';
import { forEachStripe } from './window.ts';

/** Stripes rebuilt at a time, fewer of the largest. */
const REBUILD_WINDOW = 3;
/** Times a rebuild starts again because the object changed under it. */
const MOST_ATTEMPTS = 3;

/** How a rebuild goes about it. */
export interface RebuildOptions extends CheckOptions {
  /** Also give shards on backends that are down another place, where there is one. */
  readonly replaceUnreachable: boolean;
}

/** What a rebuilder works with. */
export interface RebuilderParts extends ReaderParts {
  readonly config: ZstorConfig;
  readonly records: Records;
  readonly reader: ObjectReader;
  readonly codec: Codec;
  readonly backends: DataBackends;
  readonly readBack: ReadBack;
  readonly random: Random;
}

/** What was done to one object so far. */
interface Work {
  readonly record: StoredRecord;
  /** The places as they will be. */
  readonly table: StripeTable;
  readonly options: RebuildOptions;
  rewritten: number;
  /** Shards that keep their places although their backends do not answer. */
  unreachable: number;
  reason: string;
  /** Why a stripe is lost: too few good shards are left of it. */
  lost: ZstorError | undefined;
}

/** Repairs objects. */
export class Rebuilder {
  readonly #parts: RebuilderParts;

  constructor(parts: RebuilderParts) {
    this.#parts = parts;
  }

  /** See `Zstor.rebuild`. Stripes that are lost (QSFS_E_DAMAGED) do not keep the others from being rebuilt first. */
  async rebuild(name: string, options: RebuildOptions): Promise<RebuildReport> {
    for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt++) {
      const record = await this.#parts.records.head(name);
      if (!record) throw notFound(name);
      const report = await this.#attempt(record, options);
      if (report) return report;
    }
    throw new ZstorError(
      'QSFS_E_UNAVAILABLE',
      `"${name}" changed ${MOST_ATTEMPTS} times while it was rebuilt`,
    );
  }

  /** One try; undefined when the object changed meanwhile. */
  async #attempt(record: StoredRecord, options: RebuildOptions): Promise<RebuildReport | undefined> {
    const { backends, records } = this.#parts;
    await backends.refreshSpace();
    const table = record.stripes.copy();
    const work: Work = { record, table, options, rewritten: 0, unreachable: 0, reason: '', lost: undefined };
    let doneStripes = 0;
    let saved: StoredRecord | undefined;
    try {
      await forEachStripe(
        record,
        { first: 0, count: record.stripeCount },
        REBUILD_WINDOW,
        options.signal,
        async (stripe, signal) => {
          try {
            await this.#rebuildStripe(work, stripe, signal);
          } catch (error) {
            if (!(error instanceof ZstorError) || error.code !== 'QSFS_E_DAMAGED') throw error;
            // The other stripes shall not be lost, too.
            work.lost ??= error;
          }
          options.progress?.(++doneStripes);
        },
      );
      if (work.lost && work.rewritten === 0) throw work.lost;
      const isSure = options.deep && work.unreachable === 0 && !work.lost;
      const verification = isSure ? 'checked' : record.verification;
      const changed = new StoredRecord({ ...record, verification }, work.table, 0n);
      if (work.rewritten === 0 && changed.missingShards === record.missingShards) return report(record, work);
      saved = await records.locked(record.name, async () => {
        const predecessor = await records.predecessor(record.name);
        if (predecessor.record?.version !== record.version) return undefined;
        return records.save(changed, predecessor);
      });
    } catch (error) {
      // Only where it is certain that no record names the new shards.
      if (error instanceof ZstorError && !(error instanceof UncertainWrite))
        await removeShards(work.table, backends, record.stripes);
      throw error;
    }
    // Whoever lost has garbage on the backends: our new shards, or the places the record has left.
    if (saved) await removeShards(record.stripes, backends, saved.stripes);
    else await removeShards(work.table, backends, record.stripes);
    if (saved && work.lost) throw work.lost;
    return saved && report(saved, work);
  }

  async #rebuildStripe(work: Work, stripe: number, signal: AbortSignal): Promise<void> {
    const { record, table, options } = work;
    const { backends, config } = this.#parts;
    const states = await inspectStripe(
      record,
      stripe,
      backends,
      config.masterKey,
      options.deep ?? false,
      signal,
    );
    const wanted = new Set<number>();
    for (const [index, state] of states.entries()) {
      if (state === 'bad' || (state === 'unreachable' && options.replaceUnreachable)) wanted.add(index);
      else if (state === 'unreachable') work.unreachable++;
    }
    if (wanted.size === 0) return;
    const rebuilt = await this.#reconstruct(record, stripe, wanted, signal);
    try {
      // A shard that is only out of reach keeps its place unless it is given another one.
      for (const index of wanted) if (states[index] !== 'unreachable') table.clear(stripe, index);
      const kept = record.stripes.places(stripe).filter(({ index }) => !wanted.has(index));
      const write = {
        stripe,
        // What is lost goes before what is only out of reach.
        shards: rebuilt.shards.toSorted(
          (a, b) => Number(states[a.index] === 'unreachable') - Number(states[b.index] === 'unreachable'),
        ),
        expectedShards: record.expectedShards,
        policy: { ...config, minimalShards: record.minimalShards },
        holders: kept.map(({ backend }) => backend),
        quorum: 0,
        verification: 'checked' as const,
        signal,
      };
      const unplaced = await writeShards(write, table, this.#parts);
      for (const { index } of unplaced) {
        const old = states[index] === 'unreachable' ? record.stripes.place(stripe, index) : undefined;
        if (!old) continue;
        table.set(stripe, index, old.backend, old.location);
        work.unreachable++;
      }
      work.rewritten += wanted.size - unplaced.length;
      if (unplaced.length > 0)
        work.reason = `no backend is free for ${unplaced.length} shards of stripe ${stripe}; ${this.#advice()}`;
    } finally {
      rebuilt.release();
    }
  }

  /** Makes the wanted shards from others; those that turn out wrong on the way become wanted too. */
  async #reconstruct(
    record: StoredRecord,
    stripe: number,
    wanted: Set<number>,
    signal: AbortSignal,
  ): Promise<RebuiltShards> {
    const { codec, config, reader } = this.#parts;
    const object = codedObject(record, config.masterKey);
    const fetch = new ShardFetch(record, stripe, { ...this.#parts, buffers: reader.buffers }, signal, wanted);
    try {
      for (;;) {
        const candidates = await fetch.collect();
        let bad: RebuiltShards['bad'];
        try {
          const rebuilt = await codec.rebuild(object, stripe, record.plainBytes(stripe), candidates, [
            ...wanted,
          ]);
          if (rebuilt.bad.length === 0) return rebuilt;
          rebuilt.release();
          bad = rebuilt.bad;
        } catch (error) {
          if (!(error instanceof TooFewShards)) throw error;
          bad = error.bad;
        }
        fetch.reject(bad);
        for (const { index } of bad) wanted.add(index);
      }
    } finally {
      fetch.close();
    }
  }

  #advice(): string {
    const { backends } = this.#parts;
    const out = backends.all.flatMap((backend) => backends.obstacle(backend) ?? []);
    return out.length > 0 ? `${verbFor(out)} ${describeObstacles(out)}` : 'add a backend';
  }
}

function report(record: StoredRecord, { rewritten, unreachable, reason }: Work): RebuildReport {
  const { name, missingShards } = record;
  return {
    name,
    rewrittenShards: rewritten,
    missingShards,
    unreachableShards: unreachable,
    reason: missingShards + unreachable > 0 ? reason : '',
    record,
  };
}

/** The words programs look for (spec/zstor.md 1.4). */
export function notFound(name: string): ZstorError {
  return new ZstorError('QSFS_E_NOT_FOUND', `no metadata found for "${name}": entity not found`);
}
