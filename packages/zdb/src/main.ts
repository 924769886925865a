// The program `zdb`: hands the machine to the server.
import { loadLibc, realClock, realDisk, realNetwork, realProcesses, realRandom, resolveHost } from '@qsfs/io';
import { EXIT, runProgram } from './server/program.ts';

const machine = {
  disk: realDisk,
  network: realNetwork,
  clock: realClock,
  random: realRandom,
  processes: realProcesses,
  libc: loadLibc,
  resolveHost,
  programPath: import.meta.filename,
  output: (text: string) => void process.stdout.write(text),
  errors: (text: string) => void process.stderr.write(text),
  onFatal: (call: (error: unknown) => void) => {
    process.on('uncaughtException', call);
  },
};

// A reader of our output that goes away must not take the server with it.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});

runProgram(process.argv.slice(2), machine).then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`zdb: internal error, please report it: ${(error as Error).stack}\n`);
    process.exit(EXIT.internal);
  },
);
