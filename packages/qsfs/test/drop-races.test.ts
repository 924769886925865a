// What the filesystem thread believes to be local is local, however the messages between it, the cache and read-back interleave.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedRandom } from '@qsfs/io/simulated';
import { NotLocal } from '@qsfs/zdb';
import { LocalPresence } from '../src/filesystem/local-presence.ts';
import { Cache } from '../src/local/cache.ts';
import { dataName } from '../src/manifest.ts';
import { OFFLOADED, type OffloadedName, type Stripes, type ToFilesystem } from '../src/messages.ts';
import { ReadBack } from '../src/read-back/read-back.ts';
import { contentOf, type Fixture, fixture, SEGMENT, STRIPE } from './volume-fixture.ts';

const NAME = 'zdbfs-data';
const FILES = 3;

/** Both threads, with the messages between them held until a test lets one through. */
class Threads {
  readonly made: Fixture;
  readonly toFilesystem: ToFilesystem[] = [];
  readonly toMain: (() => void)[] = [];
  readonly cache: Cache;
  readonly readBack: ReadBack;
  readonly presence: LocalPresence;

  private constructor(made: Fixture) {
    this.made = made;
    const send = (message: ToFilesystem) => void this.toFilesystem.push(message);
    this.cache = new Cache({ ...made, send, limitBytes: 12 * STRIPE });
    this.readBack = new ReadBack({
      ...made,
      send,
      makeRoom: (bytes) => this.cache.tend(bytes),
      came: (namespace, file) => this.cache.consider(namespace, file),
      leaving: (namespace, file, stripe) => this.cache.leaving(namespace, file, stripe),
      aheadLimitBytes: () => 4 * STRIPE,
      damaged: () => assert.fail('nothing is damaged'),
    });
    const snapshot = (name: OffloadedName) => made.volume[name].presence.absent.snapshot();
    this.presence = new LocalPresence(
      STRIPE,
      SEGMENT,
      { 'zdbfs-meta': snapshot('zdbfs-meta'), 'zdbfs-data': snapshot('zdbfs-data') },
      {
        copy: (_, file, offset, lengthBytes) => {
          const bytes = new Uint8Array(lengthBytes);
          const from = made.disk.open(made.volume[NAME].dataPath(file), 'read');
          from.read(bytes, offset);
          from.close();
          return bytes;
        },
        isWaited: () => true,
        need: (stripes) => void this.toMain.push(() => this.readBack.need(stripes)),
        reached: (...place) => void this.toMain.push(() => this.readBack.reached(...place)),
      },
      () => made.clock.monotonicMs(),
    );
    for (const name of OFFLOADED) this.presence.reach(name, 100);
  }

  static async start(): Promise<Threads> {
    const made = fixture();
    made.addFiles(FILES);
    const data = made.volume[NAME];
    for (const file of data.files()) {
      const sizeBytes = data.sizeOf(file);
      await made.zstor.put(dataName(NAME, file, 1), { path: data.dataPath(file), lengthBytes: sizeBytes });
      data.catalog.setData(file, { safety: 'complete', sizeBytes, epoch: 1 });
    }
    return new Threads(made);
  }

  /** The filesystem thread takes its next message. */
  filesystemTurn(): void {
    const message = this.toFilesystem.shift();
    if (message?.kind === 'brought') this.presence.brought(message, message.ahead);
    else if (message?.kind === 'lent') this.presence.lent(message, message.bytes);
    else if (message?.kind === 'recall') this.presence.recall();
    else if (message?.kind === 'failed') this.presence.failed(message);
    else if (message?.kind === 'drop') {
      const given: Stripes[] = this.presence.drop(message.stripes, message.keepTouched);
      this.toMain.push(() => this.cache.dropped(message.id, given));
    }
  }

  /** The main thread takes its next message. */
  mainTurn(): void {
    this.toMain.shift()?.();
  }

  tend(): void {
    this.cache.tend();
    this.readBack.tend();
  }

  /** A program reads: what is said to be local must be right, what is not is asked for. @returns whether it was local */
  read(file: number, first: number, count: number): boolean {
    const { disk, volume } = this.made;
    const [offset, lengthBytes] = [first * STRIPE, count * STRIPE];
    const { loans } = this.presence;
    const isHere = this.presence.has(NAME, file, offset, lengthBytes);
    if (!isHere && !loans.cover(NAME, file, offset, lengthBytes)) {
      this.presence.ask(new NotLocal(NAME, file, offset, lengthBytes));
      return false;
    }
    const bytes = new Uint8Array(lengthBytes);
    const handle = disk.open(volume[NAME].dataPath(file), 'read');
    handle.read(bytes, offset);
    handle.close();
    if (!isHere) loans.patch(NAME, file, offset, bytes, lengthBytes);
    for (let stripe = 0; stripe < count; stripe += 1)
      assert.deepEqual(
        bytes.subarray(stripe * STRIPE, (stripe + 1) * STRIPE),
        contentOf(file, first + stripe),
        `stripe ${first + stripe} of d${file} is said to be here`,
      );
    return true;
  }

  /** Lets everything through. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet += 1) {
      await this.made.clock.run(50);
      if (this.toFilesystem.length + this.toMain.length > 0) quiet = 0;
      while (this.toFilesystem.length > 0) this.filesystemTurn();
      while (this.toMain.length > 0) this.mainTurn();
    }
  }
}

test('a stripe that is asked for while it is being given up is brought again', async () => {
  const threads = await Threads.start();
  void threads.cache.evictAll(false);
  await threads.settle();
  threads.readBack.bringAhead(NAME, 0, 5);
  await threads.made.clock.run(50);
  // It is here, but the filesystem thread does not know yet and asks for it; at the same time everything is to go.
  assert.equal(threads.read(0, 5, 1), false);
  void threads.cache.evictAll(false);
  await threads.made.clock.run(1);
  assert.deepEqual(
    threads.toFilesystem.map(({ kind }) => kind),
    ['brought', 'drop'],
  );
  threads.mainTurn();
  await threads.settle();
  assert.equal(threads.read(0, 5, 1), true);
});

test('in any order of messages what is said to be local is right, and what is asked for comes', async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const random = new SimulatedRandom(seed);
    const below = (limit: number) => random.below(limit);
    const threads = await Threads.start();
    try {
      for (let step = 0; step < 250; step += 1) {
        const dice = below(20);
        if (dice < 6) threads.filesystemTurn();
        else if (dice < 12) threads.mainTurn();
        else if (dice < 16) threads.read(below(FILES), below(6), 1 + below(2));
        else if (dice < 17) void threads.cache.evictAll(false);
        else if (dice < 18) threads.tend();
        else await threads.made.clock.run(below(30));
        // Every other time the disk is now full, now not.
        if (seed % 2 === 0 && below(20) === 0) threads.made.disk.capacityBytes = below(2) * 2 ** 30;
      }
      await threads.settle();
      for (let file = 0; file < FILES; file += 1) {
        for (let stripe = 0; stripe < 8; stripe += 1) {
          for (let round = 0; !threads.read(file, stripe, 1); round += 1) {
            assert.ok(round < 20, `stripe ${stripe} of d${file} does not come`);
            await threads.settle();
          }
        }
      }
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
});
