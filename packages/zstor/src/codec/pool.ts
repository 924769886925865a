// The codec itself: gives every call its place in the one memory, in the order of the calls, has the job done, and hands
// out views. See `Codec` (types.ts) for the contract.
import { Arena, SIMD_WORKSPACE_BYTES } from '@qsfs/erasure';
import { availableProcessors, type Disk, realDisk } from '@qsfs/io';
import { type Executor, InlineExecutor, ThreadExecutor } from './executor.ts';
import type { Job, JobResult, Place, PlacedCandidate } from './job.ts';
import { StripeMemory } from './memory.ts';
import { assertStripe, SHARD_HEADER_BYTES, shardBodyBytes, shardMaxBytes } from './shard.ts';
import type {
  Codec,
  CodedObject,
  DecodedStripe,
  DecodeTarget,
  EncodedStripe,
  FileRange,
  RebuiltShards,
  Reservation,
  ShardCandidate,
} from './types.ts';

/** Codec memory when nothing else is said: six to eight stripes of 4 MiB at k = 3, n = 8 being coded or sent, and two read. */
export const CODEC_MEMORY_BYTES = 128 * 1024 * 1024;
/** Codec threads at most, whatever the machine has. */
export const CODEC_THREADS_MAX = 16;

/** How to open a codec. */
export interface CodecOptions {
  /** 1 … 16 threads, or 0: everything on the calling thread. Default: one fewer than processors, at least 1. */
  readonly threads?: number;
  /** Limit of the memory for stripes (each thread has 1.5 MiB besides, of which little is touched). Default 128 MiB. */
  readonly memoryBytes?: number;
  /** Where file ranges are. Threads work on the real disk only: with another one everything is done on the calling thread. */
  readonly disk?: Disk;
  /** What the threads run; for tests of threads that end. Default: worker.ts. */
  readonly workerModule?: URL;
}

/** A codec with threads, or without. */
export class CodecPool implements Codec {
  readonly #arena: Arena;
  readonly #executor: Executor;
  readonly #memory: StripeMemory;

  /** @throws RangeError for impossible options */
  constructor(options: CodecOptions = {}) {
    const { memoryBytes = CODEC_MEMORY_BYTES, disk = realDisk } = options;
    const wanted = options.threads ?? Math.max(1, availableProcessors() - 1);
    if (!Number.isInteger(wanted) || wanted < 0)
      throw new RangeError(`${wanted} is no number of codec threads`);
    const threads = disk === realDisk ? Math.min(wanted, CODEC_THREADS_MAX) : 0;
    const workspaces = Math.max(1, threads);
    this.#arena = new Arena(memoryBytes + workspaces * SIMD_WORKSPACE_BYTES + 65536);
    const offsets = Array.from({ length: workspaces }, () => this.#arena.allocate(SIMD_WORKSPACE_BYTES)!);
    this.#memory = new StripeMemory(this.#arena);
    this.#executor =
      threads > 0
        ? new ThreadExecutor(this.#arena.memory, offsets, options.workerModule)
        : new InlineExecutor(this.#arena.memory, offsets[0]!, disk);
  }

  get memory(): { readonly usedBytes: number; readonly limitBytes: number } {
    return { usedBytes: this.#memory.usedBytes, limitBytes: this.#memory.limitBytes };
  }

  async encode(object: CodedObject, stripe: number, source: FileRange | Uint8Array): Promise<EncodedStripe> {
    const inMemory = source instanceof Uint8Array;
    const plainBytes = inMemory ? source.length : source.lengthBytes;
    assertStripe(object, stripe, plainBytes);
    const isPlaced = inMemory && this.#holds(source);
    // The shards, then the plain bytes, whose place is given back as soon as they are coded.
    const shardsBytes = object.n * shardMaxBytes(plainBytes, object.k);
    const region = await this.#memory.allocate('writing', shardsBytes + (isPlaced ? 0 : plainBytes));
    const placed = isPlaced
      ? { offset: source.byteOffset, lengthBytes: plainBytes }
      : { offset: region + shardsBytes, lengthBytes: plainBytes };
    if (inMemory && !isPlaced) this.#arena.bytes.set(source, placed.offset);
    const { shape } = await this.#run(region, {
      kind: 'encode',
      object,
      stripe,
      plainBytes,
      file: inMemory ? undefined : { path: source.path, offset: source.offset },
      source: placed,
      shards: { offset: region, lengthBytes: shardsBytes },
    });
    const shardBytes = SHARD_HEADER_BYTES + shardBodyBytes(shape.storedBytes, object.k);
    this.#memory.shrink(region, object.n * shardBytes);
    return {
      stripe,
      shards: Array.from({ length: object.n }, (_, i) =>
        this.#arena.view(region + i * shardBytes, shardBytes),
      ),
      shardBytes,
      compression: shape.compression,
      plainBytes,
      storedBytes: shape.storedBytes,
      release: this.#releaser(region),
    };
  }

  async decode(
    object: CodedObject,
    stripe: number,
    plainBytes: number,
    candidates: readonly ShardCandidate[],
    target: DecodeTarget,
  ): Promise<DecodedStripe> {
    assertStripe(object, stripe, plainBytes);
    assertIndices(
      object,
      candidates.map(({ index }) => index),
    );
    if (!target.bytes && !target.file) throw new RangeError('a decoded stripe must go somewhere');
    // The plain bytes, which stay; then slots for the data bodies; then what else there is of the candidates.
    const bytesLength = target.bytes ? plainBytes : 0;
    const slotBytes = longestBody(object, plainBytes, candidates);
    const slots = alignUp(bytesLength);
    const others = slots + object.k * slotBytes;
    const plan = this.#plan(candidates, slotBytes, others, (index) =>
      index < object.k ? slots + index * slotBytes : undefined,
    );
    const region = await this.#memory.allocate('reading', plan.endBytes);
    plan.copy(region);
    const { shape, bad } = await this.#run(region, {
      kind: 'decode',
      object,
      stripe,
      plainBytes,
      candidates: plan.placed(region),
      slots: { offset: region + slots, lengthBytes: object.k * slotBytes },
      slotBytes,
      bytes: target.bytes ? { offset: region, lengthBytes: bytesLength } : undefined,
      file: target.file,
    });
    return {
      stripe,
      compression: shape.compression,
      bad,
      ...this.#keep(region, bytesLength),
    };
  }

  async rebuild(
    object: CodedObject,
    stripe: number,
    plainBytes: number,
    candidates: readonly ShardCandidate[],
    wanted: readonly number[],
  ): Promise<RebuiltShards> {
    assertStripe(object, stripe, plainBytes);
    assertIndices(
      object,
      candidates.map(({ index }) => index),
    );
    assertIndices(object, wanted);
    // The wanted shards, which stay; then the candidates.
    const slotBytes = SHARD_HEADER_BYTES + longestBody(object, plainBytes, candidates);
    const slotsBytes = wanted.length * slotBytes;
    const plan = this.#plan(candidates, slotBytes - SHARD_HEADER_BYTES, slotsBytes, () => undefined);
    const region = await this.#memory.allocate('writing', plan.endBytes);
    plan.copy(region);
    const { shape, bad } = await this.#run(region, {
      kind: 'rebuild',
      object,
      stripe,
      plainBytes,
      candidates: plan.placed(region),
      wanted,
      slots: { offset: region, lengthBytes: slotsBytes },
      slotBytes,
    });
    const shardBytes = SHARD_HEADER_BYTES + shardBodyBytes(shape.storedBytes, object.k);
    const { release } = this.#keep(region, slotsBytes);
    return {
      stripe,
      shards: wanted.map((index, i) => ({
        index,
        bytes: this.#arena.view(region + i * slotBytes, shardBytes),
      })),
      bad,
      release,
    };
  }

  async reserve(lengthBytes: number): Promise<Reservation> {
    if (!(Number.isInteger(lengthBytes) && lengthBytes >= 0)) {
      throw new RangeError(`${lengthBytes} is no number of bytes`);
    }
    const region = await this.#memory.allocate('reading', lengthBytes);
    return { bytes: this.#arena.view(region, lengthBytes), release: this.#releaser(region) };
  }

  async close(): Promise<void> {
    this.#memory.close();
    await this.#executor.close();
  }

  #holds(bytes: Uint8Array): boolean {
    return bytes.buffer === this.#arena.bytes.buffer;
  }

  #releaser(region: number): () => void {
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      this.#memory.free(region);
    };
  }

  /** Has a job done; its memory is given back when it fails. */
  async #run(region: number, job: Job): Promise<JobResult> {
    try {
      return await this.#executor.run(job);
    } catch (error) {
      this.#memory.free(region);
      throw error;
    }
  }

  /** Gives back all but the first bytes of a region, or all of it when there are none to keep. */
  #keep(region: number, lengthBytes: number): { readonly bytes: Uint8Array; release(): void } {
    if (lengthBytes === 0) {
      this.#memory.free(region);
      return { bytes: new Uint8Array(0), release: () => {} };
    }
    this.#memory.shrink(region, lengthBytes);
    return { bytes: this.#arena.view(region, lengthBytes), release: this.#releaser(region) };
  }

  /**
   * Decides where candidates go in a region: bodies to `bodyAt`, or with the headers from `from` on. Those in codec memory
   * stay where they are. Bodies too long to be right are left behind.
   */
  #plan(
    candidates: readonly ShardCandidate[],
    bodyMaxBytes: number,
    from: number,
    bodyAt: (index: number) => number | undefined,
  ) {
    let end = alignUp(from);
    const take = (lengthBytes: number): number => {
      const at = end;
      end = alignUp(end + lengthBytes);
      return at;
    };
    const planned = candidates.map(({ index, bytes }) => {
      const headerBytes = Math.min(SHARD_HEADER_BYTES, bytes.length);
      const length = bytes.length - headerBytes;
      const bodyBytes = length > bodyMaxBytes ? 0 : length;
      if (this.#holds(bytes)) return { index, bytes, headerBytes, bodyBytes, header: -1, body: -1 };
      const header = take(SHARD_HEADER_BYTES);
      return { index, bytes, headerBytes, bodyBytes, header, body: bodyAt(index) ?? take(bodyBytes) };
    });
    return {
      endBytes: end,
      copy: (region: number): void => {
        for (const { bytes, headerBytes, bodyBytes, header, body } of planned) {
          if (header < 0) continue;
          this.#arena.bytes.set(bytes.subarray(0, headerBytes), region + header);
          this.#arena.bytes.set(bytes.subarray(headerBytes, headerBytes + bodyBytes), region + body);
        }
      },
      placed: (region: number): PlacedCandidate[] =>
        planned.map(({ index, bytes, headerBytes, bodyBytes, header, body }) => {
          const inPlace = header < 0;
          const place = (offset: number, lengthBytes: number): Place => ({ offset, lengthBytes });
          return {
            index,
            header: place(inPlace ? bytes.byteOffset : region + header, headerBytes),
            body: place(inPlace ? bytes.byteOffset + headerBytes : region + body, bodyBytes),
          };
        }),
    };
  }
}

/** Places in a region start at multiples of 64 bytes. */
function alignUp(bytes: number): number {
  return Math.ceil(bytes / 64) * 64;
}

/** @throws RangeError when an index is no shard's, or is there twice */
function assertIndices(object: CodedObject, indices: readonly number[]): void {
  const seen = new Set<number>();
  for (const index of indices) {
    if (!(Number.isInteger(index) && index >= 0 && index < object.n) || seen.has(index)) {
      throw new RangeError(`shard ${index} of ${object.n} is impossible or there twice`);
    }
    seen.add(index);
  }
}

/** Length of the longest body among the candidates that can be right. */
function longestBody(object: CodedObject, plainBytes: number, candidates: readonly ShardCandidate[]): number {
  const limit = shardMaxBytes(plainBytes, object.k) - SHARD_HEADER_BYTES;
  let longest = 0;
  for (const { bytes } of candidates) {
    const length = bytes.length - SHARD_HEADER_BYTES;
    if (length > longest && length <= limit) longest = length;
  }
  return longest;
}
