// The program bin/zstor: hands the machine to src/cli/program.ts.
import { fileURLToPath } from 'node:url';
import { readWhole, realClock, realDisk, realNetwork, realRandom } from '@qsfs/io';
import { runProgram } from './cli/program.ts';

const description = readWhole(realDisk, fileURLToPath(new URL('../package.json', import.meta.url)));
const { version } = JSON.parse(Buffer.from(description!).toString()) as { version: string };

// Node would open a debugger's port. The reference's daemon reads its configuration anew; each of our commands does so anyway.
process.on('SIGUSR1', () => {});

// Whoever reads what we print may stop before its end ("zstor list | head").
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});

process.exitCode = await runProgram(process.argv.slice(2), {
  disk: realDisk,
  network: realNetwork,
  clock: realClock,
  random: realRandom,
  workingDirectory: process.cwd(),
  version,
  output: (text) => void process.stdout.write(text),
  errors: (text) => void process.stderr.write(text),
  isTerminal: process.stderr.isTTY === true,
});
