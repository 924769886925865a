// The stores of a cluster with what each is known to hold: whose "nothing here" can be believed, and under which quorum things were
// written. Used by MetadataCluster alone; the rules are in docs/adr/zstor-metadata-quorum.md.
import { isBackendError } from '../backend/backend.ts';
import type { GuardedRecordStore } from '../backend/guarded.ts';
import { messageOf } from '../errors.ts';
import { decodeMarker, encodeMarker, type Marker, markerKey } from './marker.ts';
import { unavailable } from './outcome.ts';
import type { MetadataKeys } from './part.ts';

/** What one store is known to hold: everything (`marker` complete), nothing certain (undefined), or not asked yet. */
export interface Member {
  readonly store: GuardedRecordStore;
  asked: boolean;
  marker: Marker | undefined;
}

/** What members need. */
export interface MemberOptions {
  readonly stores: readonly GuardedRecordStore[];
  readonly keys: MetadataKeys;
  readonly writeQuorum: number;
  /** A store answers again after it did not, or was found blank: it may lack something. */
  readonly lagging?: (store: string) => void;
}

/** All stores, in the order of the configuration. */
export class Members {
  readonly all: readonly Member[];
  readonly #options: MemberOptions;

  constructor(options: MemberOptions) {
    this.#options = options;
    this.all = options.stores.map((store) => ({ store, asked: false, marker: undefined }));
    for (const member of this.all) {
      member.store.health.listen((health) => {
        member.asked = false;
        if (health.state === 'up') options.lagging?.(member.store.name);
      });
    }
  }

  /** Learns what a store holds, once per time it comes up. Never rejects for a store that fails. */
  async ask(member: Member): Promise<void> {
    if (member.asked) return;
    try {
      const value = await member.store.get(markerKey(this.#options.keys));
      member.marker = value && decodeMarker(this.#options.keys, value);
      member.asked = true;
    } catch (error) {
      if (!isBackendError(error)) throw error;
    }
  }

  /** A store that has nothing may have been wiped since it was asked, between two calls: its marker went with the rest. */
  async askAgain(member: Member): Promise<void> {
    if (!member.marker || (await member.store.get(markerKey(this.#options.keys)))) return;
    member.marker = undefined;
    this.#options.lagging?.(member.store.name);
  }

  /** Marks all stores of a cluster that holds nothing yet. */
  async initialise(): Promise<void> {
    await Promise.all(this.all.map((member) => this.ask(member)));
    if (!this.fresh()) return;
    const members = this.all.filter((member) => member.asked && member.store.health.usable);
    await this.mark(members, 'starting');
    await this.mark(members, 'complete');
  }

  /**
   * Writes the marker of these stores; of those that fail nothing is said.
   * @throws ZstorError QSFS_E_UNAVAILABLE when too few can be prepared
   */
  async mark(members: readonly Member[], state: Marker['state']): Promise<void> {
    const { keys, writeQuorum } = this.#options;
    const marker: Marker = { state, writeQuorum };
    const outcomes = await Promise.all(
      members.map(async (member) => {
        try {
          await member.store.set(markerKey(keys), encodeMarker(keys, marker));
          member.marker = marker;
          return '';
        } catch (error) {
          return messageOf(error);
        }
      }),
    );
    const failures = outcomes.filter((failure) => failure !== '');
    if (state === 'starting' && members.length - failures.length < writeQuorum) {
      throw unavailable(`the metadata stores cannot be prepared: ${failures.join('; ')}`);
    }
  }

  /** Those that answer. */
  usable(): Member[] {
    return this.all.filter((member) => member.store.health.usable);
  }

  /** Nothing was ever written: enough stores answer and none is marked complete. */
  fresh(): boolean {
    const asked = this.all.filter((member) => member.asked);
    return (
      asked.length >= this.#options.writeQuorum && asked.every(({ marker }) => marker?.state !== 'complete')
    );
  }

  /** It holds everything it was ever given. */
  complete(member: Member): boolean {
    return member.asked && member.marker?.state === 'complete';
  }

  /** Its "nothing" can be believed. */
  ready(member: Member): boolean {
    if (!member.asked) return false;
    if (this.complete(member) || this.fresh()) return true;
    return member.marker?.state === 'starting' && this.all.some((other) => this.complete(other));
  }

  /** The smallest quorum anything may have been written under. */
  quorum(): number {
    const marked = this.all.flatMap(({ marker }) => (marker ? [marker.writeQuorum] : []));
    return Math.min(this.#options.writeQuorum, ...marked);
  }
}
