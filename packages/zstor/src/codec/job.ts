// What the pool asks of a coder and what it hears back: plain values that can be sent to another thread. Bytes are never
// in them, only their places in the memory both share.
import { StripeNotAuthentic, TooFewShards } from './errors.ts';
import type { StripeShape } from './shard.ts';
import type { BadShard, CodedObject, StripeFile } from './types.ts';

/** A piece of the shared memory. */
export interface Place {
  readonly offset: number;
  readonly lengthBytes: number;
}

/** Where a candidate was put: its header (64 bytes, or fewer when it is shorter) and its body. */
export interface PlacedCandidate {
  readonly index: number;
  readonly header: Place;
  readonly body: Place;
}

interface StripeJob {
  readonly object: CodedObject;
  readonly stripe: number;
  readonly plainBytes: number;
}

/** Encode: plain bytes at `source` (first read there from `file`), shards to `shards`, as many and as long as it takes. */
export interface EncodeJob extends StripeJob {
  readonly kind: 'encode';
  readonly file?: { readonly path: string; readonly offset: number } | undefined;
  readonly source: Place;
  readonly shards: Place;
}

interface CandidatesJob extends StripeJob {
  readonly candidates: readonly PlacedCandidate[];
}

/** Decode: k slots of `slotBytes` at `slots` for the bodies of the data shards; some candidates' bodies may be in their slots. */
export interface DecodeJob extends CandidatesJob {
  readonly kind: 'decode';
  readonly slots: Place;
  readonly slotBytes: number;
  /** Where the plain bytes are wanted in memory. */
  readonly bytes?: Place | undefined;
  /** Where they are wanted on disk. */
  readonly file?: StripeFile | undefined;
}

/** Rebuild: the wanted shards to slots of `slotBytes` (header and body) at `slots`, in order. */
export interface RebuildJob extends CandidatesJob {
  readonly kind: 'rebuild';
  readonly wanted: readonly number[];
  readonly slots: Place;
  readonly slotBytes: number;
}

export type Job = EncodeJob | DecodeJob | RebuildJob;

/** What a job gave. */
export interface JobResult {
  readonly shape: StripeShape;
  readonly bad: readonly BadShard[];
}

/** An error in a form that survives the way to another thread. */
export interface SentError {
  readonly name: string;
  readonly message: string;
  readonly code?: string | undefined;
  readonly tooFew?: Pick<TooFewShards, 'stripe' | 'good' | 'needed' | 'bad'> | undefined;
  readonly notAuthentic?: { readonly stripe: number; readonly reason: string } | undefined;
}

/** Takes an error apart. */
export function packError(error: unknown): SentError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const { name, message } = error;
  if (error instanceof TooFewShards) {
    const { stripe, good, needed, bad } = error;
    return { name, message, tooFew: { stripe, good, needed, bad } };
  }
  if (error instanceof StripeNotAuthentic) {
    return { name, message, notAuthentic: { stripe: error.stripe, reason: error.reason } };
  }
  return {
    name,
    message,
    code: 'code' in error && typeof error.code === 'string' ? error.code : undefined,
  };
}

/** Puts it together again: the codec's own classes, RangeErrors, and errors with a `code`. */
export function unpackError(sent: SentError): Error {
  if (sent.tooFew) {
    const { stripe, good, needed, bad } = sent.tooFew;
    return new TooFewShards(stripe, good, needed, bad);
  }
  if (sent.notAuthentic) return new StripeNotAuthentic(sent.notAuthentic.stripe, sent.notAuthentic.reason);
  const error = sent.name === 'RangeError' ? new RangeError(sent.message) : new Error(sent.message);
  if (sent.code !== undefined) Object.assign(error, { code: sent.code });
  return error;
}
