// Writers against backends of a given speed, in simulated time: the cache limit is kept, and nobody waits for nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pace } from '../src/filesystem/pace.ts';
import { fileBytesFor } from '../src/local/cache.ts';
import { GAUGES } from '../src/messages.ts';
import { PaceKeeper } from '../src/offload/pace-keeper.ts';

const MIB = 2 ** 20;
const LIMIT = 64 * MIB;
const FILE = fileBytesFor(LIMIT, 4 * MIB, 64 * MIB);
const TICK_MS = 100;
const WRITE = MIB / 8;
/** Writes a program makes between two ticks when nothing holds it up: 1 GiB a second. */
const WRITES_PER_TICK = 800;

/** A program that writes without a pause, an offload of some speed, a cache that drops what is safe at every tick. */
class Run {
  readonly gauges = new Float64Array(16);
  nowMs = 1;
  /** Bytes a second the backends take. */
  speed: number;
  mayOffload = () => true;
  written = 0;
  moved = 0;
  mostUsed = 0;
  readonly #pace: Pace;
  readonly #keeper: PaceKeeper;

  constructor(speed: number) {
    this.speed = speed;
    const clock = { monotonicMs: () => this.nowMs };
    this.#pace = new Pace(this.gauges, clock.monotonicMs);
    const run = this;
    this.#keeper = new PaceKeeper({
      gauges: this.gauges,
      cache: {
        get usedBytes() {
          return run.used;
        },
        limitBytes: LIMIT,
        effectiveLimitBytes: () => LIMIT,
        workingBytes: () => 0,
      },
      shared: { shardFactor: 0, fileBytes: FILE },
      offload: {
        get status() {
          return {
            movedBytes: run.moved,
            pendingFiles: Math.ceil(run.pending / FILE),
            pendingBytes: run.pending,
          } as never;
        },
      },
      mayOffload: () => this.mayOffload(),
      clock,
    });
  }

  get active(): number {
    return this.written % FILE;
  }

  /** Closed and not stored; what is stored is dropped at once. */
  get pending(): number {
    return this.written - this.active - Math.floor(this.moved / FILE) * FILE;
  }

  get used(): number {
    return this.written - Math.floor(this.moved / FILE) * FILE;
  }

  go(seconds: number): number {
    const before = this.written;
    for (let tick = 0; tick < (seconds * 1000) / TICK_MS; tick++) {
      this.#keeper.adjust();
      for (let step = 0; step < 10; step++) {
        this.nowMs += TICK_MS / 10;
        if (this.mayOffload()) {
          const most = this.written - this.active;
          this.moved = Math.min(most, this.moved + (this.speed * TICK_MS) / 10_000);
        }
        for (let at = 0; at < WRITES_PER_TICK / 10 && this.#pace.open; at++) {
          this.#pace.took(WRITE);
          this.written += WRITE;
        }
        this.gauges[GAUGES.writtenBytes] = this.#pace.writtenBytes;
        this.gauges[GAUGES.activeBytes] = this.active;
        this.mostUsed = Math.max(this.mostUsed, this.used);
      }
    }
    return (this.written - before) / seconds;
  }
}

for (const speed of [5, 40, 150]) {
  test(`with backends that take ${speed} MiB a second the limit is kept, and writers get most of that`, () => {
    const run = new Run(speed * MIB);
    run.go(5);
    const rate = run.go(60);
    assert.ok(run.mostUsed <= LIMIT, `${run.mostUsed / MIB} MiB of ${LIMIT / MIB}`);
    assert.ok(rate > 0.8 * speed * MIB, `${rate / MIB} MiB a second`);
  });
}

test('when the backends take nothing writers are let go after some seconds, and held again when they do', () => {
  const run = new Run(0);
  run.go(3);
  assert.ok(run.used <= LIMIT * 1.25);
  assert.ok(run.go(2) > 100 * MIB);
  run.speed = 100 * MIB;
  run.go(1);
  assert.ok(run.go(5) < 50 * MIB);
});

test('an offload that gives way to programs does not count as one that is stuck', () => {
  const run = new Run(40 * MIB);
  run.mayOffload = () => run.pending > LIMIT / 2;
  run.go(30);
  assert.ok(run.mostUsed <= LIMIT, `${run.mostUsed / MIB} MiB`);
});

test('small writers are not held while there is room', () => {
  const gauges = new Float64Array(16);
  const pace = new Pace(gauges, () => 1);
  gauges[GAUGES.paceBytesPerSecond] = 1;
  gauges[GAUGES.freeUntilBytes] = 10 * MIB;
  for (let written = 0; written < 10; written++) {
    pace.admit();
    pace.took(MIB);
  }
  pace.admit();
  pace.took(MIB);
  assert.throws(() => pace.admit(), { name: 'WriteHeld' });
});
