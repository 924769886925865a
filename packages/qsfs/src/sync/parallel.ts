// Several of many things at a time.

/** Runs over items with at most so many under way; the first failure is thrown when all that run have ended. */
export async function inParallel<Item>(
  most: number,
  items: readonly Item[],
  act: (item: Item) => Promise<void>,
): Promise<void> {
  let next = 0;
  let failure: unknown;
  const lane = async () => {
    while (next < items.length && failure === undefined) {
      const item = items[next++] as Item;
      try {
        await act(item);
      } catch (error) {
        failure ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: most }, lane));
  if (failure !== undefined) throw failure;
}
