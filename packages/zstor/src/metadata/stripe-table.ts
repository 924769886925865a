// Where every shard of an object is: for each stripe n places, each a backend and a location there, or missing. Kept in
// typed arrays, because a 10 GiB object has 50,000 of them; written delta-coded (docs/formats/records.md, "Stripe table").
import type { ShardLocation } from '../backend/backend.ts';
import { MalformedRecord, RecordReader, RecordWriter } from './record-bytes.ts';

/** A backend as records know it: its configured name and the incarnation that got the shards. */
export interface Holder {
  readonly name: string;
  /** 16 hex digits, or ''. */
  readonly incarnation: string;
}

/** Where one shard is. */
export interface ShardPlace {
  readonly index: number;
  /** Name of the backend. */
  readonly backend: string;
  readonly location: ShardLocation;
}

/** Marks a shard that is nowhere. */
const MISSING = 0xffff;
/** Different backends and incarnations one object may be spread over. */
const MOST_HOLDERS = 0xfffe;
const LONGEST_NAME_BYTES = 1024;
/** Stripes are numbered with 32 bits; records of more shards than this would not fit any memory. */
const MOST_SHARDS = 2 ** 31;

/** The shard places of an object. Changed only while a `put` or a repair builds the next record. */
export class StripeTable {
  readonly stripeCount: number;
  /** n. */
  readonly shards: number;
  #holders: Holder[] = [];
  readonly #holderIndexes = new Map<string, number>();
  readonly #slots: Uint16Array;
  readonly #keys: Float64Array;
  readonly #shardBytes: Uint32Array;

  constructor(stripeCount: number, shards: number) {
    if (stripeCount * shards > MOST_SHARDS)
      throw new RangeError(`${stripeCount} stripes of ${shards} shards are too many`);
    this.stripeCount = stripeCount;
    this.shards = shards;
    this.#slots = new Uint16Array(stripeCount * shards).fill(MISSING);
    this.#keys = new Float64Array(stripeCount * shards);
    this.#shardBytes = new Uint32Array(stripeCount);
  }

  /** Length of each shard of a stripe, header included. */
  shardBytes(stripe: number): number {
    return this.#shardBytes[stripe]!;
  }

  setShardBytes(stripe: number, lengthBytes: number): void {
    this.#shardBytes[stripe] = lengthBytes;
  }

  /** Where a shard is; undefined when it is missing. */
  place(stripe: number, index: number): ShardPlace | undefined {
    const at = stripe * this.shards + index;
    const holder = this.#holders[this.#slots[at]!];
    if (!holder) return undefined;
    return {
      index,
      backend: holder.name,
      location: { incarnation: holder.incarnation, key: this.#keys[at]! },
    };
  }

  /** The shards of a stripe that are somewhere. */
  places(stripe: number): ShardPlace[] {
    const found: ShardPlace[] = [];
    for (let index = 0; index < this.shards; index++) {
      const place = this.place(stripe, index);
      if (place) found.push(place);
    }
    return found;
  }

  set(stripe: number, index: number, backend: string, location: ShardLocation): void {
    const at = stripe * this.shards + index;
    this.#slots[at] = this.#holder(backend, location.incarnation);
    this.#keys[at] = location.key;
  }

  clear(stripe: number, index: number): void {
    this.#slots[stripe * this.shards + index] = MISSING;
  }

  /** Shards that are nowhere, over all stripes. */
  get missing(): number {
    let count = 0;
    for (const slot of this.#slots) if (slot === MISSING) count++;
    return count;
  }

  /** Bytes of all shards that are somewhere. */
  get storedBytes(): number {
    let sum = 0;
    for (let stripe = 0; stripe < this.stripeCount; stripe++) {
      let present = 0;
      for (let at = stripe * this.shards; at < (stripe + 1) * this.shards; at++) {
        if (this.#slots[at] !== MISSING) present++;
      }
      sum += present * this.#shardBytes[stripe]!;
    }
    return sum;
  }

  /** Every backend and incarnation that is or was used: what `patterns` refers to. */
  get holders(): readonly Holder[] {
    return this.#holders;
  }

  /** The backends and incarnations that hold shards, with the highest key of each. */
  get used(): readonly (Holder & { readonly highestKey: number })[] {
    const highest = new Float64Array(this.#holders.length).fill(-1);
    for (let at = 0; at < this.#slots.length; at++) {
      const slot = this.#slots[at]!;
      const key = this.#keys[at]!;
      if (slot !== MISSING && key > highest[slot]!) highest[slot] = key;
    }
    return this.#holders.flatMap((holder, slot) => {
      const highestKey = highest[slot]!;
      return highestKey < 0 ? [] : [{ ...holder, highestKey }];
    });
  }

  /**
   * The different sets of backends that hold a stripe, as lists of indexes into `holders` (few, whatever the size).
   * What `tolerance` needs to look at.
   */
  patterns(): readonly (readonly number[])[] {
    const patterns = new Map<string, number[]>();
    for (let stripe = 0; stripe < this.stripeCount; stripe++) {
      const slots = [...this.#slots.subarray(stripe * this.shards, (stripe + 1) * this.shards)]
        .filter((slot) => slot !== MISSING)
        .sort((a, b) => a - b);
      patterns.set(slots.join(), slots);
    }
    return [...patterns.values()];
  }

  copy(): StripeTable {
    const copy = new StripeTable(this.stripeCount, this.shards);
    copy.#holders = [...this.#holders];
    for (const [key, index] of this.#holderIndexes) copy.#holderIndexes.set(key, index);
    copy.#slots.set(this.#slots);
    copy.#keys.set(this.#keys);
    copy.#shardBytes.set(this.#shardBytes);
    return copy;
  }

  #holder(name: string, incarnation: string): number {
    const key = `${incarnation}/${name}`;
    let index = this.#holderIndexes.get(key);
    if (index === undefined) {
      index = this.#holders.length;
      if (index > MOST_HOLDERS) throw new RangeError('an object is spread over too many backends');
      this.#holders.push({ name, incarnation });
      this.#holderIndexes.set(key, index);
    }
    return index;
  }

  /** The table as bytes. Holders that hold nothing any more are left out. */
  encode(): Uint8Array {
    const writer = new RecordWriter();
    const used = [...new Set(this.#slots)].filter((slot) => slot !== MISSING).sort((a, b) => a - b);
    const numbers = new Map(used.map((slot, number) => [slot, number + 1]));
    writer.varint(used.length);
    for (const slot of used) {
      const { name, incarnation } = this.#holders[slot]!;
      writer.text(name);
      writer.text(incarnation);
    }
    // Keys of one backend grow from stripe to stripe, so the difference to the last one is small.
    const last = new Float64Array(this.#holders.length);
    for (let stripe = 0; stripe < this.stripeCount; stripe++) {
      writer.varint(this.#shardBytes[stripe]!);
      for (let at = stripe * this.shards; at < (stripe + 1) * this.shards; at++) {
        const slot = this.#slots[at]!;
        if (slot === MISSING) {
          writer.varint(0);
          continue;
        }
        writer.varint(numbers.get(slot)!);
        const key = this.#keys[at]!;
        const difference = key - last[slot]!;
        last[slot] = key;
        writer.signed(difference);
      }
    }
    return writer.bytes;
  }

  /** @throws MalformedRecord */
  static decode(bytes: Uint8Array, stripeCount: number, shards: number): StripeTable {
    const reader = new RecordReader(bytes);
    const count = reader.varint();
    // A shard takes at least a byte: reject absurd counts before memory is taken for them.
    if (stripeCount * (shards + 1) > bytes.length) throw new MalformedRecord('a stripe table is too short');
    const table = new StripeTable(stripeCount, shards);
    const holders: number[] = [];
    for (let number = 0; number < count; number++) {
      const name = reader.text(LONGEST_NAME_BYTES);
      const incarnation = reader.text(16);
      if (!/^([0-9a-f]{16})?$/.test(incarnation))
        throw new MalformedRecord('a backend has no valid incarnation');
      holders.push(table.#holder(name, incarnation));
    }
    const last = new Float64Array(count);
    for (let stripe = 0; stripe < stripeCount; stripe++) {
      table.#shardBytes[stripe] = reader.varint();
      for (let at = stripe * shards; at < (stripe + 1) * shards; at++) {
        const number = reader.varint();
        if (number === 0) continue;
        if (number > count) throw new MalformedRecord('a shard is on a backend the record does not list');
        const key = last[number - 1]! + reader.signed();
        if (!Number.isSafeInteger(key) || key < 0) throw new MalformedRecord('a shard has an impossible key');
        last[number - 1] = key;
        table.#slots[at] = holders[number - 1]!;
        table.#keys[at] = key;
      }
    }
    reader.end();
    return table;
  }
}
