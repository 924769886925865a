// The program `zdbfs`: hands the machine to program.ts.
import {
  endProcess,
  loadLibc,
  openRealDevice,
  realClock,
  realDisk,
  realProcesses,
  realRandom,
} from '@qsfs/io';
import { EXIT, runProgram } from './program.ts';

// Node would open a debugger's port.
process.on('SIGUSR1', () => {});
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});

runProgram(process.argv.slice(2), {
  disk: realDisk,
  processes: realProcesses,
  clock: realClock,
  random: realRandom,
  libc: loadLibc(),
  openDevice: openRealDevice,
  output: (text) => void process.stdout.write(text),
  errors: (text) => void process.stderr.write(text),
}).then(endProcess, (error: unknown) => {
  process.stderr.write(`zdbfs: internal error, please report it: ${(error as Error).stack}\n`);
  return endProcess(EXIT.internal);
});
