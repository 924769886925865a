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
import { SteppingSettler } from './stepping-settler.ts';
import { assertConsistent, create, ROOT, read, write } from './volume-fixture.ts';
import { CUT, DURABLE, essence, LIMITS, workload } from './workload.ts';

const STRIDE = Number(process.env['QSFS_CRASH_STRIDE'] ?? 23);
const SEED = Number(process.env['QSFS_CRASH_SEED'] ?? 1);

/** Stands still: the disk stamps files with it, and the engine looks how long ago that was. */
const clock = new SimulatedClock();

function open(disk: SimulatedDisk, messages: string[] = [], settler?: SteppingSettler): Volume {
  return openLocalVolume({
    disk,
    clock,
    random: new SimulatedRandom(5),
    directory: '/volume',
    segmentBytes: 524_288,
    log: (level, message) => void messages.push(`${level}: ${message}`),
    ...(settler ? { settler } : {}),
    ...LIMITS,
  });
}

describe('a power loss', () => {
  it('at any operation of the disk leaves the volume as it was at one moment not before the last sync', () => {
    losePower(() => undefined);
  });

  it('leaves it so, too, when another thread waits for the disk and programs read in between', () => {
    losePower(() => new SteppingSettler());
  });

  function losePower(settlerFor: () => SteppingSettler | undefined): void {
    const steps = workload();
    const moments: string[] = [];
    const calm = new SimulatedDisk({ clock });
    let settler = settlerFor();
    const call = (at: Volume, step: (at: Volume) => void) => {
      if (settler) settler.call(at, step);
      else step(at);
    };
    const volume = open(calm, [], settler);
    const before = calm.changes;
    moments.push(essence(volume));
    for (const step of steps) {
      call(volume, step);
      moments.push(essence(volume));
    }
    if (settler) assert.ok(settler.count > 20, `${settler.count}`);
    const after = calm.changes;
    let points = 0;
    for (let change = before + (SEED % STRIDE); change < after; change += STRIDE) {
      const disk = new SimulatedDisk({ clock });
      let done = 0;
      let durable = 0;
      let crashed = false;
      settler = settlerFor();
      const dying = open(disk, [], settler);
      disk.crashAfter(change - before);
      try {
        for (const step of steps) {
          call(dying, step);
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
  }
});
