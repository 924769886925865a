// Simulated effects: a disk, a network, a clock and randomness that a test turns by hand and can replay from a seed.

export { SimulatedClock } from './clock.ts';
export {
  type ContentChange,
  type CrashPolicy,
  crashPolicies,
  type EntryChange,
  keepFirst,
  keepUnsynced,
  loseSubset,
  loseSuffix,
  loseUnsynced,
  SECTOR_BYTES,
  type Survival,
  tearWrites,
  type UnsyncedChange,
} from './crash.ts';
export { SimulatedDisk, type SimulatedDiskOptions } from './disk.ts';
export { type Behaviour, type Conditions, SimulatedNetwork, type Way } from './network.ts';
export { type DiskFault, type DiskOperation, type DiskOperationKind, SimulatedCrash } from './operations.ts';
export { SimulatedRandom } from './random.ts';
