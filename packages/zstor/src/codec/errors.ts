// Errors of the codec. The object store turns them into what its users see.
import type { BadShard } from './types.ts';

/** Fewer than k of the candidates were good. Fetch others and call again with all that are not named here. */
export class TooFewShards extends Error {
  override readonly name = 'TooFewShards';
  readonly code = 'QSFS_E_TOO_FEW_SHARDS';
  readonly stripe: number;
  readonly good: number;
  readonly needed: number;
  readonly bad: readonly BadShard[];

  constructor(stripe: number, good: number, needed: number, bad: readonly BadShard[]) {
    const names = bad.map((shard) => `${shard.index} (${shard.defect})`).join(', ');
    super(`stripe ${stripe}: ${good} good shards, ${needed} needed${names ? `; bad: ${names}` : ''}`);
    this.stripe = stripe;
    this.good = good;
    this.needed = needed;
    this.bad = bad;
  }
}

/** k authentic shards did not give an authentic stripe: the wrong key for the contents, or a defect of the program. */
export class StripeNotAuthentic extends Error {
  override readonly name = 'StripeNotAuthentic';
  readonly code = 'QSFS_E_STRIPE_NOT_AUTHENTIC';
  readonly stripe: number;
  readonly reason: string;

  constructor(stripe: number, reason: string) {
    super(`stripe ${stripe}: ${reason}`);
    this.stripe = stripe;
    this.reason = reason;
  }
}

/** The codec was closed before the call was done. */
export class CodecClosed extends Error {
  override readonly name = 'CodecClosed';
  readonly code = 'QSFS_E_CODEC_CLOSED';

  constructor() {
    super('the codec was closed');
  }
}

/** The thread that did the work ended unexpectedly. It is replaced; calling again is safe where the source is unchanged. */
export class WorkerCrashed extends Error {
  override readonly name = 'WorkerCrashed';
  readonly code = 'QSFS_E_WORKER_CRASHED';

  constructor(reason: string) {
    super(`a codec thread ended: ${reason}`);
  }
}
