// Message descriptors, through the C library and through Node.
import assert from 'node:assert/strict';
import { fstatSync } from 'node:fs';
import { describe, it } from 'node:test';
import { ERRNO, type Libc, loadLibc, openRealDevice } from '../src/index.ts';

const NONBLOCKING = 0o4000;
const libc = loadLibc();

for (const [name, through] of [
  ['through the C library', libc],
  ['through Node', undefined],
] as const) {
  describe(`a device ${name}`, () => {
    const eventfd = (flags: number) => (libc as Libc).eventfd(0, flags);

    it('sends and receives whole messages', () => {
      const device = openRealDevice(eventfd(0), through);
      const message = new Uint8Array(16);
      message[0] = 7;
      assert.equal(device.send(message, 8), 8);
      const target = new Uint8Array(64);
      assert.equal(device.receive(target), 8);
      assert.equal(target[0], 7);
      device.close();
    });

    it('answers minus the errno where nothing waits and where the message is refused', () => {
      const device = openRealDevice(eventfd(NONBLOCKING), through);
      assert.equal(device.receive(new Uint8Array(8)), -ERRNO.EAGAIN);
      assert.equal(device.send(new Uint8Array(8), 4), -ERRNO.EINVAL);
      device.close();
      assert.equal(device.receive(new Uint8Array(8)), -ERRNO.EBADF);
    });

    it('closes once: the second time the descriptor may be somebody else’s', () => {
      const descriptor = eventfd(0);
      const device = openRealDevice(descriptor, through);
      device.close();
      assert.throws(() => fstatSync(descriptor), { code: 'EBADF' });
      const again = eventfd(0);
      assert.equal(again, descriptor);
      device.close();
      assert.ok(fstatSync(again));
      openRealDevice(again, through).close();
    });
  });
}

it('only the C library can make a device never block', () => {
  const descriptor = (libc as Libc).eventfd(0, 0);
  assert.equal(openRealDevice(descriptor, undefined).neverBlock(), false);
  const device = openRealDevice(descriptor, libc);
  assert.equal(device.neverBlock(), true);
  assert.equal(device.receive(new Uint8Array(8)), -ERRNO.EAGAIN);
  device.close();
});
