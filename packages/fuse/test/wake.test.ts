// Waking the session's thread from others: nothing is missed, nothing is written after the end.
import assert from 'node:assert/strict';
import { fstatSync } from 'node:fs';
import { test } from 'node:test';
import { ERRNO, loadLibc, openRealDevice, realDisk, startThread } from '@qsfs/io';
import { type Channel, ENDED, openChannel } from '../src/channel.ts';
import { wake } from '../src/index.ts';
import { ScriptedDevice } from './scripted-device.ts';

const libc = loadLibc();
const io = { libc, openDevice: openRealDevice, disk: realDisk };

/** A mount nobody uses. */
class SilentDevice extends ScriptedDevice {
  override receive(): number {
    return -ERRNO.EAGAIN;
  }
}

const target = new Uint8Array(64);

function polled(): Channel {
  assert.ok(libc, 'koffi must load on the machines that run the tests');
  return openChannel(new SilentDevice([]), libc, '/nowhere');
}

function eventDescriptor(channel: Channel): number {
  assert.equal(channel.wakeHandle.kind, 'eventfd');
  return channel.wakeHandle.kind === 'eventfd' ? channel.wakeHandle.descriptor : -1;
}

test('a wake ends a wait that has no time-out', () => {
  const channel = polled();
  wake(channel.wakeHandle, io);
  channel.await(target, -1);
  assert.ok(channel.takeWake());
  assert.ok(!channel.takeWake());
  channel.close();
});

test('a request that comes soon is handed over without sleeping, and the end of the mount is told', () => {
  assert.ok(libc);
  const request = Uint8Array.of(1, 2, 3);
  const device = new ScriptedDevice([() => {}, () => {}, request]);
  const channel = openChannel(device, { ...libc, poll: () => assert.fail('it slept') }, '/nowhere');
  assert.equal(channel.await(target, -1), request.length);
  assert.deepEqual(target.subarray(0, 3), request);
  assert.equal(channel.await(target, -1), ENDED);
  channel.close();
});

test('many wakes before the session looks are one', () => {
  const channel = polled();
  for (let turn = 0; turn < 100; turn++) wake(channel.wakeHandle, io);
  assert.ok(channel.takeWake());
  assert.ok(!channel.takeWake());
  channel.close();
});

test('a wake taken without waiting still leaves the descriptor clean at the end', () => {
  const channel = polled();
  wake(channel.wakeHandle, io);
  assert.ok(channel.takeWake());
  const descriptor = eventDescriptor(channel);
  channel.close();
  assert.throws(() => fstatSync(descriptor), { code: 'EBADF' });
});

test('hundreds of wakes taken without waiting leave the descriptor clean too', () => {
  const channel = polled();
  for (let round = 0; round < 300; round++) {
    wake(channel.wakeHandle, io);
    assert.ok(channel.takeWake());
  }
  const descriptor = eventDescriptor(channel);
  channel.close();
  assert.throws(() => fstatSync(descriptor), { code: 'EBADF' });
});

test('after the end a wake touches nothing', () => {
  const channel = polled();
  const handle = channel.wakeHandle;
  channel.close();
  channel.close();
  wake(handle, {
    ...io,
    openDevice: () => assert.fail('somebody else may own that descriptor by now'),
  });
});

test('without FFI the mount is asked for its space, once until the session looks', () => {
  const asked: string[] = [];
  const channel = openChannel(new ScriptedDevice([]), undefined, '/the/mount');
  const counting = {
    libc: undefined,
    openDevice: openRealDevice,
    disk: {
      space: (path: string) => {
        asked.push(path);
        return { totalBytes: 0, availableBytes: 0 };
      },
    },
  };
  wake(channel.wakeHandle, counting);
  wake(channel.wakeHandle, counting);
  assert.deepEqual(asked, ['/the/mount']);
  assert.ok(channel.takeWake());
  wake(channel.wakeHandle, counting);
  assert.equal(asked.length, 2);
  channel.close();
});

test('no wake of a busy thread is ever lost', async () => {
  const channel = polled();
  const rounds = 20_000;
  const counter = new SharedArrayBuffer(4);
  const told = new Int32Array(counter);
  const thread = startThread(new URL('./wake-thread.ts', import.meta.url), {
    handle: channel.wakeHandle,
    counter,
    rounds,
  });
  let seen = 0;
  let waits = 0;
  // What was told before a wake is visible when the wake is taken: the last round must be seen without any time-out.
  while (seen < rounds) {
    if (channel.takeWake()) seen = Atomics.load(told, 0);
    else {
      channel.await(target, 10_000);
      waits++;
    }
  }
  // A wake may end two waits: one by its flag, while the thread looks, and a later one by its eventfd.
  assert.ok(waits <= 2 * rounds + 1);
  assert.equal(await thread.ended, 0);
  const descriptor = eventDescriptor(channel);
  channel.close();
  assert.throws(() => fstatSync(descriptor), { code: 'EBADF' });
});
