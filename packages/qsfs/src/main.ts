// The program `qsfs`: words of the command line in, exit code out. The only file of the package that touches the process.
import { fileURLToPath } from 'node:url';
import { endProcess, realClock, realDisk, realNetwork, realProcesses, realRandom } from '@qsfs/io';
import { runCommand } from './cli/run.ts';

/** A handle somebody forgot must not keep the process alive for ever. */
const EXIT_TIMEOUT_MS = 3000;

// Node would open a debugger's port.
process.on('SIGUSR1', () => {});

// Who read our output may be gone: that is no reason to fail.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});

process.exitCode = await runCommand(
  {
    disk: realDisk,
    network: realNetwork,
    clock: realClock,
    random: realRandom,
    processes: realProcesses,
    workingDirectory: process.cwd(),
    program: fileURLToPath(import.meta.url),
    print: (line) => void process.stdout.write(`${line}\n`),
    warn: (line) => void process.stderr.write(`${line}\n`),
    terminal: process.stderr.isTTY === true,
  },
  process.argv.slice(2),
);
realClock.after(EXIT_TIMEOUT_MS, () => void endProcess(Number(process.exitCode)), true);
