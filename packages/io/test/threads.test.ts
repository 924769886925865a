import assert from 'node:assert/strict';
import { getPriority } from 'node:os';
import { describe, it } from 'node:test';
import { startThread, threadInput } from '../src/threads.ts';

const IO = JSON.stringify(new URL('../src/threads.ts', import.meta.url).href);

/** A module from its text. */
const moduleOf = (code: string) =>
  new URL(`data:text/javascript,${encodeURIComponent(`import { threadInput } from ${IO}; ${code}`)}`);

describe('threads', () => {
  it('give way to others when asked to, alone', async () => {
    const before = getPriority();
    const thread = startThread(
      moduleOf("import { getPriority } from 'node:os'; threadInput().port.send(getPriority());"),
      undefined,
      before + 3,
    );
    const priority = await new Promise((resolve) => thread.port.onMessage(resolve));
    assert.equal(priority, before + 3);
    assert.equal(getPriority(), before);
    await thread.terminate();
  });

  it('get their input, and talk both ways, from the event loop and without one', async () => {
    const shared = new Int32Array(new SharedArrayBuffer(4));
    const thread = startThread(
      moduleOf(`
        const { input, port } = threadInput();
        port.send('hello ' + input.name);
        Atomics.wait(input.shared, 0, 0);
        const message = port.receive();
        port.send([message + 1, port.receive()]);
        port.onMessage((last) => {
          port.send(last * 2);
          port.close();
        });
      `),
      { name: 'thread', shared },
    );
    const messages: unknown[] = [];
    let next = (): void => {};
    thread.port.onMessage((message) => {
      messages.push(message);
      next();
    });
    const until = (count: number) =>
      new Promise<void>((resolve) => {
        next = () => void (messages.length >= count && resolve());
        next();
      });
    await until(1);
    thread.port.send(41);
    Atomics.store(shared, 0, 1);
    Atomics.notify(shared, 0);
    await until(2);
    thread.port.send(21);
    await until(3);
    assert.deepEqual(messages, ['hello thread', [42, undefined], 42]);
    assert.equal(await thread.ended, 0);
  });

  it('can be terminated while they wait', async () => {
    const thread = startThread(moduleOf(`threadInput().port.onMessage(() => {});`), {});
    await thread.terminate();
    assert.ok([0, 1].includes(await thread.ended), 'before it ran, or while it did');
    thread.port.close();
  });

  it('end with the error that ended them', async () => {
    const thread = startThread(moduleOf(`throw new RangeError('broken');`), {});
    await assert.rejects(thread.ended, /broken/);
    const other = startThread(new URL('data:text/javascript,import "nowhere"'), {});
    await assert.rejects(other.ended);
  });

  it('are told apart from the main thread', () => {
    assert.throws(() => threadInput(), /startThread/);
  });
});
