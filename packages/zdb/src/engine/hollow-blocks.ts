// Which blocks of a data file a hollow record has given back (docs/formats/zdb.md, "Hollow records").

/** Only whole blocks of this size are given back: filesystems have none that are larger, or keep what is less than theirs. */
export const BLOCK_BYTES = 4096;

/** Where the whole blocks between two offsets of a file begin and end; nothing when `to <= from`. */
export function wholeBlocks(start: number, end: number): { from: number; to: number } {
  return {
    from: Math.ceil(start / BLOCK_BYTES) * BLOCK_BYTES,
    to: Math.floor(end / BLOCK_BYTES) * BLOCK_BYTES,
  };
}

/** Whether a payload that stands at an offset looks as if it had been given up: it has whole blocks, and all of them are zeros. */
export function isHollow(payload: Uint8Array, start: number): boolean {
  const { from, to } = wholeBlocks(start, start + payload.length);
  return to > from && payload.subarray(from - start, to - start).every((byte) => byte === 0);
}
