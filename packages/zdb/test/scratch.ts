// Temporary directories and engines for the tests of the engine.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Clock, realClock, realDisk, realRandom } from '@qsfs/io';
import { SimulatedClock, type SimulatedDisk } from '@qsfs/io/simulated';
import { type Engine, type EngineOptions, openEngine } from '../src/index.ts';

const opened = new Map<string, Engine[]>();

/** A directory that is removed when the test ends, after the engines on it are closed. */
export function scratchDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'zdb-test-'));
  const engines: Engine[] = [];
  opened.set(directory, engines);
  context.after(() => {
    for (const engine of engines) engine.close();
    opened.delete(directory);
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

/** The real clock, but telling a wall-clock time that the test sets. */
export function settableClock(seconds: number): Clock & { set(seconds: number): void } {
  let now = seconds;
  return {
    ...realClock,
    nowMs: () => now * 1000,
    nowSeconds: () => now,
    nowNanoseconds: () => 0,
    set: (value: number) => {
      now = value;
    },
  };
}

/** An engine on `<directory>/data` and `<directory>/index` of the real disk; closed when the test ends at the latest. */
export function openScratch(directory: string, options: Partial<EngineOptions> = {}): Engine {
  const engine = openEngine({
    disk: realDisk,
    clock: realClock,
    random: realRandom,
    dataDirectory: join(directory, 'data'),
    indexDirectory: join(directory, 'index'),
    dataSizeBytes: 268_435_456,
    sync: 'none',
    ...options,
  });
  opened.get(directory)?.push(engine);
  return engine;
}

/** An engine on `/data` and `/index` of a simulated disk, with small data files. */
export function openSimulated(disk: SimulatedDisk, options: Partial<EngineOptions> = {}): Engine {
  return openEngine({
    disk,
    clock: new SimulatedClock(),
    random: realRandom,
    dataDirectory: '/data',
    indexDirectory: '/index',
    dataSizeBytes: 524_288,
    sync: 'none',
    ...options,
  });
}

/** 8-byte key of a sequential id. */
export function idKey(id: number): Uint8Array {
  const key = Buffer.alloc(8);
  key.writeBigUInt64LE(BigInt(id));
  return key;
}
