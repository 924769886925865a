// Deletes shards nobody refers to any more. What cannot be deleted now (its backend is down) stays as garbage and costs
// nothing but room; it is never an error.
import { isBackendError } from '../backend/backend.ts';
import type { StripeTable } from '../metadata/stripe-table.ts';
import type { DataBackends } from './data-backends.ts';
import { forEachConcurrently } from './window.ts';

/** Stripes whose shards are being deleted at a time. */
const REMOVAL_WINDOW = 16;

/**
 * Deletes every shard of a table, but those that `kept` has at the same place.
 * @returns shards that could not be deleted
 */
export async function removeShards(
  table: StripeTable,
  backends: DataBackends,
  kept?: StripeTable,
): Promise<number> {
  let left = 0;
  await forEachConcurrently(table.stripeCount, REMOVAL_WINDOW, undefined, async (stripe) => {
    const deletions = table.places(stripe).map(async ({ index, backend: name, location }) => {
      const same = kept?.place(stripe, index);
      if (
        same?.backend === name &&
        same.location.incarnation === location.incarnation &&
        same.location.key === location.key
      ) {
        return;
      }
      try {
        const backend = backends.find(name);
        if (backend) await backend.store.delete(location);
        else left++;
      } catch (error) {
        if (!isBackendError(error)) throw error;
        left++;
      }
    });
    await Promise.all(deletions);
  });
  return left;
}
