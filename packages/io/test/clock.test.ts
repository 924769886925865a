import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Clock } from '../src/clock.ts';
import { realClock } from '../src/index.ts';
import { SimulatedClock, SimulatedRandom } from '../src/simulated/index.ts';

/** What every Clock promises. `settle` lets time pass until a promise is settled. */
function describeClock(
  name: string,
  make: () => { clock: Clock; settle<T>(promise: Promise<T>): Promise<T> },
) {
  describe(`${name}: a clock`, () => {
    it('agrees with itself: milliseconds, seconds and nanoseconds are of one time', async () => {
      const { clock, settle } = make();
      let last = 0;
      for (let i = 0; i < 2000; i++) {
        const before = clock.nowMs();
        const { seconds, nanoseconds } = clock.now();
        const after = clock.nowMs();
        assert.ok(Number.isInteger(seconds) && Number.isInteger(nanoseconds));
        assert.ok(nanoseconds >= 0 && nanoseconds < 1e9);
        const ms = seconds * 1000 + Math.floor(nanoseconds / 1e6);
        assert.ok(before <= ms && ms <= after, `${before} ${ms} ${after}`);
        assert.ok(seconds + nanoseconds / 1e9 >= last, 'never backwards');
        last = seconds + nanoseconds / 1e9;
        if (i % 500 === 0) await settle(clock.sleep(1));
      }
      assert.ok(Math.abs(clock.nowSeconds() - clock.now().seconds) <= 1);
      assert.ok(clock.nowNanoseconds() < 1e9);
    });

    it('runs timers in the order in which they are due, after the call that made them', async () => {
      const { clock, settle } = make();
      const order: number[] = [];
      const start = clock.monotonicMs();
      const done = new Promise<void>((resolve) => {
        clock.after(120, () => {
          order.push(120);
          resolve();
        });
        clock.after(60, () => void order.push(60));
        clock.after(-5, () => void order.push(0));
        clock.after(1, () => void order.push(1));
      });
      assert.deepEqual(order, []);
      await settle(done);
      assert.deepEqual(order, [0, 1, 60, 120]);
      // Timers of the machine may come up to a millisecond early.
      assert.ok(clock.monotonicMs() - start >= 119);
    });

    it('does not run a cancelled timer, however often it is cancelled', async () => {
      const { clock, settle } = make();
      let ran = 0;
      const cancelled = clock.after(5, () => ran++);
      const kept = clock.after(5, () => ran++);
      cancelled.cancel();
      cancelled.cancel();
      await settle(clock.sleep(20));
      kept.cancel();
      assert.equal(ran, 1);
    });

    it('waits for delays longer than 2^31 milliseconds instead of calling at once', async () => {
      const { clock, settle } = make();
      let ran = 0;
      const timer = clock.after(2 ** 31 + 5, () => ran++);
      const background = clock.after(1e300, () => ran++, true);
      await settle(clock.sleep(20));
      assert.equal(ran, 0);
      timer.cancel();
      background.cancel();
    });

    it('sleeps, and wakes with the reason when aborted', async () => {
      const { clock, settle } = make();
      await settle(clock.sleep(0));
      await settle(clock.sleep(5, new AbortController().signal));
      const controller = new AbortController();
      const reason = new Error('enough');
      const sleeping = clock.sleep(1e9, controller.signal);
      clock.after(5, () => controller.abort(reason));
      await assert.rejects(settle(sleeping), (error) => error === reason);
      await assert.rejects(settle(clock.sleep(1e9, controller.signal)), (error) => error === reason);
    });

    it('calls soon, in order, before time passes', async () => {
      const { clock, settle } = make();
      const order: string[] = [];
      const done = new Promise<void>((resolve) => {
        clock.after(30, () => {
          order.push('timer');
          resolve();
        });
        clock.soon(() => {
          order.push('first');
          clock.soon(() => void order.push('third'));
        });
        clock.soon(() => void order.push('second'));
      });
      assert.deepEqual(order, []);
      await settle(done);
      assert.deepEqual(order, ['first', 'second', 'third', 'timer']);
    });
  });
}

describeClock('real', () => ({ clock: realClock, settle: (promise) => promise }));
describeClock('simulated', () => {
  const clock = new SimulatedClock();
  return { clock, settle: (promise) => clock.until(promise) };
});

describe('the simulated clock', () => {
  it('stands still until it is advanced', () => {
    const clock = new SimulatedClock(1_000_000);
    let ran = 0;
    clock.after(0, () => ran++);
    clock.soon(() => ran++);
    assert.equal(ran, 0);
    assert.equal(clock.pending, 1);
    clock.advance(0);
    assert.equal(ran, 2);
    clock.advance(1500.25);
    assert.equal(clock.nowMs(), 1_001_500);
    assert.deepEqual(clock.now(), { seconds: 1001, nanoseconds: 500_250_000 });
    assert.equal(clock.monotonicMs(), 1500.25);
  });

  it('shows each timer the time at which it is due', () => {
    const clock = new SimulatedClock(0);
    const times: number[] = [];
    for (const delay of [30, 10, 20]) {
      clock.after(delay, () => {
        times.push(clock.monotonicMs());
        clock.after(5, () => void times.push(clock.monotonicMs()));
      });
    }
    assert.equal(clock.nextMs, 10);
    clock.advance(30);
    assert.deepEqual(times, [10, 15, 20, 25, 30]);
    clock.advance(4);
    assert.equal(times.length, 5);
    clock.advance(1);
    assert.deepEqual(times.at(-1), 35);
    assert.equal(clock.nextMs, undefined);
  });

  it('can have its wall clock set back', () => {
    const clock = new SimulatedClock(10_000);
    let ran = 0;
    clock.after(100, () => ran++);
    clock.setWall(1000);
    clock.advance(99);
    assert.deepEqual([clock.nowMs(), clock.monotonicMs(), ran], [1099, 99, 0]);
    clock.advance(1);
    assert.equal(ran, 1);
  });

  it('lets promises go on between timers when it runs', async () => {
    const clock = new SimulatedClock();
    const log: string[] = [];
    const worker = async (name: string, stepMs: number) => {
      for (let i = 0; i < 3; i++) {
        await clock.sleep(stepMs);
        log.push(`${name} ${clock.monotonicMs()}`);
      }
    };
    void worker('a', 10);
    void worker('b', 15);
    await clock.run(40);
    assert.deepEqual(log, ['a 10', 'b 15', 'a 20', 'b 30', 'a 30']);
    await clock.run(5);
    assert.equal(log.at(-1), 'b 45');
  });

  it('says so when a promise can never be settled, and when it takes too long', async () => {
    const clock = new SimulatedClock();
    await assert.rejects(clock.until(new Promise(() => {})), /no timer will bring/);
    await assert.rejects(clock.until(clock.sleep(1001), 1000), /not settled after 1000/);
    await assert.rejects(clock.until(Promise.reject(new Error('its own'))), /its own/);
    assert.equal(await clock.until(Promise.resolve(5)), 5);
  });

  it('stops calls that make each other without end, and calls that turn the clock', () => {
    const clock = new SimulatedClock();
    const again = (): void => clock.soon(again);
    again();
    assert.throws(() => clock.advance(1), /without end/);
    const other = new SimulatedClock();
    other.after(1, () => other.advance(1));
    assert.throws(() => other.advance(1), /must not turn/);
  });

  it('passes on what a timer throws and goes on with the others', () => {
    const clock = new SimulatedClock();
    let ran = 0;
    clock.soon(() => {
      throw new Error('first');
    });
    clock.soon(() => ran++);
    clock.after(1, () => {
      throw new Error('second');
    });
    clock.after(1, () => ran++);
    assert.throws(() => clock.advance(1), /first/);
    assert.throws(() => clock.advance(1), /second/);
    assert.equal(ran, 1);
    clock.advance(0);
    assert.equal(ran, 2);
  });

  it('holds no more than it must of many cancelled timers', () => {
    const clock = new SimulatedClock();
    const order: number[] = [];
    const random = new SimulatedRandom(1);
    const kept: number[] = [];
    for (let i = 0; i < 20_000; i++) {
      const delay = random.below(1e6);
      const timer = clock.after(delay, () => void order.push(delay));
      if (i % 100 === 0) kept.push(delay);
      else timer.cancel();
    }
    assert.equal(clock.pending, 200);
    clock.advance(1e6);
    assert.deepEqual(
      order,
      kept.sort((a, b) => a - b),
    );
  });
});

describe('the simulated randomness', () => {
  it('is the published generator', () => {
    // splitmix32 fills the state of xoshiro128**; these values come from a program written apart from this one.
    const first = (seed: number) => {
      const random = new SimulatedRandom(seed);
      return [random.next(), random.next(), random.next()];
    };
    assert.deepEqual(first(0), [1789933344, 44971166, 2521387044]);
    assert.deepEqual(first(12345), [1093274547, 203003357, 3741353573]);
  });

  it('gives the same from the same seed, and other values from another', () => {
    const draw = (seed: number) => Buffer.from(new SimulatedRandom(seed).bytes(1001)).toString('hex');
    assert.equal(draw(7), draw(7));
    assert.notEqual(draw(7), draw(8));
    assert.equal(draw(-1), draw(0xffffffff));
  });

  it('is uniform below any limit', () => {
    const random = new SimulatedRandom(1);
    for (const limit of [2, 3, 10, 1000]) {
      const counts = new Array<number>(limit).fill(0);
      for (let i = 0; i < limit * 1000; i++) counts[random.below(limit)]!++;
      assert.ok(Math.min(...counts) > 800 && Math.max(...counts) < 1200, `limit ${limit}`);
    }
    assert.equal(random.below(1), 0);
    assert.equal(random.below(0), 0);
    assert.ok(Array.from({ length: 100 }, () => random.below(2 ** 32)).some((value) => value > 2 ** 31));
    assert.ok(random.bytes(0).length === 0 && random.bytes(3).length === 3);
    const hits = Array.from({ length: 10_000 }, () => random.chance(0.25)).filter(Boolean).length;
    assert.ok(hits > 2200 && hits < 2800);
    assert.throws(() => random.pick([]), RangeError);
  });

  it('forks into a generator of its own', () => {
    const [one, other] = [new SimulatedRandom(5), new SimulatedRandom(5)];
    const [first, second] = [one.fork(), other.fork()];
    one.next();
    assert.equal(first.next(), second.next());
  });
});
