// The main thread's end of the housekeeping thread (housekeeper-thread.ts).
import { startThread, type Thread } from '@qsfs/io';

/** A request to the thread. */
export type ToHousekeeper = { readonly id: number } & (
  | { readonly kind: 'datasync' | 'hash'; readonly path: string }
  | { readonly kind: 'invalidate'; readonly descriptor: number; readonly inodes: Float64Array }
);

/** Its answer. */
export interface FromHousekeeper {
  readonly id: number;
  readonly result?: Hashed | number;
  readonly error?: string;
}

/** A file's content in 16 bytes, and the state it was in. */
export interface Hashed {
  readonly hash: Uint8Array;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

/** Slow work on local files, one piece after the other, on a thread of its own. */
export interface Housekeeping {
  /** Returns when the file's bytes are on stable storage. */
  datasync(path: string): Promise<void>;
  hash(path: string): Promise<Hashed>;
  /** Makes the kernel forget the cached contents of inodes; returns how many it knew. */
  invalidate(descriptor: number, inodes: Float64Array): Promise<number>;
  close(): Promise<void>;
}

type Work = ToHousekeeper extends infer Request ? Omit<Request & object, 'id'> : never;

/** Starts the thread. */
export function startHousekeeper(): Housekeeping {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const thread: Thread = startThread(
    new URL(`./housekeeper-thread.${extension}`, import.meta.url),
    undefined,
  );
  const waiting = new Map<
    number,
    { resolve: (result: Hashed | number) => void; reject: (error: Error) => void }
  >();
  let nextId = 1;
  thread.port.onMessage((message) => {
    const answer = message as FromHousekeeper;
    const waiter = waiting.get(answer.id);
    waiting.delete(answer.id);
    if (answer.error !== undefined) waiter?.reject(new Error(answer.error));
    else waiter?.resolve(answer.result ?? 0);
  });
  const fail = (error: Error) => {
    for (const waiter of waiting.values()) waiter.reject(error);
    waiting.clear();
  };
  thread.ended.then(() => fail(new Error('the housekeeping thread has ended')), fail);
  const ask = (work: Work & Record<string, unknown>): Promise<Hashed | number> =>
    new Promise((resolve, reject) => {
      const id = nextId++;
      waiting.set(id, { resolve, reject });
      thread.port.send({ id, ...work });
    });
  return {
    datasync: async (path) => void (await ask({ kind: 'datasync', path })),
    hash: async (path) => (await ask({ kind: 'hash', path })) as Hashed,
    invalidate: async (descriptor, inodes) =>
      (await ask({ kind: 'invalidate', descriptor, inodes })) as number,
    close: () => thread.terminate(),
  };
}
