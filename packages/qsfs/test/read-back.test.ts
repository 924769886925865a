import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FilesystemError } from '@qsfs/fuse';
import { NotLocal } from '@qsfs/zdb';
import { LocalPresence } from '../src/filesystem/local-presence.ts';
import { StripeMap } from '../src/local/stripe-map.ts';
import { dataName } from '../src/manifest.ts';
import type { Stripes, ToFilesystem } from '../src/messages.ts';
import { ReadBack } from '../src/read-back/read-back.ts';
import { contentOf, type Fixture, fixture, STRIPE } from './volume-fixture.ts';

/** Files on the backends and nowhere else. */
async function evicted(
  files: number,
): Promise<Fixture & { readBack: ReadBack; came: number[]; damaged: number[] }> {
  const made = fixture();
  const came: number[] = [];
  made.addFiles(files);
  const data = made.volume['zdbfs-data'];
  for (const file of data.files()) {
    await made.zstor.put(dataName('zdbfs-data', file, 1), {
      path: data.dataPath(file),
      lengthBytes: data.sizeOf(file),
    });
    data.catalog.setData(file, { safety: 'complete', sizeBytes: data.sizeOf(file), epoch: 1 });
    data.recordAbsent(file, 0, data.stripesOf(file));
    data.presence.flush();
    data.punch(made.disk, file, 0, data.stripesOf(file));
  }
  const damaged: number[] = [];
  const readBack = new ReadBack({
    zstor: made.zstor,
    clock: made.clock,
    disk: made.disk,
    dataDirectory: made.dataDirectory,
    volume: made.volume,
    send: made.send,
    makeRoom: () => {},
    came: (_, file) => void came.push(file),
    leaving: () => undefined,
    aheadLimitBytes: () => 64 * STRIPE,
    damaged: (_, file) => void damaged.push(file),
    log: made.log,
  });
  return { ...made, readBack, came, damaged };
}

/** The other side: what the filesystem thread knows of file 0, of which nothing is here. */
function presenceOver(readBack: ReadBack, clock: Fixture['clock']): LocalPresence {
  const absent = new StripeMap(STRIPE, 8 * STRIPE);
  absent.add(0, 0, 8);
  const maps = { 'zdbfs-meta': new StripeMap(STRIPE, STRIPE).snapshot(), 'zdbfs-data': absent.snapshot() };
  const events = {
    copy: () => undefined,
    isWaited: () => true,
    need: (stripes: Stripes) => readBack.need(stripes),
    reached: () => {},
  };
  return new LocalPresence(STRIPE, 8 * STRIPE, maps, events, () => clock.monotonicMs());
}

function need(file: number, first: number, count = 1) {
  return { namespace: 'zdbfs-data' as const, file, first, count };
}

function brought(sent: readonly ToFilesystem[]): string[] {
  return sent.flatMap((message) => (message.kind === 'brought' ? [`${message.file}/${message.first}`] : []));
}

test('a stripe that is needed comes back with its bytes', async () => {
  const { readBack, clock, sent, disk, volume, came } = await evicted(1);
  readBack.need(need(0, 5));
  await clock.run(100);
  assert.deepEqual(brought(sent), ['0/5']);
  const bytes = new Uint8Array(STRIPE);
  disk.open(volume['zdbfs-data'].dataPath(0), 'read').read(bytes, 5 * STRIPE);
  assert.deepEqual(bytes, contentOf(0, 5));
  assert.equal(volume['zdbfs-data'].localBytes, STRIPE);
  assert.deepEqual(came, [0], 'and can be evicted again');
});

test('however often it is asked for, a stripe is fetched once', async () => {
  const { readBack, clock, sent, zstor } = await evicted(1);
  zstor.gate = clock.sleep(500);
  readBack.need(need(0, 5));
  readBack.need(need(0, 5));
  await clock.run(100);
  readBack.need(need(0, 5));
  await clock.run(1000);
  assert.equal(zstor.fetched.filter((call) => call.endsWith('#5')).length, 1);
  readBack.need(need(0, 5));
  assert.ok(
    brought(sent).filter((key) => key === '0/5').length >= 2,
    'asked again when it is there: told so at once',
  );
});

test('reading in order brings the stripes behind ahead of need, also of the next file', async () => {
  const { readBack, clock, sent } = await evicted(3);
  readBack.need(need(0, 0));
  await clock.run(50);
  assert.deepEqual(brought(sent), ['0/0']);
  readBack.need(need(0, 1));
  await clock.run(50);
  for (let stripe = 2; stripe < 8; stripe += 1) {
    readBack.reached('zdbfs-data', 0, stripe);
    await clock.run(50);
  }
  assert.ok(brought(sent).includes('1/0'), brought(sent).join(' '));
  assert.ok(brought(sent).includes('2/0'), brought(sent).join(' '));
});

test('reading here and there brings nothing more than was asked for', async () => {
  const { readBack, clock, sent } = await evicted(40);
  for (const file of [30, 3, 17]) {
    readBack.need(need(file, 4));
    await clock.run(50);
  }
  assert.deepEqual(brought(sent), ['30/4', '3/4', '17/4']);
});

test('what cannot be had fails within ten seconds, and the next ones sooner', async () => {
  const { readBack, clock, sent, zstor } = await evicted(2);
  zstor.mode = 'down';
  readBack.need(need(0, 1));
  await clock.run(9000);
  assert.deepEqual(
    sent.map((message) => message.kind),
    ['failed'],
  );
  readBack.need(need(1, 1));
  await clock.run(2000);
  assert.equal(sent.length, 2);
  zstor.mode = 'up';
  readBack.need(need(0, 1));
  await clock.run(2000);
  assert.deepEqual(brought(sent), ['0/1']);
});

test('what the backends lost although its record says that it is whole is told of', async () => {
  const { readBack, clock, sent, zstor, damaged } = await evicted(2);
  zstor.rotten.add(dataName('zdbfs-data', 1, 1));
  readBack.need(need(0, 1));
  readBack.need(need(1, 1));
  await clock.run(9000);
  assert.deepEqual(
    sent.map((message) => message.kind),
    ['brought', 'failed'],
  );
  assert.deepEqual([...new Set(damaged)], [1]);
});

test('many readers of one stripe, let through one after the other, all have their error within ten seconds', async () => {
  const { readBack, clock, sent, zstor } = await evicted(1);
  zstor.gate = new Promise(() => {});
  const presence = presenceOver(readBack, clock);
  const beginMs = clock.monotonicMs();
  let answered = 0;
  const told = () => {
    for (const message of sent.splice(0)) if (message.kind === 'failed') presence.failed(message);
  };
  // As on a busy machine: each has its turn 50 ms after the one before it.
  for (let reader = 0; reader < 40; reader += 1) {
    try {
      presence.ask(new NotLocal('zdbfs-data', 0, STRIPE, 100));
      while (sent.length === 0) await clock.run(10);
      told();
    } catch (error) {
      if (!(error instanceof FilesystemError)) throw error;
    }
    answered += 1;
    await clock.run(50);
  }
  assert.equal(answered, 40);
  assert.ok(clock.monotonicMs() - beginMs < 10_000, `${clock.monotonicMs() - beginMs} ms`);
  // It does not stay so: later ones get time again, so that slow backends that came back are waited for.
  await clock.run(3500);
  zstor.gate = clock.sleep(1000);
  presence.ask(new NotLocal('zdbfs-data', 0, STRIPE, 100));
  await clock.run(1400);
  assert.ok(brought(sent).includes('0/1'));
});

test('as soon as backends are back what could not be had a moment ago is asked for again, and given time', async () => {
  const { readBack, clock, sent, zstor } = await evicted(1);
  zstor.mode = 'down';
  const presence = presenceOver(readBack, clock);
  const ask = () => presence.ask(new NotLocal('zdbfs-data', 0, STRIPE, 100));
  const told = () => {
    for (const message of sent.splice(0)) {
      if (message.kind === 'failed') presence.failed(message);
      if (message.kind === 'returned') presence.forgive();
      if (message.kind === 'brought') presence.brought(message, false);
    }
  };
  ask();
  await clock.run(9000);
  told();
  // A moment ago it could not be had, and whoever waited for something that is not here has waited for long enough.
  assert.throws(ask, FilesystemError);
  presence.gaveUp('zdbfs-data/0/2');
  zstor.mode = 'up';
  zstor.gate = clock.sleep(4000);
  readBack.returned();
  told();
  ask();
  presence.ask(new NotLocal('zdbfs-data', 0, 2 * STRIPE, 100));
  await clock.run(4500);
  told();
  assert.ok(presence.has('zdbfs-data', 0, STRIPE, 2 * STRIPE));
});

test('a backend that never answers cannot hold a reader for longer', async () => {
  const { readBack, clock, sent, zstor } = await evicted(1);
  zstor.gate = new Promise(() => {});
  readBack.need(need(0, 1));
  await clock.run(10_000);
  assert.deepEqual(
    sent.map((message) => message.kind),
    ['failed'],
  );
});

test('a slow line is waited for as long as something arrives, also by those who wait their turn', async () => {
  const { readBack, clock, sent, zstor } = await evicted(4);
  const beganMs = clock.monotonicMs();
  // 4 KiB/s, for half a minute; then nothing more.
  zstor.arrivedBytes = () => Math.min(30_000, clock.monotonicMs() - beganMs) * 4.096;
  zstor.gate = clock.sleep(25_000);
  for (let file = 0; file < 4; file += 1) readBack.need(need(file, 0, 8));
  for (let second = 0; second < 24; second += 1) {
    await clock.run(1000);
    readBack.tend();
  }
  assert.deepEqual([...new Set(sent.map(({ kind }) => kind))], ['awaited']);
  assert.ok(
    sent.some((message) => message.kind === 'awaited' && message.file === 3 && message.first === 7),
    'the last of them, which waits for its turn',
  );
  await clock.run(1500);
  assert.equal(brought(sent).length, 32);
});

test('what stops to arrive is given up within ten seconds, and so is what comes in drops', async () => {
  const { readBack, clock, sent, zstor } = await evicted(2);
  const beganMs = clock.monotonicMs();
  zstor.arrivedBytes = () => Math.min(12_000, clock.monotonicMs() - beganMs) * 10;
  zstor.gate = new Promise(() => {});
  readBack.need(need(0, 1));
  const run = async (seconds: number) => {
    for (let second = 0; second < seconds; second += 1) {
      await clock.run(1000);
      readBack.tend();
    }
    return sent.filter(({ kind }) => kind === 'failed').length;
  };
  assert.equal(await run(12), 0);
  assert.equal(await run(9), 1);
  await run(20);
  zstor.arrivedBytes = () => clock.monotonicMs();
  readBack.need(need(1, 1));
  assert.equal(await run(9), 2);
});

test('nothing is brought ahead of need on a line that is busy for seconds with what is needed', async () => {
  const { readBack, clock, zstor } = await evicted(3);
  const inOrder = async () => {
    for (let stripe = 0; stripe < 4; stripe += 1) {
      zstor.gate = clock.sleep(stripeMs);
      readBack.need(need(0, stripe));
      await clock.run(stripeMs + 10);
    }
    zstor.gate = new Promise(() => {});
    const before = zstor.fetched.length;
    readBack.need(need(1, 4));
    await clock.run(10);
    readBack.need(need(1, 5));
    await clock.run(10);
    return zstor.fetched.length - before;
  };
  const stripeMs = 5000;
  assert.equal(await inOrder(), 2);
});

test('a short outage is waited out', async () => {
  const { readBack, clock, sent, zstor } = await evicted(1);
  zstor.mode = 'down';
  readBack.need(need(0, 1));
  await clock.run(3000);
  assert.equal(sent.length, 0);
  zstor.mode = 'up';
  await clock.run(1000);
  assert.deepEqual(brought(sent), ['0/1']);
});

test('on a disk that takes nothing the bytes come from memory; with room they are kept again', async () => {
  const { readBack, clock, sent, zstor, disk, volume, logged } = await evicted(2);
  const data = volume['zdbfs-data'];
  const { capacityBytes } = disk;
  disk.capacityBytes = 0;
  const lent = () => sent.flatMap((message) => (message.kind === 'lent' ? [message] : []));
  for (let stripe = 0; stripe < 8; stripe += 1) {
    readBack.need(need(0, stripe));
    await clock.run(10);
  }
  assert.equal(sent.length, 8, 'nothing fails, nothing comes twice');
  for (const [stripe, { bytes, first }] of lent().entries()) {
    assert.equal(first, stripe);
    assert.deepEqual(bytes, contentOf(0, stripe));
  }
  assert.equal(data.localBytes, 0);
  assert.equal(disk.stat(data.dataPath(0))?.allocatedBytes, 0, 'no part of a stripe is left on the disk');
  const fetched = zstor.fetched.length;
  readBack.need(need(0, 3));
  assert.equal(lent().length, 9, 'another record of the same stripe is there at once');
  assert.equal(zstor.fetched.length, fetched);
  await clock.run(2000);
  readBack.tend();
  disk.capacityBytes = capacityBytes;
  readBack.tend();
  assert.deepEqual(sent.at(-1), { kind: 'recall' });
  readBack.need(need(0, 3));
  await clock.run(100);
  assert.equal(brought(sent)[0], '0/3');
  assert.equal(data.localBytes, brought(sent).length * STRIPE);
  assert.deepEqual(
    logged.map((line) => line.split(':')[0]),
    ['warning', 'info'],
  );
});

test('on a disk that takes nothing what cannot be had fails as ever', async () => {
  const { readBack, clock, sent, zstor, disk } = await evicted(1);
  disk.capacityBytes = 0;
  readBack.need(need(0, 0));
  await clock.run(10);
  zstor.mode = 'down';
  readBack.need(need(0, 1));
  await clock.run(9000);
  assert.deepEqual(
    sent.map(({ kind }) => kind),
    ['lent', 'failed'],
  );
});

test('closing answers everybody who waits', async () => {
  const { readBack, clock, sent, zstor } = await evicted(1);
  zstor.gate = new Promise(() => {});
  for (let stripe = 0; stripe < 8; stripe += 1) readBack.need(need(0, stripe));
  await clock.run(10);
  readBack.close();
  assert.equal(sent.filter((message) => message.kind === 'failed').length, 8);
  assert.equal(clock.pending, 0);
});
