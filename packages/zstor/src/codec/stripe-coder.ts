// Does the jobs of a codec, one after the other, on one thread: reads and writes local files, compresses, encrypts, codes
// and checks. All bytes are in a memory shared with the thread that gives the jobs; that thread decides the places and must
// not touch them until the job is done. Formats: docs/formats/objects.md, "Stripes and shards".
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { createKernel, type Kernel, ReedSolomon, type SharedMemory } from '@qsfs/erasure';
import { type Disk, errorCode, IoError } from '@qsfs/io';
import { compress, decompress } from './compression.ts';
import { discard } from './discard.ts';
import { StripeNotAuthentic, TooFewShards } from './errors.ts';
import type { DecodeJob, EncodeJob, Job, JobResult, Place, PlacedCandidate, RebuildJob } from './job.ts';
import {
  inspectShard,
  SHARD_HEADER_BYTES,
  STRIPE_TAG_BYTES,
  type StripeShape,
  sealShard,
  shardBodyBytes,
  stripeAdditionalData,
  stripeNonce,
} from './shard.ts';
import type { BadShard, CodedObject, StripeFile } from './types.ts';

/** Coders (with their matrices) kept, one per k and n; the least recently used goes. */
const CODERS_MAX = 16;
/**
 * Bytes per call of the cipher. Its result is a new buffer that is copied into place at once: 512 KiB stay in the second-level
 * cache on the way, and the call's own cost is small against them.
 */
const CIPHER_CALL_BYTES = 512 * 1024;

/** Good candidates that agree with each other. */
interface Agreeing {
  readonly shape: StripeShape;
  readonly bodies: Map<number, Uint8Array>;
}

/** The codec's work, without its threads. */
export class StripeCoder {
  readonly #bytes: Uint8Array;
  readonly #kernel: Kernel;
  readonly #disk: Disk;
  readonly #coders = new Map<string, ReedSolomon>();

  /**
   * @param memory where the jobs' places are
   * @param workspaceOffset of `SIMD_WORKSPACE_BYTES` of it for this coder alone
   * @param disk for the jobs' files
   */
  constructor(memory: SharedMemory, workspaceOffset: number, disk: Disk) {
    this.#bytes = new Uint8Array(memory.buffer);
    this.#kernel = createKernel({ memory, workspaceOffset });
    this.#disk = disk;
  }

  /** @throws TooFewShards, StripeNotAuthentic, or the disk's error */
  run(job: Job): JobResult {
    switch (job.kind) {
      case 'encode':
        return this.#encode(job);
      case 'decode':
        return this.#decode(job);
      case 'rebuild':
        return this.#rebuild(job);
    }
  }

  #view(place: Place): Uint8Array {
    return this.#bytes.subarray(place.offset, place.offset + place.lengthBytes);
  }

  #coder({ k, n }: CodedObject): ReedSolomon {
    const key = `${k} ${n}`;
    const coder = this.#coders.get(key) ?? new ReedSolomon(k, n - k, this.#kernel);
    this.#coders.delete(key);
    this.#coders.set(key, coder);
    if (this.#coders.size > CODERS_MAX) {
      for (const oldest of this.#coders.keys()) {
        this.#coders.delete(oldest);
        break;
      }
    }
    return coder;
  }

  #encode(job: EncodeJob): JobResult {
    const { object, stripe, plainBytes } = job;
    const source = this.#view(job.source);
    if (job.file) this.#readFile(job.file.path, job.file.offset, source);
    const { compression, contents } = compress(source);
    const shape = { compression, plainBytes, storedBytes: contents.length + STRIPE_TAG_BYTES };
    const bodyBytes = shardBodyBytes(shape.storedBytes, object.k);
    const shardBytes = SHARD_HEADER_BYTES + bodyBytes;
    const shards: Uint8Array[] = [];
    const bodies: Uint8Array[] = [];
    for (let index = 0; index < object.n; index++) {
      const shard = this.#view({ offset: job.shards.offset + index * shardBytes, lengthBytes: shardBytes });
      shards.push(shard);
      bodies.push(shard.subarray(SHARD_HEADER_BYTES));
    }
    const dataBodies = bodies.slice(0, object.k);
    encrypt(object, stripe, shape, contents, dataBodies);
    if (compression === 'zstd') discard(contents);
    this.#coder(object).encode(dataBodies, bodies.slice(object.k));
    for (const [index, shard] of shards.entries()) sealShard(shard, object, stripe, index, shape);
    return { shape, bad: [] };
  }

  #decode(job: DecodeJob): JobResult {
    const { object, stripe, plainBytes } = job;
    const bad: BadShard[] = [];
    const { shape, bodies } = this.#inspect(job, bad);
    const bodyBytes = shardBodyBytes(shape.storedBytes, object.k);
    const slots = this.#view(job.slots);

    const missing = new Map<number, Uint8Array>();
    const dataBodies: Uint8Array[] = [];
    for (let index = 0; index < object.k; index++) {
      const slot = slots.subarray(index * job.slotBytes, index * job.slotBytes + bodyBytes);
      const body = bodies.get(index);
      if (!body) missing.set(index, slot);
      dataBodies.push(body ?? slot);
    }
    this.#reconstruct(object, bodies, missing);

    // The contents of a plain stripe go where the bytes are wanted. Others, and all that is only for the disk, go over the
    // slots: contents are never behind the body they come from, so nothing is overwritten that is still to be read.
    const bytes = job.bytes && this.#view(job.bytes);
    const contentsBytes = shape.storedBytes - STRIPE_TAG_BYTES;
    const target = shape.compression === 'plain' && bytes ? bytes : slots;
    decrypt(object, stripe, shape, dataBodies, target);
    const plain = expand(stripe, shape, target.subarray(0, contentsBytes));
    if (plain && plain.length !== plainBytes) {
      throw new StripeNotAuthentic(stripe, `it has ${plain.length} bytes, not ${plainBytes}`);
    }
    if (bytes && !plain) bytes.fill(0);
    else if (bytes && plain && target !== bytes) bytes.set(plain);
    try {
      if (job.file) this.#writeFile(job.file, plain, plainBytes);
    } finally {
      if (plain && shape.compression === 'zstd') discard(plain);
    }
    return { shape, bad };
  }

  #rebuild(job: RebuildJob): JobResult {
    const { object, stripe, wanted } = job;
    const bad: BadShard[] = [];
    const { shape, bodies } = this.#inspect(job, bad);
    const shardBytes = SHARD_HEADER_BYTES + shardBodyBytes(shape.storedBytes, object.k);
    const shards = wanted.map((_, i) =>
      this.#view({ offset: job.slots.offset + i * job.slotBytes, lengthBytes: shardBytes }),
    );
    // A wanted shard may be among the candidates that were used: then it is there already.
    const missing = new Map<number, Uint8Array>();
    for (const [i, index] of wanted.entries()) {
      const target = shards[i]!.subarray(SHARD_HEADER_BYTES);
      const body = bodies.get(index);
      if (body) target.set(body);
      else missing.set(index, target);
    }
    this.#reconstruct(object, bodies, missing);
    for (const [i, index] of wanted.entries()) sealShard(shards[i]!, object, stripe, index, shape);
    return { shape, bad };
  }

  /** Makes missing bodies from exactly k others. */
  #reconstruct(
    object: CodedObject,
    bodies: ReadonlyMap<number, Uint8Array>,
    missing: ReadonlyMap<number, Uint8Array>,
  ): void {
    if (missing.size === 0) return;
    const shards = Array.from({ length: object.n }, (_, index) => bodies.get(index));
    this.#coder(object).reconstruct(shards, missing);
  }

  /** Finds k good candidates that agree, data shards first; the wrong ones it met on the way go to `bad`. */
  #inspect(job: DecodeJob | RebuildJob, bad: BadShard[]): Agreeing {
    const { object, stripe, plainBytes } = job;
    const order = [...job.candidates].sort((a, b) => a.index - b.index);
    const groups = new Map<string, Agreeing>();
    let largest: Agreeing | undefined;
    for (const candidate of order) {
      const shape = this.#inspectOne(job, candidate, bad);
      if (!shape) continue;
      const key = `${shape.compression} ${shape.storedBytes}`;
      const group = groups.get(key) ?? { shape, bodies: new Map() };
      groups.set(key, group);
      group.bodies.set(candidate.index, this.#view(candidate.body));
      if (!largest || group.bodies.size > largest.bodies.size) largest = group;
      if (group.bodies.size === object.k) break;
    }
    for (const group of groups.values()) {
      if (group === largest) continue;
      for (const index of group.bodies.keys()) bad.push({ index, defect: 'disagrees' });
    }
    if (!largest || largest.bodies.size < object.k) {
      throw new TooFewShards(stripe, largest?.bodies.size ?? 0, object.k, bad);
    }
    if (largest.shape.storedBytes > plainBytes + STRIPE_TAG_BYTES) {
      throw new StripeNotAuthentic(stripe, 'it is stored longer than it is');
    }
    return largest;
  }

  #inspectOne(
    job: DecodeJob | RebuildJob,
    candidate: PlacedCandidate,
    bad: BadShard[],
  ): StripeShape | undefined {
    const { index } = candidate;
    const header = this.#view(candidate.header);
    const inspection = inspectShard(
      job.object,
      job.stripe,
      job.plainBytes,
      index,
      header,
      this.#view(candidate.body),
    );
    if ('shape' in inspection) return inspection.shape;
    bad.push({ index, defect: inspection.defect });
    return undefined;
  }

  #readFile(path: string, offset: number, target: Uint8Array): void {
    const file = this.#disk.open(path, 'read');
    try {
      const got = file.read(target, offset);
      if (got < target.length) {
        throw new IoError('EIO', `${path} ends at ${offset + got}, before byte ${offset + target.length}`);
      }
    } finally {
      file.close();
    }
  }

  /** Writes plain bytes, or `lengthBytes` zeros: as a hole where the file and the disk allow it. */
  #writeFile(target: StripeFile, plain: Uint8Array | undefined, lengthBytes: number): void {
    const { offset } = target;
    const file = this.#disk.open(target.path, 'write');
    try {
      if (plain) {
        file.write(plain, offset);
        if (target.willSync) file.startWriteback(offset, lengthBytes);
        return;
      }
      if (file.size() < offset + lengthBytes) file.truncate(offset + lengthBytes);
      try {
        file.punchHole(offset, lengthBytes);
      } catch (error) {
        const code = errorCode(error);
        if (code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error;
        file.write(new Uint8Array(lengthBytes), offset);
      }
    } finally {
      file.close();
    }
  }
}

/** Encrypts the contents into the data bodies: ciphertext, tag, zeros. */
function encrypt(
  object: CodedObject,
  stripe: number,
  shape: StripeShape,
  contents: Uint8Array,
  bodies: readonly Uint8Array[],
): void {
  const cipher = createCipheriv('aes-256-gcm', object.keys.contents, stripeNonce(object, stripe));
  cipher.setAAD(stripeAdditionalData(object, stripe, shape));
  const bodyBytes = bodies[0]!.length;
  let at = 0;
  while (at < contents.length) {
    // Up to the end of a body, so that each result goes to one place.
    const length = Math.min(CIPHER_CALL_BYTES, contents.length - at, bodyBytes - (at % bodyBytes));
    const result = cipher.update(contents.subarray(at, at + length));
    bodies[Math.floor(at / bodyBytes)]!.set(result, at % bodyBytes);
    discard(result);
    at += length;
  }
  cipher.final();
  // The tag and the padding: 16 bytes and fewer than k * 16 and a few more.
  const tag = cipher.getAuthTag();
  for (let i = 0; at < bodyBytes * bodies.length; i++, at++) {
    bodies[Math.floor(at / bodyBytes)]![at % bodyBytes] = tag[i] ?? 0;
  }
}

/**
 * Decrypts the data bodies.
 * @param target receives the contents; may be the memory the bodies are in, if no body is before where its contents go
 * @throws StripeNotAuthentic
 */
function decrypt(
  object: CodedObject,
  stripe: number,
  shape: StripeShape,
  bodies: readonly Uint8Array[],
  target: Uint8Array,
): void {
  const bodyBytes = bodies[0]!.length;
  const contentsBytes = shape.storedBytes - STRIPE_TAG_BYTES;
  const byteAt = (at: number): number => bodies[Math.floor(at / bodyBytes)]![at % bodyBytes]!;
  const tag = Uint8Array.from({ length: STRIPE_TAG_BYTES }, (_, i) => byteAt(contentsBytes + i));
  const decipher = createDecipheriv('aes-256-gcm', object.keys.contents, stripeNonce(object, stripe), {
    authTagLength: STRIPE_TAG_BYTES,
  });
  decipher.setAAD(stripeAdditionalData(object, stripe, shape));
  decipher.setAuthTag(tag);
  for (let at = 0; at < contentsBytes; ) {
    const from = at % bodyBytes;
    const length = Math.min(CIPHER_CALL_BYTES, contentsBytes - at, bodyBytes - from);
    const result = decipher.update(bodies[Math.floor(at / bodyBytes)]!.subarray(from, from + length));
    target.set(result, at);
    discard(result);
    at += length;
  }
  try {
    decipher.final();
  } catch {
    throw new StripeNotAuthentic(stripe, 'its shards are right but its contents are not');
  }
}

/** The plain bytes of decrypted contents; undefined for zeros. */
function expand(stripe: number, shape: StripeShape, contents: Uint8Array): Uint8Array | undefined {
  switch (shape.compression) {
    case 'plain':
      return contents;
    case 'zstd':
      try {
        return decompress(contents, shape.plainBytes);
      } catch (error) {
        throw new StripeNotAuthentic(stripe, `it cannot be decompressed: ${(error as Error).message}`);
      }
    case 'zero':
      return undefined;
  }
}
