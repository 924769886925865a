// The volume on the real engine and a simulated disk: power fails at every operation of the disk, and of what was not
// synced nothing, all, a prefix, any part, or torn pieces survive. QSFS_CRASH_STRIDE=1 runs every point (minutes).
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  crashPolicies,
  SimulatedClock,
  SimulatedCrash,
  SimulatedDisk,
  SimulatedRandom,
} from '@qsfs/io/simulated';
import { openLocalVolume } from '../src/local-volume.ts';
import type { Volume } from '../src/volume.ts';
import { assertConsistent, create, ROOT, read, write } from './volume-fixture.ts';
import { CUT, DURABLE, essence, LIMITS, workload } from './workload.ts';

const STRIDE = Number(process.env['QSFS_CRASH_STRIDE'] ?? 23);
const SEED = Number(process.env['QSFS_CRASH_SEED'] ?? 1);

/** Stands still: the disk stamps files with it, and the engine looks how long ago that was. */
const clock = new SimulatedClock();

function open(disk: SimulatedDisk, messages: string[] = []): Volume {
  return openLocalVolume({
    disk,
    clock,
    random: new SimulatedRandom(5),
    directory: '/volume',
    segmentBytes: 524_288,
    log: (level, message) => void messages.push(`${level}: ${message}`),
    ...LIMITS,
  });
}

describe('a power loss', () => {
  it('at any operation of the disk leaves the volume as it was at one moment not before the last sync', () => {
    const steps = workload();
    const moments: string[] = [];
    const calm = new SimulatedDisk({ clock });
    const volume = open(calm);
    const before = calm.changes;
    moments.push(essence(volume));
    for (const step of steps) {
      step(volume);
      moments.push(essence(volume));
    }
    const after = calm.changes;
    let points = 0;
    for (let change = before + (SEED % STRIDE); change < after; change += STRIDE) {
      const disk = new SimulatedDisk({ clock });
      let done = 0;
      let durable = 0;
      let crashed = false;
      const dying = open(disk);
      disk.crashAfter(change - before);
      try {
        for (const step of steps) {
          step(dying);
          done++;
          if (DURABLE.has(step.name)) durable = done;
        }
      } catch (error) {
        crashed = error instanceof SimulatedCrash || (error as { code?: string }).code === 'EIO';
        assert.ok(crashed, String(error));
      }
      points++;
      for (const policy of crashPolicies(change + SEED)) {
        const where = `crash at change ${change} (step ${done} ${steps[done]?.name}), ${policy.name}`;
        const found = disk.crash(policy);
        const messages: string[] = [];
        try {
          const again = open(found, messages);
          const state = essence(again);
          const at = moments.indexOf(state, durable);
          const cut = steps[done]?.name === CUT || steps[done + 1]?.name === CUT;
          assert.ok(
            (at >= 0 && at <= done + 1) || cut,
            'the volume is as it never was, or lost what was synced',
          );
          assertConsistent(again);
          const file = create(again, ROOT, 'after the crash');
          write(again, file, 0, Buffer.alloc(3000, 9));
          assert.ok(read(again, file).equals(Buffer.alloc(3000, 9)));
          again.idle();
          assertConsistent(again);
          again.close();
          assertConsistent(open(found));
        } catch (error) {
          const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
          assert.fail(`${where}: ${text}\n${messages.join('\n')}`);
        }
      }
    }
    assert.ok(points > 10);
  });
});
