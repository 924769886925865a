// Machines for tests of who holds the lease: each has its own boot id, and one process 7 that may be dead.
import { type SimulatedClock, SimulatedDisk, SimulatedRandom } from '@qsfs/io/simulated';
import type { Context } from '../src/context.ts';
import type { Identity } from '../src/lease/identity.ts';

export interface Machine {
  readonly context: Context;
  alive: boolean;
}

/** A machine with its own boot id, on a shared clock. */
export function machine(clock: SimulatedClock, bootId: string): Machine {
  const disk = new SimulatedDisk();
  const write = (path: string, text: string) => {
    disk.makeDirectory(path.slice(0, path.lastIndexOf('/')));
    const file = disk.open(path, 'create');
    file.write(Buffer.from(text), 0);
    file.close();
  };
  write('/proc/sys/kernel/random/boot_id', bootId);
  write('/proc/sys/kernel/hostname', `host-${bootId}`);
  write('/proc/self/ns/pid', '');
  write('/proc/7/stat', `7 (node (x) y) S ${'0 '.repeat(18)}12345 0`);
  const made = { alive: true } as { alive: boolean; context?: Context };
  made.context = {
    disk,
    clock,
    network: {} as never,
    random: new SimulatedRandom(1),
    processes: { pid: 7, alive: () => made.alive } as unknown as Context['processes'],
    workingDirectory: '/',
    program: '',
    print: () => {},
    warn: () => {},
    terminal: false,
  };
  return made as Machine;
}

export function identity(frontend: string, epoch: number): Identity {
  return {
    volumeId: '11'.repeat(16),
    frontendId: frontend.repeat(16),
    epoch,
    generation: 0,
    stripeBytes: 4096,
    segmentBytes: 65536,
    createdMs: 0,
  };
}
