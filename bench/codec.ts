// `npm run bench -- codec [threads k n stripeKiB]`: stripes through the codec, file to shards and shards to file, against a
// copy of the same file in the same pieces. No network: what encryption, compression and coding cost.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { availableProcessors, realDisk, realRandom } from '../packages/io/src/index.ts';
import {
  CodecPool,
  type CodedObject,
  deriveObjectKeys,
  newObjectIdentity,
  type ShardCandidate,
} from '../packages/zstor/src/codec/index.ts';

/** The file; small enough to stay in the page cache. */
const FILE_BYTES = 64 * 1024 * 1024;
/** Passes over it per figure; the best counts. */
const PASSES = 5;

interface Setting {
  readonly threads: number;
  readonly k: number;
  readonly n: number;
  readonly stripeBytes: number;
}

/** Sentences of made-up words: compresses to a third or so, as text does. */
function text(lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  const random = realRandom.bytes(lengthBytes >> 2);
  const words = Array.from({ length: 4096 }, (_, i) => Buffer.from(`${(i * 2654435761).toString(36)} `));
  for (let at = 0, i = 0; at < lengthBytes; i++) {
    // The product of two uniform numbers: few words are frequent.
    const word = words[(random[(2 * i) % random.length]! * random[(2 * i + 1) % random.length]!) >> 4]!;
    bytes.set(word.subarray(0, lengthBytes - at), at);
    at += word.length;
  }
  return bytes;
}

/** MB/s of the best pass, and processor milliseconds per MiB in it. `stripe` is called for each, `width` at a time. */
async function rate(
  stripes: number,
  stripeBytes: number,
  width: number,
  stripe: (index: number) => Promise<void>,
): Promise<{ readonly megabytes: number; readonly processorMs: number }> {
  let best = Number.POSITIVE_INFINITY;
  let processorMs = 0;
  for (let pass = 0; pass < PASSES; pass++) {
    const start = performance.now();
    const before = process.cpuUsage();
    let next = 0;
    await Promise.all(
      Array.from({ length: width }, async () => {
        while (next < stripes) await stripe(next++);
      }),
    );
    const elapsedMs = performance.now() - start;
    if (elapsedMs >= best) continue;
    best = elapsedMs;
    const { user, system } = process.cpuUsage(before);
    processorMs = (user + system) / 1000;
  }
  const bytes = stripes * stripeBytes;
  return { megabytes: bytes / best / 1000, processorMs: processorMs / (bytes / 1048576) };
}

async function measure(folder: string, setting: Setting, name: string, content: Uint8Array): Promise<void> {
  const { threads, k, n, stripeBytes } = setting;
  const source = join(folder, name);
  const target = join(folder, `${name}.back`);
  const stripes = Math.floor(FILE_BYTES / stripeBytes);
  const [from, to] = [realDisk.open(source, 'create'), realDisk.open(target, 'create')];
  from.write(content, 0);
  const piece = new Uint8Array(stripeBytes);
  const copy = await rate(stripes, stripeBytes, 1, async (i) => {
    from.read(piece, i * stripeBytes);
    to.write(piece, i * stripeBytes);
  });
  from.close();
  to.close();

  const codec = new CodecPool({ threads });
  const { id, salt } = newObjectIdentity(realRandom);
  const keys = deriveObjectKeys(realRandom.bytes(32), salt);
  let generation = 0;
  const object = (): CodedObject => ({ id, generation, keys, k, n });
  const width = threads + 2;
  const shards: ShardCandidate[][] = [];
  let compression = '';
  const encode = await rate(stripes, stripeBytes, width, async (i) => {
    const stripe = await codec.encode(object(), i, {
      path: source,
      offset: i * stripeBytes,
      lengthBytes: stripeBytes,
    });
    compression = stripe.compression;
    stripe.release();
  });
  generation++;
  for (let i = 0; i < stripes; i++) {
    const stripe = await codec.encode(object(), i, {
      path: source,
      offset: i * stripeBytes,
      lengthBytes: stripeBytes,
    });
    shards.push(stripe.shards.map((bytes, index) => ({ index, bytes: Uint8Array.from(bytes) })));
    stripe.release();
  }
  const decode = (lost: number) =>
    rate(stripes, stripeBytes, width, async (i) => {
      const stripe = await codec.decode(object(), i, stripeBytes, shards[i]!.slice(lost, lost + k), {
        file: { path: target, offset: i * stripeBytes },
      });
      stripe.release();
    });
  const healthy = await decode(0);
  const degraded = await decode(Math.min(k, n - k));
  await codec.close();
  const cell = ({ megabytes, processorMs }: typeof encode): string =>
    `${megabytes.toFixed(0).padStart(5)} MB/s ${(megabytes / copy.megabytes).toFixed(2)}x ${processorMs.toFixed(2)} ms/MiB`;
  process.stdout.write(
    `${`${k} of ${n}, ${threads} threads, ${name} (${compression})`.padEnd(42)} encode ${cell(encode)}   decode ${cell(healthy)}` +
      `   decode, data lost ${cell(degraded)}\n`,
  );
}

/**
 * Prints rates, multiples of copying the file, and processor time, for incompressible bytes and for text.
 * @param parameters threads, k, n and stripe KiB; default: 1 thread and one per processor, 3 of 8 and 16 of 20, 4096
 */
export async function run(parameters: string[]): Promise<void> {
  const [threads, k, n, stripeKiB = 4096] = parameters.map(Number);
  const settings: Setting[] = [];
  if (parameters.length) {
    if (!threads || !k || !n || !(k <= n) || !(stripeKiB > 0)) {
      throw new RangeError('bench codec takes: threads k n [stripeKiB]');
    }
    settings.push({ threads, k, n, stripeBytes: stripeKiB * 1024 });
  } else {
    for (const [shards, all] of [
      [3, 8],
      [16, 20],
    ] as const) {
      for (const count of new Set([1, availableProcessors()])) {
        settings.push({ threads: count, k: shards, n: all, stripeBytes: stripeKiB * 1024 });
      }
    }
  }
  const folder = mkdtempSync(join(tmpdir(), 'qsfs-bench-codec-'));
  try {
    const contents = [
      ['random', realRandom.bytes(FILE_BYTES)],
      ['text', text(FILE_BYTES)],
    ] as const;
    process.stdout.write('Codec: MB/s of plain data, multiple of copying the file, processor time\n');
    for (const setting of settings) {
      for (const [name, content] of contents) await measure(folder, setting, name, content);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}
