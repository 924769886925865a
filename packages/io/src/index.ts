// The effects: everything the other packages may not touch themselves (docs/ARCHITECTURE.md, "No ambient effects").
export * from './clock.ts';
export * from './descriptor-sleep.ts';
export * from './device.ts';
export * from './disk.ts';
export * from './errors.ts';
export * from './libc.ts';
export * from './network.ts';
export * from './processes.ts';
export * from './random.ts';
export { realClock } from './real/clock.ts';
export { openRealDevice } from './real/device.ts';
export { realDisk } from './real/disk.ts';
export { realNetwork } from './real/network.ts';
export { realProcesses } from './real/processes.ts';
export { realRandom } from './real/random.ts';
export * from './resolve.ts';
export * from './sync-steps.ts';
export * from './threads.ts';
