// What the main thread of `zdbfs` and its filesystem thread say to each other.
import type { WakeHandle } from '@qsfs/fuse';

/** What the filesystem thread is started with. Sizes in bytes, 0: the default. */
export interface ThreadInput {
  readonly directory: string;
  readonly sizeBytes: number;
  readonly cacheBytes: number;
  readonly segmentBytes: number;
  readonly writeback: boolean;
  readonly userId: number;
  readonly groupId: number;
}

/** To the filesystem thread. `serve` once, after `opened`; `stop` is followed by a wake. */
export type ToThread =
  | { readonly kind: 'serve'; readonly descriptor: number; readonly mountPoint: string }
  | { readonly kind: 'stop' };

/** From the filesystem thread. After `refused` or `closed` it ends. */
export type FromThread =
  | { readonly kind: 'opened' }
  | { readonly kind: 'refused'; readonly message: string }
  | { readonly kind: 'serving'; readonly wake: WakeHandle }
  | { readonly kind: 'log'; readonly level: 'info' | 'warning' | 'error'; readonly message: string }
  | { readonly kind: 'closed'; readonly failure: string | undefined };
