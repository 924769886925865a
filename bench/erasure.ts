// `npm run bench -- erasure [k m shardKiB]…`: the Reed-Solomon coder on one thread, against the plain kernel and a memory copy.
import {
  Arena,
  createKernel,
  type Kernel,
  plainKernel,
  ReedSolomon,
  SIMD_WORKSPACE_BYTES,
} from '../packages/erasure/src/index.ts';

/** Rounds per figure; the best counts, as everything else on the machine only makes it slower. */
const ROUNDS = 7;
const ROUND_MS = 60;

/** GB/s of the best of some rounds, each of as many calls as fill the time. */
function rate(bytesPerCall: number, call: () => void): number {
  call();
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    let calls = 0;
    let elapsedMs = 0;
    while (elapsedMs < ROUND_MS) {
      call();
      calls++;
      elapsedMs = performance.now() - start;
    }
    best = Math.min(best, elapsedMs / calls);
  }
  return bytesPerCall / best / 1e6;
}

interface Figures {
  readonly encode: number;
  readonly decode: number;
}

function measure(shards: readonly Uint8Array[], k: number, m: number, kernel: Kernel): Figures {
  const coder = new ReedSolomon(k, m, kernel);
  const bytes = k * shards[0]!.length;
  const encode = rate(bytes, () => coder.encode(shards.slice(0, k), shards.slice(k)));
  // As many data shards lost as there is parity: the worst case of a read.
  const lost = Math.min(k, m);
  const left = shards.map((shard, index) => (index < lost ? undefined : shard));
  const wanted = new Map(shards.slice(0, lost).map((shard, index) => [index, shard]));
  const decode = lost ? rate(bytes, () => coder.reconstruct(left, wanted)) : Number.NaN;
  return { encode, decode };
}

/** Places shards in the arena `gapBytes` apart. */
function place(arena: Arena, count: number, shardBytes: number, gapBytes: number): Uint8Array[] {
  const stride = shardBytes + gapBytes;
  const offset = arena.allocate(count * stride);
  if (offset === undefined) throw new RangeError(`${count} shards of ${shardBytes} bytes do not fit`);
  const shards = Array.from({ length: count }, (_, i) => arena.view(offset + i * stride, shardBytes));
  for (const [i, shard] of shards.entries()) shard.fill(i * 37 + 1);
  arena.free(offset);
  return shards;
}

/**
 * Prints the table.
 * @param parameters triples of k, m and shard KiB; default 16 4 128 and some others
 */
export async function run(parameters: string[]): Promise<void> {
  const numbers = parameters.map(Number);
  if (numbers.length % 3 !== 0 || !numbers.every((value) => value > 0)) {
    throw new RangeError('bench erasure takes triples of numbers: k m shardKiB');
  }
  const codes: (readonly [number, number, number])[] = [];
  for (let i = 0; i < numbers.length; i += 3) codes.push([numbers[i]!, numbers[i + 1]!, numbers[i + 2]!]);
  if (codes.length === 0) codes.push([16, 4, 128], [10, 4, 256], [3, 5, 1366], [4, 2, 1024], [32, 16, 128]);
  const arena = new Arena(256 << 20);
  const simd = createKernel({
    memory: arena.memory,
    workspaceOffset: arena.allocate(SIMD_WORKSPACE_BYTES)!,
  });

  const row = (cells: readonly string[]): void => {
    process.stdout.write(`${cells.map((cell, i) => (i ? cell.padStart(13) : cell.padEnd(26))).join('')}\n`);
  };
  const gigabytes = (value: number): string => `${value.toFixed(2)} GB/s`;
  const times = (value: number): string => `${value.toFixed(2)}x`;
  process.stdout.write(`Reed-Solomon, one thread, GB/s of data; kernel: ${simd.name}\n`);
  row(['code, shard', 'encode', 'x plain', 'x memcpy', 'decode', 'x plain', 'x memcpy']);
  for (const [k, m, shardKiB] of codes) {
    const shardBytes = shardKiB * 1024;
    // Stripes in storage have a 64-byte header in front of each shard; 'aligned' shows shards at distances of a power of two,
    // which all fall on the same cache sets.
    for (const [gap, label] of [
      [64, ''],
      [0, ', aligned'],
    ] as const) {
      const shards = place(arena, k + m, shardBytes, gap);
      const fast = measure(shards, k, m, simd);
      const plain = measure(shards, k, m, plainKernel);
      const [first, second] = place(arena, 2, k * shardBytes, 64) as [Uint8Array, Uint8Array];
      const copy = rate(k * shardBytes, () => second.set(first));
      row([
        `${k}+${m}, ${shardKiB} KiB${label}`,
        gigabytes(fast.encode),
        times(fast.encode / plain.encode),
        times(fast.encode / copy),
        gigabytes(fast.decode),
        times(fast.decode / plain.decode),
        times(fast.decode / copy),
      ]);
    }
  }
}
