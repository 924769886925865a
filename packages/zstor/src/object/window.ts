// A bounded number of things at a time.
import { ZstorError } from '../errors.ts';
import type { ObjectRecord, StripeRange } from '../types.ts';

/** Stripes are larger in large objects only (docs/adr/zstor-stripe-size.md). */
const USUAL_STRIPE_BYTES = 8 * 1024 * 1024;

/** Stripes of one object under way at a time: as many as `most` of the usual size, but no more bytes than that. At least one. */
export function stripesAtATime(most: number, stripeSizeBytes: number): number {
  return Math.max(1, Math.min(most, Math.floor((most * USUAL_STRIPE_BYTES) / stripeSizeBytes)));
}

/**
 * Runs `call` for 0 … count - 1, at most `window` at a time, in order of starting. When one fails, or the signal is
 * aborted, the others are told by their own signal, and the first failure is thrown when all have ended.
 */
export async function forEachConcurrently(
  count: number,
  window: number,
  signal: AbortSignal | undefined,
  call: (index: number, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  let failure: { readonly error: unknown } | undefined;
  const fail = (error: unknown) => {
    failure ??= { error };
    stop.abort();
  };
  const aborted = () => fail(new ZstorError('QSFS_E_ABORTED', 'given up'));
  if (signal?.aborted) aborted();
  signal?.addEventListener('abort', aborted, { once: true });
  let next = 0;
  const work = async () => {
    while (next < count && !failure) {
      const index = next++;
      try {
        await call(index, stop.signal);
      } catch (error) {
        fail(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(window, count) }, work));
  signal?.removeEventListener('abort', aborted);
  if (failure) throw failure.error;
}

/** The same for a range of an object's stripes, as many at a time as `stripesAtATime` says. */
export function forEachStripe(
  { stripeSizeBytes }: Pick<ObjectRecord, 'stripeSizeBytes'>,
  { first, count }: StripeRange,
  most: number,
  signal: AbortSignal | undefined,
  call: (stripe: number, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const window = stripesAtATime(most, stripeSizeBytes);
  return forEachConcurrently(count, window, signal, (index, stop) => call(first + index, stop));
}
