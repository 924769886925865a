// Temporary directories and engines for the tests of the engine.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Clock, realClock, realDisk, realRandom } from '@qsfs/io';
import { type Engine, type EngineOptions, openEngine } from '../src/index.ts';

/** A directory that is removed when the test ends. */
export function scratchDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'zdb-test-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
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

/** An engine on `<directory>/data` and `<directory>/index` of the real disk; closed when the test ends. */
export function openScratch(
  context: TestContext,
  directory: string,
  options: Partial<EngineOptions> = {},
): Engine {
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
  context.after(() => engine.close());
  return engine;
}

/** 8-byte key of a sequential id. */
export function idKey(id: number): Uint8Array {
  const key = Buffer.alloc(8);
  key.writeBigUInt64LE(BigInt(id));
  return key;
}
