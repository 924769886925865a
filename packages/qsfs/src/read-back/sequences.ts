// Readers that go through a namespace in order, found by the stripes that are asked for: what lies behind is worth bringing ahead of need.
import type { VolumeFiles } from '../local/volume-files.ts';

/** Sequential readers followed at a time. */
const SEQUENCES_MAX = 32;
/** Stripes ahead of a reader at most. */
const WINDOW_MAX = 16;

interface Sequence {
  readonly files: VolumeFiles;
  /** Position (file and stripe as one number) up to which stripes were asked for. */
  position: number;
  window: number;
  usedAt: number;
}

/** The readers of all namespaces. */
export class Sequences {
  readonly #sequences: Sequence[] = [];

  /**
   * A reader is at this stripe.
   * @param limitBytes how much may be brought ahead of it
   * @param bring called for the absent stripes behind, when it goes on in order
   */
  follow(
    files: VolumeFiles,
    file: number,
    stripe: number,
    now: { readonly nowMs: number; readonly limitBytes: number },
    bring: (file: number, stripe: number) => void,
  ): void {
    const perFile = files.presence.absent.stripes;
    const position = file * perFile + stripe;
    // Parts of a file often lie in neighbouring data files, whose last stripes do not exist: a gap of a file still counts.
    const sequence = this.#sequences.find(
      (candidate) =>
        candidate.files === files &&
        position >= candidate.position - candidate.window - 1 &&
        position <= candidate.position + perFile,
    );
    if (!sequence) {
      this.#begin({ files, position, window: 1, usedAt: now.nowMs });
      return;
    }
    sequence.usedAt = now.nowMs;
    const limit = Math.floor(now.limitBytes / files.stripeBytes);
    sequence.window = Math.max(0, Math.min(WINDOW_MAX, limit, Math.max(1, sequence.window * 2)));
    let nextFile = file;
    let nextStripe = stripe + 1;
    for (let ahead = 0; ahead < sequence.window; ahead += 1) {
      if (nextStripe >= files.stripesOf(nextFile)) {
        nextFile += 1;
        nextStripe = 0;
        if (files.sizeOf(nextFile) === 0) break;
      }
      if (files.presence.absent.has(nextFile, nextStripe)) bring(nextFile, nextStripe);
      nextStripe += 1;
    }
    sequence.position = Math.max(sequence.position, nextFile * perFile + nextStripe - 1);
    if (position < sequence.position - WINDOW_MAX * 2) sequence.position = position;
  }

  #begin(sequence: Sequence): void {
    const all = this.#sequences;
    if (all.length >= SEQUENCES_MAX) {
      const oldest = all.reduce((left, right) => (left.usedAt <= right.usedAt ? left : right));
      all.splice(all.indexOf(oldest), 1);
    }
    all.push(sequence);
  }
}
