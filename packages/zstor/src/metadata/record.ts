// The record of an object, in memory and as bytes (docs/formats/records.md, "Object record").
import type { ObjectRecord, Verification } from '../types.ts';
import { MalformedRecord, RecordReader, RecordWriter } from './record-bytes.ts';
import { StripeTable } from './stripe-table.ts';

/** What a record holds beside the shard places. */
export interface RecordFields {
  readonly name: string;
  readonly objectId: Uint8Array;
  /** 32 bytes; with the master key they give the object's keys. */
  readonly salt: Uint8Array;
  readonly generation: number;
  readonly sizeBytes: number;
  readonly stripeSizeBytes: number;
  readonly minimalShards: number;
  readonly expectedShards: number;
  readonly storedMs: number;
  readonly verification: Verification;
}

/** A record as this package keeps it. Callers see it as `ObjectRecord`. */
export class StoredRecord implements ObjectRecord {
  readonly name: string;
  readonly version: bigint;
  readonly objectId: Uint8Array;
  readonly salt: Uint8Array;
  readonly generation: number;
  readonly sizeBytes: number;
  readonly stripeSizeBytes: number;
  readonly minimalShards: number;
  readonly expectedShards: number;
  readonly storedMs: number;
  readonly verification: Verification;
  readonly missingShards: number;
  readonly storedBytes: number;
  /** Never changed: repair makes a new record. */
  readonly stripes: StripeTable;

  constructor(fields: RecordFields, stripes: StripeTable, version: bigint) {
    this.name = fields.name;
    this.version = version;
    this.objectId = fields.objectId;
    this.salt = fields.salt;
    this.generation = fields.generation;
    this.sizeBytes = fields.sizeBytes;
    this.stripeSizeBytes = fields.stripeSizeBytes;
    this.minimalShards = fields.minimalShards;
    this.expectedShards = fields.expectedShards;
    this.storedMs = fields.storedMs;
    this.verification = fields.verification;
    this.stripes = stripes;
    this.missingShards = stripes.missing;
    this.storedBytes = stripes.storedBytes;
  }

  get stripeCount(): number {
    return this.stripes.stripeCount;
  }

  /** Length of a stripe's plain bytes: the last one may be shorter. */
  plainBytes(stripe: number): number {
    return Math.min(this.stripeSizeBytes, this.sizeBytes - stripe * this.stripeSizeBytes);
  }
}

/** Longest object name, UTF-8. */
export const LONGEST_NAME_BYTES = 4096;
const FORMAT_VERSION = 1;
const KIND_OBJECT = 1;
/** By their code. 2 was written while nothing was read back: the backend had compared the shard with a checksum of its own. */
const VERIFICATIONS: readonly Verification[] = ['acknowledged', 'present', 'present', 'checked'];

/** The head of a record and its stripe table, still apart: a large table goes into pages of its own. */
export interface RecordParts {
  readonly head: Uint8Array;
  readonly table: Uint8Array;
}

/** The bytes of a record. */
export function encodeRecord(record: StoredRecord): RecordParts {
  const writer = new RecordWriter();
  writer.byte(FORMAT_VERSION);
  writer.byte(KIND_OBJECT);
  writer.text(record.name);
  writer.raw(record.objectId);
  writer.raw(record.salt);
  writer.varint(record.generation);
  writer.varint(record.sizeBytes);
  writer.varint(record.stripeSizeBytes);
  writer.varint(record.minimalShards);
  writer.varint(record.expectedShards);
  writer.varint(record.storedMs);
  writer.byte(VERIFICATIONS.indexOf(record.verification));
  writer.varint(record.missingShards);
  return { head: writer.bytes, table: record.stripes.encode() };
}

/** What the head of a record says. */
export interface RecordHead extends RecordFields {
  readonly missingShards: number;
}

/** @throws MalformedRecord */
export function decodeHead(bytes: Uint8Array): RecordHead {
  const reader = new RecordReader(bytes);
  if (reader.byte() !== FORMAT_VERSION || reader.byte() !== KIND_OBJECT) {
    throw new MalformedRecord('a record was written by a later version of this program');
  }
  const head = {
    name: reader.text(LONGEST_NAME_BYTES),
    objectId: reader.raw(16).slice(),
    salt: reader.raw(32).slice(),
    generation: reader.varint(),
    sizeBytes: reader.varint(),
    stripeSizeBytes: reader.varint(),
    minimalShards: reader.varint(),
    expectedShards: reader.varint(),
    storedMs: reader.varint(),
    verification: VERIFICATIONS[reader.byte()],
    missingShards: reader.varint(),
  };
  reader.end();
  const { minimalShards: k, expectedShards: n, stripeSizeBytes, verification } = head;
  if (k < 1 || k > n || n > 256 || stripeSizeBytes < 1 || verification === undefined) {
    throw new MalformedRecord('a record contradicts itself');
  }
  return { ...head, verification };
}

/** @throws MalformedRecord */
export function decodeRecord({ head, table }: RecordParts, version: bigint): StoredRecord {
  const fields = decodeHead(head);
  const stripeCount = stripesOf(fields.sizeBytes, fields.stripeSizeBytes);
  return new StoredRecord(fields, StripeTable.decode(table, stripeCount, fields.expectedShards), version);
}

/** Number of stripes of an object. */
export function stripesOf(sizeBytes: number, stripeSizeBytes: number): number {
  return Math.ceil(sizeBytes / stripeSizeBytes);
}
