// Counts up in shared memory and wakes the other thread each time.
import { loadLibc, openRealDevice, realDisk, threadInput } from '@qsfs/io';
import { type WakeHandle, wake } from '../src/index.ts';

const { input, port } = threadInput();
const { handle, counter, rounds } = input as {
  handle: WakeHandle;
  counter: SharedArrayBuffer;
  rounds: number;
};
const told = new Int32Array(counter);
const io = { libc: loadLibc(), openDevice: openRealDevice, disk: realDisk };
for (let round = 0; round < rounds; round++) {
  Atomics.add(told, 0, 1);
  wake(handle, io);
}
port.close();
